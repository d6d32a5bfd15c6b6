//! `portcullis token`

mod import;
mod yubico;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::output::{CliError, Out, confirm, grouped, moment, moment_or_never, read_secret};
use super::{Exit, UserArg, qr};
use crate::admin::api::{Enrolled, RenameTokenRequest, Resynced, TokenRef, TokenView};
use crate::admin::client::AdminClient;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Give a person a token; the seed and its QR code are shown this once
    #[command(after_help = ENROL_HELP)]
    Enrol(EnrolArgs),
    /// Give people their YubiKeys, from a list that ykman or the personalisation tool wrote
    #[command(after_help = yubico::IMPORT_HELP)]
    ImportYubico(yubico::ImportArgs),
    /// Give people the tokens that another system has enrolled for them
    #[command(after_help = import::IMPORT_HELP)]
    Import(import::ImportArgs),
    /// List a person's tokens
    #[command(after_help = LIST_HELP)]
    List(UserArg),
    /// Take a token away for good
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        token: TokenArg,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take a token's codes again
    Enable(TokenArg),
    /// Take no codes of a token until it is enabled again
    Disable(TokenArg),
    /// Give a token another name
    #[command(after_help = RENAME_HELP)]
    Rename {
        #[command(flatten)]
        token: TokenArg,
        /// The name from now on
        name: String,
    },
    /// Bring a token back into step by two consecutive codes
    #[command(after_help = RESYNC_HELP)]
    Resync {
        #[command(flatten)]
        token: TokenArg,
        /// A new code
        first: String,
        /// The code right after it
        second: String,
    },
}

#[derive(Debug, Args)]
struct EnrolArgs {
    #[command(flatten)]
    user: UserArg,
    /// By time (totp), by counter (hotp), or response to a challenge (ocra)
    #[arg(long, value_enum, default_value_t = KindArg::Totp)]
    kind: KindArg,
    /// Hash function; many apps know sha1 only
    #[arg(long, value_enum, default_value_t = AlgorithmArg::Sha1)]
    algorithm: AlgorithmArg,
    /// Digits of a code
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(6..=8))]
    digits: u8,
    /// Seconds in a step of a totp token: 30 or 60
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    period: u16,
    /// First counter of a hotp token
    #[arg(long, default_value_t = 0)]
    counter: u64,
    /// Name to tell it by [default: token-N]
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Whose token it is, as apps show it [default: Portcullis]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Read a given seed in base32 from standard input, for hardware tokens
    #[arg(long)]
    seed_stdin: bool,
    /// Read an otpauth:// URI from standard input, or typed unseen: it says what the token is like
    #[arg(long, conflicts_with_all = ["kind", "algorithm", "digits", "period", "counter", "seed_stdin", "svg", "png"])]
    uri: bool,
    /// Enrol a key that types Yubico OTP: its identities and AES key are read from standard input, or
    /// typed unseen
    #[arg(
        long,
        conflicts_with_all = ["kind", "algorithm", "digits", "period", "counter", "seed_stdin", "uri", "issuer", "svg", "png", "no_qr"]
    )]
    yubico: bool,
    /// Write the QR code to this SVG file as well, readable by you alone; it holds the seed
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the QR code to this PNG file as well, readable by you alone; it holds the seed
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Print no QR code
    #[arg(long)]
    no_qr: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    Totp,
    Hotp,
    Ocra,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AlgorithmArg {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Clone, Debug, Args)]
struct TokenArg {
    #[command(flatten)]
    user: UserArg,
    /// Number or name of the token, as `token list` shows them
    token: String,
}

impl TokenArg {
    fn to_request(&self) -> TokenRef {
        TokenRef {
            user: self.user.user.clone(),
            directory: self.user.directory.clone(),
            token: self.token.clone(),
        }
    }
}

