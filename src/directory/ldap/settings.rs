//! The configuration of an LDAP directory, read once into the form that requests use.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::{self, ServerKind};
use crate::directory::filter::Filter;
use crate::directory::ldap::targets::Whence;
use crate::directory::person::{Flag, SsoMarks};
use crate::engine::facts::normalise_dn;
use crate::engine::policy::AsksManager;
use crate::secret::Secret;

/// What is wrong with a key of a `[[directory]]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct SetupFault {
    /// The key within the table.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SetupFaults(pub Vec<SetupFault>);

pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) server: ServerKind,
    pub(super) servers: Whence,
    /// Whether every connection is encrypted.
    pub(super) encrypted: bool,
    /// Domains that a name like `DOMAIN\user` may be of, in lower case; any when there are none.
    pub(super) domains: Vec<String>,
    pub(super) account: Option<Account>,
    /// The account may act as people whose password was not tried.
    pub(super) proxy_authorization: bool,
    /// The account may set passwords that people choose where the server would not heed their history.
    pub(super) reset_without_history: bool,
    pub(super) base_dn: String,
    pub(super) normalised_base: String,
    pub(super) filter: Filter,
    pub(super) login_attributes: Vec<String>,
    /// The same, and those that hold names with an `@`.
    pub(super) principal_attributes: Vec<String>,
    pub(super) key_attribute: String,
    pub(super) person_key: Option<String>,
    pub(super) group_attribute: String,
    /// Attribute that names a person's manager.
    pub(super) manager_attribute: String,
    /// The entry with OpenLDAP's default password policy.
    pub(super) password_policy: Option<String>,
    pub(super) group_search: Option<GroupSearch>,
    pub(super) disabled_by: Vec<Flag>,
    pub(super) enabled_by: Vec<Flag>,
    pub(super) sso_managed: SsoMarks,
    /// What is fetched of managers.
    pub(super) fetch_manager: AsksManager,
    pub(super) attributes: Vec<String>,
    /// Everything that a look-up asks for.
    pub(super) requested: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) look_up_connections: usize,
    pub(super) bind_connections: usize,
    pub(super) queue: usize,
    pub(super) cache: Duration,
    pub(super) health_interval: Duration,
    pub(super) max_connection_age: Duration,
    pub(super) max_connection_idle: Duration,
    pub(super) relay_connections: usize,
}

/// Where groups are looked for that entries do not list by themselves.
pub(super) struct GroupSearch {
    pub(super) base: String,
    pub(super) filter: Filter,
    /// Levels of groups in groups that are looked for, one search for each group.
    pub(super) levels: usize,
}

/// The account that look-ups are done as.
pub(super) struct Account {
    pub(super) dn: String,
    pub(super) password: Secret,
}

