//! TLS on both sides: the listeners' certificate, which can be exchanged while connections are open, and
//! the verification of servers that we connect to. TLS 1.2 and 1.3, by rustls with the ring provider,
//! which is named explicitly, so that no process-wide default is needed.

pub mod client;
mod clients;
pub mod mutual;
pub mod peer;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::ber::{INTEGER, Reader, SEQUENCE};
use crate::clock::Timestamp;

pub use client::client_config;
pub use clients::ClientFiles;

use clients::Clients;
use mutual::Ending;
use peer::Peer;

/// A listener's certificate and key, and the configuration that serves whichever was loaded last.
#[derive(Debug)]
pub struct TlsServer {
    certificate: PathBuf,
    key: PathBuf,
    identity: Arc<Identity>,
    config: Arc<ServerConfig>,
    /// Clients that show certificates.
    clients: Option<Clients>,
}

impl TlsServer {
    /// Reads a PEM certificate chain (the server's own first) and its PEM private key (PKCS #8, PKCS #1 or
    /// SEC 1). Reads files: call it at start or off the runtime.
    ///
    /// # Errors
    /// [`TlsError`], with the file, what is wrong with it and what to do.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let identity = Arc::new(Identity(ArcSwap::from_pointee(Loaded::read(certificate, key)?)));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            identity,
            config: Arc::new(config),
            clients: None,
        })
    }

    /// The same for a listener that asks clients for certificates and verifies those that are shown. Sessions
    /// are not resumed then: a certificate is judged at every handshake.
    ///
    /// # Errors
    /// As for [`TlsServer::load`], and for the files of authorities and revocation lists.
    pub fn load_with_clients(certificate: &Path, key: &Path, files: ClientFiles) -> Result<Self, TlsError> {
        let mut server = Self::load(certificate, key)?;
        server.clients = Some(Clients::load(files, &server.identity)?);
        Ok(server)
    }

    /// Reads all files again. Connections that are open stay as they are, new ones get the new certificate;
    /// after an error the one before stays in use.
    ///
    /// # Errors
    /// As for [`TlsServer::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = Loaded::read(&self.certificate, &self.key)?;
        if let Some(clients) = &self.clients {
            clients.reload(&self.identity)?;
        }
        self.identity.0.store(Arc::new(loaded));
        Ok(())
    }

    /// What `tokio_rustls::TlsAcceptor` wants for the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        match &self.clients {
            Some(clients) => clients.config(),
            None => Arc::clone(&self.config),
        }
    }

    /// Whether the certificate that a client showed would be accepted now: its authority may have been removed
    /// since, it may have been revoked, or its time be over.
    pub fn trusts(&self, peer: &Peer, now: Timestamp) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.trust(peer, now))
    }

    /// When what was loaded last ends.
    pub fn endings(&self) -> Vec<Ending> {
        let own = self.expires().map(|at| Ending {
            file: self.certificate.clone(),
            what: "the certificate".into(),
            at,
            short_lived: false,
        });
        let clients = self.clients.iter().flat_map(Clients::endings);
        own.into_iter().chain(clients).collect()
    }

    /// When the certificate now in use ends (RFC 5280 section 4.1.2.5); `None` when it cannot be read.
    pub fn expires(&self) -> Option<Timestamp> {
        self.identity.0.load().expires
    }

    /// What is not wrong but should not stay so: a key that others can read.
    pub fn warning(&self) -> Option<String> {
        self.identity.0.load().warning.clone()
    }
}

/// The name to verify a server's certificate for: a host name or an address.
///
/// # Errors
/// [`TlsError::ServerName`] when it is neither.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// Why TLS cannot be set up. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}; it must exist and be readable by this process", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{} is not a sound PEM file; its sections run from `-----BEGIN …` to `-----END …`", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// Where the reading ended.
        #[source]
        source: pem::Error,
    },
    /// A PEM file without a revocation list.
    #[error("{} holds no revocation list; it must have a `BEGIN X509 CRL` section", file.display())]
    NoList {
        /// The file.
        file: PathBuf,
    },
    /// A PEM file without a certificate.
    #[error("{} holds no certificate; it must have a `BEGIN CERTIFICATE` section", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A PEM file without a private key.
    #[error("{} holds no private key; it must have a `BEGIN PRIVATE KEY` section, unencrypted", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A certificate that cannot be used.
    #[error("{} holds a certificate that cannot be used", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A key of a kind that is not supported, or damaged.
    #[error("{} holds a key that cannot be used; use RSA of 2048 bits or more, ECDSA P-256/P-384 or Ed25519", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {} does not belong to the first certificate in {}; the server's own certificate must come first", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The operating system has no authorities to verify with.
    #[error("the system has no certificate authorities; install ca-certificates or set `ca_file`")]
    NoSystemRoots,
    /// A name that no certificate can be verified for.
    #[error("`{0}` is neither a host name nor an address")]
    ServerName(String),
    /// A fingerprint that is none.
    #[error("`{0}` is no SHA-256 fingerprint; write its 64 hexadecimal digits, with colons or without")]
    Fingerprint(String),
    /// An authority for clients that is none.
    #[error("{} holds {subject}, which is not a certificate authority (CA:TRUE); list the authority that issued the clients' certificates", file.display())]
    NoAuthority {
        /// The file.
        file: PathBuf,
        /// Whose certificate it is.
        subject: String,
    },
    /// Authorities or revocation lists that clients cannot be verified with.
    #[error("clients cannot be verified with {}", file.display())]
    Clients {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// The TLS library refuses our settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Hands the certificate loaded last to every new handshake.
#[derive(Debug)]
struct Identity(ArcSwap<Loaded>);

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    expires: Option<Timestamp>,
    warning: Option<String>,
}

