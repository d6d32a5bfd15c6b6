//! Apache's mod_authnz_ldap: finds the person as its service account, binds as them, compares their group.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use data_encoding::BASE64;

use crate::support::portcullis::Portcullis;
use crate::support::process::{Process, free_port, listening, until};
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, group_dn, password, user};
use crate::support::totp::code;

#[test]
fn a_site_asks_for_password_and_code_and_the_group() {
    let mut directory = Slapd::start(30);
    let site = Portcullis::start(&directory);
    let apache = Apache::before(&site);
    let seed = site.enrol(&user(1));
    let right = format!("{},{}", password(1), code(&seed, 0));

    assert_eq!(apache.get("/", None), 401);
    assert_eq!(apache.get("/", Some((&user(1), &password(1)))), 401, "no code");
    assert_eq!(
        apache.get("/", Some((&user(1), &format!("wrong,{}", code(&seed, 0))))),
        401
    );
    assert_eq!(apache.get("/", Some(("nobody", "x"))), 401);
    let again = format!("{},{}", password(1), code(&seed, 1));
    assert_eq!(
        apache.get("/", Some((&user(1), &again))),
        200,
        "the wrong password has spent the first code"
    );
    assert_eq!(apache.get("/", Some((&user(1), &right))), 401, "a code is right once");

    // A browser sends the same password with every request, and Apache remembers that it was right.
    for _ in 0..30 {
        assert_eq!(apache.get("/", Some((&user(1), &again))), 200);
    }
    // Groups: the first group's members are those whose number ends in one.
    assert_eq!(apache.get("/staff", Some((&user(1), &again))), 200);
    let other = site.enrol(&user(2));
    let typed = format!("{},{}", password(2), code(&other, 0));
    assert_eq!(apache.get("/", Some((&user(2), &typed))), 200);
    assert_eq!(apache.get("/staff", Some((&user(2), &typed))), 401);
    assert_eq!(directory.failures(1), 0, "a wrong code never reaches the directory");
    assert_eq!(directory.failures(2), 0);

    // An outage is no wrong password: Apache says that it cannot tell.
    let third = site.enrol(&user(3));
    directory.kill();
    let typed = format!("{},{}", password(3), code(&third, 0));
    assert_eq!(apache.get("/", Some((&user(3), &typed))), 500);
    directory.start_again();
    until("people are let in again", || {
        let typed = format!("{},{}", password(3), code(&third, 1));
        apache.get("/", Some((&user(3), &typed))) == 200
    });
}

/// Apache with its own configuration and folder.
struct Apache {
    port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Apache {
    fn before(site: &Portcullis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let pages = path.join("pages");
        fs::create_dir_all(pages.join("staff")).unwrap();
        fs::write(pages.join("index.html"), "welcome\n").unwrap();
        // Its children give up root, and have to read this.
        let readable = |file: &std::path::Path| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        };
        readable(path);
        let port = free_port();
        let configuration = CONFIGURATION
            .replace("@DIR@", &path.display().to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@URL@", &format!("{}/{SUFFIX}?uid?sub", site.ldap_url()))
            .replace("@AUTHORITY@", &site.certificates().authority.display().to_string())
            .replace("@DN@", SERVICE_DN)
            .replace("@PASSWORD@", SERVICE_PASSWORD)
            .replace("@GROUP@", &group_dn(1));
        fs::write(path.join("apache.conf"), configuration).unwrap();
        let mut command = Command::new("/usr/sbin/apache2");
        command
            .args(["-D", "FOREGROUND", "-d"])
            .arg(path)
            .arg("-f")
            .arg(path.join("apache.conf"));
        let mut process = Process::start(&command, &path.join("apache.log"));
        until("Apache listens", || {
            assert!(process.ended().is_none(), "Apache ended: {}", process.log());
            listening(port)
        });
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }

    /// The status of a page, asked for with a name and a password or without.
    fn get(&self, page: &str, credentials: Option<(&str, &str)>) -> u16 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let authorization = credentials.map_or_else(String::new, |(user, password)| {
            let pair = BASE64.encode(format!("{user}:{password}").as_bytes());
            format!("Authorization: Basic {pair}\r\n")
        });
        let slash = if page == "/" { "" } else { "/" };
        let request =
            format!("GET {page}{slash} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no HTTP: {reply:?}"))
            .parse()
            .unwrap()
    }
}

const CONFIGURATION: &str = r#"
ServerName localhost
ServerRoot "@DIR@"
Listen 127.0.0.1:@PORT@
PidFile "@DIR@/apache.pid"
DefaultRuntimeDir "@DIR@"
ErrorLog "@DIR@/error.log"
LogLevel warn authnz_ldap:debug
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule auth_basic_module /usr/lib/apache2/modules/mod_auth_basic.so
LoadModule ldap_module /usr/lib/apache2/modules/mod_ldap.so
LoadModule authnz_ldap_module /usr/lib/apache2/modules/mod_authnz_ldap.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 4
MaxRequestWorkers 4
LDAPTrustedGlobalCert CA_BASE64 "@AUTHORITY@"
LDAPVerifyServerCert On
DocumentRoot "@DIR@/pages"
DirectoryIndex index.html
<Directory "@DIR@/pages">
    AuthType Basic
    AuthName "Wiki"
    AuthBasicProvider ldap
    AuthLDAPURL "@URL@" STARTTLS
    AuthLDAPBindDN "@DN@"
    AuthLDAPBindPassword "@PASSWORD@"
    Require valid-user
</Directory>
<Directory "@DIR@/pages/staff">
    Require ldap-group @GROUP@
    DirectoryIndex ../index.html
</Directory>
"#;