pub(super) async fn run(args: TokenArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Enrol(args) if args.yubico => yubico::enrol(&args.user, args.label.as_deref(), client, out).await,
        Verb::Enrol(args) => enrol(&args, client, out).await,
        Verb::ImportYubico(args) => yubico::import(&args, client, out).await,
        Verb::Import(args) => import::import(&args, client, out).await,
        Verb::List(user) => {
            let tokens: Vec<TokenView> = client.get("/v1/tokens", &user.to_request()).await?;
            if out.json {
                return out.json(&tokens);
            }
            if tokens.is_empty() {
                out.line(format!("{} has no tokens", user.user))?;
            }
            print_tokens(&tokens, out)?;
            Ok(Exit::Done)
        }
        Verb::Revoke { token, yes } => {
            let question = format!("Revoke token `{}` of {}?", token.token, token.user.user);
            if !confirm(yes, &question)? {
                return Ok(Exit::Refused);
            }
            let revoked: TokenView = client.post("/v1/token/revoke", &token.to_request()).await?;
            done(&revoked, &token, "revoked", out)
        }
        Verb::Enable(token) => {
            let enabled: TokenView = client.post("/v1/token/enable", &token.to_request()).await?;
            done(&enabled, &token, "enabled", out)
        }
        Verb::Disable(token) => {
            let disabled: TokenView = client.post("/v1/token/disable", &token.to_request()).await?;
            done(&disabled, &token, "disabled", out)
        }
        Verb::Rename { token, name } => {
            let request = RenameTokenRequest {
                user: token.user.user.clone(),
                directory: token.user.directory.clone(),
                token: token.token.clone(),
                label: name,
            };
            let renamed: TokenView = client.post("/v1/token/rename", &request).await?;
            if out.json {
                return out.json(&renamed);
            }
            let user = &token.user.user;
            out.line(format!(
                "token {} of {user} is called `{}` now",
                renamed.id, renamed.label
            ))?;
            Ok(Exit::Done)
        }
        Verb::Resync { token, first, second } => {
            let request = serde_json::json!({
                "user": token.user.user, "directory": token.user.directory, "token": token.token,
                "first": first, "second": second,
            });
            let resynced: Resynced = client.post("/v1/token/resync", &request).await?;
            if out.json {
                return out.json(&resynced);
            }
            let id = resynced.token.id;
            out.line(format!(
                "token {id} of {} is in step; it was {} off",
                token.user.user, resynced.offset
            ))?;
            Ok(Exit::Done)
        }
    }
}

async fn enrol(args: &EnrolArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let seed = args.seed_stdin.then(|| read_secret("Seed (base32): ")).transpose()?;
    let uri = args.uri.then(|| read_secret("URI (otpauth://…): ")).transpose()?;
    let request = serde_json::json!({
        "user": args.user.user,
        "directory": args.user.directory,
        "kind": match args.kind { KindArg::Totp => "totp", KindArg::Hotp => "hotp", KindArg::Ocra => "ocra" },
        "algorithm": match args.algorithm {
            AlgorithmArg::Sha1 => "sha1",
            AlgorithmArg::Sha256 => "sha256",
            AlgorithmArg::Sha512 => "sha512",
        },
        "digits": args.digits,
        "period": args.period,
        "counter": args.counter,
        "label": args.label,
        "issuer": args.issuer,
        "seed": seed.as_ref().and_then(Secret::expose_str),
        "uri": uri.as_ref().and_then(Secret::expose_str),
    });
    let enrolled: Enrolled = client.post("/v1/token/enrol", &request).await?;
    if let Some(file) = &args.svg {
        qr::write_svg(&enrolled.uri, file)?;
    }
    if let Some(file) = &args.png {
        qr::write_png(&enrolled.uri, file)?;
    }
    if out.json {
        return out.json(&enrolled);
    }
    let token = &enrolled.token;
    out.line(format!(
        "{} has token {} `{}` now",
        args.user.user, token.id, token.label
    ))?;
    if args.uri {
        // Whoever has the URI has scanned it, or will.
        return Ok(Exit::Done);
    }
    if !args.no_qr {
        out.line(qr::blocks(&enrolled.uri)?)?;
    }
    out.pairs(&[
        ("seed", Some(grouped(&enrolled.seed))),
        ("uri", Some(enrolled.uri.clone())),
    ])?;
    out.line("Shown this once. Scan it with an authenticator app, or type the seed.")?;
    Ok(Exit::Done)
}

