//! Before a Samba domain controller, which answers the operation with protocolError: it is done in its own way.

use super::session_at;
use crate::support::clients::python;
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, text};
use crate::support::samba::{ADMIN_DN, ADMIN_PASSWORD, SUFFIX, Samba};
use crate::support::slapd::Slapd;

const RULES: &str = r#"
[[rule]]
name = "domain"
when = { service = ["domain"] }
require = "password"
"#;

/// A listener before the domain; people change their passwords by an account that may reset them.
fn configuration(samba: &Samba, site: &Portcullis, port: u16) -> String {
    let (chain, key) = (&site.certificates().chain, &site.certificates().key);
    format!(
        "[[ldap]]\nname = \"domain\"\nlisten = \"127.0.0.1:{port}\"\ncertificate = {chain:?}\nkey = {key:?}\n\
         directory = \"ad\"\nreject_delay = \"10ms\"\n\
         [[directory]]\nname = \"ad\"\nkind = \"ldap\"\nserver = \"active-directory\"\nurls = [{:?}]\n\
         ca_file = {:?}\nbase_dn = {SUFFIX:?}\nbind_dn = {ADMIN_DN:?}\nbind_password = {ADMIN_PASSWORD:?}\n\
         login_attributes = [\"sAMAccountName\"]\nkey_attribute = \"objectGUID\"\nfilter = \"(objectClass=user)\"\n",
        samba.url(),
        samba.authority(),
    )
}

#[test]
fn a_password_that_must_be_changed_is_changed_in_a_session_of_ours() {
    let samba = Samba::start();
    let dn = samba.add("ana", "Passw0rd.one");
    samba.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: minPwdAge\nminPwdAge: 0\n"
    ));
    let other = Slapd::start(1);
    let mut site = Portcullis::install(&other);
    let port = free_port();
    site.add(&configuration(&samba, &site, port), RULES);
    site.serve();
    let url = format!("ldaps://127.0.0.1:{port}");
    let authority = site.certificates().authority.clone();
    let session = |password: &str, asks: bool, steps: &[&str]| session_at(&url, &authority, &dn, password, asks, steps);
    let direct = |password: &str| session_at(&samba.url(), samba.authority(), &dn, password, false, &[]);

    // Who is bound gives the old password, and goes on.
    let done = session(
        "Passw0rd.one",
        false,
        &[
            "change - Passw0rd.two",
            "change wrong Passw0rd.two",
            "change Passw0rd.one short",
            "change Passw0rd.one Passw0rd.two",
            "search",
        ],
    );
    assert_eq!(
        done,
        [
            "bind 0 None",
            "change 53",
            "change 49",
            "change 19",
            "change 0",
            "search 0"
        ]
    );
    assert_eq!(direct("Passw0rd.two"), ["bind 0 None"]);

    // At the next logon.
    samba.modify(&format!(
        "dn: {dn}\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 0\n"
    ));
    assert_eq!(direct("Passw0rd.two"), ["bind 49 None"]);
    assert_eq!(
        session("Passw0rd.two", false, &[]),
        ["bind 49 None"],
        "it would not see why"
    );
    assert_eq!(session("wrong", true, &[]), ["bind 49 None"]);
    let done = session(
        "Passw0rd.two",
        true,
        &[
            "search",
            "change - short",
            "change - Passw0rd.three",
            "search",
            "bind Passw0rd.three",
            "search",
        ],
    );
    assert_eq!(
        done,
        [
            "bind 0 2",
            "search 50",
            "change 19",
            "change 0",
            "search 8",
            "bind 0",
            "search 0"
        ]
    );
    assert_eq!(direct("Passw0rd.three"), ["bind 0 None"]);
    assert_eq!(direct("Passw0rd.one"), ["bind 49 None"]);

    // An expired password is changed by who knows it, although nobody can bind with it.
    samba.expire(&dn);
    assert_eq!(direct("Passw0rd.three"), ["bind 49 None"]);
    let done = session(
        "Passw0rd.three",
        true,
        &["search", "change Passw0rd.three Passw0rd.four"],
    );
    assert_eq!(done, ["bind 0 2", "search 50", "change 0"]);

    // Who is not bound does not find out who there is, whatever octets are sent.
    let nobody = dn.replace("ana", "nobody");
    for (old, new, expected) in [
        ("wrong", "Passw0rd.five", "49"),
        ("\\xff", "Passw0rd.five", "49"),
        ("wrong", "\\xff", "53"),
    ] {
        let unbound = |dn: &str| text(&python(UNBOUND, &[&url, dn, old, new])).trim().to_owned();
        assert_eq!(
            (unbound(&nobody), unbound(&dn)),
            (expected.to_owned(), expected.to_owned()),
            "{old} {new}"
        );
    }

    // Nor who is locked out by the domain, nor that a password would be the right one.
    samba.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: 2\n"
    ));
    for _ in 0..3 {
        assert_eq!(direct("wrong"), ["bind 49 None"]);
    }
    assert_eq!(direct("Passw0rd.four"), ["bind 49 None"], "locked out");
    let unbound = |old: &str| {
        text(&python(UNBOUND, &[&url, &dn, old, "Passw0rd.five"]))
            .trim()
            .to_owned()
    };
    assert_eq!(
        (unbound("wrong"), unbound("Passw0rd.four")),
        ("49".to_owned(), "49".to_owned())
    );
}

/// A change by a client that is not bound; the passwords are octets, as Python escapes them. Prints the result.
const UNBOUND: &str = "
import ssl, sys, ldap3
url, dn, old, new = sys.argv[1:5]
octets = lambda text: text.encode().decode('unicode_escape').encode('latin-1')
tls = ldap3.Tls(validate=ssl.CERT_NONE)
connection = ldap3.Connection(ldap3.Server(url, tls=tls, get_info=ldap3.NONE))
connection.open()
def field(tag, value):
    return bytes([tag, len(value)]) + value
value = field(0x80, dn.encode()) + field(0x81, octets(old)) + field(0x82, octets(new))
connection.extended('1.3.6.1.4.1.4203.1.11.1', b'\\x30' + bytes([len(value)]) + value, no_encode=True)
print(connection.result['result'])
";
