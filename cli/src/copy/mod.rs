//! One process's part of a copy: a thread does its [`half`], the main thread watches
//! over it ([`supervise`]). With --both it starts the partner, too ([`child`]).

mod child;
pub(crate) mod half;
pub(crate) mod supervise;