fn done(token: &TokenView, arg: &TokenArg, what: &str, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(token);
    }
    out.line(format!(
        "token {} `{}` of {} is {what}",
        token.id, token.label, arg.user.user
    ))?;
    Ok(Exit::Done)
}

pub(super) fn print_tokens(tokens: &[TokenView], out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = tokens.iter().map(|token| {
        let shape = match (token.period, token.counter) {
            (Some(period), _) => format!("{} digits, {period} s", token.digits),
            (None, Some(counter)) => format!("{} digits, counter {counter}", token.digits),
            (None, None) => format!("{} digits", token.digits),
        };
        let (kind, shape) = match (&token.public, &token.suite) {
            (Some(public), _) => (token.kind.word().to_owned(), format!("key {public}")),
            (None, Some(suite)) => (token.kind.word().to_owned(), suite.clone()),
            (None, None) => (format!("{} {}", token.kind.word(), algorithm(token)), shape),
        };
        vec![
            token.id.to_string(),
            token.label.clone(),
            kind,
            shape,
            out.news(token.enabled, if token.enabled { "enabled" } else { "disabled" }),
            token.failures.to_string(),
            moment(token.enrolled),
            moment_or_never(token.last_used),
        ]
    });
    let rows = rows.collect();
    let head = [
        "TOKEN",
        "LABEL",
        "KIND",
        "CODES",
        "STATE",
        "FAILURES",
        "ENROLLED",
        "LAST USED",
    ];
    out.table(&head, rows)
}

fn algorithm(token: &TokenView) -> &'static str {
    use crate::admin::api::Algorithm;
    match token.algorithm {
        Algorithm::Sha1 => "sha1",
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    }
}

const ENROL_HELP: &str = "\
The seed is random: 160, 256 or 512 bits, as long as the hash function's output. A given one is
taken from standard input so that it does not show in the list of processes; 80 bits is the least.
An otpauth:// URI of another system (the text behind its QR code) is taken the same way; what it
leaves out is SHA-1, 6 digits, 30 seconds.

A YubiKey is enrolled by its public identity, private identity and AES key, one a line, or by one
line of the list that ykman wrote; a code that it types after them is checked. An ocra token
answers challenges of eight digits with 6 digits (sha1) or 8 (sha256, sha512).

Examples:
  portcullis token enrol ana --label phone
  portcullis token enrol ana --svg ana.svg --no-qr
  portcullis token enrol ana --kind hotp --digits 8 --seed-stdin < seed.txt
  portcullis token enrol ana --uri --label old-phone < uri.txt
  portcullis token enrol ana --yubico --label blue-key
  portcullis token enrol ana --kind ocra --algorithm sha256 --label pad
  portcullis token enrol ana --json | jq -r .uri";

const LIST_HELP: &str = "\
Example:
  portcullis token list ana";

const REVOKE_HELP: &str = "\
Whoever had a token once is never let in with the password alone afterwards: where a rule asks for
a second factor, they need a new one. `token disable` is the step that can be undone.

Examples:
  portcullis token revoke ana 2
  portcullis token revoke ana phone --yes";

const RENAME_HELP: &str = "\
Example:
  portcullis token rename ana token-1 phone";

const RESYNC_HELP: &str = "\
For a token whose clock has drifted or whose button was pressed too often. Codes that were used,
or that are older than one that was used, are refused. Both codes are spent by it.

People can do it alone: a code that was refused, and the one after it at the next login within
ten minutes, bring a token back that is up to 20 steps (or 100 presses) off.

Example:
  portcullis token resync ana 1 492811 360127";
