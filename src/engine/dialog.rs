//! The dialog: everything that has to be remembered between a challenge and its answer.
//!
//! It travels sealed in the RADIUS State attribute, so that no memory is held between rounds and any
//! process with the same key file can go on. Written compactly: State holds at most 253 octets.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::engine::approval::RequestId;
use crate::engine::authenticator::KindSet;
use crate::engine::stuffed::{stuff, unstuff};
use crate::engine::workflow::Course;
use crate::keyring::Keyring;
use crate::secret::Secret;

/// Most challenges in one dialog.
pub const MAX_ROUNDS: u8 = 12;

/// Most octets of a sealed dialog: the value of one RADIUS attribute (RFC 2865 section 5).
pub const MAX_SEALED: usize = 253;

/// A dialog between two rounds.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Digest of the canonical login name: another name does not get on with it.
    pub user: [u8; 16],
    /// When the dialog began.
    pub started: Timestamp,
    /// The answer is refused from then on.
    pub expires: Timestamp,
    /// Challenges sent so far.
    pub round: u8,
    /// Authenticators already proven in this dialog.
    pub proven: KindSet,
    /// The password typed at the beginning, not tried yet; `None` once it was found right.
    pub password: Option<Secret>,
    /// Whether that password was tried nevertheless, and is right but too old: it is tried again once all else is
    /// proven, to be changed.
    pub outdated: bool,
    /// The upstream's challenge that the answer is for, as the store knows it.
    pub asking: Option<u64>,
    /// The request for an approval that it waits for.
    pub approval: Option<RequestId>,
    /// Names the code that was sent, or the challenge that was shown.
    pub sent: Option<u64>,
    /// Where it stands in a workflow, if it follows one.
    pub course: Option<Course>,
}

/// How long a dialog and each of its steps may take.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// One challenge.
    pub step: Duration,
    /// All of it.
    pub whole: Duration,
}

impl Dialog {
    /// When an answer to a challenge sent `now` comes too late.
    pub fn deadline(started: Timestamp, now: Timestamp, lifetime: Lifetime) -> Timestamp {
        (now + lifetime.step).min(started + lifetime.whole)
    }

    /// Seals the dialog to `place` (the RADIUS client's name). `None` when it does not fit an attribute,
    /// which takes a password of more than about 150 octets.
    ///
    /// No octet of it is zero: ocserv keeps State as text.
    pub fn seal(&self, keyring: &Keyring, place: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        let wire = Wire {
            user: self.user,
            started: self.started.secs(),
            expires: self.expires.secs(),
            round: self.round,
            proven: self.proven,
            password: self.password.as_ref().map(Secret::expose),
            outdated: self.outdated,
            asking: self.asking,
            approval: self.approval,
            sent: self.sent,
            course: self.course.clone(),
        };
        let plain = Zeroizing::new(postcard::to_stdvec(&wire).ok()?);
        let sealed = keyring.seal_dialog(place, &plain, now);
        let stuffed = stuff(&sealed);
        (stuffed.len() <= MAX_SEALED).then_some(stuffed)
    }

