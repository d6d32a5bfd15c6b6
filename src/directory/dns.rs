//! Questions to DNS: which servers offer a service (RFC 2782), and the addresses of a name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    /// Those that the system asks, when there are none.
    servers: Arc<[SocketAddr]>,
}

/// Why DNS gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    #[error("`/etc/resolv.conf` cannot be used")]
    System(#[source] NetError),
    #[error("it is no name")]
    Name(#[source] ProtoError),
    #[error("DNS says that there is none")]
    None,
    #[error("DNS gives no answer")]
    Question(#[source] NetError),
    #[error("no answer within {PATIENCE:?}")]
    Late,
    #[error("the question was given up")]
    Task(#[source] JoinError),
}

/// The servers that offer a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Services {
    /// In no order. Empty when DNS says that the service is offered nowhere (the target is the root).
    pub(super) records: Vec<Service>,
    /// How long the answer holds.
    pub(super) ttl: Duration,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Lower ones come first.
    pub(super) priority: u16,
    /// Share of the work among those of one priority.
    pub(super) weight: u16,
    /// TCP port.
    pub(super) port: u16,
    /// Host name in lower case, without a dot at its end.
    pub(super) host: String,
}

impl Dns {
    /// Reads addresses with or without a port; none leaves it to the system whom to ask.
    ///
    /// # Errors
    /// The first that is no address.
    pub(super) fn read(servers: &[String]) -> Result<Self, &str> {
        let read = |text: &String| {
            let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
            text.parse().or_else(|_| bare()).ok()
        };
        let wrong = servers.iter().find(|text| read(text).is_none());
        wrong.map_or(Ok(()), |text| Err(text.as_str()))?;
        Ok(Self {
            servers: servers.iter().filter_map(read).collect(),
        })
    }

    /// Whether it is configured whom to ask.
    pub(super) fn is_configured(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Asks for the SRV records of `name`, which is complete: no search domain is added.
    ///
    /// # Errors
    /// No answer, or that there are none.
    pub(super) async fn services(&self, name: &str) -> Result<Services, DnsError> {
        let name = absolute(name)?;
        let ask = |resolver: TokioResolver| async move { resolver.lookup(name, RecordType::SRV).await };
        let answer = self.ask(ask).await?;
        let mut records = Vec::new();
        let mut seen = false;
        let mut ttl = u32::MAX;
        for record in answer.answers() {
            ttl = ttl.min(record.ttl);
            let RData::SRV(srv) = &record.data else { continue };
            seen = true;
            let host = srv.target.to_ascii().to_ascii_lowercase();
            let host = host.strip_suffix('.').unwrap_or(&host);
            if !host.is_empty() && records.len() < MOST_RECORDS {
                records.push(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    host: host.to_owned(),
                });
            }
        }
        if !seen {
            return Err(DnsError::None);
        }
        let ttl = Duration::from_secs(u64::from(ttl));
        Ok(Services { records, ttl })
    }

    /// Asks for the addresses of `host`.
    ///
    /// # Errors
    /// No answer, or that there are none.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DnsError> {
        let name = absolute(host)?;
        let ask = |resolver: TokioResolver| async move { resolver.lookup_ip(name).await };
        let answer = self.ask(ask).await?;
        Ok(answer.iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Asks in a task of its own: whatever the resolver trips over is an error like another.
    async fn ask<T, F>(&self, question: impl FnOnce(TokioResolver) -> F) -> Result<T, DnsError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NetError>> + Send + 'static,
    {
        let dns = self.clone();
        // Reads files.
        let resolver = tokio::task::spawn_blocking(move || dns.resolver());
        let resolver = resolver.await.map_err(DnsError::Task)?.map_err(DnsError::System)?;
        let asked = AbortOnDropHandle::new(tokio::spawn(question(resolver)));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) if error.is_no_records_found() => Err(DnsError::None),
            Ok(Ok(Err(error))) => Err(DnsError::Question(error)),
            Ok(Err(error)) => Err(DnsError::Task(error)),
            Err(_) => Err(DnsError::Late),
        }
    }

    /// A resolver for one question: `/etc/resolv.conf` may change, and what is remembered is remembered
    /// elsewhere.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let server = |address: &SocketAddr| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                server
                    .connections
                    .iter_mut()
                    .for_each(|connection| connection.port = address.port());
                server
            };
            let config = ResolverConfig::from_name_servers(self.servers.iter().map(server).collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.edns0 = true;
        options.timeout = options.timeout.min(PATIENCE / 4);
        // A file of this machine has no say in whom `dns_servers` name.
        if self.is_configured() {
            options.use_hosts_file = ResolveHosts::Never;
        }
        builder.build()
    }
}

impl From<DnsError> for io::Error {
    fn from(error: DnsError) -> Self {
        match error {
            DnsError::None => Self::new(io::ErrorKind::NotFound, error),
            DnsError::System(_) | DnsError::Name(_) | DnsError::Question(_) | DnsError::Late | DnsError::Task(_) => {
                Self::other(error)
            }
        }
    }
}

