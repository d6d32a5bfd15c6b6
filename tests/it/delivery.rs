//! Codes that are sent: a mail server with STARTTLS and with TLS from the beginning, an HTTP gateway, and both when
//! they misbehave.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::mailbox::{LOGIN, Mailbox};
use crate::support::pam::Pam;
use crate::support::pki::Authority;
use crate::support::portcullis::{APPEND, DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::radclient::{Radclient, Reply, request};
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

const RULES: &str = r#"
[[rule]]
name = "a code that is sent"
when = { client = ["vpn"] }
require = { all = ["password", { any = ["totp", "email-code", "gateway-code"] }] }

[[rule]]
name = "a code by e-mail"
when = { client = ["append"] }
require = { all = ["password", "email-code"] }
"#;

/// An installation with a mail server and a gateway, not started.
struct Site {
    portcullis: Portcullis,
    directory: Slapd,
    mail: Mailbox,
    gateway: Mailbox,
}

impl Site {
    fn install(mode: &str, gateway_path: &str) -> Self {
        let directory = Slapd::writable(20);
        let portcullis = Portcullis::install(&directory);
        let folder = portcullis.folder();
        let authority = Authority::make(folder, "mail");
        let mail = Mailbox::mail(folder, mode, &authority.server("mail"));
        let gateway = Mailbox::gateway(folder);
        for (file, secret) in [("mail.password", LOGIN.1), ("sms.token", "Bearer a-gateway-token")] {
            fs::write(folder.join(file), format!("{secret}\n")).unwrap();
            fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let deliveries = format!(
            r#"
[[delivery]]
name = "mail"
kind = "smtp"
server = "localhost:{}"
tls = "{mode}"
ca_file = "{}"
login = "{}"
password_file = "mail.password"
from = "Codes <codes@example.org>"
subject = "Your code for {{service}}"

[[delivery]]
name = "sms"
kind = "http"
url = "http://127.0.0.1:{}{gateway_path}?to={{destination}}"
header_files = {{ Authorization = "sms.token" }}
headers = {{ Content-Type = "application/json" }}
body = '{{"to": "{{destination}}", "text": "{{text}}"}}'
country_code = "49"
timeout = "5s"
in_flight = 2
queue = 2
"#,
            mail.port(),
            authority.file().display(),
            LOGIN.0,
            gateway.port(),
        );
        portcullis.add(&deliveries, RULES);
        Self {
            portcullis,
            directory,
            mail,
            gateway,
        }
    }

    fn start(mode: &str, gateway_path: &str) -> Self {
        let mut site = Self::install(mode, gateway_path);
        site.portcullis.serve();
        site
    }

    fn number(&self, person: usize, number: &str) {
        let dn = user_dn(person);
        self.directory.modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: mobile\nmobile: {number}\n"
        ));
    }

    fn client(&self) -> Radclient {
        self.portcullis.radclient(DIALOG)
    }
}

const CHOICE: &str = "Code, or 0 usual 1 e-mail 2 text message:";

#[test]
fn a_code_travels_by_mail_over_starttls_and_counts_once() {
    let mut site = Site::start("starttls", "/send");
    let client = site.client();
    let first = client.login(&user(1), &password(1));
    assert_eq!(first.prompt(), CHOICE);
    let asked = client.answer(&user(1), "1", &first);
    assert_eq!(asked.prompt(), "Enter the code sent by e-mail:");
    let message = site.mail.messages().remove(0);
    assert_eq!(message["to"][0], format!("{}@example.org", user(1)));
    assert_eq!((&message["tls"], &message["login"]), (&true.into(), &true.into()));
    let mail = site.mail.last();
    for header in [
        "From: Codes <codes@example.org>",
        "Subject: Your code for vpn",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(mail.contains(header), "{header}: {mail}");
    }
    let sent = site.mail.code();
    assert!(
        !mail.split_once("\r\n\r\n").unwrap().0.contains(&sent),
        "not in a header"
    );

    // Bound to the person and the client that it was sent for, and to this dialog.
    assert_eq!(client.answer(&user(2), &sent, &asked), Reply::Reject);
    assert_eq!(
        site.portcullis.radclient(APPEND).answer(&user(1), &sent, &asked),
        Reply::Reject
    );
    assert_eq!(client.answer(&user(1), &sent, &first), Reply::Reject, "another State");

    // A restart in between changes nothing.
    site.portcullis.kill_and_serve();
    let at_once = [
        request(&user(1), &sent, state(&asked)),
        request(&user(1), &sent, state(&asked)),
    ];
    let mut replies = client.ask_at_once(&at_once);
    replies.sort_by_key(|reply| *reply != Reply::Accept);
    assert_eq!(replies, [Reply::Accept, Reply::Reject], "once, also at the same time");
    assert_eq!(client.answer(&user(1), &sent, &asked), Reply::Reject);

    // What was chosen is the usual way now.
    let again = client.login(&user(1), &password(1));
    let usual = client.answer(&user(1), "0", &again);
    assert_eq!(client.answer(&user(1), &site.mail.code(), &usual), Reply::Accept);

    let audit = site.portcullis.audit().join("\n");
    assert!(
        audit.contains("code.send") && audit.contains("u***@example.org: 250"),
        "{audit}"
    );
    let log = site.portcullis.log();
    for text in [&audit, &log] {
        assert!(
            !text.contains(&sent) && !text.contains(&format!("{}@example.org", user(1))),
            "{text}"
        );
    }
    let status = site.portcullis.json(&["status", "--probe"]).to_string();
    assert!(status.contains("\"sent\":"), "{status}");
}

