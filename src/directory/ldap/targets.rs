//! Where a directory's servers are and how they are spoken to: listed by URL, or found by DNS.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::causes::in_full;
use crate::config;
use crate::directory::dns::{Dns, Service};
use crate::directory::wire::{Security, Target, Verification};
use crate::tls::{self, TlsError};

/// Where the servers are known from.
pub(super) enum Whence {
    /// From `urls`.
    Listed(Vec<Target>),
    /// From `srv`.
    Found(Record),
}

/// The SRV record that names the servers, and how they are spoken to.
#[derive(Clone)]
pub(super) struct Record {
    /// Its name.
    pub(super) name: String,
    /// Who is asked for it.
    pub(super) dns: Dns,
    /// The domain that targets must be in, unless something else says whose certificates are good.
    domain: Option<String>,
    ldaps: bool,
    access: Access,
}

/// What is the same for all servers.
#[derive(Clone)]
struct Access {
    start_tls: bool,
    /// The authorities, where anything is encrypted.
    verifier: Option<Arc<ClientConfig>>,
    server_name: Option<String>,
    connect_timeout: Duration,
    /// Who is asked for addresses; the system when absent.
    dns: Option<Dns>,
}

impl Whence {
    pub(super) fn read(config: &config::LdapDirectory, fault: &mut impl FnMut(&'static str, String)) -> Self {
        let nothing = || Self::Listed(Vec::new());
        let dns = match Dns::read(&config.dns_servers) {
            Ok(dns) => dns,
            Err(text) => {
                fault(
                    "dns_servers",
                    format!("`{text}` is no address; write `192.0.2.53` or `192.0.2.53:53`"),
                );
                return nothing();
            }
        };
        match &config.srv {
            Some(_) if !config.urls.is_empty() => {
                fault("srv", "`urls` are there as well; keep one of the two".into());
                nothing()
            }
            Some(name) => Record::read(config, name, dns, fault).map_or_else(nothing, Self::Found),
            None => Self::Listed(listed(config, dns, fault)),
        }
    }

    /// Whether every connection is encrypted.
    pub(super) fn are_encrypted(&self) -> bool {
        match self {
            Self::Listed(targets) => targets.iter().all(|target| match target.security {
                Security::Plain => false,
                Security::Ldaps(_) | Security::StartTls(_) => true,
            }),
            Self::Found(record) => record.ldaps || record.access.start_tls,
        }
    }
}

impl Record {
    fn read(
        config: &config::LdapDirectory,
        name: &str,
        dns: Dns,
        fault: &mut impl FnMut(&'static str, String),
    ) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let ldaps = name.starts_with("_ldaps._tcp.");
        // What the service is and where it is looked for stands before the domain: `_ldap._tcp.dc._msdcs.`.
        let mut labels: Vec<&str> = name.split('.').collect();
        let prefix = labels.iter().rposition(|label| label.starts_with('_'));
        labels.drain(..prefix.map_or(0, |last| last + 1));
        let domain = labels.join(".");
        if !(ldaps || name.starts_with("_ldap._tcp.")) || domain.is_empty() || !is_host(&name) || name.len() > 253 {
            let message = "is the name of no SRV record for LDAP; write `_ldap._tcp.example.org`, \
                           `_ldaps._tcp.example.org` or, for Active Directory, `_ldap._tcp.dc._msdcs.example.org`";
            fault("srv", message.into());
            return None;
        }
        let access = Access::read(config, ldaps, !ldaps, &dns, fault)?;
        let anybody = access.verifier.is_some() && config.ca_file.is_none() && config.server_name.is_none();
        Some(Self {
            name,
            dns,
            domain: anybody.then_some(domain),
            ldaps,
            access,
        })
    }

