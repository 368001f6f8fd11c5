//! The Reader's half: from the [`source`], whose [`holes`] are passed and whose
//! [`changes`] are noticed, into empty blocks, by the [`pump`]; a stream is read [`ahead`],
//! and who reads faster than its Writer writes takes a [`nap`].

mod ahead;
mod cache;
mod changes;
mod holes;
mod nap;
pub(crate) mod pump;
pub(crate) mod source;
