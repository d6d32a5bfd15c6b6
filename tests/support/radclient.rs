//! FreeRADIUS's `radclient`, which verifies every reply's authenticators.

use std::process::Command;

use super::process::{run, text};

pub(crate) const SECRET: &str = "a-secret-of-the-tests";

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    Reject,
    Challenge {
        /// As radclient writes it: `0x…`
        state: String,
        text: String,
    },
    /// Nothing, or nothing that was genuine.
    Silence,
}

impl Reply {
    /// The text of a challenge, which it must be.
    pub(crate) fn prompt(&self) -> &str {
        self.challenge().0
    }

    /// The State of a challenge, which it must be.
    pub(crate) fn state(&self) -> &str {
        self.challenge().1
    }

    /// Asserts that it is a challenge, and that its text holds `expected`.
    pub(crate) fn asks(&self, expected: &str) {
        assert!(self.prompt().contains(expected), "{self:?} instead of {expected}");
    }

    fn challenge(&self) -> (&str, &str) {
        let Self::Challenge { text, state } = self else {
            panic!("not a challenge: {self:?}");
        };
        (text, state)
    }
}

/// A client of one server.
#[derive(Clone, Debug)]
pub(crate) struct Radclient {
    port: u16,
    source: Option<&'static str>,
    secret: &'static str,
    host: &'static str,
}

impl Radclient {
    /// Sends to a loopback port.
    pub(crate) fn to(port: u16) -> Self {
        Self {
            port,
            source: None,
            secret: SECRET,
            host: "127.0.0.1",
        }
    }

    /// The same from another loopback address.
    pub(crate) fn from(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }

    /// The same over IPv6, from `::1`.
    pub(crate) fn over_ipv6(mut self) -> Self {
        self.host = "[::1]";
        self
    }

    /// The same with another shared secret.
    pub(crate) fn with_secret(mut self, secret: &'static str) -> Self {
        self.secret = secret;
        self
    }

    /// A password as the first thing that is said.
    pub(crate) fn login(&self, user: &str, password: &str) -> Reply {
        self.ask(&request(user, password, None))
    }

    /// The same where datagrams are lost: sent again each second, up to thirty times.
    pub(crate) fn login_patiently(&self, user: &str, password: &str) -> Reply {
        let (printed, _) = self.send("auth", &request(user, password, None), &["-t", "1", "-r", "30"]);
        parse(&printed)
    }

    /// An answer to a challenge.
    pub(crate) fn answer(&self, user: &str, typed: &str, challenge: &Reply) -> Reply {
        self.ask(&request(user, typed, Some(challenge.state())))
    }

    /// One request with these attributes.
    pub(crate) fn ask(&self, attributes: &str) -> Reply {
        let (printed, _) = self.send("auth", attributes, &["-t", "10", "-r", "1"]);
        parse(&printed)
    }

    /// One request with these attributes, and all that radclient prints of it and its reply.
    pub(crate) fn print(&self, attributes: &str) -> String {
        self.send("auth", attributes, &["-t", "10", "-r", "1"]).0
    }

    /// Sends one request, once, and waits `seconds`: for servers that owe no answer.
    pub(crate) fn ask_in_vain(&self, attributes: &str, seconds: u32) -> Reply {
        let (printed, _) = self.send("auth", attributes, &["-t", &seconds.to_string(), "-r", "1"]);
        parse(&printed)
    }

    /// Sends many requests at once, and returns what each reply was, in no particular order.
    pub(crate) fn ask_at_once(&self, requests: &[String]) -> Vec<Reply> {
        let at_once = requests.len().to_string();
        let options = ["-t", "30", "-r", "1", "-p", &at_once];
        let (printed, _) = self.send("auth", &requests.join("\n"), &options);
        let mut replies = Vec::new();
        let mut rest = printed.as_str();
        while let Some(start) = rest.find("Received ") {
            let one = &rest[start..];
            let end = one[1..].find("Received ").map_or(one.len(), |next| next + 1);
            replies.push(parse(&one[..end]));
            rest = &one[end..];
        }
        replies
    }

    /// One Accounting-Request: whether it was acknowledged within `seconds`.
    pub(crate) fn account(&self, attributes: &str, seconds: u32) -> bool {
        let options = ["-t", &seconds.to_string(), "-r", "1"];
        let (printed, _) = self.send("acct", attributes, &options);
        printed.contains("Received Accounting-Response")
    }

    /// A password, and the Class of the Access-Accept as radclient writes it: `0x…`
    pub(crate) fn class(&self, user: &str, password: &str) -> Option<String> {
        let (printed, _) = self.send("auth", &request(user, password, None), &["-t", "10", "-r", "1"]);
        let (_, reply) = printed.split_once("Received Access-Accept")?;
        let class = reply.lines().find_map(|line| line.trim().strip_prefix("Class = "))?;
        Some(class.to_owned())
    }

    /// Status-Server (RFC 5997): whether the server answers.
    pub(crate) fn status(&self) -> bool {
        let (printed, _) = self.send("status", "Message-Authenticator = 0x00\n", &["-t", "5", "-r", "1"]);
        parse(&printed) == Reply::Accept
    }

    fn send(&self, kind: &str, attributes: &str, options: &[&str]) -> (String, bool) {
        let mut input = String::new();
        // An empty one would be sent too, and waited for.
        let requests = attributes.split("\n\n").filter(|request| !request.trim().is_empty());
        for request in requests {
            input.push_str(request.trim_end());
            if let Some(source) = self.source {
                input.push_str(&format!("\nPacket-Src-IP-Address = {source}"));
            }
            input.push_str("\n\n");
        }
        let mut command = Command::new("radclient");
        command.arg("-x").args(options);
        command.args([&format!("{}:{}", self.host, self.port), kind, self.secret]);
        let output = run(&mut command, &input);
        let printed = text(&output);
        assert!(!printed.contains("Failed to parse"), "radclient: {printed}\n{input}");
        (printed, output.status.success())
    }
}

/// The attributes of an Access-Request with a Message-Authenticator.
pub(crate) fn request(user: &str, password: &str, state: Option<&str>) -> String {
    let mut attributes = format!(
        "User-Name = \"{user}\"\nUser-Password = \"{password}\"\nNAS-Identifier = \"test\"\nMessage-Authenticator = 0x00\n"
    );
    if let Some(state) = state {
        attributes.push_str(&format!("State = {state}\n"));
    }
    attributes
}

fn parse(printed: &str) -> Reply {
    let Some((_, reply)) = printed.split_once("Received ") else {
        return Reply::Silence;
    };
    let attribute = |name: &str| {
        let line = reply.lines().find_map(|line| line.trim().strip_prefix(name))?;
        Some(line.trim_start_matches([' ', '=']).trim_matches('"').to_owned())
    };
    if reply.starts_with("Access-Accept") {
        Reply::Accept
    } else if reply.starts_with("Access-Reject") {
        Reply::Reject
    } else if reply.starts_with("Access-Challenge") {
        Reply::Challenge {
            state: attribute("State").expect("a challenge carries State"),
            text: attribute("Reply-Message").unwrap_or_default(),
        }
    } else {
        panic!("radclient printed {printed}");
    }
}
