//! The tokens that give access to a block's bytes.

mod data;
mod empty;

pub use data::DataBlock;
pub use empty::EmptyBlock;
