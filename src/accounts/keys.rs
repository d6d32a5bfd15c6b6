//! Keys that type Yubico OTP: enrolled one by one or from a list.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

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

/// Who has which key, by public identity. As long as it is held nobody else enrols any: of two at the same time
/// neither would know of the other.
#[derive(Debug, Default)]
pub struct Holders {
    known: HashMap<[u8; 6], UserKey>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Accounts {
    /// Who has which key now. Waits until nobody else enrols any, and reads all records.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn key_holders(&self) -> Result<Holders, AccountError> {
        let mut holders = Holders {
            known: HashMap::new(),
            _turn: Some(Arc::clone(&self.enrolling_keys).lock_owned().await),
        };
        self.each_read(|user, record| {
            let record = record.map_err(|error| AccountError::BadRecord(user.to_string(), error))?;
            let keys = record.tokens.iter().filter_map(|token| match token.kind {
                TokenKind::YubicoOtp { public, .. } => Some(public),
                TokenKind::Totp { .. } | TokenKind::Hotp { .. } | TokenKind::Ocra { .. } => None,
            });
            holders.known.extend(keys.map(|public| (public, user.clone())));
            Ok(true)
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
        if let Some(holder) = holders.known.get(&public) {
            return Err(AccountError::KeyTaken(yubico_otp::written(public), holder.to_string()));
        }
        if dry_run {
            let ((mut record, _), _) = self.load(subject, by.now).await?;
            self.add_token(&mut record, subject, &made, by)?;
            holders.known.insert(public, subject.key.clone());
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
        holders.known.insert(public, subject.key.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};

    const PUBLIC: &str = "vvccccccbcde";
    const PRIVATE: &str = "010203040506";
    const KEY: &str = "000102030405060708090a0b0c0d0e0f";
    /// Usage 1, session 1, as Yubico publishes it for this key.
    const CODE: &str = "vvccccccbcdedvgtiblfkbgturecfllberrvkinnctnn";

    fn wish(public: &str, private: &str, key: &str) -> KeyWish {
        KeyWish {
            public: public.into(),
            private: Secret::new(private),
            key: Secret::new(key),
            code: None,
            label: None,
        }
    }

    async fn enrol(
        site: &Fixture,
        user: &str,
        wish: &KeyWish,
        dry_run: bool,
    ) -> Result<Option<TokenView>, AccountError> {
        let mut holders = site.accounts.key_holders().await.unwrap();
        let subject = site.subject(user).await;
        site.accounts
            .enrol_key(&subject, wish, &mut holders, dry_run, CAROL)
            .await
    }

    #[tokio::test]
    async fn a_key_is_one_persons() {
        let site = Fixture::new();
        let wish = wish(PUBLIC, PRIVATE, KEY);
        assert_eq!(enrol(&site, "ana", &wish, true).await.unwrap(), None);
        let token = enrol(&site, "ana", &wish, false).await.unwrap().unwrap();
        assert_eq!((token.kind, token.public.as_deref()), (Kind::YubicoOtp, Some(PUBLIC)));
        for (user, dry_run) in [("ana", false), ("ben", false), ("gus", true)] {
            let taken = enrol(&site, user, &wish, dry_run).await;
            assert!(matches!(taken, Err(AccountError::KeyTaken(..))), "{user}");
        }
        let ana = site.subject("ana").await;
        let view = site.accounts.show(&ana, NOW).await.unwrap();
        assert!(view.ever_enrolled && view.tokens.len() == 1);
    }

    #[tokio::test]
    async fn two_operators_cannot_give_two_people_one_key() {
        let site = Fixture::new();
        let wish = wish(PUBLIC, PRIVATE, KEY);
        let mut first = site.accounts.key_holders().await.unwrap();
        let accounts = site.accounts.clone();
        let second = tokio::spawn(async move { accounts.key_holders().await });
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let (ana, ben) = (site.subject("ana").await, site.subject("ben").await);
        let enrolled = site.accounts.enrol_key(&ana, &wish, &mut first, false, CAROL).await;
        assert!(enrolled.is_ok());
        drop(first);
        let mut second = second.await.unwrap().unwrap();
        let taken = site.accounts.enrol_key(&ben, &wish, &mut second, false, CAROL).await;
        assert!(matches!(taken, Err(AccountError::KeyTaken(..))));
    }

    #[tokio::test]
    async fn a_list_cannot_name_a_key_twice() {
        let site = Fixture::new();
        let mut holders = Holders::default();
        let (ana, ben) = (site.subject("ana").await, site.subject("ben").await);
        let wish = wish(PUBLIC, PRIVATE, KEY);
        let mut tried = async |subject| site.accounts.enrol_key(subject, &wish, &mut holders, true, CAROL).await;
        assert!(tried(&ana).await.is_ok());
        assert!(matches!(tried(&ben).await, Err(AccountError::KeyTaken(..))));
    }

    #[tokio::test]
    async fn a_code_checks_the_key_and_is_spent() {
        let site = Fixture::new();
        let with_code = |code: &str| KeyWish {
            code: Some(Secret::new(code)),
            ..wish(PUBLIC, PRIVATE, KEY)
        };
        let other = format!("{PUBLIC}{}", "c".repeat(32));
        for code in [other.as_str(), "123456", &CODE.replace("bcde", "bcdf")] {
            let refused = enrol(&site, "ana", &with_code(code), false).await;
            assert!(matches!(refused, Err(AccountError::Invalid(_))), "{code}");
        }
        enrol(&site, "ana", &with_code(CODE), false).await.unwrap();
        let ana = site.subject("ana").await;
        let ((record, _), _) = site.accounts.load(&ana, NOW).await.unwrap();
        assert!(matches!(
            record.tokens[0].kind,
            TokenKind::YubicoOtp { last: Some(0x0101), .. }
        ));
    }

    #[tokio::test]
    async fn what_is_no_key_is_refused() {
        let site = Fixture::new();
        for wish in [
            wish("vvcccccc", PRIVATE, KEY),
            wish("vvccccccbcda", PRIVATE, KEY),
            wish(PUBLIC, "0102030405", KEY),
            wish(PUBLIC, PRIVATE, &KEY[2..]),
            wish(PUBLIC, PRIVATE, &KEY.replace('0', "g")),
            wish(PUBLIC, &format!("{PRIVATE}07"), &KEY[2..]),
        ] {
            let refused = enrol(&site, "ana", &wish, false).await;
            assert!(matches!(refused, Err(AccountError::Invalid(_))), "{wish:?}");
        }
    }
}
