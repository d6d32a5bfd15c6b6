//! Languages, ASCII, and files that say what dialogs are like: as clients see it, and over reloads.

use std::fs;
use std::path::Path;

use super::wire::{What, Wire};
use crate::support::portcullis::{DIALOG, Portcullis};
use crate::support::radclient::{Reply, SECRET};
use crate::support::slapd::{Slapd, password, user};

const GERMAN: &str = "127.0.0.11";
const ASCII: &str = "127.0.0.12";

/// An installation with a German client, and one that shows German in ASCII.
fn install(directory: &Slapd) -> Portcullis {
    let site = Portcullis::install(directory);
    let client = |name: &str, address: &str, more: &str| {
        format!(
            "[[client]]\nname = \"{name}\"\naddress = [\"{address}\"]\nsecret = \"{}\"\nprofile = \"dialog\"\n\
             service = \"vpn\"\ndirectory = \"main\"\nlanguage = \"de\"\nreject_delay = \"0s\"\n{more}\n",
            SECRET
        )
    };
    let clients = client("german", GERMAN, "") + &client("ascii", ASCII, "ascii = true\nrecover = true");
    site.add(&clients, "");
    site
}

fn folder(site: &Portcullis, name: &str) -> std::path::PathBuf {
    let folder = site.path("policies").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// What somebody is asked who types this at a client.
fn asked(site: &Portcullis, client: &str, typed: &str) -> String {
    let answer = Wire::new(client, site.radius()).say(&user(1), typed, None);
    assert_eq!(answer.what, What::Challenge, "{answer:?}");
    answer.text
}

/// What a refusal says at a client.
fn refusal(site: &Portcullis, client: &str) -> String {
    let mut wire = Wire::new(client, site.radius());
    let challenge = wire.say(&user(1), &password(1), None);
    let answer = wire.say(&user(1), "not a code", Some(&challenge));
    assert_eq!(answer.what, What::Reject, "{answer:?}");
    answer.text
}

#[test]
fn clients_are_spoken_to_in_their_language() {
    let directory = Slapd::start(10);
    let mut site = install(&directory);
    site.serve();
    let shown = site.radclient(ASCII).login(&user(1), &password(1));
    assert!(
        matches!(&shown, Reply::Challenge { text, .. } if text == "6-stelligen Code eingeben"),
        "{shown:?}"
    );
    let text = |client: &str, typed: &str| asked(&site, client, typed);
    assert_eq!(text(DIALOG, &password(1)), "Enter the 6-digit code");
    assert_eq!(text(GERMAN, &password(1)), "6-stelligen Code eingeben");
    assert_eq!(text(ASCII, "?recover"), "Wiederherstellungscode oder Code aus der App:");
    assert_eq!(refusal(&site, DIALOG), "Login failed.");
    assert_eq!(refusal(&site, GERMAN), "Anmeldung fehlgeschlagen.");

    // What is the site's own is said in ASCII as well.
    write(
        &folder(&site, "prompts").join("de.toml"),
        "code = \"„Schlüssel“ für Öffner\"\nrefused = \"Geht nicht: größer…\"\n",
    );
    assert!(site.cli(&["reload"]).status.success());
    assert_eq!(text(GERMAN, &password(1)), "„Schlüssel“ für Öffner");
    assert_eq!(text(ASCII, &password(1)), "\"Schluessel\" fuer Oeffner");
    assert_eq!(refusal(&site, ASCII), "Geht nicht: groesser...");
    assert_eq!(text(DIALOG, &password(1)), "Enter the 6-digit code");
}

#[test]
fn a_broken_prompt_file_leaves_the_old_one_in_force() {
    let directory = Slapd::start(10);
    let mut site = install(&directory);
    let prompts = folder(&site, "prompts").join("de.toml");
    write(&prompts, "code = \"Der Code:\"\n");
    site.serve();
    let asked = || asked(&site, GERMAN, &password(1));
    assert_eq!(asked(), "Der Code:");

    write(&prompts, "code = \"Anders:\"\npassword-refused = \"Nein.\"\n");
    let checked = site.cli(&["policy", "check"]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success());
    assert!(
        told.contains("de.toml:2:20: password-refused: lacks {reason}"),
        "{told}"
    );
    assert!(!site.cli(&["reload"]).status.success());
    assert_eq!(asked(), "Der Code:");

    write(&prompts, "code = \"Anders:\"\n");
    let reloaded = site.json(&["reload"]);
    assert_eq!(reloaded["changes"][0], "prompts: de, en, fr", "{reloaded}");
    assert_eq!(asked(), "Anders:");
}

#[test]
fn a_workflow_that_changed_ends_the_dialogs_in_it() {
    let directory = Slapd::start(10);
    let mut site = install(&directory);
    let workflow = folder(&site, "workflows").join("recover.toml");
    let steps = |kinds: &str| {
        format!(
            "[workflow]\nstarts = \"recover\"\nsteps = [{{ prove = [{kinds}] }}, {{ prove = [\"hotp\"] }}, \"unlock\"]\n"
        )
    };
    write(&workflow, &steps("\"totp\""));
    site.serve();
    let mut wire = Wire::new(ASCII, site.radius());
    let first = wire.say(&user(1), "?recover", None);
    let second = wire.say(&user(1), "000000", Some(&first));
    assert_eq!((first.what, second.what), (What::Challenge, What::Challenge));

    write(&workflow, &steps("\"recovery-code\""));
    let reloaded = site.json(&["reload"]);
    assert!(
        reloaded["changes"][0].as_str().unwrap().starts_with("workflows: "),
        "{reloaded}"
    );
    assert_eq!(wire.say(&user(1), "000001", Some(&second)).what, What::Reject);

    write(&workflow, "[workflow]\nstarts = \"recover\"\nsteps = [\"unlock\"]\n");
    let checked = site.cli(&["policy", "check"]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        told.contains("recover.toml:3:9: workflow.steps: asks for no proof"),
        "{told}"
    );
    assert!(!site.cli(&["reload"]).status.success());
}

#[test]
fn the_whole_conversation_is_explained() {
    let directory = Slapd::start(10);
    let mut site = install(&directory);
    site.serve();
    let explained = site.json(&["policy", "explain", &user(1), "--client", "ascii"]);
    let outline = &explained["outline"];
    assert_eq!(outline["asked"][0]["what"], "the password", "{outline}");
    assert_eq!(outline["asked"][1]["text"], "6-stelligen Code eingeben", "{outline}");
    let follows = outline["follows"].as_array().unwrap();
    let recover = follows
        .iter()
        .find(|following| following["start"] == "recover")
        .unwrap();
    assert_eq!(
        recover["steps"][0]["text"], "Wiederherstellungscode oder Code aus der App:",
        "{recover}"
    );
    let text = explained["text"].as_str().unwrap();
    assert!(
        text.contains("Then, if ?recover is typed in place of the password"),
        "{text}"
    );
    let wiki = site.json(&["policy", "explain", &user(1), "--client", "wiki"]);
    assert!(
        wiki["outline"]["follows"].as_array().unwrap().is_empty(),
        "LDAP has no dialog: {wiki}"
    );
}
