//! Recovery codes and passcodes: made, listed without the code, revoked.

use std::time::Duration;

use zeroize::Zeroizing;

use super::view::{Issued, PasscodeView, RecoveryCodes, is_live};
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock::{self, Timestamp};
use crate::engine::authenticator::{codes, passcode, recovery_code};
use crate::engine::event::Outcome;
use crate::engine::record::Passcode;

/// What a passcode to be issued is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct PasscodeWish {
    /// How long it lives: a minute to [`passcode::MAX_LIFE`]; [`passcode::DEFAULT_LIFE`] when absent.
    pub life: Option<Duration>,
    /// Whether CHAP and MS-CHAPv2 are to take it: a sealed copy of the code is kept then, until it is used,
    /// revoked, or replaced.
    pub chap: bool,
}

impl Accounts {
    /// Makes a new set of recovery codes; unused old ones are void. The answer holds the codes, this once.
    ///
    /// # Errors
    /// When the person has left the directory, or the store fails.
    pub async fn new_recovery_codes(&self, subject: &Subject, by: Actor<'_>) -> Result<RecoveryCodes, AccountError> {
        subject.present()?;
        let fresh: Vec<Zeroizing<String>> = (0..recovery_code::COUNT)
            .map(|_| Zeroizing::new(draw(recovery_code::LENGTH)))
            .collect();
        let replaced = self
            .change("recovery-codes.new", subject, by, |record| {
                let replaced = record.recovery.len();
                record.recovery = fresh
                    .iter()
                    .map(|code| recovery_code::digest(&self.keyring, &subject.key, code))
                    .collect();
                record.recovery_failures = 0;
                record.ever_enrolled = true;
                Ok((replaced, format!("{} codes, {replaced} void", fresh.len())))
            })
            .await?;
        Ok(RecoveryCodes {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            codes: fresh.iter().map(|code| codes::grouped(code)).collect(),
            replaced,
        })
    }

    /// Issues a passcode; a live one is replaced. The answer holds the code, this once.
    ///
    /// # Errors
    /// [`AccountError::Oneself`], which is audited; a life out of bounds; someone who has left the
    /// directory.
    pub async fn issue_passcode(
        &self,
        subject: &Subject,
        wish: PasscodeWish,
        by: Actor<'_>,
    ) -> Result<Issued, AccountError> {
        subject.present()?;
        if self.is_oneself(by.name, subject).await? {
            let what = format!("{}: for oneself", subject.login);
            self.note("passcode.issue", by, Some(subject), Outcome::Reject, &what)
                .await?;
            return Err(AccountError::Oneself);
        }
        let life = wish.life.unwrap_or(passcode::DEFAULT_LIFE);
        if !(MIN_LIFE..=passcode::MAX_LIFE).contains(&life) {
            let what = format!(
                "a passcode lives from 1 to {} minutes, not {}",
                passcode::MAX_LIFE.as_secs() / 60,
                life.as_secs() / 60
            );
            return Err(AccountError::Invalid(what));
        }
        let code = Zeroizing::new(draw(passcode::LENGTH));
        let id = draw(ID_LENGTH).to_lowercase();
        let expires = by.now + life;
        let (passcode, replaced) = self
            .change("passcode.issue", subject, by, |record| {
                let replaced = record.passcode.as_ref().is_some_and(|old| is_live(old, by.now));
                let place = Passcode::place(subject.key.as_str(), &id);
                let sealed = wish.chap.then(|| self.keyring.seal(&place, code.as_bytes()));
                record.login.clone_from(&subject.login);
                record.passcode = Some(Passcode {
                    id: id.clone(),
                    digest: passcode::digest(&self.keyring, &subject.key, &code),
                    issued_by: by.name.to_owned(),
                    issued: by.now,
                    expires,
                    failures: 0,
                    sealed,
                    refused: 0,
                    replaces_factor: false,
                    second: None,
                    released_by: None,
                    halves: false,
                });
                let Some(view) = PasscodeView::live(subject.key.as_str(), record, by.now) else {
                    return Err(AccountError::NoSuchPasscode(subject.login.clone()));
                };
                let copy = if wish.chap { ", for CHAP" } else { "" };
                Ok(((view, replaced), format!("passcode {id} until {expires}{copy}")))
            })
            .await?;
        Ok(Issued {
            passcode,
            code: code.to_string(),
            replaced,
        })
    }

    /// Live passcodes of one person, or of everybody, at most `limit`; never the codes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn passcodes(
        &self,
        subject: Option<&Subject>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<PasscodeView>, AccountError> {
        if let Some(subject) = subject {
            return Ok(self.show(subject, now).await?.passcode.into_iter().collect());
        }
        let mut live = Vec::new();
        self.each_user(|key, record| {
            live.extend(PasscodeView::live(key.as_str(), &record, now));
            live.len() < limit
        })
        .await?;
        Ok(live)
    }

    /// Revokes a person's live passcode; with `id`, only that one.
    ///
    /// # Errors
    /// [`AccountError::NoSuchPasscode`].
    pub async fn revoke_passcode(
        &self,
        subject: &Subject,
        id: Option<&str>,
        by: Actor<'_>,
    ) -> Result<PasscodeView, AccountError> {
        self.change("passcode.revoke", subject, by, |record| {
            let live = PasscodeView::live(subject.key.as_str(), record, by.now)
                .filter(|passcode| id.is_none_or(|id| passcode.id == id));
            let Some(passcode) = live else {
                return Err(AccountError::NoSuchPasscode(subject.login.clone()));
            };
            record.passcode = None;
            let what = format!("passcode {}", passcode.id);
            Ok((passcode, what))
        })
        .await
    }
}

/// The shortest life of a passcode.
const MIN_LIFE: Duration = Duration::from_secs(60);

/// Symbols in a passcode's identifier.
const ID_LENGTH: usize = 8;

/// A code of `length` symbols, at most 16.
fn draw(length: usize) -> String {
    loop {
        let random = Zeroizing::new(clock::random::<32>());
        if let Some(code) = codes::draw(random.as_slice(), length) {
            return code;
        }
    }
}
