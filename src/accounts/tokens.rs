//! Tokens: enrolling, listing, switching off and on, revoking, and bringing back into step.

use data_encoding::{BASE32, BASE32_NOPAD};
use zeroize::Zeroizing;

use super::view::{Enrolled, Kind, Resynced, TokenView};
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock;
use crate::engine::authenticator::{Context, oath};
use crate::engine::event::Outcome;
use crate::engine::ocra::Suite;
use crate::engine::record::{Algorithm, OcraSuite, Token, TokenKind, UserRecord};
use crate::secret::Secret;

/// What a token to be enrolled is to be like.
#[derive(Clone, Debug)]
pub struct TokenWish {
    /// TOTP, HOTP or OCRA.
    pub kind: Kind,
    /// Hash function of the HMAC; for OCRA the suite follows from it.
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u8,
    /// Seconds in a step, 30 or 60; for TOTP.
    pub period: u16,
    /// First counter; for HOTP.
    pub counter: u64,
    /// A seed in base32 that a hardware token brings along; a random one of the hash's length (RFC 4226
    /// section 4, RFC 6238 section 5.1) when absent.
    pub seed: Option<Secret>,
    /// Name; `token-N` when absent.
    pub label: Option<String>,
    /// Whose token it is, as authenticator apps show it.
    pub issuer: String,
}

/// What authenticator apps know how to show: TOTP, SHA-1, 6 digits every 30 s, on a random seed.
impl Default for TokenWish {
    fn default() -> Self {
        Self {
            kind: Kind::Totp,
            algorithm: Algorithm::Sha1,
            digits: 6,
            period: 30,
            counter: 0,
            seed: None,
            label: None,
            issuer: "Portcullis".into(),
        }
    }
}

/// One of a person's tokens.
#[derive(Clone, Debug)]
pub enum Which {
    /// By number.
    Id(u32),
    /// By name.
    Label(String),
}

impl Which {
    /// A number, or else a name.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Label(text.to_owned()), Self::Id)
    }
}

impl Accounts {
    /// Enrols a token. The answer holds the seed, this once.
    ///
    /// # Errors
    /// When the wish is outside the limits, the person has too many tokens or has left the directory.
    pub async fn enrol(&self, subject: &Subject, wish: &TokenWish, by: Actor<'_>) -> Result<Enrolled, AccountError> {
        subject.present()?;
        let kind = wish.checked()?;
        let seed = wish.seed()?;
        let issuer = checked_name(&wish.issuer, "issuer")?.replace(':', " ");
        let label = wish.checked_label()?;
        let token = self
            .change("token.enrol", subject, by, |record| {
                let made = Made {
                    kind,
                    algorithm: wish.algorithm,
                    digits: digits_of(kind).unwrap_or(wish.digits),
                    seed: &seed,
                    label,
                };
                let token = self.add_token(record, subject, &made, by)?;
                let what = format!("{} token {} `{}`", wish.kind.word(), token.id, token.label);
                Ok((token, what))
            })
            .await?;
        let account = subject.login.replace(':', " ");
        let uri = oath::uri(&seed, &token, &account, &issuer)
            .map_err(|error| AccountError::Invalid(format!("no otpauth URI can name this token: {error}")))?;
        Ok(Enrolled {
            token: TokenView::of(&token),
            uri: uri.expose_str().unwrap_or_default().to_owned(),
            seed: BASE32_NOPAD.encode(seed.expose()),
        })
    }

    /// Puts a new token into a person's record.
    ///
    /// # Errors
    /// When the person has too many, or another one of that name.
    pub(super) fn add_token(
        &self,
        record: &mut UserRecord,
        subject: &Subject,
        made: &Made<'_>,
        by: Actor<'_>,
    ) -> Result<Token, AccountError> {
        if record.tokens.len() >= UserRecord::MAX_TOKENS {
            return Err(AccountError::TooManyTokens(subject.login.clone()));
        }
        let id = record.next_token.max(1);
        record.next_token = id + 1;
        let label = made.label.map_or_else(|| format!("token-{id}"), str::to_owned);
        if record.tokens.iter().any(|token| token.label == label) {
            return Err(AccountError::LabelTaken(subject.login.clone(), label));
        }
        let place = Token::place(subject.key.as_str(), id);
        let token = Token {
            id,
            label,
            kind: made.kind,
            algorithm: made.algorithm,
            digits: made.digits,
            seed: self.keyring.seal(&place, made.seed.expose()),
            disabled: false,
            failures: 0,
            enrolled: by.now,
            last_used: None,
        };
        record.tokens.push(token.clone());
        // A machine's key is no second factor of the person's.
        record.ever_enrolled |= !token.is_of_machine();
        Ok(token)
    }

