//! Codes on their way to people, as the engine sees them: by which route, to where, how many, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Versioned;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::Person;
use crate::engine::record::Record;
use crate::keyring::Keyring;
use crate::secret::Secret;

/// All routes that codes can take, most wanted first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(pub Vec<Arc<Route>>);

/// How codes of one kind reach people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The configured name of the delivery.
    pub name: Arc<str>,
    /// What its codes prove.
    pub serves: Kind,
    /// Attributes that the destination stands in, in lower case; the first with a usable value counts.
    pub attributes: Vec<String>,
    /// What destinations look like.
    pub form: Form,
    /// Digits of a code: 6 to 8.
    pub digits: u8,
    /// How long a code is good for: at most [`Route::LONGEST`].
    pub life: Duration,
    /// Most codes within `window` to one destination.
    pub per_destination: u32,
    /// Most codes within `window` to one person.
    pub per_person: u32,
    /// What they are counted in.
    pub window: Duration,
}

/// What destinations look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// E-mail addresses, of these domains (in lower case) if any are listed.
    Mail(Vec<String>),
    /// Telephone numbers (E.164).
    Number {
        /// Country code of numbers that have none.
        country_code: Option<String>,
        /// What a number must begin with, if anything is listed: `+49`.
        prefixes: Vec<String>,
    },
}

/// Where a code goes: an e-mail address, or a number with `+` in front. Shown masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination(String);

/// Why nothing can be sent to somebody. For logs and the audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    /// No attribute has a value.
    #[error("the entry has no {0}")]
    Missing(String),
    /// There is one, but it cannot be used.
    #[error("{attribute} cannot be used: {why}")]
    Unusable {
        /// The attribute.
        attribute: String,
        /// Why.
        why: &'static str,
    },
    /// Nothing serves this kind.
    #[error("there is no [[delivery]] for \"{0}\"")]
    NoRoute(Kind),
    /// Too many were sent.
    #[error("too many codes were sent to this destination")]
    Destination,
    /// Too many were sent.
    #[error("too many codes were sent to this person")]
    Person,
}

impl Routes {
    /// The kinds of code that can be sent.
    pub fn kinds(&self) -> KindSet {
        self.0
            .iter()
            .fold(KindSet::EMPTY, |kinds, route| kinds.with(route.serves))
    }

    /// The attributes that destinations stand in.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .flat_map(|route| route.attributes.iter().map(String::as_str))
    }

    /// The route that a code of this `kind` takes to somebody: the first by which they can be reached.
    ///
    /// # Errors
    /// Why the first of them is none.
    pub fn to(&self, kind: Kind, person: &Person) -> Result<(&Arc<Route>, Destination), Undeliverable> {
        let mut why = None;
        for route in self.0.iter().filter(|route| route.serves == kind) {
            match route.destination(person) {
                Ok(destination) => return Ok((route, destination)),
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or(Undeliverable::NoRoute(kind)))
    }

    /// The route that a code of this `kind` would take to somebody who does not exist.
    pub fn of(&self, kind: Kind) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| route.serves == kind)
    }
}

impl Route {
    /// The longest life of a code (NIST SP 800-63B section 3.1.3.2).
    pub const LONGEST: Duration = Duration::from_secs(10 * 60);

    /// Where this route reaches somebody.
    ///
    /// # Errors
    /// Why it does not.
    pub fn destination(&self, person: &Person) -> Result<Destination, Undeliverable> {
        let mut why = None;
        for attribute in &self.attributes {
            for value in person.attributes.get(attribute).into_iter().flatten() {
                match self.form.read(value) {
                    Ok(destination) => return Ok(destination),
                    Err(fault) => why = why.or(Some((attribute, fault))),
                }
            }
        }
        Err(match why {
            Some((attribute, why)) => Undeliverable::Unusable {
                attribute: attribute.clone(),
                why,
            },
            None => Undeliverable::Missing(self.attributes.join(" or ")),
        })
    }

    /// A code made of `random`.
    pub fn code(&self, random: u64) -> Secret {
        let digits = usize::from(self.digits.clamp(6, 8));
        // 2^64 is so much more than 10^8 that no code is likelier than another by more than 10^-11.
        let number = random % 10u64.pow(u32::from(self.digits.clamp(6, 8)));
        Secret::new(format!("{number:0digits$}"))
    }
}

