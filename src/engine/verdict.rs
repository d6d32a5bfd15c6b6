//! What the engine answers, in terms that each protocol has its own words for.

use std::sync::Arc;

use crate::dictionary::Pair;
use crate::engine::account::PasswordRefusal;
use crate::engine::authenticator::KindSet;
use crate::engine::dialog::Dialog;
use crate::engine::facts::Person;
use crate::engine::response::MsChapSuccess;

/// The answer to one request.
#[derive(Debug)]
pub enum Verdict {
    /// Let in.
    Accept(Grant),
    /// Let in to change the password, and for nothing else. Only given to front ends that say they can hold
    /// such a session ([`crate::engine::Purpose::LoginOrChange`]).
    Restricted(Restricted),
    /// Ask something more. Only given to front ends whose [`crate::engine::Capability`] allows it.
    Challenge(Prompt),
    /// Refused. The reason is for logs and the audit; the claimant sees one and the same text.
    Reject(Denial),
    /// Not let in, and told what came of it: only for somebody who has proven who they are.
    Closed(Closed),
    /// Could not be judged: never told as a refusal.
    Unavailable(Outage),
}

/// Someone who was let in.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who.
    pub person: Arc<Person>,
    /// A random number that names this login, in Class and among the logins whose session has not begun.
    pub id: u64,
    /// A text to show, if there is one. At most 120 characters.
    pub message: Option<String>,
    /// RADIUS attributes that the rule adds; empty for other protocols.
    pub reply: Vec<Pair>,
    /// What the client is to have when the login was proven by MS-CHAPv2.
    pub ms_chap: Option<Arc<MsChapSuccess>>,
    /// What was proven by this very login: no code that only counts for longer.
    pub proven: KindSet,
}

/// Someone who may change the password, and nothing else.
#[derive(Debug)]
pub struct Restricted {
    /// Who.
    pub person: Arc<Person>,
    /// What was proven so far, and the password, if it is known: to come back with the new one.
    pub dialog: Dialog,
}

/// The end of a dialog that was not there to let anybody in.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Who.
    pub person: Arc<Person>,
    /// What came of it, for them. At most 120 characters.
    pub text: String,
    /// The stable word for logs: `password-changed`, `unlocked`, …
    pub word: &'static str,
}

/// A question to the claimant.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// At most 120 characters, plain text without line breaks.
    pub text: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
    /// What to seal into the client's State and bring back with the answer.
    pub dialog: Dialog,
    /// What was judged and found wrong before it is asked, without a word of it to the claimant.
    pub untold: Option<Denial>,
}

/// Why someone was refused. Never shown to the claimant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No such person, or more than one.
    UnknownUser,
    /// A deny rule matched, or no rule did.
    Policy,
    /// An operator's word keeps the person out, for now or until it is lifted.
    Denied,
    /// The person has as many open sessions as the rule allows.
    SessionLimit,
    /// Too many failures of this person.
    Throttled,
    /// Too many failures from this source.
    SourceThrottled,
    /// The directory has locked the account.
    Locked,
    /// The account is disabled.
    Disabled,
    /// The password is wrong.
    WrongPassword,
    /// The password is right but expired.
    PasswordExpired,
    /// The password is right but must be changed first.
    PasswordMustChange,
    /// The code is wrong.
    WrongCode,
    /// The code was right once, and has been used.
    CodeReplayed,
    /// What was typed was right once, and the time in which its code could be used again is over.
    ReuseOver,
    /// A code is required, and none was given.
    MissingCode,
    /// A code is required, and the client has no way to ask for one.
    ClientCannotAsk,
    /// Nothing that the rule asks for is enrolled.
    NotEnrolled,
    /// The dialog has expired, or belongs to another user or client.
    BadDialog,
    /// The request contradicts itself or names nobody.
    Malformed,
    /// Everything was proven, but a RADIUS attribute of the rule has no value for this person: without it
    /// the client could allow too much.
    ReplyAttribute,
    /// The response is to a password of which nothing is kept that it could be compared with.
    MethodImpossible,
    /// A response proves one thing, and the rule asks for more.
    MethodOneProof,
    /// The directory does not take the new password. Told to who was proven to be its owner.
    NewPassword(PasswordRefusal),
    /// The directory does not let the password be changed by this person, or by its account for look-ups.
    ChangeForbidden,
    /// Passwords of this directory cannot be changed.
    ChangeUnsupported,
    /// The rule asks for a certificate of the person's, and the connection has none.
    MissingCertificate,
    /// A certificate, or a SASL mechanism that the directory judged, is not what the rule asks for, or not all.
    UntypedProof,
    /// The authorization identity is not the person's own.
    NotThemselves,
    /// What came before in the dialog was wrong. It was counted then, and is told only now.
    RefusedBefore,
    /// Somebody else has to approve the login, and has not yet.
    ApprovalPending,
    /// Somebody else does not approve it.
    ApprovalDenied,
    /// The person has to enrol first, and the client cannot hold the dialog for it.
    EnrolElsewhere,
    /// The person has to enrol first, and the key would cross a transport that is not encrypted.
    EnrolUnprotected,
    /// The person has enrolled since the dialog began.
    EnrolledMeanwhile,
    /// The person has as many tokens as there may be.
    TooManyTokens,
    /// Not all was right that had to be proven before somebody may help themselves.
    NotProven,
    /// Too few answers to security questions were right.
    WrongAnswers,
    /// The answers to security questions are locked.
    AnswersLocked,
}

