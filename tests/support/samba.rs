//! A private Samba domain controller of Active Directory, on a loopback address of its own: its ports cannot
//! be chosen.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::certificates::Certificates;
use super::clients::{ldap_command, trusting};
use super::process::{Process, run, text as text_of, until};

pub(crate) const SUFFIX: &str = "DC=example,DC=org";
pub(crate) const ADMIN_DN: &str = "CN=Administrator,CN=Users,DC=example,DC=org";
pub(crate) const ADMIN_PASSWORD: &str = "Adm1n.Passw0rd";

/// The server. Its files are in a folder that goes with it.
pub(crate) struct Samba {
    folder: TempDir,
    process: Process,
    address: Ipv4Addr,
    certificates: Certificates,
}

impl Samba {
    /// Makes a domain `EXAMPLE` (`example.org`) and starts its controller: some ten seconds.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let [a, b] = portcullis::clock::random::<2>();
        let address = Ipv4Addr::new(127, 83, a, b.clamp(1, 254));
        let mut provision = Command::new("/usr/bin/samba-tool");
        provision.args(["domain", "provision", "--realm=EXAMPLE.ORG", "--domain=EXAMPLE"]);
        provision.args([
            "--server-role=dc",
            "--dns-backend=NONE",
            "--host-name=dc1",
            "--use-rfc2307",
        ]);
        provision.arg(format!("--adminpass={ADMIN_PASSWORD}"));
        provision.arg(format!("--host-ip={address}"));
        provision.arg(format!("--targetdir={}", path.join("ad").display()));
        let output = run(&mut provision, "");
        assert!(output.status.success(), "samba-tool: {}", text_of(&output));

        let tls = path.join("ad/tls");
        fs::create_dir_all(&tls).expect("a folder");
        for folder in ["wb", "ntp"] {
            fs::create_dir_all(path.join("ad").join(folder)).expect("a folder");
        }
        let certificates = Certificates::make_for(&tls, &[&address.to_string()]);
        fs::set_permissions(&certificates.key, fs::Permissions::from_mode(0o600)).expect("a private key");
        let configuration = CONFIGURATION
            .replace("@DIR@", &path.display().to_string())
            .replace("@ADDRESS@", &address.to_string());
        fs::write(path.join("smb.conf"), configuration).expect("writing smb.conf");

        // It ends when its standard input does, so that it is given one that does not.
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg("sleep 100000 | exec /usr/sbin/samba -F --no-process-group -M single -s \"$0\"");
        command.arg(path.join("smb.conf"));
        let mut process = Process::start(&command, &path.join("samba.log"));
        until("samba listens", || {
            assert!(process.ended().is_none(), "samba ended: {}", process.log());
            TcpStream::connect(SocketAddr::from((address, 636))).is_ok()
        });
        Self {
            folder,
            process,
            address,
            certificates,
        }
    }

    /// `ldaps://…`
    pub(crate) fn url(&self) -> String {
        format!("ldaps://{}", self.address)
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// PEM file of the authority that its certificate is from.
    pub(crate) fn authority(&self) -> &std::path::Path {
        &self.certificates.authority
    }

    /// Applies LDIF changes as the administrator.
    pub(crate) fn modify(&self, ldif: &str) {
        let command = ldap_command("ldapmodify", &self.url(), ADMIN_DN, ADMIN_PASSWORD);
        let output = run(&mut trusting(command, &self.certificates), ldif);
        assert!(
            output.status.success(),
            "ldapmodify: {}\n{}",
            text_of(&output),
            self.process.log()
        );
    }

    /// Makes the password of a person expire, as if it had been set a year ago: nobody can do that by LDAP.
    pub(crate) fn expire(&self, dn: &str) {
        const SCRIPT: &str = "
import sys, time, ldb
from samba.samdb import SamDB
from samba.param import LoadParm
from samba.auth import system_session
file, configuration, dn = sys.argv[1:]
lp = LoadParm(); lp.load(configuration)
samdb = SamDB(url=file, lp=lp, session_info=system_session())
message = ldb.Message(ldb.Dn(samdb, dn))
long_ago = int((time.time() - 365 * 86400 + 11644473600) * 10000000)
message['pwdLastSet'] = ldb.MessageElement(str(long_ago), ldb.FLAG_MOD_REPLACE, 'pwdLastSet')
samdb.modify(message, ['local_oid:1.3.6.1.4.1.7165.4.3.20:0'])
";
        let path = self.folder.path();
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-c").arg(SCRIPT).arg(path.join("ad/private/sam.ldb"));
        command.arg(path.join("smb.conf")).arg(dn);
        let output = run(&mut command, "");
        assert!(output.status.success(), "{}", text_of(&output));
    }

    /// Locks accounts for half an hour after so many wrong passwords.
    pub(crate) fn lock_out_after(&self, failures: u32) {
        self.modify(&format!(
            "dn: {SUFFIX}\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: {failures}\n"
        ));
    }

    /// Adds a person who can log in.
    pub(crate) fn add(&self, name: &str, password: &str) -> String {
        let dn = format!("CN={name},CN=Users,{SUFFIX}");
        let quoted: Vec<u8> = format!("\"{password}\"")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let quoted = data_encoding::BASE64.encode(&quoted);
        self.modify(&format!(
            "dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\n\
             userPrincipalName: {name}@example.org\nunicodePwd:: {quoted}\nuserAccountControl: 512\n"
        ));
        dn
    }
}

const CONFIGURATION: &str = "\
[global]
netbios name = DC1
realm = EXAMPLE.ORG
workgroup = EXAMPLE
server role = active directory domain controller
server services = ldap
interfaces = @ADDRESS@/8
bind interfaces only = yes
disable netbios = yes
smb ports = 44510
binddns dir = @DIR@/ad/bind-dns
cache directory = @DIR@/ad/cache
lock directory = @DIR@/ad
pid directory = @DIR@/ad
ncalrpc dir = @DIR@/ad/ncalrpc
winbindd socket directory = @DIR@/ad/wb
ntp signd socket directory = @DIR@/ad/ntp
private dir = @DIR@/ad/private
state directory = @DIR@/ad/state
log file = @DIR@/samba-own.log
log level = 1
tls enabled = yes
tls keyfile = @DIR@/ad/tls/server.key
tls certfile = @DIR@/ad/tls/server.pem
tls cafile = @DIR@/ad/tls/authority.pem
idmap_ldb:use rfc2307 = yes
load printers = no
old password allowed period = 0
";
