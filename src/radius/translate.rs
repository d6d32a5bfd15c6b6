//! Between RADIUS and the engine: an Access-Request becomes an [`AuthnRequest`], a [`Verdict`] becomes
//! an Access-Accept, Access-Challenge, Access-Reject, or silence.

use std::sync::Arc;

use tracing::error;

use crate::clock::Timestamp;
use crate::config::Serves;
use crate::dictionary::Home;
use crate::engine::dialog::Dialog;
use crate::engine::request::BadName;
use crate::engine::session::Class;
use crate::engine::{
    AuthnRequest, Capability, Claims, Denial, Grant, LoginName, Manner, Origin, Prompt, Protocol, Purpose, Verdict,
};
use crate::keyring::Keyring;
use crate::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, ACCOUNTING_RESPONSE, CALLED_STATION_ID, CALLING_STATION_ID, CLASS,
    EAP_MESSAGE, ERROR_CAUSE, NAS_IDENTIFIER, PROMPT, PROMPT_ECHO, PROMPT_NO_ECHO, PROTOCOL_ERROR, PROXY_STATE,
    REPLY_MESSAGE, SESSION_TIMEOUT, STATE, USER_NAME,
};
use crate::radius::channel::Channel;
use crate::radius::client::Client;
use crate::radius::crypto::{AUTHENTICATOR_LEN, Salts};
use crate::radius::intake::{Sender, Settled};
use crate::radius::method::{self, Proofs, once};
use crate::radius::packet::{MAX_VALUE, Overflow, Packet, Writer};
use crate::radius::pairs::{self, Unwritten};

/// Error-Cause: Resources Unavailable (RFC 5176 section 3.5).
const RESOURCES_UNAVAILABLE: u32 = 506;

/// Why a request is answered without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody says who is logging in.
    #[error("there is no User-Name")]
    NoUserName,
    /// Two claims of who is logging in.
    #[error("User-Name is repeated")]
    RepeatedUserName,
    /// The name is not text.
    #[error("User-Name is not UTF-8")]
    UserNameNotText,
    /// The name cannot belong to anybody.
    #[error("User-Name cannot be used: {0}")]
    BadUserName(BadName),
    /// Two passwords, or two responses or challenges.
    #[error("User-Password, or a CHAP or MS-CHAP attribute, is repeated")]
    RepeatedPassword,
    /// Proofs by two methods.
    #[error("more than one of User-Password, CHAP-Password, MS-CHAP and EAP-Message")]
    ConflictingMethods,
    /// EAP is not offered.
    #[error("EAP is not supported; configure the client for PAP")]
    Eap,
    /// MS-CHAP (RFC 2433) can be broken by who listens, and proves nothing to the peer.
    #[error("MS-CHAP version 1 is not supported; configure the client for PAP or MS-CHAPv2")]
    MsChapV1,
    /// A response without the challenge that it answers.
    #[error("there is a response and no CHAP-Challenge or MS-CHAP-Challenge that it would answer")]
    NoChallenge,
    /// Nothing to check.
    #[error("there is no User-Password, and no response to a challenge")]
    NoPassword,
    /// An empty password would be an unauthenticated bind (RFC 4513 section 5.1.2).
    #[error("the password is empty")]
    EmptyPassword,
    /// A password of more than 128 octets over RADIUS/1.1 (RFC 9765 section 5.1.1).
    #[error("the password is longer than 128 octets")]
    LongPassword,
    /// State may appear once (RFC 2865 section 5.44).
    #[error("State is repeated")]
    RepeatedState,
    /// State that was not made here for this client, or too long ago.
    #[error("State is not one of ours for this client")]
    UnknownState,
}

impl Refusal {
    /// The reason in the words of the audit and the metrics.
    pub const fn denial(self) -> Denial {
        match self {
            Self::UnknownState => Denial::BadDialog,
            Self::MsChapV1 => Denial::MethodImpossible,
            Self::NoUserName
            | Self::RepeatedUserName
            | Self::UserNameNotText
            | Self::BadUserName(_)
            | Self::RepeatedPassword
            | Self::ConflictingMethods
            | Self::Eap
            | Self::NoChallenge
            | Self::NoPassword
            | Self::EmptyPassword
            | Self::LongPassword
            | Self::RepeatedState => Denial::Malformed,
        }
    }
}

