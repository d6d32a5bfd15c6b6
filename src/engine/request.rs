//! What a front end asks of the engine: who, with what, from where, over which kind of conversation.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::engine::authenticator::{Kind, yubico_otp};
use crate::engine::dialog::Dialog;
use crate::engine::policy::Rule;
use crate::engine::response::Response;
use crate::secret::Secret;

/// One login attempt, or one answer within a dialog.
#[derive(Debug)]
pub struct AuthnRequest {
    /// Who says they are logging in.
    pub login: LoginName,
    /// What the login is to be proven with.
    pub given: Given,
    /// The dialog this answers, already unsealed and found to belong to this client.
    pub dialog: Option<Dialog>,
    /// Where it came from.
    pub origin: Origin,
    /// What kind of conversation the front end and its client can hold.
    pub capability: Capability,
    /// What for.
    pub purpose: Purpose,
    /// What else it says of who it is from.
    pub claims: Claims,
}

/// What a request says of who it is from besides the login name. Each name is looked up, and counts for as
/// much as it turns out to be the same person's.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The name that a verified certificate gives to whoever holds its key. It proves something if it is the
    /// person's who logs in; otherwise it is somebody else's (an application's) and proves nothing.
    pub certificate: Option<LoginName>,
    /// The authorization identity (RFC 4513 section 5.2.1.8): it must be the person's who logs in.
    pub acting_as: Option<LoginName>,
    /// The SASL mechanism, for logs and the audit; `None` for what is no SASL.
    pub mechanism: Option<Arc<str>>,
}

impl AuthnRequest {
    /// What rules are asked about: what the dialog that is answered is for, else the purpose.
    pub fn operation(&self) -> Operation {
        match self.dialog.as_ref().map(|dialog| &dialog.course) {
            Some(Some(course)) => course.start.operation(),
            None if self.asks_for_help() => Operation::Recovery,
            Some(None) | None => self.purpose.operation(),
        }
    }

    /// Whether somebody can be led to a new password from here: in a session for that, or in the dialog.
    pub fn can_renew(&self) -> bool {
        match self.purpose {
            Purpose::LoginOrChange { .. } => true,
            Purpose::Login => self.capability == Capability::Dialog,
            Purpose::NewPassword(_) => false,
        }
    }

    /// Whether the word for a forgotten password stands in its place.
    pub fn asks_for_help(&self) -> bool {
        match (&self.given, &self.origin.manner.recover, &self.dialog, &self.purpose) {
            (Given::Typed(typed), Some(word), None, Purpose::Login) => {
                self.capability == Capability::Dialog && typed.expose() == word.as_bytes()
            }
            (_, _, _, _) => false,
        }
    }

    /// The password that is to be set, if that is what the request is for.
    pub const fn new_password(&self) -> Option<&Secret> {
        match &self.purpose {
            Purpose::NewPassword(new) => Some(new),
            Purpose::Login | Purpose::LoginOrChange { .. } => None,
        }
    }
}

/// What somebody proves who they are for.
#[derive(Debug)]
pub enum Purpose {
    /// To be let in.
    Login,
    /// To be let in, or else to change the password and nothing more, where it must be changed first or a
    /// passcode stands in for it: for front ends that can hold such a session.
    LoginOrChange {
        /// Whether an expired password is one that must be changed. Where the directory lets nobody in with
        /// one, not even to change it, it is not.
        expired: bool,
    },
    /// To set a new password, never empty, in place of the one that is given or that a passcode stands for.
    NewPassword(Secret),
}

impl Purpose {
    /// What rules are asked about.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Login | Self::LoginOrChange { .. } => Operation::Login,
            Self::NewPassword(_) => Operation::PasswordChange,
        }
    }
}

/// What somebody means to do, as policy conditions see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// To log in.
    #[default]
    Login,
    /// To change a password.
    PasswordChange,
    /// To get help after forgetting the password.
    Recovery,
}

impl Operation {
    /// The action that the audit knows it by.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::PasswordChange => "password.change",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::PasswordChange => "password-change",
            Self::Recovery => "recovery",
        })
    }
}

/// What a login, or an answer within a dialog, comes with.
#[derive(Clone, Debug)]
pub enum Given {
    /// What was typed into the password field (RADIUS User-Password, LDAP simple bind). Empty only for a new
    /// password in a session that was opened for nothing else: what was proven then is in the dialog.
    Typed(Secret),
    /// The response to a challenge that somebody else has made: the password itself never gets here.
    Response(Response),
    /// Nothing: this has been proven before the engine is asked, a certificate's key by TLS, a SASL mechanism
    /// by the directory.
    Proven(Kind),
}

