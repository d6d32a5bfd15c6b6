//! `radclient` of FreeRADIUS (Debian: freeradius-utils) against the listener.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::server::{SECRET, Server};

/// Runs radclient with these attributes and gives its exit status and what it printed.
async fn radclient(server: &Server, secret: &str, kind: &str, attributes: &str) -> (bool, String) {
    let patience = if secret == SECRET { "10" } else { "1" };
    let mut child = Command::new("radclient")
        .args([
            "-x",
            "-r",
            "1",
            "-t",
            patience,
            &server.address.to_string(),
            kind,
            secret,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("radclient is installed (Debian package freeradius-utils)");
    child.stdin.take().unwrap().write_all(attributes.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn login(user: &str, password: &str, more: &str) -> String {
    format!("User-Name = \"{user}\"\nUser-Password = \"{password}\"\nMessage-Authenticator = 0x00\n{more}")
}

#[tokio::test]
async fn accept_and_reject() {
    let server = Server::start("");
    let (success, text) = radclient(
        &server,
        SECRET,
        "auth",
        &login("ana", "hunter2", "Proxy-State = 0x414243\n"),
    )
    .await;
    assert!(success && text.contains("Received Access-Accept"), "{text}");
    assert!(text.contains("Proxy-State = 0x414243"), "{text}");
    assert_signed_first(&text);
    let (success, text) = radclient(&server, SECRET, "auth", &login("ana", "wrong", "")).await;
    assert!(!success && text.contains("Received Access-Reject"), "{text}");
    assert!(text.contains("Reply-Message = \"Login failed.\""), "{text}");
    assert_signed_first(&text);
}

#[tokio::test]
async fn challenge_and_answer() {
    let server = Server::start("");
    let (_, text) = radclient(&server, SECRET, "auth", &login("bob", "hunter2", "")).await;
    assert!(text.contains("Received Access-Challenge"), "{text}");
    assert!(text.contains("Reply-Message = \"Enter the 6-digit code\""), "{text}");
    assert!(text.contains("Prompt = No-Echo"), "{text}");
    assert_signed_first(&text);
    let state = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("State = "))
        .unwrap();
    let (success, text) = radclient(
        &server,
        SECRET,
        "auth",
        &login("bob", "492039", &format!("State = {state}\n")),
    )
    .await;
    assert!(success && text.contains("Received Access-Accept"), "{text}");
    assert!(text.contains("Reply-Message = \"Welcome.\""), "{text}");
}

#[tokio::test]
async fn chap() {
    let server = Server::start("");
    for (password, answer) in [("hunter2", "Access-Accept"), ("hunter3", "Access-Reject")] {
        let request = format!("User-Name = \"ana\"\nCHAP-Password = \"{password}\"\nMessage-Authenticator = 0x00\n");
        let (_, text) = radclient(&server, SECRET, "auth", &request).await;
        assert!(text.contains(&format!("Received {answer}")), "{text}");
        assert_signed_first(&text);
    }
    assert_eq!(server.stub.calls("ana"), 2);
}

#[tokio::test]
async fn ms_chap_of_the_first_version_is_refused() {
    let server = Server::start("");
    let request = "User-Name = \"ana\"\nMS-CHAP-Password = \"hunter2\"\nMessage-Authenticator = 0x00\n";
    let (success, text) = radclient(&server, SECRET, "auth", request).await;
    assert!(!success && text.contains("Received Access-Reject"), "{text}");
    assert_eq!(server.stub.calls("ana"), 0);
}

#[tokio::test]
async fn status_server() {
    let server = Server::start("");
    let (success, text) = radclient(&server, SECRET, "status", "Message-Authenticator = 0x00\n").await;
    assert!(success && text.contains("Received Access-Accept"), "{text}");
}

#[tokio::test]
async fn a_wrong_secret_gets_no_answer() {
    let server = Server::start("");
    let (success, text) = radclient(&server, "wrong", "auth", &login("ana", "hunter2", "")).await;
    assert!(!success && text.contains("No reply from server"), "{text}");
    assert_eq!(server.counted("reason=\"bad-message-authenticator\""), 1);
    assert_eq!(server.stub.calls("ana"), 0);
}

/// The attribute printed first after the line that tells of the reply.
fn assert_signed_first(text: &str) {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("Received"));
    let first = lines.nth(1).unwrap_or_default().trim();
    assert!(first.starts_with("Message-Authenticator = 0x"), "{text}");
}