/// Why no [`AuthnRequest`] comes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// Answer with an Access-Reject.
    #[error("the request is refused")]
    Refused(#[source] Refusal),
    /// Drop silently: a User-Password that is not 16 to 128 octets in blocks of 16.
    #[error("User-Password is not 16 to 128 octets in blocks of 16")]
    MalformedPassword,
    /// Drop silently: CHAP-Password, MS-CHAP2-Response or the challenge has not its length.
    #[error("CHAP-Password, MS-CHAP2-Response or its challenge has not its length")]
    MalformedResponse,
}

impl From<Refusal> for Untranslated {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Makes a login attempt, or an answer within a dialog, of an Access-Request whose integrity was checked.
///
/// The password is handed on as it was typed, in whatever encoding: with a wrong shared secret it is noise,
/// which is no password of anybody.
///
/// # Errors
/// [`Untranslated`] when there is nothing to ask the engine.
pub fn request(
    packet: &Packet<'_>,
    sender: Sender<'_>,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<AuthnRequest, Untranslated> {
    let client = sender.client;
    let fields = Fields::gather(packet)?;
    let login = login_name(fields.user_name)?;
    let user = fields.user_name.unwrap_or_default();
    let given = fields.proofs.given(packet, client.secret(sender.channel), user)?;
    let dialog = match fields.state {
        None => None,
        Some(state) => {
            let dialog = Dialog::open(state, keyring, client.name.as_bytes(), now);
            Some(dialog.ok_or(Refusal::UnknownState)?)
        }
    };
    Ok(AuthnRequest {
        login,
        given,
        dialog,
        origin: Origin {
            protocol: Protocol::Radius,
            service: Arc::clone(&client.service),
            client: Arc::clone(&client.name),
            directory: Arc::clone(&client.directory),
            source: sender.source.ip().to_canonical(),
            nas_identifier: fields.nas_identifier.and_then(plain_text),
            calling_station: fields.calling_station.and_then(plain_text),
            called_station: fields.called_station.and_then(plain_text),
            listener: sender.listener.cloned(),
            application: None,
            transport: sender.channel.transport(),
            service_account: None,
            manner: Manner {
                // In RADIUS/1.1 nothing of a request tells it from others (RFC 9765 section 4.1).
                packet: match sender.channel {
                    Channel::Udp | Channel::Tcp | Channel::Tls => Some(*packet.authenticator()),
                    Channel::Tls11 => None,
                },
                ..client.manner.clone()
            },
        },
        capability: client.capability,
        purpose: Purpose::Login,
        claims: Claims::default(),
    })
}

/// What a reply needs of its request.
#[derive(Debug)]
pub struct ReplyTo {
    client: Arc<Client>,
    channel: Channel,
    identifier: u8,
    authenticator: [u8; AUTHENTICATOR_LEN],
    /// All Proxy-State attributes as they stood, in order.
    proxy_states: Box<[u8]>,
    /// Identifier of the EAP packet in the request.
    eap: Option<u8>,
    /// Identifier of the MS-CHAPv2 response in the request.
    ms_chap: Option<u8>,
}

/// What kind of reply was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Access-Accept.
    Accept,
    /// Access-Challenge.
    Challenge,
    /// Access-Reject.
    Reject,
    /// Accounting-Response.
    Accounted,
    /// Protocol-Error: the client shall ask another server (RFC 9765 section 6.1).
    Unable,
    /// Nothing was written: the client shall ask another server, or again.
    Silence,
}

