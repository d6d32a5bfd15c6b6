//! Passcodes in two halves: who issues one sees the first, and a second person releases the second.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::relation::{Voucher, Vouching};
use super::view::{PasscodeView, Released, is_live};
use super::{AccountError, Accounts, Actor, Relation, Subject};
use crate::engine::approval::{Action, Approver, DelegationRecord, Rule, Who, Word};
use crate::engine::authenticator::passcode;
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::facts::UserKey;
use crate::engine::record::{Passcode, Record, decode, encode};

/// What takes a second person, and who that may be. Groups are written as a normalised distinguished name, or as their
/// `cn` in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FourEyes {
    /// Whether passcodes have two halves.
    pub passcodes: bool,
    /// The group whose members may release second halves, as the person's manager may.
    pub holders: Option<String>,
    /// How long a passcode lives unless it is issued for another time.
    pub life: Duration,
    /// The group whose members may approve, as the person's manager may.
    pub approvers: Option<String>,
    /// What operators may not do alone.
    pub rules: Arc<[Rule]>,
    /// The longest delegation.
    pub longest_delegation: Duration,
    /// Whether who may approve a request is told of it.
    pub notify: bool,
}

impl Default for FourEyes {
    fn default() -> Self {
        Self {
            passcodes: false,
            holders: None,
            life: passcode::DEFAULT_LIFE,
            approvers: None,
            rules: Arc::default(),
            longest_delegation: DelegationRecord::LONGEST,
            notify: false,
        }
    }
}

impl FourEyes {
    /// Who may release second halves.
    pub(super) fn releasers(&self) -> Vec<Approver> {
        let group = self.holders.clone().map(Approver::Group);
        std::iter::once(Approver::Manager).chain(group).collect()
    }
}

/// Whose a passcode is, under its identifier, and who has a part in it besides who issued it: who agreed
/// that it be issued may not release its second half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PasscodeOf {
    user: UserKey,
    parties: Vec<Who>,
}

impl Record for PasscodeOf {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

impl PasscodeOf {
    /// Writes down whose the passcode `id` is.
    pub(super) fn put(user: &UserKey, parties: Vec<Who>, id: &str, until: crate::clock::Timestamp) -> Batch {
        let record = Self {
            user: user.clone(),
            parties,
        };
        Batch::of(Key::passcode(id), Change::Put(encode(&record), Some(until)))
    }
}

impl Accounts {
    /// Finds the person whose live passcode has this identifier, and what the operator is to them: who may release
    /// the second half is [`Relation::Second`].
    ///
    /// # Errors
    /// [`AccountError::NoPasscode`]; when the directory cannot be asked.
    pub async fn find_passcode(&self, id: &str, by: Actor<'_>) -> Result<(Subject, Relation), AccountError> {
        let (subject, relation, _) = self.releasing(id, by).await?;
        Ok((subject, relation))
    }

    /// The same, with how the operator vouches.
    async fn releasing(&self, id: &str, by: Actor<'_>) -> Result<(Subject, Relation, Option<Voucher>), AccountError> {
        let missing = || AccountError::NoPasscode(id.to_owned());
        let found = self.store.read(&[Key::passcode(id)], by.now).await?.into_iter().next();
        let octets = found.and_then(|found| found.value).ok_or_else(missing)?;
        let of: PasscodeOf = decode(&octets).map_err(|error| AccountError::BadRecord(id.to_owned(), error))?;
        let subject = self.by_key(id, of.user).await?;
        let ((record, _), _) = self.load(&subject, by.now).await?;
        let live = record
            .passcode
            .filter(|passcode| is_live(passcode, by.now) && passcode.id == id);
        let issuer = Who {
            account: live.ok_or_else(missing)?.issued_by,
            key: None,
        };
        let apart: Vec<Who> = std::iter::once(issuer).chain(of.parties).collect();
        let vouching = Vouching {
            action: Action::PasscodeRelease,
            approvers: &self.surroundings.four_eyes().releasers(),
            apart: &apart,
            now: by.now,
        };
        let (relation, voucher) = self.stand(by.name, &subject, vouching).await?;
        Ok((subject, relation, voucher))
    }

