//! The back end for Windows 10 and later: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | what a path leads to | an open of no access, but for devices and pipes, which are told by their names |
//! | readiness | `PeekNamedPipe` |
//! | the partial file's access | the old file's access list, before there is data; else what the directory hands down |
//! | replacing | `MoveFileExW`, written through |
//! | interruptions | the console's events, exit status 130 |
//!
//! Paths reach the system absolute and with `\\?\` before them, by std's hand or by
//! [`verbatim`], so that they may be longer than 260 characters.

mod attributes;
mod directory;
mod errors;
mod facts;
mod names;
mod process;
mod reading;
mod streams;
mod writing;

pub(crate) use self::attributes::*;
pub(crate) use self::directory::*;
pub(crate) use self::facts::*;
pub(crate) use self::names::*;
pub(crate) use self::process::*;
pub(crate) use self::reading::*;
pub(crate) use self::streams::*;
pub(crate) use self::writing::*;
