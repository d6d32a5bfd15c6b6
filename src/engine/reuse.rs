//! Codes that count for longer than one login: an application that binds with every request does not ask its
//! user for a new code each time.
//!
//! After a login with a password and a code by a rule that says `reuse`, an [`Entry`] is kept in memory: who,
//! by which application, from where, which kinds of code, since when, and keyed digests of what was typed. A
//! later bind whose password has the digest goes straight to the directory, which judges the password as
//! always: the entry stands in for the code and for nothing else. Neither password nor code is kept, and the
//! time runs from the code, however often it is reused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::facts::{Person, UserKey};
use crate::engine::policy::{Requirement, Terms};
use crate::engine::record::UserRecord;
use crate::engine::request::{AuthnRequest, Capability, Given, Origin, Protocol, Purpose, Split};
use crate::engine::verdict::Denial;
use crate::keyring::Keyring;
use crate::secret::Secret;

/// The longest time that a rule may let codes count for.
pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// What the audit and the log say of a login that a code of before was enough for.
pub const WORD: &str = "code-reused";

/// A keyed digest ([`Keyring::digest_typed`]).
pub type Digest = [u8; 32];

/// What has become of a person's authenticators: another mark, and what they proved before counts no more.
pub type Mark = [u8; 16];

/// What a login has proven that later ones need not prove again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose login it was.
    pub user: UserKey,
    /// The login name, for listings.
    pub login: String,
    /// The LDAP listener.
    pub client: Arc<str>,
    /// The network source.
    pub source: IpAddr,
    /// The rule that let the person in.
    pub rule: Arc<str>,
    /// The kinds of code that were proven.
    pub kinds: KindSet,
    /// When.
    pub at: Timestamp,
    /// From then on it counts no more.
    pub until: Timestamp,
    /// Digest of the password.
    pub password: Digest,
    /// Digests of texts that let the person in with a code in them, the latest first, at most [`Entry::TEXTS`]. When
    /// they come again too late they are known by it, and refused unjudged.
    pub typed: Vec<Digest>,
    /// The person's authenticators then.
    pub mark: Mark,
    /// Whether it was ended before its time.
    pub over: bool,
}

impl Entry {
    /// Most texts that are remembered: several browsers may sit behind one application.
    pub const TEXTS: usize = 4;

    /// Takes over from the entry in whose place it comes what was typed then.
    pub fn take_over(&mut self, before: &Self) {
        self.typed.extend(&before.typed);
        self.typed.truncate(Self::TEXTS);
    }

    /// Remembers one more text.
    pub fn remember_text(&mut self, typed: Digest) {
        self.typed.insert(0, typed);
        self.typed.truncate(Self::TEXTS);
    }

    /// Whether it has not run out and was not ended.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.over && now < self.until
    }
}

/// What a decision changes about entries, once it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A code was given: keep this, in place of what there was of the person, application and source.
    Remember(Box<Entry>),
    /// The login rests on an entry; a text that is new to it is remembered.
    Used {
        /// The person.
        user: UserKey,
        /// The LDAP listener.
        client: Arc<str>,
        /// The network source.
        source: IpAddr,
        /// Digest of the text.
        typed: Option<Digest>,
    },
    /// The password of the person's entry for this application and source is no more.
    End {
        /// The person.
        user: UserKey,
        /// The LDAP listener.
        client: Arc<str>,
        /// The network source.
        source: IpAddr,
    },
    /// Nothing that the person has proven counts any more.
    Forget(UserKey),
}

/// An entry that an attempt rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reused {
    pub(super) kinds: KindSet,
    password: Digest,
    mark: Mark,
    /// What was typed, when there was more than the password in it and the entry does not know it yet.
    typed: Option<Digest>,
}

