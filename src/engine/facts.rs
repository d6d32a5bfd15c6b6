//! What is known when a request is judged: the person in the directory, their records, the counters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::account::AccountState;
use crate::engine::approval::RequestRecord;
use crate::engine::batch::Versioned;
use crate::engine::delivery::Sending;
use crate::engine::denials::GroupDenials;
use crate::engine::policy::Known;
use crate::engine::record::{ThrottleRecord, UserRecord};
use crate::engine::reuse::Entry;
use crate::engine::session::GrantRecord;
use crate::engine::upstream::UpstreamRecord;

/// Everything a decision may rest on, besides the request, the policy and the time.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the directory says of the name.
    pub lookup: Lookup,
    /// The person's own record; the default one, version zero, when there is none.
    pub user: Versioned<UserRecord>,
    /// The person's failure counter.
    pub throttle: Versioned<ThrottleRecord>,
    /// Whether this source address is over its limit of failures.
    pub source_over_limit: bool,
    /// The upstream RADIUS server that judges the person's password; their directory when there is none.
    pub password_by: Option<Arc<str>>,
    /// The upstream's challenge that the request's dialog answers; version zero when there is none, or
    /// when it has been answered already.
    pub challenged: Versioned<UpstreamRecord>,
    /// The person's sessions; loaded where the policy asks about them ([`crate::engine::policy::Policy::most_sessions`]).
    pub sessions: Option<SessionFacts>,
    /// Whose the name is that a certificate gives ([`crate::engine::request::Claims::certificate`]).
    pub certificate: Whose,
    /// Whose the authorization identity is ([`crate::engine::request::Claims::acting_as`]).
    pub acting_as: Whose,
    /// What the person has proven to the same application from the same source; looked for where the policy
    /// lets codes count for longer than one login ([`crate::engine::policy::Policy::reuses`]).
    pub reused: Option<Arc<Entry>>,
    /// What has to be known before a code is sent; loaded where one may be.
    pub sending: Option<Sending>,
    /// The person's open request for an approval; loaded where the policy takes any
    /// ([`crate::engine::policy::Policy::approves`]).
    pub approval: Option<Box<RequestRecord>>,
    /// What the directory says of the account; asked where the policy does
    /// ([`crate::engine::policy::Policy::asks_credential`]).
    pub account: Option<Box<AccountState>>,
    /// The groups that nobody of is let in.
    pub denials: Arc<GroupDenials>,
}

impl Facts {
    /// Whether an operator keeps the person out, or a group that they are in.
    pub fn is_denied(&self, now: Timestamp) -> bool {
        let of_group = |person: &Arc<Person>| self.denials.of(person, now).is_some();
        self.user.value.denial(now).is_some() || self.lookup.person().is_some_and(of_group)
    }
}

/// Whose a further name of a request is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// The request has none.
    #[default]
    Absent,
    /// The person's who logs in.
    Theirs,
    /// Somebody else's, or nobody's.
    Others,
    /// The directory could not be asked. The text says why, for logs.
    Unavailable(String),
}

impl Whose {
    /// What the look-up of the further name says beside that of the login name.
    pub fn of(name: &Lookup, login: &Lookup) -> Self {
        match (name, login) {
            (Lookup::Found(one), Lookup::Found(other)) if one.key == other.key => Self::Theirs,
            (Lookup::Unavailable(reason), _) => Self::Unavailable(reason.clone()),
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous, _) => Self::Others,
        }
    }
}

/// What is known of a person's sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// How many are open, counted after `grants` was read: a session that begins in between is counted
    /// twice rather than not at all, and the changed version makes the decision be made again.
    pub open: usize,
    /// Logins let in whose session has not been reported yet.
    pub grants: Versioned<GrantRecord>,
}

impl Facts {
    /// What conditions of rules may ask of the person besides their entry; `window` is what failures count in.
    pub fn known(&self, window: Duration, now: Timestamp) -> Known<'_> {
        Known {
            account: self.account.as_deref(),
            record: Some(&self.user.value),
            failures: Some(self.throttle.value.counted(window, None, now)),
        }
    }
}

impl SessionFacts {
    /// Sessions of one person counted at most for an explanation; more are as many.
    pub const MOST: usize = 10_000;

    /// Open sessions, and logins that are about to open one.
    pub fn count(&self, now: Timestamp) -> usize {
        self.open + self.grants.value.live(now)
    }
}

/// What a directory knows of a login name.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Exactly one entry.
    Found(Arc<Person>),
    /// No entry.
    Unknown,
    /// More than one entry: refused, never guessed.
    Ambiguous,
    /// The directory could not be asked. The text says why, for logs.
    Unavailable(String),
}

impl Lookup {
    /// The person, if there is exactly one.
    pub const fn person(&self) -> Option<&Arc<Person>> {
        match self {
            Self::Found(person) => Some(person),
            Self::Unknown | Self::Ambiguous | Self::Unavailable(_) => None,
        }
    }
}

/// A person as the directory describes them.
#[derive(Clone, Debug)]
pub struct Person {
    /// The key of all our records.
    pub key: UserKey,
    /// The configured name of the directory.
    pub directory: Arc<str>,
    /// The entry's distinguished name, as the directory writes it.
    pub dn: String,
    /// The name to show: the first login attribute's value.
    pub login: String,
    /// Distinguished names of the groups the person is in, normalised by [`normalise_dn`].
    pub groups: Vec<String>,
    /// Attributes fetched because the configuration names them; names in lower case.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// False when a `disabled_by` attribute is true or an `enabled_by` attribute is false.
    pub enabled: bool,
    /// Their manager, where a rule asks for it and the entry names one.
    pub manager: Option<Manager>,
    /// Whether another system signs them in, where the directory's configuration says by what that is known.
    pub sso_managed: Option<bool>,
}

