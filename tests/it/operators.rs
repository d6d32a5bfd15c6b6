//! Operators with roles: several accounts of this machine, people and groups of a real directory, API tokens over the
//! socket and over TLS, and codes of the operators' own.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::operators::{self, CLERK, LEAD, MANAGER, cli_as, json_as, refused_as};
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, run, text};
use crate::support::slapd::{SUFFIX, Slapd, group_dn, user};
use crate::support::totp::{code, wrong_code};

/// An administrator who is not root, and a person of group 1 in the directory.
const CHIEF: &str = "sys";
const AUDITOR: &str = "news";
const ROBOT: &str = "lp";
const STRANGER: &str = "irc";

/// User 11 is privileged; helpdesk is for group 1, users 1 and 11; managers are who the directory says.
const CONFIGURATION: &str = r#"
[admin]
group = "daemon"
operators = ["sys"]
directory = "main"

[passcodes]
four_eyes = true
second_holder_group = "group9"

[privileged]
user = ["user00011"]

[[operator]]
account = "games"
roles = ["helpdesk"]
scope = { group = ["group1"] }

[[operator]]
group = "managers"
roles = ["manager"]

[[operator]]
account = "mail"
roles = ["second-holder", "approver"]

[[operator]]
account = "news"
roles = ["auditor"]

[[operator]]
account = "lp"
roles = ["automation"]
verbs = ["status", "user.show"]
"#;

fn start(more: &str) -> (Slapd, Portcullis) {
    let directory = Slapd::writable(20);
    operators::hire(&directory);
    directory.modify(&format!(
        "dn: uid={CHIEF},ou=people,{SUFFIX}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {CHIEF}\ncn: {CHIEF}\n\
         sn: {CHIEF}\n\ndn: {}\nchangetype: modify\nadd: member\nmember: uid={CHIEF},ou=people,{SUFFIX}\n\n\
         dn: cn=managers,ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: groupOfNames\ncn: managers\n\
         member: uid={MANAGER},ou=people,{SUFFIX}\n\n",
        group_dn(1)
    ));
    let mut site = Portcullis::install(&directory);
    let configuration = CONFIGURATION.replacen("directory = \"main\"\n", &format!("directory = \"main\"\n{more}\n"), 1);
    site.add(&configuration, "");
    operators::let_in(&site);
    site.serve();
    (directory, site)
}

fn logins(found: &Value) -> Vec<String> {
    let lists = ["users", "people"].map(|name| found[name].as_array());
    let rows = found.as_array().or(lists[0]).or(lists[1]).expect("rows");
    let mut logins: Vec<String> = rows
        .iter()
        .map(|row| row["login"].as_str().unwrap().to_owned())
        .collect();
    logins.sort();
    logins
}

/// The CLI under an account, with something on its standard input.
fn cli_with(site: &Portcullis, account: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", account, "--regid", MANAGER, "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_portcullis")).args(arguments);
    command.arg("--socket").arg(site.path("state/admin.sock"));
    command.current_dir("/").env("NO_COLOR", "1");
    run(&mut command, input)
}

