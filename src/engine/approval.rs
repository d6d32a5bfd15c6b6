//! Requests that somebody else has to approve: asked for with a login or by an operator, decided by other people one
//! after the other, used once.

mod action;
mod delegation;
mod rules;

pub use action::Action;
pub use delegation::{DelegationRecord, Scope};
pub use rules::{About, Approver, Rule, rule_for};

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::authenticator::codes;
use crate::engine::facts::UserKey;
use crate::engine::operator::account_of;
use crate::engine::record::Record;
use crate::engine::request::{AuthnRequest, Origin};
use crate::keyring::Keyring;

/// How long a request lives unless configured otherwise.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(5 * 60);

/// The bounds of how long one may live, the use of its approval included (NIST SP 800-63B section 3.1.3.3: out-of-band
/// authentication within ten minutes).
pub const LIVES: std::ops::RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(10 * 60);

/// Names a request: short enough to be read aloud. It is no secret, and nothing is proven by knowing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(u32);

impl RequestId {
    /// Symbols of its text: 6 of 30 are 729 million.
    pub const LENGTH: usize = 6;

    /// The request that the attempt `nonce` makes at `now`. Whoever sees one cannot say how many there were before.
    pub fn of(keyring: &Keyring, nonce: u64, now: Timestamp) -> Self {
        let named = [nonce.to_be_bytes(), now.millis().to_be_bytes()].concat();
        let digest = keyring.digest_code(b"approval", &named);
        let number = digest
            .iter()
            .take(8)
            .fold(0u64, |number, octet| number << 8 | u64::from(*octet));
        Self(u32::try_from(number % COUNT).unwrap_or_default())
    }

    /// Reads what people type: blanks, dashes and case do not matter.
    pub fn parse(typed: &str) -> Option<Self> {
        let code = codes::normalise(typed);
        if !codes::is_well_formed(&code, Self::LENGTH) {
            return None;
        }
        let value = |octet| codes::ALPHABET.iter().position(|symbol| *symbol == octet);
        let number = code.bytes().try_fold(0u64, |number, octet| {
            Some(number * BASE + u64::try_from(value(octet)?).ok()?)
        })?;
        u32::try_from(number).ok().map(Self)
    }
}

const BASE: u64 = codes::ALPHABET.len() as u64;
const COUNT: u64 = BASE * BASE * BASE * BASE * BASE * BASE;

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::from(self.0);
        let mut text = [' '; Self::LENGTH];
        for place in text.iter_mut().rev() {
            let index = usize::try_from(left % BASE).unwrap_or_default();
            *place = codes::ALPHABET.get(index).map_or('?', |symbol| char::from(*symbol));
            left /= BASE;
        }
        text.iter().try_for_each(|symbol| write!(f, "{symbol}"))
    }
}

/// A request, as the store keeps it until it expires or is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// What is to be allowed.
    pub matter: Matter,
    /// Whom it is about; for a login, who asks as well.
    pub user: UserKey,
    /// Their login name.
    pub login: String,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Nothing comes of it from then on.
    pub expires: Timestamp,
    /// Who has to approve, in this order.
    pub levels: Vec<Approver>,
    /// Who has, in the same order.
    pub words: Vec<Word>,
    /// What has become of it otherwise.
    pub end: Option<End>,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matter {
    /// To log in, from there.
    Login(Place),
    /// To do something to the person.
    Deed(Deed),
}

/// Where a login comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The RADIUS client or LDAP listener that the login came through.
    pub client: String,
    /// Its service name.
    pub service: String,
    /// The network source.
    pub source: IpAddr,
    /// Calling-Station-Id, as the client said.
    pub calling_station: Option<String>,
}

/// Something that an operator wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What.
    pub action: Action,
    /// Who asks, and is to do it.
    pub asked_by: Who,
    /// Why.
    pub reason: String,
    /// With which parameters, for those who are to approve it.
    pub parameters: Vec<(String, String)>,
    /// Binds the approval to them ([`Deed::digest`]).
    pub digest: [u8; 32],
}

impl Deed {
    /// Most parameters.
    pub const MOST_PARAMETERS: usize = 32;
    /// Longest name or value of one, in octets.
    pub const LONGEST_PARAMETER: usize = 1000;

    /// The digest of parameters, in the order of their names.
    pub fn digest(keyring: &Keyring, action: Action, parameters: &[(String, String)]) -> [u8; 32] {
        let mut said = Vec::new();
        for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
            said.extend_from_slice(&(text.len() as u64).to_be_bytes());
            said.extend_from_slice(text.as_bytes());
        }
        keyring.digest_code(format!("deed {action}").as_bytes(), &said)
    }
}

/// Somebody, by local account and, where a directory knows them, by person: one person may have several accounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Who {
    /// The local account.
    pub account: String,
    /// Key of the person.
    pub key: Option<UserKey>,
}

