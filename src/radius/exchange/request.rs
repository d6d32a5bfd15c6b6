//! Questions, before it is known over which channel they leave.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock;
use crate::dictionary::Pair;
use crate::radius::attribute::{
    ACCESS_REQUEST, ACCOUNTING_REQUEST, COA_REQUEST, DISCONNECT_REQUEST, STATUS_SERVER, USER_PASSWORD,
};
use crate::radius::crypto::{AUTHENTICATOR_LEN, MAX_PASSWORD, Salts, SharedSecret};
use crate::radius::packet::{HEADER_LEN, Overflow, Writer, append, pieces};
use crate::radius::pairs;
use crate::secret::Secret;

/// One question. Attributes leave in the order in which they were pushed, after Message-Authenticator.
#[derive(Clone, Debug)]
pub struct Request {
    kind: Kind,
    /// Goes without the Message-Authenticator that it may have.
    unsigned: bool,
    /// Attributes as they stand in the packet.
    attributes: Vec<u8>,
    /// User-Password, and where in `attributes` it stands.
    password: Option<(usize, Secret)>,
    /// Values that depend on the channel, and where they stand.
    made: Vec<(usize, Made)>,
}

/// Makes attributes, type and length included, for the channel's secret (`None` over RADIUS/1.1) and the
/// Request Authenticator; `None` when a value does not fit.
type Maker = dyn Fn(Option<&SharedSecret>, &[u8; AUTHENTICATOR_LEN]) -> Option<Vec<u8>> + Send + Sync;

#[derive(Clone)]
struct Made(Arc<Maker>);

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("attributes made when sent")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Access,
    Status,
    Accounting,
    Disconnect,
    CoA,
}

/// A packet that is ready to leave.
pub(super) struct Encoded {
    /// Held so that it is overwritten: over RADIUS/1.1 passwords are in it as they are.
    pub(super) octets: Zeroizing<Vec<u8>>,
    /// What the reply must be bound to.
    pub(super) authenticator: [u8; AUTHENTICATOR_LEN],
}

/// How a packet is told from others in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark<'a> {
    /// By its Identifier; signed with the secret.
    Identifier(u8, &'a SharedSecret),
    /// By its Token (RFC 9765 section 4.1).
    Token(u32),
}

impl Request {
    /// Access-Request (RFC 2865 section 4.1).
    pub fn access() -> Self {
        Self::new(Kind::Access)
    }

    /// Status-Server (RFC 5997).
    pub fn status_server() -> Self {
        Self::new(Kind::Status)
    }

    /// Accounting-Request (RFC 2866 section 4.1).
    pub fn accounting() -> Self {
        Self::new(Kind::Accounting)
    }

    /// Disconnect-Request (RFC 5176 section 2.1).
    pub fn disconnect() -> Self {
        Self::new(Kind::Disconnect)
    }