impl Reused {
    /// Whether the entry still stands: while the directory was asked it may have been ended, or the person's
    /// authenticators changed.
    pub(super) fn still_stands(&self, entry: Option<&Entry>, record: &UserRecord) -> bool {
        entry.is_some_and(|entry| !entry.over && entry.password == self.password && entry.mark == self.mark)
            && mark(record) == self.mark
    }

    /// What using it changes.
    pub(super) fn used(&self, person: &Person, origin: &Origin) -> Change {
        Change::Used {
            user: person.key.clone(),
            client: Arc::clone(&origin.client),
            source: origin.source.to_canonical(),
            typed: self.typed,
        }
    }
}

/// What a typed text is, held against the entry of person, application and source.
pub(super) enum Held {
    /// Nothing is known of it: it is judged as if there were no entry.
    Nothing,
    /// The password that the entry is about.
    Password(Secret, Reused),
    /// Not that password, although without a code nothing else could be meant.
    AnotherPassword,
    /// The very text that let somebody in once. Its time is over, and it can never be right again: no guess.
    TooLate,
}

/// Whether a request can rest on an entry, or leave one: a bind, with the code in the password field. A new
/// password takes proofs of its own.
pub fn split(request: &AuthnRequest) -> Option<Split> {
    match (&request.purpose, &request.capability, request.origin.protocol) {
        (Purpose::Login | Purpose::LoginOrChange { .. }, Capability::Append(split), Protocol::Ldap)
            if request.dialog.is_none() =>
        {
            Some(*split)
        }
        (
            Purpose::Login | Purpose::LoginOrChange { .. } | Purpose::NewPassword(_),
            _,
            Protocol::Ldap | Protocol::Radius,
        ) => None,
    }
}

/// Holds what was typed against the entry.
pub(super) fn hold(
    entry: &Entry,
    request: &AuthnRequest,
    (terms, requirement): (&Terms, &Requirement),
    record: &UserRecord,
    keyring: &Keyring,
    now: Timestamp,
) -> Held {
    let (Some(split), Some(reuse), Given::Typed(typed)) = (split(request), terms.reuse, &request.given) else {
        return Held::Nothing;
    };
    let digest = |what: &str, text: &Secret| digest(keyring, what, &entry.user, &request.origin, text);
    let cut = split.cut(typed).map(|(password, _)| password);
    let live = entry.is_live(now)
        // A rule of shorter patience may have come to decide.
        && now < entry.at + reuse
        && requirement.is_met(entry.kinds.with(Kind::Password))
        && entry.mark == mark(record);
    if !live {
        return match entry.typed.contains(&digest(TYPED, typed)) {
            true => Held::TooLate,
            false => Held::Nothing,
        };
    }
    let reused = |text| Reused {
        kinds: entry.kinds,
        password: entry.password,
        mark: entry.mark,
        typed: text,
    };
    let matches = |password: &Secret| digest(PASSWORD, password) == entry.password;
    match cut {
        Some(_) | None if matches(typed) => Held::Password(typed.clone(), reused(None)),
        Some(password) if matches(&password) => {
            let text = digest(TYPED, typed);
            Held::Password(password, reused(Some(text).filter(|text| !entry.typed.contains(text))))
        }
        Some(_) => Held::Nothing,
        None => Held::AnotherPassword,
    }
}

/// What is to be kept of a login that `proven` was proven for; nothing unless a password and a code were, of a
/// rule that lets codes count for longer.
pub(super) fn entry(
    request: &AuthnRequest,
    person: &Person,
    (rule, terms): (&Arc<str>, &Terms),
    proven: KindSet,
    record: &UserRecord,
    keyring: &Keyring,
    now: Timestamp,
) -> Option<Entry> {
    let (Some(split), Some(reuse), Given::Typed(typed)) = (split(request), terms.reuse, &request.given) else {
        return None;
    };
    let kinds = proven.codes();
    if kinds.is_empty() || !proven.has(Kind::Password) {
        return None;
    }
    let (password, _) = split.cut(typed)?;
    let digest = |what: &str, text: &Secret| digest(keyring, what, &person.key, &request.origin, text);
    Some(Entry {
        user: person.key.clone(),
        login: person.login.clone(),
        client: Arc::clone(&request.origin.client),
        source: request.origin.source.to_canonical(),
        rule: Arc::clone(rule),
        kinds,
        at: now,
        until: now + reuse,
        password: digest(PASSWORD, &password),
        typed: vec![digest(TYPED, typed)],
        mark: mark(record),
        over: false,
    })
}