    /// The server that a record means.
    ///
    /// # Errors
    /// Why there is none to be used, in words.
    pub(super) fn target(&self, service: &Service) -> Result<Target, String> {
        let host = &service.host;
        if !is_host(host) || service.port == 0 {
            return Err(format!("`{host}:{}` is no server", service.port));
        }
        let within = |domain: &String| {
            let before = host.strip_suffix(domain.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        if let Some(domain) = self.domain.as_ref().filter(|domain| !within(domain)) {
            return Err(format!(
                "{host} is outside of {domain}: write `ca_file` or `server_name` if it is to be trusted"
            ));
        }
        let scheme = if self.ldaps { "ldaps" } else { "ldap" };
        let url = format!("{scheme}://{host}:{}", service.port);
        let address = Address {
            ldaps: self.ldaps,
            host: host.clone(),
            port: service.port,
        };
        let target = self.access.target(url, address);
        target.map_err(|error| in_full(&error))
    }
}

impl Access {
    /// For servers of which some are spoken to by TLS from the first octet, and some are not.
    fn read(
        config: &config::LdapDirectory,
        some_ldaps: bool,
        some_ldap: bool,
        dns: &Dns,
        fault: &mut impl FnMut(&'static str, String),
    ) -> Option<Self> {
        let start_tls = config.starttls.unwrap_or(!config.allow_plaintext);
        if !start_tls && !config.allow_plaintext && some_ldap {
            let message = "passwords would travel unencrypted to LDAP servers; use StartTLS or LDAPS, \
                           or set `allow_plaintext = true`";
            fault("starttls", message.into());
            return None;
        }
        let encrypted = start_tls || some_ldaps;
        let verifier = encrypted.then(|| tls::client_config(config.ca_file.as_deref()));
        let verifier = match verifier.transpose() {
            Ok(verifier) => verifier,
            Err(error) => {
                fault("ca_file", in_full(&error));
                return None;
            }
        };
        if let Some(name) = config.server_name.as_deref().filter(|_| encrypted)
            && let Err(error) = tls::server_name(name)
        {
            fault("server_name", error.to_string());
            return None;
        }
        Some(Self {
            start_tls,
            verifier,
            server_name: config.server_name.clone(),
            connect_timeout: config.connect_timeout,
            dns: dns.is_configured().then(|| dns.clone()),
        })
    }

    fn target(&self, url: String, address: Address) -> Result<Target, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(&address.host);
        let security = match &self.verifier {
            Some(verifier) if address.ldaps || self.start_tls => {
                let verification = Verification {
                    config: Arc::clone(verifier),
                    name: tls::server_name(name)?,
                };
                if address.ldaps {
                    Security::Ldaps(verification)
                } else {
                    Security::StartTls(verification)
                }
            }
            Some(_) | None => Security::Plain,
        };
        Ok(Target {
            url,
            host: address.host,
            port: address.port,
            security,
            connect_timeout: self.connect_timeout,
            dns: self.dns.clone(),
        })
    }
}

fn listed(config: &config::LdapDirectory, dns: Dns, fault: &mut impl FnMut(&'static str, String)) -> Vec<Target> {
    if config.urls.is_empty() {
        let message = "is empty; name at least one server, such as `ldaps://ldap.example.org`, or the SRV record \
                       that does, in `srv`";
        fault("urls", message.into());
        return Vec::new();
    }
    let mut parsed = Vec::new();
    for url in &config.urls {
        match parse_url(url) {
            Some(address) => parsed.push((url, address)),
            None => fault(
                "urls",
                format!("`{url}` is neither `ldaps://host[:port]` nor `ldap://host[:port]`"),
            ),
        }
    }
    let ldaps = parsed.iter().any(|(_, address)| address.ldaps);
    let ldap = parsed.iter().any(|(_, address)| !address.ldaps);
    let Some(access) = Access::read(config, ldaps, ldap, &dns, fault) else {
        return Vec::new();
    };
    let mut targets = Vec::new();
    for (url, address) in parsed {
        match access.target(url.clone(), address) {
            Ok(target) => targets.push(target),
            Err(error) => fault("server_name", error.to_string()),
        }
    }
    targets
}

struct Address {
    ldaps: bool,
    host: String,
    port: u16,
}

/// `ldap[s]://host[:port][/]`, an IPv6 address in brackets.
fn parse_url(url: &str) -> Option<Address> {
    let (scheme, rest) = url.split_once("://")?;
    let ldaps = match scheme.to_ascii_lowercase().as_str() {
        "ldap" => false,
        "ldaps" => true,
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':')?)),
            }
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port != 0)?,
        None if ldaps => 636,
        None => 389,
    };
    let plausible = is_host(host) || host.contains(':');
    plausible.then(|| Address {
        ldaps,
        host: host.to_owned(),
        port,
    })
}

