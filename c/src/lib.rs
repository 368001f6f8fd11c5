//! brigade for C: what `include/brigade.h` declares, in terms of the Rust library.
//!
//! There is no logic here that the library lacks. What is here is what C cannot be relied
//! on for: each call looks whether what it is given is there, is of the right kind, and is
//! used by one thread only (`held`); each catches what unwinds and turns errors into a number
//! and a record of the thread's (`status`). What the functions do, the header says.
//!
//! Pointers come as `Option<&T>` and the like, which are NULL or what the caller vouches for:
//! so the functions themselves have no unsafe code. What still needs some is in `held` (blocks
//! borrow their end) and `foreign` (strings and bytes of the caller's).
#![allow(
    non_camel_case_types,
    unreachable_pub,
    reason = "the names of types are those that C has for them; `pub` is what C sees"
)]

mod foreign;
mod held;
mod monitor;
mod numbers;
mod options;
mod owned;
mod partner;
mod reader;
mod session;
mod status;
mod takeover;
mod types;
mod wait;
mod writer;
