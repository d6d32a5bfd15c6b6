//! OCRA (RFC 6287): suites, and the response to a challenge. What is done with it is elsewhere: an offline token
//! as a factor ([`crate::engine::authenticator::ocra`]), machines that cannot reach us ([`crate::engine::offline`]).

use std::fmt;
use std::str::FromStr;

use ring::{digest, hmac};

use crate::clock::Timestamp;
use crate::engine::record::{Algorithm, OcraSuite};
use crate::secret::Secret;

/// Longest challenge, in characters: two of the longest of a suite, for mutual authentication (RFC 6287
/// section 7.2).
pub const MAX_QUESTION: usize = 128;

/// What a response is computed from, and how (RFC 6287 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    text: String,
    hash: Algorithm,
    digits: u8,
    counter: bool,
    format: Format,
    /// Characters of a challenge of one side, 4 to 64.
    length: u8,
    pin: Option<Algorithm>,
    session: Option<u16>,
    step: Option<u32>,
}

/// What a challenge consists of (RFC 6287 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Alphanumeric,
    Numeric,
    Hexadecimal,
}

/// What a response answers. What the suite does not ask for is not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// The challenge, or both of a mutual authentication in a row.
    pub question: &'a str,
    /// The counter, for `C`.
    pub counter: u64,
    /// The PIN, for `P`; its hash is what is used.
    pub pin: &'a str,
    /// Information about the session, for `S`; shorter ones are preceded by zeros.
    pub session: &'a [u8],
    /// The moment, for `T`.
    pub now: Timestamp,
}

/// A suite or a challenge that there is no response for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcraError {
    /// Not a suite of RFC 6287 section 6, or one whose responses are not 4 to 10 digits.
    #[error("not an OCRA suite that can be used")]
    Suite,
    /// Too long, empty, or not of the characters that the suite wants.
    #[error("the challenge is not one of the suite's")]
    Question,
    /// Longer than the suite has room for.
    #[error("the session information is longer than the suite has room for")]
    Session,
}

impl Suite {
    /// Digits of a response.
    pub const fn digits(&self) -> u8 {
        self.digits
    }

    /// The response to `input` with the key (RFC 6287 section 5).
    ///
    /// # Errors
    /// [`OcraError::Question`], [`OcraError::Session`].
    pub fn response(&self, key: &Secret, input: &Input<'_>) -> Result<Secret, OcraError> {
        let key = hmac::Key::new(algorithm(self.hash), key.expose());
        let mut mac = hmac::Context::with_key(&key);
        mac.update(self.text.as_bytes());
        mac.update(&[0]);
        if self.counter {
            mac.update(&input.counter.to_be_bytes());
        }
        mac.update(&self.question(input.question)?);
        if let Some(hash) = self.pin {
            mac.update(digest::digest(digest_of(hash), input.pin.as_bytes()).as_ref());
        }
        if let Some(length) = self.session {
            let zeros = usize::from(length).checked_sub(input.session.len());
            mac.update(&vec![0; zeros.ok_or(OcraError::Session)?]);
            mac.update(input.session);
        }
        if let Some(step) = self.step {
            mac.update(&(input.now.secs() / u64::from(step.max(1))).to_be_bytes());
        }
        Ok(Secret::new(self.truncated(mac.sign().as_ref())))
    }

    /// The challenge as 128 octets, followed by zeros (RFC 6287 section 5.1).
    fn question(&self, text: &str) -> Result<[u8; 128], OcraError> {
        if text.is_empty() || text.len() > MAX_QUESTION.min(2 * usize::from(self.length)) {
            return Err(OcraError::Question);
        }
        let nibbles = match self.format {
            Format::Alphanumeric if text.bytes().all(|octet| octet.is_ascii_alphanumeric()) => {
                text.bytes().flat_map(|octet| [octet >> 4, octet & 15]).collect()
            }
            Format::Numeric => base_16(text).ok_or(OcraError::Question)?,
            Format::Hexadecimal => digits(text, 16).ok_or(OcraError::Question)?,
            Format::Alphanumeric => return Err(OcraError::Question),
        };
        let mut octets = [0; 128];
        for (octet, pair) in octets.iter_mut().zip(nibbles.chunks(2)) {
            *octet = match pair {
                [high, low] => high << 4 | low,
                [high] => high << 4,
                _ => 0,
            };
        }
        Ok(octets)
    }

