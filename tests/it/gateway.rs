//! VPN logins through ocserv and openconnect.

use crate::support::ocserv::Ocserv;
use crate::support::portcullis::Portcullis;
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::{code, wrong_code};

#[test]
fn a_vpn_login_walks_from_password_to_code() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let gateway = Ocserv::start(site.radius(), site.certificates());
    let seed = site.enrol(&user(1));
    let (entered, shown) = gateway.login(&user(1), &[&password(1), &code(&seed, 0)]);
    assert!(entered, "{shown}");
    assert!(shown.contains("Enter the 6-digit code"), "{shown}");
    let (entered, shown) = gateway.login(&user(1), &[&password(1), &wrong_code(&seed)]);
    assert!(!entered, "{shown}");
    let (entered, shown) = gateway.login(&user(1), &["wrong", &code(&seed, 1)]);
    assert!(!entered, "{shown}");
    // It signs nothing, and its entry allows that.
    let learned = site.json(&["client", "show", "vpn"]);
    assert!(learned["requests"].as_u64().unwrap() >= 6, "{learned}");
}
