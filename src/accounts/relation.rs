//! What an operator is to a person: themselves, the second of two people who must agree, or nobody in particular.

use std::sync::Arc;

use super::resolve::{directory_of, look_up};
use super::view::SecondHolders;
use super::{AccountError, Accounts, Subject};
use crate::engine::facts::{Lookup, Person};
use crate::engine::operator::account_of;
use crate::engine::policy::is_group;
use crate::engine::request::LoginName;

/// What an operator is to a person, as far as an operation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The person themselves.
    Oneself,
    /// The person's manager, or a member of the group that stands in for managers.
    Second,
    /// The one who issued the passcode that the operation is about.
    Issuer,
    /// Nobody of these.
    Other,
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

    /// Whether the operator `account` may vouch for `subject` as the second of two people, where `group` stands in
    /// for the manager and `issuer` is the first of the two, if that was an operator.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub(super) async fn relation_as_second(
        &self,
        account: &str,
        subject: &Subject,
        issuer: Option<&str>,
        group: Option<&str>,
    ) -> Result<Relation, AccountError> {
        let operator = match self.account(account, subject).await? {
            Account::Themselves => return Ok(Relation::Oneself),
            Account::Known(operator) => Some(operator),
            Account::Nobody => None,
        };
        if let Some(issuer) = issuer {
            let same = match (&operator, self.account(issuer, subject).await?) {
                (Some(operator), Account::Known(issuer)) => operator.key == issuer.key,
                // Nobody issues for themselves: whose account it was cannot be told any more.
                (Some(_) | None, Account::Themselves) => true,
                (None, Account::Known(_)) | (Some(_) | None, Account::Nobody) => false,
            };
            if same || account_of(issuer) == account_of(account) {
                return Ok(Relation::Issuer);
            }
        }
        let (Some(operator), Some(person)) = (operator, &subject.person) else {
            return Ok(Relation::Other);
        };
        if group.is_some_and(|group| is_in(&operator, group)) {
            return Ok(Relation::Second);
        }
        match self.manager_of(person).await? {
            Some(manager) if manager.key == operator.key => Ok(Relation::Second),
            Some(_) | None => Ok(Relation::Other),
        }
    }

    /// Those who may vouch for `person`. The manager is left out where it is the operator `account`, who is the first
    /// of the two, and where the directory does not say while a group would do.
    ///
    /// # Errors
    /// [`AccountError::NobodySecond`]; where there is no group, when the directory cannot be asked.
    pub(super) async fn second_holders(
        &self,
        subject: &Subject,
        group: Option<&str>,
        account: &str,
    ) -> Result<SecondHolders, AccountError> {
        let manager = match (self.manager_of(subject.present()?).await, group) {
            (Ok(manager), _) => manager,
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error),
        };
        let manager = match (manager, self.account(account, subject).await?) {
            (Some(manager), Account::Known(first)) if manager.key == first.key => None,
            (manager, Account::Themselves | Account::Known(_) | Account::Nobody) => manager,
        };
        if manager.is_none() && group.is_none() {
            return Err(AccountError::NobodySecond(subject.login.clone()));
        }
        Ok(SecondHolders {
            manager: manager.map(|manager| manager.login.clone()),
            group: group.map(ToOwned::to_owned),
        })
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

fn is_in(person: &Person, group: &str) -> bool {
    person.groups.iter().any(|of| is_group(group, of))
}

#[cfg(test)]
mod tests {
    use crate::accounts::fixture::Fixture;

    use super::*;

    const LEADS: &str = "cn=leads,dc=main";

    #[tokio::test]
    async fn who_is_what_to_whom() {
        let site = Fixture::new();
        site.main.set_manager("ana", "ben");
        site.main.add_to_group("carol", LEADS);
        site.main.alias("ana-admin", "ana");
        site.main.alias("ben-admin", "ben");
        let ana = site.subject("ana").await;
        let second = async |account, issuer, group| {
            let relation = site.accounts.relation_as_second(account, &ana, issuer, group).await;
            relation.unwrap()
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
        let relation = site.accounts.relation_as_second("ben", &ana, None, None).await;
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
        let holders = async |group, issuer| site.accounts.second_holders(&ana, group, issuer).await;
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
