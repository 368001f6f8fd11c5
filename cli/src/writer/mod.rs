//! The Writer's half: what it [`receive`]s goes through the [`sink`] into the
//! [`destination`], which the [`syncer`] puts on disk meanwhile, and which gets its
//! [`attributes`] at the end. By the [`skip_rule`] it stays as it is.
//!
//! What DESTINATION leads to is the [`target`]; a file is written as a [`partial`] one,
//! which takes the name in the [`commit`], if the [`gate`] lets it.

pub(crate) mod attributes;
pub(crate) mod commit;
pub(crate) mod destination;
pub(crate) mod gate;
mod journal;
mod journaling;
pub(crate) mod partial;
pub(crate) mod receive;
pub(crate) mod resume;
pub(crate) mod rights;
pub(crate) mod sink;
pub(crate) mod skip_rule;
pub(crate) mod syncer;
pub(crate) mod target;
