//! `portcullis login radius`

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::Exit;
use crate::cli::output::{CliError, Out, in_full, read_secret};
use crate::dictionary::{Dictionary, Pair, Path};
use crate::radius::attribute::{MESSAGE_AUTHENTICATOR, REPLY_MESSAGE};
use crate::radius::channel::Channel;
use crate::radius::crypto::SharedSecret;
use crate::radius::exchange::{
    Exchange, Failure, Patience, Reply, Target, TlsTarget, Transport, Version, radsec_secret,
};
use crate::radius::login::{Challenge, Login, LoginError, Method, Outcome};
use crate::secret::Secret;
use crate::tls;
use crate::tls::client::{Settings, Trust};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct RadiusArgs {
    /// Address and port of the server
    server: SocketAddr,
    /// Login name
    #[arg(long)]
    user: String,
    /// The shared secret; others on this machine see it in the list of processes
    #[arg(long, conflicts_with = "secret_file")]
    secret: Option<String>,
    /// File that holds the shared secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// NAS-Identifier to send
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    nas_identifier: String,
    /// How the password is proven
    #[arg(long, value_enum, default_value_t = By::Pap)]
    method: By,
    /// How packets travel
    #[arg(long, value_enum, default_value_t = Via::Udp)]
    transport: Via,
    /// Authorities that may have issued the server's certificate (PEM); else the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// SHA-256 fingerprint of the server's certificate, to be trusted whoever issued it
    #[arg(long, value_name = "HEX", conflicts_with_all = ["ca", "server_name"])]
    fingerprint: Option<String>,
    /// The own certificate, with its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The private key of the own certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The name that the server's certificate must be for; else its address
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Version of RADIUS over TLS
    #[arg(long, value_enum, default_value_t = Spoken::Auto)]
    radius_version: Spoken,
    /// Believe replies without Message-Authenticator, which can be forged
    #[arg(long)]
    allow_unsigned: bool,
    /// Attribute to send along, by its name in the dictionary; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// Seconds to wait for each reply, three times
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// It is sent, hidden
    Pap,
    /// By a response to a challenge
    Chap,
    /// By a response, and the server's proof in return
    #[value(name = "mschapv2")]
    MsChapV2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// Datagrams
    Udp,
    /// A TCP connection without TLS
    Tcp,
    /// TLS
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spoken {
    /// What the server chooses
    Auto,
    /// RADIUS/1.0
    #[value(name = "1.0")]
    V1_0,
    /// RADIUS/1.1
    #[value(name = "1.1")]
    V1_1,
}

pub(super) async fn run(args: &RadiusArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let target = args.target()?;
    let pairs = args.pairs()?;
    let password = read_secret("Password: ")?;
    let exchange = Exchange::connect(target, Patience::steady(Duration::from_secs(args.timeout), 3));
    let login = Login::new(exchange.clone())
        .nas_identifier(&args.nas_identifier)
        .method(args.method.into())
        .pairs(&pairs);
    let mut asked = Vec::new();
    let outcome = login.login(&args.user, &password, |challenge| {
        asked.push(challenge.messages.join(" "));
        answer(challenge)
    });
    let outcome = outcome.await.map_err(|error| match error {
        LoginError::TooLong | LoginError::NotText => CliError::Usage(in_full(&error), None),
        LoginError::Failed(failure) => CliError::Away(in_full(&failure), advice(&failure)),
        LoginError::Endless => CliError::Local(in_full(&error)),
    })?;
    let (word, reply, exit) = match &outcome {
        Outcome::Accept(reply) => ("accepted", Some(reply), Exit::Done),
        Outcome::Unproven(reply) => ("accepted without proof", Some(reply), Exit::Refused),
        Outcome::Reject(reply) => ("rejected", Some(reply), Exit::Refused),
        Outcome::Abandoned => ("given up", None, Exit::Refused),
        Outcome::Timeout { .. } => ("no reply", None, Exit::Unreachable),
    };
    let messages = reply.map(|reply| reply.messages()).unwrap_or_default();
    if out.json {
        let channel = exchange.channel().to_string();
        out.json(&serde_json::json!({
            "outcome": word, "challenges": asked, "messages": messages, "channel": channel,
            "attributes": reply.map(named).unwrap_or_default(),
        }))?;
        return Ok(exit);
    }
    let text = out.news(exit == Exit::Done, word);
    out.line(text)?;
    for message in &messages {
        out.line(message)?;
    }
    for attribute in reply.map(named).unwrap_or_default() {
        out.line(format!("  {attribute}"))?;
    }
    match outcome {
        Outcome::Timeout { unproven: 0 } => {
            out.line("Nothing came back. Is the server up, the address right, this machine one of its clients, the shared secret the same on both sides? To requests that do not verify it says nothing.")?;
        }
        Outcome::Timeout { unproven } => {
            out.line(unproven_text(unproven, exchange.channel(), args.allow_unsigned))?;
        }
        Outcome::Unproven(_) => {
            out.line("The server lets the user in, but has not proven that it knows the password (MS-CHAP2-Success): a peer gives up on this.")?;
        }
        Outcome::Accept(_) | Outcome::Reject(_) | Outcome::Abandoned => {}
    }
    Ok(exit)
}

impl From<By> for Method {
    fn from(by: By) -> Self {
        match by {
            By::Pap => Self::Pap,
            By::Chap => Self::Chap,
            By::MsChapV2 => Self::MsChapV2,
        }
    }
}

/// The attributes of a reply by their names, but for what is shown already and what proves the reply.
fn named(reply: &Reply) -> Vec<String> {
    let shown = [REPLY_MESSAGE, MESSAGE_AUTHENTICATOR].map(Path::Standard);
    Dictionary::shipped()
        .name(reply.attributes().rest())
        .filter(|named| !shown.contains(&named.path))
        .map(|named| named.for_log().to_string())
        .collect()
}

fn unproven_text(unproven: u32, channel: Channel, unsigned: bool) -> String {
    let cause = match channel {
        Channel::Tls => "the shared secret is wrong, most likely.",
        Channel::Udp | Channel::Tcp if unsigned => "the shared secret is wrong, most likely.",
        Channel::Udp | Channel::Tcp => {
            "the shared secret is wrong, most likely, or the server sends no Message-Authenticator (--allow-unsigned)."
        }
        Channel::Tls11 => "they are of the wrong kind.",
    };
    format!("{unproven} replies did not prove themselves: {cause}")
}

fn advice(failure: &Failure) -> Option<&'static str> {
    match failure {
        Failure::Connect { .. } => Some("look at the address, at --ca, --server-name and --certificate"),
        Failure::Lost { .. } => Some("over TLS, it may want another --certificate; else, this machine as a client"),
        Failure::TooLong | Failure::Busy(_) | Failure::Silence { .. } | Failure::Refused { .. } => None,
    }
}

