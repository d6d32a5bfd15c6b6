//! What TOTP and HOTP share: computing codes (RFC 4226, RFC 6238), reading typed ones, resynchronising.

mod resync;

use totp_rs::Builder;

use crate::clock::Timestamp;
use crate::engine::authenticator::{Context, Judgement, MAX_CONSECUTIVE_FAILURES};
use crate::engine::ocra::Suite;
use crate::engine::record::{Algorithm, Token, TokenKind, UserRecord};
use crate::keyring::KeyError;
use crate::secret::Secret;

/// Computes and compares the codes of one token.
pub struct Generator {
    codes: totp_rs::Totp,
    digits: usize,
}

impl Generator {
    /// For an opened seed; `digits` is 6 to 8.
    pub fn new(seed: &Secret, algorithm: Algorithm, digits: u8) -> Self {
        let digits = digits.clamp(6, 8);
        let algorithm = match algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        };
        // One second a step and no skew make the library's time our counter. Unchecked, because 80-bit
        // seeds of old tokens are shorter than the library wants; the digits are bounded above.
        let codes = Builder::new()
            .with_algorithm(algorithm)
            .with_digits(digits)
            .with_skew(0)
            .with_step_duration(1)
            .with_secret(seed.expose().to_vec())
            .build_noncompliant();
        Self {
            codes,
            digits: usize::from(digits),
        }
    }

    /// Opens the seed of a stored token.
    ///
    /// # Errors
    /// When it does not open.
    pub fn open(token: &Token, context: &Context<'_>) -> Result<Self, KeyError> {
        let seed = context
            .keyring
            .open(&Token::place(context.user.as_str(), token.id), &token.seed)?;
        Ok(Self::new(&seed, token.algorithm, token.digits))
    }

    /// Whether `code` is the one for `counter`. Compares in constant time.
    pub fn matches(&self, code: &str, counter: u64) -> bool {
        self.codes.check(code, counter).is_some()
    }

    /// The code for `counter`.
    pub fn code(&self, counter: u64) -> Secret {
        Secret::new(self.codes.generate(counter).to_string())
    }

    /// Whether `code` has as many digits as this token shows, and nothing else.
    pub fn has_form(&self, code: &str) -> bool {
        code.len() == self.digits && code.bytes().all(|octet| octet.is_ascii_digit())
    }
}

/// What a token makes of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is not one that the token could show now.
    None,
    /// It was accepted before.
    Used,
    /// It is right, and this is the token's state after it.
    Next(TokenKind),
}

/// Whether the token is of a kind and can be used.
pub fn is_usable(token: &Token, kind: fn(TokenKind) -> bool) -> bool {
    !token.disabled && kind(token.kind)
}

/// Judges `typed` by every usable token of a kind, until one finds it right.
///
/// # Errors
/// When a seed does not open.
pub fn judge(
    typed: &str,
    record: &mut UserRecord,
    context: &Context<'_>,
    kind: fn(TokenKind) -> bool,
    find: impl Fn(TokenKind, &Generator, &str) -> Match,
) -> Result<Judgement, KeyError> {
    let code = digits(typed);
    let mut best = Judgement::NotApplicable;
    let mut wrong = Vec::new();
    let mut stray = None;
    for (index, token) in record.tokens.iter_mut().enumerate() {
        if !is_usable(token, kind) || code.len() != usize::from(token.digits) {
            continue;
        }
        let generator = Generator::open(token, context)?;
        if !generator.has_form(&code) {
            continue;
        }
        match find(token.kind, &generator, &code) {
            Match::Next(state) => {
                token.kind = state;
                token.count_success(context.now);
                record.stray = None;
                return Ok(Judgement::Right);
            }
            Match::Used => best = best.max(Judgement::Replayed),
            Match::None => {
                let before = record.stray.as_ref().filter(|before| before.token == token.id);
                if let Some(state) = before.and_then(|before| token.follows(before, &generator, &code, context.now)) {
                    token.kind = state;
                    token.count_success(context.now);
                    record.stray = None;
                    return Ok(Judgement::Right);
                }
                stray = token.stray(&generator, &code, context.now).or(stray);
                wrong.push(index);
                best = best.max(Judgement::Wrong);
            }
        }
    }
    // A failure counts only once no token has found the code right.
    for index in wrong {
        if let Some(token) = record.tokens.get_mut(index) {
            token.count_failure();
            // Only the very next code of a token brings it back.
            record.stray.take_if(|before| before.token == token.id);
        }
    }
    record.stray = stray.or(record.stray.take());
    Ok(best)
}

/// A typed code without the blanks that apps show in it.
pub fn digits(typed: &str) -> String {
    typed.chars().filter(|character| !character.is_whitespace()).collect()
}

/// The TOTP step of a moment (RFC 6238 section 4.2, T0 = 0).
pub fn step(now: Timestamp, period: u16) -> u64 {
    now.secs() / u64::from(period.max(1))
}

impl Token {
    /// Counts a wrong code against the token; too many in a row disable it.
    pub fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MAX_CONSECUTIVE_FAILURES {
            self.disabled = true;
        }
    }

    /// Notes that the token proved something.
    pub fn count_success(&mut self, now: Timestamp) {
        self.failures = 0;
        self.last_used = Some(now);
    }
}

