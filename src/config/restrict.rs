//! `[ldap.restrict]` and `[[ldap.service_account]]`: what a listener lets through, and who may bind with a
//! password alone.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{AddressOrNet, LdapListener, LdapTls};
use crate::dn::Dn;
use crate::document::nearest;
use crate::engine::LoginName;
use crate::engine::policy::Audit;
use crate::schema;

/// What a listener, or a service account on it, lets through. A table without keys restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Restrict {
    /// Only operations that change nothing: [`Operation::READING`].
    pub read_only: bool,
    /// Only these operations. Bind, unbind, abandon and StartTLS are always there.
    pub operations: Option<Vec<Operation>>,
    /// Only entries at or below these names.
    pub bases: Option<Vec<WrittenDn>>,
    /// Attributes that nobody sees, by name or number.
    pub hide_attributes: Option<Vec<AttributeName>>,
    /// Most entries that a search returns, over all of its pages.
    pub max_entries: Option<u32>,
    /// Longest time that the directory takes for a search; in whole seconds on the wire.
    #[serde(with = "crate::document::span::option")]
    pub time_limit: Option<Duration>,
}

impl Restrict {
    /// The operations that are let through; `None` for all.
    pub fn operations(&self) -> Option<&[Operation]> {
        if self.read_only {
            return Some(&Operation::READING);
        }
        self.operations.as_deref()
    }
}

/// An operation that may be let through or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Operation {
    /// RFC 4511 section 4.5.
    Search,
    /// RFC 4511 section 4.10.
    Compare,
    /// RFC 4511 section 4.7.
    Add,
    /// RFC 4511 section 4.6.
    Modify,
    /// RFC 4511 section 4.8.
    Delete,
    /// RFC 4511 section 4.9.
    ModifyDn,
    /// RFC 3062.
    PasswordModify,
    /// RFC 4532.
    WhoAmI,
    /// RFC 3909.
    Cancel,
    /// Another extended operation, by its number.
    Extended(String),
}

impl Operation {
    /// Those that change nothing.
    pub const READING: [Self; 4] = [Self::Search, Self::Compare, Self::WhoAmI, Self::Cancel];
    const WORDS: [(&str, Self); 9] = [
        ("search", Self::Search),
        ("compare", Self::Compare),
        ("add", Self::Add),
        ("modify", Self::Modify),
        ("delete", Self::Delete),
        ("modify-dn", Self::ModifyDn),
        ("password-modify", Self::PasswordModify),
        ("who-am-i", Self::WhoAmI),
        ("cancel", Self::Cancel),
    ];
}

impl TryFrom<String> for Operation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some((_, known)) = Self::WORDS.into_iter().find(|(word, _)| *word == text) {
            return Ok(known);
        }
        if schema::is_number(&text) {
            return Ok(Self::Extended(text));
        }
        let always = ["bind", "unbind", "abandon", "starttls", "start-tls"];
        if always.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(format!("`{text}` is always let through; leave it out"));
        }
        let words = Self::WORDS.map(|(word, _)| word);
        Err(match nearest(&text, &words) {
            Some(near) => format!("`{text}` is no operation; did you mean `{near}`?"),
            None => format!(
                "`{text}` is no operation; there are {}, and extended operations by number",
                words.join(", ")
            ),
        })
    }
}

/// A distinguished name, as written and as compared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct WrittenDn {
    /// As written.
    pub text: String,
    /// As compared.
    pub dn: Dn,
}

impl TryFrom<String> for WrittenDn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Dn::parse(text.as_bytes()) {
            Ok(dn) if !dn.is_root() => Ok(Self { text, dn }),
            Ok(_) => Err("the name is empty".into()),
            Err(_) => Err(format!(
                "`{text}` is not a distinguished name such as ou=people,dc=example,dc=org"
            )),
        }
    }
}

/// The name or number of an attribute type, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AttributeName(pub String);

impl TryFrom<String> for AttributeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if name == "objectclass" || name == "2.5.4.0" {
            return Err("objectClass cannot be hidden: nearly every search asks for it".into());
        }
        if schema::is_number(&name) || schema::is_name(&name) {
            return Ok(Self(name));
        }
        Err(format!(
            "`{text}` is no attribute's name; write it as `userPassword`, without options"
        ))
    }
}

/// `[[ldap.service_account]]`: an account of an application, which binds with its password alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServiceAccount {
    /// Its entry.
    pub dn: WrittenDn,
    /// Other names that the application binds with (`svc@example.org`, `EXAMPLE\svc`).
    #[serde(default)]
    pub names: Vec<String>,
    /// Where it may come from.
    pub source: Vec<AddressOrNet>,
    /// Which of its binds are written to the audit.
    #[serde(default)]
    pub audit: Audit,
    /// The limit of failures, where it has its own; 0 for none.
    #[serde(default)]
    pub user_failures: Option<u32>,
    /// What it may do instead of what the listener's table says.
    #[serde(default)]
    pub restrict: Option<Restrict>,
}

