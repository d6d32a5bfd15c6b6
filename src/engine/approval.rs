//! Requests that somebody else has to approve: asked for with a login, decided by another person, used once.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::authenticator::codes;
use crate::engine::facts::UserKey;
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
    pub action: Action,
    /// Who asks.
    pub user: UserKey,
    /// Their login name.
    pub login: String,
    /// The RADIUS client or LDAP listener that the login came through.
    pub client: String,
    /// Its service name.
    pub service: String,
    /// The network source.
    pub source: IpAddr,
    /// Calling-Station-Id, as the client said.
    pub calling_station: Option<String>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Nothing comes of it from then on.
    pub expires: Timestamp,
    /// How it stands.
    pub state: State,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// To log in.
    Login,
}

impl Action {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
        }
    }
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nobody has said anything.
    Pending,
    /// It may be.
    Approved(Word),
    /// It may not.
    Denied(Word),
}

impl State {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
        }
    }
}

/// Somebody's word on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

impl RequestRecord {
    /// Asks for a login.
    pub fn login(request: &AuthnRequest, user: &UserKey, login: &str, now: Timestamp, life: Duration) -> Self {
        let origin = &request.origin;
        Self {
            action: Action::Login,
            user: user.clone(),
            login: login.to_owned(),
            client: origin.client.to_string(),
            service: origin.service.to_string(),
            source: origin.source,
            calling_station: origin.calling_station.clone(),
            asked: now,
            expires: now + life,
            state: State::Pending,
        }
    }

    /// Whether it was asked for by a login of `user` from there, and is still good for one.
    pub fn is_for(&self, user: &UserKey, origin: &Origin, now: Timestamp) -> bool {
        self.action == Action::Login
            && self.user == *user
            && *self.client == *origin.client
            && *self.service == *origin.service
            && self.source == origin.source
            && self.calling_station == origin.calling_station
            && now < self.expires
    }
}

impl Record for RequestRecord {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        let keyring = Keyring::from_root(&[1; 32]);
        for nonce in 0..1000 {
            let id = RequestId::of(&keyring, nonce, Timestamp::from_secs(nonce));
            let text = id.to_string();
            assert_eq!(text.len(), RequestId::LENGTH);
            assert_eq!(RequestId::parse(&text), Some(id), "{text}");
            assert_eq!(
                RequestId::parse(&format!(" {}-{} ", &text[..3].to_lowercase(), &text[3..])),
                Some(id)
            );
        }
        for wrong in ["", "K7QXM", "K7QXM33", "K7QXM0", "ü7QXM3"] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong}");
        }
        let now = Timestamp::from_secs(1);
        assert_ne!(RequestId::of(&keyring, 1, now), RequestId::of(&keyring, 2, now));
    }
}
