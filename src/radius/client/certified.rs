//! RADIUS clients that are known by their certificates (RFC 6614 section 2.4).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::{CertificateRule, Fingerprint, IssuerName, SubjectName};
use crate::radius::client::{Client, TableError};
use crate::tls::peer::Peer;

/// Clients whose certificates are looked at.
#[derive(Debug, Default)]
pub(super) struct Certified(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    client: Arc<Client>,
    rule: CertificateRule,
    /// Where it must come from; anywhere when empty.
    nets: Vec<IpNet>,
}

/// Why no client has a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No entry fits the certificate and the address.
    #[error("no [[client]] has this certificate, or this address without `certificate`")]
    Unknown,
    /// Several entries fit equally well.
    #[error("the certificate fits the clients `{0}` and `{1}` alike")]
    Ambiguous(Arc<str>, Arc<str>),
}

/// How closely an entry names a certificate, the closest greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Issuer,
    Subject,
    Fingerprint,
}

impl Certified {
    /// # Errors
    /// [`TableError::SameCertificate`] when another entry is for the same certificates.
    pub(super) fn insert(
        &mut self,
        client: &Arc<Client>,
        rule: &CertificateRule,
        nets: Vec<IpNet>,
    ) -> Result<(), TableError> {
        let entry = Entry {
            client: Arc::clone(client),
            rule: rule.clone(),
            nets,
        };
        let rival = self.0.iter().find_map(|other| Some((other, other.rivals(&entry)?)));
        if let Some((other, what)) = rival {
            return Err(TableError::SameCertificate {
                what,
                first: Arc::clone(&other.client.name),
                second: Arc::clone(&client.name),
            });
        }
        self.0.push(entry);
        Ok(())
    }

    /// Whether a certificate could let this address in.
    pub(super) fn could_be_from(&self, source: IpAddr) -> bool {
        self.0.iter().any(|entry| entry.is_from(source))
    }

    /// The client that a certificate fits most closely: a fingerprint is closer than a name, and a name
    /// than an issuer.
    pub(super) fn find(&self, source: IpAddr, peer: &Peer) -> Result<&Arc<Client>, Stranger> {
        let mut best: Option<(Closeness, &Arc<Client>)> = None;
        let mut rival: Option<&Arc<Client>> = None;
        for entry in &self.0 {
            let Some(closeness) = entry.fits(source, peer) else {
                continue;
            };
            match best {
                Some((so_far, _)) if so_far > closeness => {}
                Some((so_far, _)) if so_far == closeness => rival = Some(&entry.client),
                Some(_) | None => {
                    best = Some((closeness, &entry.client));
                    rival = None;
                }
            }
        }
        match (best, rival) {
            (Some((_, one)), Some(other)) => Err(Stranger::Ambiguous(Arc::clone(&one.name), Arc::clone(&other.name))),
            (Some((_, one)), None) => Ok(one),
            (None, _) => Err(Stranger::Unknown),
        }
    }
}

impl Entry {
    fn is_from(&self, source: IpAddr) -> bool {
        self.nets.is_empty() || self.nets.iter().any(|net| net.contains(&source))
    }

    fn fits(&self, source: IpAddr, peer: &Peer) -> Option<Closeness> {
        let CertificateRule {
            san,
            fingerprint,
            issuer,
        } = &self.rule;
        if !self.is_from(source) {
            return None;
        }
        let mut closeness = None;
        if let Some(issuer) = issuer {
            let theirs = IssuerName::new(peer.issuer.iter().map(|(kind, value)| (kind.as_str(), value.as_str())));
            if !issuer.names(&theirs) {
                return None;
            }
            closeness = Some(Closeness::Issuer);
        }
        if !san.is_empty() {
            if !san.iter().any(|name| has(peer, name)) {
                return None;
            }
            closeness = Some(Closeness::Subject);
        }
        if !fingerprint.is_empty() {
            if !fingerprint.contains(&Fingerprint(peer.fingerprint)) {
                return None;
            }
            closeness = Some(Closeness::Fingerprint);
        }
        closeness
    }

