//! Applications that bind by SASL: PLAIN, and EXTERNAL with certificates, under rules that ask for them.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::certificates::Certificates;
use crate::support::clients::{ldapwhoami, python};
use crate::support::pki::{Authority, Leaf};
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, run, text};
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

const RULES: &str = r#"
[[rule]]
name = "a certificate"
when = { service = ["certified"], user = ["user00001"] }
require = "certificate"

[[rule]]
name = "a certificate and a password"
when = { service = ["certified"], user = ["user00002"] }
require = { all = ["certificate", "password"] }

[[rule]]
name = "a certificate, a password and a code"
when = { service = ["certified"], user = ["user00003"] }
require = { all = ["certificate", "password", "totp"] }

[[rule]]
name = "others"
when = { service = ["certified"] }
require = "password"
"#;

/// An installation with a listener that asks for certificates.
struct Site {
    site: Portcullis,
    port: u16,
    authority: Authority,
}

impl Site {
    fn start(directory: &Slapd, lines: &str) -> Self {
        let mut site = Portcullis::install(directory);
        let authority = Authority::make(site.folder(), "people");
        authority.revoke(&[]);
        let port = free_port();
        let (chain, key) = (&site.certificates().chain, &site.certificates().key);
        site.add(
            &format!(
                "[[ldap]]\nname = \"certified\"\nlisten = \"127.0.0.1:{port}\"\ncertificate = {chain:?}\nkey = {key:?}\n\
                 directory = \"main\"\nclient_certificate = \"optional\"\nclient_ca = \"people.ca.pem\"\n\
                 crl = \"people.crl.pem\"\ncertificate_login = [\"san:upn\", \"subject:cn\"]\nreject_delay = \"10ms\"\n\
                 {lines}\n"
            ),
            RULES,
        );
        site.serve();
        Self { site, port, authority }
    }

    fn url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.port)
    }

    /// A certificate for that user.
    fn certificate(&self, number: usize) -> Leaf {
        self.authority.client(&user(number), &[], &[], number as u64)
    }

    /// ldapwhoami by SASL.
    fn who(&self, leaf: Option<&Leaf>, arguments: &[&str]) -> Output {
        whoami(&self.url(), self.site.certificates(), leaf, arguments)
    }

    fn external(&self, leaf: &Leaf) -> Output {
        self.who(Some(leaf), &["-Y", "EXTERNAL"])
    }

    /// A simple bind over a connection with a certificate.
    fn simple(&self, leaf: &Leaf, number: usize, typed: &str) -> Output {
        self.who(Some(leaf), &["-x", "-D", &user_dn(number), "-w", typed])
    }
}

fn whoami(url: &str, certificates: &Certificates, leaf: Option<&Leaf>, arguments: &[&str]) -> Output {
    let mut command = Command::new("ldapwhoami");
    command.env("LDAPCONF", "/dev/null").env("LDAPTLS_REQCERT", "demand");
    command.env("LDAPTLS_CACERT", &certificates.authority);
    if let Some(leaf) = leaf {
        command.env("LDAPTLS_CERT", &leaf.chain).env("LDAPTLS_KEY", &leaf.key);
    }
    let quiet: &[&str] = if arguments.contains(&"-Y") { &["-Q"] } else { &[] };
    command
        .args(["-o", "nettimeout=30", "-H", url])
        .args(quiet)
        .args(arguments);
    run(&mut command, "")
}

const REFUSED: Option<i32> = Some(49);