/// Whom an entry names as manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The distinguished name, normalised by [`normalise_dn`].
    pub dn: String,
    /// The login name, where a rule asks for it and the directory has exactly one such person.
    pub login: Option<String>,
}

/// Names a person in the store: the directory's `entryUUID` or `objectGUID`, or the configured
/// `person_key`, prefixed by the directory's name. At most 255 octets of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserKey(String);

impl UserKey {
    /// Joins the directory's name and the entry's identifier.
    pub fn new(directory: &str, identifier: &str) -> Self {
        Self(format!("{directory}:{}", identifier.to_lowercase()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came of trying a password. An outage is never a wrong password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordOutcome {
    /// Right, and the account may log in.
    Right,
    /// Wrong, or refused without a reason that we know.
    Wrong,
    /// Right but expired.
    Expired,
    /// Right but to be changed before anything else (ppolicy `changeAfterReset`, `pwdLastSet: 0`).
    MustChange,
    /// The directory has locked the account.
    Locked,
    /// The account is disabled or expired, or may not log in now or from here.
    Disabled,
    /// The entry has gone since it was looked up.
    Unknown,
    /// The directory could not be asked. The text says why, for logs.
    Unavailable(String),
}

/// The form in which distinguished names are compared: attribute types and values in lower case, no
/// blanks around `,`, `+` and `=`. Escapes are kept as they are written.
pub fn normalise_dn(dn: &str) -> String {
    let mut normal = String::with_capacity(dn.len());
    let mut escaped = false;
    for character in dn.trim().chars() {
        let separator = !escaped && matches!(character, ',' | '+' | '=' | ';');
        if separator {
            while normal.ends_with(' ') && !normal.ends_with("\\ ") {
                normal.pop();
            }
            normal.push(if character == ';' { ',' } else { character });
        } else if character == ' '
            && !escaped
            && normal.ends_with([',', '+', '='])
            && !normal.ends_with("\\,")
            && !normal.ends_with("\\+")
            && !normal.ends_with("\\=")
        {
            // a blank after a separator
        } else {
            normal.extend(character.to_lowercase());
        }
        escaped = character == '\\' && !escaped;
    }
    normal
}

/// Whether `dn`, as anybody writes it, is the normalised name `normal`.
pub fn is_named(dn: &str, normal: &str) -> bool {
    if is_plain(dn) {
        dn.eq_ignore_ascii_case(normal)
    } else {
        normalise_dn(dn) == normal
    }
}

/// Whether `dn`, as anybody writes it, is the normalised name `suffix` or lies below it.
pub fn is_below(dn: &str, suffix: &str) -> bool {
    if !is_plain(dn) {
        return dn_is_under(&normalise_dn(dn), suffix);
    }
    let Some(length) = dn.len().checked_sub(suffix.len()) else {
        return false;
    };
    let ends = dn
        .split_at_checked(length)
        .filter(|(_, end)| end.eq_ignore_ascii_case(suffix));
    ends.is_some_and(|(rest, _)| rest.is_empty() || suffix.is_empty() || rest.ends_with(','))
}

/// Whether nothing but capitals tells a name from its normalised form.
fn is_plain(dn: &str) -> bool {
    let mut before = b',';
    for octet in dn.bytes().chain([b',']) {
        let separates = |octet| matches!(octet, b',' | b'+' | b'=');
        if !octet.is_ascii()
            || matches!(octet, b'\\' | b';')
            || (octet == b' ' && separates(before))
            || (before == b' ' && separates(octet))
        {
            return false;
        }
        before = octet;
    }
    true
}

/// Whether the normalised name `dn` is `suffix` or lies below it.
pub fn dn_is_under(dn: &str, suffix: &str) -> bool {
    match dn.strip_suffix(suffix) {
        Some("") => true,
        Some(rest) => suffix.is_empty() || (rest.ends_with(',') && !rest.ends_with("\\,")),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        assert_eq!(
            normalise_dn("CN=Staff , OU=Groups,DC=Example, DC=org"),
            "cn=staff,ou=groups,dc=example,dc=org"
        );
        assert_eq!(normalise_dn("cn=a\\, b,dc=x"), "cn=a\\, b,dc=x");
    }

    #[test]
    fn names_are_compared_as_they_are_written() {
        let names = [
            "uid=Ana,OU=People,dc=x",
            "uid=ana , ou=people, dc=x",
            "uid=ana,ou=people;dc=x",
            "cn=Ana Müller,ou=people,dc=x",
            "cn=a\\, b,ou=people,dc=x",
            "cn=ana,ou=otherpeople,dc=x",
            " dc=x ",
            "dc=x",
            "",
        ];
        let suffixes = [
            "ou=people,dc=x",
            "people,dc=x",
            "dc=x",
            "",
            "cn=ana müller,ou=people,dc=x",
        ];
        for (name, suffix) in names.iter().flat_map(|name| suffixes.map(|suffix| (*name, suffix))) {
            let normal = normalise_dn(name);
            assert_eq!(is_below(name, suffix), dn_is_under(&normal, suffix), "{name} {suffix}");
            assert_eq!(is_named(name, suffix), normal == suffix, "{name} {suffix}");
            assert!(is_named(name, &normal), "{name}");
        }
    }

    #[test]
    fn suffixes_end_at_a_separator() {
        assert!(dn_is_under("uid=a,ou=people,dc=x", "ou=people,dc=x"));
        assert!(dn_is_under("ou=people,dc=x", "ou=people,dc=x"));
        assert!(!dn_is_under("uid=a,ou=otherpeople,dc=x", "people,dc=x"));
        assert!(!dn_is_under("cn=a\\,dc=x", "dc=x"));
        assert!(dn_is_under("dc=x", ""));
    }
}
