//! Logins through `pam_radius_auth`, which walks a challenge as a login prompt does.

use crate::support::pam::Pam;
use crate::support::portcullis::Portcullis;
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::{code, wrong_code};

#[test]
fn a_login_prompt_walks_from_password_to_code() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let pam = Pam::new(site.radius());
    let right = code(&seed, 0);
    let (entered, shown) = pam.login(&user(1), &[&password(1), &right]);
    assert!(entered, "{shown}");
    assert!(shown.contains("Enter the 6-digit code"), "{shown}");

    let (entered, shown) = pam.login(&user(1), &[&password(1), &right]);
    assert!(!entered, "a code is right once: {shown}");
    let (entered, shown) = pam.login(&user(1), &[&password(1), &wrong_code(&seed)]);
    assert!(!entered, "{shown}");
    let (entered, shown) = pam.login(&user(1), &["wrong", &code(&seed, 1)]);
    assert!(!entered, "{shown}");
}