/// What a refusal means for entries: a person who is locked out, by us or by the directory, begins anew; a
/// password that is no more takes its own entry with it. `over` is whether it was the failure that locks.
pub(super) fn after_refusal(
    denial: Denial,
    over: bool,
    reused: bool,
    person: &Person,
    origin: &Origin,
) -> Option<Change> {
    match denial {
        Denial::Denied | Denial::Throttled | Denial::Locked | Denial::Disabled => {
            Some(Change::Forget(person.key.clone()))
        }
        Denial::WrongPassword | Denial::WrongCode | Denial::CodeReplayed if over => {
            Some(Change::Forget(person.key.clone()))
        }
        Denial::WrongPassword | Denial::PasswordExpired | Denial::PasswordMustChange if reused => Some(Change::End {
            user: person.key.clone(),
            client: Arc::clone(&origin.client),
            source: origin.source.to_canonical(),
        }),
        Denial::WrongPassword
        | Denial::PasswordExpired
        | Denial::PasswordMustChange
        | Denial::WrongCode
        | Denial::CodeReplayed
        | Denial::ReuseOver
        | Denial::UnknownUser
        | Denial::Policy
        | Denial::SessionLimit
        | Denial::SourceThrottled
        | Denial::MissingCode
        | Denial::ClientCannotAsk
        | Denial::NotEnrolled
        | Denial::BadDialog
        | Denial::Malformed
        | Denial::ReplyAttribute
        | Denial::MethodImpossible
        | Denial::MethodOneProof
        | Denial::NewPassword(_)
        | Denial::ChangeForbidden
        | Denial::ChangeUnsupported
        | Denial::MissingCertificate
        | Denial::UntypedProof
        | Denial::NotThemselves
        | Denial::RefusedBefore
        | Denial::ApprovalPending
        | Denial::ApprovalDenied
        | Denial::NotProven
        | Denial::EnrolElsewhere
        | Denial::EnrolUnprotected
        | Denial::EnrolledMeanwhile
        | Denial::TooManyTokens
        | Denial::WrongAnswers
        | Denial::AnswersLocked => None,
    }
}

/// The mark of a person's authenticators: what is enrolled and in force, without what moves with every login.
pub fn mark(record: &UserRecord) -> Mark {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for token in &record.tokens {
        digest.update(&token.id.to_be_bytes());
        digest.update(&[u8::from(token.disabled)]);
        digest.update(&token.seed);
    }
    digest.update(b"recovery codes");
    for code in &record.recovery {
        digest.update(code);
    }
    if let Some(passcode) = &record.passcode {
        digest.update(b"passcode");
        digest.update(passcode.id.as_bytes());
    }
    let mut mark = Mark::default();
    for (octet, digested) in mark.iter_mut().zip(digest.finish().as_ref()) {
        *octet = *digested;
    }
    mark
}

fn digest(keyring: &Keyring, what: &str, user: &UserKey, origin: &Origin, text: &Secret) -> Digest {
    let source = match origin.source.to_canonical() {
        IpAddr::V4(source) => source.octets().to_vec(),
        IpAddr::V6(source) => source.octets().to_vec(),
    };
    keyring.digest_typed(&[
        what.as_bytes(),
        user.as_str().as_bytes(),
        origin.client.as_bytes(),
        origin.directory.as_bytes(),
        &source,
        text.expose(),
    ])
}

const PASSWORD: &str = "password";
const TYPED: &str = "typed";
