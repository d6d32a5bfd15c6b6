//! LDAP clients that others wrote: ldap-utils and python3-ldap3.

use std::process::{Command, Output};

use super::certificates::Certificates;
use super::process::run;

/// One of the ldap-utils with a simple bind. The authority for TLS comes from [`trusting`].
pub(crate) fn ldap_command(program: &str, url: &str, dn: &str, password: &str) -> Command {
    let mut command = Command::new(program);
    // Nothing of the machine's own configuration, and no waiting for ever.
    command.env("LDAPNOINIT", "1");
    command.args(["-x", "-o", "nettimeout=30", "-H", url, "-D", dn, "-w", password]);
    command
}

/// Makes one of the ldap-utils believe `certificates`' authority and no other.
pub(crate) fn trusting(mut command: Command, certificates: &Certificates) -> Command {
    command.env_remove("LDAPNOINIT");
    command.env("LDAPCONF", "/dev/null");
    command.env("LDAPTLS_CACERT", &certificates.authority);
    command.env("LDAPTLS_REQCERT", "demand");
    command
}

/// Binds and asks who it is. The exit code of ldap-utils is the LDAP result code.
pub(crate) fn ldapwhoami(url: &str, dn: &str, password: &str, certificates: &Certificates) -> Output {
    run(
        &mut trusting(ldap_command("ldapwhoami", url, dn, password), certificates),
        "",
    )
}

/// Binds, then searches below `base`; further arguments are filter and attributes.
pub(crate) fn ldapsearch(
    url: &str,
    dn: &str,
    password: &str,
    certificates: &Certificates,
    base: &str,
    rest: &[&str],
) -> Output {
    let mut command = trusting(ldap_command("ldapsearch", url, dn, password), certificates);
    command.args(["-LLL", "-o", "ldif-wrap=no", "-b", base]).args(rest);
    run(&mut command, "")
}

/// Runs a Python script that may `import ldap3`; `arguments` are in `sys.argv[1:]`.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(script).args(arguments);
    run(&mut command, "")
}