/// The `otpauth://` URI that apps read, with the seed in it: shown once, never stored.
///
/// # Errors
/// When the account's or issuer's name contains a colon.
pub fn uri(seed: &Secret, token: &Token, account: &str, issuer: &str) -> Result<Secret, totp_rs::TotpError> {
    let algorithm = match token.algorithm {
        Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
        Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
        Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
    };
    let period = match token.kind {
        TokenKind::Totp { period, .. } => u64::from(period),
        TokenKind::Hotp { .. } | TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. } => 30,
    };
    let text = Builder::new()
        .with_algorithm(algorithm)
        .with_digits(token.digits)
        .with_step_duration(period)
        .with_secret(seed.expose().to_vec())
        .with_account_name(account)
        .with_issuer(Some(issuer))
        .build_noncompliant()
        .to_url()?;
    Ok(Secret::new(match token.kind {
        TokenKind::Totp { .. } | TokenKind::YubicoOtp { .. } => text,
        // As some apps read it; no standard says how.
        TokenKind::Ocra { suite, .. } => {
            let suite = Suite::from(suite).to_string().replace(':', "%3A");
            format!(
                "{}&ocrasuite={suite}",
                text.replacen("otpauth://totp/", "otpauth://ocra/", 1)
            )
        }
        TokenKind::Hotp { counter } => {
            format!(
                "{}&counter={counter}",
                text.replacen("otpauth://totp/", "otpauth://hotp/", 1)
            )
        }
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::facts::UserKey;
    use crate::keyring::Keyring;

    /// The seed of RFC 4226 appendix D and RFC 6238 appendix B.
    pub(crate) const RFC_SEED: &[u8] = b"12345678901234567890";

    /// A record with one token of `kind` on the RFC's seed.
    pub(crate) fn record(keyring: &Keyring, user: &UserKey, kind: TokenKind) -> UserRecord {
        let token = Token {
            id: 1,
            label: "phone".into(),
            kind,
            algorithm: Algorithm::Sha1,
            digits: 6,
            seed: keyring.seal(&Token::place(user.as_str(), 1), RFC_SEED),
            disabled: false,
            failures: 0,
            enrolled: Timestamp::default(),
            last_used: None,
        };
        UserRecord {
            login: "ana".into(),
            tokens: vec![token],
            ever_enrolled: true,
            next_token: 2,
            ..UserRecord::default()
        }
    }

    #[test]
    fn rfc_4226_appendix_d() {
        let generator = Generator::new(&Secret::new(RFC_SEED), Algorithm::Sha1, 6);
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
        ];
        for (counter, code) in (0..).zip(expected) {
            assert!(generator.matches(code, counter), "counter {counter}");
            assert!(generator.code(counter).matches(code.as_bytes()));
        }
    }

    #[test]
    fn rfc_6238_appendix_b() {
        let seed = |length: usize| Secret::new(RFC_SEED.iter().copied().cycle().take(length).collect::<Vec<u8>>());
        let cases = [
            (59, Algorithm::Sha1, 20, "94287082"),
            (59, Algorithm::Sha256, 32, "46119246"),
            (59, Algorithm::Sha512, 64, "90693936"),
            (1_111_111_109, Algorithm::Sha1, 20, "07081804"),
            (1_111_111_109, Algorithm::Sha256, 32, "68084774"),
            (1_111_111_109, Algorithm::Sha512, 64, "25091201"),
            (1_111_111_111, Algorithm::Sha1, 20, "14050471"),
            (1_111_111_111, Algorithm::Sha256, 32, "67062674"),
            (1_111_111_111, Algorithm::Sha512, 64, "99943326"),
            (1_234_567_890, Algorithm::Sha1, 20, "89005924"),
            (1_234_567_890, Algorithm::Sha256, 32, "91819424"),
            (1_234_567_890, Algorithm::Sha512, 64, "93441116"),
            (2_000_000_000, Algorithm::Sha1, 20, "69279037"),
            (2_000_000_000, Algorithm::Sha256, 32, "90698825"),
            (2_000_000_000, Algorithm::Sha512, 64, "38618901"),
            (20_000_000_000, Algorithm::Sha1, 20, "65353130"),
            (20_000_000_000, Algorithm::Sha256, 32, "77737706"),
            (20_000_000_000, Algorithm::Sha512, 64, "47863826"),
        ];
        for (secs, algorithm, length, code) in cases {
            let generator = Generator::new(&seed(length), algorithm, 8);
            assert!(
                generator.matches(code, step(Timestamp::from_secs(secs), 30)),
                "{secs} {algorithm:?}"
            );
        }
    }

    #[test]
    fn uris_say_what_the_token_is() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let record = record(&keyring, &user, TokenKind::Hotp { counter: 7 });
        let uri = uri(&Secret::new(RFC_SEED), &record.tokens[0], "ana", "Portcullis").unwrap();
        assert_eq!(
            uri.expose_str().unwrap(),
            "otpauth://hotp/Portcullis:ana?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Portcullis&counter=7"
        );
    }
}
