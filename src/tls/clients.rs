//! Clients of a listener that may show certificates, or must.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};

use super::mutual::{Ending, Insist, verifier};
use super::peer::Peer;
use super::{Identity, TlsError, provider};
use crate::clock::Timestamp;

/// What clients' certificates are verified with.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// PEM authorities.
    pub client_ca: PathBuf,
    /// PEM revocation lists of those authorities. With them, a client whose authority has no list here is
    /// refused.
    pub crl: Option<PathBuf>,
    /// Whether clients without a certificate are refused. A certificate that is shown must be good either way.
    pub required: bool,
}

/// The files, and what was read from them last.
#[derive(Debug)]
pub(super) struct Clients {
    files: ClientFiles,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    endings: Vec<Ending>,
}

impl Clients {
    pub(super) fn load(files: ClientFiles, identity: &Arc<Identity>) -> Result<Self, TlsError> {
        let current = Current::read(&files, identity)?;
        Ok(Self {
            files,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// After an error everything stays as it is.
    pub(super) fn reload(&self, identity: &Arc<Identity>) -> Result<(), TlsError> {
        let current = Current::read(&self.files, identity)?;
        self.current.store(Arc::new(current));
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    pub(super) fn trust(&self, peer: &Peer, now: Timestamp) -> bool {
        let Some((own, others)) = peer.chain().split_first() else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.millis()));
        self.current
            .load()
            .verifier
            .verify_client_cert(own, others, now)
            .is_ok()
    }

    pub(super) fn endings(&self) -> Vec<Ending> {
        self.current.load().endings.clone()
    }
}

impl Current {
    fn read(files: &ClientFiles, identity: &Arc<Identity>) -> Result<Self, TlsError> {
        let mut endings = Vec::new();
        let insist = if files.required { Insist::Always } else { Insist::Never };
        let verifier = verifier(&files.client_ca, files.crl.as_deref(), insist, &mut endings)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_cert_resolver(Arc::clone(identity) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            verifier,
            endings,
        })
    }
}
