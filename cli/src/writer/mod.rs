//! The Writer's half: from blocks through the [`sink`] into the [`destination`], which
//! the [`syncer`] puts on disk meanwhile, and which gets its [`attributes`] at the end.

pub(crate) mod attributes;
pub(crate) mod destination;
pub(crate) mod sink;
pub(crate) mod syncer;
