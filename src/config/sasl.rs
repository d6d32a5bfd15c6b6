//! How applications may bind besides by name and password: SASL mechanisms and certificates.

use std::fmt;

use serde::Deserialize;

use super::{LdapListener, LdapTls};

/// `ldap.client_certificate`: whether clients are asked for a certificate when TLS is negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// No.
    #[default]
    None,
    /// They are asked, and may have none.
    Optional,
    /// Without one there is no TLS.
    Required,
}

/// Something in a certificate that names its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CertificateName {
    /// subjectAltName, rfc822Name.
    #[serde(rename = "san:email")]
    SanEmail,
    /// subjectAltName, the user principal name of Active Directory.
    #[serde(rename = "san:upn")]
    SanUpn,
    /// subjectAltName, dNSName.
    #[serde(rename = "san:dns")]
    SanDns,
    /// The subject's common name, the last one.
    #[serde(rename = "subject:cn")]
    SubjectCn,
    /// The subject's user id (0.9.2342.19200300.100.1.1), the last one.
    #[serde(rename = "subject:uid")]
    SubjectUid,
    /// The whole subject, as the distinguished name of the entry.
    #[serde(rename = "subject")]
    Subject,
}

impl CertificateName {
    /// What names people nearly everywhere.
    pub(super) fn usual() -> Vec<Self> {
        vec![Self::SanUpn, Self::SanEmail, Self::SubjectUid]
    }
}

/// `ldap.sasl`: a mechanism that is judged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaslMechanism {
    /// Name and password (RFC 4616).
    Plain,
    /// The client's certificate (RFC 4422 appendix A).
    External,
}

impl SaslMechanism {
    /// Both.
    pub(super) fn all() -> Vec<Self> {
        vec![Self::Plain, Self::External]
    }
}

/// `ldap.sasl_relay`: a mechanism that the directory judges, in upper case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RelayedMechanism(String);

impl RelayedMechanism {
    /// Its name on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayedMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RelayedMechanism {
    type Error = String;

    /// RFC 4422 section 3.1: 1 to 20 letters, digits, hyphens and underscores.
    fn try_from(text: String) -> Result<Self, String> {
        let name = text.to_ascii_uppercase();
        let sound = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        if name.is_empty() || name.len() > 20 || !name.bytes().all(sound) {
            return Err(format!(
                "`{text}` is no SASL mechanism; write a name such as \"gssapi\""
            ));
        }
        match name.as_str() {
            "PLAIN" | "EXTERNAL" => Err(format!("`{text}` is judged here; write it under `sasl`")),
            "ANONYMOUS" => Err(format!(
                "`{text}` names nobody; `anonymous` says what may be done without a bind"
            )),
            _ => Ok(Self(name)),
        }
    }
}

/// What is wrong with the keys of a listener that are about this: the key, what to say, and whether it works
/// all the same.
pub(super) fn faults(listener: &LdapListener) -> Vec<(&'static str, String, bool)> {
    let mut found = Vec::new();
    let mut error = |key, text: &str| found.push((key, text.to_owned(), false));
    let asks = listener.client_certificate != ClientCertificate::None;
    if asks && listener.tls == LdapTls::None {
        error(
            "client_certificate",
            "needs TLS; say tls = \"ldaps\" or tls = \"starttls\"",
        );
    }
    if asks && listener.client_ca.is_none() {
        error(
            "client_ca",
            "is missing: the authorities that the clients' certificates are from, in a PEM file",
        );
    }
    if asks && listener.certificate_login.is_empty() {
        error(
            "certificate_login",
            "is empty, so that no certificate would name anybody",
        );
    }
    for (key, set) in [
        ("client_ca", listener.client_ca.is_some()),
        ("crl", listener.crl.is_some()),
        (
            "certificate_login",
            listener.certificate_login != CertificateName::usual(),
        ),
        ("sasl", listener.sasl == [SaslMechanism::External]),
    ] {
        if set && !asks {
            found.push((
                key,
                "does nothing without client_certificate = \"optional\" or \"required\"".into(),
                true,
            ));
        }
    }
    if !listener.sasl_relay.is_empty() {
        let names: Vec<&str> = listener.sasl_relay.iter().map(RelayedMechanism::as_str).collect();
        let text = format!(
            "{}: the directory alone judges these; only rules that ask for \"sasl\" let anybody in by them",
            names.join(", ")
        );
        found.push(("sasl_relay", text, true));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_named_as_on_the_wire() {
        let read = |text: &str| RelayedMechanism::try_from(text.to_owned());
        assert_eq!(read("gss-spnego").unwrap().as_str(), "GSS-SPNEGO");
        for wrong in ["", "plain", "External", "anonymous", "a b", "abcdefghijklmnopqrstu"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn certificates_need_tls_and_authorities() {
        let keys = |lines: &str| {
            let text = format!("name = \"wiki\"\nlisten = \"127.0.0.1:0\"\n{lines}");
            let found = faults(&toml::from_str(&text).unwrap());
            found.iter().map(|(key, _, works)| (*key, *works)).collect::<Vec<_>>()
        };
        assert_eq!(keys(""), []);
        assert_eq!(keys("client_certificate = \"optional\"\nclient_ca = \"ca.pem\""), []);
        assert_eq!(keys("client_certificate = \"required\""), [("client_ca", false)]);
        assert_eq!(
            keys("client_ca = \"ca.pem\"\ncrl = \"crl.pem\""),
            [("client_ca", true), ("crl", true)]
        );
        assert_eq!(
            keys("sasl = [\"external\"]\ncertificate_login = [\"subject\"]"),
            [("certificate_login", true), ("sasl", true)]
        );
        let without_tls = "tls = \"none\"\nclient_certificate = \"optional\"\nclient_ca = \"ca.pem\"";
        assert_eq!(keys(without_tls), [("client_certificate", false)]);
        assert_eq!(keys("sasl_relay = [\"gssapi\"]"), [("sasl_relay", true)]);
    }
}