    /// Removes a token. The person stays known as one who had a second factor.
    ///
    /// # Errors
    /// When there is no such token.
    pub async fn revoke_token(
        &self,
        subject: &Subject,
        which: &Which,
        by: Actor<'_>,
    ) -> Result<TokenView, AccountError> {
        self.change("token.revoke", subject, by, |record| {
            let id = find(record, subject, which)?.id;
            let Some(index) = record.tokens.iter().position(|token| token.id == id) else {
                return Err(no_such(subject, which));
            };
            let token = record.tokens.remove(index);
            Ok((TokenView::of(&token), format!("token {id} `{}`", token.label)))
        })
        .await
    }

    /// Switches a token on or off. Switching on forgets its failures.
    ///
    /// # Errors
    /// When there is no such token.
    pub async fn switch_token(
        &self,
        subject: &Subject,
        which: &Which,
        on: bool,
        by: Actor<'_>,
    ) -> Result<TokenView, AccountError> {
        let action = if on { "token.enable" } else { "token.disable" };
        self.change(action, subject, by, |record| {
            let token = find(record, subject, which)?;
            token.disabled = !on;
            if on {
                token.failures = 0;
            }
            Ok((TokenView::of(token), format!("token {} `{}`", token.id, token.label)))
        })
        .await
    }

    /// Gives a token another name, unless another one has it. Nothing else changes.
    ///
    /// # Errors
    /// When there is no such token, or the name is taken or not one.
    pub async fn rename_token(
        &self,
        subject: &Subject,
        which: &Which,
        label: &str,
        by: Actor<'_>,
    ) -> Result<TokenView, AccountError> {
        let label = checked_name(label, "label")?;
        self.change("token.rename", subject, by, |record| {
            let id = find(record, subject, which)?.id;
            if record.tokens.iter().any(|token| token.label == label && token.id != id) {
                return Err(AccountError::LabelTaken(subject.login.clone(), label.to_owned()));
            }
            let token = find(record, subject, &Which::Id(id))?;
            let before = std::mem::replace(&mut token.label, label.to_owned());
            Ok((TokenView::of(token), format!("token {id} from `{before}` to `{label}`")))
        })
        .await
    }

    /// Brings a token back into step by two consecutive codes, neither of which was ever accepted or
    /// passed over. Both are spent by it. A refusal is audited.
    ///
    /// # Errors
    /// [`AccountError::NotInStep`], or when there is no such token.
    pub async fn resync(
        &self,
        subject: &Subject,
        which: &Which,
        codes: (&Secret, &Secret),
        by: Actor<'_>,
    ) -> Result<Resynced, AccountError> {
        let (Some(first), Some(second)) = (codes.0.expose_str(), codes.1.expose_str()) else {
            return Err(AccountError::NotInStep);
        };
        let context = Context {
            user: &subject.key,
            keyring: &self.keyring,
            now: by.now,
            sent: None,
        };
        let done = self
            .change("token.resync", subject, by, |record| {
                let token = find(record, subject, which)?;
                let Some(kind) = token.resync(first, second, &context)? else {
                    return Err(AccountError::NotInStep);
                };
                let offset = offset(token.kind, kind);
                token.kind = kind;
                token.failures = 0;
                let what = format!("token {} `{}` by {offset}", token.id, token.label);
                let token = TokenView::of(token);
                Ok((Resynced { token, offset }, what))
            })
            .await;
        if let Err(AccountError::NotInStep) = done {
            let what = format!("{}: not two consecutive new codes", subject.login);
            self.note("token.resync", by, Some(subject), Outcome::Reject, &what)
                .await?;
        }
        done
    }
}

/// A token about to be put into a record.
pub(super) struct Made<'a> {
    pub(super) kind: TokenKind,
    pub(super) algorithm: Algorithm,
    pub(super) digits: u8,
    pub(super) seed: &'a Secret,
    /// Name, checked; `token-N` when absent.
    pub(super) label: Option<&'a str>,
}

/// Symbols of a code, where the kind says it.
pub(super) fn digits_of(kind: TokenKind) -> Option<u8> {
    match kind {
        TokenKind::Ocra { suite, .. } => Some(Suite::from(suite).digits()),
        TokenKind::Totp { .. } | TokenKind::Hotp { .. } | TokenKind::YubicoOtp { .. } => None,
    }
}

