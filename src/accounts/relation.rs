//! What an operator is to a person: themselves, one of several people who must agree, or nobody in particular.

use std::sync::Arc;

use super::resolve::{directory_of, look_up};
use super::view::SecondHolders;
use super::{AccountError, Accounts, Subject};
use crate::clock::Timestamp;
use crate::engine::approval::{Action, Approver, Who};
use crate::engine::batch::{Key, Version};
use crate::engine::facts::{Lookup, Person, UserKey};
use crate::engine::operator::account_of;
use crate::engine::policy::is_group;
use crate::engine::request::LoginName;

/// What an operator is to a person, as far as an operation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The person themselves.
    Oneself,
    /// Somebody whose word the operation takes: the person's manager, a member of the group that stands in for managers,
    /// or somebody whom one of them has handed it to.
    Second,
    /// One who has a part in it already: who issued the passcode, who asked for the request or approved at another level.
    Issuer,
    /// Nobody of these.
    Other,
}

/// What an operator is to vouch for, as one of several people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vouching<'a> {
    /// What is to be done to the person.
    pub(super) action: Action,
    /// Who may vouch, any of them.
    pub(super) approvers: &'a [Approver],
    /// Who has a part in it already.
    pub(super) apart: &'a [Who],
    /// The moment.
    pub(super) now: Timestamp,
}

/// How an operator vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Voucher {
    /// The operator.
    pub(super) who: Who,
    /// In whose place.
    pub(super) instead_of: Option<Who>,
    /// The delegation that it rests on.
    pub(super) rests_on: Option<(Key, Version)>,
}

/// Who is behind an operator's local account, as the directory of the person that an operation is about has it.
pub(super) enum Account {
    /// That person.
    Themselves,
    /// Another one.
    Known(Arc<Person>),
    /// Nobody.
    Nobody,
}