/// Whether it may be a host's name or IPv4 address.
fn is_host(text: &str) -> bool {
    let plausible = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(plausible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ldap::settings::tests::config;

    #[test]
    fn urls() {
        let read = |url: &str| parse_url(url).map(|address| (address.ldaps, address.host, address.port));
        let found = |ldaps, host: &str, port| Some((ldaps, host.to_owned(), port));
        assert_eq!(read("ldap://a.example.org"), found(false, "a.example.org", 389));
        assert_eq!(read("LDAPS://a/"), found(true, "a", 636));
        assert_eq!(read("ldap://127.0.0.1:3890"), found(false, "127.0.0.1", 3890));
        assert_eq!(read("ldaps://[::1]"), found(true, "::1", 636));
        assert_eq!(read("ldaps://[::1]:6360"), found(true, "::1", 6360));
        for url in [
            "a",
            "http://a",
            "ldap://",
            "ldap://a:0",
            "ldap://a:b",
            "ldap://a/dc=x",
            "ldap://[a]",
            "ldap://[::1]x",
        ] {
            assert_eq!(read(url), None, "{url}");
        }
    }

    fn read(more: &str) -> (Whence, String) {
        let mut faults = Vec::new();
        let whence = Whence::read(&config(more), &mut |key, message| {
            faults.push(format!("{key}: {message}"))
        });
        (whence, faults.join("\n"))
    }

    fn record(more: &str) -> Record {
        match read(more) {
            (Whence::Found(record), faults) if faults.is_empty() => record,
            (_, faults) => panic!("{faults}"),
        }
    }

    fn service(host: &str) -> Service {
        Service {
            priority: 0,
            weight: 0,
            port: 3890,
            host: host.into(),
        }
    }

    #[test]
    fn either_urls_or_a_record() {
        for (more, words) in [
            (
                "urls = [\"ldaps://a\"]\nsrv = \"_ldaps._tcp.x.org\"",
                "srv: `urls` are there as well",
            ),
            ("urls = []", "urls: is empty"),
            ("srv = \"x.org\"", "srv: is the name of no SRV record"),
            ("srv = \"_gc._tcp.x.org\"", "srv: is the name of no SRV record"),
            ("srv = \"_ldap._tcp.\"", "srv: is the name of no SRV record"),
            ("srv = \"_ldap._tcp._msdcs\"", "srv: is the name of no SRV record"),
            ("srv = \"_ldap._tcp.x org\"", "srv: is the name of no SRV record"),
            ("srv = \"_ldap._tcp.x.org\"\nstarttls = false", "starttls: "),
            (
                "srv = \"_ldap._tcp.x.org\"\ndns_servers = [\"ns\"]",
                "dns_servers: `ns` is no address",
            ),
        ] {
            let (_, faults) = read(more);
            assert!(faults.starts_with(words) && !faults.contains('\n'), "{more}: {faults}");
        }
    }

    #[test]
    fn the_record_says_how_its_servers_are_spoken_to() {
        let authority = tempfile::NamedTempFile::new().unwrap();
        let key = rcgen::generate_simple_self_signed(["ca".into()]).unwrap();
        std::fs::write(authority.path(), key.cert.pem()).unwrap();
        let ca = format!("ca_file = {:?}", authority.path());

        let plain = record("srv = \"_ldap._tcp.X.org.\"\nallow_plaintext = true");
        let target = plain.target(&service("a.elsewhere")).unwrap();
        assert_eq!(
            (plain.name.as_str(), target.url.as_str()),
            ("_ldap._tcp.x.org", "ldap://a.elsewhere:3890")
        );
        assert!(matches!(target.security, Security::Plain) && target.dns.is_none());

        let own = record(&format!(
            "srv = \"_ldap._tcp.dc._msdcs.x.org\"\n{ca}\ndns_servers = [\"127.0.0.1\"]"
        ));
        let target = own.target(&service("a.elsewhere")).unwrap();
        assert!(matches!(target.security, Security::StartTls(_)) && target.dns.is_some());

        let ldaps = record(&format!("srv = \"_ldaps._tcp.x.org\"\n{ca}"));
        let target = ldaps.target(&service("a.x.org")).unwrap();
        assert!(matches!(target.security, Security::Ldaps(_)));
        assert_eq!(target.url, "ldaps://a.x.org:3890");

        let mut nowhere = service("a.x.org");
        nowhere.port = 0;
        for odd in [nowhere, service("a b.x.org"), service("a/x.org")] {
            assert!(ldaps.target(&odd).unwrap_err().contains("is no server"));
        }
    }

    #[test]
    fn dns_alone_leads_nobody_out_of_the_domain() {
        let access = |server_name: Option<&str>| Access {
            start_tls: true,
            verifier: None,
            server_name: server_name.map(str::to_owned),
            connect_timeout: Duration::from_secs(1),
            dns: None,
        };
        let record = Record {
            name: "_ldap._tcp.dc._msdcs.x.org".into(),
            dns: Dns::read(&[]).unwrap(),
            domain: Some("x.org".into()),
            ldaps: false,
            access: access(None),
        };
        for inside in ["x.org", "dc1.x.org", "dc1.site.x.org"] {
            assert!(record.target(&service(inside)).is_ok(), "{inside}");
        }
        for outside in ["evilx.org", "x.org.evil.org", "evil.org", "org"] {
            let why = record.target(&service(outside)).unwrap_err();
            assert!(why.contains("outside of x.org"), "{outside}: {why}");
        }
    }
}