impl Denial {
    /// Whether it counts as a failure of the person: a guess that was judged.
    pub const fn is_guess(self) -> bool {
        match self {
            Self::WrongPassword | Self::WrongCode | Self::CodeReplayed | Self::WrongAnswers => true,
            Self::UnknownUser
            | Self::Policy
            | Self::Denied
            | Self::SessionLimit
            | Self::Throttled
            | Self::SourceThrottled
            | Self::Locked
            | Self::Disabled
            | Self::PasswordExpired
            | Self::PasswordMustChange
            | Self::ReuseOver
            | Self::MissingCode
            | Self::ClientCannotAsk
            | Self::NotEnrolled
            | Self::BadDialog
            | Self::Malformed
            | Self::MethodImpossible
            | Self::MethodOneProof
            | Self::NewPassword(_)
            | Self::ChangeForbidden
            | Self::ChangeUnsupported
            | Self::MissingCertificate
            | Self::UntypedProof
            | Self::NotThemselves
            | Self::RefusedBefore
            | Self::ApprovalPending
            | Self::ApprovalDenied
            | Self::EnrolElsewhere
            | Self::EnrolUnprotected
            | Self::EnrolledMeanwhile
            | Self::TooManyTokens
            | Self::NotProven
            | Self::AnswersLocked
            | Self::ReplyAttribute => false,
        }
    }

