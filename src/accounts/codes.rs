//! Recovery codes and passcodes: made, listed without the code, revoked.

use std::time::Duration;

use zeroize::Zeroizing;

use super::four_eyes::PasscodeOf;
use super::view::{Issued, PasscodeView, RecoveryCodes, is_live};
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock::{self, Timestamp};
use crate::engine::authenticator::{codes, passcode, recovery_code};
use crate::engine::record::Passcode;

/// What a passcode to be issued is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct PasscodeWish {
    /// How long it lives: a minute to [`passcode::MAX_LIFE`]; as configured when absent.
    pub life: Option<Duration>,
    /// Whether CHAP and MS-CHAPv2 are to take it: a sealed copy of the code is kept then, until it is used,
    /// revoked, or replaced.
    pub chap: bool,
    /// Whether it stands in for a second factor that was lost: none is asked for beside it.
    pub replaces_factor: bool,
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

    /// Issues a passcode; a live one is replaced. The answer holds the code, this once; where passcodes have two
    /// halves, the first, and the second is kept sealed until it is released ([`Accounts::release_passcode`]).
    ///
    /// # Errors
    /// A life out of bounds; someone who has left the directory; [`AccountError::NobodySecond`].
    pub async fn issue_passcode(
        &self,
        subject: &Subject,
        wish: PasscodeWish,
        by: Actor<'_>,
    ) -> Result<Issued, AccountError> {
        subject.present()?;
        let four_eyes = self.surroundings.four_eyes();
        let life = wish.life.unwrap_or(four_eyes.life);
        if !(passcode::MIN_LIFE..=passcode::MAX_LIFE).contains(&life) {
            let what = format!(
                "a passcode lives from 1 to {} minutes, not {}",
                passcode::MAX_LIFE.as_secs() / 60,
                life.as_secs() / 60
            );
            return Err(AccountError::Invalid(what));
        }
        let second_holders = match four_eyes.passcodes {
            true => Some(self.second_holders(subject, &four_eyes.releasers(), by.name).await?),
            false => None,
        };
        let code = Zeroizing::new(draw(passcode::LENGTH));
        let (first, second) = code.split_at(passcode::HALF);
        let id = draw(ID_LENGTH).to_lowercase();
        let user = subject.key.as_str();
        let mut parties = self.parties(subject, by).await?;
        parties.extend(self.lender(subject, by).await?);
        let index = PasscodeOf::put(&subject.key, parties, &id, by.now + life);
        let (passcode, replaced) = self
            .change_with("passcode.issue", subject, by, &index, |record| {
                let replaced = record.passcode.as_ref().is_some_and(|old| is_live(old, by.now));
                let seal = |place: Vec<u8>, text: &str| self.keyring.seal(&place, text.as_bytes());
                record.login.clone_from(&subject.login);
                record.passcode = Some(Passcode {
                    id: id.clone(),
                    digest: passcode::digest(&self.keyring, &subject.key, &code),
                    issued_by: by.name.to_owned(),
                    issued: by.now,
                    expires: by.now + life,
                    failures: 0,
                    sealed: wish.chap.then(|| seal(Passcode::place(user, &id), &code)),
                    refused: 0,
                    replaces_factor: wish.replaces_factor,
                    second: second_holders
                        .is_some()
                        .then(|| seal(Passcode::second_place(user, &id), second)),
                    released_by: None,
                    halves: second_holders.is_some(),
                });
                let Some(view) = PasscodeView::live(user, record, by.now) else {
                    return Err(AccountError::NoSuchPasscode(subject.login.clone()));
                };
                let what = issued(&view);
                Ok(((view, replaced), what))
            })
            .await?;
        let shown = if passcode.halves { first } else { code.as_str() };
        Ok(Issued {
            passcode,
            code: shown.to_owned(),
            replaced,
            second: second_holders,
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

/// Symbols in a passcode's identifier.
const ID_LENGTH: usize = 8;

/// What was issued, for the audit.
fn issued(passcode: &PasscodeView) -> String {
    let mut what = format!("passcode {} until {}", passcode.id, passcode.expires);
    for (said, words) in [
        (passcode.halves, ", first half"),
        (passcode.chap, ", for CHAP"),
        (passcode.replaces_factor, ", in place of a lost factor"),
    ] {
        if said {
            what.push_str(words);
        }
    }
    what
}

/// A code of `length` symbols, at most 16.
fn draw(length: usize) -> String {
    loop {
        let random = Zeroizing::new(clock::random::<32>());
        if let Some(code) = codes::draw(random.as_slice(), length) {
            return code;
        }
    }
}
