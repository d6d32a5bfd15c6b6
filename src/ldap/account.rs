//! The service accounts of a listener: applications that bind with their own password alone, from where they are.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config;
use crate::dn::Dn;
use crate::engine::LoginName;
use crate::engine::policy::Rule;
use crate::ldap::restrict::Restriction;

/// One service account.
#[derive(Debug)]
pub(super) struct Account {
    /// The name of its entry, as the configuration writes it.
    pub(super) written: String,
    dn: Dn,
    names: Vec<LoginName>,
    source: Vec<IpNet>,
    /// What it has to prove.
    pub(super) rule: Arc<Rule>,
    /// What it may do.
    pub(super) restriction: Option<Arc<Restriction>>,
}

/// All of a listener's.
#[derive(Debug, Default)]
pub(super) struct Accounts(Vec<Arc<Account>>);

/// Whose a name in a bind is.
#[derive(Clone, Debug)]
pub(super) enum Named {
    /// Not that of a service account.
    Person,
    /// That of a service account, from an address that it may come from.
    Account(Arc<Account>),
    /// That of a service account, from anywhere else.
    Misplaced(Arc<Account>),
}

impl Accounts {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what the listener's configuration says.
    pub(super) fn new(config: &config::LdapListener) -> Self {
        let usual = config.restrict.as_ref().and_then(Restriction::new);
        let account = |config: &config::ServiceAccount| {
            Arc::new(Account {
                written: config.dn.text.clone(),
                dn: config.dn.dn.clone(),
                names: config
                    .names
                    .iter()
                    .filter_map(|name| LoginName::parse(name).ok())
                    .collect(),
                source: config.source.iter().map(|net| net.0).collect(),
                rule: Arc::new(Rule::service_account(
                    &config.dn.text,
                    config.audit,
                    config.user_failures,
                )),
                restriction: match &config.restrict {
                    Some(own) => Restriction::new(own),
                    None => usual.clone(),
                },
            })
        };
        Self(config.service_accounts.iter().map(account).collect())
    }

    /// Whose `name` is, in a bind that comes from `source`.
    pub(super) fn named(&self, name: &[u8], source: IpAddr) -> Named {
        if self.is_empty() {
            return Named::Person;
        }
        let dn = Dn::parse(name).ok();
        let login = std::str::from_utf8(name)
            .ok()
            .and_then(|name| LoginName::parse(name).ok());
        let is_meant = |account: &&Arc<Account>| {
            dn.as_ref() == Some(&account.dn) || login.as_ref().is_some_and(|login| account.names.contains(login))
        };
        self.judged(self.0.iter().find(is_meant), source)
    }

    /// Whose the entry with this name is: other names than those in the configuration may lead to it, and neither
    /// open it to other addresses nor give it other rights.
    pub(super) fn at(&self, dn: &str, source: IpAddr) -> Named {
        if self.is_empty() {
            return Named::Person;
        }
        let dn = Dn::parse(dn.as_bytes()).ok();
        self.judged(self.0.iter().find(|account| dn.as_ref() == Some(&account.dn)), source)
    }

    /// Whether the entry is that of a service account that may not come from `source`.
    pub(super) fn misplaces(&self, dn: &str, source: IpAddr) -> bool {
        matches!(self.at(dn, source), Named::Misplaced(_))
    }

    fn judged(&self, found: Option<&Arc<Account>>, source: IpAddr) -> Named {
        match found {
            None => Named::Person,
            Some(account) if account.source.iter().any(|net| net.contains(&source)) => {
                Named::Account(Arc::clone(account))
            }
            Some(account) => Named::Misplaced(Arc::clone(account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let text = "name = \"wiki\"\nlisten = \"127.0.0.1:0\"\n[restrict]\nread_only = true\n\
                    [[service_account]]\ndn = \"cn=svc,dc=x\"\nnames = [\"EX\\\\svc\", \"svc@example.org\"]\nsource = [\"10.0.0.0/8\"]\n\
                    [[service_account]]\ndn = \"cn=free,dc=x\"\nsource = [\"::1\"]\n[service_account.restrict]\n";
        Accounts::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn a_name_in_any_spelling_and_the_address_make_the_account() {
        let accounts = accounts();
        let named = |name: &str, source: &str| accounts.named(name.as_bytes(), source.parse().unwrap());
        for name in [
            "cn=svc,dc=x",
            "CN = S\\76c , DC=X",
            "2.5.4.3=svc,dc=x",
            "ex\\SVC",
            "svc@example.org",
        ] {
            assert!(matches!(named(name, "10.1.2.3"), Named::Account(_)), "{name}");
            assert!(matches!(named(name, "192.0.2.1"), Named::Misplaced(_)), "{name}");
        }
        for name in ["svc", "cn=svc,dc=y", "cn=svc\\,dc=x", ""] {
            assert!(matches!(named(name, "10.1.2.3"), Named::Person), "{name}");
        }
        assert!(accounts.misplaces("cn=Svc, dc=x", "192.0.2.1".parse().unwrap()));
        assert!(!accounts.misplaces("cn=svc,dc=x", "10.0.0.1".parse().unwrap()));
        assert!(!accounts.misplaces("cn=ana,dc=x", "192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_table_of_its_own_takes_the_place_of_the_listeners() {
        let accounts = accounts();
        assert!(accounts.0[0].restriction.is_some());
        assert!(accounts.0[1].restriction.is_none(), "an empty table restricts nothing");
    }
}