impl Accounts {
    /// Whether the operator `account` and `subject` are the same person: by name, or because the
    /// person's directory finds them under the account's name.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub async fn relation(&self, account: &str, subject: &Subject) -> Result<Relation, AccountError> {
        Ok(match self.account(account, subject).await? {
            Account::Themselves => Relation::Oneself,
            Account::Known(_) | Account::Nobody => Relation::Other,
        })
    }

    /// The operator `account` as the directory of `subject` knows them.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub(super) async fn who(&self, account: &str, subject: &Subject) -> Result<Who, AccountError> {
        let key = match self.account(account, subject).await? {
            Account::Themselves => Some(subject.key.clone()),
            Account::Known(person) => Some(person.key.clone()),
            Account::Nobody => None,
        };
        Ok(Who {
            account: account_of(account).to_owned(),
            key,
        })
    }

    /// Whom the operator `account` may stand for in this matter about `subject`: themselves ([`Relation::Second`] with
    /// a voucher), somebody who has handed it to them (the same, with whom it is), or nobody. Whoever has a part in it
    /// already stands for nobody, and nobody stands for them. Accounts that the person's directory does not know
    /// vouch for nobody.
    ///
    /// # Errors
    /// When the directory cannot be asked, or the store cannot be read.
    pub(super) async fn stand(
        &self,
        account: &str,
        subject: &Subject,
        vouching: Vouching<'_>,
    ) -> Result<(Relation, Option<Voucher>), AccountError> {
        let (who, operator) = match self.account(account, subject).await? {
            Account::Themselves => return Ok((Relation::Oneself, None)),
            Account::Known(operator) => (known(account, &operator), Some(operator)),
            Account::Nobody => (unknown(account), None),
        };
        for one in vouching.apart {
            // Nobody has a part in what is about themselves: whose account it was cannot be told any more.
            if self.is_party(one, &who, subject).await? {
                return Ok((Relation::Issuer, None));
            }
        }
        let (Some(operator), Some(person)) = (operator, &subject.person) else {
            return Ok((Relation::Other, None));
        };
        let mut electors = self.electors(vouching.approvers);
        if electors.include(self, &operator, person).await? {
            let own = Voucher {
                who,
                instead_of: None,
                rests_on: None,
            };
            return Ok((Relation::Second, Some(own)));
        }
        for (key, version, delegation) in self.delegations_to(account_of(account), vouching.now).await? {
            if !delegation.covers(vouching.action, person, vouching.now) {
                continue;
            }
            let Account::Known(other) = self.account(&delegation.from.account, subject).await? else {
                continue;
            };
            let from = delegation.from.key.as_ref();
            let here = from.filter(|key| directory_of(key.as_str()) == &*other.directory);
            if here.is_some_and(|key| *key != other.key) {
                // The account is somebody else's by now.
                continue;
            }
            let instead_of = known(&delegation.from.account, &other);
            let mut party = instead_of.is(&who);
            for one in vouching.apart {
                party |= self.is_party(one, &instead_of, subject).await?;
            }
            if !party && electors.include(self, &other, person).await? {
                let voucher = Voucher {
                    who,
                    instead_of: Some(instead_of),
                    rests_on: Some((key, version)),
                };
                return Ok((Relation::Second, Some(voucher)));
            }
        }
        Ok((Relation::Other, None))
    }

    /// Whether `one`, who has a part in something about `subject`, is `other`. By now another person may be behind an
    /// account: then both count.
    async fn is_party(&self, one: &Who, other: &Who, subject: &Subject) -> Result<bool, AccountError> {
        if one.is(other) {
            return Ok(true);
        }
        Ok(match self.account(&one.account, subject).await? {
            Account::Themselves => one.key.is_none(),
            Account::Known(person) => other.key.as_ref() == Some(&person.key),
            Account::Nobody => false,
        })
    }

    /// Those who may vouch for `subject`, one of `approvers`. A manager is left out where it is the operator `account`,
    /// who has a part in it already, and where the directory does not say while a group would do.
    ///
    /// # Errors
    /// [`AccountError::NobodySecond`]; where there is no group, when the directory cannot be asked.
    pub(super) async fn second_holders(
        &self,
        subject: &Subject,
        approvers: &[Approver],
        account: &str,
    ) -> Result<SecondHolders, AccountError> {
        let manager = match self.named_manager(subject, approvers, account).await {
            Ok(manager) => manager,
            Err(_) if !self.electors(approvers).groups.is_empty() => None,
            Err(error) => return Err(error),
        };
        let group = self.electors(approvers).groups.into_iter().next();
        if manager.is_none() && group.is_none() {
            return Err(AccountError::NobodySecond(subject.login.clone()));
        }
        Ok(SecondHolders {
            manager: manager.map(|manager| manager.login.clone()),
            group,
        })
    }

    /// The manager who may vouch for `subject`, unless it is the operator `account`.
    pub(super) async fn named_manager(
        &self,
        subject: &Subject,
        approvers: &[Approver],
        account: &str,
    ) -> Result<Option<Arc<Person>>, AccountError> {
        let managers = self.electors(approvers).managers(self, subject.present()?).await?;
        Ok(
            match (managers.into_iter().next(), self.account(account, subject).await?) {
                (Some(manager), Account::Known(first)) if manager.key == first.key => None,
                (manager, Account::Themselves | Account::Known(_) | Account::Nobody) => manager,
            },
        )
    }

    fn electors(&self, approvers: &[Approver]) -> Electors {
        let mut electors = Electors::default();
        for approver in approvers {
            match approver {
                Approver::Manager => electors.manager = true,
                Approver::ManagersManager => electors.managers_manager = true,
                Approver::Group(group) => electors.groups.push(group.clone()),
                Approver::ManagerOrGroup => {
                    electors.manager = true;
                    electors.groups.extend(self.surroundings.four_eyes().approvers);
                }
            }
        }
        electors
    }

    /// Who is behind an operator's name: the person of the local account, also where an API token of it acts.
    pub(super) async fn account(&self, operator: &str, subject: &Subject) -> Result<Account, AccountError> {
        let Ok(login) = LoginName::parse(account_of(operator)) else {
            return Ok(Account::Nobody);
        };
        if LoginName::parse(&subject.login).is_ok_and(|name| name == login) {
            return Ok(Account::Themselves);
        }
        let directories = self.chosen(Some(directory_of(subject.key.as_str())))?;
        let Some((directory, lookup)) = look_up(directories, &login).await.into_iter().next() else {
            return Ok(Account::Nobody);
        };
        match lookup {
            Lookup::Found(operator) if operator.key == subject.key => Ok(Account::Themselves),
            Lookup::Found(operator) => Ok(Account::Known(operator)),
            Lookup::Unknown => Ok(Account::Nobody),
            // One of several entries may be the subject: better refused than helped by oneself.
            Lookup::Ambiguous => Ok(Account::Themselves),
            Lookup::Unavailable(reason) => Err(AccountError::DirectoryUnavailable(directory, reason)),
        }
    }

    pub(super) async fn manager_of(&self, person: &Person) -> Result<Option<Arc<Person>>, AccountError> {
        let directories = self.chosen(Some(&person.directory))?;
        let Some(directory) = directories.first() else {
            return Ok(None);
        };
        match directory.manager(person).await {
            Lookup::Found(manager) => Ok(Some(manager)),
            Lookup::Unknown | Lookup::Ambiguous => Ok(None),
            Lookup::Unavailable(reason) => Err(AccountError::DirectoryUnavailable(directory.name().to_owned(), reason)),
        }
    }
}

