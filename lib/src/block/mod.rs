//! The tokens that give access to a block's bytes.

mod data;
mod empty;
mod label;
mod newest;

pub use data::DataBlock;
pub use empty::EmptyBlock;
pub use label::Label;
pub use newest::Newest;