#[test]
fn roles_are_for_whom_and_what_they_say() {
    let (_directory, site) = start("");
    for number in [1, 2, 11] {
        site.json(&["deny", &user(number), "--reason", "away"]);
    }
    // Helpdesk, for group 1.
    assert_eq!(json_as(&site, CLERK, &["user", "show", &user(1)])["login"], user(1));
    let outside = cli_as(&site, CLERK, &["user", "show", &user(2)]);
    let nobody = cli_as(&site, CLERK, &["user", "show", "nobody"]);
    assert_eq!((outside.status.code(), nobody.status.code()), (Some(4), Some(4)));
    assert_eq!(text(&outside), text(&nobody), "who exists is not told");
    assert_eq!(
        logins(&json_as(&site, CLERK, &["user", "find", "user"])),
        [user(1), user(11)]
    );
    assert_eq!(logins(&json_as(&site, CLERK, &["deny", "--list"])), [user(1), user(11)]);
    json_as(&site, CLERK, &["deny", &user(1), "--lift"]);
    for who in [user(11), CHIEF.to_owned(), user(2)] {
        refused_as(&site, CLERK, &["user", "unlock", &who], 4);
        refused_as(&site, CLERK, &["passcode", "issue", &who], 4);
    }
    for beyond in [
        &["policy", "check"][..],
        &["audit", "tail"],
        &["reload"],
        &["operator", "list"],
        &["operator", "token", "list", "--all"],
        &["reuse", "clear", "--all", "--yes"],
        &["session", "refresh"],
    ] {
        refused_as(&site, CLERK, beyond, 4);
    }
    // Their own reports, by the directory, and nobody else's.
    json_as(&site, MANAGER, &["user", "unlock", &user(2)]);
    assert_eq!(logins(&json_as(&site, MANAGER, &["deny", "--list"])), [user(2)]);
    refused_as(&site, MANAGER, &["user", "show", &user(5)], 4);
    refused_as(&site, MANAGER, &["token", "enrol", &user(2), "--no-qr"], 4);
    // Sees all, changes nothing.
    assert_eq!(
        logins(&json_as(&site, AUDITOR, &["deny", "--list"])),
        [user(2), user(11)]
    );
    let refusals = json_as(
        &site,
        AUDITOR,
        &["audit", "search", "--actor", CLERK, "--outcome", "reject"],
    );
    assert_eq!(refusals.as_array().map(Vec::len), Some(8), "{refusals}");
    refused_as(&site, AUDITOR, &["user", "unlock", &user(1)], 4);
    refused_as(
        &site,
        AUDITOR,
        &["operator", "token", "issue", "x", "--role", "auditor"],
        4,
    );
    // What is listed.
    json_as(&site, ROBOT, &["status"]);
    json_as(&site, ROBOT, &["user", "show", &user(2)]);
    refused_as(&site, ROBOT, &["user", "find", "user"], 4);
    refused_as(&site, STRANGER, &["status"], 4);
    // An administrator, whom helpdesk could not touch.
    json_as(&site, CHIEF, &["user", "unlock", &user(11)]);
    refused_as(&site, CHIEF, &["user", "unlock", CHIEF], 4);

    let shown = json_as(&site, CLERK, &["operator", "show"]);
    assert_eq!(shown["grants"][0]["role"], "helpdesk");
    assert_eq!(shown["grants"][0]["scope"][0]["group"][0], "group1");
}

#[test]
fn a_role_of_the_directory_ends_with_the_membership() {
    let (mut directory, mut site) = start("");
    json_as(&site, MANAGER, &["user", "show", &user(1)]);
    directory.modify(&format!(
        "dn: cn=managers,ou=groups,{SUFFIX}\nchangetype: modify\nreplace: member\nmember: uid={LEAD},ou=people,{SUFFIX}\n\n"
    ));
    // Reading everything again forgets what is remembered of the directory.
    json_as(&site, CHIEF, &["reload"]);
    refused_as(&site, MANAGER, &["user", "show", &user(1)], 4);
    // And when it cannot be asked, nobody is told that they may not.
    directory.kill();
    site.kill_and_serve();
    refused_as(&site, MANAGER, &["user", "show", &user(1)], 3);
    json_as(&site, CHIEF, &["status"]);
}

