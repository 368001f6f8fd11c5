//! The Reader's half: from the [`source`] into empty blocks, by the [`pump`].

mod holes;
pub(crate) mod pump;
pub(crate) mod source;