    /// Opens what [`Dialog::seal`] made for the same `place`; `None` for anything else. Whether it has
    /// expired is for the engine to say.
    pub fn open(sealed: &[u8], keyring: &Keyring, place: &[u8], now: Timestamp) -> Option<Self> {
        let plain = keyring.open_dialog(place, &unstuff(sealed)?, now).ok()?;
        let wire: Wire<'_> = postcard::from_bytes(plain.expose()).ok()?;
        Some(Self {
            user: wire.user,
            started: Timestamp::from_secs(wire.started),
            expires: Timestamp::from_secs(wire.expires),
            round: wire.round,
            proven: wire.proven,
            password: wire.password.map(Secret::new),
            outdated: wire.outdated,
            asking: wire.asking,
            approval: wire.approval,
            sent: wire.sent,
            course: wire.course,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    user: [u8; 16],
    started: u64,
    expires: u64,
    round: u8,
    proven: KindSet,
    #[serde(borrow)]
    password: Option<&'a [u8]>,
    outdated: bool,
    asking: Option<u64>,
    approval: Option<RequestId>,
    sent: Option<u64>,
    course: Option<Course>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::authenticator::Kind;
    use crate::engine::authenticator::enrolling::{Enrolling, TotpKey};
    use crate::engine::workflow::{Action, Answered, At, Defining, Start};

    fn dialog(password: &str) -> Dialog {
        Dialog {
            user: [3; 16],
            started: Timestamp::from_secs(1_700_000_000),
            expires: Timestamp::from_secs(1_700_000_120),
            round: 1,
            proven: KindSet::EMPTY,
            password: Some(Secret::new(password)),
            outdated: false,
            asking: Some(u64::MAX),
            approval: None,
            sent: Some(u64::MAX),
            course: None,
        }
    }

    #[test]
    fn survives_the_trip_for_its_client_only() {
        let keyring = Keyring::from_root(&[1; 32]);
        let now = Timestamp::from_secs(1_700_000_000);
        let sealed = dialog("hunter2").seal(&keyring, b"vpn", now).unwrap();
        let back = Dialog::open(&sealed, &keyring, b"vpn", now).unwrap();
        assert_eq!(back.password.unwrap().expose(), b"hunter2");
        assert_eq!(back.user, [3; 16]);
        assert!(Dialog::open(&sealed, &keyring, b"wifi", now).is_none());
        assert_ne!(
            sealed,
            dialog("hunter2").seal(&keyring, b"vpn", now).unwrap(),
            "new on every round"
        );
    }

    #[test]
    fn no_octet_is_zero_and_nothing_else_is_read() {
        let keyring = Keyring::from_root(&[1; 32]);
        let now = Timestamp::from_secs(1_700_000_000);
        for length in 0..128 {
            let sealed = dialog(&"x".repeat(length)).seal(&keyring, b"vpn", now).unwrap();
            assert!(!sealed.contains(&0));
            assert!(Dialog::open(&sealed, &keyring, b"vpn", now).is_some());
            assert!(Dialog::open(&sealed[..sealed.len() - 1], &keyring, b"vpn", now).is_none());
        }
        for octets in [&[][..], &[0], &[1; 300], &[0xff; 300], &[0xff; 10]] {
            assert!(Dialog::open(octets, &keyring, b"vpn", now).is_none(), "{octets:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_are_no_dialog(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let keyring = Keyring::from_root(&[1; 32]);
            prop_assert!(Dialog::open(&octets, &keyring, b"vpn", Timestamp::from_secs(1_700_000_000)).is_none());
        }
    }

    #[test]
    fn every_radius_password_fits() {
        let keyring = Keyring::from_root(&[1; 32]);
        let now = Timestamp::from_secs(1_700_000_000);
        assert!(dialog(&"x".repeat(128)).seal(&keyring, b"vpn", now).is_some());
        assert!(dialog(&"x".repeat(300)).seal(&keyring, b"vpn", now).is_none());
    }

    #[test]
    fn every_step_of_a_workflow_fits() {
        let keyring = Keyring::from_root(&[1; 32]);
        let now = Timestamp::from_secs(4_000_000_000);
        let at = [
            (128, At::Asked),
            (128, At::Repeat([0xff; 12])),
            (0, At::SecondPart("K7QXM".into())),
            (128, At::Enrolling(Enrolling::new(TotpKey::new([0xff; 20])))),
            (
                128,
                At::Answer(Answered {
                    number: u8::MAX,
                    right: u8::MAX,
                    round: u32::MAX,
                }),
            ),
            (
                128,
                At::Factor(Answered {
                    number: u8::MAX,
                    right: u8::MAX,
                    round: u32::MAX,
                }),
            ),
            (
                0,
                At::Define(Defining {
                    draft: u64::MAX,
                    marks: vec![[0xff; 4]; 10],
                }),
            ),
        ];
        for (password, at) in at {
            let whole = Dialog {
                user: [0xff; 16],
                started: now,
                expires: now,
                round: 30,
                proven: Kind::ALL.into_iter().fold(KindSet::EMPTY, KindSet::with),
                password: (password > 0).then(|| Secret::new("x".repeat(password))),
                outdated: true,
                asking: None,
                approval: None,
                sent: Some(u64::MAX),
                course: Some(Course {
                    start: Start::Enrol,
                    mark: u32::MAX,
                    step: 16,
                    chosen: Some(Action::Answers),
                    at: at.clone(),
                    session: Some(u64::MAX),
                    spoilt: true,
                }),
            };
            assert!(
                (0..16).all(|_| whole.seal(&keyring, b"vpn", now).is_some()),
                "{password} {at:?}"
            );
        }
    }
}