#[test]
fn an_api_token_is_its_account_with_less() {
    let (_directory, mut site) = start("");
    let issue = ["operator", "token", "issue", "desk", "--role", "helpdesk"];
    refused_as(
        &site,
        CLERK,
        &["operator", "token", "issue", "x", "--role", "administrator"],
        4,
    );
    refused_as(
        &site,
        CLERK,
        &["operator", "token", "issue", "x", "--role", "helpdesk", "--for", ROBOT],
        4,
    );
    let issued = json_as(&site, CLERK, &issue);
    let secret = issued["secret"].as_str().unwrap().to_owned();
    refused_as(&site, CLERK, &issue, 1);
    site.kill_and_serve();

    // Root with a token is the token, and no more.
    let with_token = |secret: &str, arguments: &[&str]| {
        let mut command = site.command();
        command
            .args(arguments)
            .arg("--socket")
            .arg(site.path("state/admin.sock"));
        command.env("PORTCULLIS_TOKEN", secret);
        run(&mut command, "")
    };
    let exit = |arguments: &[&str]| with_token(&secret, arguments).status.code();
    assert_eq!(exit(&["user", "show", &user(1)]), Some(0));
    assert_eq!(exit(&["user", "show", &user(2)]), Some(4));
    assert_eq!(exit(&["reload"]), Some(4));
    assert_eq!(
        exit(&["operator", "token", "issue", "more", "--role", "helpdesk"]),
        Some(4)
    );
    assert_eq!(with_token("portcullis_wrong", &["status"]).status.code(), Some(4));

    // Issued by the token, and not released by its account, nor the other way round.
    let by_token = with_token(&secret, &["passcode", "issue", &user(1), "--json"]);
    assert!(by_token.status.success(), "{}", text(&by_token));
    let passcode: Value = serde_json::from_slice(&by_token.stdout).unwrap();
    let id = passcode["passcode"]["id"].as_str().unwrap();
    assert_eq!(passcode["passcode"]["issued_by"], "games/desk");
    for second in [CLERK, CHIEF] {
        refused_as(&site, second, &["passcode", "release", id], 4);
    }
    json_as(&site, LEAD, &["passcode", "release", id]);

    // What the account loses, the token loses.
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&configuration.replace("account = \"games\"", "account = \"nobody\""));
    json_as(&site, CHIEF, &["reload"]);
    assert_eq!(exit(&["user", "show", &user(1)]), Some(4));
    site.configure(&configuration);
    json_as(&site, CHIEF, &["reload"]);
    assert_eq!(exit(&["user", "show", &user(1)]), Some(0));

    let anew = json_as(
        &site,
        CHIEF,
        &["operator", "token", "regenerate", "games/desk", "--days", "1"],
    );
    assert_eq!(exit(&["user", "show", &user(1)]), Some(4), "void at once");
    let anew = anew["secret"].as_str().unwrap();
    assert!(with_token(anew, &["user", "show", &user(1)]).status.success());
    json_as(&site, CHIEF, &["operator", "token", "revoke", "games/desk"]);
    assert_eq!(with_token(anew, &["status"]).status.code(), Some(4));
    let audit = site.audit().join("\n");
    for done in ["token.issue", "token.regenerate", "token.revoke", "token.wrong"] {
        assert!(audit.contains(&format!("operator.{done}")), "{done}");
    }
    assert!(!audit.contains(&secret) && !site.log().contains(&secret));
}

