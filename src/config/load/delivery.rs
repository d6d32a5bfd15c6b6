//! Validating `[[delivery]]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Reader;
use crate::config::{Config, Delivery, DeliveryKind, SmtpTls};
use crate::engine::authenticator::Kind;
use crate::engine::delivery::Route;

impl Reader<'_, '_, '_> {
    /// Makes paths absolute, and reads secrets from their files.
    pub(super) fn resolve_deliveries(&mut self, deliveries: &mut [Delivery], folder: &Path) {
        let fix = |path: &mut PathBuf| *path = folder.join(&*path);
        for (index, delivery) in deliveries.iter_mut().enumerate() {
            let index = index.to_string();
            let path = ["delivery", index.as_str()];
            [&mut delivery.ca_file, &mut delivery.password_file]
                .into_iter()
                .flatten()
                .for_each(fix);
            let (password, file) = (delivery.password.take(), delivery.password_file.take());
            delivery.password = self.secret(&path, "password", password, file.as_deref());
            for (name, file) in &mut delivery.header_files {
                fix(file);
                let at = ["delivery", index.as_str(), "header_files"];
                let read = self.secret_file(&at, name, file);
                delivery
                    .secret_headers
                    .extend(read.map(|secret| (name.clone(), secret)));
            }
        }
    }

    pub(super) fn deliveries(&mut self, config: &Config) {
        let names: Vec<String> = config.deliveries.iter().map(|delivery| delivery.name.clone()).collect();
        self.unique("delivery", &names);
        for (index, delivery) in config.deliveries.iter().enumerate() {
            let index = index.to_string();
            self.delivery(&index, delivery);
            match delivery.kind {
                DeliveryKind::Smtp => self.smtp(&index, delivery),
                DeliveryKind::Http => self.gateway(&index, delivery),
            }
        }
    }

    fn delivery(&mut self, index: &str, delivery: &Delivery) {
        let at = |key: &'static str| ["delivery", index, key];
        if !(6..=8).contains(&delivery.digits) {
            self.error(&at("digits"), "must be 6 to 8");
        }
        if !(Duration::from_secs(60)..=Route::LONGEST).contains(&delivery.life) {
            self.error(&at("life"), "must be 1m to 10m");
        }
        if !(1..=100).contains(&delivery.per_destination) || !(1..=100).contains(&delivery.per_person) {
            self.error(
                &at("per_destination"),
                "`per_destination` and `per_person` must be 1 to 100",
            );
        }
        if !(Duration::from_secs(60)..=Duration::from_secs(86_400)).contains(&delivery.window) {
            self.error(&at("window"), "must be 1m to 24h");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&delivery.timeout) {
            self.error(&at("timeout"), "must be 1s to 60s");
        }
        if !(1..=1024).contains(&delivery.in_flight) || delivery.queue > 65_536 {
            self.error(&at("in_flight"), "must be 1 to 1024, and `queue` at most 65536");
        }
        if delivery.kind == DeliveryKind::Smtp && delivery.serves() != Kind::EmailCode {
            self.error(&at("serves"), "is not \"email-code\", which is what mail serves");
        }
        let digits =
            |text: &str| !text.is_empty() && text.len() <= 15 && text.bytes().all(|octet| octet.is_ascii_digit());
        if let Some(country) = &delivery.country_code
            && (!digits(country) || country.len() > 3 || country.starts_with('0'))
        {
            self.error(&at("country_code"), "must be 1 to 3 digits without `+`, such as \"49\"");
        }
        if delivery
            .prefixes
            .iter()
            .any(|prefix| !prefix.strip_prefix('+').is_some_and(digits))
        {
            self.error(&at("prefixes"), "must each be `+` and digits, such as \"+49\"");
        }
        let numbers = delivery.serves() == Kind::GatewayCode;
        for (key, idle) in [
            ("country_code", !numbers && delivery.country_code.is_some()),
            ("prefixes", !numbers && !delivery.prefixes.is_empty()),
            ("domains", numbers && !delivery.domains.is_empty()),
        ] {
            if idle {
                let what = if numbers {
                    "e-mail addresses"
                } else {
                    "telephone numbers"
                };
                self.error(
                    &at(key),
                    format!("is about {what}, which this delivery does not send to"),
                );
            }
        }
    }

    fn smtp(&mut self, index: &str, delivery: &Delivery) {
        let at = |key: &'static str| ["delivery", index, key];
        self.foreign(
            index,
            "smtp",
            &[
                ("url", delivery.url.is_some()),
                ("body", delivery.body.is_some()),
                ("headers", !delivery.headers.is_empty()),
                ("header_files", !delivery.header_files.is_empty()),
                ("success", !delivery.success.is_empty()),
                ("success_text", delivery.success_text.is_some()),
            ],
        );
        match delivery
            .server
            .as_deref()
            .map(|server| Delivery::host_and_port(server, delivery.tls))
        {
            None => self.error(&["delivery", index], "has no `server`"),
            Some(None) => self.error(
                &at("server"),
                "must be a host, or a host and a port: mail.example.org:587",
            ),
            Some(Some((host, _))) if delivery.tls == SmtpTls::None && !is_loopback(&host) => {
                if delivery.allow_plaintext {
                    self.warn(&at("tls"), "codes travel to the mail server unencrypted");
                } else {
                    self.error(
                        &at("tls"),
                        "is \"none\", so that codes would travel unencrypted; use \"starttls\" or \"implicit\", or say allow_plaintext = true",
                    );
                }
            }
            Some(Some(_)) => {}
        }
        if delivery.from.is_none() {
            self.error(&["delivery", index], "has no `from`");
        }
        if delivery.login.is_some() != delivery.password.is_some() {
            self.error(&at("login"), "`login` and `password` (or `password_file`) go together");
        }
        if delivery.subject.chars().any(char::is_control) || delivery.subject.chars().count() > 200 {
            self.error(&at("subject"), "must be one line of at most 200 characters");
        }
    }

    fn gateway(&mut self, index: &str, delivery: &Delivery) {
        let at = |key: &'static str| ["delivery", index, key];
        self.foreign(
            index,
            "http",
            &[
                ("server", delivery.server.is_some()),
                ("login", delivery.login.is_some()),
                ("password", delivery.password.is_some()),
                ("from", delivery.from.is_some()),
            ],
        );
        let Some(url) = &delivery.url else {
            self.error(&["delivery", index], "has no `url`");
            return;
        };
        if let Some(rest) = url.strip_prefix("http://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = Delivery::host_and_port(authority, SmtpTls::None).map_or(String::new(), |(host, _)| host);
            if !is_loopback(&host) {
                if delivery.allow_plaintext {
                    self.warn(&at("url"), "codes travel to the gateway unencrypted");
                } else {
                    self.error(
                        &at("url"),
                        "is no https:// URL, so that codes would travel unencrypted; say allow_plaintext = true if that is meant",
                    );
                }
            }
        } else if !url.starts_with("https://") {
            self.error(&at("url"), "must begin with https://");
        }
        let named = |name: &String| delivery.headers.keys().any(|other| other.eq_ignore_ascii_case(name));
        if let Some(name) = delivery.header_files.keys().find(|name| named(name)) {
            self.error(&at("header_files"), format!("{name} stands in `headers` as well"));
        }
        if delivery
            .success
            .iter()
            .any(|status| !(200..=599).contains(status) || (300..400).contains(status))
        {
            self.error(
                &at("success"),
                "must be statuses from 200 to 299 or 400 to 599; redirections are not followed",
            );
        }
    }

    /// Keys that mean nothing to this kind.
    fn foreign(&mut self, index: &str, kind: &str, given: &[(&'static str, bool)]) {
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            self.error(
                &["delivery", index, key],
                format!("does nothing with kind = \"{kind}\"; remove it"),
            );
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Config, Delivery, SmtpTls};

    const GOOD: &str = r#"
[[directory]]
name = "local"
kind = "local"
ldif = "people.ldif"

[[radius]]
listen = "127.0.0.1:1812"

[[client]]
name = "vpn"
address = ["192.0.2.1"]
secret = "sixteen octets or more"

[[delivery]]
name = "mail"
kind = "smtp"
server = "mail.example.org"
from = "Codes <codes@example.org>"
login = "portcullis"
password_file = "mail.password"

[[delivery]]
name = "sms"
kind = "http"
url = "https://sms.example.org/send"
header_files = { Authorization = "sms.token" }
body = '{"to": "{destination}", "text": "{text}"}'
country_code = "49"
prefixes = ["+49"]
"#;

    fn load(text: &str) -> Result<(Config, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.toml");
        fs::write(&file, text).unwrap();
        for secret in ["mail.password", "sms.token"] {
            fs::write(folder.path().join(secret), "a secret\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(folder.path().join(secret), mode).unwrap();
        }
        let prefix = format!("{}/", folder.path().display());
        match Config::load(&file) {
            Ok((config, faults)) => Ok((config, faults.to_string().replace(&prefix, ""))),
            Err(faults) => Err(faults.to_string().replace(&prefix, "")),
        }
    }

    #[test]
    fn a_small_one_is_enough() {
        let (config, warnings) = load(GOOD).unwrap();
        assert_eq!(warnings, "");
        let [mail, sms] = config.deliveries.as_slice() else {
            panic!("two deliveries")
        };
        assert_eq!(mail.tls, SmtpTls::Starttls, "unencrypted only where it is said");
        assert!(mail.password.as_ref().unwrap().matches(b"a secret"));
        assert_eq!((mail.attributes(), sms.attributes()), (vec!["mail"], vec!["mobile"]));
        assert!(sms.secret_headers["Authorization"].matches(b"a secret"));
        assert!(!format!("{config:?}").contains("a secret"));
    }

    #[test]
    fn servers_have_hosts_and_ports() {
        let read = |text: &str| Delivery::host_and_port(text, SmtpTls::Implicit);
        assert_eq!(read("mail.example.org"), Some(("mail.example.org".into(), 465)));
        assert_eq!(read("mail.example.org:25"), Some(("mail.example.org".into(), 25)));
        assert_eq!(read("[::1]:2525"), Some(("::1".into(), 2525)));
        assert_eq!(read("::1"), Some(("::1".into(), 465)));
        for wrong in ["", ":25", "mail:port", "mail:0", "a b", "[::1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn faults_have_their_places() {
        for (from, to, fault) in [
            (
                "server = \"mail.example.org\"",
                "server = \"mail.example.org\"\ntls = \"none\"",
                "portcullis.toml:19:7: delivery[0].tls: is \"none\", so that codes would travel unencrypted",
            ),
            (
                "https://sms",
                "http://sms",
                "portcullis.toml:26:7: delivery[1].url: is no https:// URL",
            ),
            (
                "country_code = \"49\"",
                "country_code = \"+49\"",
                "delivery[1].country_code: must be 1 to 3",
            ),
            ("[\"+49\"]", "[\"49\"]", "delivery[1].prefixes: must each"),
            (
                "name = \"sms\"",
                "name = \"mail\"",
                "is the name of another [[delivery]]",
            ),
            (
                "name = \"sms\"",
                "name = \"sms\"\nlife = \"1h\"",
                "delivery[1].life: must be 1m to 10m",
            ),
            (
                "name = \"sms\"",
                "name = \"sms\"\nserver = \"x\"",
                "delivery[1].server: does nothing with kind",
            ),
            (
                "login = \"portcullis\"\n",
                "",
                "delivery[0].login: `login` and `password`",
            ),
            (
                "name = \"mail\"",
                "name = \"mail\"\nserves = \"gateway-code\"",
                "delivery[0].serves: is not",
            ),
            (
                "name = \"mail\"",
                "name = \"mail\"\nsubjet = \"x\"",
                "delivery[0].subjet: unknown key; did you mean `subject`?",
            ),
            (
                "\"sms.token\"",
                "\"sms.tokens\"",
                "delivery[1].header_files.Authorization: ",
            ),
        ] {
            let faults = load(&GOOD.replace(from, to)).map(|_| ()).unwrap_err();
            assert!(faults.contains(fault), "{to}: {faults}");
        }
        let local = GOOD.replace(
            "server = \"mail.example.org\"",
            "server = \"127.0.0.1:2525\"\ntls = \"none\"",
        );
        assert_eq!(load(&local).unwrap().1, "", "this machine needs no encryption");
    }
}
