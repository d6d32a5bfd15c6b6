//! What operators get to see: plain types with stable JSON, and never a secret outside the one answer
//! of the operation that makes it.

mod answers;
mod helpdesk;
mod operators;
mod requests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::account::StateAnswer;
use crate::engine::authenticator::yubico_otp;
use crate::engine::ocra::Suite;
use crate::engine::record::{Algorithm, Deny, Passcode, ThrottleRecord, Token, TokenKind, UserRecord};
use crate::engine::throttle::{Limit, Standing};
use crate::engine::{Lookup, Person};

pub use helpdesk::{
    Forced, GroupDenialView, GroupDenied, InDirectory, JobFailure, JobProgress, JobState, JobView, LoginView,
    MustChangeView, PasswordReset, Switched, Unregistered,
};

pub use answers::{
    AnswersView, AskView, AskedView, DefinedAnswers, DefinedView, QuestionView, QuestionWord, QuestionsView,
    VerifiedUser,
};
pub use requests::{DelegationView, LevelView, RequestView};

pub use operators::{ApiTokenIssued, ApiTokenView, GrantView};

/// One person, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    /// Key of all our records of the person.
    pub key: String,
    /// The login name.
    pub login: String,
    /// What the directory says; absent when no directory knows the person any more.
    pub directory: Option<DirectoryView>,
    /// Tokens, oldest first.
    pub tokens: Vec<TokenView>,
    /// Unused recovery codes.
    pub recovery_codes: usize,
    /// The live passcode, without the code.
    pub passcode: Option<PasscodeView>,
    /// Whether a second factor was ever enrolled, also when all of them are gone now.
    pub ever_enrolled: bool,
    /// Last accepted login.
    #[serde(with = "moment::option")]
    pub last_login: Option<Timestamp>,
    /// Failures and the lock that follows from them.
    pub failures: FailureView,
    /// The denial in force.
    #[serde(default)]
    pub denied: Option<DenyView>,
    /// The denial in force of a group that the person is in.
    #[serde(default)]
    pub denied_groups: Vec<GroupDenialView>,
    /// An operator's word that the password is to be changed at the next login.
    #[serde(default)]
    pub must_change: Option<MustChangeView>,
    /// Whether the person is privileged, as the configuration says.
    #[serde(default)]
    pub privileged: bool,
    /// Whether the answers to security questions are locked; absent when there are none.
    #[serde(default)]
    pub answers: Option<bool>,
    /// The last logins, newest first; empty where they were not looked for.
    #[serde(default)]
    pub logins: Vec<LoginView>,
    /// Open sessions, as accounting tells; counted up to 10000.
    #[serde(default)]
    pub sessions: usize,
}

/// A person in a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectoryView {
    /// The configured name of the directory.
    pub name: String,
    /// Distinguished name.
    pub dn: String,
    /// False when the configured attributes block the account.
    pub enabled: bool,
    /// Distinguished names of the groups, normalised.
    pub groups: Vec<String>,
    /// Attributes that the configuration names.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// What the directory says of the account's state.
    #[serde(default)]
    pub account: AccountView,
    /// The manager, where the entry names one of the directory's people.
    #[serde(default)]
    pub manager: ManagerView,
}

/// The account's state in its directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountView {
    /// What the directory says.
    Known(StateView),
    /// The directory has no such thing, or not the entry any more.
    #[default]
    Unknown,
    /// The directory could not be asked, with the reason.
    Unavailable(String),
}

/// What a directory says of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateView {
    /// Locked by the directory right now.
    pub locked: bool,
    /// When the lock ends by itself, where that is known.
    #[serde(with = "moment::option")]
    pub locked_until: Option<Timestamp>,
    /// The password must be changed at the next login.
    pub must_change: bool,
    /// Switched off, or its time is over or has not begun.
    pub disabled: bool,
    /// The password is too old.
    pub expired: bool,
    /// When the password was last set.
    #[serde(with = "moment::option")]
    pub password_set: Option<Timestamp>,
    /// When the password becomes, or became, too old.
    #[serde(with = "moment::option")]
    pub password_expires: Option<Timestamp>,
    /// Logins left with a password that is too old, where that is known.
    pub grace_logins: Option<u32>,
}

