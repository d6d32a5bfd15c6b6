//! Authenticators: one file each behind [`CodeAuthenticator`], listed in [`CODES`]. The password is the
//! exception: the directory judges it, as an effect.

pub mod codes;
pub mod enrolling;
pub mod hotp;
pub mod oath;
pub mod ocra;
pub mod passcode;
pub mod recovery_code;
pub mod sent;
pub mod totp;
pub mod yubico_otp;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::facts::UserKey;
use crate::engine::record::UserRecord;
use crate::keyring::{KeyError, Keyring};

/// Every authenticator that judges a typed code, in the order they are tried.
pub const CODES: [&dyn CodeAuthenticator; 8] = [
    &totp::Totp,
    &hotp::Hotp,
    &yubico_otp::YubicoOtp,
    &ocra::Ocra,
    &recovery_code::RecoveryCodes,
    &passcode::Passcodes,
    &sent::EMAIL,
    &sent::GATEWAY,
];

/// Consecutive failures after which an authenticator is disabled (NIST SP 800-63B section 3.2.2).
pub const MAX_CONSECUTIVE_FAILURES: u32 = 100;

/// Judges typed codes of one kind against a person's record.
pub trait CodeAuthenticator: Sync {
    /// Its kind.
    fn kind(&self) -> Kind;

    /// Whether the person has one that could prove something now.
    fn enrolled(&self, record: &UserRecord, now: Timestamp) -> bool;

    /// Judges `typed`. When it is right, or wrong in a way that counts, `record` is changed: a right
    /// code is spent, a wrong one counted.
    ///
    /// # Errors
    /// When a sealed seed does not open.
    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError>;
}

/// What judging a code needs besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whose record it is.
    pub user: &'a UserKey,
    /// Opens seeds, digests codes.
    pub keyring: &'a Keyring,
    /// When it is judged.
    pub now: Timestamp,
    /// Names the code that was sent, or the challenge that was shown, in the dialog that is answered.
    pub sent: Option<u64>,
}

/// What came of judging a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// The code has not the form of this kind, or none is enrolled.
    NotApplicable,
    /// Wrong.
    Wrong,
    /// Right once, and used already.
    Replayed,
    /// Right, and now spent.
    Right,
}

/// Judges `typed` as each of the `wanted` kinds, until one finds it right.
///
/// # Errors
/// When a sealed seed does not open.
pub fn judge(
    typed: &str,
    wanted: KindSet,
    record: &mut UserRecord,
    context: &Context<'_>,
) -> Result<(Judgement, Option<Kind>), KeyError> {
    let untouched = record.clone();
    let mut best = Judgement::NotApplicable;
    for authenticator in CODES.into_iter().filter(|code| wanted.has(code.kind())) {
        match authenticator.judge(typed, record, context)? {
            Judgement::Right => {
                // What is right for one kind was no failure of the kinds tried before it.
                *record = untouched;
                let judgement = authenticator.judge(typed, record, context)?;
                return Ok((judgement, Some(authenticator.kind())));
            }
            wrong @ (Judgement::NotApplicable | Judgement::Wrong | Judgement::Replayed) => best = best.max(wrong),
        }
    }
    Ok((best, None))
}

/// Whether the person has anything of the `wanted` kinds.
pub fn any_enrolled(wanted: KindSet, record: &UserRecord, now: Timestamp) -> bool {
    CODES
        .into_iter()
        .any(|code| wanted.has(code.kind()) && code.enrolled(record, now))
}

/// The kinds of authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The directory's password.
    Password,
    /// A code by time (RFC 6238).
    Totp,
    /// A code by counter (RFC 4226).
    Hotp,
    /// A look-up secret (NIST SP 800-63B section 3.1.2).
    RecoveryCode,
    /// A code that helpdesk issued.
    Passcode,
    /// Whatever an upstream RADIUS server judges: asked, as an effect, like the password.
    Radius,
    /// The certificate that a client showed when TLS was negotiated. Nothing is typed for it.
    Certificate,
    /// A SASL mechanism that the directory has judged, relayed to it. Nothing is typed for it.
    Sasl,
    /// A Yubico one-time password, typed by the key itself.
    YubicoOtp,
    /// A code sent by e-mail (out-of-band, NIST SP 800-63B section 3.1.3).
    EmailCode,
    /// A code sent by an HTTP gateway: text message or voice.
    GatewayCode,
    /// Somebody else's word that the login is to be.
    Approval,
    /// The response of an offline token to a challenge (OCRA, RFC 6287).
    Ocra,
    /// Answers to security questions.
    Questions,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Password,
        Self::Totp,
        Self::Hotp,
        Self::RecoveryCode,
        Self::Passcode,
        Self::Radius,
        Self::Certificate,
        Self::Sasl,
        Self::YubicoOtp,
        Self::EmailCode,
        Self::GatewayCode,
        Self::Approval,
        Self::Ocra,
        Self::Questions,
    ];

    /// The word for it in policies, logs and the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::RecoveryCode => "recovery-code",
            Self::Passcode => "passcode",
            Self::Radius => "radius",
            Self::Certificate => "certificate",
            Self::Sasl => "sasl",
            Self::YubicoOtp => "yubico-otp",
            Self::EmailCode => "email-code",
            Self::GatewayCode => "gateway-code",
            Self::Approval => "approval",
            Self::Ocra => "ocra",
            Self::Questions => "questions",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KindSet(u16);

impl KindSet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// What is proven before anything is typed: by the connection, or by a mechanism that ran before.
    pub const UNTYPED: Self = Self::of(Kind::Certificate).with(Kind::Sasl);

    /// Codes that are sent to the person: asked for only once the password is right, so that nobody else can have
    /// people sent messages.
    pub const SENT: Self = Self::of(Kind::EmailCode).with(Kind::GatewayCode);

    /// What somebody is called upon for: asked for only once the password is right, so that nobody else can have
    /// people called upon.
    pub const OUT_OF_BAND: Self = Self::SENT.with(Kind::Approval);

    /// One kind.
    pub const fn of(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }

    /// With `kind` added.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        self.union(Self::of(kind))
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The kinds that are typed as codes: all but the password and what is not typed at all.
    #[must_use]
    pub const fn codes(self) -> Self {
        self.without(Self::UNTYPED.with(Kind::Password))
    }

    /// Whether having proven it clears failures of codes: answers to questions do not, or somebody who knows them
    /// could guess codes without end.
    pub const fn clears_codes(self) -> bool {
        !self.codes().without(Self::of(Kind::Questions)).is_empty()
    }

    /// Whether `kind` is in it.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & Self::of(kind).0 != 0
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in it.
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many kinds it has.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Its kinds in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Display for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            f.write_str(kind.word())?;
        }
        Ok(())
    }
}
