//! What the user asked for: [`args`] as typed, [`plan`] as meant, [`settings`] of both
//! halves; and [`manual`], which tells what can be asked for.

pub(crate) mod args;
pub(crate) mod manual;
pub(crate) mod plan;
pub(crate) mod settings;