/// Octets of a given seed: 80-bit seeds of old tokens up to one block of SHA-512.
const SEED_OCTETS: std::ops::RangeInclusive<usize> = 10..=128;

/// Longest label or issuer, in characters.
const NAME_CHARACTERS: usize = 64;

impl TokenWish {
    pub(super) fn checked(&self) -> Result<TokenKind, AccountError> {
        if !(6..=8).contains(&self.digits) {
            let what = format!("a code has 6 to 8 digits, not {}", self.digits);
            return Err(AccountError::Invalid(what));
        }
        match self.kind {
            Kind::Totp if matches!(self.period, 30 | 60) => Ok(TokenKind::Totp {
                period: self.period,
                last_step: None,
                drift: 0,
            }),
            Kind::Totp => {
                let what = format!("a step has 30 or 60 seconds, not {}", self.period);
                Err(AccountError::Invalid(what))
            }
            Kind::Hotp => Ok(TokenKind::Hotp { counter: self.counter }),
            Kind::Ocra => Ok(TokenKind::Ocra {
                suite: match self.algorithm {
                    Algorithm::Sha1 => OcraSuite::Sha1Digits6,
                    Algorithm::Sha256 => OcraSuite::Sha256Digits8,
                    Algorithm::Sha512 => OcraSuite::Sha512Digits8,
                },
                offline: false,
            }),
            Kind::YubicoOtp | Kind::Offline => {
                let what = format!("a {} token is enrolled in a way of its own", self.kind.word());
                Err(AccountError::Invalid(what))
            }
        }
    }

    /// The name, where one is wanted.
    pub(super) fn checked_label(&self) -> Result<Option<&str>, AccountError> {
        let label = self.label.as_deref();
        label.map(|label| checked_name(label, "label")).transpose()
    }

    pub(super) fn seed(&self) -> Result<Secret, AccountError> {
        let Some(given) = &self.seed else {
            let octets = Zeroizing::new(clock::random::<64>());
            let length = match self.algorithm {
                Algorithm::Sha1 => 20,
                Algorithm::Sha256 => 32,
                Algorithm::Sha512 => 64,
            };
            return Ok(Secret::new(octets.get(..length).unwrap_or(octets.as_slice())));
        };
        let typed = Zeroizing::new(
            given
                .expose_str()
                .unwrap_or_default()
                .chars()
                .filter(|character| !character.is_whitespace() && *character != '-')
                .collect::<String>()
                .to_uppercase(),
        );
        let encoding = if typed.ends_with('=') { &BASE32 } else { &BASE32_NOPAD };
        let Ok(octets) = encoding.decode(typed.as_bytes()) else {
            return Err(AccountError::Invalid("the seed is not base32 (A-Z and 2-7)".into()));
        };
        if !SEED_OCTETS.contains(&octets.len()) {
            let bits = octets.len() * 8;
            let what = format!("the seed has {bits} bits; 80 to 1024 are taken, 160 or more are wise");
            return Err(AccountError::Invalid(what));
        }
        Ok(Secret::new(octets))
    }
}

pub(super) fn checked_name<'a>(name: &'a str, what: &str) -> Result<&'a str, AccountError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS || name.chars().any(char::is_control) {
        let what = format!("the {what} wants 1 to {NAME_CHARACTERS} characters, none of them a control character");
        return Err(AccountError::Invalid(what));
    }
    Ok(name)
}

fn find<'a>(record: &'a mut UserRecord, subject: &Subject, which: &Which) -> Result<&'a mut Token, AccountError> {
    let found = record.tokens.iter_mut().find(|token| match which {
        Which::Id(id) => token.id == *id,
        Which::Label(label) => token.label == *label,
    });
    found.ok_or_else(|| no_such(subject, which))
}

fn no_such(subject: &Subject, which: &Which) -> AccountError {
    let name = match which {
        Which::Id(id) => id.to_string(),
        Which::Label(label) => label.clone(),
    };
    AccountError::NoSuchToken(subject.login.clone(), name)
}

/// How far a token was from where it was expected.
fn offset(before: TokenKind, after: TokenKind) -> i64 {
    match (before, after) {
        (TokenKind::Hotp { counter: from }, TokenKind::Hotp { counter: to }) => {
            // Both codes moved the counter on; what is beyond them was the distance.
            i64::try_from(to.saturating_sub(from).saturating_sub(2)).unwrap_or(i64::MAX)
        }
        (_, TokenKind::Totp { drift, .. }) => i64::from(drift),
        (TokenKind::Totp { .. } | TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. }, TokenKind::Hotp { .. })
        | (_, TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. }) => 0,
    }
}
