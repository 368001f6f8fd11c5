//! What the two halves tell each other beside the data: at joining ([`greeting`]), of
//! the source ([`metadata`]), and what the numbers of blocks and figures mean
//! ([`wire`]).

pub(crate) mod greeting;
pub(crate) mod wire;

pub(crate) use crate::metadata;
