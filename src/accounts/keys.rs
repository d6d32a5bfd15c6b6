//! Keys that type Yubico OTP: enrolled one by one or from a list.

use std::collections::HashMap;

use super::tokens::{Made, checked_name};
use super::view::{Kind, TokenView};
use super::{AccountError, Accounts, Actor, Subject};
use crate::engine::authenticator::yubico_otp::{self, Code};
use crate::engine::facts::UserKey;
use crate::engine::record::{Algorithm, TokenKind};
use crate::secret::Secret;

/// A key to be enrolled, as its maker or the program that wrote it says.
#[derive(Clone, Debug)]
pub struct KeyWish {
    /// Public identity in modhex: 12 symbols.
    pub public: String,
    /// Private identity in hexadecimal: 12 digits.
    pub private: Secret,
    /// AES key in hexadecimal: 32 digits.
    pub key: Secret,
    /// A code that the key has just typed: it must be right, and is spent.
    pub code: Option<Secret>,
    /// Name; `token-N` when absent.
    pub label: Option<String>,
}

/// Who has which key, by public identity.
#[derive(Debug, Default)]
pub struct Holders(HashMap<[u8; 6], UserKey>);

impl Accounts {
    /// Who has which key now. Reads all records.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn key_holders(&self) -> Result<Holders, AccountError> {
        let mut holders = Holders::default();
        self.each_user(|user, record| {
            let keys = record.tokens.iter().filter_map(|token| match token.kind {
                TokenKind::YubicoOtp { public, .. } => Some(public),
                TokenKind::Totp { .. } | TokenKind::Hotp { .. } | TokenKind::Ocra { .. } => None,
            });
            holders.0.extend(keys.map(|public| (public, user.clone())));
            true
        })
        .await?;
        Ok(holders)
    }

    /// Enrols a key, or with `dry_run` says whether it could be. A key is one person's: what it types for one
    /// could be used again as another. `holders` learns of it.
    ///
    /// # Errors
    /// When the wish is none, somebody has the key, the person has too many tokens or has left the directory.
    pub async fn enrol_key(
        &self,
        subject: &Subject,
        wish: &KeyWish,
        holders: &mut Holders,
        dry_run: bool,
        by: Actor<'_>,
    ) -> Result<Option<TokenView>, AccountError> {
        subject.present()?;
        let (public, seed) = wish.checked()?;
        let last = wish.spent(public, &seed)?;
        let label = wish.label.as_deref().map(|label| checked_name(label, "label"));
        let made = Made {
            kind: TokenKind::YubicoOtp { public, last },
            algorithm: Algorithm::Sha1,
            digits: CODE_SYMBOLS,
            seed: &seed,
            label: label.transpose()?,
        };
        if let Some(holder) = holders.0.get(&public) {
            return Err(AccountError::KeyTaken(yubico_otp::written(public), holder.to_string()));
        }
        if dry_run {
            let ((mut record, _), _) = self.load(subject, by.now).await?;
            self.add_token(&mut record, subject, &made, by)?;
            holders.0.insert(public, subject.key.clone());
            return Ok(None);
        }
        let token = self
            .change("token.enrol", subject, by, |record| {
                let token = self.add_token(record, subject, &made, by)?;
                let written = yubico_otp::written(public);
                let word = Kind::YubicoOtp.word();
                let what = format!("{word} token {} `{}` {written}", token.id, token.label);
                Ok((token, what))
            })
            .await?;
        holders.0.insert(public, subject.key.clone());
        Ok(Some(TokenView::of(&token)))
    }
}

/// Symbols of a code.
#[allow(clippy::cast_possible_truncation, reason = "44")]
const CODE_SYMBOLS: u8 = yubico_otp::LENGTH as u8;

impl KeyWish {
    fn checked(&self) -> Result<([u8; 6], Secret), AccountError> {
        let Some(public) = yubico_otp::public_identity(&self.public) else {
            let what = format!("the public identity is 12 symbols of modhex ({})", yubico_otp::SYMBOLS);
            return Err(AccountError::Invalid(what));
        };
        let text = |secret: &Secret| secret.expose_str().map(ToOwned::to_owned).map(zeroize::Zeroizing::new);
        let parts = text(&self.private).zip(text(&self.key));
        let seed = parts.and_then(|(private, key)| yubico_otp::seed(&private, &key));
        let Some(seed) = seed else {
            let what = "the private identity is 12 hexadecimal digits, and the AES key is 32";
            return Err(AccountError::Invalid(what.into()));
        };
        Ok((public, seed))
    }

    /// The counters of the code that proves that the key is what was said of it.
    fn spent(&self, public: [u8; 6], seed: &Secret) -> Result<Option<u32>, AccountError> {
        let Some(code) = &self.code else { return Ok(None) };
        let read = code.expose_str().map(yubico_otp::read).unwrap_or_default();
        let own = |code: &Code| (code.public == public).then(|| code.decrypt(seed)).flatten();
        match read.iter().find_map(own) {
            Some(count) => Ok(Some(count)),
            None => Err(AccountError::Invalid("what was typed is not a code of this key".into())),
        }
    }
}