    /// What the administrator can change, where the refusal is no fault of the person's. For logs.
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Self::MethodImpossible => Some(
                "nothing is kept here that a CHAP or MS-CHAPv2 response could be compared with: configure the client \
                 for PAP, issue a passcode with --chap, or keep the password in a local directory with cleartext = true",
            ),
            Self::MethodOneProof => Some(
                "CHAP and MS-CHAPv2 carry one proof and the rule asks for more: configure the client for PAP, or \
                 write a rule for it that asks for one",
            ),
            Self::ReplyAttribute => Some(
                "a value for the rule's reply does not fit its attribute: mend the entry in the directory, or the rule",
            ),
            Self::ClientCannotAsk => Some(
                "the rule asks for a code that the client cannot ask for: set the client's profile to one that it can \
                 hold, or write a rule for it that asks for less",
            ),
            Self::ChangeForbidden => Some(
                "the directory refused the change: its access rules must let people, or its account for look-ups \
                 where a passcode stands in for the old password, write passwords",
            ),
            Self::ChangeUnsupported => Some(
                "the directory knows no way to change passwords, or another server judges them: people have to \
                 change them there",
            ),
            Self::MissingCertificate => Some(
                "the rule asks for a certificate: it takes an LDAP listener with client_ca, and a certificate whose \
                 name (certificate_login) is the person's",
            ),
            Self::UntypedProof => Some(
                "the rule asks for something else or for more: bind with a password over a connection with the \
                 certificate, or write a rule that asks for a certificate, or for \"sasl\", alone",
            ),
            Self::ApprovalPending => Some(
                "`portcullis request list` shows what waits for approval; the person's manager, or a member of \
                 approvals.group, can `portcullis approve` it",
            ),
            Self::NotThemselves => Some("an authorization identity must be empty or the person's own"),
            Self::EnrolElsewhere => Some(
                "the person has never enrolled, and this client cannot hold the dialog for it: let them enrol through \
                 a client with profile = \"dialog\", or enrol a token for them (portcullis token enrol)",
            ),
            Self::EnrolUnprotected => Some(
                "the person has never enrolled, and the key would be readable on the way to the client: connect the \
                 client by RADIUS over TLS, set enrol_unprotected = true in the rule where the network is trusted, or \
                 enrol a token for them (portcullis token enrol)",
            ),
            Self::TooManyTokens => Some("revoke a token that is not used any more (portcullis token revoke)"),
            Self::EnrolledMeanwhile
            | Self::UnknownUser
            | Self::Policy
            | Self::Denied
            | Self::SessionLimit
            | Self::Throttled
            | Self::SourceThrottled
            | Self::Locked
            | Self::Disabled
            | Self::WrongPassword
            | Self::PasswordExpired
            | Self::PasswordMustChange
            | Self::WrongCode
            | Self::CodeReplayed
            | Self::ReuseOver
            | Self::MissingCode
            | Self::ApprovalDenied
            | Self::NotEnrolled
            | Self::BadDialog
            | Self::NewPassword(_)
            | Self::RefusedBefore
            | Self::NotProven
            | Self::WrongAnswers
            | Self::AnswersLocked
            | Self::Malformed => None,
        }
    }

    /// Whether it counts against the source it came from: a guess, at a code, a password, or a name.
    pub const fn counts_against_source(self) -> bool {
        self.is_guess() || matches!(self, Self::UnknownUser | Self::NotProven)
    }

    /// The stable word for logs, metrics and the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown-user",
            Self::Policy => "policy",
            Self::Denied => "denied",
            Self::SessionLimit => "session-limit",
            Self::Throttled => "throttled",
            Self::SourceThrottled => "source-throttled",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::WrongPassword => "wrong-password",
            Self::PasswordExpired => "password-expired",
            Self::PasswordMustChange => "password-must-change",
            Self::WrongCode => "wrong-code",
            Self::CodeReplayed => "code-replayed",
            Self::ReuseOver => "reuse-over",
            Self::MissingCode => "missing-code",
            Self::ClientCannotAsk => "client-cannot-ask",
            Self::NotEnrolled => "not-enrolled",
            Self::BadDialog => "bad-dialog",
            Self::Malformed => "malformed",
            Self::ReplyAttribute => "reply-attribute",
            Self::MethodImpossible => "method-impossible",
            Self::MethodOneProof => "method-one-proof",
            Self::NewPassword(refusal) => refusal.word(),
            Self::ChangeForbidden => "change-forbidden",
            Self::ChangeUnsupported => "change-unsupported",
            Self::MissingCertificate => "missing-certificate",
            Self::UntypedProof => "untyped-proof",
            Self::NotThemselves => "not-themselves",
            Self::RefusedBefore => "refused-before",
            Self::ApprovalPending => "approval-pending",
            Self::ApprovalDenied => "approval-denied",
            Self::EnrolElsewhere => "enrol-elsewhere",
            Self::EnrolUnprotected => "enrol-unprotected",
            Self::EnrolledMeanwhile => "enrolled-meanwhile",
            Self::TooManyTokens => "too-many-tokens",
            Self::NotProven => "not-proven",
            Self::WrongAnswers => "wrong-answers",
            Self::AnswersLocked => "answers-locked",
        }
    }
}

/// Something a verdict needs is out of reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What and why, for logs.
    pub reason: String,
}
