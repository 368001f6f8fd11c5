//! The compiled part of brigade's Python package: the library's ends and blocks as Python's
//! objects. No logic that the library lacks.
//!
//! `held` is what an end's object and its blocks share: who may call the end when, and how a
//! block that was sent gets home; `wait` how calls wait, so that signals are heeded meanwhile;
//! `buffers` the bytes that Python sees; `both` the calls that both ends have.
//!
//! None of the objects here has one that could lead back to it, nor takes attributes: so there
//! are no cycles of theirs for the garbage collector.

mod blocks;
mod both;
mod buffers;
mod errors;
mod held;
mod joining;
mod lock;
mod monitor;
mod options;
mod reader;
mod takeover;
mod tell;
mod wait;
mod writer;

/// What `brigade` is made of; see `_brigade.pyi`.
#[pyo3::pymodule(gil_used = false)]
mod _brigade {
    #[pymodule_export]
    use crate::blocks::{DataBlock, EmptyBlock};
    #[pymodule_export]
    use crate::joining::{
        Child, Taken, accept, accept_both_ways, invite, join, join_both_ways, take,
    };
    #[pymodule_export]
    use crate::monitor::Monitor;
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::takeover::{Survivor, Unreturned};
    #[pymodule_export]
    use crate::tell::sessions;
    #[pymodule_export]
    const BLOCKS: u8 = crate::wait::BLOCKS;
    #[pymodule_export]
    const LETTERS: u8 = crate::wait::LETTERS;
    #[pymodule_export]
    const ROOM: u8 = crate::wait::ROOM;
    #[pymodule_export]
    const VERDICT: u8 = crate::wait::VERDICT;
    #[pymodule_export]
    use crate::writer::{Blocks, Writer};
}
