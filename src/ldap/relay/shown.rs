//! The certificate of a connection.

use std::net::SocketAddr;

use crate::clock;
use crate::config::CertificateName;
use crate::engine::LoginName;
use crate::ldap::listener::Shared;
use crate::ldap::sasl::certificate_login;
use crate::ldap::stream::ClientStream;
use crate::tls::peer::Peer;

/// Who showed a certificate.
pub(super) struct Shown {
    peer: Peer,
    login: Option<LoginName>,
}

impl Shown {
    pub(super) fn by(stream: &ClientStream, names: &[CertificateName]) -> Option<Box<Self>> {
        let peer = stream.peer()?;
        let login = certificate_login(&peer, names);
        Some(Box::new(Self { peer, login }))
    }

    /// The login name that it gives, if the certificate is good now: it was when TLS was negotiated, but since
    /// then it may have been revoked, or its time be over.
    pub(super) fn login(&self, shared: &Shared, address: SocketAddr) -> Option<&LoginName> {
        let told = |text| {
            tracing::info!(listener = %shared.config.name, peer = %address, subject = self.peer.subject, "{text}");
            None
        };
        let Some(login) = &self.login else {
            return told("the certificate has no name that certificate_login asks for");
        };
        match &shared.tls {
            Some(tls) if tls.trusts(&self.peer, clock::now()) => Some(login),
            Some(_) | None => told("the certificate is trusted no more"),
        }
    }
}
