//! The client's side of TLS: whom to trust, and as whom to appear.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Loaded, TlsError, certificates, provider};

/// The configuration for connections to servers: they are verified against the authorities in `ca_file`
/// (PEM), or against the system's when there is none. Reads files: call it at start or off the runtime.
///
/// # Errors
/// [`TlsError`], when the file or the system has no usable authority.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let trust = Trust::Authorities(ca_file);
    Ok(Arc::new(trusting(trust)?.with_no_client_auth()))
}

/// What a client needs for TLS where both sides show a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Whom to trust.
    pub trust: Trust<'a>,
    /// Files of the own certificate chain and its private key, both PEM.
    pub identity: Option<(&'a Path, &'a Path)>,
    /// Names of protocols to offer, most wanted first (RFC 7301); none says nothing of them.
    pub protocols: &'a [&'a [u8]],
}

/// Whom a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Servers with a certificate for their name, issued by an authority in this file (PEM), or by one of
    /// the system's.
    Authorities(Option<&'a Path>),
    /// The server with this certificate, whoever issued it, for whatever name and time.
    Fingerprint(Fingerprint),
}

impl Settings<'_> {
    /// Reads the files. Sessions are not resumed, so that what was agreed on is always agreed on anew.
    /// Call it at start or off the runtime.
    ///
    /// # Errors
    /// [`TlsError`], with the file, what is wrong with it and what to do.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = trusting(self.trust)?;
        let mut config = match self.identity {
            Some((certificate, key)) => {
                let own = Loaded::read(certificate, key)?.certified;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut octets = [0; 32];
        for (octet, from) in octets.iter_mut().zip(digest.as_ref()) {
            *octet = *from;
        }
        Self(octets)
    }
}

/// As `openssl x509 -fingerprint -sha256` writes it, with colons or without, in either case.
impl FromStr for Fingerprint {
    type Err = TlsError;
    fn from_str(text: &str) -> Result<Self, TlsError> {
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .ok()
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or_else(|| TlsError::Fingerprint(text.to_owned()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn trusting(trust: Trust<'_>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(match trust {
        Trust::Authorities(file) => builder.with_root_certificates(roots(file)?),
        Trust::Fingerprint(wanted) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { wanted, provider })),
    })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        // A system's store may hold some certificates that we cannot read; one good one is enough.
        let found = rustls_native_certs::load_native_certs();
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(TlsError::NoSystemRoots);
        }
        return Ok(roots);
    };
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|source| TlsError::Certificate {
            file: file.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// Believes one certificate. That the server has its key is verified as always.
#[derive(Debug)]
struct Pinned {
    wanted: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.wanted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_writes_them() {
        let certificate = CertificateDer::from(b"abc".to_vec());
        let text = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
        assert_eq!(text.parse::<Fingerprint>().unwrap(), Fingerprint::of(&certificate));
        for wrong in ["", "BA:78", "zz", &text[..93]] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
