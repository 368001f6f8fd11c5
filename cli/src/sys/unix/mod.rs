//! The back end for Linux and its relatives: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | readiness | `poll` |
//! | the partial file's access | mode 0600 at first; owner, attributes and mode at the end |
//! | replacing | `rename`, then `fsync` of the directory |
//! | interruptions | signals, 128 and their number |

mod attributes;
mod directory;
mod facts;
mod held;
mod names;
mod process;
mod reading;
mod streams;
mod walk;
mod writing;

pub(crate) use self::attributes::*;
pub(crate) use self::directory::*;
pub(crate) use self::facts::*;
pub(crate) use self::held::*;
pub(crate) use self::names::*;
pub(crate) use self::process::*;
pub(crate) use self::reading::*;
pub(crate) use self::streams::*;
pub(crate) use self::walk::*;
pub(crate) use self::writing::*;
