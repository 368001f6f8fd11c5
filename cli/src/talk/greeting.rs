//! What each half tells the other when they join: which conversation it speaks; what
//! the source is called, for a destination that is a directory; and what `--status`
//! shows. All of it is optional, and none is trusted.

use std::ffi::{OsStr, OsString};

use brigade::{GREETING_MAX, Side};

use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys::{self, Facts, Kind};
use crate::talk::wire;

/// Longest file name, in bytes: 255 units of UTF-16 may take three each. A greeting
/// has to hold it.
const NAME_BYTES_MAX: usize = 3 * 255;

/// The conversation of greetings that do not say which they mean.
const UNTOLD_PROTOCOL: u32 = 1;

/// Text lines `key=value`; unknown keys are ignored. The name comes last and runs
/// to the end, since a name may contain anything but '/'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Which version of the conversation is meant.
    pub(crate) protocol: u32,
    /// Of the source in bytes, when this process started; for who looks from outside.
    pub(crate) size: Option<u64>,
    /// Bytes in a second that this half was told to take for its limit; for show only.
    pub(crate) limit_rate: Option<u64>,
    /// The session's name, for who looks from outside.
    pub(crate) session: Option<String>,
    /// Source and destination, if this process was given them, for who looks from
    /// outside: as they can be shown.
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    /// Whose place is empty, since it died; for show only, as is what follows.
    pub(crate) lost: Option<Side>,
    /// What to type to take that place.
    pub(crate) run: Option<String>,
    /// How far the copy was then.
    pub(crate) so_far: Option<SoFar>,
    /// File name without directory.
    pub(crate) name: Option<OsString>,
}

/// Bytes: read, of these in holes, written, and done.
pub(crate) type SoFar = [u64; 4];

impl Default for Greeting {
    fn default() -> Greeting {
        Greeting {
            protocol: wire::PROTOCOL,
            size: None,
            limit_rate: None,
            session: None,
            source: None,
            destination: None,
            lost: None,
            run: None,
            so_far: None,
            name: None,
        }
    }
}

impl Greeting {
    /// What the partner of `plan` gets to see.
    pub(crate) fn of_plan(plan: &Plan) -> Greeting {
        Greeting {
            limit_rate: plan.settings.limit_rate,
            session: Some(plan.name.clone()),
            source: plan.source.as_ref().map(Endpoint::shown),
            destination: plan.destination.as_ref().map(Endpoint::shown),
            ..Greeting::of(plan.source.as_ref())
        }
    }

    /// The Reader's. Looked up without opening, which could block.
    fn of(source: Option<&Endpoint>) -> Greeting {
        match source {
            None => Greeting::default(),
            Some(Endpoint::Standard) => sys::standard_input()
                .and_then(|file| sys::facts(&file))
                .map(|facts| Greeting::from_facts(&facts))
                .unwrap_or_default(),
            Some(Endpoint::Path(path)) => Greeting {
                name: path
                    .file_name()
                    .filter(|name| name.len() <= NAME_BYTES_MAX)
                    .map(OsStr::to_owned),
                ..sys::facts_at(path)
                    .map(|facts| Greeting::from_facts(&facts))
                    .unwrap_or_default()
            },
        }
    }