#[test]
fn plain_by_real_clients() {
    let directory = Slapd::start(5);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let plain = |name: &str, typed: &str, acting_as: &str| {
        let mut arguments = vec!["-Y", "PLAIN", "-U", name, "-w", typed];
        if !acting_as.is_empty() {
            arguments.extend(["-X", acting_as]);
        }
        whoami(&site.ldaps_url(), site.certificates(), None, &arguments)
    };
    let typed = |step| format!("{},{}", password(1), code(&seed, step));
    let (name, dn) = (user(1), user_dn(1));
    assert_eq!(plain(&name, &password(1), "").status.code(), REFUSED, "no code");
    let other = format!("u:{}", user(2));
    assert_eq!(
        plain(&name, &typed(0), &other).status.code(),
        REFUSED,
        "somebody else's rights"
    );
    let output = plain(&name, &typed(0), "");
    assert_eq!(text(&output).trim(), format!("dn:{dn}"));
    assert_eq!(
        plain(&name, &typed(0), "").status.code(),
        REFUSED,
        "a code is right once"
    );
    assert_eq!(directory.failures(1), 0);
    let output = plain(&dn, &typed(1), &format!("dn:{dn}"));
    assert_eq!(text(&output).trim(), format!("dn:{dn}"));
    let audit = site.audit().join("\n");
    assert!(
        audit.contains("\"via\":\"ldap/plain\"") && audit.contains("not-themselves"),
        "{audit}"
    );
    assert!(site.log().contains("mechanism=\"plain\""), "{}", site.log());
    assert!(!site.log().contains(&password(1)) && !audit.contains(&password(1)));
}

#[test]
fn a_certificate_is_one_factor() {
    let directory = Slapd::start(5);
    let site = Site::start(&directory, "");
    let leaf = site.certificate(1);
    let output = site.external(&leaf);
    assert!(output.status.success(), "{}", text(&output));
    let named = site.who(Some(&leaf), &["-Y", "EXTERNAL", "-X", "u:user00001"]);
    assert!(named.status.success(), "{}", text(&named));
    let other = site.who(Some(&leaf), &["-Y", "EXTERNAL", "-X", "u:user00002"]);
    assert_eq!(other.status.code(), REFUSED);
    // Others need something else or more.
    for number in [2, 3, 4] {
        assert_eq!(
            site.external(&site.certificate(number)).status.code(),
            REFUSED,
            "{number}"
        );
    }
    assert_eq!(
        site.external(&site.authority.client("nobody", &[], &[], 99))
            .status
            .code(),
        REFUSED
    );
    let audit = site.site.audit().join("\n");
    assert!(
        audit.contains("\"via\":\"ldap/external\"") && audit.contains("\"certificate\""),
        "{audit}"
    );
    assert!(
        audit.contains("untyped-proof") && audit.contains("unknown-user"),
        "{audit}"
    );
    // A listener that does not ask for certificates does not know the mechanism.
    let elsewhere = whoami(
        &site.site.ldaps_url(),
        site.site.certificates(),
        Some(&leaf),
        &["-Y", "EXTERNAL"],
    );
    assert!(!elsewhere.status.success(), "{}", text(&elsewhere));
}

#[test]
fn a_certificate_beside_a_password() {
    let directory = Slapd::start(5);
    let site = Site::start(&directory, "");
    let (own, others) = (site.certificate(2), site.certificate(4));
    let who = |output: &Output| text(output).trim().to_owned();
    assert_eq!(who(&site.simple(&own, 2, &password(2))), format!("dn:{}", user_dn(2)));
    assert_eq!(site.simple(&own, 2, "wrong").status.code(), REFUSED);
    assert_eq!(site.simple(&others, 2, &password(2)).status.code(), REFUSED);
    let without = ldapwhoami(&site.url(), &user_dn(2), &password(2), site.site.certificates());
    assert_eq!(without.status.code(), REFUSED);
    let plain = ["-Y", "PLAIN", "-U", &user(2), "-w", &password(2)];
    assert_eq!(who(&site.who(Some(&own), &plain)), format!("dn:{}", user_dn(2)));
    // Three factors: the code behind the password as ever.
    let (own, seed) = (site.certificate(3), site.site.enrol(&user(3)));
    assert_eq!(site.simple(&own, 3, &password(3)).status.code(), REFUSED);
    let typed = format!("{},{}", password(3), code(&seed, 0));
    assert_eq!(who(&site.simple(&own, 3, &typed)), format!("dn:{}", user_dn(3)));
    // Where the certificate is enough, a password that is typed must be right all the same.
    let own = site.certificate(1);
    assert_eq!(site.simple(&own, 1, "wrong").status.code(), REFUSED);
    assert_eq!(who(&site.simple(&own, 1, &password(1))), format!("dn:{}", user_dn(1)));
    // An application's certificate is nobody's business where no rule asks for one.
    assert_eq!(who(&site.simple(&own, 4, &password(4))), format!("dn:{}", user_dn(4)));
    let audit = site.site.audit().join("\n");
    assert!(audit.contains("\"factors\":[\"password\",\"certificate\"]"), "{audit}");
    assert!(audit.contains("missing-certificate"), "{audit}");
}

