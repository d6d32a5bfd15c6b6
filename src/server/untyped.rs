//! Rules that ask for what no listener can have: certificates, and mechanisms that the directory judges.

use crate::config::{ClientCertificate, Config};
use crate::document::{Faults, Severity};
use crate::engine::authenticator::Kind;
use crate::engine::policy::{Policy, Ruling};

/// Warns of rules that cannot be met for want of a listener.
pub(super) fn check(config: &Config, policy: &Policy, faults: &mut Faults) {
    let certificates = |listener: &crate::config::LdapListener| listener.client_certificate != ClientCertificate::None;
    let kinds = [
        (
            Kind::Certificate,
            config.ldap.iter().any(certificates),
            "client_certificate",
        ),
        (
            Kind::Sasl,
            config.ldap.iter().any(|listener| !listener.sasl_relay.is_empty()),
            "sasl_relay",
        ),
    ];
    for rule in &policy.rules {
        let Ruling::Require(terms) = &rule.ruling else {
            continue;
        };
        for (kind, _, key) in kinds.iter().filter(|(_, there_is, _)| !there_is) {
            if terms.requirement.alternatives().iter().any(|kinds| kinds.has(*kind)) {
                let text = format!("asks for \"{kind}\", but no [[ldap]] has `{key}`");
                faults.0.push(rule.fault(Severity::Warning, text));
            }
        }
    }
}
