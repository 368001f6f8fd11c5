//! What the two halves tell each other beside the data: at joining ([`greeting`]), of
//! the source ([`crate::metadata`]), and what the numbers of blocks and figures mean
//! ([`wire`]).

pub(crate) mod greeting;
pub(crate) mod wire;