    /// CoA-Request (RFC 5176 section 2.2).
    pub fn change_of_authorization() -> Self {
        Self::new(Kind::CoA)
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            unsigned: false,
            attributes: Vec::new(),
            password: None,
            made: Vec::new(),
        }
    }

    /// Its packet code.
    pub const fn code(&self) -> u8 {
        match self.kind {
            Kind::Access => ACCESS_REQUEST,
            Kind::Status => STATUS_SERVER,
            Kind::Accounting => ACCOUNTING_REQUEST,
            Kind::Disconnect => DISCONNECT_REQUEST,
            Kind::CoA => COA_REQUEST,
        }
    }

    /// Sends a Disconnect-Request or CoA-Request without Message-Authenticator, for clients that reject it.
    /// Others keep theirs.
    pub const fn leave_unsigned(&mut self) {
        self.unsigned = true;
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// [`Overflow`] when the value has more than 253 octets.
    pub fn push(&mut self, kind: u8, value: &[u8]) -> Result<(), Overflow> {
        append(kind, value, &mut self.attributes)
    }

    /// Adds an attribute of type integer.
    ///
    /// # Errors
    /// None in practice.
    pub fn push_u32(&mut self, kind: u8, value: u32) -> Result<(), Overflow> {
        self.push(kind, &value.to_be_bytes())
    }

    /// Adds a text, over as many attributes as it takes.
    ///
    /// # Errors
    /// None in practice; the packet's length is checked when it leaves.
    pub fn push_text(&mut self, kind: u8, text: &str) -> Result<(), Overflow> {
        pieces(text).try_for_each(|piece| self.push(kind, piece.as_bytes()))
    }

    /// Adds attributes that are encoded already, with type and length.
    pub fn push_raw(&mut self, attributes: &[u8]) {
        self.attributes.extend_from_slice(attributes);
    }

    /// Adds User-Password: hidden or as it is, as the channel wants it. At most one counts.
    pub fn push_password(&mut self, password: &Secret) {
        self.password = Some((self.attributes.len(), password.clone()));
    }

    /// Adds attributes whose encoding depends on the channel: `make` gets the shared secret (`None` over
    /// RADIUS/1.1, where values travel as they are) and the Request Authenticator (zeros in packets whose
    /// authenticator is computed over their contents), and returns attributes with type and length, or
    /// `None` when they do not fit.
    pub fn push_made(
        &mut self,
        make: impl Fn(Option<&SharedSecret>, &[u8; AUTHENTICATOR_LEN]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.made.push((self.attributes.len(), Made(Arc::new(make))));
    }

    /// Adds attributes of the dictionary, hidden as the channel wants it.
    pub fn push_pairs(&mut self, given: &Arc<[Pair]>) {
        if given.is_empty() {
            return;
        }
        let given = Arc::clone(given);
        self.push_made(move |secret, authenticator| {
            let mut octets = Vec::new();
            let mut writer = Writer::begin(&mut octets, 0, 0, authenticator, false);
            let hiding = secret.map(|secret| (secret, authenticator));
            pairs::write(&mut writer, &given, hiding, &mut Salts::default()).ok()?;
            Some(octets.split_off(HEADER_LEN))
        });
    }

    /// Writes the packet. `None` when it does not fit.
    pub(super) fn encode(&self, mark: Mark<'_>) -> Option<Encoded> {
        match mark {
            Mark::Identifier(identifier, secret) => self.encode_signed(identifier, secret),
            Mark::Token(token) => self.encode_plain(token),
        }
    }

    fn encode_signed(&self, identifier: u8, secret: &SharedSecret) -> Option<Encoded> {
        let zeros = [0; AUTHENTICATOR_LEN];
        // Access-Request and Status-Server: unpredictable (RFC 2865 section 3). The others: MD5 over the
        // packet with zeros in its place (RFC 2866 section 3, RFC 5176 section 2.3).
        let (authenticator, sign, computed) = match self.kind {
            Kind::Access | Kind::Status => (clock::random(), true, false),
            Kind::Accounting => (zeros, false, true),
            Kind::Disconnect | Kind::CoA => (zeros, !self.unsigned, true),
        };
        let mut octets = Zeroizing::new(Vec::with_capacity(self.attributes.len() + 192));
        let mut writer = Writer::begin(&mut octets, self.code(), identifier, &authenticator, sign);
        self.write(&mut writer, Some(secret), &authenticator)?;
        if computed {
            writer.finish_reply(secret);
        } else {
            writer.finish_request(secret);
        }
        let authenticator = *octets.get(4..)?.first_chunk()?;
        Some(Encoded { octets, authenticator })
    }

    fn encode_plain(&self, token: u32) -> Option<Encoded> {
        let [a, b, c, d] = token.to_be_bytes();
        let mut field = [0; AUTHENTICATOR_LEN];
        field[..4].copy_from_slice(&[a, b, c, d]);
        let mut octets = Zeroizing::new(Vec::with_capacity(self.attributes.len() + 192));
        let mut writer = Writer::begin(&mut octets, self.code(), 0, &field, false);
        self.write(&mut writer, None, &field)?;
        writer.finish_plain();
        Some(Encoded {
            octets,
            authenticator: field,
        })
    }

    /// Writes the attributes, with what depends on the channel in its places.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        secret: Option<&SharedSecret>,
        authenticator: &[u8; AUTHENTICATOR_LEN],
    ) -> Option<()> {
        let mut done = 0;
        let mut made = self.made.iter().peekable();
        let mut password = self.password.as_ref();
        loop {
            let password_at = password.map_or(usize::MAX, |(at, _)| *at);
            let made_at = made.peek().map_or(usize::MAX, |(at, _)| *at);
            let until = password_at.min(made_at).min(self.attributes.len());
            writer.push_raw(self.attributes.get(done..until)?).ok()?;
            done = until;
            if let Some((_, make)) = made.next_if(|_| made_at == until) {
                writer
                    .push_raw(&Zeroizing::new((make.0)(secret, authenticator)?))
                    .ok()?;
            } else if let Some((_, typed)) = password.take_if(|_| password_at == until) {
                let value = match secret {
                    Some(secret) => Zeroizing::new(secret.hide(typed, authenticator)?),
                    // The bound stays (RFC 9765 section 5.1.1).
                    None if typed.len() > MAX_PASSWORD => return None,
                    None => Zeroizing::new(typed.expose().to_vec()),
                };
                writer.push(USER_PASSWORD, &value).ok()?;
            } else {
                return Some(());
            }
        }
    }
}
