//! Enrolment at first login, with the programs that people sit before, and codes by oathtool.

use std::fs;

use crate::support::ocserv::Ocserv;
use crate::support::pam::Pam;
use crate::support::pki::Authority;
use crate::support::portcullis::{APPEND, DIALOG, PASSWORD_ONLY, Portcullis, find};
use crate::support::process::{free_port, run, text};
use crate::support::radclient::{Radclient, Reply, request};
use crate::support::radsec_peers::Proxy;
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::{code, consecutive, wrong_code};

const NOW: &str = r#"
[[rule]]
name = "enrol now"
when = { service = ["vpn", "append", "wiki"] }
require = { all = ["password", { any = ["totp", "recovery-code"] }] }
enrol = "now"
"#;

fn site(directory: &Slapd, policy: &str) -> Portcullis {
    let mut site = Portcullis::install(directory);
    site.write_policy(policy);
    site.serve();
    site
}

fn anywhere() -> String {
    format!("{NOW}enrol_unprotected = true\n")
}

/// The key of a prompt, as somebody types it into an app.
fn key(shown: &str) -> Option<String> {
    let (_, rest) = shown.split_once("Add to app: ")?;
    let (key, _) = rest.split_once(" then enter its code:")?;
    Some(key.replace(' ', ""))
}

/// Both codes, from the challenge that shows the key.
fn confirm(client: &Radclient, user: &str, shown: &Reply) -> (String, Reply) {
    let seed = key(shown.prompt()).unwrap_or_else(|| panic!("no key in {shown:?}"));
    let (first, second) = consecutive(&seed);
    let next = client.answer(user, &first, shown);
    assert_eq!(next.prompt(), "Now the next code:");
    let end = client.answer(user, &second, &next);
    (seed, end)
}

fn tokens(site: &Portcullis, user: &str) -> usize {
    let shown = site.json(&["user", "show", user]);
    find(&shown, "tokens").unwrap().as_array().unwrap().len()
}

#[test]
fn a_key_crosses_tls_and_nothing_else() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::install(&directory);
    let authority = Authority::make(site.folder(), "radsec");
    authority.server("radsec");
    let port = free_port();
    let before = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&format!(
        "{before}\n[[radius]]\nname = \"radsec\"\ntransport = \"tls\"\nlisten = \"127.0.0.1:{port}\"\n\
         certificate = \"radsec.pem\"\nkey = \"radsec.key\"\nclient_ca = \"radsec.ca.pem\"\n\
         [[client]]\nname = \"gateway\"\nservice = \"vpn\"\nprofile = \"dialog\"\ndirectory = \"main\"\n\
         certificate = {{ san = [\"dns:gateway.example.org\"] }}\n"
    ));
    site.write_policy(NOW);
    site.serve();

    let clear = site.radclient(DIALOG);
    let usual = clear.login(&user(1), &password(1));
    assert_eq!(usual.prompt(), "Enter the 6-digit code");
    assert_eq!(clear.answer(&user(1), "000000", &usual), Reply::Reject);
    let last = site.audit().pop().unwrap();
    assert!(last.contains("enrol-unprotected"), "{last}");
    assert!(site.log().contains("enrol_unprotected = true"), "advice is in the log");

    let leaf = authority.client("gateway", &["gateway.example.org"], &[], 5);
    let proxy = Proxy::radsecproxy(port, &authority, &leaf);
    let gateway = proxy.radclient();
    let shown = gateway.login(&user(1), &password(1));
    let (seed, end) = confirm(&gateway, &user(1), &shown);
    assert_eq!(end, Reply::Accept);
    assert_eq!(tokens(&site, &user(1)), 1);
    let audit = site.audit().join("\n");
    assert!(audit.contains("token.enrol"), "{audit}");
    assert!(
        !audit.contains(&seed) && !site.log().contains(&seed[..8]),
        "the key is written nowhere"
    );

    // From now on the code is asked for, over any transport; those that enrolled it are spent.
    let asked = clear.login(&user(1), &password(1));
    assert_eq!(asked.prompt(), "Enter the 6-digit code");
    assert_eq!(clear.answer(&user(1), &code(&seed, 0), &asked), Reply::Reject);
    // A wrong password and the name of nobody are asked the same.
    let guessed = gateway.login(&user(2), "guess");
    assert_eq!(guessed.prompt(), "Enter the 6-digit code");
    assert_eq!(gateway.answer(&user(2), "000000", &guessed), Reply::Reject);
    let nobody = gateway.login("nobody-at-all", "guess");
    assert_eq!(nobody.prompt(), "Enter the 6-digit code");
    assert_eq!(gateway.answer("nobody-at-all", "000000", &nobody), Reply::Reject);
}

