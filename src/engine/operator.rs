//! Operators: what they may be and for whom, and the API tokens that they act by.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::facts::{Person, dn_is_under, normalise_dn};
use crate::engine::policy::is_group;
use crate::engine::record::Record;

/// What an operator may be. What each may do is said in one place, by the verbs of the admin front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Policies, RADIUS clients, deliveries; nothing about people.
    PolicyAdmin,
    /// People, within a scope.
    Helpdesk,
    /// The people whose manager the operator is in the directory.
    Manager,
    /// Releases second halves of passcodes.
    SecondHolder,
    /// Decides requests.
    Approver,
    /// Sees everything but secrets, and changes nothing.
    Auditor,
    /// A listed set of verbs, for programs.
    Automation,
}

impl Role {
    /// Every one, the most powerful first.
    pub const ALL: [Self; 8] = [
        Self::Administrator,
        Self::PolicyAdmin,
        Self::Helpdesk,
        Self::Manager,
        Self::SecondHolder,
        Self::Approver,
        Self::Auditor,
        Self::Automation,
    ];

    /// The word for it, as in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::PolicyAdmin => "policy-admin",
            Self::Helpdesk => "helpdesk",
            Self::Manager => "manager",
            Self::SecondHolder => "second-holder",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Automation => "automation",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// How much is lost with an operator of this role: one of a lower rank does nothing to them.
    pub const fn rank(self) -> Rank {
        match self {
            Self::Administrator => Rank::Highest,
            // Who may change what guards everybody, or sees what everybody did.
            Self::PolicyAdmin | Self::Auditor => Rank::High,
            Self::Helpdesk | Self::Manager | Self::SecondHolder | Self::Approver | Self::Automation => Rank::Low,
        }
    }

    /// Whether a scope of people means anything to it.
    pub const fn takes_scope(self) -> bool {
        match self {
            Self::Helpdesk | Self::Manager | Self::SecondHolder | Self::Approver | Self::Automation => true,
            Self::Administrator | Self::PolicyAdmin | Self::Auditor => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How much is lost with somebody's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Nobody's who is an operator.
    #[default]
    None,
    /// An operator's.
    Low,
    /// That of an operator who oversees others.
    High,
    /// An administrator's, or a privileged person's.
    Highest,
}

/// Whom a role is for: members of any of the groups, and people below any of the names; everybody where both are
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Distinguished names of groups, or their `cn` alone; normalised.
    pub group: Vec<String>,
    /// Ends of distinguished names; normalised.
    pub dn_suffix: Vec<String>,
}

impl Scope {
    /// Most names of one scope.
    pub const MOST: usize = 64;

    /// Brings the names into the form that they are compared in.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let all = |names: &[String]| names.iter().map(|name| normalise_dn(name)).collect();
        Self {
            group: all(&self.group),
            dn_suffix: all(&self.dn_suffix),
        }
    }

    /// Whether it is everybody.
    pub fn is_everybody(&self) -> bool {
        self.group.is_empty() && self.dn_suffix.is_empty()
    }

    /// Whether the person is in it. Somebody whom no directory knows is in no scope but everybody's.
    pub fn includes(&self, person: Option<&Person>) -> bool {
        if self.is_everybody() {
            return true;
        }
        let Some(person) = person else { return false };
        let member = |written: &String| person.groups.iter().any(|group| is_group(written, group));
        if self.group.iter().any(member) {
            return true;
        }
        if self.dn_suffix.is_empty() {
            return false;
        }
        let dn = normalise_dn(&person.dn);
        self.dn_suffix.iter().any(|suffix| dn_is_under(&dn, suffix))
    }
}

/// As it is told: `group staff or below ou=people,dc=example`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everybody() {
            return f.write_str("everybody");
        }
        let groups = self.group.iter().map(|group| format!("group {group}"));
        let below = self.dn_suffix.iter().map(|suffix| format!("below {suffix}"));
        let all: Vec<String> = groups.chain(below).collect();
        f.write_str(&all.join(" or "))
    }
}

/// A role that an operator has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which.
    pub role: Role,
    /// For whom: whoever is in all of these scopes; everybody where there is none.
    pub within: Vec<Scope>,
    /// The words of the verbs, for [`Role::Automation`].
    pub verbs: Vec<String>,
}

impl Grant {
    /// A role for everybody.
    pub const fn of(role: Role) -> Self {
        Self {
            role,
            within: Vec::new(),
            verbs: Vec::new(),
        }
    }

    /// Whether it is for everybody.
    pub fn is_everywhere(&self) -> bool {
        self.role != Role::Manager && self.within.iter().all(Scope::is_everybody)
    }

    /// Whether the person is within its scopes. Whether they are a manager's report is another question.
    pub fn includes(&self, person: Option<&Person>) -> bool {
        self.within.iter().all(|scope| scope.includes(person))
    }

