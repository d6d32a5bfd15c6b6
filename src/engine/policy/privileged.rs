//! Who is privileged: administrators and others whose accounts are worth more than those of everybody else.

use super::is_group;
use crate::engine::facts::{Person, is_below};

/// The class of privileged people: whoever any of the lists names. Nobody by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileged {
    /// Login names of the directory, in lower case.
    pub users: Vec<String>,
    /// Normalised distinguished names of groups, or bare common names.
    pub groups: Vec<String>,
    /// Normalised ends of distinguished names.
    pub dn_suffixes: Vec<String>,
}

impl Privileged {
    /// Whether `person` is one of them.
    pub fn includes(&self, person: &Person) -> bool {
        let named = |user: &String| user.eq_ignore_ascii_case(&person.login);
        let member = |written: &String| person.groups.iter().any(|group| is_group(written, group));
        self.users.iter().any(named) || self.groups.iter().any(member) || self.lies_below(person)
    }

    /// Whether it names nobody at all.
    pub const fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.dn_suffixes.is_empty()
    }

    fn lies_below(&self, person: &Person) -> bool {
        self.dn_suffixes.iter().any(|suffix| is_below(&person.dn, suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    #[test]
    fn any_list_makes_privileged() {
        let person = Person {
            key: UserKey::new("main", "1"),
            directory: "main".into(),
            dn: "UID=Ana, OU=Admins,DC=example".into(),
            login: "Ana".into(),
            groups: vec!["cn=operators,dc=example".into()],
            attributes: Default::default(),
            enabled: true,
            manager: None,
            sso_managed: None,
        };
        let nobody = Privileged::default();
        assert!(!nobody.includes(&person));
        let of = |users: &[&str], groups: &[&str], suffixes: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
            let class = Privileged {
                users: owned(users),
                groups: owned(groups),
                dn_suffixes: owned(suffixes),
            };
            class.includes(&person)
        };
        assert!(of(&["ana"], &[], &[]));
        assert!(of(&[], &["operators"], &[]));
        assert!(of(&[], &["cn=operators,dc=example"], &[]));
        assert!(of(&[], &[], &["ou=admins,dc=example"]));
        assert!(!of(&["ben"], &["staff"], &["ou=people,dc=example"]));
    }
}
