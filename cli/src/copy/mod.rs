//! One process's part of a copy: a thread does its [`half`], the main thread watches
//! over it ([`supervise`]).

pub(crate) mod half;
pub(crate) mod supervise;
