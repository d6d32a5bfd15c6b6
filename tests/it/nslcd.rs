//! Logins to a machine whose people are in the directory: nslcd finds them, pam_ldap lets them in.
//!
//! nslcd reads fixed paths: it runs in a mount namespace with an `/etc` and a `/run` of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::portcullis::Portcullis;
use crate::support::process::{Process, run, text, until};
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, password, user, user_dn};
use crate::support::totp::code;

#[test]
fn a_machine_finds_its_people_and_asks_them_for_a_code() {
    let mut directory = Slapd::start(20);
    directory.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: posixAccount\n-\nadd: uidNumber\nuidNumber: 70001\n-\n\
         add: gidNumber\ngidNumber: 70000\n-\nadd: homeDirectory\nhomeDirectory: /home/user00001\n\n\
         dn: cn=admins,ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: posixGroup\ncn: admins\ngidNumber: 70000\n\
         memberUid: user00001\n",
        user_dn(1)
    ));
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let machine = Machine::of(&site);

    let found = |database: &str, key: &str| text(&machine.run("getent", &[database, key], "")).trim().to_owned();
    assert_eq!(
        found("passwd", &user(1)),
        "user00001:*:70001:70000:User 00001:/home/user00001:"
    );
    assert_eq!(found("passwd", "70001"), found("passwd", &user(1)));
    assert_eq!(found("group", "admins"), "admins:*:70000:user00001");
    assert_eq!(found("passwd", "nobody-there"), "");
    assert!(text(&machine.run("id", &[&user(1)], "")).contains("70000(admins)"));

    let enter = |typed: &str| {
        let output = machine.run(
            "pamtester",
            &["machine", &user(1), "authenticate"],
            &format!("{typed}\n"),
        );
        (output.status.success(), text(&output))
    };
    let right = format!("{},{}", password(1), code(&seed, 0));
    let (entered, shown) = enter(&password(1));
    assert!(!entered, "no code: {shown}");
    let (entered, shown) = enter(&right);
    assert!(entered, "{shown}");
    let (entered, shown) = enter(&right);
    assert!(!entered, "a code is right once: {shown}");
    let (entered, shown) = enter(&format!("wrong,{}", code(&seed, 1)));
    assert!(!entered, "{shown}");
    assert_eq!(
        directory.failures(1),
        1,
        "the wrong password reached the directory once"
    );

    // Without the directory nobody is found and nobody gets in; afterwards all is as before.
    directory.kill();
    assert_eq!(found("group", "admins"), "");
    directory.start_again();
    until("people are found again", || {
        found("passwd", "70001").starts_with("user00001")
    });
}

/// nslcd in its namespace.
struct Machine {
    process: Process,
    number: u32,
    libraries: PathBuf,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn of(site: &Portcullis) -> Self {
        // tests/run unpacks the packages there: installed, they would change how this machine looks people up.
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
        let module = only(&peers, "lib/*/security/pam_ldap.so");
        let libraries = only(&peers, "lib/*/libnss_ldap.so.2").parent().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let etc = path.join("etc");
        fs::create_dir_all(etc.join("pam.d")).unwrap();
        for name in ["passwd", "group", "hosts", "services", "protocols", "ld.so.cache"] {
            fs::copy(Path::new("/etc").join(name), etc.join(name)).unwrap();
        }
        fs::write(
            etc.join("nsswitch.conf"),
            "passwd: files ldap\ngroup: files ldap\nhosts: files\n",
        )
        .unwrap();
        let module = module.display();
        let service = format!("auth required {module}\naccount required pam_permit.so\n");
        fs::write(etc.join("pam.d/machine"), service).unwrap();
        let configuration = format!(
            "uri {}\nbase {SUFFIX}\nbinddn {SERVICE_DN}\nbindpw {SERVICE_PASSWORD}\nssl start_tls\ntls_reqcert demand\n\
             tls_cacertfile {}\nbind_timelimit 5\nreconnect_sleeptime 1\nreconnect_retrytime 2\n",
            site.ldap_url(),
            site.certificates().authority.display(),
        );
        fs::write(etc.join("nslcd.conf"), configuration).unwrap();
        // It refuses a password that everybody can read.
        fs::set_permissions(etc.join("nslcd.conf"), fs::Permissions::from_mode(0o600)).unwrap();
        let program = peers.join("usr/sbin/nslcd");
        let script = format!(
            "mount --bind {} /etc && mount -t tmpfs tmpfs /run && mkdir /run/nslcd && exec {} -n -d",
            etc.display(),
            program.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        let process = Process::start(&command, &path.join("nslcd.log"));
        let mut machine = Self {
            number: process.number(),
            process,
            libraries,
            _folder: folder,
        };
        until("nslcd answers", || {
            assert!(
                machine.process.ended().is_none(),
                "nslcd ended: {}",
                machine.process.log()
            );
            machine.run("getent", &["passwd", &user(1)], "").status.success()
        });
        machine
    }

    /// Runs a program in there.
    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args(["-m", "-t", &self.number.to_string(), program])
            .args(arguments);
        run(command.env("LD_LIBRARY_PATH", &self.libraries), input)
    }
}

/// The one file below `folder` that a pattern with one `*` for a folder's name means.
fn only(folder: &Path, pattern: &str) -> PathBuf {
    let (above, below) = pattern.split_once("/*/").unwrap();
    fs::read_dir(folder.join(above))
        .unwrap_or_else(|fault| panic!("{} (tests/run makes it): {fault}", folder.display()))
        .map(|entry| entry.unwrap().path().join(below))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no {pattern} in {} (tests/run unpacks it)", folder.display()))
}
