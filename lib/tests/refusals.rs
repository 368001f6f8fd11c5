//! What an error says as data: why two processes did not become a pair, and with which
//! number a partner gave up.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade::{Error, Options, Reader, Refusal, Role, Seat, Side, Writer, join};
use tempfile::TempDir;

/// For what takes milliseconds, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// A name that nobody else has.
struct Place {
    _directory: TempDir,
    name: String,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        Place {
            _directory: directory,
            name,
        }
    }

    fn host(&self, options: &Options) -> JoinHandle<Result<Role, Error>> {
        let seat = Seat::take(&self.name, options).unwrap();
        assert!(seat.is_first());
        thread::spawn(move || seat.wait())
    }

    /// As the second, however long a busy machine keeps the host from opening (again).
    fn join(&self, options: &Options) -> Result<Role, Error> {
        let since = Instant::now();
        loop {
            match join(&self.name, options) {
                Err(Error::TooManyInstances { .. }) if since.elapsed() < SOON => {}
                joined => return joined,
            }
        }
    }

    fn pair(&self) -> (Reader, Writer) {
        let host = self.host(&options());
        let second = self.join(&options()).unwrap();
        match (host.join().unwrap().unwrap(), second) {
            (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
            both => panic!("{both:?}"),
        }
    }
}

