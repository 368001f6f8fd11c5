//! The built program, as processes that are started, killed and frozen. Every wait
//! has a limit, every process is ended, every test has directories of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod attributes;
mod bursts;
mod copies;
mod deaths;
mod failures;
mod files;
mod harness;
mod limits;
mod on_disk;
mod overwriting;
mod owners;
mod preserving;
mod reading;
mod refusals;
mod resume;
mod roles;
mod steps;
mod strangers;
mod takeover;
mod talking;
mod telling;
mod timeouts;
mod users;