impl Who {
    /// Whether both are the same person, as far as can be told.
    pub fn is(&self, other: &Self) -> bool {
        account_of(&self.account) == account_of(&other.account) || (self.key.is_some() && self.key == other.key)
    }
}

/// What has become of a request, unless it is still waiting or has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It may not be.
    Denied(Word),
    /// Who asked does not want it any more.
    Cancelled(Word),
    /// It was done.
    Used(Word),
}

/// Somebody's word on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The operator.
    pub by: Who,
    /// In whose place, where it was handed to them.
    pub instead_of: Option<Who>,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

impl Word {
    /// Who said it, for listings and the audit: `ben`, `ben for ana`.
    pub fn speaker(&self) -> String {
        match &self.instead_of {
            Some(other) => format!("{} for {}", self.by.account, other.account),
            None => self.by.account.clone(),
        }
    }

    fn people(&self) -> impl Iterator<Item = &Who> {
        std::iter::once(&self.by).chain(&self.instead_of)
    }
}

/// How a request stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It waits for this level, from 0.
    Waiting(usize),
    /// Everybody has agreed.
    Approved,
    /// Somebody has not.
    Denied,
    /// It was taken back.
    Cancelled,
    /// It was used.
    Used,
    /// It is too late.
    Expired,
}

impl Stand {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting(_) => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Used => "used",
            Self::Expired => "expired",
        }
    }
}

/// Why a word on a request does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not open any more.
    #[error("the request is {} already", .0.word())]
    Over(Stand),
    /// It waits for another level than the one that was meant.
    #[error("the request waits for another level by now")]
    OtherLevel,
    /// Who asks, or whom it is about, says nothing to it.
    #[error("who asks, and whom it is about, may not approve it")]
    Party,
    /// They have approved at another level, by themselves or through somebody else.
    #[error("who has approved at one level may not approve at another")]
    Again,
    /// Only who asked may.
    #[error("only who asked for it may do that")]
    NotTheirs,
    /// It has not been approved.
    #[error("the request is not approved yet")]
    NotApproved,
    /// It was approved for something else.
    #[error("the request was approved for something else")]
    OtherMatter,
}

impl RequestRecord {
    /// Asks for a login.
    pub fn login(request: &AuthnRequest, user: &UserKey, login: &str, now: Timestamp, life: Duration) -> Self {
        let origin = &request.origin;
        Self {
            matter: Matter::Login(Place {
                client: origin.client.to_string(),
                service: origin.service.to_string(),
                source: origin.source,
                calling_station: origin.calling_station.clone(),
            }),
            user: user.clone(),
            login: login.to_owned(),
            asked: now,
            expires: now + life,
            levels: vec![Approver::ManagerOrGroup],
            words: Vec::new(),
            end: None,
        }
    }

    /// Asks for a deed that `rule` wants approved.
    pub fn deed(deed: Deed, user: &UserKey, login: &str, now: Timestamp, rule: &Rule) -> Self {
        Self {
            matter: Matter::Deed(deed),
            user: user.clone(),
            login: login.to_owned(),
            asked: now,
            expires: now + rule.life,
            levels: rule.levels.clone(),
            words: Vec::new(),
            end: None,
        }
    }

    /// What it is for.
    pub const fn action(&self) -> Action {
        match &self.matter {
            Matter::Login(_) => Action::Login,
            Matter::Deed(deed) => deed.action,
        }
    }

    /// Who asks.
    pub fn asked_by(&self) -> Who {
        match &self.matter {
            Matter::Login(_) => self.target(),
            Matter::Deed(deed) => deed.asked_by.clone(),
        }
    }

    /// Whom it is about.
    fn target(&self) -> Who {
        Who {
            account: self.login.clone(),
            key: Some(self.user.clone()),
        }
    }

    /// How it stands. Too late is too late, whatever else has become of it but its use.
    pub fn stand(&self, now: Timestamp) -> Stand {
        match &self.end {
            Some(End::Used(_)) => Stand::Used,
            Some(End::Denied(_)) => Stand::Denied,
            Some(End::Cancelled(_)) => Stand::Cancelled,
            None if now >= self.expires => Stand::Expired,
            None if self.words.len() < self.levels.len() => Stand::Waiting(self.words.len()),
            None => Stand::Approved,
        }
    }

    /// Whether it was asked for by a login of `user` from there, and is still good for one.
    pub fn is_for(&self, user: &UserKey, origin: &Origin, now: Timestamp) -> bool {
        let Matter::Login(place) = &self.matter else {
            return false;
        };
        self.user == *user
            && *place.client == *origin.client
            && *place.service == *origin.service
            && place.source == origin.source
            && place.calling_station == origin.calling_station
            && now < self.expires
    }

    /// Everybody who has a part in it besides the one it is about: who asked, and who has approved.
    pub fn parties(&self) -> Vec<Who> {
        let spoken = self.words.iter().flat_map(Word::people).cloned();
        std::iter::once(self.asked_by()).chain(spoken).collect()
    }