    fn from_facts(facts: &Facts) -> Greeting {
        if facts.kind != Kind::File {
            return Greeting::default();
        }
        Greeting {
            // Files that are made up as they are read (in /proc) say that they are
            // empty.
            size: Some(facts.len).filter(|&size| size > 0),
            ..Greeting::default()
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut lines = String::new();
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                lines += &format!("{key}={value}\n");
            }
        };
        add("protocol", Some(self.protocol.to_string()));
        add("size", self.size.map(|size| size.to_string()));
        add("limit", self.limit_rate.map(|rate| rate.to_string()));
        add("lost", self.lost.map(|side| side.to_string()));
        add(
            "so_far",
            self.so_far
                .map(|bytes| bytes.map(|bytes| bytes.to_string()).join(" ")),
        );
        let mut name = Vec::new();
        if let Some(bytes) = self.name.as_deref().and_then(sys::name_to_bytes) {
            name.extend(b"name=");
            name.extend(bytes);
        }
        // For show only: left out if there is no room.
        let shown = [
            ("session", &self.session),
            ("source", &self.source),
            ("destination", &self.destination),
            ("run", &self.run),
        ];
        for (key, shown) in shown {
            if let Some(shown) = shown {
                let shown = shown.replace(char::is_control, "?");
                let line = format!("{key}={shown}\n");
                if lines.len() + line.len() + name.len() <= GREETING_MAX {
                    lines += &line;
                }
            }
        }
        [lines.into_bytes(), name].concat()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Greeting {
        let mut greeting = Greeting {
            protocol: UNTOLD_PROTOCOL,
            ..Greeting::default()
        };
        while !bytes.is_empty() {
            if let Some(name) = bytes.strip_prefix(b"name=") {
                // A partner's word must not lead out of the directory that the user
                // named.
                greeting.name = sys::name_from_bytes(name);
                break;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let line = std::str::from_utf8(line).unwrap_or("");
            match line.split_once('=') {
                Some(("protocol", value)) => {
                    greeting.protocol = value.parse().unwrap_or(UNTOLD_PROTOCOL);
                }
                Some(("limit", value)) => greeting.limit_rate = value.parse().ok(),
                Some(("size", value)) => greeting.size = value.parse().ok(),
                Some(("lost", "reader")) => greeting.lost = Some(Side::Reader),
                Some(("lost", "writer")) => greeting.lost = Some(Side::Writer),
                Some(("so_far", value)) => greeting.so_far = so_far(value),
                Some(("run", value)) => greeting.run = Some(shown(value)),
                Some(("session", value)) => greeting.session = Some(shown(value)),
                Some(("source", value)) => greeting.source = Some(shown(value)),
                Some(("destination", value)) => greeting.destination = Some(shown(value)),
                _ => {}
            }
            bytes = rest.get(1..).unwrap_or(&[]);
        }
        greeting
    }
}

fn so_far(value: &str) -> Option<SoFar> {
    let numbers: Result<Vec<u64>, _> = value.split(' ').map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

/// Fit to be printed.
pub(super) fn shown(value: &str) -> String {
    value.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untold() -> Greeting {
        Greeting {
            protocol: UNTOLD_PROTOCOL,
            ..Greeting::default()
        }
    }

    #[test]
    fn a_greeting_survives_the_way_with_any_name() {
        for name in ["a", "size=1\nprotocol=7", "ü\n", "-"] {
            let greeting = Greeting {
                protocol: u32::MAX,
                size: Some(u64::MAX),
                limit_rate: Some(1 << 20),
                session: Some("copy".to_owned()),
                source: Some("/a/ü".to_owned()),
                destination: Some("-".to_owned()),
                lost: Some(Side::Writer),
                run: Some("brigade a b".to_owned()),
                so_far: Some([u64::MAX, 0, 1, 2]),
                name: Some(name.into()),
            };
            assert_eq!(Greeting::decode(&greeting.encode()), greeting);
        }
        assert_eq!(Greeting::decode(b""), untold());
    }

    #[test]
    fn what_is_for_show_only_is_left_out_if_there_is_no_room() {
        let greeting = Greeting {
            source: Some("p".repeat(GREETING_MAX)),
            session: Some("s".to_owned()),
            name: Some("n".repeat(NAME_BYTES_MAX / 3).into()),
            ..Greeting::default()
        };
        let encoded = greeting.encode();
        assert!(encoded.len() <= GREETING_MAX);
        let decoded = Greeting::decode(&encoded);
        assert_eq!((decoded.source, decoded.name), (None, greeting.name));
        assert_eq!(decoded.session, greeting.session);
    }

    #[test]
    fn a_name_that_leads_elsewhere_and_nonsense_are_ignored() {
        for bytes in [
            &b"name=.."[..],
            b"name=a/b",
            b"name=",
            b"size=x\nprotocol=-1\n\xff\xff\n=\n",
        ] {
            assert_eq!(Greeting::decode(bytes), untold());
        }
    }
}