impl RadiusArgs {
    fn target(&self) -> Result<Target, CliError> {
        let transport = match self.transport {
            Via::Udp => Transport::Udp(self.agreed_secret()?),
            Via::Tcp => Transport::Tcp(self.agreed_secret()?),
            Via::Tls => Transport::Tls(self.tls()?),
        };
        Ok(Target {
            address: self.server,
            transport,
            signed_replies: !self.allow_unsigned,
        })
    }

    fn pairs(&self) -> Result<Vec<Pair>, CliError> {
        let read = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("`{text}` is not NAME=VALUE"), None))?;
            let pair = Dictionary::shipped().pair(name.trim(), value.trim());
            pair.map_err(|error| CliError::Usage(error, None))
        };
        self.attributes.iter().map(read).collect()
    }

    fn tls(&self) -> Result<TlsTarget, CliError> {
        let version = match self.radius_version {
            Spoken::Auto => Version::Auto,
            Spoken::V1_0 => Version::V1_0,
            Spoken::V1_1 => Version::V1_1,
        };
        let faulty = |error: tls::TlsError| CliError::File(in_full(&error), None);
        let trust = match &self.fingerprint {
            Some(fingerprint) => Trust::Fingerprint(
                fingerprint
                    .parse()
                    .map_err(|error: tls::TlsError| CliError::Usage(in_full(&error), None))?,
            ),
            None => Trust::Authorities(self.ca.as_deref()),
        };
        let settings = Settings {
            trust,
            identity: self.certificate.as_deref().zip(self.key.as_deref()),
            protocols: version.alpn(),
        };
        let address = self.server.ip().to_string();
        let name = self.server_name.as_deref().unwrap_or(&address);
        Ok(TlsTarget {
            config: settings.config().map_err(faulty)?,
            name: tls::server_name(name).map_err(|error| CliError::Usage(in_full(&error), None))?,
            secret: self
                .secret()?
                .map_or_else(radsec_secret, |secret| SharedSecret::new(&secret)),
            version,
        })
    }

    fn agreed_secret(&self) -> Result<SharedSecret, CliError> {
        let secret = self.secret()?;
        let missing = || CliError::Usage("a shared secret is needed".into(), Some("give --secret-file"));
        secret.as_ref().map(SharedSecret::new).ok_or_else(missing)
    }

    fn secret(&self) -> Result<Option<Secret>, CliError> {
        if let Some(secret) = &self.secret {
            return Ok(Some(Secret::new(secret.as_bytes())));
        }
        let Some(file) = &self.secret_file else {
            return Ok(None);
        };
        let text = std::fs::read(file).map(zeroize::Zeroizing::new);
        let text = text.map_err(|error| CliError::File(format!("{}: {error}", file.display()), None))?;
        Ok(Some(Secret::new(text.trim_ascii_end())))
    }
}

/// Shows the question and reads the answer; the end of the input gives up.
fn answer(challenge: &Challenge) -> Option<Secret> {
    let prompt = challenge.messages.join(" ");
    let prompt: String = prompt.chars().filter(|character| !character.is_control()).collect();
    let answer = if challenge.echo || !io::stdin().is_terminal() {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt} ").and_then(|()| stderr.flush()).ok()?;
        let mut line = zeroize::Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).ok().filter(|octets| *octets > 0)?;
        Secret::new(line.trim_end_matches(['\r', '\n']))
    } else {
        read_secret(&format!("{prompt} ")).ok()?
    };
    (!answer.is_empty()).then_some(answer)
}

const HELP: &str = "\
The password is typed unseen, or read as the first line of standard input; the answers to
challenges are the lines after it. The server must know this machine as a client. Exit code 0 when
accepted, 1 when rejected, 3 when nothing came back. Over TLS the secret is `radsec` unless
another is given.

Examples:
  portcullis login radius 127.0.0.1:1812 --secret-file radius.secret --user ana
  portcullis login radius 127.0.0.1:2083 --transport tls --ca ca.pem --certificate nas.pem --key nas.key --user ana
  portcullis login radius 127.0.0.1:1812 --secret-file radius.secret --method mschapv2 --user ana
  printf 'correct-horse\\n492811\\n' | portcullis login radius 127.0.0.1:1812 --secret-file s --user ana";
