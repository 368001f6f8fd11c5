//! The tokens that give access to a block's bytes.

mod data;
mod empty;
mod label;
mod newest;
mod owned_data;
mod owned_empty;

pub use data::DataBlock;
pub use empty::EmptyBlock;
pub use label::Label;
pub use newest::Newest;
pub use owned_data::OwnedDataBlock;
pub use owned_empty::OwnedEmptyBlock;
