//! TODO
mod error;
mod layout;
mod memory;
mod reader;
mod ring;
mod session;
mod sys;
mod writer;

pub use crate::error::{Delivered, Error, Violation};
pub use crate::layout::{BLOCK_COUNT_MAX, BLOCK_SIZE_MAX, FIGURES, GREETING_MAX};
pub use crate::reader::{EmptyBlock, Reader, SendStream};
pub use crate::session::{Monitor, Options, Partner, Role, Seat, Side, join, prepare};
pub use crate::writer::{DataBlock, ReceiveStream, Writer};
