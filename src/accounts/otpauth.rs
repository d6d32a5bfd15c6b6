//! Reading `otpauth://` URIs, as authenticator apps and makers of tokens write them.

use std::str::Utf8Error;

use zeroize::Zeroizing;

use super::TokenWish;
use super::view::Kind;
use crate::engine::record::Algorithm;
use crate::secret::Secret;

/// Longest URI read, in octets: a seed of 1024 bits, a label and an issuer of 64 characters each leave room to
/// spare.
const MAX_OCTETS: usize = 4096;

/// Why a text is no URI of a token. Never holds a part of the text, which has a seed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// Something else.
    #[error("this is not an otpauth:// URI")]
    Scheme,
    /// Too long to be one.
    #[error("the URI is longer than {MAX_OCTETS} octets")]
    Long,
    /// Neither `totp` nor `hotp`.
    #[error("the URI is for something else than totp or hotp")]
    Kind,
    /// An escape (RFC 3986 section 2.1) that is none, or no UTF-8.
    #[error("the URI has a `%` that is not followed by two hexadecimal digits of UTF-8")]
    Escape,
    /// No `secret`.
    #[error("the URI has no secret")]
    NoSecret,
    /// A parameter that is there twice: which one counts would be a guess.
    #[error("the URI has `{0}` twice")]
    Twice(&'static str),
    /// A parameter with a value that is not of its kind.
    #[error("the URI's `{0}` cannot be read")]
    Value(&'static str),
    /// HOTP without a counter.
    #[error("the URI is for hotp and has no counter")]
    NoCounter,
}

impl TokenWish {
    /// The token that an `otpauth://` URI describes. Parameters that are missing are as apps take them: SHA-1, 6
    /// digits, 30 seconds; unknown ones are passed over. Whether digits, period and seed are within limits is
    /// judged when the token is enrolled. The label of the token is left to be chosen.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn from_uri(uri: &Secret) -> Result<Self, BadUri> {
        let text = uri.expose_str().ok_or(BadUri::Scheme)?.trim();
        if text.len() > MAX_OCTETS {
            return Err(BadUri::Long);
        }
        let rest = strip_prefix_any_case(text, "otpauth://").ok_or(BadUri::Scheme)?;
        let (path, query) = rest.split_once('?').ok_or(BadUri::NoSecret)?;
        let (kind, label) = path.split_once('/').unwrap_or((path, ""));
        let kind = match kind.to_ascii_lowercase().as_str() {
            "totp" => Kind::Totp,
            "hotp" => Kind::Hotp,
            _ => return Err(BadUri::Kind),
        };
        let parameters = Parameters::read(query.split('#').next().unwrap_or_default())?;
        let secret = parameters.secret.ok_or(BadUri::NoSecret)?;
        let label = decoded(label)?;
        let named = label.split_once(':').map(|(issuer, _)| issuer.trim().to_owned());
        let defaults = Self::default();
        if kind == Kind::Hotp && parameters.counter.is_none() {
            return Err(BadUri::NoCounter);
        }
        Ok(Self {
            kind,
            algorithm: parameters.algorithm.unwrap_or(defaults.algorithm),
            digits: parameters.digits.unwrap_or(defaults.digits),
            period: parameters.period.unwrap_or(defaults.period),
            counter: parameters.counter.unwrap_or(defaults.counter),
            seed: Some(secret),
            label: None,
            issuer: parameters
                .issuer
                .or(named)
                .filter(|issuer| !issuer.is_empty())
                .unwrap_or(defaults.issuer),
        })
    }
}

/// What stands behind the question mark.
#[derive(Default)]
struct Parameters {
    secret: Option<Secret>,
    algorithm: Option<Algorithm>,
    digits: Option<u8>,
    period: Option<u16>,
    counter: Option<u64>,
    issuer: Option<String>,
}

