//! The certificates that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::config::{AdminTls, ClientCertificate, Config, LdapListener, RadiusListener, Transport};
use crate::document::{Document, Faults};
use crate::radius::stream;
use crate::server::parts::describe;
use crate::tls::mutual::{Ending, Files, MutualServer};
use crate::tls::{ClientFiles, TlsError, TlsServer};

/// How long before its end a certificate is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The same for a revocation list: authorities renew it every few days or weeks.
const WARN_BEFORE_OF_LISTS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Those of the LDAP listeners, by the listener's name. Blocks.
pub(super) fn ldap(config: &Config, document: &Document<'_>, faults: &mut Faults) -> Vec<(String, Arc<TlsServer>)> {
    let mut loaded = Vec::new();
    for (index, listener) in config.ldap.iter().enumerate() {
        let (Some(certificate), Some(key)) = (&listener.certificate, &listener.key) else {
            continue;
        };
        let clients = client_files(listener);
        let tls = match &clients {
            Some(clients) => TlsServer::load_with_clients(certificate, key, clients.clone()),
            None => TlsServer::load(certificate, key),
        };
        match tls {
            Ok(tls) => {
                if let Some(warning) = tls.warning() {
                    faults.warn_file(certificate, warning);
                }
                warn_of_ends(&tls.endings(), clock::now(), faults);
                loaded.push((listener.name.clone(), Arc::new(tls)));
            }
            Err(error) => {
                let mut keys = vec![("key", key)];
                keys.extend(clients.iter().map(|clients| ("client_ca", &clients.client_ca)));
                let crl = clients.iter().filter_map(|clients| clients.crl.as_ref());
                keys.extend(crl.map(|crl| ("crl", crl)));
                place(document, ["ldap", &index.to_string()], &keys, error, faults);
            }
        }
    }
    loaded
}

/// That of the admin listener, if there is one. Blocks.
pub(super) fn admin(config: &Config, document: &Document<'_>, faults: &mut Faults) -> Option<Arc<TlsServer>> {
    let AdminTls {
        certificate,
        key,
        client_ca,
        ..
    } = config.admin.tls.as_ref()?;
    let tls = match client_ca {
        Some(client_ca) => {
            let clients = ClientFiles {
                client_ca: client_ca.clone(),
                crl: None,
                required: true,
            };
            TlsServer::load_with_clients(certificate, key, clients)
        }
        None => TlsServer::load(certificate, key),
    };
    match tls {
        Ok(tls) => {
            if let Some(warning) = tls.warning() {
                faults.warn_file(certificate, warning);
            }
            warn_of_ends(&tls.endings(), clock::now(), faults);
            Some(Arc::new(tls))
        }
        Err(error) => {
            let mut keys = vec![("key", key)];
            keys.extend(client_ca.iter().map(|file| ("client_ca", file)));
            place(document, ["admin", "tls"], &keys, error, faults);
            None
        }
    }
}

fn client_files(listener: &LdapListener) -> Option<ClientFiles> {
    let required = match listener.client_certificate {
        ClientCertificate::None => return None,
        ClientCertificate::Optional => false,
        ClientCertificate::Required => true,
    };
    Some(ClientFiles {
        client_ca: listener.client_ca.clone()?,
        crl: listener.crl.clone(),
        required,
    })
}

/// Those of the RADIUS listeners with TLS, by the listener's name. Blocks.
pub(super) fn radius(
    config: &Config,
    document: &Document<'_>,
    faults: &mut Faults,
) -> Vec<(String, Arc<MutualServer>)> {
    let mut loaded = Vec::new();
    for (index, listener) in config.radius.iter().enumerate() {
        let Some(files) = files(listener) else {
            continue;
        };
        match MutualServer::load(files.clone(), stream::applications(&listener.versions)) {
            Ok(tls) => {
                if let Some(warning) = tls.warning() {
                    faults.warn_file(&files.certificate, warning);
                }
                warn_of_ends(&tls.endings(), clock::now(), faults);
                loaded.push((listener.name.clone(), Arc::new(tls)));
            }
            Err(error) => {
                let mut keys: Vec<(&'static str, &PathBuf)> =
                    vec![("client_ca", &files.client_ca), ("key", &files.key)];
                keys.extend(files.crl.as_ref().map(|crl| ("crl", crl)));
                place(document, ["radius", &index.to_string()], &keys, error, faults);
            }
        }
    }
    loaded
}

fn files(listener: &RadiusListener) -> Option<Files> {
    if listener.transport != Transport::Tls {
        return None;
    }
    Some(Files {
        certificate: listener.certificate.clone()?,
        key: listener.key.clone()?,
        client_ca: listener.client_ca.clone()?,
        crl: listener.crl.clone(),
    })
}

/// Tells a fault at the key whose file it is about, or at `certificate`.
fn place(document: &Document<'_>, table: [&str; 2], keys: &[(&str, &PathBuf)], error: TlsError, faults: &mut Faults) {
    let list = matches!(error, TlsError::NoList { .. });
    let text = describe(error);
    let about = keys.iter().find(|(_, file)| text.contains(&*file.to_string_lossy()));
    // The same file may stand at several keys.
    let key = if list {
        "crl"
    } else {
        about.map_or("certificate", |(key, _)| key)
    };
    faults.0.push(document.fault(&[table[0], table[1], key], text));
}

/// An end is a warning and no error: it must not keep a changed policy from being loaded.
fn warn_of_ends(endings: &[Ending], now: Timestamp, faults: &mut Faults) {
    for ending in endings {
        let Ending { file, what, at, .. } = ending;
        let before = if ending.short_lived {
            WARN_BEFORE_OF_LISTS
        } else {
            WARN_BEFORE
        };
        if *at <= now {
            faults.warn_file(file, format!("{what} has ended at {at}; replace it and reload"));
        } else if *at <= now + before {
            faults.warn_file(file, format!("{what} ends at {at}; replace it and reload"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_warned_of_30_days_before() {
        let now = Timestamp::from_secs(1_700_000_000);
        let ending = |at: Timestamp| Ending {
            file: "ca.pem".into(),
            what: "the authority CN=Example".into(),
            at,
            short_lived: false,
        };
        let day = Duration::from_secs(24 * 3600);
        let mut faults = Faults::default();
        warn_of_ends(&[ending(now + WARN_BEFORE + day)], now, &mut faults);
        assert!(faults.0.is_empty());
        warn_of_ends(&[ending(now + day), ending(now - day)], now, &mut faults);
        assert!(!faults.any_errors());
        let lines: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        assert!(
            lines[0].contains("ca.pem") && lines[0].contains("CN=Example ends at 2023-11-15"),
            "{lines:?}"
        );
        assert!(lines[1].contains("has ended at 2023-11-13"), "{lines:?}");
    }

    #[test]
    fn revocation_lists_are_warned_of_7_days_before() {
        let now = Timestamp::from_secs(1_700_000_000);
        let warned = |days: u64| {
            let ending = Ending {
                file: "nas.crl.pem".into(),
                what: "the revocation list of CN=Example".into(),
                at: now + Duration::from_secs(days * 24 * 3600),
                short_lived: true,
            };
            let mut faults = Faults::default();
            warn_of_ends(&[ending], now, &mut faults);
            !faults.0.is_empty()
        };
        assert_eq!([warned(30), warned(8), warned(6)], [false, false, true]);
    }
}