/// Where a request came from, as policy conditions and the audit see it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The front end.
    pub protocol: Protocol,
    /// The service name that the client's or listener's configuration gives (`vpn`, `wiki`).
    pub service: Arc<str>,
    /// The configured name of the RADIUS client, or of the LDAP listener.
    pub client: Arc<str>,
    /// The directory that this client's users are in.
    pub directory: Arc<str>,
    /// The network source of the request: for RADIUS the client itself.
    pub source: IpAddr,
    /// NAS-Identifier (RFC 2865 section 5.32), as sent.
    pub nas_identifier: Option<String>,
    /// Calling-Station-Id (RFC 2865 section 5.31), as sent: a hint, never proof.
    pub calling_station: Option<String>,
    /// Called-Station-Id (RFC 2865 section 5.30), as sent: a hint, never proof.
    pub called_station: Option<String>,
    /// The configured name of the listener, where the front end says it; for LDAP that is the client.
    pub listener: Option<Arc<str>>,
    /// The application behind an LDAP listener that several share, where its configuration tells them apart.
    pub application: Option<Arc<str>>,
    /// How messages travel between the client and us.
    pub transport: Transport,
    /// What is asked of the name, where it is that of one of the listener's service accounts and `source` an
    /// address that it may come from.
    pub service_account: Option<Arc<Rule>>,
    /// What its dialogs are like.
    pub manner: Manner,
}

impl Origin {
    /// Whether nobody between the client and us can read or change messages.
    pub const fn encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }
}

/// How messages travel between a client and us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Datagrams: RADIUS (RFC 2865).
    #[default]
    Udp,
    /// A connection without TLS: RADIUS (RFC 6613), LDAP.
    Tcp,
    /// TLS, from the beginning or by StartTLS: RADIUS (RFC 6614, RFC 9765), LDAP.
    Tls,
}

impl Transport {
    /// Whether nobody on the way can read or change messages.
    pub const fn is_encrypted(self) -> bool {
        match self {
            Self::Udp | Self::Tcp => false,
            Self::Tls => true,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// What the dialogs of a client are like.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// What somebody types in place of the password who has forgotten it; nothing where the client has no such
    /// word.
    pub recover: Option<Arc<str>>,
    /// The language of its prompts, as the prompt files name it; the configured default when absent.
    pub language: Option<Arc<str>>,
    /// Whether texts are to be ASCII only.
    pub ascii: bool,
    /// The Request Authenticator (RFC 2865 section 3), by which a request is known when it is sent again;
    /// nothing where there is none.
    pub packet: Option<[u8; 16]>,
}

/// The front end that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RADIUS (RFC 2865).
    Radius,
    /// An LDAP bind (RFC 4511).
    Ldap,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Radius => "radius",
            Self::Ldap => "ldap",
        })
    }
}

/// What kind of conversation is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Any number of challenges.
    Dialog,
    /// One challenge, then the verdict.
    SingleChallenge,
    /// None, but a code may stand behind the password in the same field.
    Append(Split),
    /// One password, nothing else.
    None,
}

/// How a code is cut off the password it was appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// At the last occurrence of this character.
    Separator(char),
    /// The last N characters are the code.
    Fixed(u8),
}

impl Split {
    /// Cuts `typed` into password and code; `None` when there is no code in it or no password before it. What a
    /// key has typed at the end ([`yubico_otp::LENGTH`]) is a code by its form: nobody types a separator before it.
    pub fn cut(self, typed: &Secret) -> Option<(Secret, Secret)> {
        let octets = typed.expose();
        let separator = match self {
            Self::Separator(mark) => Some(mark),
            Self::Fixed(_) => None,
        };
        let of_a_key = |text| yubico_otp::cut(text, separator);
        if octets.len() > yubico_otp::LENGTH
            && let Some((password, code)) = typed.expose_str().and_then(of_a_key)
        {
            return Some((Secret::new(password), Secret::new(code)));
        }
        let (password, code) = match self {
            Self::Separator(mark) => {
                let text = typed.expose_str()?;
                let (password, code) = text.rsplit_once(mark)?;
                (password.as_bytes(), code.as_bytes())
            }
            Self::Fixed(count) => octets.split_at_checked(octets.len().checked_sub(usize::from(count))?)?,
        };
        if password.is_empty() || code.is_empty() {
            return None;
        }
        Some((Secret::new(password), Secret::new(code)))
    }
}

/// A login name, canonicalised once, before any counter, lock or cache is touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoginName {
    shown: String,
    form: LoginForm,
}

/// The canonical forms of a name: white space trimmed, NFKC, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoginForm {
    /// `ana`
    Plain(String),
    /// `EXAMPLE\ana`
    Domain {
        /// Before the backslash.
        domain: String,
        /// After it.
        user: String,
    },
    /// `ana@example.org`: a user principal name or a mail address.
    Principal(String),
    /// A distinguished name, as LDAP binds carry it; normalised by the directory, kept as sent here.
    Dn(String),
    /// The distinguished name of a service account, as configured: looked up without regard to what the
    /// directory's configuration says of people.
    Account(String),
}

