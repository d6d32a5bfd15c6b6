//! `[[ldap.application]]`: applications that share a listener, told apart by where they come from.

use std::net::IpAddr;

use serde::Deserialize;

use super::{AddressOrNet, LdapListener};

/// One application behind a listener.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Application {
    /// Its name in policies and the audit.
    pub name: String,
    /// Where it binds from.
    pub source: Vec<AddressOrNet>,
}

impl LdapListener {
    /// The place in the list of the application that comes from `source`: the first that lists it.
    pub fn application(&self, source: IpAddr) -> Option<usize> {
        let listed = |application: &Application| application.source.iter().any(|net| net.contains(source));
        self.applications.iter().position(listed)
    }
}

/// What is wrong with a listener's applications: the place in the list, the key, a text, and whether it works all the
/// same.
pub(super) fn faults(listener: &LdapListener) -> Vec<(usize, &'static str, String, bool)> {
    let mut faults = Vec::new();
    for (index, application) in listener.applications.iter().enumerate() {
        let mut say = |key, text: String, works| faults.push((index, key, text, works));
        let earlier = || listener.applications.iter().take(index);
        if application.name.trim().is_empty() {
            say(
                "name",
                "is empty; policies and the audit name applications".into(),
                false,
            );
        }
        if earlier().any(|other| other.name.eq_ignore_ascii_case(&application.name)) {
            let text = format!(
                "`{}` is in the list already; add the addresses to its `source`",
                application.name
            );
            say("name", text, false);
        }
        if application.source.is_empty() {
            let text = "is empty: say where the application binds from, as addresses or prefixes";
            say("source", text.into(), false);
        }
        for net in &application.source {
            let taken = earlier().find(|other| other.source.iter().any(|wide| wide.0.contains(&net.0)));
            if let Some(other) = taken {
                let text = format!("{} is that of `{}` already, which stands before", net.0, other.name);
                say("source", text, true);
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(applications: &str) -> LdapListener {
        toml::from_str(&format!("name = \"apps\"\nlisten = \"127.0.0.1:0\"\n{applications}")).unwrap()
    }

    #[test]
    fn applications_are_told_apart_by_their_source() {
        let listener = listener(
            "[[application]]\nname = \"wiki\"\nsource = [\"10.0.0.5\", \"2001:db8::/64\"]\n\
             [[application]]\nname = \"others\"\nsource = [\"10.0.0.0/8\"]\n",
        );
        let named = |source: &str| {
            let place = listener.application(source.parse().unwrap())?;
            Some(listener.applications[place].name.as_str())
        };
        assert_eq!(named("10.0.0.5"), Some("wiki"));
        assert_eq!(named("::ffff:10.0.0.5"), Some("wiki"));
        assert_eq!(named("2001:db8::9"), Some("wiki"));
        assert_eq!(named("10.0.0.6"), Some("others"));
        assert_eq!(named("192.0.2.1"), None);
        assert!(faults(&listener).is_empty());
    }

    #[test]
    fn faults_name_their_key() {
        let listener = listener(
            "[[application]]\nname = \"wiki\"\nsource = [\"10.0.0.0/8\"]\n\
             [[application]]\nname = \"Wiki\"\nsource = []\n[[application]]\nname = \" \"\nsource = [\"10.1.0.0/16\"]\n",
        );
        let found: Vec<_> = faults(&listener)
            .into_iter()
            .map(|(index, key, _, works)| (index, key, works))
            .collect();
        assert_eq!(
            found,
            [
                (1, "name", false),
                (1, "source", false),
                (2, "name", false),
                (2, "source", true)
            ]
        );
    }
}