impl ReplyTo {
    /// Takes from a request what its reply will need.
    pub fn new(packet: &Packet<'_>, client: Arc<Client>, channel: Channel) -> Self {
        let mut proxy_states = Vec::new();
        let mut eap = None;
        let mut ms_chap = None;
        for attribute in packet.attributes() {
            if attribute.kind == PROXY_STATE {
                proxy_states.extend_from_slice(attribute.raw);
            } else if attribute.kind == EAP_MESSAGE && eap.is_none() {
                eap = attribute.value.get(1).copied();
            } else {
                ms_chap = ms_chap.or_else(|| method::ms_chap2_identifier(attribute));
            }
        }
        // In RADIUS/1.1 the Token is given back, and what is reserved is zero (RFC 9765 section 4.1).
        let (identifier, authenticator) = match channel {
            Channel::Udp | Channel::Tcp | Channel::Tls => (packet.identifier(), *packet.authenticator()),
            Channel::Tls11 => {
                let [one, two, three, four] = packet.token();
                (0, [one, two, three, four, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        };
        Self {
            client,
            channel,
            identifier,
            authenticator,
            proxy_states: proxy_states.into(),
            eap,
            ms_chap,
        }
    }

    /// The client that is replied to.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Writes the reply to work that is done into `buffer`.
    pub(in crate::radius) fn settled(
        &self,
        settled: &Settled,
        keyring: &Keyring,
        now: Timestamp,
        buffer: &mut Vec<u8>,
    ) -> Reply {
        match settled {
            Settled::Verdict(verdict) => self.verdict(verdict, keyring, now, buffer),
            Settled::Accounted => self.accounted(buffer),
            Settled::Unaccounted => self.unable(buffer),
        }
    }

    /// Writes the reply that a verdict calls for into `buffer`.
    pub fn verdict(&self, verdict: &Verdict, keyring: &Keyring, now: Timestamp, buffer: &mut Vec<u8>) -> Reply {
        match verdict {
            Verdict::Accept(grant) => self.accept(grant, keyring, buffer),
            Verdict::Challenge(prompt) => self.challenge(prompt, keyring, now, buffer),
            // A restricted session is nothing that a NAS could hold: it is never asked for here.
            Verdict::Reject(_) | Verdict::Restricted(_) => self.reject(buffer),
            Verdict::Closed(closed) => {
                self.with_text_if_it_fits(ACCESS_REJECT, Some(&closed.text), buffer);
                Reply::Reject
            }
            Verdict::Unavailable(_) => self.unable(buffer),
        }
    }

    /// What is written when a request cannot be worked on: nothing, but over RADIUS/1.1 a Protocol-Error, which
    /// sends the client to its next server at once (RFC 9765 section 6.1).
    pub(in crate::radius) fn unable(&self, buffer: &mut Vec<u8>) -> Reply {
        buffer.clear();
        match self.channel {
            Channel::Udp | Channel::Tcp | Channel::Tls => Reply::Silence,
            Channel::Tls11 => {
                let mut writer = self.begin(PROTOCOL_ERROR, buffer);
                let written = writer
                    .push_u32(ERROR_CAUSE, RESOURCES_UNAVAILABLE)
                    .and_then(|()| writer.push_raw(&self.proxy_states));
                match written {
                    Ok(()) => self.finish(writer),
                    Err(Overflow) => buffer.clear(),
                }
                Reply::Unable
            }
        }
    }

    /// Answers a Status-Server as the port's own requests are answered (RFC 5997 section 3).
    pub fn status(&self, serves: Serves, buffer: &mut Vec<u8>) {
        let code = if serves.authentication {
            ACCESS_ACCEPT
        } else {
            ACCOUNTING_RESPONSE
        };
        self.with_text_if_it_fits(code, None, buffer);
    }

    /// Writes an Access-Accept with the rule's attributes: all of them, or it becomes an Access-Reject,
    /// since without one of them the client could allow too much. Text and Class give way first.
    fn accept(&self, grant: &Grant, keyring: &Keyring, buffer: &mut Vec<u8>) -> Reply {
        let client = &self.client;
        let class = Class {
            user: grant.person.key.clone(),
            grant: grant.id,
        };
        let class = client.class.then(|| class.write(keyring, &client.name)).flatten();
        let message = grant.message.as_deref();
        let written = self
            .write_accept(grant, class.as_deref(), message, buffer)
            .or_else(|_| self.write_accept(grant, class.as_deref(), None, buffer))
            .or_else(|_| self.write_accept(grant, None, None, buffer));
        match written {
            Ok(()) => Reply::Accept,
            Err(error) => {
                let user = &grant.person.login;
                error!(client = %self.client.name, user, "the Access-Accept cannot be written: {error}; rejected");
                self.reject(buffer)
            }
        }
    }

    fn write_accept(
        &self,
        grant: &Grant,
        class: Option<&[u8]>,
        message: Option<&str>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Unwritten> {
        let full = |what: &'static str| move |Overflow| Unwritten::Full(what.into());
        let secret = self.client.secret(self.channel);
        let mut salts = Salts::default();
        let mut writer = self.begin(ACCESS_ACCEPT, buffer);
        if let Some(success) = grant.ms_chap.as_deref() {
            method::write_success(success, secret, &self.authenticator, &mut salts, &mut writer)
                .map_err(full("MS-CHAP2-Success"))?;
        }
        let login = &grant.person.login;
        let named = grant
            .reply
            .iter()
            .any(|pair| pair.attribute.home == Home::Standard && pair.attribute.number == u32::from(USER_NAME));
        if self.client.user_name_in_accept && !named && (1..=MAX_VALUE).contains(&login.len()) {
            writer.push(USER_NAME, login.as_bytes()).map_err(full("User-Name"))?;
        }
        if let Some(class) = class {
            writer.push(CLASS, class).map_err(full("Class"))?;
        }
        writer
            .push_text(REPLY_MESSAGE, message.unwrap_or_default())
            .map_err(full("Reply-Message"))?;
        let hiding = secret.map(|secret| (secret, &self.authenticator));
        pairs::write(&mut writer, &grant.reply, hiding, &mut salts)?;
        writer.push_raw(&self.proxy_states).map_err(full("Proxy-State"))?;
        self.finish(writer);
        Ok(())
    }

    fn accounted(&self, buffer: &mut Vec<u8>) -> Reply {
        // Without Message-Authenticator: RFC 3579 section 3.3 has none in accounting, and implementations
        // differ in what it would be made over.
        let mut writer = Writer::begin(buffer, ACCOUNTING_RESPONSE, self.identifier, &self.authenticator, false);
        match writer.push_raw(&self.proxy_states) {
            Ok(()) => self.finish(writer),
            Err(Overflow) => buffer.clear(),
        }
        Reply::Accounted
    }

    /// Writes an Access-Reject with the one text that all of this client's carry, whatever the reason.
    pub fn reject(&self, buffer: &mut Vec<u8>) -> Reply {
        self.with_text_if_it_fits(ACCESS_REJECT, Some(&self.client.refused), buffer);
        Reply::Reject
    }

    fn challenge(&self, prompt: &Prompt, keyring: &Keyring, now: Timestamp, buffer: &mut Vec<u8>) -> Reply {
        match self.client.capability {
            Capability::Dialog | Capability::SingleChallenge => {}
            Capability::Append(_) | Capability::None => {
                error!(client = %self.client.name, "a challenge for a client that cannot show one; rejected");
                return self.reject(buffer);
            }
        }
        let Some(state) = prompt.dialog.seal(keyring, self.client.name.as_bytes(), now) else {
            error!(client = %self.client.name, "the dialog does not fit into State; rejected");
            return self.reject(buffer);
        };
        if self.write_challenge(prompt, &state, now, buffer).is_err() {
            error!(client = %self.client.name, "the challenge does not fit into a packet with its Proxy-State; rejected");
            return self.reject(buffer);
        }
        Reply::Challenge
    }

    fn write_challenge(
        &self,
        prompt: &Prompt,
        state: &[u8],
        now: Timestamp,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Overflow> {
        let echo = if prompt.echo { PROMPT_ECHO } else { PROMPT_NO_ECHO };
        let left = prompt.dialog.expires.since(now).as_secs();
        let mut writer = self.begin(ACCESS_CHALLENGE, buffer);
        writer.push_text(REPLY_MESSAGE, &prompt.text)?;
        writer.push(STATE, state)?;
        writer.push_u32(PROMPT, echo)?;
        writer.push_u32(SESSION_TIMEOUT, u32::try_from(left).unwrap_or(u32::MAX))?;
        writer.push_raw(&self.proxy_states)?;
        self.finish(writer);
        Ok(())
    }

    /// Proxy-State came in a request that also had a name and a password, so it fits a reply of nothing
    /// else; a text may not.
    fn with_text_if_it_fits(&self, code: u8, text: Option<&str>, buffer: &mut Vec<u8>) {
        if self.write_final(code, text, buffer).is_err() && self.write_final(code, None, buffer).is_err() {
            error!(client = %self.client.name, "a reply does not fit a packet");
            buffer.clear();
        }
    }

    fn write_final(&self, code: u8, text: Option<&str>, buffer: &mut Vec<u8>) -> Result<(), Overflow> {
        let mut writer = self.begin(code, buffer);
        if let (ACCESS_REJECT, Some(identifier)) = (code, self.eap) {
            writer.push(EAP_MESSAGE, &[EAP_FAILURE, identifier, 0, 4])?;
        }
        if let (ACCESS_REJECT, Some(identifier)) = (code, self.ms_chap) {
            method::write_error(identifier, &mut writer)?;
        }
        writer.push_text(REPLY_MESSAGE, text.unwrap_or_default())?;
        writer.push_raw(&self.proxy_states)?;
        self.finish(writer);
        Ok(())
    }

    fn begin<'b>(&self, code: u8, buffer: &'b mut Vec<u8>) -> Writer<'b> {
        // A reply with EAP-Message must be signed, whatever the client's settings (RFC 3579 section 3.2).
        let sign = self.channel != Channel::Tls11 && (self.client.sign_replies || self.eap.is_some());
        Writer::begin(buffer, code, self.identifier, &self.authenticator, sign)
    }

    fn finish(&self, writer: Writer<'_>) {
        match self.client.secret(self.channel) {
            Some(secret) => writer.finish_reply(secret),
            None => writer.finish_plain(),
        }
    }
}

/// EAP Failure (RFC 3748 section 4.2).
const EAP_FAILURE: u8 = 4;

/// The attributes that decide what a request is, found in one walk.
#[derive(Default)]
struct Fields<'a> {
    user_name: Option<&'a [u8]>,
    state: Option<&'a [u8]>,
    nas_identifier: Option<&'a [u8]>,
    calling_station: Option<&'a [u8]>,
    called_station: Option<&'a [u8]>,
    proofs: Proofs<'a>,
}

impl<'a> Fields<'a> {
    fn gather(packet: &Packet<'a>) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for attribute in packet.attributes() {
            let value = attribute.value;
            match attribute.kind {
                USER_NAME => once(&mut fields.user_name, value, Refusal::RepeatedUserName)?,
                STATE => once(&mut fields.state, value, Refusal::RepeatedState)?,
                NAS_IDENTIFIER => fields.nas_identifier = Some(value),
                CALLING_STATION_ID => fields.calling_station = Some(value),
                CALLED_STATION_ID => fields.called_station = Some(value),
                _ => fields.proofs.take(attribute)?,
            }
        }
        Ok(fields)
    }
}

fn login_name(value: Option<&[u8]>) -> Result<LoginName, Refusal> {
    let Some(octets) = value.filter(|octets| !octets.is_empty()) else {
        return Err(Refusal::NoUserName);
    };
    let text = std::str::from_utf8(octets).map_err(|_| Refusal::UserNameNotText)?;
    LoginName::parse(text).map_err(Refusal::BadUserName)
}

/// A text for policies and logs; one that is no text or holds control characters says nothing.
fn plain_text(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
