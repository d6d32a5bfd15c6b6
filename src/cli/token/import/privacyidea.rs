//! What `pi-tokenjanitor find export` of privacyIDEA writes: JSON, sealed as a Fernet token.

use std::io::{self, BufRead};

use data_encoding::{BASE64URL, Encoding};
use ring::hmac;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Algorithm, Ask, Given, Kind, Material, Read, Refused, cipher, number, seed, steps};
use crate::cli::output::CliError;
use crate::secret::Secret;

/// Reads an export, sealed or not. Tokens have the numbers of their places in it.
pub(super) fn read(mut input: impl BufRead, ask: Ask<'_>) -> Result<Read, CliError> {
    let mut octets = Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut input, &mut octets).map_err(CliError::Io)?;
    let bad = |what: &str| CliError::File(what.to_owned(), None);
    let sealed = !octets.trim_ascii_start().starts_with(b"[");
    if sealed {
        let key = ask("Key of the export: ")?;
        octets = open(octets.trim_ascii(), key.expose()).map_err(bad)?;
    }
    let tokens: Vec<Token> = serde_json::from_slice(&octets).map_err(|error| {
        bad(&format!(
            "it is no export of privacyIDEA: at line {} of its JSON",
            error.line()
        ))
    })?;
    let mut read = Read::default();
    for (index, token) in (1..).zip(&tokens) {
        read.take(index, token.given());
    }
    Ok(read)
}

/// Opens a Fernet token: version, moment, initialisation vector, text, HMAC-SHA-256 of all before.
fn open(token: &[u8], key: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    const WRONG: &str = "the key does not open it: it is not the one that was printed with the export";
    let decoded = |encoding: &Encoding, text: &[u8]| encoding.decode(text.trim_ascii()).map(Zeroizing::new);
    let key = decoded(&BASE64URL, key).map_err(|_| WRONG)?;
    let token = decoded(&BASE64URL, token).map_err(|_| "it is neither JSON nor a sealed export of privacyIDEA")?;
    let (signing, sealing) = key.split_at_checked(16).filter(|_| key.len() == 32).ok_or(WRONG)?;
    let parts = token.len().checked_sub(32).map(|end| token.split_at(end));
    let (signed, code) = parts.ok_or("it is cut short")?;
    if !cipher::is_authentic(hmac::HMAC_SHA256, signing, signed, code) {
        return Err(WRONG);
    }
    let text = signed.strip_prefix(&[0x80]).and_then(|rest| rest.get(8..));
    text.and_then(|text| cipher::decrypt(sealing, text)).ok_or(WRONG)
}

#[derive(Deserialize)]
struct Token {
    serial: String,
    #[serde(rename = "type")]
    kind: String,
    otpkey: Secret,
    otplen: u8,
    #[serde(default)]
    counter: u64,
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    info_list: Info,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    hashlib: Option<String>,
    time_step: Option<String>,
    time_shift: Option<String>,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

const fn yes() -> bool {
    true
}

impl Token {
    fn given(&self) -> Result<Given, Refused> {
        let kind = Kind::parse(&self.kind)?;
        if self.revoked {
            return Err(Refused::Skip("it is revoked".into()));
        }
        let period = self.info_list.time_step.as_deref();
        let period = period.map_or(Ok(30), |text| number(text, "number of seconds"))?;
        let shift = self.info_list.time_shift.as_deref();
        let shift: f64 = shift.map_or(Ok(0.0), |text| number(text, "number of seconds"))?;
        Ok(Given {
            user: self.user.as_ref().map(|user| user.login.clone()),
            serial: Some(self.serial.clone()),
            kind,
            algorithm: self.info_list.hashlib.as_deref().map(Algorithm::parse).transpose()?,
            digits: self.otplen,
            period,
            counter: self.counter,
            drift: steps(shift, period),
            disabled: !self.active,
            material: Material::Seed(seed(self.otpkey.expose_str().unwrap_or_default(), None)?),
            ..Given::default()
        })
    }
}