impl Form {
    /// Reads a destination from what somebody wrote into a directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, written: &str) -> Result<Destination, &'static str> {
        match self {
            Self::Mail(domains) => mail(written, domains),
            Self::Number { country_code, prefixes } => number(written, country_code.as_deref(), prefixes),
        }
    }
}

/// The form in which an address is used and counted.
fn mail(written: &str, domains: &[String]) -> Result<Destination, &'static str> {
    let address = written.trim();
    let plain = |letter: char| letter.is_ascii_graphic() && !"<>()[],;:\\\"".contains(letter);
    let Some((local, domain)) = address.rsplit_once('@') else {
        return Err("it is no e-mail address");
    };
    if address.len() > MAX_ADDRESS
        || local.is_empty()
        || domain.is_empty()
        || local.contains('@')
        || !address.chars().all(plain)
    {
        return Err("it is no plain e-mail address");
    }
    let domain = domain.to_ascii_lowercase();
    if !domains.is_empty() && !domains.contains(&domain) {
        return Err("its domain is not one of `domains`");
    }
    Ok(Destination(format!("{local}@{domain}")))
}

/// E.164: `+`, then at most 15 digits, the first of them not zero.
fn number(written: &str, country_code: Option<&str>, prefixes: &[String]) -> Result<Destination, &'static str> {
    // People write the trunk digit beside the country code: +49 (0) 170 …
    let written = written.trim();
    let international = written.starts_with('+') || written.starts_with("00");
    let written = match international {
        true => written.replacen("(0)", "", 1),
        false => written.to_owned(),
    };
    let mut digits = String::new();
    for letter in written.chars() {
        match letter {
            '0'..='9' => digits.push(letter),
            '+' if digits.is_empty() => {}
            ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')' => {}
            _ => return Err("it is no telephone number"),
        }
    }
    if !international {
        let country = country_code.ok_or("it has no country code, and no `country_code` is configured")?;
        // The trunk digit of the country is not dialled from abroad.
        digits = format!("{country}{}", digits.strip_prefix('0').unwrap_or(&digits));
    } else if !written.starts_with('+') {
        digits = digits.strip_prefix("00").unwrap_or(&digits).to_owned();
    }
    if !(8..=15).contains(&digits.len()) || digits.starts_with('0') {
        return Err("it is no telephone number");
    }
    let number = format!("+{digits}");
    if !prefixes.is_empty() && !prefixes.iter().any(|prefix| number.starts_with(prefix.as_str())) {
        return Err("it begins with none of `prefixes`");
    }
    Ok(Destination(number))
}

/// Longest e-mail address (RFC 5321 section 4.5.3.1.3).
const MAX_ADDRESS: usize = 254;

impl Destination {
    /// The destination itself. It is about a person, and so has no business in logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is counted under.
    pub fn digest(&self, keyring: &Keyring) -> [u8; 32] {
        keyring.digest_code(b"destination", self.0.to_ascii_lowercase().as_bytes())
    }
}

/// Masked: `a***@example.org`, `+49***67`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            Some((local, domain)) => {
                let first: String = local.chars().take(1).collect();
                write!(f, "{first}***@{domain}")
            }
            None => {
                let (head, rest) = self.0.split_at_checked(3).unwrap_or((&self.0, ""));
                let tail = rest.len().checked_sub(2).and_then(|at| rest.get(at..));
                write!(f, "{head}***{}", tail.unwrap_or(""))
            }
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One code to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where to.
    pub destination: Destination,
    /// The code.
    pub code: Secret,
    /// Minutes that it is good for.
    pub minutes: u64,
    /// Whose, as the directory writes it.
    pub login: String,
    /// What it is for: the service that is logged in to.
    pub service: Arc<str>,
}

/// What came of sending a code. None of it counts against anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It was taken, or nobody was to get one. The text is the server's, for logs.
    Sent(String),
    /// It takes longer than somebody should wait for.
    Underway,
    /// This destination was refused. The text says why, for logs.
    Refused(String),
    /// Too much is being sent: by us, or to a server that says so. It is there all the same, and whoever wants to can
    /// bring that about. The text says why, for logs.
    Busy(String),
    /// Nothing can be sent at the moment. The text says why, for logs.
    Unavailable(String),
}

