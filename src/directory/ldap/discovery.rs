//! The servers that DNS names (RFC 2782), asked for again whenever the answer has run out.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::causes::in_full;
use crate::clock;
use crate::directory::dns::{DnsError, Services, order};
use crate::directory::ldap::targets::Record;
use crate::directory::servers::Servers;
use crate::directory::wire::Target;
use crate::quiet::Quiet;

/// Keeps `servers` what `record` says, for as long as it is polled. No answer changes nothing.
pub(super) async fn follow(directory: Arc<str>, record: Record, servers: Arc<Servers>) {
    let seed = clock::random::<16>();
    let mut quiet = Quiet::default();
    let mut patience = FIRST_PAUSE;
    loop {
        let answer = record.dns.services(&record.name).await;
        let (holds, trouble) = match understand(&record, seed, answer) {
            Ok(Found { targets, ttl, left_out }) => {
                let absence = targets.is_empty().then(|| NOT_OFFERED.to_owned());
                take(&directory, &servers, targets);
                servers.settle(absence.clone());
                patience = FIRST_PAUSE;
                (Some(ttl.clamp(SHORTEST, LONGEST)), left_out.or(absence))
            }
            Err(why) => {
                servers.settle(Some(why.clone()));
                (None, Some(why))
            }
        };
        if let Some(error) = trouble
            && let Some(unlogged) = quiet.due(clock::monotonic())
        {
            let record = &record.name;
            warn!(
                directory = &*directory,
                record, error, unlogged, "not all servers can be found by DNS"
            );
        }
        match holds {
            Some(span) => rest(span, &servers).await,
            None => {
                tokio::time::sleep(patience).await;
                patience = (patience * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// What an answer means.
#[derive(Debug)]
struct Found {
    /// In order of preference.
    targets: Vec<Target>,
    ttl: Duration,
    /// Why records were passed over.
    left_out: Option<String>,
}

/// Makes targets of the records. That none of them can be used is as bad as no answer; that there is none because
/// DNS says so is an answer.
fn understand(record: &Record, seed: [u8; 16], answer: Result<Services, DnsError>) -> Result<Found, String> {
    let mut services = answer.map_err(|error| in_full(&error))?;
    order(&mut services.records, seed);
    let mut targets: Vec<Target> = Vec::new();
    let mut left_out = None;
    for service in &services.records {
        match record.target(service) {
            Ok(target) if targets.iter().any(|known| known.url == target.url) => {}
            Ok(target) => targets.push(target),
            Err(why) => left_out = Some(why),
        }
    }
    match left_out {
        Some(why) if targets.is_empty() => Err(why),
        left_out => Ok(Found {
            targets,
            ttl: services.ttl,
            left_out,
        }),
    }
}

fn take(directory: &str, servers: &Servers, targets: Vec<Target>) {
    let before = servers.all();
    let same = before
        .iter()
        .map(|listed| listed.server.url())
        .eq(targets.iter().map(|target| target.url.as_str()));
    drop(before);
    if same {
        return;
    }
    let urls: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
    info!(directory, servers = urls.join(" "), "DNS names these servers");
    servers.replace(targets);
}

/// Waits for `span`, or less when no server is left: DNS may know others by now.
async fn rest(span: Duration, servers: &Servers) {
    let mut left = span;
    while !left.is_zero() {
        let step = left.min(SHORTEST);
        tokio::time::sleep(step).await;
        left = left.saturating_sub(step);
        if servers.best().is_none() {
            return;
        }
    }
}

const NOT_OFFERED: &str = "DNS says that the service is offered nowhere";

/// Shortest and longest time that an answer is believed, whatever it says.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);

/// After the first answer that did not come; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::dns::Service;
    use crate::directory::ldap::settings::tests::config;
    use crate::directory::ldap::targets::Whence;

    fn record() -> Record {
        let config = config("srv = \"_ldap._tcp.x.org\"\nallow_plaintext = true");
        match Whence::read(&config, &mut |key, message| panic!("{key}: {message}")) {
            Whence::Found(record) => record,
            Whence::Listed(_) => panic!(),
        }
    }

    fn services(records: &[(u16, &str)]) -> Services {
        let service = |&(priority, host): &(u16, &str)| Service {
            priority,
            weight: 0,
            port: 389,
            host: host.into(),
        };
        Services {
            records: records.iter().map(service).collect(),
            ttl: Duration::from_secs(60),
        }
    }

    #[test]
    fn records_that_cannot_be_used_are_passed_over_unless_there_are_no_others() {
        let urls = |records: &[(u16, &str)]| {
            let found = understand(&record(), [0; 16], Ok(services(records)))?;
            let urls: Vec<String> = found.targets.into_iter().map(|target| target.url).collect();
            Ok::<_, String>((urls, found.left_out.is_some()))
        };
        let url = |host: &str| format!("ldap://{host}:389");
        let twice = [(2, "b.x.org"), (1, "a.x.org"), (3, "a.x.org")];
        assert_eq!(urls(&twice), Ok((vec![url("a.x.org"), url("b.x.org")], false)));
        let odd = [(1, "a b"), (2, "b.x.org")];
        assert_eq!(urls(&odd), Ok((vec![url("b.x.org")], true)));
        assert_eq!(urls(&odd[..1]), Err("`a b:389` is no server".into()));
        assert_eq!(urls(&[]), Ok((Vec::new(), false)), "DNS says so");
        let late = understand(&record(), [0; 16], Err(DnsError::Late));
        assert_eq!(late.unwrap_err(), "no answer within 8s");
    }
}
