//! `portcullis client`

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, Tone, moment, moment_or_never};
use crate::admin::api::{
    ClientRef, ClientRow, ClientView, ForgetRequest, Forgotten, Grade, LearnedView, StrangerView, TestReport,
    TroubleView,
};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All RADIUS clients: what was learned of them, when they were last seen, what went wrong last
    #[command(after_help = LIST_HELP)]
    List {
        /// Instead, the addresses that send packets and are no client's
        #[arg(long)]
        unknown: bool,
    },
    /// One client, with what went wrong lately and what to do about it
    #[command(after_help = SHOW_HELP)]
    Show {
        /// Name of the client
        name: String,
    },
    /// Look for what would keep a client from being served
    #[command(after_help = TEST_HELP)]
    Test {
        /// Name of the client
        name: String,
    },
    /// Forget what was learned of a client's Message-Authenticator and Proxy-State
    #[command(after_help = FORGET_HELP)]
    Forget {
        /// Name of the client
        name: String,
        /// Only this address of it
        address: Option<IpAddr>,
    },
}

pub(super) async fn run(args: ClientArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::List { unknown: false } => list(&client.get::<Vec<ClientRow>>("/v1/clients", &()).await?, out),
        Verb::List { unknown: true } => {
            strangers(&client.get::<Vec<StrangerView>>("/v1/clients/unknown", &()).await?, out)
        }
        Verb::Show { name } => show(&client.get("/v1/client", &ClientRef { client: name }).await?, out),
        Verb::Test { name } => test(&client.post("/v1/client/test", &ClientRef { client: name }).await?, out),
        Verb::Forget { name, address } => {
            let request = ForgetRequest { client: name, address };
            forgotten(&client.post("/v1/client/forget", &request).await?, out)
        }
    }
}

