//! The sessions of `docs/protocol.md` as a model whose states can all be looked at:
//! several processes that come to one name, pair, die at any step, and take over.
//!
//! What is modelled: the seat of a name, joining, blocks of the Reader's with what is in
//! them, both queues and their counters, letters, the end of the data, the verdict, abort,
//! death, hang-up, and a Reader that rejoins with what a dead Writer did not give back; also
//! claims, by which survivors of both sides keep their places.
//! Each step is one that other processes can see, so each order of steps is looked at.
//!
//! What is not: the order in which a processor makes stores visible, and sleeping and
//! waking; `ring_model.rs` of the library has these. A wait is a step that is not possible
//! yet. Times that pass are steps that are always possible.
//!
//! No step can be undone and each is bounded, so no path goes in circles. Hence every wait
//! ends if no state is found that has a process waiting and nothing that can still happen.

mod model;
mod possible;
mod steps;
mod world;

pub use model::{Break, RULES, Sessions};
pub use steps::Step;
pub use world::{Bounds, Rules, World};