impl Settings {
    pub(super) fn read(config: &config::LdapDirectory) -> Result<Self, SetupFaults> {
        let mut faults = SetupFaults::default();
        let mut fault = |key, message: String| faults.0.push(SetupFault { key, message });

        let servers = Whence::read(config, &mut fault);
        let account = account(config, &mut fault);
        if config.proxy_authorization && account.is_none() {
            fault(
                "proxy_authorization",
                "needs an account that may act as others; write `bind_dn` and `bind_password_file`".into(),
            );
        }
        let mut filter = |key, text: &str| {
            Filter::parse(text).unwrap_or_else(|error| {
                fault(key, error.to_string());
                Filter::And(Vec::new())
            })
        };
        let person_filter = filter("filter", &config.filter);
        let group_filter = filter("group_filter", &config.group_filter);
        let mut flags = |key, texts: &[String]| -> Vec<Flag> {
            let flag = |text: &String| Flag::parse(text).map_err(|message| fault(key, message)).ok();
            texts.iter().filter_map(flag).collect()
        };
        let disabled_by = flags("disabled_by", &config.disabled_by);
        let enabled_by = flags("enabled_by", &config.enabled_by);
        let sso_managed_by = flags("sso_managed_by", &config.sso_managed_by);
        if config.login_attributes.is_empty() {
            fault(
                "login_attributes",
                "is empty; name at least one attribute, such as `uid`".into(),
            );
        }
        if config.timeout.is_zero() || config.connect_timeout.is_zero() {
            let key = if config.timeout.is_zero() {
                "timeout"
            } else {
                "connect_timeout"
            };
            fault(key, "must be longer than nothing".into());
        }
        if !faults.0.is_empty() {
            return Err(faults);
        }

        let principal_attributes = union([&config.login_attributes[..], &["userPrincipalName".into()]]);
        let single = [config.key_attribute.clone(), config.group_attribute.clone()];
        let flag_attributes: Vec<String> = disabled_by
            .iter()
            .chain(&enabled_by)
            .chain(&sso_managed_by)
            .map(|flag| flag.attribute.clone())
            .collect();
        let requested = union([
            &single[..],
            &config.login_attributes,
            &flag_attributes,
            config.person_key.as_slice(),
            &config.attributes,
            match config.fetch_manager {
                AsksManager::No => &[],
                AsksManager::Dn | AsksManager::Login => std::slice::from_ref(&config.manager_attribute),
            },
        ]);
        Ok(Self {
            name: config.name.as_str().into(),
            server: config.server,
            encrypted: servers.are_encrypted(),
            servers,
            domains: config.domains.iter().map(|domain| domain.to_lowercase()).collect(),
            account,
            proxy_authorization: config.proxy_authorization,
            reset_without_history: config.reset_without_history,
            base_dn: config.base_dn.clone(),
            normalised_base: normalise_dn(&config.base_dn),
            filter: person_filter,
            login_attributes: config.login_attributes.clone(),
            principal_attributes,
            key_attribute: config.key_attribute.clone(),
            person_key: config.person_key.clone(),
            group_attribute: config.group_attribute.clone(),
            manager_attribute: config.manager_attribute.clone(),
            password_policy: config.password_policy.clone(),
            group_search: group_search(config, group_filter),
            disabled_by,
            enabled_by,
            sso_managed: SsoMarks::new(sso_managed_by, &config.sso_managed_groups),
            fetch_manager: config.fetch_manager,
            attributes: config.attributes.clone(),
            requested,
            timeout: config.timeout,
            look_up_connections: config.look_up_connections,
            bind_connections: config.bind_connections,
            queue: config.queue,
            cache: config.cache,
            health_interval: config.health_interval.max(SHORTEST_INTERVAL),
            max_connection_age: config.max_connection_age,
            max_connection_idle: config.max_connection_idle,
            relay_connections: config.relay_connections.clamp(1, Semaphore::MAX_PERMITS),
        })
    }

    /// Whether the configuration says that the domain is the directory's.
    pub(super) fn has_domain(&self, domain: &str) -> bool {
        self.domains.contains(&domain.to_lowercase())
    }

    /// Who in Active Directory is called `name` without an attribute that says so: an account without
    /// `userPrincipalName` is `sAMAccountName@domain` ([MS-ADTS] 5.1.1.1.1). Others' domains may have accounts
    /// that are called the same, so that the domain must be known to be this one.
    pub(super) fn implicit_principal(&self, name: &str) -> Option<Filter> {
        let (account, domain) = name.rsplit_once('@')?;
        let implicit = match self.server {
            ServerKind::ActiveDirectory => !account.is_empty() && self.has_domain(domain),
            ServerKind::Openldap | ServerKind::Ds389 => false,
        };
        implicit.then(|| {
            Filter::And(vec![
                Filter::equal("sAMAccountName", account),
                Filter::Not(Box::new(Filter::Present("userPrincipalName".into()))),
            ])
        })
    }
}

fn group_search(config: &config::LdapDirectory, filter: Filter) -> Option<GroupSearch> {
    let base = config.group_base_dn.clone();
    if !config.nested_groups {
        return base.map(|base| GroupSearch {
            base,
            filter,
            levels: 0,
        });
    }
    let base = base.unwrap_or_else(|| config.base_dn.clone());
    match config.server {
        // LDAP_MATCHING_RULE_IN_CHAIN: the server walks through all levels itself.
        ServerKind::ActiveDirectory => Some(GroupSearch {
            base,
            filter: Filter::Extensible {
                rule: Some("1.2.840.113556.1.4.1941".into()),
                attribute: Some("member".into()),
                value: b"{dn}".to_vec(),
                dn: false,
            },
            levels: 0,
        }),
        ServerKind::Openldap | ServerKind::Ds389 => Some(GroupSearch {
            base,
            filter,
            levels: MOST_LEVELS,
        }),
    }
}

fn account(config: &config::LdapDirectory, fault: &mut impl FnMut(&'static str, String)) -> Option<Account> {
    let password = match (&config.bind_password, &config.bind_password_file) {
        (Some(_), Some(_)) => {
            fault(
                "bind_password_file",
                "`bind_password` is there as well; keep one of the two".into(),
            );
            return None;
        }
        (Some(password), None) => Some(password.clone()),
        (None, Some(file)) => match fs::read(file).map(zeroize::Zeroizing::new) {
            Ok(octets) => Some(Secret::new(octets.trim_ascii_end())),
            Err(error) => {
                fault(
                    "bind_password_file",
                    format!("{} cannot be read: {error}", file.display()),
                );
                return None;
            }
        },
        (None, None) => None,
    };
    match (&config.bind_dn, password) {
        (None, None) => None,
        (Some(dn), Some(password)) if !password.is_empty() && !dn.is_empty() => Some(Account {
            dn: dn.clone(),
            password,
        }),
        (Some(_), _) => {
            let message = "needs a password that is not empty, in `bind_password_file` or `bind_password`";
            fault("bind_dn", message.into());
            None
        }
        (None, Some(_)) => {
            fault("bind_dn", "is missing, but there is a password for it".into());
            None
        }
    }
}

/// The names without repetition, in any case.
fn union<const N: usize>(lists: [&[String]; N]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in lists.into_iter().flatten() {
        if !name.is_empty() && !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.clone());
        }
    }
    names
}