/// A person's manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagerView {
    /// This one.
    Known {
        /// The login name.
        login: String,
        /// Distinguished name.
        dn: String,
    },
    /// None, or nobody whom the directory's people are searched for.
    #[default]
    None,
    /// The directory could not be asked, with the reason.
    Unavailable(String),
}

/// One row of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    /// Key of all our records of the person.
    pub key: String,
    /// The login name.
    pub login: String,
    /// Distinguished name, where the directory was asked and knows one.
    pub dn: Option<String>,
    /// Tokens that can be used.
    pub tokens: usize,
    /// Unused recovery codes.
    pub recovery_codes: usize,
    /// Whether too many failures keep the person out right now.
    pub locked: bool,
    /// Whether an operator's denial keeps the person out right now.
    #[serde(default)]
    pub denied: bool,
    /// Whether an operator wants the password changed at the next login.
    #[serde(default)]
    pub must_change: bool,
    /// Last accepted login.
    #[serde(with = "moment::option")]
    pub last_login: Option<Timestamp>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// At most as many as were asked for.
    pub users: Vec<UserRow>,
    /// Whether there are more.
    pub more: bool,
    /// Directories that could not be asked, with the reason.
    pub unavailable: Vec<String>,
}

/// A token without its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenView {
    /// Number within the person's tokens.
    pub id: u32,
    /// Name.
    pub label: String,
    /// Moving factor.
    pub kind: Kind,
    /// Hash function of the HMAC.
    pub algorithm: Algorithm,
    /// Digits of a code.
    pub digits: u8,
    /// Seconds in a step, for TOTP.
    pub period: Option<u16>,
    /// Steps that the token's clock is ahead, for TOTP; negative when it is slow.
    pub drift: Option<i16>,
    /// Next counter, for HOTP.
    pub counter: Option<u64>,
    /// Public identity in modhex, for Yubico OTP.
    #[serde(default)]
    pub public: Option<String>,
    /// Suite (RFC 6287 section 6), for OCRA.
    #[serde(default)]
    pub suite: Option<String>,
    /// Whether its codes are taken.
    pub enabled: bool,
    /// Consecutive wrong codes.
    pub failures: u32,
    /// When it was enrolled.
    #[serde(with = "moment")]
    pub enrolled: Timestamp,
    /// When it last proved a login.
    #[serde(with = "moment::option")]
    pub last_used: Option<Timestamp>,
}

/// Kind of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// By time (RFC 6238).
    #[default]
    Totp,
    /// By counter (RFC 4226).
    Hotp,
    /// A key that types Yubico one-time passwords.
    YubicoOtp,
    /// An offline token (RFC 6287).
    Ocra,
    /// The key of a machine that cannot reach us; it proves no login.
    Offline,
}

impl Kind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::YubicoOtp => "yubico-otp",
            Self::Ocra => "ocra",
            Self::Offline => "offline",
        }
    }
}

/// A token just enrolled, with what is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// The token.
    pub token: TokenView,
    /// `otpauth://` URI for authenticator apps; holds the seed.
    pub uri: String,
    /// The seed in base32.
    pub seed: String,
}

/// The key of a machine that cannot reach us, which is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct OfflineEnrolled {
    /// The token that stands for it.
    pub token: TokenView,
    /// Login name of the person.
    pub login: String,
    /// Suite (RFC 6287 section 6).
    pub suite: String,
    /// The key in base32.
    pub key: String,
    /// All of it as one text, for a QR code; `otpauth://ocra/…`.
    pub uri: String,
}

/// What to say to somebody at a machine that cannot reach us.
#[derive(Clone, Serialize, Deserialize)]
pub struct OfflineResponse {
    /// Login name of the person.
    pub login: String,
    /// The machine.
    pub machine: String,
    /// The response.
    pub response: String,
}

/// A token brought back into step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resynced {
    /// The token.
    pub token: TokenView,
    /// How far the token was from where it was expected: steps (TOTP, negative when it is slow) or
    /// counter values (HOTP).
    pub offset: i64,
}

