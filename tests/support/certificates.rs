//! Certificates for `localhost`, made anew for each test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// What the server is called.
const NAMES: [&str; 3] = ["localhost", "ldap.example.org", "127.0.0.1"];

/// PEM files of an authority and of a server certificate that it issued.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`, for [`NAMES`]. Use the address in URLs: libldap looks for
    /// the machine's own name in the certificate when it is told `localhost`.
    pub(crate) fn make(folder: &Path) -> Self {
        Self::make_for(folder, &NAMES)
    }

    /// Makes them in `folder`, for these names and addresses.
    pub(crate) fn make_for(folder: &Path, names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().expect("a key pair");
        let authority = params.self_signed(&authority_key).expect("a self-signed certificate");

        let mut leaf =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).expect("names");
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key pair");
        let issuer = Issuer::from_params(&params, &authority_key);
        let certificate = leaf.signed_by(&key, &issuer).expect("a signed certificate");

        let files = Self {
            authority: folder.join("authority.pem"),
            chain: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        fs::write(&files.authority, authority.pem()).expect("writing the authority");
        fs::write(&files.chain, certificate.pem()).expect("writing the certificate");
        fs::write(&files.key, key.serialize_pem()).expect("writing the key");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("making the key private");
        files
    }
}