/// Who may vouch for one person.
#[derive(Debug, Default)]
struct Electors {
    manager: bool,
    managers_manager: bool,
    groups: Vec<String>,
    /// Keys of the managers, once they were asked for.
    found: Option<Vec<UserKey>>,
}

impl Electors {
    /// Whether `operator` is one of them. Groups are looked at first: the directory need not be asked for them.
    async fn include(
        &mut self,
        accounts: &Accounts,
        operator: &Person,
        person: &Arc<Person>,
    ) -> Result<bool, AccountError> {
        if self.groups.iter().any(|group| is_in(operator, group)) {
            return Ok(true);
        }
        let found = match self.found.take() {
            Some(found) => found,
            None => {
                let managers = self.managers(accounts, person).await?;
                managers.iter().map(|manager| manager.key.clone()).collect()
            }
        };
        let included = found.contains(&operator.key);
        self.found = Some(found);
        Ok(included)
    }

    /// The person's manager and the manager's manager, as far as they may vouch; never the person.
    async fn managers(&self, accounts: &Accounts, person: &Arc<Person>) -> Result<Vec<Arc<Person>>, AccountError> {
        let mut managers = Vec::new();
        if !self.manager && !self.managers_manager {
            return Ok(managers);
        }
        let first = accounts.manager_of(person).await?;
        if let Some(first) = first.as_ref().filter(|_| self.managers_manager) {
            managers.extend(accounts.manager_of(first).await?);
        }
        managers.extend(first.filter(|_| self.manager));
        managers.retain(|manager| manager.key != person.key);
        Ok(managers)
    }
}

fn known(account: &str, person: &Person) -> Who {
    Who {
        account: account_of(account).to_owned(),
        key: Some(person.key.clone()),
    }
}

fn unknown(account: &str) -> Who {
    Who {
        account: account_of(account).to_owned(),
        key: None,
    }
}

fn is_in(person: &Person, group: &str) -> bool {
    person.groups.iter().any(|of| is_group(group, of))
}

#[cfg(test)]
mod tests {
    use crate::accounts::fixture::{Fixture, NOW};

    use super::*;

    const LEADS: &str = "cn=leads,dc=main";

    fn holders_of(group: Option<&str>) -> Vec<Approver> {
        let group = group.map(|group| Approver::Group(group.to_owned()));
        std::iter::once(Approver::Manager).chain(group).collect()
    }