/// A passcode without the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PasscodeView {
    /// Identifier.
    pub id: String,
    /// Key of the person it is for.
    pub user: String,
    /// Login name of the person it is for.
    pub login: String,
    /// Who issued it.
    pub issued_by: String,
    /// When.
    #[serde(with = "moment")]
    pub issued: Timestamp,
    /// Dead from then on.
    #[serde(with = "moment")]
    pub expires: Timestamp,
    /// Wrong passcodes typed since.
    pub failures: u8,
    /// Whether CHAP and MS-CHAPv2 take it; a sealed copy of the code is kept for that.
    #[serde(default)]
    pub chap: bool,
    /// Whether it can be used.
    #[serde(default)]
    pub state: PasscodeState,
    /// Whether it was handed out in two halves.
    #[serde(default)]
    pub halves: bool,
    /// Who released the second half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Whether it stands in for a second factor that was lost.
    #[serde(default)]
    pub replaces_factor: bool,
}

/// How a live passcode stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasscodeState {
    /// It can be used.
    #[default]
    Live,
    /// Nobody has its second half yet.
    WaitingForRelease,
}

impl PasscodeState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::WaitingForRelease => "waiting for release",
        }
    }
}

/// A passcode just issued, with the code or its first half, which is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The passcode.
    pub passcode: PasscodeView,
    /// The code itself; where it has halves, the first.
    pub code: String,
    /// Whether it replaces one that was still live.
    pub replaced: bool,
    /// Who may release the second half, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondHolders>,
}

/// Who may be the second of two people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondHolders {
    /// The login name of the person's manager, where the directory has one who may.
    pub manager: Option<String>,
    /// The group whose members may.
    pub group: Option<String>,
}

/// A second half just released, which is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Released {
    /// The passcode.
    pub passcode: PasscodeView,
    /// The second half.
    pub second: String,
}

/// New recovery codes, which are shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct RecoveryCodes {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// The codes.
    pub codes: Vec<String>,
    /// Unused old codes that are void now.
    pub replaced: usize,
}

/// Failures of a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureView {
    /// Failures within the window, and attempts that never came back.
    pub count: usize,
    /// How many are allowed; 0 is any number.
    pub limit: u32,
    /// The window, in seconds.
    pub window_secs: u64,
    /// Whether the person is refused unheard.
    pub locked: bool,
    /// When the lock ends by itself.
    #[serde(with = "moment::option")]
    pub locked_until: Option<Timestamp>,
}

/// A denial in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenyView {
    /// Key of the person it is about.
    pub user: String,
    /// Login name of the person it is about.
    pub login: String,
    /// When it ends by itself; only when it is lifted, if absent.
    #[serde(with = "moment::option")]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The operator who said so.
    pub by: String,
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
}

/// A denial just said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Denied {
    /// The denial.
    pub denial: DenyView,
    /// Whether it replaces one that was in force.
    pub replaced: bool,
}

/// What an unlock cleared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unlocked {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// Failures that are forgotten now.
    pub cleared: usize,
    /// Whether the person was locked out.
    pub was_locked: bool,
    /// What came of ending the directory's lock; absent where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<InDirectory>,
    /// Whether the answers to security questions were locked, and count again.
    #[serde(default)]
    pub answers: bool,
}

impl DenyView {
    pub(super) fn of(user: &str, login: &str, deny: &Deny) -> Self {
        Self {
            user: user.to_owned(),
            login: login.to_owned(),
            until: deny.until,
            reason: deny.reason.clone(),
            by: deny.by.clone(),
            at: deny.at,
        }
    }
}

impl DirectoryView {
    pub(super) fn of(person: &Person, account: AccountView, manager: ManagerView) -> Self {
        Self {
            account,
            manager,
            name: person.directory.to_string(),
            dn: person.dn.clone(),
            enabled: person.enabled,
            groups: person.groups.clone(),
            attributes: person.attributes.clone(),
        }
    }
}