fn state(reply: &Reply) -> Option<&str> {
    let state = reply.state();
    Some(state)
}

#[test]
fn a_mail_server_is_believed_only_with_its_certificate() {
    let site = Site::start("implicit", "/send");
    let client = site.client();
    let asked = client.answer(&user(1), "1", &client.login(&user(1), &password(1)));
    assert_eq!(client.answer(&user(1), &site.mail.code(), &asked), Reply::Accept);
    let tested = site
        .portcullis
        .cli(&["delivery", "test", "mail", "--to", "ana@example.org"]);
    assert!(tested.status.success(), "{}", text(&tested));
    assert_eq!(site.mail.messages().len(), 2);
    let refused = site
        .portcullis
        .cli(&["delivery", "test", "mail", "--to", "refused@example.org"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("550"), "{}", text(&refused));
    let nowhere = site.portcullis.cli(&["delivery", "test", "fax", "--to", "1"]);
    assert_eq!(nowhere.status.code(), Some(5), "{}", text(&nowhere));

    // Another authority: nothing is sent.
    let other = Authority::make(site.portcullis.folder(), "other");
    let file = site.portcullis.configuration_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("mail.ca.pem", other.file().file_name().unwrap().to_str().unwrap()),
    )
    .unwrap();
    assert!(site.portcullis.cli(&["reload"]).status.success());
    let asked = client.answer(&user(1), "1", &client.login(&user(1), &password(1)));
    assert_eq!(asked.prompt(), format!("Could not be sent. {CHOICE}"));
    assert_eq!(site.mail.messages().len(), 2);
}

#[test]
fn nothing_is_sent_without_starttls_where_it_is_wanted() {
    let site = Site::install("plain", "/send");
    let file = site.portcullis.configuration_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("tls = \"plain\"", "tls = \"starttls\"")).unwrap();
    let mut site = site;
    site.portcullis.serve();
    let client = site.client();
    let asked = client.answer(&user(1), "1", &client.login(&user(1), &password(1)));
    assert_eq!(asked.prompt(), format!("Could not be sent. {CHOICE}"));
    assert!(site.mail.messages().is_empty());
}

#[test]
fn a_gateway_gets_the_number_in_one_form_and_nothing_breaks_out() {
    let site = Site::start("starttls", "/send");
    site.number(1, "+49 (0) 170 / 123-4567");
    let client = site.client();
    let asked = client.answer(&user(1), "2", &client.login(&user(1), &password(1)));
    assert_eq!(asked.prompt(), "Enter the code sent to your phone:");
    let message = site.gateway.messages().remove(0);
    assert_eq!(message["path"], "/send?to=%2B491701234567");
    assert_eq!(message["headers"]["authorization"], "Bearer a-gateway-token");
    let body: serde_json::Value = serde_json::from_str(message["text"].as_str().unwrap()).unwrap();
    assert_eq!(body["to"], "+491701234567");
    let sent = site.gateway.code();
    assert_eq!(client.answer(&user(1), &sent, &asked), Reply::Accept);

    // What is no number, whatever is in it, gets nothing; the dialog does not tell.
    site.number(2, "0170 1234567, to: +1900 555");
    let asked = client.answer(&user(2), "2", &client.login(&user(2), &password(2)));
    assert_eq!(asked.prompt(), "Enter the code sent to your phone:");
    assert_eq!(site.gateway.messages().len(), 1);
    let audit = site.portcullis.audit().join("\n");
    assert!(audit.contains("mobile cannot be used"), "{audit}");

    // The wrong password, and nobody: the same.
    for name in [user(1), "nobody".to_owned()] {
        let asked = client.answer(&name, "2", &client.login(&name, "wrong"));
        assert_eq!(asked.prompt(), "Enter the code sent to your phone:");
        assert_eq!(client.answer(&name, &sent, &asked), Reply::Reject);
    }
    assert_eq!(site.gateway.messages().len(), 1);
    let log = site.portcullis.log();
    assert!(
        !log.contains("+491701234567") && !log.contains("a-gateway-token") && !log.contains(&sent),
        "{log}"
    );
}

#[test]
fn limits_survive_a_kill() {
    let mut site = Site::start("starttls", "/send");
    site.number(1, "0170 1234567");
    site.number(2, "+49 170 1234567");
    let client = site.client();
    let send = |number: usize| client.answer(&user(number), "2", &client.login(&user(number), &password(number)));
    for _ in 0..4 {
        assert_eq!(send(1).prompt(), "Enter the code sent to your phone:");
    }
    site.portcullis.kill_and_serve();
    // The fifth to this number, whoever it is of; and no sixth.
    assert_eq!(send(2).prompt(), "Enter the code sent to your phone:");
    assert_eq!(site.gateway.messages().len(), 5);
    for number in [1, 2] {
        assert_eq!(send(number).prompt(), "Enter the code sent to your phone:");
    }
    assert_eq!(site.gateway.messages().len(), 5);
    let audit = site.portcullis.audit().join("\n");
    assert!(
        audit.contains("too many codes were sent to this destination"),
        "{audit}"
    );
}

