//! Portable Symmetric Key Containers (RFC 6030): plain, under a key, or under a password.
//!
//! Read as a stream, so that memory goes with the number of tokens and not with the file. Names count without their
//! prefix and their case, for there are writers that put all in lower case. Documents with a type, or with entities of
//! their own, are refused.

use std::io::BufRead;
use std::num::NonZeroU32;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use ring::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::{Algorithm, Ask, Given, Kind, Material, Read, Refused, cipher, fault, number, steps};
use crate::cli::output::CliError;
use crate::secret::Secret;

/// Reads a container. Tokens have the numbers of their places in it.
pub(super) fn read(input: impl BufRead, ask: Ask<'_>) -> Result<Read, CliError> {
    let mut reader = Reader::from_reader(input);
    let mut state = State::default();
    let mut read = Read::default();
    let mut buffer = Zeroizing::new(Vec::new());
    loop {
        buffer.clear();
        let at = reader.buffer_position();
        let bad = |what: &str| CliError::File(format!("it does not read as PSKC at octet {at}: {what}"), None);
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element)) => state.begin(&element).map_err(bad)?,
            Ok(Event::Empty(element)) => {
                state.begin(&element).map_err(bad)?;
                state.end(&mut read, ask)?;
            }
            Ok(Event::End(_)) => state.end(&mut read, ask)?,
            Ok(Event::Text(text)) => state.text(&text.into_inner()).map_err(bad)?,
            Ok(Event::CData(text)) => state.text(&text.into_inner()).map_err(bad)?,
            Ok(Event::GeneralRef(name)) => {
                let text = match &*name.into_inner() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => return Err(bad("an entity that is none of XML's own")),
                };
                state.text(text).map_err(bad)?;
            }
            Ok(Event::DocType(_)) => return Err(bad("a document type, which such files have no use for")),
            Ok(Event::Decl(_) | Event::PI(_) | Event::Comment(_)) => {}
            Ok(Event::Eof) => break,
            Err(error) => return Err(bad(&error.to_string())),
        }
    }
    if state.seen {
        Ok(read)
    } else {
        Err(CliError::File("there is no KeyContainer in it".into(), None))
    }
}

/// Where in the document we are, and what of it counts later.
#[derive(Default)]
struct State {
    seen: bool,
    path: Vec<String>,
    text: Zeroizing<String>,
    packages: u64,
    cipher: Encryption,
    key: Key,
}

/// How secrets are encrypted, and what it takes to open them.
#[derive(Default)]
struct Encryption {
    derived: bool,
    /// Names of algorithms, without what stands before the `#`.
    derivation: Option<String>,
    prf: Option<String>,
    salt: Option<Vec<u8>>,
    rounds: Option<String>,
    length: Option<String>,
    mac: Option<String>,
    mac_key: Option<Vec<u8>>,
    /// The key itself, once it was asked for.
    opened: Option<Opened>,
}

struct Opened {
    key: Zeroizing<Vec<u8>>,
    mac_key: Zeroizing<Vec<u8>>,
}

/// What is known of a key package.
#[derive(Default)]
struct Key {
    serial: Option<String>,
    id: Option<String>,
    user: Option<String>,
    issuer: Option<String>,
    algorithm: Option<String>,
    suite: Option<String>,
    length: Option<String>,
    encoding: Option<String>,
    method: Option<String>,
    plain: Option<Zeroizing<String>>,
    sealed: Option<String>,
    code: Option<String>,
    counter: Option<String>,
    interval: Option<String>,
    drift: Option<String>,
    /// A datum that is encrypted although it is no secret.
    hidden: Option<String>,
}

