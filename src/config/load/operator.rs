//! What must hold of `[[operator]]`, and of what `[admin]` says of operators.

use super::Reader;
use crate::config::{AdminTls, Config, Confirm, Operator, TOKEN_LIVES};
use crate::engine::facts::normalise_dn;
use crate::engine::operator::{Role, Scope};

impl Reader<'_, '_, '_> {
    /// Checks who may do what, and brings names into the form that they are compared in. Whether there are the verbs
    /// is checked where they are known.
    pub(super) fn operators(&mut self, config: &mut Config, directories: &[String]) {
        self.admin(config, directories);
        for (index, operator) in config.operators.iter_mut().enumerate() {
            let index = index.to_string();
            self.operator(&index, operator, directories);
        }
    }

    fn admin(&mut self, config: &Config, directories: &[String]) {
        if !TOKEN_LIVES.contains(&config.admin.token_life) {
            self.error(&["admin", "token_life"], "must be 1m to 366d");
        }
        if let Some(named) = &config.admin.directory
            && !directories.contains(named)
        {
            let known = directories.join(", ");
            self.error(
                &["admin", "directory"],
                format!("there is no directory \"{named}\"; there are {known}"),
            );
        }
        if config.admin.confirm == Confirm::Never && !config.operators.is_empty() {
            self.warn(
                &["admin", "confirm"],
                "is \"never\": whoever gets hold of an operator's session or token does all that the operator may",
            );
        }
        if let Some(tls) = &config.admin.tls
            && !AdminTls::CONNECTIONS.contains(&tls.connections)
        {
            self.error(&["admin", "tls", "connections"], "must be 1 to 1024");
        }
    }

    fn operator(&mut self, index: &str, operator: &mut Operator, directories: &[String]) {
        let at = |key: &'static str| ["operator", index, key];
        let named = [&operator.account, &operator.unix_group, &operator.group];
        if named.iter().filter(|name| name.is_some()).count() != 1 {
            self.error(
                &["operator", index],
                "must have just one of `account`, `unix_group` and `group`",
            );
        }
        let keys = ["account", "unix_group", "group"];
        for (key, name) in keys.into_iter().zip(named) {
            if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
                self.error(&at(key), "is empty");
            }
        }
        if operator.account.as_ref().is_some_and(|account| account.contains('/')) {
            self.error(&at("account"), "has a slash; names of accounts have none");
        }
        if let Some(group) = &mut operator.group {
            *group = normalise_dn(group);
            let named = operator.directory.take();
            operator.directory = self.directory(&["operator", index], named, directories);
        } else if operator.directory.is_some() {
            self.error(&at("directory"), "says nothing without `group`");
        }
        self.roles(index, operator);
        operator.scope = operator.scope.normalised();
    }

    fn roles(&mut self, index: &str, operator: &Operator) {
        let at = |key: &'static str| ["operator", index, key];
        if operator.roles.is_empty() {
            self.error(&at("roles"), "is empty; such an operator may do nothing");
        }
        if operator.roles.contains(&Role::Automation) == operator.verbs.is_empty() {
            self.error(&at("verbs"), "goes with the role \"automation\", and is not empty then");
        }
        let scope = &operator.scope;
        for (key, names) in [("group", &scope.group), ("dn_suffix", &scope.dn_suffix)] {
            let path = |position: &str| ["operator", index, "scope", key, position].map(ToOwned::to_owned);
            for (position, name) in names.iter().enumerate() {
                if name.trim().is_empty() {
                    let path = path(&position.to_string());
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    self.error(&path, "is empty; it would be everybody");
                }
            }
            if names.len() > Scope::MOST {
                self.error(
                    &["operator", index, "scope", key],
                    format!("has more than {}", Scope::MOST),
                );
            }
        }
        let unscoped: Vec<&str> = operator
            .roles
            .iter()
            .filter(|role| !role.takes_scope())
            .map(|role| role.word())
            .collect();
        if !scope.is_everybody() && !unscoped.is_empty() {
            let roles = unscoped.join(", ");
            self.error(
                &at("scope"),
                format!("means nothing to {roles}; write another [[operator]] for it"),
            );
        }
    }
}