impl Delivered {
    /// Whether people are told that nothing was sent. A destination that was refused is not told: that would tell
    /// that the password was right.
    pub const fn is_told(&self) -> bool {
        match self {
            Self::Busy(_) | Self::Unavailable(_) => true,
            Self::Sent(_) | Self::Underway | Self::Refused(_) => false,
        }
    }
}

impl Delivered {
    /// The audit record of it, made of the one that says what was to be sent; none as long as that is not known.
    pub fn noted(&self, note: &AuditEvent, at: Timestamp) -> Option<AuditEvent> {
        let (outcome, said) = match self {
            Self::Underway => return None,
            Self::Sent(said) => (Outcome::Accept, said),
            Self::Refused(said) => (Outcome::Reject, said),
            Self::Busy(said) | Self::Unavailable(said) => (Outcome::Unavailable, said),
        };
        let to = note.reason.as_deref().unwrap_or_default();
        Some(AuditEvent {
            at,
            outcome,
            reason: Some(format!("{to}: {said}")),
            ..note.clone()
        })
    }
}

/// What has to be known before a code is sent; loaded where the rule has codes sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Codes sent to the person.
    pub person: Versioned<SendRecord>,
    /// Codes sent to each destination that the person can be reached at, by [`Destination::digest`].
    pub destinations: Vec<([u8; 32], Versioned<SendRecord>)>,
    /// What the next code is made of. New each time.
    pub random: [u8; 8],
}

/// Codes sent to a destination or a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRecord {
    /// When each was sent, oldest first.
    pub sent: Vec<Timestamp>,
}

impl Record for SendRecord {
    const FORMAT: u8 = 1;