/// What is wrong with a listener's restrictions and service accounts: the keys that lead to it, a text, and
/// whether it works all the same.
pub(super) fn faults(listener: &LdapListener) -> Vec<(Vec<String>, String, bool)> {
    let mut faults = Vec::new();
    if let Some(restrict) = &listener.restrict {
        table_faults(restrict, &["restrict".to_owned()], &mut faults);
    }
    for (index, account) in listener.service_accounts.iter().enumerate() {
        let at = ["service_account".to_owned(), index.to_string()];
        let mut say =
            |key: &str, text: String, works| faults.push(([&at[..], &[key.to_owned()]].concat(), text, works));
        let earlier = listener.service_accounts.iter().take(index);
        if earlier.clone().any(|other| other.dn.dn == account.dn.dn) {
            say("dn", format!("`{}` is in the list already", account.dn.text), false);
        }
        for name in &account.names {
            if LoginName::parse(name).is_err() {
                say("names", format!("`{name}` is no login name"), false);
            }
        }
        if account.source.is_empty() {
            let text = "is empty: say where the application is, as addresses or prefixes";
            say("source", text.into(), false);
        }
        if let Some(wide) = account.source.iter().find(|net| net.0.prefix_len() == 0) {
            let text = format!(
                "{} is everywhere: the password alone opens this account to anybody",
                wide.0
            );
            say("source", text, true);
        }
        let far = account.source.iter().any(|net| !net.0.addr().is_loopback());
        if far && listener.tls == LdapTls::None {
            let text = format!(
                "the password of `{}` travels unencrypted: the listener has tls = \"none\"",
                account.dn.text
            );
            say("dn", text, true);
        } else if far && listener.allow_plaintext {
            let text = format!(
                "the password of `{}` may travel unencrypted: the listener has allow_plaintext = true",
                account.dn.text
            );
            say("dn", text, true);
        }
        if let Some(restrict) = &account.restrict {
            table_faults(restrict, &[&at[..], &["restrict".to_owned()]].concat(), &mut faults);
        }
    }
    faults
}

fn table_faults(restrict: &Restrict, at: &[String], faults: &mut Vec<(Vec<String>, String, bool)>) {
    let mut say =
        |key: &str, text: &str, works| faults.push(([at, &[key.to_owned()]].concat(), text.to_owned(), works));
    if restrict.read_only && restrict.operations.is_some() {
        say("read_only", "stands beside `operations`; keep one of them", false);
    }
    if restrict.operations.as_ref().is_some_and(Vec::is_empty) {
        say("operations", "is an empty list; name what may be done", false);
    }
    if restrict.bases.as_ref().is_some_and(Vec::is_empty) {
        say(
            "bases",
            "is an empty list, below which nothing lies; remove it, or name a base",
            false,
        );
    }
    if restrict.hide_attributes.as_ref().is_some_and(Vec::is_empty) {
        say(
            "hide_attributes",
            "is an empty list; remove it, or name an attribute",
            false,
        );
    }
    if restrict.max_entries == Some(0) {
        say(
            "max_entries",
            "is 0, which no search could do with; leave searches out of `operations` for that",
            false,
        );
    }
    if restrict.time_limit.is_some_and(|limit| limit < Duration::from_secs(1)) {
        say("time_limit", "is less than a second, which LDAP cannot say", false);
    }
    let withholds = restrict.bases.is_some() || restrict.hide_attributes.is_some();
    let listed = restrict.operations.iter().flatten();
    for operation in listed {
        if let (Operation::Extended(number), true) = (operation, withholds) {
            let text = format!(
                "the extended operation {number} is passed on unread: it may reach beyond `bases` and `hide_attributes`"
            );
            say("operations", &text, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Restrict, String> {
        toml::from_str(text).map_err(|fault| fault.message().to_owned())
    }

    #[test]
    fn operations_by_word_and_number() {
        let read_only = read("read_only = true").unwrap();
        assert_eq!(read_only.operations(), Some(&Operation::READING[..]));
        assert_eq!(Restrict::default().operations(), None);
        let listed = read("operations = [\"search\", \"1.3.6.1.1.8\", \"modify-dn\"]").unwrap();
        assert_eq!(
            listed.operations(),
            Some(
                &[
                    Operation::Search,
                    Operation::Extended("1.3.6.1.1.8".into()),
                    Operation::ModifyDn
                ][..]
            )
        );
        for (wrong, told) in [
            ("serch", "did you mean `search`?"),
            ("bind", "is always let through"),
            ("1.02.3", "is no operation"),
            ("everything", "is no operation"),
        ] {
            let fault = read(&format!("operations = [\"{wrong}\"]")).unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for wrong in [
            "bases = [\"people\"]",
            "bases = [\"\"]",
            "bases = [\"ou=people;dc=x\"]",
            "hide_attributes = [\"objectClass\"]",
            "hide_attributes = [\"userPassword;x\"]",
            "hide_attributes = [\"user password\"]",
            "hide_attributes = [\"\"]",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("bases = [\"ou=people,dc=x\"]\nhide_attributes = [\"userPassword\", \"1.2.3\"]").is_ok());
    }
}