    /// What makes two entries indistinguishable for some certificate.
    fn rivals(&self, other: &Self) -> Option<String> {
        let apart = |net: &IpNet| {
            let meets = |theirs: &IpNet| net.contains(theirs) || theirs.contains(net);
            !other.nets.iter().any(meets)
        };
        if !self.nets.is_empty() && !other.nets.is_empty() && self.nets.iter().all(apart) {
            return None;
        }
        let (mine, theirs) = (&self.rule, &other.rule);
        if let Some(shared) = mine.fingerprint.iter().find(|one| theirs.fingerprint.contains(one)) {
            return Some(shared.to_string());
        }
        let same_issuer = match (&mine.issuer, &theirs.issuer) {
            (Some(one), Some(other)) => one.names(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !mine.fingerprint.is_empty() || !theirs.fingerprint.is_empty() || !same_issuer {
            return None;
        }
        if let Some(shared) = mine.san.iter().find(|one| theirs.san.contains(one)) {
            return Some(shared.to_string());
        }
        let by_issuer_alone = mine.san.is_empty() && theirs.san.is_empty();
        mine.issuer
            .as_ref()
            .filter(|_| by_issuer_alone)
            .map(|issuer| format!("issuer {issuer}"))
    }
}

fn has(peer: &Peer, name: &SubjectName) -> bool {
    match name {
        SubjectName::Dns(name) => peer.hosts.contains(name),
        SubjectName::DnsBelow(rest) => peer.hosts.iter().any(|host| {
            let label = host.strip_suffix(rest.as_str());
            label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '*']))
        }),
        SubjectName::Ip(address) => peer.addresses.contains(address),
        SubjectName::Uri(uri) => peer.uris.contains(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::engine::texts::Texts;
    use crate::radius::client::ClientTable;
    use crate::secret::Secret;

    fn peer(host: &str, organisation: &str) -> Peer {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.distinguished_name = rcgen::DistinguishedName::new();
        ca.distinguished_name
            .push(rcgen::DnType::OrganizationName, organisation);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "CA");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let leaf = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        Peer::read(&[certificate.der().clone()]).unwrap()
    }

    fn table(entries: &[(&str, &str)]) -> Result<ClientTable, TableError> {
        let configs: Vec<config::Client> = entries
            .iter()
            .map(|(name, lines)| toml::from_str(&format!("name = '{name}'\n{lines}")).unwrap())
            .collect();
        let secret = Secret::new("a secret of the tests");
        ClientTable::build(
            configs.iter().map(|config| (config, &secret, "staff".into())),
            &Texts::default(),
        )
    }

    fn found(table: &ClientTable, source: &str, peer: &Peer) -> Result<String, Stranger> {
        let found = table.find_certified(source.parse().unwrap(), peer);
        found.map(|client| client.name.to_string())
    }

    #[test]
    fn the_closest_entry_wins_and_everything_given_must_hold() {
        let nas = peer("nas1.example.org", "Acme");
        let print = Fingerprint(nas.fingerprint);
        let table = table(&[
            ("anybody", "address = ['192.0.2.0/24']"),
            ("acme", "certificate = { issuer = 'CN=CA, O=ACME' }"),
            (
                "named",
                "certificate = { san = ['dns:nas9.example.org', 'dns:*.example.org'] }",
            ),
            (
                "at home",
                "address = ['10.0.0.1']\ncertificate = { san = ['dns:nas1.example.org'] }",
            ),
            (
                "pinned",
                &format!("address = ['2001:db8::/32']\ncertificate = {{ fingerprint = ['{print}'] }}"),
            ),
        ])
        .unwrap();
        assert_eq!(found(&table, "2001:db8::1", &nas), Ok("pinned".into()));
        assert_eq!(found(&table, "192.0.2.1", &nas), Ok("named".into()));
        assert_eq!(
            found(&table, "10.0.0.1", &nas),
            Err(Stranger::Ambiguous("named".into(), "at home".into()))
        );
        assert_eq!(
            found(&table, "192.0.2.1", &peer("a.b.example.org", "Acme")),
            Ok("acme".into())
        );
        let stranger = peer("example.org", "Other");
        assert_eq!(found(&table, "192.0.2.1", &stranger), Ok("anybody".into()));
        assert_eq!(found(&table, "::ffff:192.0.2.1", &stranger), Ok("anybody".into()));
        assert_eq!(found(&table, "192.0.3.1", &stranger), Err(Stranger::Unknown));
    }

    #[test]
    fn over_udp_an_entry_with_a_certificate_is_nobody() {
        let table = table(&[(
            "nas",
            "address = ['10.0.0.1']\ncertificate = { san = ['dns:nas1.example.org'] }",
        )])
        .unwrap();
        let (home, elsewhere) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(table.find(home).is_none());
        assert!(table.could_be(home) && !table.could_be(elsewhere));
    }

    #[test]
    fn entries_for_one_certificate_are_refused() {
        let same = |one: &str, other: &str| {
            let built = table(&[("a", one), ("b", other)]);
            built.map(|_| ()).map_err(|error| error.to_string())
        };
        let san = "certificate = { san = ['dns:a.example.org', 'dns:b.example.org'] }";
        assert_eq!(
            same(san, "certificate = { san = ['dns:b.example.org'] }").unwrap_err(),
            "the clients `a` and `b` are both for certificates with dns:b.example.org"
        );
        let issuer = "certificate = { issuer = 'CN=CA,O=Acme' }";
        assert!(same(issuer, "certificate = { issuer = 'O=acme, CN=ca' }").is_err());
        assert!(same(issuer, san).is_ok());
        let at = |address: &str| format!("address = ['{address}']\n{san}");
        assert!(same(&at("10.0.0.0/8"), &at("10.1.0.0/16")).is_err());
        assert!(same(&at("10.0.0.0/8"), &at("11.0.0.0/8")).is_ok());
    }
}