impl State {
    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), &'static str> {
        let name = element.local_name().as_ref().to_ascii_lowercase();
        if self.path.len() >= MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        self.seen |= self.path.is_empty() && name == "keycontainer";
        if !self.seen {
            return Err("it does not begin with a KeyContainer");
        }
        if name == "keypackage" {
            self.key = Key::default();
        }
        self.cipher.derived |= name == "derivedkey";
        self.path.push(name);
        self.text.clear();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|_| "an attribute does not read")?;
            let value = quick_xml::escape::unescape(&attribute.value).map_err(|_| "an attribute does not read")?;
            if value.len() > MAX_TEXT {
                return Err("an attribute is too long");
            }
            let name = attribute.key.local_name().as_ref().to_ascii_lowercase();
            self.attribute(&name, &value);
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let said = || Some(value.to_owned());
        let short = || value.rsplit(['#', ':']).next().map(str::to_ascii_lowercase);
        let element = self.path.last().map_or("", String::as_str);
        match (element, name) {
            ("key", "id") => self.key.id = said(),
            ("key", "algorithm") => self.key.algorithm = short(),
            ("suite", "hashalgo") => self.key.suite = said(),
            ("responseformat", "length") => self.key.length = said(),
            ("responseformat", "encoding") => self.key.encoding = said(),
            ("encryptionmethod", "algorithm") if self.is_in("key") => self.key.method = short(),
            ("keyderivationmethod", "algorithm") => self.cipher.derivation = short(),
            ("prf", "algorithm") => self.cipher.prf = short(),
            ("macmethod", "algorithm") => self.cipher.mac = short(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<(), &'static str> {
        if self.text.len() + text.len() > MAX_TEXT {
            return Err("a text is too long");
        }
        self.text.push_str(text);
        Ok(())
    }

    fn is_in(&self, name: &str) -> bool {
        self.path.iter().any(|element| element == name)
    }

    fn end(&mut self, read: &mut Read, ask: Ask<'_>) -> Result<(), CliError> {
        let Some(name) = self.path.pop() else { return Ok(()) };
        let parent = self.path.last().map_or("", String::as_str);
        let text = std::mem::take(&mut self.text);
        let said = || Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let octets = || BASE64.decode(without_space(&text).as_bytes()).ok();
        match (parent, name.as_str()) {
            (_, "serialno") => self.key.serial = said(),
            (_, "userid") => self.key.user = said().or_else(|| self.key.user.take()),
            ("key", "issuer") => self.key.issuer = said(),
            (_, "suite") => self.key.suite = said().or_else(|| self.key.suite.take()),
            ("secret", "plainvalue") => self.key.plain = Some(text),
            ("counter", "plainvalue") => self.key.counter = said(),
            ("timeinterval", "plainvalue") => self.key.interval = said(),
            ("timedrift", "plainvalue") => self.key.drift = said(),
            ("counter" | "timeinterval" | "timedrift", "encryptedvalue") => self.key.hidden = Some(parent.to_owned()),
            ("secret" | "data", "valuemac") => self.key.code = said(),
            (_, "ciphervalue") if self.is_in("mackey") => self.cipher.mac_key = octets(),
            (_, "ciphervalue") if self.is_in("secret") => self.key.sealed = said(),
            ("salt", "specified") => self.cipher.salt = octets(),
            (_, "iterationcount") => self.cipher.rounds = said(),
            (_, "keylength") => self.cipher.length = said(),
            (_, "keypackage") => {
                self.packages += 1;
                let key = std::mem::take(&mut self.key);
                read.take(self.packages, key.given(&mut self.cipher, ask)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Key {
    fn given(self, cipher: &mut Encryption, ask: Ask<'_>) -> Result<Result<Given, Refused>, CliError> {
        if let (None, Some(_)) = (&self.plain, &self.sealed) {
            cipher.open(ask)?;
        }
        Ok(self.token(cipher))
    }

    fn token(self, cipher: &Encryption) -> Result<Given, Refused> {
        let kind = Kind::parse(self.algorithm.as_deref().unwrap_or("unknown"))?;
        if let Some(hidden) = &self.hidden {
            return Err(fault(format!("its {hidden} is encrypted")));
        }
        if let Some(encoding) = self
            .encoding
            .as_deref()
            .filter(|text| !text.eq_ignore_ascii_case("decimal"))
        {
            return Err(Refused::Skip(format!("its codes are written as {encoding}")));
        }
        let period = match self.interval.as_deref() {
            // Writers that put it there for tokens by counter put zero.
            Some(text) if kind == Kind::Totp => number(text, "number of seconds")?,
            Some(_) | None => 30,
        };
        let drift = self
            .drift
            .as_deref()
            .map_or(Ok(0.0), |text| number::<f64>(text, "drift"))?;
        // RFC 6030 counts steps, privacyIDEA seconds.
        let in_seconds = self.issuer.as_deref() == Some("privacyIDEA");
        let seed = self.seed(cipher)?;
        Ok(Given {
            user: self.user,
            serial: self.serial.or(self.id),
            kind,
            algorithm: self.suite.as_deref().map(Algorithm::parse).transpose()?,
            digits: self
                .length
                .as_deref()
                .map_or(Ok(6), |text| number(text, "number of digits"))?,
            period,
            counter: self.counter.as_deref().map_or(Ok(0), |text| number(text, "counter"))?,
            drift: steps(drift, if in_seconds { period } else { 1 }),
            material: Material::Seed(seed),
            ..Given::default()
        })
    }

    fn seed(&self, cipher: &Encryption) -> Result<Zeroizing<Vec<u8>>, Refused> {
        if let Some(plain) = &self.plain {
            let plain = without_space(plain);
            let octets = BASE64.decode(plain.as_bytes()).map(Zeroizing::new);
            return octets.map_err(|_| fault("its secret does not read as base64"));
        }
        let Some(sealed) = &self.sealed else {
            return Err(fault("it has no secret"));
        };
        let octets = BASE64.decode(without_space(sealed).as_bytes());
        let octets = octets.map_err(|_| fault("its secret does not read as base64"))?;
        let method = self.method.as_deref().unwrap_or("nothing");
        if !["aes128-cbc", "aes192-cbc", "aes256-cbc"].contains(&method) {
            return Err(fault(format!(
                "its secret is encrypted with {method}, which is not read here"
            )));
        }
        // RFC 6030 section 6: CBC alone protects nothing against change.
        let algorithm = match cipher.mac.as_deref() {
            Some("hmac-sha1") => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some("hmac-sha256") => hmac::HMAC_SHA256,
            Some("hmac-sha512") => hmac::HMAC_SHA512,
            Some(other) => {
                return Err(fault(format!(
                    "its authentication code is {other}, which is not read here"
                )));
            }
            None => return Err(fault("its secret has no authentication code")),
        };
        let code = self
            .code
            .as_deref()
            .map(|code| BASE64.decode(without_space(code).as_bytes()));
        let (Some(opened), Some(Ok(code))) = (&cipher.opened, code) else {
            return Err(fault("its authentication code is missing"));
        };
        const WRONG: &str = "its secret does not open: the key or the password is wrong, or the file was changed";
        if !cipher::is_authentic(algorithm, &opened.mac_key, &octets, &code) {
            return Err(fault(WRONG));
        }
        cipher::decrypt(&opened.key, &octets).ok_or_else(|| fault(WRONG))
    }
}

impl Encryption {
    /// Asks for the key or the password, once.
    fn open(&mut self, ask: Ask<'_>) -> Result<(), CliError> {
        if self.opened.is_some() {
            return Ok(());
        }
        let key = if self.derived {
            self.derive(&ask("Password of the file: ")?)
        } else {
            pre_shared(&ask("Key of the file (hexadecimal): ")?)
        };
        let key = key.map_err(|what| CliError::File(what.to_owned(), None))?;
        let wrong = || CliError::File("the key or the password does not open the file".into(), None);
        let mac_key = match &self.mac_key {
            Some(sealed) => cipher::decrypt(&key, sealed).ok_or_else(wrong)?,
            // RFC 6030 section 6.1.1: then it is the same.
            None => key.clone(),
        };
        self.opened = Some(Opened { key, mac_key });
        Ok(())
    }

    fn derive(&self, password: &Secret) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if self.derivation.as_deref() != Some("pbkdf2") {
            return Err("the key is derived in another way than PBKDF2");
        }
        let algorithm = match self.prf.as_deref() {
            None | Some("hmac-sha1") => pbkdf2::PBKDF2_HMAC_SHA1,
            Some("hmac-sha256") => pbkdf2::PBKDF2_HMAC_SHA256,
            Some("hmac-sha512") => pbkdf2::PBKDF2_HMAC_SHA512,
            Some(_) => return Err("the key is derived with a function that is not read here"),
        };
        let rounds = self
            .rounds
            .as_deref()
            .and_then(|rounds| rounds.parse::<NonZeroU32>().ok());
        let rounds = rounds.filter(|rounds| rounds.get() <= MAX_ROUNDS);
        let length = self.length.as_deref().map_or(Some(16), |length| length.parse().ok());
        let length = length.filter(|length| [16, 24, 32].contains(length));
        let (Some(salt), Some(rounds), Some(length)) = (&self.salt, rounds, length) else {
            return Err("how the key is derived is not said, or is out of range");
        };
        Ok(cipher::derive(algorithm, password.expose(), salt, rounds, length))
    }
}

fn pre_shared(typed: &Secret) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = without_space(typed.expose_str().unwrap_or_default());
    let key = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Zeroizing::new);
    let key = key.ok().filter(|key| [16, 24, 32].contains(&key.len()));
    key.ok_or("the key is 32, 48 or 64 hexadecimal digits")
}

fn without_space(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|character| !character.is_whitespace()).collect())
}

/// Bounds of what is read.
const MAX_DEPTH: usize = 32;
const MAX_TEXT: usize = 16 * 1024;
/// A few seconds.
const MAX_ROUNDS: u32 = 10_000_000;