#[test]
fn a_gateway_that_fails_is_told_and_counts_against_nobody() {
    for (path, reason) in [("/fail", "HTTP 503"), ("/moved", "HTTP 302")] {
        let site = Site::start("starttls", path);
        site.number(1, "0170 1234567");
        let client = site.client();
        for name in [user(1), user(1), "nobody".to_owned()] {
            let asked = client.answer(&name, "2", &client.login(&name, &password(1)));
            assert_eq!(asked.prompt(), format!("Could not be sent. {CHOICE}"), "{path}");
        }
        let paths: Vec<String> = site
            .gateway
            .messages()
            .iter()
            .map(|message| message["path"].to_string())
            .collect();
        assert!(
            paths.len() == 2 && paths.iter().all(|taken| taken.contains(path)),
            "{paths:?}"
        );
        let audit = site.portcullis.audit().join("\n");
        assert!(audit.contains(reason), "{audit}");
        let strict = site.portcullis.cli(&["status", "--strict"]);
        assert_eq!(strict.status.code(), Some(1), "{}", text(&strict));
    }
}

#[test]
fn a_gateway_that_hangs_or_floods_starves_nobody() {
    let site = Site::start("starttls", "/hang");
    let seed = site.portcullis.enrol(&user(7));
    for person in 1..=6 {
        site.number(person, &format!("0170 123456{person}"));
    }
    let portcullis = &site.portcullis;
    thread::scope(|scope| {
        let waiting: Vec<_> = (1..=6)
            .map(|person| {
                scope.spawn(move || {
                    let client = portcullis.radclient(DIALOG);
                    let first = client.login(&user(person), &password(person));
                    client.answer(&user(person), "2", &first)
                })
            })
            .collect();
        // Meanwhile others log in: without a code, with one that is typed, and by mail.
        let door = portcullis.radclient(PASSWORD_ONLY);
        for person in 8..=12 {
            assert_eq!(door.login(&user(person), &password(person)), Reply::Accept);
        }
        let client = portcullis.radclient(DIALOG);
        let first = client.login(&user(7), &password(7));
        assert_eq!(client.answer(&user(7), &code(&seed, 0), &first), Reply::Accept);
        let asked = client.answer(&user(8), "1", &client.login(&user(8), &password(8)));
        assert_eq!(client.answer(&user(8), &site.mail.code(), &asked), Reply::Accept);
        // Two are on their way, two wait, and two are turned away.
        let told = format!("Could not be sent. {CHOICE}");
        let replies: Vec<Reply> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
        let texts: Vec<&str> = replies.iter().map(Reply::prompt).collect();
        let away = texts.iter().filter(|text| **text == told).count();
        assert!(away >= 2 && away < texts.len(), "{texts:?}");
    });
    until("what came of it is in the audit", || {
        site.portcullis.audit().join("\n").contains("not done within 5 seconds")
    });
}

#[test]
fn a_mail_server_that_stalls_holds_up_one_answer_for_a_moment() {
    let site = Site::start("starttls", "/send");
    site.mail.halt();
    let client = site.client();
    let asked = client.answer(&user(1), "1", &client.login(&user(1), &password(1)));
    assert_eq!(asked.prompt(), "Enter the code sent by e-mail:", "it is on its way");
    site.mail.go_on();
    until("it arrives", || site.mail.messages().len() == 1);
    assert_eq!(client.answer(&user(1), &site.mail.code(), &asked), Reply::Accept);
    until("the audit knows", || {
        site.portcullis.audit().join("\n").contains("u***@example.org: 250")
    });
}

#[test]
fn a_login_prompt_walks_from_password_to_a_code_by_mail() {
    let site = Site::start("starttls", "/send");
    let pam = Pam::new(site.portcullis.radius());
    let mut prompt = Command::new("pamtester")
        .args([pam.service(), &user(1), "authenticate"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = prompt.stdin.take().unwrap();
    writeln!(input, "{}\n1", password(1)).unwrap();
    until("the code is sent", || !site.mail.messages().is_empty());
    writeln!(input, "{}", site.mail.code()).unwrap();
    let output = prompt.wait_with_output().unwrap();
    let shown = text(&output);
    assert!(output.status.success() && shown.contains(CHOICE), "{shown}");
    assert!(shown.contains("Enter the code sent by e-mail:"), "{shown}");
}

#[test]
fn clients_that_cannot_ask_have_nothing_sent() {
    let site = Site::start("starttls", "/send");
    let client = site.portcullis.radclient(APPEND);
    assert_eq!(client.login(&user(1), &password(1)), Reply::Reject);
    assert_eq!(
        client.login(&user(1), &format!("{},123456", password(1))),
        Reply::Reject
    );
    assert!(site.mail.messages().is_empty());
}
