//! An authority, and certificates of servers and clients that it issued, made anew for each test.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority with a folder for its files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
}

/// PEM files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// `CN=<name>, O=Tests`, in the file `<name>.ca.pem`.
    pub(crate) fn make(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Tests");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key pair");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate");
        let authority = Self {
            issuer,
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        fs::write(authority.file(), authority.issuer.pem()).expect("writing the authority");
        authority
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.ca.pem", self.name))
    }

    /// A certificate for `localhost` and the loopback addresses, to serve with.
    pub(crate) fn server(&self, file: &str) -> Leaf {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        self.issue(file, &names, &[], 1, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate of a client with these host names and URIs.
    pub(crate) fn client(&self, file: &str, hosts: &[&str], uris: &[&str], serial: u64) -> Leaf {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.issue(file, &hosts, uris, serial, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, file: &str, hosts: &[String], uris: &[&str], serial: u64, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params = CertificateParams::new(hosts).expect("names");
        let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("a URI"));
        params.subject_alt_names.extend(uris.iter().map(uri));
        params.distinguished_name.push(DnType::CommonName, file);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        let leaf = Leaf {
            chain: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
        };
        fs::write(&leaf.chain, certificate.pem()).expect("writing the certificate");
        fs::write(&leaf.key, key.serialize_pem()).expect("writing the key");
        fs::set_permissions(&leaf.key, fs::Permissions::from_mode(0o600)).expect("making the key private");
        leaf
    }

    /// A revocation list with these serial numbers.
    pub(crate) fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(serials.len() as u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a signed list");
        let file = self.folder.join(format!("{}.crl.pem", self.name));
        fs::write(&file, list.pem().expect("PEM")).expect("writing the list");
        file
    }
}

impl Leaf {
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let read = CertificateDer::pem_file_iter(&self.chain).expect("a PEM file");
        read.collect::<Result<_, _>>().expect("certificates")
    }
}

/// What a TLS client may offer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) tls12: bool,
}

/// A configuration that trusts `authority` and shows `leaf`.
pub(crate) fn client_config(authority: &Path, leaf: Option<&Leaf>, offer: &Offer) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let versions: &[_] = if offer.tls12 {
        &[&rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match leaf {
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_file(&leaf.key).expect("a key");
            builder.with_client_auth_cert(leaf.certificates(), key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offer.alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Negotiates TLS with a server on loopback.
pub(crate) async fn connect(config: Arc<ClientConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(config).connect(name, stream).await
}