#[test]
fn a_login_prompt_walks_through_it() {
    let directory = Slapd::start(20);
    let site = site(&directory, &anywhere());
    let pam = Pam::new(site.radius());
    let (mut seed, mut next) = (String::new(), String::new());
    let (entered, shown) = pam.converse(&user(1), |screen| {
        if let Some(shown) = key(screen) {
            let (first, second) = consecutive(&shown);
            (seed, next) = (shown, second);
            return Some(first);
        }
        Some(match screen.contains("Now the next code:") {
            true => next.clone(),
            false => password(1),
        })
    });
    assert!(entered, "{shown}");
    assert_eq!((seed.len(), tokens(&site, &user(1))), (32, 1), "{shown}");
    // Once there is a token, it is asked for: another token of the person's can be used meanwhile.
    let other = site.enrol(&user(1));
    let (entered, shown) = pam.login(&user(1), &[&password(1), &code(&other, 0)]);
    assert!(entered && shown.contains("Enter the 6-digit code"), "{shown}");
    // Somebody who mistypes three times is not let in, and has no token.
    let (entered, shown) = pam.converse(&user(2), |screen| {
        Some(key(screen).map_or_else(|| password(2), |seed| wrong_code(&seed)))
    });
    assert!(!entered, "{shown}");
    assert_eq!(
        (shown.matches("Add to app:").count(), tokens(&site, &user(2))),
        (3, 0),
        "{shown}"
    );
}

#[test]
fn a_vpn_gateway_walks_through_it() {
    let directory = Slapd::start(20);
    let site = site(&directory, &anywhere());
    let gateway = Ocserv::start(site.radius(), site.certificates());
    let mut next = None;
    let (entered, shown) = gateway.converse(&user(1), |screen| match key(screen) {
        Some(shown) => {
            let (first, second) = consecutive(&shown);
            next = Some(second);
            first
        }
        None => next.clone().unwrap_or_else(|| password(1)),
    });
    assert!(entered && shown.contains("Now the next code:"), "{shown}");
    assert_eq!(tokens(&site, &user(1)), 1);
}

#[test]
fn a_restart_at_any_step_drops_nobody() {
    let directory = Slapd::start(20);
    let mut site = site(&directory, &anywhere());
    let client = site.radclient(DIALOG);
    let shown = client.login(&user(1), &password(1));
    site.kill_and_serve();
    let seed = key(shown.prompt()).unwrap();
    let (first, second) = consecutive(&seed);
    let wrong = client.answer(&user(1), &wrong_code(&seed), &shown);
    assert_eq!(key(wrong.prompt()).as_ref(), Some(&seed), "the same key is shown again");
    site.kill_and_serve();
    let next = client.answer(&user(1), &first, &wrong);
    assert_eq!(next.prompt(), "Now the next code:");
    site.kill_and_serve();
    assert_eq!(client.answer(&user(1), &second, &next), Reply::Accept);
    site.kill_and_serve();
    assert_eq!(tokens(&site, &user(1)), 1);
    for state in [&shown, &wrong, &next] {
        assert_eq!(client.answer(&user(1), &second, state), Reply::Reject);
    }
    assert_eq!(tokens(&site, &user(1)), 1);
    let failures = site.json(&["user", "show", &user(1)]);
    assert_eq!(
        find(&failures, "failures").and_then(|it| find(it, "count")).unwrap(),
        0,
        "the login cleared it"
    );
}