impl Parameters {
    fn read(query: &str) -> Result<Self, BadUri> {
        let mut found = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match name.to_ascii_lowercase().as_str() {
                "secret" => once(&mut found.secret, "secret", Some(Secret::new(value.as_str())))?,
                "algorithm" => once(&mut found.algorithm, "algorithm", algorithm(&value))?,
                "digits" => once(&mut found.digits, "digits", value.parse().ok())?,
                "period" => once(&mut found.period, "period", value.parse().ok())?,
                "counter" => once(&mut found.counter, "counter", value.parse().ok())?,
                "issuer" => once(&mut found.issuer, "issuer", Some(value.trim().to_owned()))?,
                _ => {}
            }
        }
        Ok(found)
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), BadUri> {
    let value = value.ok_or(BadUri::Value(name))?;
    match slot.replace(value) {
        Some(_) => Err(BadUri::Twice(name)),
        None => Ok(()),
    }
}

/// `SHA1`, and `SHA-1` or `HmacSHA1` as some makers write it.
fn algorithm(name: &str) -> Option<Algorithm> {
    let name = name.to_ascii_lowercase().replace('-', "");
    match name.strip_prefix("hmac").unwrap_or(&name) {
        "sha1" => Some(Algorithm::Sha1),
        "sha256" => Some(Algorithm::Sha256),
        "sha512" => Some(Algorithm::Sha512),
        _ => None,
    }
}

fn strip_prefix_any_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Without percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<Zeroizing<String>, BadUri> {
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|octet| char::from(octet).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(BadUri::Escape);
        };
        octets.push(u8::try_from(high << 4 | low).unwrap_or_default());
    }
    let text = std::str::from_utf8(&octets).map_err(|_: Utf8Error| BadUri::Escape)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<TokenWish, BadUri> {
        TokenWish::from_uri(&Secret::new(uri))
    }

    fn seed(wish: &TokenWish) -> &str {
        wish.seed.as_ref().and_then(Secret::expose_str).unwrap()
    }

    #[test]
    fn what_is_missing_is_as_apps_take_it() {
        let wish = read(" OTPAUTH://TOTP/Example%20GmbH:ana%40example.org?secret=GEZDGNBVGY3TQOJQ\n").unwrap();
        assert_eq!(wish.kind, Kind::Totp);
        assert_eq!((wish.algorithm, wish.digits, wish.period), (Algorithm::Sha1, 6, 30));
        assert_eq!(wish.issuer, "Example GmbH");
        assert_eq!(seed(&wish), "GEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn every_parameter_counts_once() {
        let wish = read(
            "otpauth://hotp/ana?secret=gezd%20gnbv&algorithm=HmacSHA512&digits=8&counter=7&issuer=Old%3A&image=x#top",
        )
        .unwrap();
        assert_eq!(wish.kind, Kind::Hotp);
        assert_eq!((wish.algorithm, wish.digits, wish.counter), (Algorithm::Sha512, 8, 7));
        assert_eq!((wish.issuer.as_str(), seed(&wish)), ("Old:", "gezd gnbv"));
        let minute = read("otpauth://totp/ana?period=60&secret=AAAA&algorithm=SHA-256").unwrap();
        assert_eq!((minute.period, minute.algorithm), (60, Algorithm::Sha256));
    }

    #[test]
    fn what_is_no_uri_of_a_token_is_named_without_its_secret() {
        for (uri, fault) in [
            ("https://example.org/?secret=A", BadUri::Scheme),
            ("", BadUri::Scheme),
            ("otpauth://totp/ana", BadUri::NoSecret),
            ("otpauth://totp/ana?issuer=x", BadUri::NoSecret),
            ("otpauth://steam/ana?secret=AAAA", BadUri::Kind),
            ("otpauth://totp/ana?secret=AA%4", BadUri::Escape),
            ("otpauth://totp/ana?secret=AA%zz", BadUri::Escape),
            ("otpauth://totp/ana?secret=%ff", BadUri::Escape),
            ("otpauth://totp/ana?secret=A&secret=B", BadUri::Twice("secret")),
            ("otpauth://totp/ana?secret=A&digits=six", BadUri::Value("digits")),
            ("otpauth://totp/ana?secret=A&algorithm=MD5", BadUri::Value("algorithm")),
            ("otpauth://hotp/ana?secret=A", BadUri::NoCounter),
        ] {
            let refused = read(uri).unwrap_err();
            assert_eq!(refused, fault, "{uri}");
            assert!(!refused.to_string().contains("AA"));
        }
        let long = format!("otpauth://totp/ana?secret={}", "A".repeat(MAX_OCTETS));
        assert_eq!(read(&long).unwrap_err(), BadUri::Long);
    }
}
