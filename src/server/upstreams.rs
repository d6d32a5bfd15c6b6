//! Upstream RADIUS servers, from the configuration to the ones that are asked.

use std::sync::Arc;

use crate::config::{Config, UpstreamTransport};
use crate::dictionary::Dictionary;
use crate::document::{Document, Faults, Severity};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::{Policy, Ruling};
use crate::keyring::Keyring;
use crate::server::parts::describe;
use crate::upstream::{Upstream, Upstreams};

/// What a reload can keep.
pub(super) struct Before {
    pub(super) config: Arc<Config>,
    pub(super) upstreams: Arc<Upstreams>,
}

/// Finds what is wrong with certificates, names, and attributes to pass on. Blocks.
pub(super) fn check(config: &Config, dictionary: &Arc<Dictionary>, document: &Document<'_>, faults: &mut Faults) {
    for (index, upstream) in config.upstreams.iter().enumerate() {
        for (place, why) in Upstream::check_passed(upstream, dictionary) {
            let path = ["upstream", &index.to_string(), "pass_reply", &place.to_string()];
            faults.0.push(document.fault(&path, why));
        }
        for fault in Upstream::check(upstream).err().unwrap_or_default() {
            let path = [
                "upstream",
                &index.to_string(),
                "servers",
                &fault.server.to_string(),
                fault.key,
            ];
            faults.0.push(document.fault(&path, describe(fault.error)));
        }
    }
}

/// Settles which upstream each rule with `radius` means: the one it names, or the only one there is.
pub(super) fn settle(config: &Config, policy: &mut Policy, faults: &mut Faults) {
    for rule in policy.rules.each_mut() {
        let mut found = None;
        let Ruling::Require(terms) = &mut rule.ruling else {
            continue;
        };
        let alternatives = terms.requirement.alternatives();
        let asks = alternatives.iter().any(|kinds| kinds.has(Kind::Radius));
        match (&terms.upstream, config.upstreams.as_slice()) {
            (None, _) if !asks => {}
            (Some(_), _) if !asks => {
                let text = "has an `upstream`, which does nothing without \"radius\" in `require`";
                found = Some((Severity::Warning, text.to_owned()));
            }
            (Some(name), known) if known.iter().any(|known| *known.name == **name) => {}
            (Some(name), _) => {
                let text = format!("names the [[upstream]] \"{name}\", which there is none of");
                found = Some((Severity::Error, text));
            }
            (None, [only]) => terms.upstream = Some(only.name.as_str().into()),
            (None, []) => {
                found = Some((
                    Severity::Error,
                    "requires \"radius\", but there is no [[upstream]]".to_owned(),
                ));
            }
            (None, _) => {
                let text =
                    "requires \"radius\", and there are several [[upstream]]; say which with upstream = \"name\"";
                found = Some((Severity::Error, text.to_owned()));
            }
        }
        let alternatives = terms.requirement.alternatives();
        let instead = |kinds: &KindSet| kinds.has(Kind::Radius) && !kinds.has(Kind::Password);
        if terms.requirement.takes_password() && alternatives.iter().any(instead) {
            let text = "takes \"radius\" in place of the password and the password besides: what is typed first could be \
                        either; write two rules";
            faults.0.push(rule.fault(Severity::Error, text));
        }
        if let Some((severity, text)) = found {
            faults.0.push(rule.fault(severity, text));
        }
    }
}

/// Prepares the upstreams; those whose configuration stays the same stay as they are, unless they use
/// certificates or dictionaries, which may have been exchanged.
///
/// # Errors
/// One text that says what is wrong.
pub(super) async fn start(
    config: Arc<Config>,
    dictionary: Arc<Dictionary>,
    keyring: Arc<Keyring>,
    before: Option<Before>,
) -> Result<Upstreams, String> {
    let work = move || {
        let mark = keyring.proxy_mark();
        let mut upstreams = Upstreams::new();
        for upstream in &config.upstreams {
            let plain = upstream
                .servers
                .iter()
                .all(|server| server.transport == UpstreamTransport::Udp)
                && upstream.pass_reply.is_empty();
            let kept = before
                .as_ref()
                .filter(|before| plain && before.config.upstreams.contains(upstream))
                .and_then(|before| before.upstreams.get(&upstream.name));
            let ready = match kept {
                Some(kept) => Arc::clone(kept),
                None => Upstream::start(upstream, &dictionary, mark)
                    .map_err(|fault| format!("upstream \"{}\": {}", upstream.name, describe(fault.error)))?,
            };
            upstreams.insert(upstream.name.clone(), ready);
        }
        Ok(upstreams)
    };
    let started = tokio::task::spawn_blocking(work).await;
    started.unwrap_or_else(|error| Err(error.to_string()))
}
