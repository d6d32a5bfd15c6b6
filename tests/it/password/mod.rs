//! Passwords changed through the LDAP front end (RFC 3062), with ldappasswd and python3-ldap3.

mod domain; // a Samba domain controller, which does not know the operation
mod openldap; // slapd with ppolicy, which does

use std::process::Output;

use crate::support::clients::{ldap_command, ldapwhoami, python, trusting};
use crate::support::portcullis::{Portcullis, find};
use crate::support::process::{run, text};
use crate::support::slapd::{Slapd, user, user_dn};

/// Who may do what through the wiki: some log in with a password alone, and some may set a new one with a passcode.
const RULES: &str = r#"
[[rule]]
name = "no changes for some"
when = { operation = ["password-change"], user = ["user00009"] }
deny = true

[[rule]]
name = "forgotten"
when = { operation = ["password-change"], user = ["user00002", "user00003", "user00004"] }
require = { any = ["passcode", { all = ["password", "totp"] }] }

[[rule]]
name = "changes take a code"
when = { operation = ["password-change"], user = ["user00005"] }
require = { all = ["password", "totp"] }

[[rule]]
name = "one factor"
when = { service = ["wiki"], user = ["user00001", "user00005", "user00006", "user00007", "user00009"] }
require = "password"
"#;

fn start() -> (Slapd, Portcullis) {
    start_before(Slapd::writable(20))
}

fn start_before(directory: Slapd) -> (Slapd, Portcullis) {
    let mut site = Portcullis::install(&directory);
    site.add("", RULES);
    site.serve();
    (directory, site)
}

/// A passcode for a user.
fn passcode(site: &Portcullis, name: &str) -> String {
    let issued = site.json(&["passcode", "issue", name]);
    let code = find(&issued, "code").and_then(|code| code.as_str());
    code.expect("a passcode").to_owned()
}

/// ldappasswd as nobody.
fn unbound(site: &Portcullis, dn: &str, old: &str, new: &str) -> Output {
    let mut command = std::process::Command::new("ldappasswd");
    command.args(["-x", "-o", "nettimeout=30", "-H", &site.ldaps_url(), "-e", "ppolicy"]);
    command.args(["-a", old, "-s", new, dn]);
    run(&mut trusting(command, site.certificates()), "")
}

/// ldappasswd as who binds.
fn bound(site: &Portcullis, dn: &str, password: &str, rest: &[&str]) -> Output {
    let command = ldap_command("ldappasswd", &site.ldaps_url(), dn, password);
    let mut command = trusting(command, site.certificates());
    command.args(["-e", "ppolicy"]).args(rest);
    run(&mut command, "")
}

/// Whether a user's password is this one, asked without us.
fn is_password(directory: &Slapd, number: usize, password: &str) -> bool {
    let output = ldapwhoami(
        &directory.tls_url(),
        &user_dn(number),
        password,
        directory.certificates(),
    );
    output.status.success()
}

/// The records about password changes of one user, oldest first: outcome, rule, reason.
fn changes(site: &Portcullis, name: &str) -> Vec<String> {
    let records = site.json(&["audit", "tail", "-n", "1000"]);
    let records = records.as_array().or_else(|| find(&records, "records")?.as_array());
    let text =
        |record: &serde_json::Value, key: &str| find(record, key).and_then(|text| text.as_str().map(str::to_owned));
    records
        .expect("a list of records")
        .iter()
        .filter(|record| text(record, "action").as_deref() == Some("password.change"))
        .filter(|record| text(record, "actor").is_some_and(|actor| actor.contains(name)))
        .map(|record| {
            let parts = ["outcome", "rule", "reason"].map(|key| text(record, key).unwrap_or_default());
            parts.join(" ").trim_end().to_owned()
        })
        .collect()
}

/// One connection of python3-ldap3: binds with the password policy request control, or without, and does what is
/// asked for; prints the result code of each step.
const SESSION: &str = "
import ssl, sys, ldap3
from ldap3 import BASE
url, authority, dn, password, asks, base = sys.argv[1:7]
tls = ldap3.Tls(ca_certs_file=authority, validate=ssl.CERT_REQUIRED)
connection = ldap3.Connection(ldap3.Server(url, tls=tls, get_info=ldap3.NONE), dn, password)
controls = [('1.3.6.1.4.1.42.2.27.8.5.1', False, None)] if asks == 'asks' else None
connection.bind(controls=controls)
policy = connection.result.get('controls', {}).get('1.3.6.1.4.1.42.2.27.8.5.1', {}).get('value', b'')
print('bind', connection.result['result'], policy[-1] if policy[2:4] == b'\\x81\\x01' else None)
for step in sys.argv[7:]:
    verb, *rest = step.split(' ')
    if verb == 'search':
        connection.search(base, '(objectClass=*)', BASE, attributes=['1.1'])
    elif verb == 'whoami':
        connection.extend.standard.who_am_i()
    elif verb == 'bind':
        connection.rebind(dn, rest[0])
    elif verb == 'change':
        old, new = rest
        connection.extend.standard.modify_password(old_password=None if old == '-' else old, new_password=new)
    elif verb == 'other':
        connection.extend.standard.modify_password(user=rest[0], new_password=rest[1])
    print(verb, connection.result['result'])
";

fn session(site: &Portcullis, dn: &str, password: &str, asks: bool, steps: &[&str]) -> Vec<String> {
    session_at(
        &site.ldaps_url(),
        site.certificates().authority.as_path(),
        dn,
        password,
        asks,
        steps,
    )
}

fn session_at(
    url: &str,
    authority: &std::path::Path,
    dn: &str,
    password: &str,
    asks: bool,
    steps: &[&str],
) -> Vec<String> {
    let authority = authority.display().to_string();
    let asks = if asks { "asks" } else { "does not" };
    let base = "dc=example,dc=org";
    let output = python(SESSION, &[&[url, &authority, dn, password, asks, base], steps].concat());
    assert!(output.status.success(), "{}", text(&output));
    text(&output).lines().map(str::to_owned).collect()
}

/// The name that a user's records carry.
fn login(number: usize) -> String {
    user(number)
}