    /// Dynamic truncation (RFC 4226 section 5.3).
    fn truncated(&self, mac: &[u8]) -> String {
        let offset = mac.last().map_or(0, |last| usize::from(last & 0x0f));
        let four = mac.iter().skip(offset).take(4);
        let number = four.fold(0_u64, |number, octet| number << 8 | u64::from(*octet)) & 0x7fff_ffff;
        let code = number % 10_u64.pow(u32::from(self.digits));
        format!("{code:0width$}", width = usize::from(self.digits))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Suite {
    type Err = OcraError;

    fn from_str(text: &str) -> Result<Self, OcraError> {
        read(text).ok_or(OcraError::Suite)
    }
}

impl From<OcraSuite> for Suite {
    fn from(suite: OcraSuite) -> Self {
        let (text, hash, digits) = match suite {
            OcraSuite::Sha1Digits6 => ("OCRA-1:HOTP-SHA1-6:QN08", Algorithm::Sha1, 6),
            OcraSuite::Sha256Digits8 => ("OCRA-1:HOTP-SHA256-8:QN08", Algorithm::Sha256, 8),
            OcraSuite::Sha512Digits8 => ("OCRA-1:HOTP-SHA512-8:QN08", Algorithm::Sha512, 8),
        };
        Self {
            text: text.to_owned(),
            hash,
            digits,
            counter: false,
            format: Format::Numeric,
            length: 8,
            pin: None,
            session: None,
            step: None,
        }
    }
}

/// `OCRA-1:HOTP-SHA1-6:C-QN08-PSHA1-S064-T1M`
fn read(text: &str) -> Option<Suite> {
    let mut parts = text.split(':');
    let (Some("OCRA-1"), Some(function), Some(inputs), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let (hash, digits) = function.strip_prefix("HOTP-")?.split_once('-')?;
    let mut inputs = inputs.split('-').peekable();
    let counter = inputs.next_if_eq(&"C").is_some();
    let (format, length) = inputs.next()?.strip_prefix('Q')?.split_at_checked(1)?;
    let format = match format {
        "A" => Format::Alphanumeric,
        "N" => Format::Numeric,
        "H" => Format::Hexadecimal,
        _ => return None,
    };
    let after = |prefix: char| move |input: &&str| input.starts_with(prefix);
    let pin = match inputs.next_if(after('P')) {
        Some(input) => Some(hash_of(input.strip_prefix('P')?)?),
        None => None,
    };
    let session = match inputs.next_if(after('S')) {
        Some(input) => Some(number(input.strip_prefix('S')?, 0, 512)?),
        None => None,
    };
    let step = match inputs.next_if(after('T')) {
        Some(input) => Some(step(input.strip_prefix('T')?)?),
        None => None,
    };
    inputs.next().is_none().then_some(())?;
    Some(Suite {
        text: text.to_owned(),
        hash: hash_of(hash)?,
        digits: u8::try_from(number(digits, 4, 10)?).ok()?,
        counter,
        format,
        length: u8::try_from(number(length, 4, 64)?).ok()?,
        pin,
        session,
        step,
    })
}

fn hash_of(text: &str) -> Option<Algorithm> {
    match text {
        "SHA1" => Some(Algorithm::Sha1),
        "SHA256" => Some(Algorithm::Sha256),
        "SHA512" => Some(Algorithm::Sha512),
        _ => None,
    }
}

/// Seconds of a time step: 1 to 59 seconds or minutes, or 0 to 48 hours (RFC 6287 section 6.3); none of none.
fn step(text: &str) -> Option<u32> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (most, secs) = match unit {
        "S" => (59, 1),
        "M" => (59, 60),
        "H" => (48, 3600),
        _ => return None,
    };
    Some(u32::from(number(count, 1, most)?) * secs)
}

fn number(text: &str, least: u16, most: u16) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let number: u16 = text.parse().ok().filter(|_| digits)?;
    (least..=most).contains(&number).then_some(number)
}

fn digits(text: &str, base: u32) -> Option<Vec<u8>> {
    let digit = |character: char| u8::try_from(character.to_digit(base)?).ok();
    text.chars().map(digit).collect()
}

/// A decimal number as hexadecimal digits without leading zeros.
fn base_16(text: &str) -> Option<Vec<u8>> {
    let mut nibbles: Vec<u8> = vec![0];
    for digit in digits(text, 10)? {
        let mut carry = u16::from(digit);
        for nibble in &mut nibbles {
            let value = u16::from(*nibble) * 10 + carry;
            *nibble = value.to_le_bytes()[0] & 15;
            carry = value >> 4;
        }
        if carry > 0 {
            nibbles.push(carry.to_le_bytes()[0]);
        }
    }
    nibbles.reverse();
    Some(nibbles)
}

fn algorithm(hash: Algorithm) -> hmac::Algorithm {
    match hash {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

fn digest_of(hash: Algorithm) -> &'static digest::Algorithm {
    match hash {
        Algorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => &digest::SHA256,
        Algorithm::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The keys of RFC 6287 appendix C, of 20, 32 and 64 octets.
    pub(crate) fn key(length: usize) -> Secret {
        Secret::new(b"1234567890".iter().copied().cycle().take(length).collect::<Vec<u8>>())
    }

    fn respond(suite: &str, length: usize, input: Input<'_>) -> String {
        let suite: Suite = suite.parse().unwrap();
        let response = suite.response(&key(length), &input).unwrap();
        response.expose_str().unwrap().to_owned()
    }

    /// 2008-03-25 12:06 UTC, the moment of the vectors.
    const MOMENT: Timestamp = Timestamp::from_secs(0x0132_d0b6 * 60);

    /// `suite` with a key of `length` octets: what `question` makes of the number of each response is answered so.
    fn table(suite: &str, length: usize, question: impl Fn(usize) -> String, counted: bool, expected: &[&str]) {
        for (index, response) in expected.iter().enumerate() {
            let input = Input {
                question: &question(index),
                counter: if counted { index as u64 } else { 0 },
                pin: "1234",
                session: &[],
                now: MOMENT,
            };
            assert_eq!(respond(suite, length, input), *response, "{suite} {index}");
        }
    }

    fn eightfold(index: usize) -> String {
        index.to_string().repeat(8)
    }

    #[test]
    fn rfc_6287_appendix_c_1_one_way() {
        table(
            "OCRA-1:HOTP-SHA1-6:QN08",
            20,
            eightfold,
            false,
            &[
                "237653", "243178", "653583", "740991", "608993", "388898", "816933", "224598", "750600", "294470",
            ],
        );
        table(
            "OCRA-1:HOTP-SHA256-8:C-QN08-PSHA1",
            32,
            |_| "12345678".into(),
            true,
            &[
                "65347737", "86775851", "78192410", "71565254", "10104329", "65983500", "70069104", "91771096",
                "75011558", "08522129",
            ],
        );
        table(
            "OCRA-1:HOTP-SHA256-8:QN08-PSHA1",
            32,
            eightfold,
            false,
            &["83238735", "01501458", "17957585", "86776967", "86807031"],
        );
        table(
            "OCRA-1:HOTP-SHA512-8:C-QN08",
            64,
            eightfold,
            true,
            &[
                "07016083", "63947962", "70123924", "25341727", "33203315", "34205738", "44343969", "51946085",
                "20403879", "31409299",
            ],
        );
        table(
            "OCRA-1:HOTP-SHA512-8:QN08-T1M",
            64,
            eightfold,
            false,
            &["95209754", "55907591", "22048402", "24218844", "36209546"],
        );
    }

    #[test]
    fn rfc_6287_appendix_c_2_mutual() {
        let server = |index| format!("CLI2222{index}SRV1111{index}");
        let client = |index| format!("SRV1111{index}CLI2222{index}");
        table(
            "OCRA-1:HOTP-SHA256-8:QA08",
            32,
            server,
            false,
            &["28247970", "01984843", "65387857", "03351211", "83412541"],
        );
        table(
            "OCRA-1:HOTP-SHA256-8:QA08",
            32,
            client,
            false,
            &["15510767", "90175646", "33777207", "95285278", "28934924"],
        );
        table(
            "OCRA-1:HOTP-SHA512-8:QA08",
            64,
            server,
            false,
            &["79496648", "76831980", "12250499", "90856481", "12761449"],
        );
        table(
            "OCRA-1:HOTP-SHA512-8:QA08-PSHA1",
            64,
            client,
            false,
            &["18806276", "70020315", "01600026", "18951020", "32528969"],
        );
    }

    #[test]
    fn rfc_6287_appendix_c_3_signatures() {
        table(
            "OCRA-1:HOTP-SHA256-8:QA08",
            32,
            |index| format!("SIG1{index}000"),
            false,
            &["53095496", "04110475", "31331128", "76028668", "46554205"],
        );
        table(
            "OCRA-1:HOTP-SHA512-8:QA10-T1M",
            64,
            |index| format!("SIG1{index}00000"),
            false,
            &["77537423", "31970405", "10235557", "95213541", "65360607"],
        );
    }

    /// The RFC has no vectors with session information: these are of the tiqr project.
    #[test]
    fn sessions_are_preceded_by_zeros() {
        let octets: Vec<u8> = (0..64).collect();
        for (question, session, response) in [
            ("0000000000", &octets[..32], "174452"),
            ("1111111111", &octets[32..], "554036"),
            ("0000000000", &octets[..16], "699726"),
        ] {
            let input = Input {
                question,
                session,
                ..Input::default()
            };
            assert_eq!(respond("OCRA-1:HOTP-SHA1-6:QH10-S064", 32, input), response);
        }
    }

    #[test]
    fn what_is_no_suite() {
        for text in [
            "",
            "OCRA-2:HOTP-SHA1-6:QN08",
            "OCRA-1:HOTP-SHA1-6",
            "OCRA-1:HOTP-SHA1-6:QN08:",
            "OCRA-1:HOTP-SHA3-6:QN08",
            "OCRA-1:HOTP-SHA1-0:QN08",
            "OCRA-1:HOTP-SHA1-11:QN08",
            "OCRA-1:HOTP-SHA1-+6:QN08",
            "OCRA-1:HOTP-SHA1-6:QX08",
            "OCRA-1:HOTP-SHA1-6:QN03",
            "OCRA-1:HOTP-SHA1-6:QN65",
            "OCRA-1:HOTP-SHA1-6:QN08-C",
            "OCRA-1:HOTP-SHA1-6:QN08-T0M",
            "OCRA-1:HOTP-SHA1-6:QN08-T60M",
            "OCRA-1:HOTP-SHA1-6:QN08-S513",
            "OCRA-1:HOTP-SHA1-6:QN08-T1M-PSHA1",
            "OCRA-1:HOTP-SHA1-6:Qé08",
        ] {
            assert_eq!(text.parse::<Suite>(), Err(OcraError::Suite), "{text}");
        }
        for suite in [
            OcraSuite::Sha1Digits6,
            OcraSuite::Sha256Digits8,
            OcraSuite::Sha512Digits8,
        ] {
            let suite = Suite::from(suite);
            assert_eq!(suite.to_string().parse::<Suite>().unwrap(), suite);
        }
    }

    #[test]
    fn what_is_no_challenge() {
        let answer = |suite: &str, question: &str| {
            let suite: Suite = suite.parse().unwrap();
            let input = Input {
                question,
                ..Input::default()
            };
            suite.response(&key(20), &input).map(|_| ())
        };
        let numeric = "OCRA-1:HOTP-SHA1-6:QN08";
        for question in ["", "1234567a", "1234 567", "12345678901234567"] {
            assert_eq!(answer(numeric, question), Err(OcraError::Question), "{question}");
        }
        assert_eq!(answer("OCRA-1:HOTP-SHA1-6:QH08", "0g"), Err(OcraError::Question));
        assert_eq!(answer("OCRA-1:HOTP-SHA1-6:QA08", "a-b"), Err(OcraError::Question));
        assert_eq!(answer("OCRA-1:HOTP-SHA1-6:QN64", &"9".repeat(128)), Ok(()));
    }
}
