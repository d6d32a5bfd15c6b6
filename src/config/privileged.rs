//! `[privileged]`: whose accounts are worth more than those of everybody else.

use serde::Deserialize;

use crate::engine::facts::normalise_dn;
use crate::engine::policy;

/// `[privileged]`: whoever any of the lists names.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Privileged {
    /// Login names of the directory.
    pub user: Vec<String>,
    /// Distinguished names of groups, or their `cn` alone.
    pub group: Vec<String>,
    /// Ends of distinguished names.
    pub dn_suffix: Vec<String>,
}

impl Privileged {
    /// The class as policies see it.
    pub fn class(&self) -> policy::Privileged {
        let dns = |list: &[String]| list.iter().map(|name| normalise_dn(name)).collect();
        policy::Privileged {
            users: self.user.iter().map(|name| name.trim().to_lowercase()).collect(),
            groups: dns(&self.group),
            dn_suffixes: dns(&self.dn_suffix),
        }
    }

    /// The lists with the keys that they stand under.
    pub fn lists(&self) -> [(&'static str, &[String]); 3] {
        [
            ("user", &self.user),
            ("group", &self.group),
            ("dn_suffix", &self.dn_suffix),
        ]
    }
}
