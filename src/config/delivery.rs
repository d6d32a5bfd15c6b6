//! `[[delivery]]`: how codes reach people: by e-mail, or through an HTTP gateway (text message, voice).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::same_secret;
use crate::engine::authenticator::Kind;
use crate::secret::Secret;

/// One way for codes to reach people.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// Its name, in status, logs and the audit.
    pub name: String,
    /// What it speaks.
    pub kind: DeliveryKind,
    /// The factor that its codes prove; `email-code` for `smtp`, `gateway-code` for `http` when absent.
    #[serde(default)]
    pub serves: Option<ServedKind>,
    /// Attributes of a person's entry that the destination stands in; the first with a value counts. `mail`, or
    /// `mobile`, when empty.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Numbers: the country that numbers without a country code are of, such as `49`.
    #[serde(default)]
    pub country_code: Option<String>,
    /// Numbers: what a number must begin with, such as `+49`; anything when empty.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// E-mail: domains that codes may be sent to; any when empty.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Digits of a code: 6 to 8.
    #[serde(default = "digits")]
    pub digits: u8,
    /// How long a code is good for: 1 to 10 minutes.
    #[serde(default = "life", with = "crate::document::span")]
    pub life: Duration,
    /// Most codes to one destination within `window`.
    #[serde(default = "per_destination")]
    pub per_destination: u32,
    /// Most codes to one person within `window`, whatever the destination.
    #[serde(default = "per_person")]
    pub per_person: u32,
    /// See `per_destination`.
    #[serde(default = "window", with = "crate::document::span")]
    pub window: Duration,
    /// The text of the message: `{code}`, `{minutes}`, `{login}` and `{service}` are filled in.
    #[serde(default = "text")]
    pub text: String,
    /// Longest time for one message: 1 s to 60 s.
    #[serde(default = "timeout", with = "crate::document::span")]
    pub timeout: Duration,
    /// Messages on their way at once.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Messages that wait for their turn; more are not sent.
    #[serde(default = "queue")]
    pub queue: usize,
    /// PEM file of the authorities that the server's certificate is verified against; the system's when absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,

    /// SMTP: host, with a port if it is not the usual one.
    #[serde(default)]
    pub server: Option<String>,
    /// SMTP: how the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Lets messages travel unencrypted to a server that is not on this machine.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// SMTP: account to send as.
    #[serde(default)]
    pub login: Option<String>,
    /// SMTP: its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// SMTP: file that holds it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// SMTP: the sender, `codes@example.org` or `Codes <codes@example.org>`.
    #[serde(default)]
    pub from: Option<String>,
    /// SMTP: the subject, with the same places as `text`.
    #[serde(default = "subject")]
    pub subject: String,

    /// HTTP: where to, with `{destination}`, `{code}` and `{text}`, each escaped for the place it stands in.
    #[serde(default)]
    pub url: Option<String>,
    /// HTTP: the method.
    #[serde(default)]
    pub method: Method,
    /// HTTP: headers, by their names.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// HTTP: headers whose values are secret: the file that holds each.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// HTTP: those values, read.
    #[serde(skip)]
    pub secret_headers: BTreeMap<String, Secret>,
    /// HTTP: the body, with the places of `url`.
    #[serde(default)]
    pub body: Option<String>,
    /// HTTP: statuses that mean that the message was taken; all of 2xx when empty.
    #[serde(default)]
    pub success: Vec<u16>,
    /// HTTP: a text that the answer must hold besides.
    #[serde(default)]
    pub success_text: Option<String>,
}

impl Delivery {
    /// The factor that its codes prove.
    pub fn serves(&self) -> Kind {
        match (self.serves, self.kind) {
            (Some(ServedKind::EmailCode), _) | (None, DeliveryKind::Smtp) => Kind::EmailCode,
            (Some(ServedKind::GatewayCode), _) | (None, DeliveryKind::Http) => Kind::GatewayCode,
        }
    }

    /// The attributes that the destination stands in, in order of preference.
    pub fn attributes(&self) -> Vec<&str> {
        match (self.attributes.as_slice(), self.kind) {
            ([], DeliveryKind::Smtp) => vec!["mail"],
            ([], DeliveryKind::Http) => vec!["mobile"],
            (given, _) => given.iter().map(String::as_str).collect(),
        }
    }

    /// Host and port of a mail server, as `server` writes them: `host`, `host:port`, `[::1]:port` or `::1`.
    pub fn host_and_port(server: &str, tls: SmtpTls) -> Option<(String, u16)> {
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
            }
            None if server.parse::<IpAddr>().is_ok() => (server, ""),
            None => match server.split_once(':') {
                Some((_, "")) => return None,
                Some(parts) => parts,
                None => (server, ""),
            },
        };
        let port = match port {
            "" => tls.port(),
            port => port.parse().ok().filter(|port| *port != 0)?,
        };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_owned(), port))
    }
}

/// As for [`crate::config::LdapDirectory`].
impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        let same_headers = self.secret_headers.len() == other.secret_headers.len()
            && self
                .secret_headers
                .iter()
                .all(|(name, value)| same_secret(Some(value), other.secret_headers.get(name)));
        same_headers
            && same_secret(self.password.as_ref(), other.password.as_ref())
            && format!("{self:?}") == format!("{other:?}")
    }
}

/// What a delivery speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryKind {
    /// Mail (RFC 5321).
    Smtp,
    /// One request for each message.
    Http,
}

/// The factors that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServedKind {
    /// A code by e-mail.
    EmailCode,
    /// A code by text message or voice.
    GatewayCode,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// TLS from the first octet (RFC 8314 section 3.3); port 465.
    Implicit,
    /// STARTTLS (RFC 3207), without which nothing is sent; port 587.
    #[default]
    Starttls,
    /// None; port 25.
    None,
}

impl SmtpTls {
    /// The port where none is given.
    pub const fn port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
            Self::None => 25,
        }
    }
}

/// Methods of requests to gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
}

fn digits() -> u8 {
    6
}

fn life() -> Duration {
    Duration::from_secs(5 * 60)
}

fn per_destination() -> u32 {
    5
}

fn per_person() -> u32 {
    10
}

fn window() -> Duration {
    Duration::from_secs(15 * 60)
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

fn in_flight() -> usize {
    16
}

fn queue() -> usize {
    64
}

fn subject() -> String {
    "Your code".into()
}

fn text() -> String {
    "Your code is {code}. It is good for {minutes} minutes. If you did not ask for it, somebody knows your password."
        .into()
}