    /// Somebody who may approve at `level` does so. That they may is the caller's to find out.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn approve(&mut self, level: usize, word: Word) -> Result<(), Refused> {
        match self.stand(word.at) {
            Stand::Waiting(open) if open == level => {}
            Stand::Waiting(_) => return Err(Refused::OtherLevel),
            over @ (Stand::Approved | Stand::Denied | Stand::Cancelled | Stand::Used | Stand::Expired) => {
                return Err(Refused::Over(over));
            }
        }
        let outside = [self.asked_by(), self.target()];
        if word.people().any(|one| outside.iter().any(|other| one.is(other))) {
            return Err(Refused::Party);
        }
        let before = || self.words.iter().flat_map(Word::people);
        if word.people().any(|one| before().any(|other| one.is(other))) {
            return Err(Refused::Again);
        }
        self.words.push(word);
        Ok(())
    }

    /// Somebody says no, which ends it at any level.
    ///
    /// # Errors
    /// [`Refused::Over`] unless it waits.
    pub fn deny(&mut self, word: Word) -> Result<(), Refused> {
        match self.stand(word.at) {
            Stand::Waiting(_) => {
                self.end = Some(End::Denied(word));
                Ok(())
            }
            over @ (Stand::Approved | Stand::Denied | Stand::Cancelled | Stand::Used | Stand::Expired) => {
                Err(Refused::Over(over))
            }
        }
    }

    /// Who asked takes it back.
    ///
    /// # Errors
    /// [`Refused::Over`] unless it waits or is approved; [`Refused::NotTheirs`].
    pub fn cancel(&mut self, word: Word) -> Result<(), Refused> {
        match self.stand(word.at) {
            Stand::Waiting(_) | Stand::Approved if word.by.is(&self.asked_by()) => {
                self.end = Some(End::Cancelled(word));
                Ok(())
            }
            Stand::Waiting(_) | Stand::Approved => Err(Refused::NotTheirs),
            over @ (Stand::Denied | Stand::Cancelled | Stand::Used | Stand::Expired) => Err(Refused::Over(over)),
        }
    }

    /// Who asked does it: `action` to `user`, with parameters of this digest.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn spend(&mut self, action: Action, user: &UserKey, digest: &[u8; 32], word: Word) -> Result<(), Refused> {
        match self.stand(word.at) {
            Stand::Approved => {}
            Stand::Waiting(_) => return Err(Refused::NotApproved),
            over @ (Stand::Denied | Stand::Cancelled | Stand::Used | Stand::Expired) => {
                return Err(Refused::Over(over));
            }
        }
        let Matter::Deed(deed) = &self.matter else {
            return Err(Refused::OtherMatter);
        };
        if (deed.action, &self.user, &deed.digest) != (action, user, digest) {
            return Err(Refused::OtherMatter);
        }
        if !word.by.is(&deed.asked_by) {
            return Err(Refused::NotTheirs);
        }
        self.end = Some(End::Used(word));
        Ok(())
    }
}

impl Record for RequestRecord {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, octets: &[u8]) -> Option<postcard::Result<Self>> {
        (format == 1).then(|| postcard::from_bytes(octets).map(older::RequestRecord1::into_current))
    }
}

/// The format that is no longer written.
mod older {
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::{Approver, End, Matter, Place, Timestamp, UserKey, Who};

    /// Format 1: logins alone, decided by one person.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct RequestRecord1 {
        pub(super) action: Action1,
        pub(super) user: UserKey,
        pub(super) login: String,
        pub(super) client: String,
        pub(super) service: String,
        pub(super) source: IpAddr,
        pub(super) calling_station: Option<String>,
        pub(super) asked: Timestamp,
        pub(super) expires: Timestamp,
        pub(super) state: State1,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) enum Action1 {
        Login,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) enum State1 {
        Pending,
        Approved(Word1),
        Denied(Word1),
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct Word1 {
        pub(super) by: String,
        pub(super) at: Timestamp,
        pub(super) reason: String,
    }

    impl RequestRecord1 {
        pub(super) fn into_current(self) -> super::RequestRecord {
            let Action1::Login = self.action;
            let word = |word: Word1| super::Word {
                by: Who {
                    account: word.by,
                    key: None,
                },
                instead_of: None,
                at: word.at,
                reason: word.reason,
            };
            let (words, end) = match self.state {
                State1::Pending => (Vec::new(), None),
                State1::Approved(said) => (vec![word(said)], None),
                State1::Denied(said) => (Vec::new(), Some(End::Denied(word(said)))),
            };
            super::RequestRecord {
                matter: Matter::Login(Place {
                    client: self.client,
                    service: self.service,
                    source: self.source,
                    calling_station: self.calling_station,
                }),
                user: self.user,
                login: self.login,
                asked: self.asked,
                expires: self.expires,
                levels: vec![Approver::ManagerOrGroup],
                words,
                end,
            }
        }
    }
}

#[cfg(test)]
mod tests;