/// Orders by priority, and within a priority by chance and weight: each comes first as often as its share of the
/// weights (RFC 2782, "Weight").
///
/// The chance is a function of `seed` and the server alone, so that the same seed gives the same order whenever it
/// is asked, and one server more or less does not move the others: work does not wander with each refresh.
/// Exponential variables with the weights as rates are in the order of drawing one after the other.
pub(super) fn order(services: &mut [Service], seed: [u8; 16]) {
    let place = |service: &Service| {
        // RFC 2782: weight 0 beside others has a very small chance.
        let weight = f64::from(service.weight).max(0.01);
        -chance(seed, service).ln() / weight
    };
    services.sort_by(|one, other| {
        let by_chance = || place(one).total_cmp(&place(other));
        one.priority.cmp(&other.priority).then_with(by_chance)
    });
}

/// Uniform between 0, exclusive, and 1.
fn chance(seed: [u8; 16], service: &Service) -> f64 {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    digest.update(&seed);
    digest.update(&service.port.to_be_bytes());
    digest.update(service.host.as_bytes());
    let digest = digest.finish();
    let number = digest
        .as_ref()
        .first_chunk::<4>()
        .map_or(0, |first| u32::from_be_bytes(*first));
    (f64::from(number) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

fn absolute(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(name).map_err(DnsError::Name)?;
    name.set_fqdn(true);
    Ok(name)
}

const DNS_PORT: u16 = 53;
/// Longest time for one question, all servers and tries of it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Records that are read.
const MOST_RECORDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, host: &str) -> Service {
        Service {
            priority,
            weight,
            port: 389,
            host: host.into(),
        }
    }

    fn seed(number: u32) -> [u8; 16] {
        let mut seed = [0; 16];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        seed
    }

    fn hosts(services: &[Service]) -> Vec<&str> {
        services.iter().map(|service| service.host.as_str()).collect()
    }

    #[test]
    fn priority_comes_before_weight() {
        for number in 0..100 {
            let mut all = [service(20, 65_535, "c"), service(10, 0, "a"), service(10, 9, "b")];
            order(&mut all, seed(number));
            assert_eq!(all[2].host, "c");
        }
    }

    #[test]
    fn each_comes_first_as_often_as_its_weight_says() {
        let mut first = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..10_000 {
            let mut all = [
                service(1, 1, "a"),
                service(1, 3, "b"),
                service(1, 6, "c"),
                service(1, 0, "z"),
            ];
            order(&mut all, seed(number));
            *first.entry(all[0].host.clone()).or_default() += 1;
        }
        let share = |host: &str| first.get(host).copied().unwrap_or_default();
        // Four standard deviations are 120 to 200.
        assert!(share("a").abs_diff(1000) < 130, "{first:?}");
        assert!(share("b").abs_diff(3000) < 200, "{first:?}");
        assert!(share("c").abs_diff(6000) < 210, "{first:?}");
        assert!(share("z") < 50, "{first:?}");
    }

    #[test]
    fn those_without_weight_share_alike() {
        let mut first = 0_u32;
        for number in 0..10_000 {
            let mut all = [service(1, 0, "a"), service(1, 0, "b")];
            order(&mut all, seed(number));
            first += u32::from(all[0].host == "a");
        }
        assert!(first.abs_diff(5000) < 200, "{first}");
    }

    #[test]
    fn the_order_stays_when_one_comes_or_goes() {
        for number in 0..100 {
            let mut three = [service(1, 5, "a"), service(1, 5, "b"), service(1, 5, "c")];
            let mut turned = [service(1, 5, "c"), service(1, 5, "b"), service(1, 5, "a")];
            order(&mut three, seed(number));
            order(&mut turned, seed(number));
            assert_eq!(three, turned);
            let mut two = [service(1, 5, "a"), service(1, 5, "c")];
            order(&mut two, seed(number));
            let without = hosts(&three).into_iter().filter(|host| *host != "b");
            assert_eq!(hosts(&two), without.collect::<Vec<_>>());
        }
    }

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let read = |text: &str| {
            Dns::read(&[text.to_owned()])
                .map(|dns| dns.servers[0])
                .map_err(str::to_owned)
        };
        assert_eq!(read("127.0.0.1"), Ok(([127, 0, 0, 1], 53).into()));
        assert_eq!(read("127.0.0.1:5353"), Ok(([127, 0, 0, 1], 5353).into()));
        assert_eq!(read("::1"), Ok("[::1]:53".parse().unwrap()));
        assert_eq!(read("[::1]:54"), Ok("[::1]:54".parse().unwrap()));
        assert_eq!(read("ns.example.org"), Err("ns.example.org".into()));
        assert!(!Dns::read(&[]).unwrap().is_configured());
    }
}