    /// Releases the second half of a person's passcode: the answer holds it, this once. Whether the operator may is
    /// asked before ([`Accounts::find_passcode`]).
    ///
    /// # Errors
    /// [`AccountError::NoPasscode`] when it was used, revoked or replaced meanwhile; [`AccountError::NotWaiting`];
    /// [`AccountError::NotAsked`] when it is no longer the operator's to release.
    pub async fn release_passcode(&self, subject: &Subject, id: &str, by: Actor<'_>) -> Result<Released, AccountError> {
        subject.present()?;
        let user = subject.key.as_str();
        let (found, relation, voucher) = self.releasing(id, by).await?;
        let voucher = voucher.filter(|_| found.key == subject.key);
        let voucher = voucher.ok_or_else(|| AccountError::NotAsked(id.to_owned(), relation))?;
        let mut rests_on = Batch::default();
        rests_on.expect.extend(voucher.rests_on);
        let word = Word {
            by: voucher.who,
            instead_of: voucher.instead_of,
            at: by.now,
            reason: String::new(),
        };
        let (passcode, second) = self
            .change_with("passcode.release", subject, by, &rests_on, |record| {
                let live = record.passcode.as_mut();
                let Some(passcode) = live.filter(|passcode| is_live(passcode, by.now) && passcode.id == id) else {
                    return Err(AccountError::NoPasscode(id.to_owned()));
                };
                let Some(sealed) = passcode.second.take() else {
                    return Err(AccountError::NotWaiting(id.to_owned()));
                };
                let half = self.keyring.open(&Passcode::second_place(user, id), &sealed)?;
                passcode.released_by = Some(word.speaker());
                let Some(view) = PasscodeView::live(user, record, by.now) else {
                    return Err(AccountError::NoPasscode(id.to_owned()));
                };
                let half = Zeroizing::new(half.expose_str().unwrap_or_default().to_owned());
                Ok((
                    (view, half),
                    format!("second half of passcode {id} by {}", word.speaker()),
                ))
            })
            .await?;
        Ok(Released {
            passcode,
            second: second.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::accounts::PasscodeWish;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};
    use crate::accounts::view::PasscodeState;
    use crate::engine::authenticator::{Context, Judgement, Kind, KindSet, judge};

    use super::*;

    const BEN: Actor<'static> = Actor { name: "ben", now: NOW };

    fn site() -> Fixture {
        let site = Fixture::new();
        site.four_eyes.lock().passcodes = true;
        site.main.set_manager("ana", "ben");
        site
    }

    #[tokio::test]
    async fn each_of_two_people_sees_one_half() {
        let site = site();
        let ana = site.subject("ana").await;
        let wish = PasscodeWish {
            chap: true,
            replaces_factor: true,
            ..PasscodeWish::default()
        };
        let issued = site.accounts.issue_passcode(&ana, wish, CAROL).await.unwrap();
        let id = issued.passcode.id.clone();
        assert_eq!(issued.code.len(), passcode::HALF);
        assert_eq!(issued.passcode.state, PasscodeState::WaitingForRelease);
        assert!(issued.passcode.halves && issued.passcode.chap && issued.passcode.replaces_factor);
        assert_eq!(issued.second.unwrap().manager.as_deref(), Some("ben"));

        let (found, relation) = site.accounts.find_passcode(&id, BEN).await.unwrap();
        assert_eq!((found.key, relation), (ana.key.clone(), Relation::Second));
        let (_, relation) = site.accounts.find_passcode(&id, CAROL).await.unwrap();
        assert_eq!(relation, Relation::Issuer);

        let released = site.accounts.release_passcode(&ana, &id, BEN).await.unwrap();
        assert_eq!(released.passcode.state, PasscodeState::Live);
        assert_eq!(released.passcode.released_by.as_deref(), Some("ben"));
        let again = site.accounts.release_passcode(&ana, &id, BEN).await;
        assert!(matches!(again, Err(AccountError::NotWaiting(_))), "shown once");
        let mut record = site.record(&ana).await;
        assert!(record.passcode.as_ref().unwrap().second.is_none(), "and gone");

        let context = Context {
            user: &ana.key,
            keyring: &site.keyring,
            now: NOW,
            sent: None,
        };
        let whole = format!("{}{}", issued.code, released.second);
        let judged = judge(&whole, KindSet::of(Kind::Passcode), &mut record, &context).unwrap();
        assert_eq!(judged.0, Judgement::Right);
        let audited = site.audited().await;
        assert_eq!(audited, ["passcode.issue accept", "passcode.release accept"]);
    }

    #[tokio::test]
    async fn only_what_lives_is_released() {
        let site = site();
        let ana = site.subject("ana").await;
        let issue = || site.accounts.issue_passcode(&ana, PasscodeWish::default(), CAROL);
        let old = issue().await.unwrap().passcode.id;
        let new = issue().await.unwrap().passcode.id;
        assert!(site.accounts.find_passcode(&old, BEN).await.is_err(), "replaced");
        assert!(site.accounts.release_passcode(&ana, &old, BEN).await.is_err());
        let late = Actor {
            now: NOW + passcode::DEFAULT_LIFE,
            ..BEN
        };
        assert!(site.accounts.find_passcode(&new, late).await.is_err(), "expired");
        assert!(site.accounts.release_passcode(&ana, &new, late).await.is_err());
        site.four_eyes.lock().passcodes = false;
        let whole = issue().await.unwrap();
        assert_eq!((whole.code.len(), whole.passcode.halves), (passcode::LENGTH, false));
        let none = site.accounts.release_passcode(&ana, &whole.passcode.id, BEN).await;
        assert!(matches!(none, Err(AccountError::NotWaiting(_))));
    }

    #[tokio::test]
    async fn released_once_however_many_ask_at_once() {
        let site = site();
        let ana = site.subject("ana").await;
        let issued = site
            .accounts
            .issue_passcode(&ana, PasscodeWish::default(), CAROL)
            .await
            .unwrap();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (accounts, ana, id) = (site.accounts.clone(), ana.clone(), issued.passcode.id.clone());
            asking.spawn(async move { accounts.release_passcode(&ana, &id, BEN).await.is_ok() });
        }
        assert_eq!(asking.join_all().await.into_iter().filter(|shown| *shown).count(), 1);
    }

    #[tokio::test]
    async fn who_is_throttled_gets_one_all_the_same() {
        let site = site();
        let ana = site.subject("ana").await;
        for _ in 0..5 {
            site.fail(&ana, NOW).await;
        }
        assert!(site.accounts.show(&ana, NOW).await.unwrap().failures.locked);
        let issued = site.accounts.issue_passcode(&ana, PasscodeWish::default(), CAROL).await;
        assert!(issued.is_ok());
    }
}