impl From<StateAnswer> for AccountView {
    fn from(answer: StateAnswer) -> Self {
        match answer {
            StateAnswer::Known(state) => Self::Known(StateView {
                locked: state.locked,
                locked_until: state.locked_until,
                must_change: state.must_change,
                disabled: state.disabled,
                expired: state.expired,
                password_set: state.password_set,
                password_expires: state.password_expires,
                grace_logins: state.grace_logins,
            }),
            StateAnswer::Unsupported | StateAnswer::Unknown => Self::Unknown,
            StateAnswer::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<Lookup> for ManagerView {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Found(manager) => Self::Known {
                login: manager.login.clone(),
                dn: manager.dn.clone(),
            },
            Lookup::Unknown | Lookup::Ambiguous => Self::None,
            Lookup::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl TokenView {
    pub(super) fn of(token: &Token) -> Self {
        let (kind, period, drift, counter) = match token.kind {
            TokenKind::Totp { period, drift, .. } => (Kind::Totp, Some(period), Some(drift), None),
            TokenKind::Hotp { counter } => (Kind::Hotp, None, None, Some(counter)),
            TokenKind::YubicoOtp { .. } => (Kind::YubicoOtp, None, None, None),
            TokenKind::Ocra { offline: false, .. } => (Kind::Ocra, None, None, None),
            TokenKind::Ocra { offline: true, .. } => (Kind::Offline, None, None, None),
        };
        let (public, suite) = match token.kind {
            TokenKind::YubicoOtp { public, .. } => (Some(yubico_otp::written(public)), None),
            TokenKind::Ocra { suite, .. } => (None, Some(Suite::from(suite).to_string())),
            TokenKind::Totp { .. } | TokenKind::Hotp { .. } => (None, None),
        };
        Self {
            id: token.id,
            label: token.label.clone(),
            kind,
            algorithm: token.algorithm,
            digits: token.digits,
            period,
            drift,
            counter,
            public,
            suite,
            enabled: !token.disabled,
            failures: token.failures,
            enrolled: token.enrolled,
            last_used: token.last_used,
        }
    }
}

impl PasscodeView {
    /// The passcode of `record`, if it is live.
    pub(super) fn live(user: &str, record: &UserRecord, now: Timestamp) -> Option<Self> {
        let passcode = record.passcode.as_ref().filter(|passcode| is_live(passcode, now))?;
        Some(Self {
            id: passcode.id.clone(),
            user: user.to_owned(),
            login: record.login.clone(),
            issued_by: passcode.issued_by.clone(),
            issued: passcode.issued,
            expires: passcode.expires,
            failures: passcode.failures,
            chap: passcode.sealed.is_some(),
            state: match &passcode.second {
                Some(_) => PasscodeState::WaitingForRelease,
                None => PasscodeState::Live,
            },
            halves: passcode.halves,
            released_by: passcode.released_by.clone(),
            replaces_factor: passcode.replaces_factor,
        })
    }
}

pub(super) fn is_live(passcode: &Passcode, now: Timestamp) -> bool {
    passcode.expires > now
}

impl FailureView {
    pub(super) fn of(record: &ThrottleRecord, limit: Limit, now: Timestamp) -> Self {
        let mut counted: Vec<Timestamp> = record
            .failures
            .iter()
            .map(|failure| failure.at)
            .chain(record.pending.iter().map(|pending| pending.at))
            .filter(|&at| at > now - limit.window)
            .collect();
        counted.sort_unstable();
        let locked = record.standing(limit, None, now) == Standing::Over;
        let allowed = usize::try_from(limit.failures).unwrap_or(usize::MAX);
        let leaves = counted.len().checked_sub(allowed).and_then(|index| counted.get(index));
        Self {
            count: counted.len(),
            limit: limit.failures,
            window_secs: limit.window.as_secs(),
            locked,
            locked_until: leaves.filter(|_| locked).map(|&at| at + limit.window),
        }
    }
}

pub mod moment {
    //! A [`Timestamp`] as RFC 3339 in JSON.

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::clock::Timestamp;

    /// Writes it.
    ///
    /// # Errors
    /// The serializer's.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    /// Reads it.
    ///
    /// # Errors
    /// For anything but RFC 3339 from 1970 on.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a moment such as 2030-01-31T12:00:00Z")))
    }

    /// Reads RFC 3339; `None` for anything else, and for moments before 1970.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(moment.as_millisecond()).ok().map(Timestamp::from_millis)
    }

    pub mod option {
        //! The same for one that may be absent.

        use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

        use crate::clock::Timestamp;

        /// Writes it, or null.
        ///
        /// # Errors
        /// The serializer's.
        #[allow(clippy::ref_option, reason = "serde's signature")]
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.collect_str(at),
                None => serializer.serialize_none(),
            }
        }

        /// Reads it, or null.
        ///
        /// # Errors
        /// As for one that must be there.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            let Some(text) = Option::<String>::deserialize(deserializer)? else {
                return Ok(None);
            };
            super::parse(&text)
                .map(Some)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is not a moment such as 2030-01-31T12:00:00Z")))
        }
    }
}
