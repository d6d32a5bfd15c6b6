//! `[[operator]]` and what of `[admin]` is about operators: who may do what, from where, and how they prove it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::engine::operator::{Grant, Role, Scope};

/// `[[operator]]`: roles of an account, or of the members of a group. Just one of `account`, `unix_group` and `group`
/// says whose.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Operator {
    /// A local account.
    #[serde(default)]
    pub account: Option<String>,
    /// A group of this machine.
    #[serde(default)]
    pub unix_group: Option<String>,
    /// Distinguished name, or `cn`, of a group of the directory: its members' local accounts have their login names.
    #[serde(default)]
    pub group: Option<String>,
    /// The directory that `group` is in; the only one when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// What they may be.
    pub roles: Vec<Role>,
    /// For whom; everybody when absent.
    #[serde(default)]
    pub scope: Scope,
    /// What they may do, for the role `automation`.
    #[serde(default)]
    pub verbs: Vec<String>,
}

impl Operator {
    /// The roles with their scopes.
    pub fn grants(&self) -> Vec<Grant> {
        let grant = |role: &Role| Grant {
            role: *role,
            within: match role.takes_scope() && !self.scope.is_everybody() {
                true => vec![self.scope.clone()],
                false => Vec::new(),
            },
            verbs: match role {
                Role::Automation => self.verbs.clone(),
                Role::Administrator
                | Role::PolicyAdmin
                | Role::Helpdesk
                | Role::Manager
                | Role::SecondHolder
                | Role::Approver
                | Role::Auditor => Vec::new(),
            },
        };
        self.roles.iter().map(grant).collect()
    }
}

/// `admin.confirm`: which operators confirm sensitive verbs with a code of their own.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Those who have a token.
    #[default]
    Enrolled,
    /// All: who has no token may not do them.
    Always,
    /// Nobody.
    Never,
}

/// `[admin.tls]`: the same API over TLS, for API tokens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct AdminTls {
    /// Address and port.
    pub listen: SocketAddr,
    /// PEM file of the certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authorities that clients' certificates must be issued by; none are asked for when absent.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Connections at once.
    #[serde(default = "connections")]
    pub connections: usize,
}

impl AdminTls {
    /// The bounds of [`AdminTls::connections`].
    pub const CONNECTIONS: std::ops::RangeInclusive<usize> = 1..=1024;
}

const fn connections() -> usize {
    64
}

/// How long an API token may live unless configured otherwise.
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// The bounds of `admin.token_life`.
pub const TOKEN_LIVES: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(366 * 86_400);
