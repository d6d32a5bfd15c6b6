//! Whole conversations, step by step: at a login prompt (pam_radius_auth), at a VPN gateway (ocserv and openconnect),
//! and octet by octet, with every request sent again and the server killed between any two steps.

mod domain;
mod expired;
mod four_eyes;
mod passcode;
mod password_and_code;
mod questions;
mod recover;
mod spoken;
mod wire;

use crate::support::clients::ldapwhoami;
use crate::support::ocserv::Ocserv;
use crate::support::pam::Pam;
use crate::support::portcullis::{DIALOG, Portcullis, find};
use crate::support::slapd::{Slapd, user, user_dn};

use wire::{Answer, What, Wire};

/// What everybody is told who is not let in.
const REFUSED: &str = "Login failed.";

/// Who may help themselves at the VPN.
const RULES: &str = r#"
[[rule]]
name = "new passwords"
when = { service = ["vpn"], operation = ["password-change"] }
require = { any = ["passcode", { all = ["password", "totp"] }, "password"] }

[[rule]]
name = "one factor"
when = { service = ["vpn"], user = ["user00007", "user00008"] }
require = "password"
"#;

/// What somebody types at each step, and what they are shown after it.
#[derive(Clone, Debug)]
struct Line {
    typed: String,
    shown: Shown,
}

#[derive(Clone, Debug)]
enum Shown {
    /// The next prompt; whether it may be echoed.
    Asked(&'static str, bool),
    /// Not let in, and told why.
    Closed(&'static str),
    /// Not let in, and told nothing.
    Refused,
    /// Let in; sent again after its answer was lost, told what came of it.
    EnteredOnce(&'static str),
    /// Let in.
    Entered,
}

fn line(typed: impl Into<String>, shown: Shown) -> Line {
    let typed = typed.into();
    Line { typed, shown }
}

fn asked(typed: impl Into<String>, prompt: &'static str) -> Line {
    line(typed, Shown::Asked(prompt, false))
}

/// slapd and Portcullis before it.
struct Place {
    directory: Slapd,
    site: Portcullis,
}

impl Place {
    fn start() -> Self {
        Self::start_with("", |_| ())
    }

    /// With more rules before the others, and a changed installation.
    fn start_with(rules: &str, change: impl FnOnce(&Portcullis)) -> Self {
        let directory = Slapd::aging(20, &[5, 7]);
        let mut site = Portcullis::install(&directory);
        site.add("", &format!("{rules}\n{RULES}"));
        change(&site);
        site.serve();
        Self { directory, site }
    }

    fn wire(&self) -> Wire {
        Wire::new(DIALOG, self.site.radius())
    }

    /// Whether a user's password is this one, asked without us.
    fn is_password(&self, number: usize, password: &str) -> bool {
        let url = self.directory.tls_url();
        let output = ldapwhoami(&url, &user_dn(number), password, self.directory.certificates());
        output.status.success()
    }

    /// What is shown to the person is what is to be shown, and no secret is anywhere.
    fn tells_nothing(&self, secrets: &[&str]) {
        let told = [self.site.log(), self.site.audit().concat()].concat();
        for secret in secrets {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }

    fn passcode(&self, number: usize, more: &[&str]) -> String {
        let name = user(number);
        let issued = self.site.json(&[&["passcode", "issue", &name], more].concat());
        find(&issued, "code").and_then(|code| code.as_str()).unwrap().to_owned()
    }
}

/// How a conversation is led over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each request once.
    Plain,
    /// Each request twice: the second time the same octets come back.
    Repeating,
    /// The server is killed after each step, and goes on.
    Killing,
    /// The server is killed after each step, and nobody has got its answer: the same request is sent again, and read
    /// alike; it goes on from there.
    Losing,
}

const MANNERS: [Manner; 4] = [Manner::Plain, Manner::Repeating, Manner::Killing, Manner::Losing];

/// Leads a conversation; each line must be answered as it says.
fn lead(place: &mut Place, manner: Manner, name: &str, lines: &[Line]) {
    lead_at(&mut place.site, DIALOG, manner, name, lines);
}

/// The same at one of the clients.
fn lead_at(site: &mut Portcullis, client: &str, manner: Manner, name: &str, lines: &[Line]) {
    let mut wire = Wire::new(client, site.radius());
    let mut last: Option<Answer> = None;
    for (number, line) in lines.iter().enumerate() {
        let state = last.as_ref().map(|answer| answer.state.clone().unwrap());
        let request = wire.request(name, &line.typed, state.as_deref());
        let mut answer = wire.send(&request);
        let reads = |answer: &Answer, again: bool| {
            let wanted = match line.shown {
                Shown::EnteredOnce(text) if again => (What::Reject, text, false),
                Shown::EnteredOnce(_) => (What::Accept, "", false),
                Shown::Asked(text, echo) => (What::Challenge, text, echo),
                Shown::Closed(text) => (What::Reject, text, false),
                Shown::Refused => (What::Reject, REFUSED, false),
                Shown::Entered => (What::Accept, "", false),
            };
            assert_eq!(
                answer.reads(),
                wanted,
                "{manner:?}, line {number} ({:?}), again: {again}",
                line.typed
            );
        };
        reads(&answer, false);
        match manner {
            Manner::Plain => {}
            Manner::Repeating => assert_eq!(wire.send(&request).octets, answer.octets, "line {number}"),
            Manner::Killing => site.kill_and_serve(),
            Manner::Losing => {
                site.kill_and_serve();
                answer = wire.send(&request);
                reads(&answer, true);
            }
        }
        last = Some(answer);
    }
}

/// What is typed, for the clients that show prompts.
fn typed(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.typed.as_str()).collect()
}

/// Every prompt has been shown, in their order.
fn assert_shown(shown: &str, lines: &[Line]) {
    let mut rest = shown;
    for line in lines {
        if let Shown::Asked(text, _) = line.shown {
            let (_, after) = rest
                .split_once(text)
                .unwrap_or_else(|| panic!("no {text:?} in {shown}"));
            rest = after;
        }
    }
}

/// At a login prompt: whether it ended as the last line says.
fn at_prompt(place: &Place, name: &str, lines: &[Line]) {
    let (entered, shown) = Pam::new(place.site.radius()).login(name, &typed(lines));
    ended(entered, &shown, lines);
}

/// At a VPN gateway.
fn at_gateway(place: &Place, name: &str, lines: &[Line]) {
    let gateway = Ocserv::start(place.site.radius(), place.site.certificates());
    let (entered, shown) = gateway.login(name, &typed(lines));
    ended(entered, &shown, lines);
}

fn ended(entered: bool, shown: &str, lines: &[Line]) {
    let last = lines.last().map(|line| &line.shown);
    let wanted = matches!(last, Some(Shown::Entered | Shown::EnteredOnce(_)));
    assert_eq!(entered, wanted, "{shown}");
    assert_shown(shown, lines);
}