impl Loaded {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let expires = chain.first().and_then(|own| not_after(own));
        let certified = CertifiedKey::new(chain, signing_key(key)?);
        match certified.keys_match() {
            // Some keys cannot tell their public half; then the handshake is the test.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(TlsError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                });
            }
            Err(source) => {
                return Err(TlsError::Certificate {
                    file: certificate.to_owned(),
                    source,
                });
            }
        }
        Ok(Self {
            certified: Arc::new(certified),
            expires,
            warning: open_to_others(key),
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| not_pem(file, fault))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

fn signing_key(file: &Path) -> Result<Arc<dyn rustls::sign::SigningKey>, TlsError> {
    let text = zeroize::Zeroizing::new(read(file)?);
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|fault| {
        if matches!(fault, pem::Error::NoItemsFound) {
            TlsError::NoKey { file: file.to_owned() }
        } else {
            not_pem(file, fault)
        }
    })?;
    provider()
        .key_provider
        .load_private_key(key)
        .map_err(|source| TlsError::Key {
            file: file.to_owned(),
            source,
        })
}

fn not_pem(file: &Path, source: pem::Error) -> TlsError {
    TlsError::NotPem {
        file: file.to_owned(),
        source,
    }
}

fn open_to_others(key: &Path) -> Option<String> {
    // Reading by the group is how distributions share keys (group ssl-cert).
    let mode = fs::metadata(key).ok()?.mode() & 0o7777;
    (mode & 0o027 != 0).then(|| {
        format!(
            "{} has mode {mode:04o}, so others can read or exchange the private key; run `chmod 600` on it",
            key.display()
        )
    })
}

/// notAfter of an X.509 certificate (RFC 5280 section 4.1).
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    const VERSION: u8 = 0xa0;
    let mut outer = Reader::new(certificate);
    let mut certificate = Reader::new(outer.expect(SEQUENCE).ok()?);
    let mut body = Reader::new(certificate.expect(SEQUENCE).ok()?);
    if body.peek() == Some(VERSION) {
        body.element().ok()?;
    }
    body.expect(INTEGER).ok()?; // serialNumber
    body.expect(SEQUENCE).ok()?; // signature
    body.expect(SEQUENCE).ok()?; // issuer
    let mut validity = Reader::new(body.expect(SEQUENCE).ok()?);
    validity.element().ok()?; // notBefore
    let time = validity.element().ok()?;
    der_time(time.tag, std::str::from_utf8(time.content).ok()?)
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn der_time(tag: u8, text: &str) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix('Z')?;
    let full = match tag {
        UTC_TIME if digits.get(..2)? >= "50" => format!("19{digits}"),
        UTC_TIME => format!("20{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    let seconds = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some(Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Files {
        _folder: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
    }

    fn files(name: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let key_pair = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let certificate = parameters.self_signed(&key_pair).unwrap();
        let files = Files {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            _folder: folder,
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key_pair.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let files = files("localhost");
        let server = TlsServer::load(&files.certificate, &files.key).unwrap();
        assert_eq!(server.expires().unwrap().to_string(), "2031-02-03T00:00:00.000Z");
        assert_eq!(server.warning(), None);
        assert_eq!(der_time(0x18, "20510203000000Z").unwrap().secs(), 2_558_995_200);
        assert_eq!(der_time(0x17, "garbage"), None);
    }

    #[test]
    fn a_key_that_others_can_read_is_a_warning() {
        let files = files("localhost");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
        let server = TlsServer::load(&files.certificate, &files.key).unwrap();
        assert!(server.warning().unwrap().contains("0644"));
    }

    #[test]
    fn faults_name_their_file() {
        let (one, two) = (files("localhost"), files("localhost"));
        assert!(matches!(
            TlsServer::load(&one.certificate, &two.key),
            Err(TlsError::Mismatch { .. })
        ));
        assert!(matches!(
            TlsServer::load(&one.key, &one.key),
            Err(TlsError::NoCertificate { .. })
        ));
        assert!(matches!(
            TlsServer::load(&one.certificate, &one.certificate),
            Err(TlsError::NoKey { .. })
        ));
        let missing = TlsServer::load(Path::new("/nowhere/cert.pem"), &one.key).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/cert.pem"), "{missing}");
        assert!(client_config(Some(&one.key)).is_err());
    }

    #[test]
    fn a_reload_serves_the_new_certificate_and_a_bad_one_changes_nothing() {
        let (one, two) = (files("localhost"), files("localhost"));
        let server = TlsServer::load(&one.certificate, &one.key).unwrap();
        let before = Arc::clone(&server.identity.0.load().certified);
        fs::write(&one.certificate, b"nothing").unwrap();
        assert!(server.reload().is_err());
        assert!(Arc::ptr_eq(&before, &server.identity.0.load().certified));
        fs::copy(&two.certificate, &one.certificate).unwrap();
        fs::copy(&two.key, &one.key).unwrap();
        server.reload().unwrap();
        assert_ne!(before.cert, server.identity.0.load().certified.cert);
    }

    #[test]
    fn servers_are_verified_against_the_file() {
        let files = files("localhost");
        assert!(client_config(Some(&files.certificate)).is_ok());
        assert!(server_name("ldap.example.org").is_ok());
        assert!(server_name("127.0.0.1").is_ok());
        assert!(server_name("not a name").is_err());
    }
}
