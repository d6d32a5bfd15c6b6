//! Denials of groups: an operator's word that nobody of a group is to be let in. All that are in force lie in memory,
//! so that a login costs no read for them; the store has them for the next start.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::batch::Key;
use crate::engine::facts::Person;
use crate::engine::policy::is_group;
use crate::engine::record::{Deny, Record};

/// One denial of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDenial {
    /// The group: a normalised distinguished name, or a `cn` in small letters.
    pub group: String,
    /// The directory whose group it is; of all when absent.
    pub directory: Option<String>,
    /// Until when, why, by whom.
    pub deny: Deny,
}

impl GroupDenial {
    /// Whether `person` is in the group, as their directory says: nested groups are among a person's.
    pub fn is_about(&self, person: &Person) -> bool {
        self.directory.as_deref().is_none_or(|name| name == &*person.directory)
            && person.groups.iter().any(|group| is_group(&self.group, group))
    }

    /// Where the store has it.
    pub fn key(&self) -> Key {
        Key::group_denial(self.directory.as_deref(), &self.group)
    }
}

impl Record for GroupDenial {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

/// All denials of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDenials(pub Vec<GroupDenial>);

impl GroupDenials {
    /// Most that there can be: each is compared with the groups of everybody who logs in.
    pub const MOST: usize = 500;

    /// The one in force that `person` falls under.
    pub fn of(&self, person: &Person, now: Timestamp) -> Option<&GroupDenial> {
        let mut all = self.0.iter();
        all.find(|denial| denial.deny.is_in_force(now) && denial.is_about(person))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::facts::UserKey;

    fn denial(group: &str, directory: Option<&str>, until: Option<u64>) -> GroupDenial {
        GroupDenial {
            group: group.into(),
            directory: directory.map(Into::into),
            deny: Deny {
                until: until.map(Timestamp::from_secs),
                reason: "left".into(),
                by: "carol".into(),
                at: Timestamp::default(),
            },
        }
    }

    #[test]
    fn members_are_denied_by_name_and_directory_as_long_as_it_is_in_force() {
        let person = Person {
            key: UserKey::new("main", "1"),
            directory: "main".into(),
            dn: "uid=ana,dc=x".into(),
            login: "ana".into(),
            groups: vec!["cn=staff,ou=groups,dc=x".into(), "cn=sales,dc=x".into()],
            attributes: BTreeMap::new(),
            enabled: true,
            manager: None,
            sso_managed: None,
        };
        let at = |denial: GroupDenial, secs| {
            let all = GroupDenials(vec![self::denial("cn=others,dc=x", None, None), denial]);
            all.of(&person, Timestamp::from_secs(secs)).is_some()
        };
        assert!(at(denial("cn=sales,dc=x", None, None), 9));
        assert!(at(denial("staff", Some("main"), Some(10)), 9));
        assert!(!at(denial("staff", Some("main"), Some(10)), 10), "it is over");
        assert!(!at(denial("staff", Some("guests"), None), 9), "another directory's");
        assert!(!at(denial("cn=staff,dc=x", None, None), 9), "another group");
        assert!(!at(denial("sta", None, None), 9));
        assert!(GroupDenials::default().of(&person, Timestamp::default()).is_none());
    }
}