#[test]
fn certificates_that_are_not_trusted() {
    let directory = Slapd::start(2);
    let site = Site::start(&directory, "");
    let leaf = site.certificate(1);
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::make(strangers.path(), "strangers").client(&user(1), &[], &[], 1);
    assert_ne!(site.external(&stranger).status.code(), Some(0));
    // Open connections are asked again at the next bind, new ones are refused.
    let script = "
import sys, ssl, ldap3
url, ca, chain, key = sys.argv[1:]
tls = ldap3.Tls(local_private_key_file=key, local_certificate_file=chain, validate=ssl.CERT_REQUIRED, ca_certs_file=ca)
connection = ldap3.Connection(ldap3.Server(url, tls=tls), authentication=ldap3.SASL, sasl_mechanism='EXTERNAL')
print(connection.bind(), connection.result['result'])
connection = ldap3.Connection(ldap3.Server(url, tls=tls), authentication=ldap3.SASL, sasl_mechanism='EXTERNAL', sasl_credentials='u:user00001')
print(connection.bind(), connection.result['result'])
";
    let authority = site.site.certificates().authority.clone();
    let paths: [&PathBuf; 3] = [&authority, &leaf.chain, &leaf.key];
    let paths = paths.map(|path| path.display().to_string());
    let url = site.url();
    let output = python(script, &[&url, &paths[0], &paths[1], &paths[2]]);
    assert_eq!(text(&output).trim(), "True 0\nTrue 0");
    assert!(site.external(&leaf).status.success());
    site.authority.revoke(&[1]);
    let reloaded = site.site.cli(&["reload"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    assert!(!site.external(&leaf).status.success(), "revoked");
    assert!(
        !site.external(&site.certificate(1)).status.success(),
        "the serial number is"
    );
    site.authority.revoke(&[]);
    assert!(site.site.cli(&["reload"]).status.success());
    assert!(site.external(&leaf).status.success());
}

#[test]
fn who_is_barred_is_refused_with_a_certificate_too() {
    let directory = Slapd::start(2);
    let site = Site::start(&directory, "");
    let leaf = site.certificate(1);
    assert!(site.external(&leaf).status.success());
    let denied = site.site.cli(&["deny", &user(1), "--reason", "left"]);
    assert!(denied.status.success(), "{}", text(&denied));
    assert_eq!(site.external(&leaf).status.code(), REFUSED);
}

#[test]
fn configurations_that_cannot_be_meant() {
    let directory = Slapd::start(1);
    let check = |listener: &str| {
        let site = Portcullis::install(&directory);
        let (chain, key) = (&site.certificates().chain, &site.certificates().key);
        let rest = format!("listen = \"127.0.0.1:1\"\ncertificate = {chain:?}\nkey = {key:?}\ndirectory = \"main\"\n");
        site.add(&format!("[[ldap]]\nname = \"a\"\n{rest}{listener}"), RULES);
        text(&run(site.command().args(["check", "-c", "portcullis.toml"]), ""))
    };
    let said = check("client_certificate = \"required\"\n");
    assert!(said.contains("ldap[2].client_ca: is missing"), "{said}");
    let said = check("sasl_relay = [\"gssapi\", \"plain\"]\n");
    assert!(
        said.contains("ldap[2].sasl_relay") && said.contains("judged here"),
        "{said}"
    );
    let said = check("sasl_relay = [\"gssapi\"]\n");
    assert!(said.contains("warning: ldap[2].sasl_relay: GSSAPI"), "{said}");
    let rule = "asks for \"certificate\", but no [[ldap]] has `client_certificate`";
    assert!(said.contains(rule), "{said}");
}