    fn from_older(_format: u8, _octets: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

impl SendRecord {
    /// With one more, sent `now`; `None` when that would be more than `most` within `window`.
    pub fn with(&self, now: Timestamp, most: u32, window: Duration) -> Option<Self> {
        let since = now - window;
        let mut sent: Vec<Timestamp> = self.sent.iter().copied().filter(|at| *at > since).collect();
        if sent.len() >= most as usize {
            return None;
        }
        sent.push(now);
        Some(Self { sent })
    }

    /// When it can be forgotten.
    pub fn expires(&self, window: Duration) -> Option<Timestamp> {
        self.sent.iter().max().map(|last| *last + window)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::facts::UserKey;

    fn numbers(prefixes: &[&str]) -> Form {
        Form::Number {
            country_code: Some("49".into()),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
        }
    }

    fn read(form: &Form, text: &str) -> Result<String, &'static str> {
        form.read(text).map(|destination| destination.0)
    }

    #[test]
    fn numbers_are_brought_into_one_form() {
        let form = numbers(&[]);
        for written in [
            "+49 170 1234567",
            "0049-170-1234567",
            "0170/1234567",
            "+49 (0) 170 1234567",
            "(0170) 123.45.67",
            " 0170 1234567 ",
        ] {
            assert_eq!(read(&form, written).unwrap(), "+491701234567", "{written}");
        }
        for written in [
            "",
            "+",
            "ext. 12",
            "12",
            "+4917012345678901",
            "+0170123456",
            "+49170\r\n1234567",
            "٠١٧٠١٢٣٤٥٦٧",
        ] {
            assert!(read(&form, written).is_err(), "{written:?}");
        }
        let bare = Form::Number {
            country_code: None,
            prefixes: Vec::new(),
        };
        assert!(read(&bare, "0170 1234567").is_err());
        assert_eq!(read(&bare, "+1 202 555 0100").unwrap(), "+12025550100");
    }

    #[test]
    fn prefixes_and_domains_bound_where_codes_go() {
        assert!(read(&numbers(&["+49", "+43"]), "+43 664 1234567").is_ok());
        assert_eq!(
            read(&numbers(&["+49"]), "+1 900 555 0100"),
            Err("it begins with none of `prefixes`")
        );
        let form = Form::Mail(vec!["example.org".into()]);
        assert_eq!(read(&form, " Ana@Example.org ").unwrap(), "Ana@example.org");
        assert!(read(&form, "ana@example.com").is_err());
    }

    #[test]
    fn an_address_is_nothing_but_an_address() {
        let form = Form::Mail(Vec::new());
        for written in [
            "ana@example.org\r\nBcc: all@example.org",
            "ana@example.org, ben@example.org",
            "Ana <ana@example.org>",
            "\"ana\n\"@example.org",
            "ana",
            "@example.org",
            "ana@",
            "a@b@example.org",
            "ana@example.org>\u{0}",
        ] {
            assert!(read(&form, written).is_err(), "{written:?}");
        }
    }

    #[test]
    fn destinations_are_shown_masked() {
        let mask = |text: &str| Destination(text.into()).to_string();
        assert_eq!(mask("ana@example.org"), "a***@example.org");
        assert_eq!(mask("+491701234567"), "+49***67");
        assert_eq!(format!("{:?}", Destination("+491701234567".into())), "+49***67");
    }

    #[test]
    fn the_first_usable_value_counts() {
        let route = |name: &str, prefixes: &[&str]| {
            Arc::new(Route {
                name: name.into(),
                serves: Kind::GatewayCode,
                attributes: vec!["mobile".into(), "telephonenumber".into()],
                form: numbers(prefixes),
                digits: 6,
                life: Duration::from_secs(300),
                per_destination: 5,
                per_person: 10,
                window: Duration::from_secs(900),
            })
        };
        let routes = Routes(vec![route("home", &["+49"]), route("abroad", &[])]);
        let mut person = Person {
            key: UserKey::new("d", "1"),
            directory: "d".into(),
            dn: "uid=ana".into(),
            login: "ana".into(),
            groups: Vec::new(),
            attributes: BTreeMap::new(),
            enabled: true,
            manager: None,
            sso_managed: None,
        };
        let to = |person: &Person| {
            let (route, destination) = routes.to(Kind::GatewayCode, person)?;
            Ok::<_, Undeliverable>((route.name.to_string(), destination.0))
        };
        assert_eq!(
            to(&person).unwrap_err().to_string(),
            "the entry has no mobile or telephonenumber"
        );
        person
            .attributes
            .insert("mobile".into(), vec!["none".into(), "+1 202 555 0100".into()]);
        assert_eq!(to(&person).unwrap(), ("abroad".into(), "+12025550100".into()));
        person
            .attributes
            .insert("telephonenumber".into(), vec!["0170 1234567".into()]);
        assert_eq!(to(&person).unwrap(), ("home".into(), "+491701234567".into()));
        assert_eq!(
            routes.to(Kind::EmailCode, &person).unwrap_err(),
            Undeliverable::NoRoute(Kind::EmailCode)
        );
    }

    #[test]
    fn counts_run_out_and_come_back() {
        let window = Duration::from_secs(900);
        let at = Timestamp::from_secs;
        let mut record = SendRecord::default();
        for second in 0..5 {
            record = record.with(at(1000 + second), 5, window).unwrap();
        }
        assert_eq!(record.with(at(1800), 5, window), None);
        assert_eq!(record.expires(window), Some(at(1904)));
        assert_eq!(record.with(at(1901), 5, window).unwrap().sent.len(), 4);
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_directory_becomes_a_destination_or_nothing(text in ".{0,60}") {
            if let Ok(Destination(number)) = numbers(&[]).read(&text) {
                prop_assert!(number.len() <= 16 && number[1..].bytes().all(|octet| octet.is_ascii_digit()));
            }
            if let Ok(Destination(mail)) = Form::Mail(Vec::new()).read(&text) {
                prop_assert!(mail.bytes().all(|octet| octet.is_ascii_graphic()));
            }
        }

        #[test]
        fn codes_have_their_digits(random in any::<u64>(), digits in 6u8..=8) {
            let route = Route { name: "r".into(), serves: Kind::EmailCode, attributes: Vec::new(), form: Form::Mail(Vec::new()),
                digits, life: Route::LONGEST, per_destination: 1, per_person: 1, window: Route::LONGEST };
            let code = route.code(random);
            prop_assert_eq!(code.len(), usize::from(digits));
        }
    }
}
