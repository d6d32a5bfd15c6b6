//! A mail server (aiosmtpd) and an HTTP gateway (Python's own) that keep what they are given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::pki::Leaf;
use super::process::{Process, free_port, listening, until};

/// What the mail server wants to be logged in with.
pub(crate) const LOGIN: (&str, &str) = ("portcullis", "mail-secret");

const MAIL_SERVER: &str = r#"
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

box, port, mode, chain, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open(box, "a") as file:
            json.dump({"from": envelope.mail_from, "to": envelope.rcpt_tos,
                       "tls": session.ssl is not None or mode == "implicit",
                       "login": bool(session.authenticated),
                       "text": envelope.content.decode()}, file)
            file.write("\n")
        return "250 2.0.0 kept"

def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and data.login == b"portcullis" and data.password == b"mail-secret"
    return AuthResult(success=right)

context = None
if mode != "plain":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

def make():
    starttls = context if mode == "starttls" else None
    return SMTP(Handler(), hostname="mail.test", tls_context=starttls, require_starttls=mode == "starttls",
                auth_required=mode != "plain", auth_require_tls=mode == "starttls", authenticator=authenticate)

async def main():
    implicit = context if mode == "implicit" else None
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, ssl=implicit)
    await server.serve_forever()

asyncio.run(main())
"#;

const GATEWAY: &str = r#"
import http.server, json, sys, time

box, port = sys.argv[1], int(sys.argv[2])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        with open(box, "a") as file:
            json.dump({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "text": body}, file)
            file.write("\n")
        if self.path.startswith("/hang"):
            time.sleep(600)
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{port}/elsewhere")
            self.end_headers()
            return
        self.send_response({"/fail": 503, "/refuse": 422}.get(self.path.split("?")[0], 200))
        self.end_headers()
        answer = b"queued " + body.encode()
        if self.path.startswith("/flood"):
            answer = b"x" * (1 << 20)
            for _ in range(4096):
                self.wfile.write(answer)
        else:
            self.wfile.write(answer)

    do_GET = do_POST

    def do_HEAD(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

/// A server that keeps messages.
pub(crate) struct Mailbox {
    process: Process,
    port: u16,
    messages: PathBuf,
}

impl Mailbox {
    /// A mail server: `starttls` and `implicit` want to be logged in to, `plain` does not.
    pub(crate) fn mail(folder: &Path, mode: &str, leaf: &Leaf) -> Self {
        let (chain, key) = (leaf.chain.display().to_string(), leaf.key.display().to_string());
        Self::start(folder, &format!("mail-{mode}"), MAIL_SERVER, &[mode, &chain, &key])
    }

    /// An HTTP gateway; the path says what it does: `/hang`, `/fail`, `/refuse`, `/moved`, `/flood`.
    pub(crate) fn gateway(folder: &Path) -> Self {
        Self::start(folder, "gateway", GATEWAY, &[])
    }

    fn start(folder: &Path, name: &str, program: &str, arguments: &[&str]) -> Self {
        let port = free_port();
        let messages = folder.join(format!("{name}.box"));
        let script = folder.join(format!("{name}.py"));
        fs::write(&script, program).expect("writing the program");
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(&script)
            .arg(&messages)
            .arg(port.to_string())
            .args(arguments);
        let mut process = Process::start(&command, &folder.join(format!("{name}.log")));
        until("the server listens", || {
            assert!(process.ended().is_none(), "{name}: {}", process.log());
            listening(port)
        });
        Self {
            process,
            port,
            messages,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Stops answering, and keeps its connections.
    pub(crate) fn halt(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Everything that it was given.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.messages).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a message"))
            .collect()
    }

    /// The text of the last message.
    pub(crate) fn last(&self) -> String {
        let messages = self.messages();
        let last = messages.last().expect("a message");
        last["text"].as_str().expect("a text").to_owned()
    }

    /// The code in the last message.
    pub(crate) fn code(&self) -> String {
        let text = self.last();
        let body = text.split_once("\r\n\r\n").map_or(&*text, |(_, body)| body);
        let runs = body.split(|letter: char| !letter.is_ascii_digit());
        let code = runs.into_iter().find(|run| run.len() == 6);
        code.unwrap_or_else(|| panic!("no code in {body}")).to_owned()
    }
}
