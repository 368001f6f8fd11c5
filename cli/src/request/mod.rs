//! What the user asked for: [`args`] as typed, [`plan`] as meant, its two
//! [`endpoint`]s, [`settings`] of both
//! halves; [`misuse`], what was meant by words that
//! make no sense; and [`manual`], which tells what can be asked for.

pub(crate) mod args;
pub(crate) mod endpoint;
pub(crate) mod expected;
pub(crate) mod manual;
pub(crate) mod misuse;
pub(crate) mod plan;
pub(crate) mod same;
pub(crate) mod settings;
