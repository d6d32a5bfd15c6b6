//! TLS with certificates on both sides, and the choice of an application protocol (RFC 7301).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore, ServerConfig, version};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::peer::Peer;
use super::{Identity, Loaded, TlsError, certificates, not_pem, provider, read};
use crate::clock::Timestamp;

/// Files that a listener for TLS with certificates on both sides is made of.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its PEM private key.
    pub key: PathBuf,
    /// PEM authorities that client certificates are verified against.
    pub client_ca: PathBuf,
    /// PEM revocation lists of those authorities. With them, a client whose authority has no list here is
    /// refused.
    pub crl: Option<PathBuf>,
}

/// A protocol that may be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name in ALPN (RFC 7301 section 3.1).
    pub name: &'static [u8],
    /// Whether it wants TLS 1.3.
    pub tls13_only: bool,
    /// Whether it is what clients speak that do not say (they send no ALPN).
    pub unnamed: bool,
}

/// When something that the files hold ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The file.
    pub file: PathBuf,
    /// What it is, for people: `the certificate`, `the authority CN=…`.
    pub what: String,
    /// When it ends.
    pub at: Timestamp,
    /// Whether it is made to end soon, and is renewed every few days or weeks: a revocation list.
    pub short_lived: bool,
}

/// A server that knows its clients by certificates.
#[derive(Debug)]
pub struct MutualServer {
    files: Files,
    applications: Vec<Application>,
    current: ArcSwap<Current>,
}

/// What was loaded last.
#[derive(Debug)]
struct Current {
    /// One for each application, in the order of preference.
    configs: Vec<(Application, Arc<ServerConfig>)>,
    verifier: Arc<dyn ClientCertVerifier>,
    endings: Vec<Ending>,
    warning: Option<String>,
}

impl MutualServer {
    /// Reads the files for a server that speaks `applications`, the preferred one first. Reads files: call
    /// it at start or off the runtime.
    ///
    /// Sessions are never resumed: what a certificate may do is judged at every connection, and a protocol
    /// cannot change between two of them (RFC 9765 section 3.6).
    ///
    /// # Errors
    /// [`TlsError`], with the file, what is wrong with it and what to do.
    pub fn load(files: Files, applications: Vec<Application>) -> Result<Self, TlsError> {
        let current = Current::read(&files, &applications)?;
        Ok(Self {
            files,
            applications,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Reads all files again. New connections get what was read; see [`MutualServer::trusts`] for those
    /// that are open. After an error everything stays as it is.
    ///
    /// # Errors
    /// As for [`MutualServer::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let current = Current::read(&self.files, &self.applications)?;
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// How to go on with a handshake: the first application that both sides speak. Where there is none the
    /// handshake ends with the alert `no_application_protocol` (RFC 7301 section 3.2), unless the client
    /// named none, which the caller finds out after the handshake.
    ///
    /// `None` only for a server without any application.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let current = self.current.load();
        let speaks_13 = hello.cipher_suites().iter().copied().any(is_tls13);
        let possible = |application: &Application| speaks_13 || !application.tls13_only;
        let chosen = match hello.alpn() {
            Some(offered) => {
                let offered: Vec<&[u8]> = offered.collect();
                current
                    .configs
                    .iter()
                    .find(|(application, _)| possible(application) && offered.contains(&application.name))
            }
            None => current.configs.iter().find(|(application, _)| application.unnamed),
        };
        let (_, config) = chosen.or(current.configs.last())?;
        Some(Arc::clone(config))
    }

    /// Whether a client that was let in would be let in now: its authority may have been removed since, its
    /// certificate revoked, or its time be over.
    pub fn trusts(&self, peer: &Peer, now: Timestamp) -> bool {
        let Some((own, others)) = peer.chain().split_first() else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.millis()));
        let current = self.current.load();
        current.verifier.verify_client_cert(own, others, now).is_ok()
    }

    /// When what was loaded last ends: the server's certificate first, then authorities, then lists.
    pub fn endings(&self) -> Vec<Ending> {
        self.current.load().endings.clone()
    }

    /// What is not wrong but should not stay so: a key that others can read.
    pub fn warning(&self) -> Option<String> {
        self.current.load().warning.clone()
    }
}

impl Current {
    fn read(files: &Files, applications: &[Application]) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&files.certificate, &files.key)?;
        let warning = loaded.warning.clone();
        let mut endings = Vec::new();
        endings.extend(loaded.expires.map(|at| Ending {
            file: files.certificate.clone(),
            what: "the certificate".into(),
            at,
            short_lived: false,
        }));
        let verifier = verifier(&files.client_ca, files.crl.as_deref(), Insist::Always, &mut endings)?;
        let identity = Arc::new(Identity(ArcSwap::from_pointee(loaded)));
        let mut configs = Vec::new();
        for application in applications {
            let config = config(application, &verifier, &identity)?;
            configs.push((*application, Arc::new(config)));
        }
        Ok(Self {
            configs,
            verifier,
            endings,
            warning,
        })
    }
}