fn options() -> Options {
    let options = Options::new().block_size(64).block_count(4);
    options.wait(SOON)
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result.unwrap_err() {
        Error::Refused { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

#[test]
fn who_chose_other_blocks_is_told_the_partners() {
    let place = Place::new();
    let host = place.host(&options());
    let reason = refused(place.join(&options().block_size(128)));
    let expected = Refusal::OtherGeometry {
        block_size: 64,
        block_count: 4,
    };
    assert_eq!(reason, expected);
    drop(place.join(&options()).unwrap());
    host.join().unwrap().unwrap();
}

#[test]
fn two_that_want_the_same_side_learn_it_as_data() {
    let place = Place::new();
    let host = place.host(&options().side(Side::Writer));
    let reason = refused(place.join(&options().side(Side::Writer)));
    assert_eq!(reason, Refusal::SameSide);
    drop(place.join(&options()).unwrap());
    host.join().unwrap().unwrap();
}

#[test]
fn an_abort_carries_the_applications_number_whoever_gives_up_and_however() {
    type GiveUp = fn(Reader, Writer) -> Error;
    let ways: [GiveUp; 3] = [
        |reader, writer| {
            reader.abort_with(7, "no source");
            writer.data_block().unwrap_err()
        },
        |reader, writer| {
            writer.abort_with(7, "no source");
            reader.finish().unwrap_err()
        },
        |reader, writer| {
            reader.monitor().abort_with(7, "no source");
            let own = reader.check().unwrap_err();
            assert!(
                matches!(&own, Error::Aborted { code: 7, reason } if reason == "no source"),
                "{own:?}"
            );
            writer.data_block().unwrap_err()
        },
    ];
    for give_up in ways {
        let (reader, writer) = Place::new().pair();
        match give_up(reader, writer) {
            Error::PartnerAborted { code, reason, .. } => {
                assert_eq!((code, &*reason), (7, "no source"));
            }
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_seat_given_up_carries_the_applications_number_too() {
    let place = Place::new();
    let host = place.host(&options());
    let seat = Seat::take(&place.name, &options()).unwrap();
    seat.abort_with(u32::MAX, "no space left");
    let Role::Reader(reader) = host.join().unwrap().unwrap() else {
        panic!("the first is no Reader");
    };
    let error = reader.finish().unwrap_err();
    let Error::PartnerAborted { code, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(code, u32::MAX);
}

#[test]
fn who_gives_up_without_a_number_gives_zero() {
    let (reader, writer) = Place::new().pair();
    reader.abort("no source");
    let error = writer.data_block().unwrap_err();
    assert!(
        matches!(error, Error::PartnerAborted { code: 0, .. }),
        "{error:?}"
    );
}

#[test]
fn every_error_has_a_number_of_its_own() {
    let partner = {
        let (reader, _writer) = Place::new().pair();
        reader.partner().clone()
    };
    let text = String::new;
    let source = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let errors = [
        Error::TooManyInstances { name: text() },
        Error::NotAnswering { name: text() },
        Error::NoPartner {
            waited: Duration::ZERO,
        },
        Error::TimedOut,
        Error::PartnerDied {
            partner: partner.clone(),
            delivered: brigade::Delivered::default(),
        },
        Error::PartnerAborted {
            partner: partner.clone(),
            code: 0,
            reason: text(),
            delivered: brigade::Delivered::default(),
        },
        Error::ProtocolViolation {
            partner,
            violation: brigade::Violation::Message,
            delivered: brigade::Delivered::default(),
        },
        Error::Aborted {
            code: 0,
            reason: text(),
        },
        Error::InvalidUse(""),
        Error::InvalidOption(text()),
        Error::OutOfMemory {
            needed: 1,
            available: 0,
        },
        Error::Unsupported {
            needed: "",
            source: source(),
        },
        Error::Os {
            operation: text(),
            source: source(),
        },
        Error::NotPrivate {
            directory: "/".into(),
            user: text(),
            found: text(),
        },
        Error::MessageTooLong { max: 0 },
        Error::NotGivenBack { blocks: 1 },
        Error::InvitationOver,
    ];
    let codes: Vec<i32> = errors.iter().map(Error::code).collect();
    // They are written down, and never change.
    assert_eq!(codes, Vec::from_iter(1..=17));
}

#[test]
fn every_refusal_has_a_number_of_its_own() {
    let reasons = [
        Refusal::ByPartner { number: 0 },
        Refusal::OtherUser {
            user: String::new(),
        },
        Refusal::OtherVersion { version: 1 },
        Refusal::OtherGeometry {
            block_size: 1,
            block_count: 1,
        },
        Refusal::OtherWays,
        Refusal::SameSide,
        Refusal::OtherProcess { process_id: 1 },
        Refusal::Malformed,
        Refusal::InTheWay { path: "/".into() },
        Refusal::NameLost,
    ];
    let codes = reasons.map(|reason| {
        let text = String::new();
        Error::Refused { reason, text }.code()
    });
    assert_eq!(codes.to_vec(), Vec::from_iter(100..=109));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_in_the_way_of_a_name_is_named_as_data() {
    let place = Place::new();
    let path = std::path::PathBuf::from(format!("{}.lock", place.name));
    std::fs::write(&path, "data of somebody").unwrap();
    let reason = refused(Seat::take(&place.name, &options()));
    assert_eq!(reason, Refusal::InTheWay { path });
}

/// Tells the test's own second process what to do.
#[cfg(target_os = "linux")]
const TASK: &str = "BRIGADE_REFUSALS_TASK";

#[cfg(target_os = "linux")]
#[test]
fn a_directory_of_plain_names_that_others_can_enter_is_named_as_data() {
    use std::os::unix::fs::PermissionsExt;
    if std::env::var_os(TASK).is_some() {
        let error = Seat::take("plain", &options()).unwrap_err();
        let Error::NotPrivate { directory, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(directory.ends_with("brigade"), "{directory:?}");
        assert!(error.to_string().contains("with mode 755"), "{error}");
        return;
    }
    let runtime = tempfile::tempdir().unwrap();
    let directory = runtime.path().join("brigade");
    std::fs::create_dir(&directory).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&directory, open).unwrap();
    let itself = std::env::current_exe().unwrap();
    let name = "a_directory_of_plain_names_that_others_can_enter_is_named_as_data";
    let ended = std::process::Command::new(itself)
        .args([name, "--exact"])
        .env(TASK, "join")
        .env("XDG_RUNTIME_DIR", runtime.path())
        .status()
        .unwrap();
    assert!(ended.success());
}

#[test]
fn a_second_that_expects_another_process_is_refused_and_the_host_waits_on() {
    let place = Place::new();
    let host = place.host(&options());
    let own = std::process::id();
    let reason = refused(place.join(&options().expect_process(own + 1)));
    assert_eq!(reason, Refusal::OtherProcess { process_id: own });
    let second = place.join(&options().expect_process(own)).unwrap();
    drop((host.join().unwrap().unwrap(), second));
}

#[test]
fn a_host_that_expects_another_process_refuses_this_one_and_waits_on() {
    let place = Place::new();
    let own = std::process::id();
    let waiting = options().expect_process(own + 1);
    let seat = Seat::take(&place.name, &waiting).unwrap();
    let monitor = seat.monitor();
    let host = thread::spawn(move || seat.wait());
    let error = place.join(&options()).unwrap_err();
    assert!(error.to_string().contains("expects process"), "{error}");
    assert_eq!(error.code(), 106);
    let reason = refused::<()>(Err(error));
    assert_eq!(reason, Refusal::OtherProcess { process_id: own });
    monitor.abort("waited enough");
    let error = host.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
}
