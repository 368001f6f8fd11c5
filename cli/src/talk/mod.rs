//! What the two halves tell each other, in the order in which they do: at joining
//! ([`greeting`]); before the first byte ([`agreement`], about [`source_facts`]); after
//! the last one ([`trailer`], with [`crate::metadata`]). The numbers are in [`wire`], and
//! `docs/copy-protocol.md` specifies all of it.

pub(crate) mod agreement;
pub(crate) mod greeting;
mod object;
pub(crate) mod pieces;
pub(crate) mod source_facts;
pub(crate) mod trailer;
pub(crate) mod which_file;
pub(crate) mod wire;
