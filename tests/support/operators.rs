//! Operators other than root: accounts that every Debian has, and people of the same names in the directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use super::portcullis::Portcullis;
use super::process::{run, text};
use super::slapd::{SUFFIX, Slapd, group_dn, user_dn};

/// The manager of users 1 to 4.
pub(crate) const MANAGER: &str = "daemon";
/// Somebody who works at the helpdesk, and is nobody's manager. Also user 1's namesake in no directory.
pub(crate) const CLERK: &str = "games";
/// A member of group 9, which stands in for managers.
pub(crate) const LEAD: &str = "mail";

/// Adds the three to a directory.
pub(crate) fn hire(directory: &Slapd) {
    let mut changes = String::new();
    for name in [MANAGER, CLERK, LEAD] {
        changes.push_str(&format!(
            "dn: uid={name},ou=people,{SUFFIX}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\n\
             sn: {name}\nuserPassword: {name}-password\n\n"
        ));
    }
    for number in 1..=4 {
        changes.push_str(&format!(
            "dn: {}\nchangetype: modify\nadd: manager\nmanager: uid={MANAGER},ou=people,{SUFFIX}\n\n",
            user_dn(number)
        ));
    }
    changes.push_str(&format!(
        "dn: {}\nchangetype: modify\nadd: member\nmember: uid={LEAD},ou=people,{SUFFIX}\n\n",
        group_dn(9)
    ));
    directory.modify(&changes);
}

/// What the configuration says of them. Their sockets are those of the manager's group.
pub(crate) const CONFIGURATION: &str = "[admin]\noperators = [\"daemon\", \"games\", \"mail\"]\ngroup = \"daemon\"\n";

/// Lets them reach the admin socket, where temporary folders are root's alone.
pub(crate) fn let_in(site: &Portcullis) {
    for folder in [site.folder().to_owned(), site.path("state")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("opening a folder");
    }
}

/// The CLI under the account of one of them.
pub(crate) fn cli_as(site: &Portcullis, account: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", account, "--regid", MANAGER, "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_portcullis")).args(arguments);
    command.arg("--socket").arg(site.path("state/admin.sock"));
    command.current_dir("/").env("NO_COLOR", "1");
    run(&mut command, "")
}

/// What the CLI tells one of them in JSON; it must succeed.
pub(crate) fn json_as(site: &Portcullis, account: &str, arguments: &[&str]) -> Value {
    let output = cli_as(site, account, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{account} {arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Asserts that one of them gets this exit code.
pub(crate) fn refused_as(site: &Portcullis, account: &str, arguments: &[&str], code: i32) {
    let output = cli_as(site, account, arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{account} {arguments:?}: {}",
        text(&output)
    );
}