/// Levels of groups in groups.
const MOST_LEVELS: usize = 10;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::directory::wire::Security;

    /// A configuration from its TOML, with what every one needs.
    pub(in crate::directory) fn config(more: &str) -> config::LdapDirectory {
        let text = format!("name = \"corp\"\nbase_dn = \"dc=x\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    fn faults(more: &str) -> String {
        Settings::read(&config(more)).err().unwrap().to_string()
    }

    #[test]
    fn encryption_is_the_default_and_its_absence_a_decision() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        let key = rcgen::generate_simple_self_signed(["ca".into()]).unwrap();
        std::fs::write(ca.path(), key.cert.pem()).unwrap();
        let ca = format!("ca_file = {:?}\n", ca.path());
        let security = |more: &str| {
            let settings = Settings::read(&config(&(ca.clone() + more))).unwrap();
            let Whence::Listed(targets) = settings.servers else {
                panic!()
            };
            targets[0].security.clone()
        };
        assert!(matches!(security("urls = [\"ldap://a\"]"), Security::StartTls(_)));
        assert!(matches!(security("urls = [\"ldaps://a\"]"), Security::Ldaps(_)));
        let plain = security("urls = [\"ldap://a\"]\nallow_plaintext = true");
        assert!(matches!(plain, Security::Plain));
        let both = security("urls = [\"ldap://a\"]\nallow_plaintext = true\nstarttls = true");
        assert!(matches!(both, Security::StartTls(_)));
        assert!(faults("urls = [\"ldap://a\"]\nstarttls = false").contains("allow_plaintext"));
    }

    #[test]
    fn principals_without_an_attribute_are_of_a_domain_that_is_ours() {
        let settings = |more: &str| {
            let plain = format!("urls = [\"ldap://a\"]\nallow_plaintext = true\n{more}");
            Settings::read(&config(&plain)).unwrap()
        };
        let active = settings("server = \"active-directory\"\ndomains = [\"EXAMPLE\", \"Example.org\"]");
        for (name, expected) in [
            (
                "ana@example.ORG",
                Some("(&(sAMAccountName=ana)(!(userPrincipalName=*)))"),
            ),
            (
                "a*@example.org",
                Some("(&(sAMAccountName=a\\2a)(!(userPrincipalName=*)))"),
            ),
            ("ana@example.net", None),
            ("@example.org", None),
            ("ana", None),
        ] {
            let expected = expected.map(|text| Filter::parse(text).unwrap());
            assert_eq!(active.implicit_principal(name), expected, "{name}");
        }
        let unnamed = settings("server = \"active-directory\"");
        assert_eq!(unnamed.implicit_principal("ana@example.org"), None);
        let other = settings("domains = [\"example.org\"]");
        assert_eq!(other.implicit_principal("ana@example.org"), None);
    }

    #[test]
    fn every_fault_is_named_with_its_key() {
        let all = faults(
            "urls = [\"x\"]\nfilter = \"uid=a\"\ngroup_filter = \"(\"\ndisabled_by = [\"a&b\"]\n\
             login_attributes = []\nbind_dn = \"cn=svc\"\ntimeout = \"0s\"\nallow_plaintext = true",
        );
        for key in [
            "urls: ",
            "bind_dn: ",
            "filter: ",
            "group_filter: ",
            "disabled_by: ",
            "login_attributes: ",
        ] {
            assert!(all.contains(key), "{key} not in {all}");
        }
        let plain = "urls = [\"ldap://a\"]\nallow_plaintext = true\n";
        assert!(faults(&format!("{plain}bind_password = \"x\"")).contains("bind_dn: is missing"));
        assert!(faults(&format!("{plain}bind_dn = \"a\"\nbind_password_file = \"/nowhere\"")).contains("/nowhere"));
        assert!(faults("urls = []").contains("urls: is empty"));
        assert!(faults("urls = [\"ldaps://a\"]\nca_file = \"/nowhere\"").contains("ca_file: "));
    }
}