    async fn stand(
        site: &Fixture,
        account: &str,
        subject: &Subject,
        apart: &[Who],
        group: Option<&str>,
    ) -> Result<Relation, AccountError> {
        let vouching = Vouching {
            action: Action::PasscodeRelease,
            approvers: &holders_of(group),
            apart,
            now: NOW,
        };
        site.accounts
            .stand(account, subject, vouching)
            .await
            .map(|(relation, _)| relation)
    }

    #[tokio::test]
    async fn who_is_what_to_whom() {
        let site = Fixture::new();
        site.main.set_manager("ana", "ben");
        site.main.add_to_group("carol", LEADS);
        site.main.alias("ana-admin", "ana");
        site.main.alias("ben-admin", "ben");
        let ana = site.subject("ana").await;
        let second = async |account, issuer: Option<&str>, group: Option<&str>| {
            let apart: Vec<Who> = issuer.map(unknown).into_iter().collect();
            stand(&site, account, &ana, &apart, group).await.unwrap()
        };
        for account in ["ana", "ANA", "ana-admin"] {
            let relation = site.accounts.relation(account, &ana).await.unwrap();
            assert_eq!(relation, Relation::Oneself, "{account}");
            let relation = second(account, Some("ben"), Some("staff")).await;
            assert_eq!(relation, Relation::Oneself, "{account}");
        }
        assert_eq!(site.accounts.relation("ben", &ana).await.unwrap(), Relation::Other);
        // The manager, and whoever is in the group by its name or its cn.
        assert_eq!(second("ben", Some("carol"), None).await, Relation::Second);
        assert_eq!(second("ben-admin", None, None).await, Relation::Second);
        assert_eq!(second("carol", None, None).await, Relation::Other);
        assert_eq!(second("carol", None, Some("leads")).await, Relation::Second);
        assert_eq!(second("carol", None, Some(LEADS)).await, Relation::Second);
        assert_eq!(
            second("carol", None, Some("cn=leads,dc=elsewhere")).await,
            Relation::Other
        );
        // Accounts that the person's directory does not know vouch for nobody, the process's own neither.
        for account in ["root", "gus", "#1000"] {
            assert_eq!(second(account, None, Some("staff")).await, Relation::Other, "{account}");
        }
        // Who issued it, also by another name.
        assert_eq!(second("ben", Some("ben"), Some("staff")).await, Relation::Issuer);
        assert_eq!(second("ben-admin", Some("ben"), Some("staff")).await, Relation::Issuer);
        assert_eq!(second("root", Some("root"), Some("staff")).await, Relation::Issuer);
        // The issuer's account is another one's by now, or could be several people's.
        assert_eq!(second("ben", Some("ana-admin"), None).await, Relation::Issuer);
        assert_eq!(second("ben", Some("root"), None).await, Relation::Second);
    }

    #[tokio::test]
    async fn an_outage_vouches_for_nobody() {
        let site = Fixture::new();
        site.main.set_manager("ana", "ben");
        let ana = site.subject("ana").await;
        site.main.set_down(true);
        let relation = stand(&site, "ben", &ana, &[], None).await;
        assert!(
            matches!(relation, Err(AccountError::DirectoryUnavailable(..))),
            "{relation:?}"
        );
        let relation = site.accounts.relation("ben", &ana).await;
        assert!(relation.is_err(), "{relation:?}");
    }

    #[tokio::test]
    async fn there_must_be_somebody() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        let holders =
            async |group: Option<&str>, issuer| site.accounts.second_holders(&ana, &holders_of(group), issuer).await;
        let nobody = holders(None, "carol").await;
        assert!(matches!(nobody, Err(AccountError::NobodySecond(_))), "{nobody:?}");
        assert_eq!(holders(Some("leads"), "carol").await.unwrap().manager, None);
        site.main.set_manager("ana", "ben");
        assert_eq!(holders(None, "carol").await.unwrap().manager.as_deref(), Some("ben"));
        let first = holders(None, "ben").await;
        assert!(
            matches!(first, Err(AccountError::NobodySecond(_))),
            "the manager has the first half"
        );
    }
}
