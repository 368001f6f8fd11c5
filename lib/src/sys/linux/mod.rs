//! What is Linux's own among the systems of `unix/`, 5.4 and later.
//!
//! | Contract | Here |
//! |---|---|
//! | `Memory` | `memfd_create`, allocated, sealed: dies with its last user |
//! | the peer's process | `SO_PEERPIDFD` where the kernel has it (6.5), or `pidfd_open` |
//! | doorbell, alarm | `eventfd` |
//! | one handle for all that may happen, for who asks for it | `epoll` |
//! | death | `pidfd`, one for all sessions with a process |
//! | a fork | a page under `MADV_WIPEONFORK` |
//! | remote barrier | `membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED)` |

pub(super) mod available;
pub(super) mod files;
pub(super) mod inspect;
pub(super) mod limits;
pub(super) mod mappings;
pub(super) mod memory;
pub(super) mod origin;
pub(super) mod process;
pub(super) mod ready;
pub(super) mod wake;
