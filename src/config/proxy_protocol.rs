//! `ldap.proxy_protocol`

use std::net::IpAddr;

use serde::Deserialize;

use super::AddressOrNet;

/// Load balancers that say in front of each connection whose it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ProxyProtocol {
    /// Their addresses. Connections from them must begin with a PROXY header, all others must not.
    pub from: Vec<AddressOrNet>,
}

impl ProxyProtocol {
    /// Whether `address` is one of the balancers'.
    pub fn lists(&self, address: IpAddr) -> bool {
        self.from.iter().any(|net| net.contains(address))
    }

    /// What is wrong with the addresses.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.from.is_empty() {
            return Some("is empty: list the balancers' addresses, or remove `proxy_protocol`");
        }
        let everybody = |net: &AddressOrNet| net.0.prefix_len() == 0;
        self.from
            .iter()
            .any(everybody)
            .then_some("lists every address there is: anybody could say to be anybody")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(list: &str) -> ProxyProtocol {
        toml::from_str(&format!("from = {list}")).unwrap()
    }

    #[test]
    fn who_is_a_balancer() {
        let listed = from(r#"["10.0.0.0/24", "2001:db8::1", "::ffff:192.0.2.0/120"]"#);
        for address in ["10.0.0.9", "::ffff:10.0.0.9", "2001:db8::1", "192.0.2.9"] {
            assert!(listed.lists(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.1.9", "2001:db8::2", "127.0.0.1"] {
            assert!(!listed.lists(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn nobody_and_everybody_are_faults() {
        assert!(from("[]").fault().is_some());
        assert!(from(r#"["10.0.0.1", "::/0"]"#).fault().is_some());
        assert_eq!(from(r#"["10.0.0.1"]"#).fault(), None);
    }
}
