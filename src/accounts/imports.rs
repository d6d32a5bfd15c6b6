//! Tokens that other systems have enrolled, taken over with their state.

use super::tokens::{Made, digits_of};
use super::view::TokenView;
use super::{AccountError, Accounts, Actor, Subject, TokenWish};
use crate::engine::record::{Token, TokenKind, UserRecord};
use crate::keyring::KeyError;
use crate::secret::Secret;

/// A token to be taken over.
#[derive(Clone, Debug)]
pub struct TokenImport {
    /// What it is like. Its seed must be given.
    pub wish: TokenWish,
    /// Steps that its clock is ahead of ours; for TOTP.
    pub drift: i16,
    /// Switched off where it comes from.
    pub disabled: bool,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Imported {
    /// It is enrolled.
    Enrolled(Box<TokenView>),
    /// It could be.
    Sound,
    /// The person has a token of this kind on the same seed.
    Known,
}

impl Accounts {
    /// Takes a token over, or with `dry_run` says whether it could be. One that the person has already is left as it
    /// is, so that a list can be read again.
    ///
    /// # Errors
    /// As [`Accounts::enrol`], and for a wish without a seed.
    pub async fn import_token(
        &self,
        subject: &Subject,
        import: &TokenImport,
        dry_run: bool,
        by: Actor<'_>,
    ) -> Result<Imported, AccountError> {
        subject.present()?;
        let wish = &import.wish;
        if wish.seed.is_none() {
            return Err(AccountError::Invalid("there is no seed".into()));
        }
        let kind = match wish.checked()? {
            TokenKind::Totp { period, last_step, .. } => TokenKind::Totp {
                period,
                last_step,
                drift: import.drift,
            },
            kind @ (TokenKind::Hotp { .. } | TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. }) => kind,
        };
        let seed = wish.seed()?;
        let label = wish.checked_label()?;
        let made = Made {
            kind,
            algorithm: wish.algorithm,
            digits: digits_of(kind).unwrap_or(wish.digits),
            seed: &seed,
            label,
        };
        let ((mut record, _), _) = self.load(subject, by.now).await?;
        if self.has(&record, subject, kind, &seed)? {
            return Ok(Imported::Known);
        }
        if dry_run {
            self.add_token(&mut record, subject, &made, by)?;
            return Ok(Imported::Sound);
        }
        let token = self
            .change("token.import", subject, by, |record| {
                let mut token = self.add_token(record, subject, &made, by)?;
                if let Some(added) = record.tokens.last_mut() {
                    added.disabled = import.disabled;
                    token.disabled = import.disabled;
                }
                let what = format!("{} token {} `{}`", wish.kind.word(), token.id, token.label);
                Ok((token, what))
            })
            .await?;
        Ok(Imported::Enrolled(Box::new(TokenView::of(&token))))
    }

    /// Whether the person has a token of the same kind on this seed.
    fn has(&self, record: &UserRecord, subject: &Subject, kind: TokenKind, seed: &Secret) -> Result<bool, KeyError> {
        let same = |token: &Token| std::mem::discriminant(&token.kind) == std::mem::discriminant(&kind);
        for token in record.tokens.iter().filter(|token| same(token)) {
            let place = Token::place(subject.key.as_str(), token.id);
            if self.keyring.open(&place, &token.seed)?.matches(seed.expose()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture};
    use crate::accounts::view::Kind;

    fn import(kind: Kind) -> TokenImport {
        TokenImport {
            wish: TokenWish {
                kind,
                counter: 7,
                period: 60,
                seed: Some(Secret::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")),
                label: Some("OATH0001".into()),
                ..TokenWish::default()
            },
            drift: -2,
            disabled: true,
        }
    }

    #[tokio::test]
    async fn state_is_carried_over_and_a_list_can_be_read_again() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        let take = async |import: &TokenImport, dry_run| site.accounts.import_token(&ana, import, dry_run, CAROL).await;
        let counted = import(Kind::Hotp);
        assert_eq!(take(&counted, true).await.unwrap(), Imported::Sound);
        assert!(site.record(&ana).await.tokens.is_empty());
        assert!(matches!(take(&counted, false).await.unwrap(), Imported::Enrolled(_)));
        for dry_run in [true, false] {
            assert_eq!(take(&counted, dry_run).await.unwrap(), Imported::Known);
        }
        let label_taken = take(&import(Kind::Totp), true).await;
        assert!(matches!(label_taken, Err(AccountError::LabelTaken(..))));
        let mut timed = import(Kind::Totp);
        timed.wish.label = None;
        take(&timed, false).await.unwrap();
        let record = site.record(&ana).await;
        assert!(record.ever_enrolled && record.tokens.iter().all(|token| token.disabled));
        assert_eq!(record.tokens[0].kind, TokenKind::Hotp { counter: 7 });
        let expected = TokenKind::Totp {
            period: 60,
            last_step: None,
            drift: -2,
        };
        assert_eq!(record.tokens[1].kind, expected);
        timed.wish.seed = None;
        assert!(matches!(take(&timed, true).await, Err(AccountError::Invalid(_))));
    }
}