    /// What is left of it for somebody who holds `held`: never more than either of the two. `None` when nothing is.
    pub fn limited_by(&self, held: &Self) -> Option<Self> {
        if held.role == Role::Administrator {
            return Some(self.clone());
        }
        if held.role != self.role {
            return None;
        }
        let verbs: Vec<String> = match self.role {
            Role::Automation => {
                let both = self.verbs.iter().filter(|verb| held.verbs.contains(verb));
                both.cloned().collect()
            }
            Role::Administrator
            | Role::PolicyAdmin
            | Role::Helpdesk
            | Role::Manager
            | Role::SecondHolder
            | Role::Approver
            | Role::Auditor => Vec::new(),
        };
        if self.role == Role::Automation && verbs.is_empty() {
            return None;
        }
        Some(Self {
            role: self.role,
            within: held.within.iter().chain(&self.within).cloned().collect(),
            verbs,
        })
    }
}

/// What of `wanted` somebody has who holds `held`.
pub fn limited(wanted: &[Grant], held: &[Grant]) -> Vec<Grant> {
    let limited = wanted
        .iter()
        .flat_map(|grant| held.iter().filter_map(|held| grant.limited_by(held)));
    let mut grants: Vec<Grant> = Vec::new();
    for grant in limited {
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    grants
}

/// An API token as the store keeps it until it expires. The token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// The account that whoever shows it acts as.
    pub account: String,
    /// Its name, unique among the account's tokens.
    pub name: String,
    /// [`crate::keyring::Keyring::digest_code`] of the token.
    pub digest: [u8; 32],
    /// What it may do at most; less where its account may do less.
    pub grants: Vec<Grant>,
    /// Who issued it.
    pub issued_by: String,
    /// When it was issued or regenerated.
    pub issued: Timestamp,
    /// It is none from then on.
    pub expires: Timestamp,
    /// When it was last used, within some minutes, and from where; no address for the socket.
    pub last_used: Option<(Timestamp, Option<IpAddr>)>,
}

impl Record for ApiToken {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

impl ApiToken {
    /// The name of whoever acts by it, in the audit too: `account/name`.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.account, self.name)
    }
}

/// The account behind the name of an operator: all of it, or what stands before the name of an API token.
pub fn account_of(operator: &str) -> &str {
    operator.split_once('/').map_or(operator, |(account, _)| account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    fn person(dn: &str, groups: &[&str]) -> Person {
        Person {
            key: UserKey::new("main", "1"),
            directory: "main".into(),
            dn: dn.into(),
            login: "ana".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            attributes: Default::default(),
            enabled: true,
            manager: None,
            sso_managed: None,
        }
    }

    fn scope(group: &[&str], dn_suffix: &[&str]) -> Scope {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Scope {
            group: owned(group),
            dn_suffix: owned(dn_suffix),
        }
    }

    #[test]
    fn a_scope_is_whoever_any_of_its_names_names() {
        let ana = person("UID=Ana, OU=Sales,DC=example", &["cn=staff,dc=example"]);
        assert!(Scope::default().includes(Some(&ana)) && Scope::default().includes(None));
        assert!(scope(&["staff"], &[]).includes(Some(&ana)));
        assert!(scope(&["CN=Staff, DC=example"], &[]).normalised().includes(Some(&ana)));
        assert!(scope(&["admins"], &["ou=sales,dc=example"]).includes(Some(&ana)));
        assert!(!scope(&["admins"], &["ou=sale,dc=example"]).includes(Some(&ana)));
        assert!(!scope(&["staff"], &[]).includes(None), "who has left is in no scope");
    }

    #[test]
    fn what_is_limited_is_never_more() {
        let desk = |within: Vec<Scope>| Grant {
            within,
            ..Grant::of(Role::Helpdesk)
        };
        let (staff, sales) = (scope(&["staff"], &[]), scope(&[], &["ou=sales,dc=example"]));
        let both = desk(vec![sales.clone()])
            .limited_by(&desk(vec![staff.clone()]))
            .unwrap();
        assert_eq!(both.within, [staff.clone(), sales]);
        let ana = person("uid=ana,ou=sales,dc=example", &[]);
        assert!(!both.includes(Some(&ana)), "in one of the two only");
        assert_eq!(desk(vec![]).limited_by(&Grant::of(Role::Auditor)), None);
        assert_eq!(
            desk(vec![]).limited_by(&Grant::of(Role::Administrator)),
            Some(desk(vec![]))
        );
        assert_eq!(Grant::of(Role::Administrator).limited_by(&desk(vec![])), None);
        let robot = |verbs: &[&str]| Grant {
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..Grant::of(Role::Automation)
        };
        let left = robot(&["backup", "status"]).limited_by(&robot(&["status"])).unwrap();
        assert_eq!(left.verbs, ["status"]);
        assert_eq!(robot(&["backup"]).limited_by(&robot(&["status"])), None);
        let held = [desk(vec![staff]), Grant::of(Role::Auditor)];
        assert_eq!(limited(&[Grant::of(Role::Auditor), desk(vec![])], &held).len(), 2);
        assert!(limited(&[Grant::of(Role::PolicyAdmin)], &held).is_empty());
    }

    #[test]
    fn words_are_read_again() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.word()), Some(role));
        }
        assert_eq!(account_of("carol/ci"), "carol");
        assert_eq!(account_of("carol"), "carol");
    }
}