fn list(clients: &[ClientRow], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&clients);
    }
    let rows = clients.iter().map(|client| {
        vec![
            client.name.clone(),
            [client.addresses.as_slice(), &client.certificate].concat().join(", "),
            client.service.clone(),
            client.profile.clone(),
            client.require_message_authenticator.clone(),
            summary(&client.learned),
            moment_or_never(client.last_seen),
            client.requests.to_string(),
            client.dropped.to_string(),
            client
                .last_trouble
                .as_ref()
                .map(|trouble| out.news(false, &format!("{} ({})", trouble.what, moment(trouble.last))))
                .unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    let head = [
        "CLIENT",
        "ADDRESS OR CERTIFICATE",
        "SERVICE",
        "PROFILE",
        "SIGNED",
        "LEARNED",
        "LAST SEEN",
        "REQUESTS",
        "DROPPED",
        "LAST TROUBLE",
    ];
    out.table(&head, rows)?;
    if clients.is_empty() {
        out.line("there are no RADIUS clients")?;
    }
    Ok(Exit::Done)
}

/// The habit of a single address, or how many have which.
fn summary(learned: &[LearnedView]) -> String {
    if let [one] = learned {
        return one.habit.clone();
    }
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for view in learned {
        match counts.iter_mut().find(|(habit, _)| *habit == view.habit) {
            Some((_, count)) => *count += 1,
            None => counts.push((&view.habit, 1)),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(habit, count)| format!("{habit} {count}")).collect();
    counts.join(", ")
}

fn strangers(strangers: &[StrangerView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&strangers);
    }
    let rows = strangers.iter().map(|stranger| {
        vec![
            stranger.address.to_string(),
            stranger.packets.to_string(),
            moment(stranger.first),
            moment(stranger.last),
        ]
    });
    let rows = rows.collect();
    out.table(&["ADDRESS", "PACKETS", "FIRST", "LAST"], rows)?;
    if strangers.is_empty() {
        out.line("nobody since the server started")?;
    }
    Ok(Exit::Done)
}

fn show(view: &ClientView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(view);
    }
    let client = &view.client;
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    out.pairs(&[
        ("client", Some(client.name.clone())),
        (
            "addresses",
            Some(client.addresses.join(", ")).filter(|text| !text.is_empty()),
        ),
        (
            "certificate",
            Some(client.certificate.join(", ")).filter(|text| !text.is_empty()),
        ),
        ("service", Some(client.service.clone())),
        ("directory", Some(client.directory.clone())),
        ("profile", Some(client.profile.clone())),
        (
            "require_message_authenticator",
            Some(client.require_message_authenticator.clone()),
        ),
        ("limit_proxy_state", Some(client.limit_proxy_state.clone())),
        (
            "send_message_authenticator",
            Some(yes_or_no(client.send_message_authenticator)),
        ),
        ("last seen", Some(moment_or_never(client.last_seen))),
        ("requests", Some(client.requests.to_string())),
        ("dropped", Some(client.dropped.to_string())),
    ])?;
    if !client.learned.is_empty() {
        out.line("")?;
        let rows = client.learned.iter().map(|learned| {
            let since = learned.since.map(moment).unwrap_or_default();
            vec![learned.address.to_string(), learned.habit.clone(), since]
        });
        let rows = rows.collect();
        out.table(&["ADDRESS", "LEARNED", "SINCE"], rows)?;
    }
    out.line("")?;
    if view.troubles.is_empty() {
        out.line("no trouble since the server started")?;
    }
    for trouble in &view.troubles {
        print_trouble(trouble, out)?;
    }
    Ok(Exit::Done)
}

fn print_trouble(trouble: &TroubleView, out: &mut Out<'_>) -> Result<(), CliError> {
    let done = if trouble.dropped { "dropped" } else { "rejected" };
    let times = match trouble.times {
        1 => String::new(),
        times => format!(", {times} times since {}", moment(trouble.first)),
    };
    let user = match &trouble.user {
        Some(user) => format!(" (user {user})"),
        None => String::new(),
    };
    let what = out.tint(Tone::Bad, &trouble.what);
    let last = moment(trouble.last);
    out.line(format!("{last}  {done} from {}: {what}{user}{times}", trouble.source))?;
    out.line(format!("    {}", trouble.remedy))
}

fn test(report: &TestReport, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let exit = if report.is_sound() { Exit::Done } else { Exit::Refused };
    if out.json {
        out.json(report)?;
        return Ok(exit);
    }
    let rows = report.findings.iter().map(|finding| {
        let grade = match finding.grade {
            Grade::Good => out.news(true, "good"),
            Grade::Untold => out.tint(Tone::Faint, "-"),
            Grade::Warning => out.news(false, "warning"),
            Grade::Fault => out.news(false, "fault"),
        };
        vec![grade, finding.about.clone(), finding.text.clone()]
    });
    let rows = rows.collect();
    out.table(&["", "WHAT", "FOUND"], rows)?;
    Ok(exit)
}

fn forgotten(forgotten: &Forgotten, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(forgotten);
    }
    for address in &forgotten.addresses {
        out.line(format!("forgotten: {address}"))?;
    }
    if forgotten.addresses.is_empty() {
        out.line("nothing had been learned")?;
    }
    Ok(Exit::Done)
}

const LIST_HELP: &str = "\
SIGNED is require_message_authenticator. LEARNED is what an address was seen to do where something
is \"auto\": it signs (and must go on), is plain, or is an unsigned-proxy; for more than one
address, how many do what. Counts are since the server started.

Examples:
  portcullis client list
  portcullis client list --unknown            who asks without being a client?
  portcullis client list --json | jq '.[] | select(.dropped > 0)'";

const SHOW_HELP: &str = "\
Troubles are the last kinds of drops and refusals since the server started, at most 16 for each
client, each with what to do about it. Wrong passwords are not among them: `portcullis audit
search --client NAME`.

Example:
  portcullis client show vpn";

const TEST_HELP: &str = "\
Looks at addresses, shared secret, Message-Authenticator, directory and recent troubles. Where
this machine has an address of the client (as for clients on loopback), a Status-Server goes from
there to each of our UDP and TCP listeners with the client's secret; the answer proves that the
listener receives, takes the address for this client's, and signs with this secret. Of TLS
listeners it is told whether they show the certificate that is configured. What no test from here
can tell: whether the client has the same secret, and whether its packets get here; `client list
--unknown` and `client show` do, once it has tried. Exit code 1 when something is at fault.

Example:
  portcullis client test vpn";

const FORGET_HELP: &str = "\
For a client whose require_message_authenticator or limit_proxy_state is \"auto\" and that has
changed: the next request from an address decides anew. It is audited.

Examples:
  portcullis client forget vpn
  portcullis client forget branches 192.0.2.17";
