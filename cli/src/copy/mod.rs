//! One process's part of a copy: a thread does its [`half`], the main thread watches
//! over it ([`supervise`]). The half is that of [`reading`] or of [`writing`], and has one of
//! the [`partners`] after the other. With --both it starts these, too ([`child`]).

mod child;
pub(crate) mod half;
pub(crate) mod partners;
pub(crate) mod reading;
pub(crate) mod supervise;
mod writing;