/// Why a name cannot belong to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing but white space.
    #[error("the name is empty")]
    Empty,
    /// A NUL or another control character.
    #[error("the name contains a control character")]
    Control,
    /// More than [`LoginName::MAX_OCTETS`].
    #[error("the name is longer than {} octets", LoginName::MAX_OCTETS)]
    TooLong,
}

impl LoginName {
    /// Longest name considered, in octets of UTF-8.
    pub const MAX_OCTETS: usize = 1024;

    /// Reads a name as people type it: plain, `DOMAIN\user`, or `user@realm`.
    ///
    /// # Errors
    /// [`BadName`] for names that never match anyone.
    pub fn parse(typed: &str) -> Result<Self, BadName> {
        let typed = Self::checked(typed)?;
        let name = if typed.is_ascii() {
            // Its own NFKC.
            typed.to_ascii_lowercase()
        } else {
            let folded = typed.nfkc().collect::<String>().to_lowercase();
            // NFKC can make control characters and blanks out of what was none before.
            Self::checked(folded.trim())?.to_owned()
        };
        let form = match name.split_once('\\') {
            Some((domain, user)) if !domain.is_empty() && !user.is_empty() => LoginForm::Domain {
                domain: domain.to_owned(),
                user: user.to_owned(),
            },
            Some(_) | None if name.contains('@') => LoginForm::Principal(name.clone()),
            Some(_) | None => LoginForm::Plain(name.clone()),
        };
        Ok(Self { shown: name, form })
    }

    /// Takes a distinguished name from a bind.
    ///
    /// # Errors
    /// [`BadName`] as for [`LoginName::parse`].
    pub fn parse_dn(dn: &str) -> Result<Self, BadName> {
        let dn = Self::checked(dn)?;
        Ok(Self {
            shown: dn.to_owned(),
            form: LoginForm::Dn(dn.to_owned()),
        })
    }

    /// Takes the distinguished name of a service account from the configuration.
    ///
    /// # Errors
    /// [`BadName`] as for [`LoginName::parse`].
    pub fn account(dn: &str) -> Result<Self, BadName> {
        let dn = Self::checked(dn)?;
        Ok(Self {
            shown: dn.to_owned(),
            form: LoginForm::Account(dn.to_owned()),
        })
    }

    /// The name for logs and the audit.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The canonical form, for look-ups.
    pub fn form(&self) -> &LoginForm {
        &self.form
    }

    fn checked(name: &str) -> Result<&str, BadName> {
        let name = name.trim_matches(' ');
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if name.len() > Self::MAX_OCTETS {
            return Err(BadName::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(BadName::Control);
        }
        Ok(name)
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_canonical_name() {
        let ana = LoginName::parse("ana").unwrap();
        for variant in [" ana", "ANA ", "Ana", "ａｎａ"] {
            assert_eq!(LoginName::parse(variant).unwrap(), ana, "{variant:?}");
        }
    }

    #[test]
    fn forms() {
        assert!(
            matches!(LoginName::parse("EX\\Ana").unwrap().form(), LoginForm::Domain { domain, user } if domain == "ex" && user == "ana")
        );
        assert!(
            matches!(LoginName::parse("Ana@Example.org").unwrap().form(), LoginForm::Principal(name) if name == "ana@example.org")
        );
        assert_eq!(LoginName::parse("a\0na"), Err(BadName::Control));
        assert_eq!(LoginName::parse("  "), Err(BadName::Empty));
    }

    #[test]
    fn splits() {
        let cut = |split: Split, typed: &str| {
            split.cut(&Secret::new(typed)).map(|(password, code)| {
                (
                    password.expose_str().unwrap().to_owned(),
                    code.expose_str().unwrap().to_owned(),
                )
            })
        };
        let pair = |password: &str, code: &str| Some((password.to_owned(), code.to_owned()));
        assert_eq!(cut(Split::Separator(','), "a,b,123456"), pair("a,b", "123456"));
        assert_eq!(cut(Split::Separator(','), "secret"), None);
        assert_eq!(cut(Split::Separator(','), ",123456"), None);
        assert_eq!(cut(Split::Separator(','), "secret,"), None);
        assert_eq!(cut(Split::Fixed(6), "secret123456"), pair("secret", "123456"));
        assert_eq!(cut(Split::Fixed(6), "123456"), None);
        assert_eq!(cut(Split::Fixed(6), "123"), None);
        let key = "vvccccccbcdedvgtiblfkbgturecfllberrvkinnctnn";
        for split in [Split::Separator(','), Split::Fixed(6), Split::Fixed(44)] {
            assert_eq!(cut(split, &format!("a,b{key}")), pair("a,b", key));
        }
        assert_eq!(cut(Split::Separator(','), &format!("a,b,{key}")), pair("a,b", key));
    }
}
