//! The messages of joining, as bytes (protocol 13a, "Messages"): pure, and used by the
//! systems' back ends, which carry them.
#![allow(
    dead_code,
    reason = "not all systems carry packets of bytes; Windows has letters"
)]

use crate::region::layout::{MAGIC, REASON_MAX, VERSION};

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The sender shows its region and its doorbell.
    Offer,
    /// The sender does not pair: the number of the reason, for which the text has words.
    Refused(u16),
    /// The host has taken the receiver for its partner.
    Admitted,
}

impl Kind {
    pub(crate) fn number(self) -> u32 {
        match self {
            Kind::Offer => 1,
            Kind::Refused(_) => 2,
            Kind::Admitted => 3,
        }
    }

    /// Of a refusal, the number of the reason.
    pub(crate) fn reason(self) -> u16 {
        match self {
            Kind::Refused(reason) => reason,
            _ => 0,
        }
    }

    pub(crate) fn from_number(number: u32, reason: u16) -> Result<Kind, &'static str> {
        match number {
            1 => Ok(Kind::Offer),
            2 => Ok(Kind::Refused(reason)),
            3 => Ok(Kind::Admitted),
            _ => Err("its message is of an unknown kind"),
        }
    }
}

/// Magic, version, a refusal's reason, kind: eight, two, two and four bytes. In version 1
/// the version had the four of both, and nobody looked at them.
pub(crate) const HEAD: usize = 16;

/// The longest message.
pub(crate) const LONGEST: usize = HEAD + REASON_MAX;

/// What a message of `kind` begins with.
pub(crate) fn head(kind: Kind) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[10..12].copy_from_slice(&kind.reason().to_le_bytes());
    head[12..].copy_from_slice(&kind.number().to_le_bytes());
    head
}

/// As much of `text` as a message has room for, whole characters.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_MAX)]
}

/// Kind and text of a message, or what is wrong with it. The version does not matter
/// here: the head of the region decides.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Kind, String), &'static str> {
    let Some((head, text)) = bytes.split_at_checked(HEAD) else {
        return Err("its message is too short");
    };
    if text.len() > REASON_MAX {
        return Err("its message is too long");
    }
    if head[..8] != MAGIC.to_le_bytes() {
        return Err("its message is not brigade's");
    }
    let number = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
    let reason = u16::from_le_bytes([head[10], head[11]]);
    let text = String::from_utf8_lossy(text).into_owned();
    Kind::from_number(number, reason).map(|kind| (kind, text))
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Offer),
            any::<u16>().prop_map(Kind::Refused),
            Just(Kind::Admitted),
        ]
    }

    #[test]
    fn an_offer_is_the_bytes_of_the_specification() {
        let bytes = *b"brigade\0\x02\0\0\0\x01\0\0\0";
        assert_eq!(head(Kind::Offer), bytes);
        let bytes = *b"brigade\0\x02\0\x05\x01\x02\0\0\0";
        assert_eq!(head(Kind::Refused(0x105)), bytes);
    }

    #[test]
    fn what_is_no_message_says_what_is_wrong_with_it() {
        let good = head(Kind::Refused(0));
        let mut other = good;
        other[0] = b'B';
        let mut unknown = good;
        unknown[12] = 4;
        let mut long = good.to_vec();
        long.resize(LONGEST + 1, b'x');
        for (bytes, expected) in [
            (&good[..15], "too short"),
            (&[][..], "too short"),
            (&other, "not brigade's"),
            (&unknown, "unknown kind"),
            (&long, "too long"),
        ] {
            assert!(parse(bytes).unwrap_err().contains(expected), "{expected}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_one_that_fits_is_whole() {
        assert_eq!(cut("whole"), "whole");
        let long = "x".to_owned() + &"ä".repeat(REASON_MAX);
        assert_eq!(cut(&long).len(), REASON_MAX - 1);
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_is_received(kind in any_kind(), text in ".*") {
            let mut bytes = head(kind).to_vec();
            bytes.extend(cut(&text).as_bytes());
            let expected = (kind, cut(&text).to_owned());
            prop_assert_eq!(parse(&bytes), Ok(expected));
        }

        #[test]
        fn no_bytes_are_too_strange_to_be_looked_at(
            bytes in prop::collection::vec(any::<u8>(), 0..LONGEST + 9)
        ) {
            let _ = parse(&bytes);
            let mut with_head = head(Kind::Refused(0)).to_vec();
            with_head.extend(&bytes);
            if let Ok((_, text)) = parse(&with_head) {
                prop_assert!(text.chars().count() <= REASON_MAX);
            }
        }
    }
}
