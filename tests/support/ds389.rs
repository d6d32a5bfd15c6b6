//! A private 389 Directory Server, made of the packaged templates without the installer, which wants systemd
//! and the machine's own folders.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::clients::{ldap_command, trusting};
use super::process::{Process, free_port, listening, run, text as text_of, until};

pub(crate) const SUFFIX: &str = "dc=example,dc=org";
pub(crate) const ADMIN_DN: &str = "cn=Directory Manager";
pub(crate) const ADMIN_PASSWORD: &str = "secret";
/// That password as the server keeps it: its configuration takes none in clear.
const ADMIN_HASH: &str = "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0";

/// The database behind the suffix, as entries of the configuration.
const DATABASE: &str = "\
dn: cn=userRoot,cn=ldbm database,cn=plugins,cn=config
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userRoot
nsslapd-suffix: dc=example,dc=org

dn: cn=\"dc=example,dc=org\",cn=mapping tree,cn=config
objectClass: extensibleObject
objectClass: nsMappingTree
cn: dc=example,dc=org
nsslapd-state: backend
nsslapd-backend: userRoot
";

const TEMPLATES: &str = "/usr/share/dirsrv/data";

/// The server. Its files are in a folder that goes with it.
pub(crate) struct Ds389 {
    folder: TempDir,
    _process: Process,
    tls_port: u16,
    certificates: Certificates,
}

impl Ds389 {
    /// Starts a server for `dc=example,dc=org` that fills `memberOf`, and adds the LDIF texts one after the other.
    pub(crate) fn serving(entries: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let certificates = Certificates::make(path);
        let (port, tls_port) = (free_port(), free_port());
        configure(path, &certificates, port, tls_port);

        let mut command = Command::new("/usr/sbin/ns-slapd");
        command.arg("-D").arg(path.join("conf"));
        command.arg("-i").arg(path.join("run/pid")).args(["-d", "0"]);
        let mut process = Process::start(&command, &path.join("ns-slapd.log"));
        until("ns-slapd listens", || {
            let ended = process.ended();
            assert!(ended.is_none(), "ns-slapd ended: {}", errors(path));
            listening(port) && listening(tls_port)
        });
        let server = Self {
            folder,
            _process: process,
            tls_port,
            certificates,
        };
        for text in [DATABASE].iter().chain(entries) {
            server.change(text, &["-a"]);
        }
        server
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("ldaps://{}:{}", Ipv4Addr::LOCALHOST, self.tls_port)
    }

    /// PEM file of the authority that its certificate is from.
    pub(crate) fn authority(&self) -> &Path {
        &self.certificates.authority
    }

    /// Applies LDIF changes as the directory manager.
    pub(crate) fn modify(&self, ldif: &str) {
        self.change(ldif, &[]);
    }

    fn change(&self, ldif: &str, options: &[&str]) {
        let mut command = trusting(
            ldap_command("ldapmodify", &self.tls_url(), ADMIN_DN, ADMIN_PASSWORD),
            &self.certificates,
        );
        let output = run(command.args(options), ldif);
        assert!(
            output.status.success(),
            "ldapmodify: {}\n{}",
            text_of(&output),
            errors(self.folder.path())
        );
    }
}

fn errors(path: &Path) -> String {
    fs::read_to_string(path.join("log/errors")).unwrap_or_default()
}

/// What the installer does: the templates with this server's paths, the schema, and the certificate in the
/// form that NSS reads.
fn configure(path: &Path, certificates: &Certificates, port: u16, tls_port: u16) {
    let conf = path.join("conf");
    for folder in ["conf/schema", "lock", "tmp", "ldif", "bak", "run", "inst", "log", "db"] {
        fs::create_dir_all(path.join(folder)).expect("a folder");
    }
    for (from, to) in [
        ("/etc/dirsrv/schema/99user.ldif", "schema/99user.ldif"),
        ("/etc/dirsrv/config/slapd-collations.conf", "slapd-collations.conf"),
        ("/etc/dirsrv/config/certmap.conf", "certmap.conf"),
    ] {
        fs::copy(from, conf.join(to)).unwrap_or_else(|error| panic!("copying {from}: {error}"));
    }
    let user = User::from_uid(Uid::effective())
        .expect("reading users")
        .expect("a user");
    let within = |folder: &str| path.join(folder).display().to_string();
    let mut configuration = template("template-dse.ldif");
    for (name, value) in [
        ("schema_dir", within("conf/schema")),
        ("config_dir", within("conf")),
        ("cert_dir", within("conf")),
        ("lock_dir", within("lock")),
        ("tmp_dir", within("tmp")),
        ("ldif_dir", within("ldif")),
        ("bak_dir", within("bak")),
        ("run_dir", within("run")),
        ("inst_dir", within("inst")),
        ("log_dir", within("log")),
        ("db_dir", within("db")),
        ("db_home_dir", within("db")),
        ("db_lib", "bdb".into()),
        ("fqdn", "localhost".into()),
        (
            "ds_port",
            format!("{port}\nnsslapd-security: on\nnsslapd-secureport: {tls_port}"),
        ),
        ("ds_user", user.name),
        ("rootdn", ADMIN_DN.into()),
        ("ds_passwd", ADMIN_HASH.into()),
        ("ldapi_enabled", "off".into()),
        ("ldapi_autobind", "off".into()),
        ("ldapi", within("run/socket")),
        ("ds_suffix", SUFFIX.into()),
    ] {
        configuration = configuration.replace(&format!("%{name}%"), &value);
    }
    // The first plug-in that is off after this name is the one.
    let (before, after) = configuration
        .split_once("cn: MemberOf Plugin")
        .expect("the template has the plug-in");
    let after = after.replacen("nsslapd-pluginenabled: off", "nsslapd-pluginenabled: on", 1);
    fs::write(conf.join("dse.ldif"), format!("{before}cn: MemberOf Plugin{after}")).expect("writing dse.ldif");

    let packed = path.join("server.p12");
    let database = format!("sql:{}", conf.display());
    let mut pack = Command::new("openssl");
    pack.args(["pkcs12", "-export", "-name", "Server-Cert", "-passout", "pass:"]);
    pack.arg("-in")
        .arg(&certificates.chain)
        .arg("-inkey")
        .arg(&certificates.key);
    pack.arg("-out").arg(&packed);
    done(&mut pack);
    done(Command::new("certutil").args(["-N", "--empty-password", "-d", &database]));
    let mut unpack = Command::new("pk12util");
    done(unpack.args(["-d", &database, "-W", "", "-i"]).arg(&packed));
    let mut trust = Command::new("certutil");
    trust.args(["-A", "-d", &database, "-n", "Test authority", "-t", "CT,,", "-a", "-i"]);
    done(trust.arg(&certificates.authority));
}

fn template(name: &str) -> String {
    let path = Path::new(TEMPLATES).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn done(command: &mut Command) {
    let output = run(command, "");
    assert!(
        output.status.success(),
        "{}: {}",
        command.get_program().display(),
        text_of(&output)
    );
}