fn config(
    application: &Application,
    verifier: &Arc<dyn ClientCertVerifier>,
    identity: &Arc<Identity>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[_] = if application.tls13_only {
        &[&version::TLS13]
    } else {
        &[&version::TLS13, &version::TLS12]
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(Arc::clone(verifier))
        .with_cert_resolver(Arc::clone(identity) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![application.name.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Whether a client must show a certificate. One that is shown must be good either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insist {
    Always,
    Never,
}

/// Verifies clients by the authorities and revocation lists in these files, and tells when those end.
pub(super) fn verifier(
    client_ca: &Path,
    crl: Option<&Path>,
    insist: Insist,
    endings: &mut Vec<Ending>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities = authorities(client_ca, endings)?;
    let lists = match crl {
        Some(file) => lists(file, endings)?,
        None => Vec::new(),
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider())
        .with_crls(lists)
        .only_check_end_entity_revocation();
    let builder = match insist {
        Insist::Always => builder,
        Insist::Never => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|source| TlsError::Clients {
        file: crl.unwrap_or(client_ca).to_owned(),
        source,
    })
}

/// Suites of TLS 1.3 have numbers of their own (RFC 8446 section B.4); who offers none does not speak it.
fn is_tls13(suite: CipherSuite) -> bool {
    u16::from(suite) >> 8 == 0x13
}

fn authorities(file: &Path, endings: &mut Vec<Ending>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let (subject, ending) = authority(&certificate, file)?;
        endings.extend(ending.map(|at| Ending {
            file: file.to_owned(),
            what: format!("the authority {subject}"),
            at,
            short_lived: false,
        }));
        roots.add(certificate).map_err(|source| TlsError::Certificate {
            file: file.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// Whatever is trusted as an authority can issue certificates in any name: a client's own certificate must
/// not be trusted in that way.
fn authority(certificate: &CertificateDer<'_>, file: &Path) -> Result<(String, Option<Timestamp>), TlsError> {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else {
        return Err(TlsError::Certificate {
            file: file.to_owned(),
            source: rustls::CertificateError::BadEncoding.into(),
        });
    };
    let subject = read.subject().to_string();
    if !read.is_ca() {
        return Err(TlsError::NoAuthority {
            file: file.to_owned(),
            subject,
        });
    }
    Ok((subject, seconds(read.validity().not_after.timestamp())))
}

fn lists(file: &Path, endings: &mut Vec<Ending>) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| not_pem(file, fault))?;
    if lists.is_empty() {
        return Err(TlsError::NoList { file: file.to_owned() });
    }
    for list in &lists {
        // What rustls cannot read it refuses by itself.
        let Ok((_, read)) = CertificateRevocationList::from_der(list) else {
            continue;
        };
        let next = read.next_update().and_then(|time| seconds(time.timestamp()));
        endings.extend(next.map(|at| Ending {
            file: file.to_owned(),
            what: format!("the revocation list of {}", read.issuer()),
            at,
            short_lived: true,
        }));
    }
    Ok(lists)
}

fn seconds(since_epoch: i64) -> Option<Timestamp> {
    u64::try_from(since_epoch).ok().map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn write(folder: &Path, name: &str, authority: bool) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(if authority { 2032 } else { 2031 }, 2, 3);
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&files.0, certificate.pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn ends_are_told_and_only_authorities_are_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (client_ca, _)) =
            (write(folder.path(), "own", false), write(folder.path(), "ca", true));
        let files = Files {
            certificate: certificate.clone(),
            key,
            client_ca: client_ca.clone(),
            crl: None,
        };
        let server = MutualServer::load(files.clone(), Vec::new()).unwrap();
        let ends: Vec<String> = server
            .endings()
            .iter()
            .map(|end| format!("{} {}", end.what, end.at))
            .collect();
        assert!(ends[0].starts_with("the certificate 2031-02-03"), "{ends:?}");
        assert!(ends[1].contains("CN=ca") && ends[1].contains(" 2032-02-03"), "{ends:?}");

        let wrong = |files: Files| MutualServer::load(files, Vec::new()).unwrap_err();
        let error = wrong(Files {
            client_ca: certificate,
            ..files.clone()
        });
        assert!(matches!(&error, TlsError::NoAuthority { .. }), "{error}");
        assert!(error.to_string().contains("own.pem holds CN="), "{error}");
        let error = wrong(Files {
            crl: Some(client_ca),
            ..files
        });
        assert!(matches!(error, TlsError::NoList { .. }), "{error}");
    }
}
