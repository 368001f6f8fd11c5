//! The Reader's half: from the [`source`] into empty blocks, by the [`pump`].

pub(crate) mod pump;
pub(crate) mod source;
