//! What a destination may keep of its source, beside the data.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize};

/// Told by the Reader when all was read, in blocks of kind `METADATA`; what the system
/// does not have is `None`. None of it is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    /// Permission bits, with the special ones.
    pub(crate) mode: Option<u32>,
    /// When the content was changed last.
    pub(crate) modified: Option<Stamp>,
    /// The same once all of it was read: later, if changes were accepted.
    pub(crate) modified_at_end: Option<Stamp>,
    /// When it was read last, before this copy.
    pub(crate) accessed: Option<Stamp>,
    /// User and group, by number.
    pub(crate) owner: Option<(u32, u32)>,
    /// Extended attributes; access control lists are among them.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) attributes: Vec<ExtendedAttribute>,
    /// Why the attributes are not all there.
    pub(crate) attributes_error: Option<String>,
}

impl Metadata {
    /// As JSON of `len_max` bytes at most: of its attributes only the access list, if it
    /// must be.
    pub(crate) fn encode(mut self, len_max: usize, is_access_list: fn(&[u8]) -> bool) -> Vec<u8> {
        // What consists of numbers, strings and lists can always be encoded.
        let encoded = serde_json::to_vec(&self).unwrap_or_default();
        if encoded.len() <= len_max {
            return encoded;
        }
        // The mode means something else without it.
        self.attributes
            .retain(|attribute| is_access_list(&attribute.name));
        self.attributes_error = Some("they are too large to be sent".to_owned());
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

/// A field that is `null` is not known, as one that is not there.
pub(crate) fn null_as_absent<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<T, D::Error> {
    Option::deserialize(field).map(Option::unwrap_or_default)
}

/// Whose word [`Metadata`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teller {
    OwnUser,
    /// A user who was let in, by number where users have one. Its word gives no rights
    /// but its own.
    Guest(Option<u32>),
}

impl Teller {
    pub(crate) fn of(partner: &brigade::Partner) -> Teller {
        match partner.is_own_user() {
            true => Teller::OwnUser,
            false => Teller::Guest(partner.user_id()),
        }
    }
}

/// A moment: seconds since 1970, and nanoseconds of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExtendedAttribute {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Stamp {
    /// As std knows it; `None` if no such moment can be.
    pub(crate) fn to_time(self) -> Option<SystemTime> {
        if self.nanoseconds >= 1_000_000_000 {
            return None;
        }
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let second = match self.seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
            _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
        };
        second?.checked_add(Duration::from_nanos(self.nanoseconds.into()))
    }

    /// What std knows of a file's time, before 1970 too.
    pub(crate) fn of(time: SystemTime) -> Stamp {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Stamp {
                seconds: after.as_secs() as i64,
                nanoseconds: after.subsec_nanos(),
            },
            Err(error) => {
                let before = error.duration();
                let nanoseconds = before.subsec_nanos();
                Stamp {
                    seconds: -(before.as_secs() as i64) - i64::from(nanoseconds > 0),
                    nanoseconds: (1_000_000_000 - nanoseconds) % 1_000_000_000,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_are_too_large_are_left_out_with_the_reason() {
        let mut told = Metadata {
            mode: Some(0o644),
            ..Metadata::default()
        };
        let is_list = |name: &[u8]| name == b"list";
        let whole = told.clone().encode(1000, is_list);
        let decode = |bytes: &[u8]| serde_json::from_slice::<Metadata>(bytes).ok();
        assert_eq!(decode(&whole).as_ref(), Some(&told));
        let attribute = |name: &str, len| ExtendedAttribute {
            name: name.into(),
            value: vec![200; len],
        };
        told.attributes = vec![attribute("user.a", 1000), attribute("list", 40)];
        let cut = told.encode(1000, is_list);
        assert!(cut.len() <= 1000);
        let cut = decode(&cut).unwrap_or_default();
        assert_eq!(cut.mode, Some(0o644));
        assert_eq!(cut.attributes, [attribute("list", 40)]);
        assert!(cut.attributes_error.is_some());
    }

    #[test]
    fn a_moment_survives_and_is_in_order_even_before_1970() {
        let moment = |ms: u64, before: bool| {
            let ms = Duration::from_millis(ms);
            Stamp::of(match before {
                true => SystemTime::UNIX_EPOCH - ms,
                false => SystemTime::UNIX_EPOCH + ms,
            })
        };
        let all = [
            moment(1500, true),
            moment(1000, true),
            moment(1, true),
            moment(0, false),
            moment(1500, false),
        ];
        assert!(all.is_sorted());
        assert_eq!(
            all[0],
            Stamp {
                seconds: -2,
                nanoseconds: 500_000_000
            }
        );
        for stamp in all {
            assert_eq!(stamp.to_time().map(Stamp::of), Some(stamp));
        }
        for seconds in [i64::MIN, 0, i64::MAX] {
            let nanoseconds = u32::MAX;
            let stamp = Stamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(stamp.to_time(), None);
        }
    }
}
