//! The numbers that C compares. Those of errors are the library's (`Error::code`).
#![allow(dead_code, reason = "some are for the caller alone")]

use std::ffi::c_int;

pub const BRIGADE_OK: c_int = 0;
pub const BRIGADE_END: c_int = -1;
pub const BRIGADE_DEFECT: c_int = -2;

pub const BRIGADE_TOO_MANY_INSTANCES: c_int = 1;
pub const BRIGADE_NOT_ANSWERING: c_int = 2;
pub const BRIGADE_NO_PARTNER: c_int = 3;
pub const BRIGADE_TIMED_OUT: c_int = 4;
pub const BRIGADE_PARTNER_DIED: c_int = 5;
pub const BRIGADE_PARTNER_ABORTED: c_int = 6;
pub const BRIGADE_PROTOCOL_VIOLATION: c_int = 7;
pub const BRIGADE_ABORTED: c_int = 8;
pub const BRIGADE_INVALID_USE: c_int = 9;
pub const BRIGADE_INVALID_OPTION: c_int = 10;
pub const BRIGADE_OUT_OF_MEMORY: c_int = 11;
pub const BRIGADE_UNSUPPORTED: c_int = 12;
pub const BRIGADE_OS: c_int = 13;
pub const BRIGADE_NOT_PRIVATE: c_int = 14;
pub const BRIGADE_NOT_GIVEN_BACK: c_int = 16;
pub const BRIGADE_INVITATION_OVER: c_int = 17;
pub const BRIGADE_REFUSED: c_int = 100;
pub const BRIGADE_REFUSED_OTHER_USER: c_int = 101;
pub const BRIGADE_REFUSED_OTHER_VERSION: c_int = 102;
pub const BRIGADE_REFUSED_OTHER_GEOMETRY: c_int = 103;
pub const BRIGADE_REFUSED_OTHER_WAYS: c_int = 104;
pub const BRIGADE_REFUSED_SAME_SIDE: c_int = 105;
pub const BRIGADE_REFUSED_OTHER_PROCESS: c_int = 106;
pub const BRIGADE_REFUSED_MALFORMED: c_int = 107;
pub const BRIGADE_REFUSED_IN_THE_WAY: c_int = 108;
pub const BRIGADE_REFUSED_NAME_LOST: c_int = 109;

pub const BRIGADE_FIGURES: usize = 4;
pub const BRIGADE_GREETING_MAX: usize = 1024;
pub const BRIGADE_LETTER_MAX: usize = 1016;
pub const BRIGADE_ANY_SIDE: c_int = 0;
pub const BRIGADE_READER: c_int = 1;
pub const BRIGADE_WRITER: c_int = 2;

const _: () = assert!(BRIGADE_FIGURES == engine::FIGURES);
const _: () = assert!(BRIGADE_GREETING_MAX == engine::GREETING_MAX);
const _: () = assert!(BRIGADE_LETTER_MAX == engine::LETTER_MAX);

pub const BRIGADE_NO_WAIT: i64 = 0;
pub const BRIGADE_FOREVER: i64 = i64::MAX;
pub const BRIGADE_WAIT_BLOCKS: c_int = 1;
pub const BRIGADE_WAIT_LETTERS: c_int = 2;
pub const BRIGADE_WAIT_ROOM: c_int = 4;
pub const BRIGADE_WAIT_VERDICT: c_int = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Error, Refusal};
    use std::io;

    fn refused(reason: Refusal) -> Error {
        let text = String::new();
        Error::Refused { reason, text }
    }

    #[test]
    fn the_numbers_of_errors_are_the_librarys() {
        let source = || io::Error::from_raw_os_error(1);
        let name = String::new;
        let numbered = [
            (
                Error::TooManyInstances { name: name() },
                BRIGADE_TOO_MANY_INSTANCES,
            ),
            (Error::NotAnswering { name: name() }, BRIGADE_NOT_ANSWERING),
            (
                Error::NoPartner {
                    waited: Default::default(),
                },
                BRIGADE_NO_PARTNER,
            ),
            (Error::TimedOut, BRIGADE_TIMED_OUT),
            (
                Error::Aborted {
                    code: 0,
                    reason: name(),
                },
                BRIGADE_ABORTED,
            ),
            (Error::InvalidUse(""), BRIGADE_INVALID_USE),
            (Error::InvalidOption(name()), BRIGADE_INVALID_OPTION),
            (
                Error::OutOfMemory {
                    needed: 2,
                    available: 1,
                },
                BRIGADE_OUT_OF_MEMORY,
            ),
            (
                Error::Unsupported {
                    needed: "",
                    source: source(),
                },
                BRIGADE_UNSUPPORTED,
            ),
            (
                Error::Os {
                    operation: name(),
                    source: source(),
                },
                BRIGADE_OS,
            ),
            (Error::NotGivenBack { blocks: 1 }, BRIGADE_NOT_GIVEN_BACK),
            (Error::InvitationOver, BRIGADE_INVITATION_OVER),
        ];
        for (error, number) in numbered {
            assert_eq!(error.code(), number, "{error:?}");
        }
    }

    #[test]
    fn the_numbers_of_refusals_are_the_librarys() {
        let name = String::new;
        let numbered = [
            (refused(Refusal::ByPartner { number: 0 }), BRIGADE_REFUSED),
            (
                refused(Refusal::OtherUser { user: name() }),
                BRIGADE_REFUSED_OTHER_USER,
            ),
            (
                refused(Refusal::OtherVersion { version: 1 }),
                BRIGADE_REFUSED_OTHER_VERSION,
            ),
            (
                refused(Refusal::OtherGeometry {
                    block_size: 1,
                    block_count: 1,
                }),
                BRIGADE_REFUSED_OTHER_GEOMETRY,
            ),
            (refused(Refusal::OtherWays), BRIGADE_REFUSED_OTHER_WAYS),
            (refused(Refusal::SameSide), BRIGADE_REFUSED_SAME_SIDE),
            (
                refused(Refusal::OtherProcess { process_id: 1 }),
                BRIGADE_REFUSED_OTHER_PROCESS,
            ),
            (refused(Refusal::Malformed), BRIGADE_REFUSED_MALFORMED),
            (
                refused(Refusal::InTheWay {
                    path: Default::default(),
                }),
                BRIGADE_REFUSED_IN_THE_WAY,
            ),
            (refused(Refusal::NameLost), BRIGADE_REFUSED_NAME_LOST),
        ];
        for (error, number) in numbered {
            assert_eq!(error.code(), number, "{error:?}");
        }
    }
}