#[test]
fn of_answers_at_once_one_is_taken() {
    let directory = Slapd::start(20);
    let site = site(&directory, &anywhere());
    let client = site.radclient(DIALOG);
    let shown = client.login(&user(1), &password(1));
    let seed = key(shown.prompt()).unwrap();
    let (first, second) = consecutive(&seed);
    let next = client.answer(&user(1), &first, &shown);
    let state = next.state();
    let answers = vec![request(&user(1), &second, Some(state)); 16];
    let replies = client.ask_at_once(&answers);
    let accepted = replies.iter().filter(|reply| **reply == Reply::Accept).count();
    assert_eq!((accepted, tokens(&site, &user(1))), (1, 1), "{replies:?}");

    // Two enrolments: the one that began last goes on.
    let (old, new) = (
        client.login(&user(2), &password(2)),
        client.login(&user(2), &password(2)),
    );
    let seed = key(old.prompt()).unwrap();
    assert_eq!(client.answer(&user(2), &consecutive(&seed).0, &old), Reply::Reject);
    assert_eq!(confirm(&client, &user(2), &new).1, Reply::Accept);
    assert_eq!(tokens(&site, &user(2)), 1);
}

#[test]
fn grace_ends_with_its_day() {
    let directory = Slapd::start(20);
    let mut site = site(&directory, &NOW.replace("\"now\"", "{ until = \"2999-12-31\" }"));
    let reminder = "Set up an authenticator app: after 2999-12-31 the password alone is not enough.";
    for client in [DIALOG, APPEND] {
        let printed = site.radclient(client).print(&request(&user(1), &password(1), None));
        assert!(
            printed.contains("Received Access-Accept") && printed.contains(reminder),
            "{printed}"
        );
    }
    let mut bind = std::process::Command::new("ldapwhoami");
    bind.args(["-x", "-H", &site.ldap_url(), "-D", &user_dn(1), "-w", &password(1)]);
    let bound = run(&mut bind, "");
    assert!(bound.status.success(), "{}", text(&bound));
    let audit = site.audit();
    let graced = audit.iter().filter(|record| record.contains("enrol-grace")).count();
    assert_eq!(graced, 3, "{audit:?}");

    // Whoever has had a factor has no grace, whatever became of it.
    let append = site.radclient(APPEND);
    let ways: [&[&[&str]]; 3] = [
        &[&["token", "enrol"], &["token", "revoke", "1"]],
        &[&["token", "enrol"], &["token", "disable", "1"]],
        &[&["recovery-codes", "new"]],
    ];
    for (number, commands) in (2..).zip(ways) {
        let name = user(number);
        assert_eq!(append.login(&name, &password(number)), Reply::Accept);
        for command in commands {
            let mut words = command.to_vec();
            words.insert(2, &name);
            if command.contains(&"revoke") {
                words.push("--yes");
            }
            let done = site.cli(&words);
            assert!(done.status.success(), "{words:?}: {}", text(&done));
        }
        assert_eq!(append.login(&name, &password(number)), Reply::Reject, "{commands:?}");
        let asked = site.radclient(DIALOG).login(&name, &password(number));
        assert_eq!(asked.prompt(), "Enter the 6-digit code");
    }

    // The day is over: it is said so, and the password alone is not enough.
    site.write_policy(&NOW.replace("\"now\"", "{ until = \"2020-12-31\" }"));
    let checked = run(site.command().arg("check").arg("-c").arg(site.configuration_file()), "");
    let said = text(&checked);
    assert!(
        checked.status.success() && said.contains("is over since 2020-12-31"),
        "{said}"
    );
    site.kill_and_serve();
    assert_eq!(append.login(&user(1), &password(1)), Reply::Reject);
    assert_eq!(
        site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)),
        Reply::Reject
    );
    assert!(site.log().contains("enrol-elsewhere"));
}