#[test]
fn the_api_is_served_over_tls_to_tokens_alone() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let files = crate::support::certificates::Certificates::make(folder.path());
    let (chain, key) = (files.chain.display(), files.key.display());
    let (_directory, site) = start(&format!(
        "\n[admin.tls]\nlisten = \"127.0.0.1:{port}\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n"
    ));
    let issued = json_as(
        &site,
        CHIEF,
        &[
            "operator", "token", "issue", "far", "--for", CLERK, "--role", "helpdesk", "--days", "1",
        ],
    );
    let secret = issued["secret"].as_str().unwrap();
    let url = format!("https://127.0.0.1:{port}");
    let curl = |token: Option<&str>, path: &str| {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-w", "\n%{http_code}", "--cacert"])
            .arg(&files.authority);
        if let Some(token) = token {
            command.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        let output = run(command.arg(format!("{url}{path}")), "");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = curl(Some(secret), "/v1/operator");
    assert!(shown.contains("games/far") && shown.ends_with("\n200"), "{shown}");
    assert!(curl(Some(secret), &format!("/v1/user?user={}", user(1))).ends_with("\n200"));
    assert!(curl(Some(secret), &format!("/v1/user?user={}", user(2))).ends_with("\n403"));
    assert!(
        curl(None, "/v1/status").ends_with("\n401"),
        "nobody is known here by an account"
    );

    // The command line over TLS.
    let token_file = folder.path().join("token");
    fs::write(&token_file, format!("{secret}\n")).unwrap();
    let cli = |arguments: &[&str]| {
        let mut command = site.command();
        command
            .args(arguments)
            .args(["--url", &url, "--ca"])
            .arg(&files.authority);
        run(command.arg("--token-file").arg(&token_file), "")
    };
    let open = cli(&["operator", "show"]);
    assert_eq!(open.status.code(), Some(2), "others could read it: {}", text(&open));
    run(Command::new("chmod").arg("600").arg(&token_file), "");
    let shown = cli(&["user", "show", &user(1)]);
    assert!(shown.status.success(), "{}", text(&shown));
    assert_eq!(cli(&["user", "show", &user(2)]).status.code(), Some(4));
    let untrusted = run(
        site.command()
            .args(["status", "--url", &url])
            .env("PORTCULLIS_TOKEN", secret),
        "",
    );
    assert_eq!(untrusted.status.code(), Some(3), "{}", text(&untrusted));
    let listed = site.json(&["operator", "token", "list", CLERK]);
    assert_eq!(listed[0]["used_from"], "127.0.0.1");

    // Guessing is slowed down, and does not fill the audit.
    for _ in 0..20 {
        assert!(curl(Some("portcullis_guess"), "/v1/operator").ends_with("\n401"));
    }
    assert!(curl(Some("portcullis_guess"), "/v1/operator").ends_with("\n429"));
    assert!(
        curl(Some(secret), "/v1/operator").ends_with("\n429"),
        "the source is not heard"
    );
    json_as(&site, CHIEF, &["status"]);
    let wrong = site.json(&["audit", "search", "--oldest-first", "--action", "operator.token.wrong"]);
    assert!((1..=3).contains(&wrong.as_array().unwrap().len()), "{wrong}");
}

#[test]
fn what_opens_a_way_in_takes_a_code_of_the_operators_own() {
    let (_directory, mut site) = start("");
    let seed = site.enrol(CLERK);
    let issue = ["passcode", "issue", user(1).leak() as &str];
    let unasked = cli_as(&site, CLERK, &issue);
    assert_eq!(unasked.status.code(), Some(4));
    assert!(text(&unasked).contains("takes a code"), "{}", text(&unasked));
    json_as(&site, CLERK, &["user", "unlock", &user(1)]);
    // Whom it could not be done to, no code is asked for.
    assert!(text(&cli_as(&site, CLERK, &["passcode", "issue", &user(2)])).contains("scope"));

    let now = code(&seed, 0);
    let confirmed = cli_with(&site, CLERK, &issue, &format!("{now}\n"));
    assert!(confirmed.status.success(), "{}", text(&confirmed));
    site.kill_and_serve();
    let again = cli_with(&site, CLERK, &issue, &format!("{now}\n"));
    assert_eq!(again.status.code(), Some(4), "spent: {}", text(&again));
    let wrong = wrong_code(&seed);
    for _ in 0..4 {
        assert_eq!(
            cli_with(&site, CLERK, &issue, &format!("{wrong}\n")).status.code(),
            Some(4)
        );
    }
    site.kill_and_serve();
    let failures = site.json(&["user", "show", CLERK])["failures"].clone();
    assert_eq!(
        (&failures["count"], &failures["locked"]),
        (&5.into(), &true.into()),
        "{failures}"
    );
    let locked = cli_with(&site, CLERK, &issue, &format!("{}\n", code(&seed, 1)));
    assert!(text(&locked).contains("locked out"), "{}", text(&locked));
    let confirmations = site.json(&[
        "audit",
        "search",
        "--oldest-first",
        "--action",
        "operator.confirm",
        "--user",
        CLERK,
    ]);
    assert_eq!(confirmations.as_array().unwrap().len(), 7, "{confirmations}");

    // With `always`, who has no token does nothing that takes one; root of this machine is not asked.
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&configuration.replace("group = \"daemon\"\n", "group = \"daemon\"\nconfirm = \"always\"\n"));
    assert!(site.cli(&["reload"]).status.success());
    refused_as(&site, MANAGER, &["passcode", "issue", &user(3)], 4);
    json_as(&site, MANAGER, &["user", "unlock", &user(3)]);
    assert!(site.cli(&["passcode", "issue", &user(3)]).status.success());
}
