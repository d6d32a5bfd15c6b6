//! Who is an operator, as the configuration says.

use std::sync::Arc;

use nix::unistd::{Group, User};
use tokio::task;

use crate::config::{self, Admin};
use crate::engine::Person;
use crate::engine::operator::{Grant, Rank, Role};
use crate::engine::policy::is_group;

/// What the configuration says of operators, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// `[admin]`
    pub admin: Admin,
    /// `[[operator]]`
    pub entries: Vec<config::Operator>,
}

/// What this machine says of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalAccount {
    /// Whether it is root or the process's own.
    pub own: bool,
    /// Those of the groups asked about that it is in.
    pub groups: Vec<String>,
}

/// Whose accounts are of a higher rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct Higher {
    /// Local accounts.
    pub(crate) accounts: Vec<(String, Rank)>,
    /// Groups of this machine.
    pub(crate) unix_groups: Vec<(String, Rank)>,
    /// Groups of directories: the directory, and the group.
    pub(crate) groups: Vec<(String, String, Rank)>,
}

impl Book {
    /// What this machine says of an account, as far as anything here asks for it.
    pub async fn local(&self, account: &str) -> LocalAccount {
        let groups = self.entries.iter().filter_map(|entry| entry.unix_group.clone());
        LocalAccount::look_up(account.to_owned(), groups.collect()).await
    }

    /// The directories that have to be asked before all roles are known.
    pub(crate) fn directories(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .entries
            .iter()
            .filter_map(|entry| entry.directory.as_deref())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The roles of an account, where `people` are those whom the directories know by its name.
    pub(crate) fn grants(&self, account: &str, local: &LocalAccount, people: &[Arc<Person>]) -> Vec<Grant> {
        if local.own || self.admin.operators.iter().any(|named| named == account) {
            return vec![Grant::of(Role::Administrator)];
        }
        let is_it = |entry: &&config::Operator| {
            entry.account.as_deref() == Some(account)
                || entry
                    .unix_group
                    .as_ref()
                    .is_some_and(|group| local.groups.contains(group))
                || people.iter().any(|person| is_member(person, entry))
        };
        self.entries
            .iter()
            .filter(is_it)
            .flat_map(config::Operator::grants)
            .collect()
    }

    /// Whose accounts are of a higher rank than `rank`.
    pub(crate) fn higher_than(&self, rank: Rank) -> Higher {
        let mut higher = Higher::default();
        if rank < Rank::Highest {
            let root = std::iter::once("root");
            let named = root.chain(self.admin.operators.iter().map(String::as_str));
            higher
                .accounts
                .extend(named.map(|name| (name.to_owned(), Rank::Highest)));
        }
        for entry in &self.entries {
            let highest = entry.roles.iter().map(|role| role.rank()).max().unwrap_or_default();
            if highest <= rank {
                continue;
            }
            let (account, unix_group) = (entry.account.iter(), entry.unix_group.iter());
            higher.accounts.extend(account.map(|name| (name.clone(), highest)));
            higher
                .unix_groups
                .extend(unix_group.map(|name| (name.clone(), highest)));
            if let (Some(directory), Some(group)) = (&entry.directory, &entry.group) {
                higher.groups.push((directory.clone(), group.clone(), highest));
            }
        }
        higher
    }
}

impl Higher {
    /// The rank that the groups of the directory give to somebody.
    pub(crate) fn in_directory(&self, person: &Person) -> Rank {
        let ranks = self.groups.iter().filter(|(directory, group, _)| {
            *person.directory == **directory && person.groups.iter().any(|of| is_group(group, of))
        });
        ranks.map(|(_, _, rank)| *rank).max().unwrap_or_default()
    }

    /// All accounts, those of the groups' members included, the highest first. `login` might be one whose first group
    /// is one of them, which does not list it.
    pub(crate) async fn all_accounts(&self, login: &str) -> Vec<(String, Rank)> {
        let mut all = self.accounts.clone();
        if !self.unix_groups.is_empty() {
            let (groups, login) = (self.unix_groups.clone(), login.to_owned());
            let found = task::spawn_blocking(move || members(&groups, &login)).await;
            all.extend(found.unwrap_or_default());
        }
        all.sort_by(|(_, one), (_, other)| other.cmp(one));
        all
    }
}

impl LocalAccount {
    /// Asks the system's name services, which may ask the network, on another thread.
    async fn look_up(account: String, groups: Vec<String>) -> Self {
        let found = task::spawn_blocking(move || {
            let user = User::from_name(&account).ok().flatten();
            let is_in = |group: &String| {
                Group::from_name(group).ok().flatten().is_some_and(|group| {
                    group.mem.contains(&account) || user.as_ref().is_some_and(|user| user.gid == group.gid)
                })
            };
            Self {
                own: user
                    .as_ref()
                    .is_some_and(|user| user.uid.is_root() || user.uid == nix::unistd::geteuid()),
                groups: groups.iter().filter(|group| is_in(group)).cloned().collect(),
            }
        });
        found.await.unwrap_or_default()
    }
}

/// Members of groups of this machine, and `login` where it is one by its first group.
fn members(groups: &[(String, Rank)], login: &str) -> Vec<(String, Rank)> {
    let mut all = Vec::new();
    for (name, rank) in groups {
        let Ok(Some(group)) = Group::from_name(name) else {
            continue;
        };
        all.extend(group.mem.iter().map(|member| (member.clone(), *rank)));
        if let Ok(Some(user)) = User::from_name(login)
            && user.gid == group.gid
        {
            all.push((login.to_owned(), *rank));
        }
    }
    all
}

/// Whether a person is in the group of an entry. An account that the directory has disabled is in none.
fn is_member(person: &Person, entry: &config::Operator) -> bool {
    let (Some(directory), Some(group)) = (&entry.directory, &entry.group) else {
        return false;
    };
    person.enabled && *person.directory == **directory && person.groups.iter().any(|of| is_group(group, of))
}
