//! `portcullis token import`: tokens that other systems have enrolled.

mod cipher;
mod lists;
mod privacyidea;
mod pskc;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Serialize;
use zeroize::Zeroizing;

use super::AlgorithmArg;
use crate::admin::api::{ImportTokensRequest, ImportedToken};
use crate::admin::client::AdminClient;
use crate::cli::Exit;
use crate::cli::output::{CliError, Out, read_secret};
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file, as the other system wrote it
    file: PathBuf,
    /// What it is
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Whose token it is, where there is one in the file
    #[arg(long, value_name = "NAME", conflicts_with_all = ["user_column", "map"])]
    user: Option<String>,
    /// Which column says whose token it is: a number from 1, or its name in the first line; for csv
    #[arg(long, value_name = "COLUMN")]
    user_column: Option<String>,
    /// Whose token is whose: a file of lines `SERIAL,NAME`
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Keep what follows the @ in names of people, instead of taking it for a realm
    #[arg(long)]
    keep_realm: bool,
    /// How seeds are written, where that is not to be seen; for csv
    #[arg(long, value_enum)]
    seed: Option<SeedArg>,
    /// Hash function of tokens of which the file does not say it
    #[arg(long, value_enum, default_value_t = AlgorithmArg::Sha1)]
    algorithm: AlgorithmArg,
    /// Ask this directory only
    #[arg(long, value_name = "NAME")]
    directory: Option<String>,
    /// Enrol what is sound, even if something else in the file is not
    #[arg(long)]
    skip_faulty: bool,
    /// Only say what would be enrolled, and what not
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Find out
    Auto,
    /// otpauth:// URIs, one a line
    Otpauth,
    /// Comma-separated values: with names of columns, or as privacyIDEA, LinOTP and makers of tokens write them
    Csv,
    /// PSKC (RFC 6030), plain or encrypted
    Pskc,
    /// privacyIDEA's own export (pi-tokenjanitor find export)
    Privacyidea,
    /// A users file of pam_oath or mod_authn_otp (users.oath), as used with FreeRADIUS
    Oath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SeedArg {
    Hex,
    Base32,
}

/// A token as it stands in a file.
#[derive(Debug)]
struct Given {
    /// Line, or number of the token in the file.
    at: u64,
    user: Option<String>,
    serial: Option<String>,
    kind: Kind,
    algorithm: Option<Algorithm>,
    digits: u8,
    period: u16,
    counter: u64,
    drift: i16,
    disabled: bool,
    material: Material,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hotp,
    Totp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Debug)]
enum Material {
    Seed(Zeroizing<Vec<u8>>),
    /// A URI, which says everything else too.
    Uri(Zeroizing<String>),
}

impl Default for Given {
    fn default() -> Self {
        Self {
            at: 0,
            user: None,
            serial: None,
            kind: Kind::Hotp,
            algorithm: None,
            digits: 6,
            period: 30,
            counter: 0,
            drift: 0,
            disabled: false,
            material: Material::Seed(Zeroizing::default()),
        }
    }
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Read {
    tokens: Vec<Given>,
    /// What is not for us, and why: at which place.
    skipped: Vec<Told>,
    /// What is wrong.
    faults: Vec<Told>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Told {
    at: u64,
    message: String,
}

impl Read {
    fn skip(&mut self, at: u64, message: impl Into<String>) {
        self.skipped.push(Told {
            at,
            message: message.into(),
        });
    }

    fn fault(&mut self, at: u64, message: impl Into<String>) {
        self.faults.push(Told {
            at,
            message: message.into(),
        });
    }

    fn take(&mut self, at: u64, token: Result<Given, Refused>) {
        match token {
            Ok(token) => self.tokens.push(Given { at, ..token }),
            Err(Refused::Skip(why)) => self.skip(at, why),
            Err(Refused::Fault(why)) => self.fault(at, why),
        }
    }
}

/// Why an entry of a file is not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It is not meant for us: another kind of token.
    Skip(String),
    /// It is wrong.
    Fault(String),
}

fn fault(why: impl Into<String>) -> Refused {
    Refused::Fault(why.into())
}

/// Enrols every token of a file, or none if one of them would be refused.
pub(super) async fn import(args: &ImportArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let mut report = Report::default();
    let (file, mode) = open(&args.file)?;
    if mode & 0o077 != 0 {
        report.warnings.push(format!(
            "{} is readable by others (mode {mode:o}); it holds seeds",
            args.file.display()
        ));
    }
    let mut read = read(args, file)?;
    owners(args, &mut read)?;
    let mut known = HashSet::new();
    twice(&mut read);
    if read.tokens.is_empty() && read.faults.is_empty() && read.skipped.is_empty() {
        read.fault(1, "there is no token in the file");
    }
    if read.faults.is_empty() || args.skip_faulty {
        let tried = send(&read.tokens, args, true, client).await?;
        for (at, tried) in &tried {
            if let Some(error) = &tried.error {
                read.fault(*at, error.clone());
            }
        }
        known.extend(tried.iter().filter(|(_, tried)| tried.known).map(|(at, _)| *at));
    }
    let bad: HashSet<u64> = read.faults.iter().map(|fault| fault.at).collect();
    read.tokens
        .retain(|token| !known.contains(&token.at) && !bad.contains(&token.at));
    report.known = known.len();
    report.sound = read.tokens.len();
    let stop = !read.faults.is_empty() && !args.skip_faulty;
    if !stop && !args.dry_run {
        let done = send(&read.tokens, args, false, client).await?;
        for (at, done) in done {
            match done.error {
                Some(error) => read.fault(at, error),
                None => report.enrolled += 1,
            }
        }
    }
    report.skipped = read.skipped;
    report.faults = read.faults;
    report.faults.sort_by_key(|fault| fault.at);
    report.tell(args, stop, out)
}

/// What a run came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    enrolled: usize,
    /// What could be enrolled.
    sound: usize,
    /// What people have already.
    known: usize,
    skipped: Vec<Told>,
    faults: Vec<Told>,
    warnings: Vec<String>,
}

impl Report {
    fn tell(&self, args: &ImportArgs, stopped: bool, out: &mut Out<'_>) -> Result<Exit, CliError> {
        let exit = match (self.faults.is_empty(), self.enrolled) {
            (true, _) => Exit::Done,
            (false, 0) => Exit::Usage,
            (false, _) => Exit::Refused,
        };
        if out.json {
            out.json(self)?;
            return Ok(exit);
        }
        for warning in &self.warnings {
            out.line(out.news(false, warning))?;
        }
        let file = args.file.display();
        for told in &self.skipped {
            out.line(format!("{file}:{}: skipped: {}", told.at, told.message))?;
        }
        for told in &self.faults {
            out.line(out.news(false, &format!("{file}:{}: {}", told.at, told.message)))?;
        }
        let rest = format!(
            "{} are enrolled already, {} skipped, {} faulty",
            self.known,
            self.skipped.len(),
            self.faults.len()
        );
        if args.dry_run {
            out.line(format!("{} tokens could be enrolled; {rest}", self.sound))?;
        } else if stopped {
            out.line(format!("Nothing was enrolled; {} tokens could be; {rest}", self.sound))?;
        } else {
            out.line(format!("{} tokens are enrolled; {rest}", self.enrolled))?;
        }
        Ok(exit)
    }
}

fn open(path: &PathBuf) -> Result<(File, u32), CliError> {
    let failed = |error: std::io::Error| CliError::File(format!("{}: {error}", path.display()), None);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > MAX_FILE {
        let what = format!("{} has more than {} MiB", path.display(), MAX_FILE >> 20);
        return Err(CliError::File(what, Some("divide it")));
    }
    Ok((file, metadata.permissions().mode() & 0o777))
}

fn read(args: &ImportArgs, file: File) -> Result<Read, CliError> {
    let mut input = BufReader::with_capacity(64 * 1024, file);
    let start = input.fill_buf().map_err(CliError::Io)?;
    let format = match args.format {
        Format::Auto => guessed(start),
        said @ (Format::Otpauth | Format::Csv | Format::Pskc | Format::Privacyidea | Format::Oath) => said,
    };
    let mut secret = |what: &str| read_secret(what);
    match format {
        Format::Otpauth => lists::otpauth(input),
        Format::Oath => lists::users_file(input),
        Format::Pskc => pskc::read(input, &mut secret),
        Format::Privacyidea => privacyidea::read(input, &mut secret),
        Format::Csv | Format::Auto => lists::csv(input, args.user_column.as_deref(), args.seed),
    }
}

/// By how a file begins.
fn guessed(start: &[u8]) -> Format {
    let start = start.trim_ascii_start();
    let begins = |word: &str| {
        start
            .get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    if begins("<") || begins("\u{feff}<") {
        Format::Pskc
    } else if begins("otpauth://") {
        Format::Otpauth
    } else if begins("gAAAA") || begins("[") {
        Format::Privacyidea
    } else if ["HOTP ", "HOTP\t", "HOTP/", "MOTP ", "MOTP\t", "MOTP/"]
        .iter()
        .any(|word| begins(word))
    {
        Format::Oath
    } else {
        Format::Csv
    }
}

/// Finds out whose tokens they are. What nobody is named for is skipped.
fn owners(args: &ImportArgs, read: &mut Read) -> Result<(), CliError> {
    let map = args
        .map
        .as_deref()
        .map(lists::map)
        .transpose()?
        .unwrap_or_else(HashMap::new);
    if let (Some(user), [only]) = (&args.user, &mut *read.tokens) {
        only.user = Some(user.clone());
        return Ok(());
    }
    if let Some(user) = &args.user {
        if let Some(second) = read.tokens.get(1).map(|token| token.at) {
            read.fault(
                second,
                format!("a second token for `{user}`: say with --user-column or --map whose each of them is"),
            );
        }
        return Ok(());
    }
    let mut nobodys = Vec::new();
    read.tokens.retain_mut(|token| {
        let mapped = token.serial.as_ref().and_then(|serial| map.get(serial));
        let named = mapped
            .cloned()
            .or_else(|| token.user.take().map(|user| without_realm(&user, args.keep_realm)));
        token.user = named.filter(|user| !user.is_empty());
        if token.user.is_none() {
            nobodys.push(token.at);
        }
        token.user.is_some()
    });
    for at in nobodys {
        read.skip(at, "nobody is named for it");
    }
    Ok(())
}

fn without_realm(user: &str, keep: bool) -> String {
    match user.rsplit_once('@') {
        Some((user, _)) if !keep => user.to_owned(),
        Some(_) | None => user.to_owned(),
    }
}

/// A seed that two people would have, or a name that two tokens of a person would: nobody else would see it before
/// the first of them is enrolled.
fn twice(read: &mut Read) {
    let mut seeds: HashMap<[u8; 32], u64> = HashMap::new();
    let mut names: HashMap<(String, String), u64> = HashMap::new();
    let mut faults = Vec::new();
    for token in &read.tokens {
        let octets: &[u8] = match &token.material {
            Material::Seed(seed) => seed,
            Material::Uri(uri) => uri.as_bytes(),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, octets);
        let kind = u8::from(token.kind == Kind::Totp);
        let mut key = [0; 32];
        key.copy_from_slice(digest.as_ref());
        if let Some(first) = key.first_mut() {
            *first = *first & 0xfe | kind;
        }
        if let Some(first) = seeds.insert(key, token.at) {
            faults.push((token.at, format!("the same seed as at {first}")));
        } else if let (Some(user), Some(serial)) = (&token.user, &token.serial)
            && let Some(first) = names.insert((user.clone(), serial.clone()), token.at)
        {
            faults.push((token.at, format!("`{user}` has `{serial}` at {first} already")));
        }
    }
    for (at, message) in faults {
        read.fault(at, message);
    }
}

type Sent = Vec<(u64, ImportedToken)>;

async fn send(tokens: &[Given], args: &ImportArgs, dry_run: bool, client: &AdminClient) -> Result<Sent, CliError> {
    let mut all = Vec::with_capacity(tokens.len());
    for some in tokens.chunks(ImportTokensRequest::MOST) {
        let wanted: Vec<serde_json::Value> = some.iter().map(|token| request(token, args)).collect();
        let body = serde_json::json!({ "tokens": wanted, "dry_run": dry_run });
        let done: Vec<ImportedToken> = client.post("/v1/token/import", &body).await?;
        all.extend(some.iter().map(|token| token.at).zip(done));
    }
    Ok(all)
}

fn request(token: &Given, args: &ImportArgs) -> serde_json::Value {
    let (user, directory, label) = (&token.user, &args.directory, &token.serial);
    let wanted = match &token.material {
        Material::Uri(uri) => serde_json::json!({
            "user": user, "directory": directory, "label": label, "uri": **uri,
        }),
        Material::Seed(seed) => serde_json::json!({
            "user": user, "directory": directory, "label": label,
            "seed": BASE32_NOPAD.encode(seed),
            "kind": match token.kind {
                Kind::Hotp => "hotp",
                Kind::Totp => "totp",
            },
            "algorithm": token.algorithm.unwrap_or(args.algorithm.into()).word(),
            "digits": token.digits,
            "period": token.period,
            "counter": token.counter,
        }),
    };
    serde_json::json!({ "token": wanted, "drift": token.drift, "disabled": token.disabled })
}

impl Algorithm {
    const fn word(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// `sha1`, `SHA-256`, `HMAC-SHA512`, `HmacSHA1`.
    fn parse(name: &str) -> Result<Self, Refused> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().trim_start_matches("hmac") {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(fault(format!("`{name}` is no hash function that tokens here have"))),
        }
    }
}

impl From<AlgorithmArg> for Algorithm {
    fn from(arg: AlgorithmArg) -> Self {
        match arg {
            AlgorithmArg::Sha1 => Self::Sha1,
            AlgorithmArg::Sha256 => Self::Sha256,
            AlgorithmArg::Sha512 => Self::Sha512,
        }
    }
}

impl Kind {
    fn parse(name: &str) -> Result<Self, Refused> {
        match name.to_ascii_lowercase().as_str() {
            "hotp" => Ok(Self::Hotp),
            "totp" => Ok(Self::Totp),
            _ => Err(Refused::Skip(format!("a token of kind `{name}`"))),
        }
    }
}

/// A number; the text is named, for it is no secret.
fn number<N: std::str::FromStr>(text: &str, what: &str) -> Result<N, Refused> {
    text.trim().parse().map_err(|_| fault(format!("`{text}` is no {what}")))
}

/// Seconds, as steps.
fn steps(seconds: f64, period: u16) -> i16 {
    let steps = (seconds / f64::from(period.max(1))).round();
    #[allow(clippy::cast_possible_truncation, reason = "the float saturates")]
    let steps = steps as i16;
    steps
}

/// A seed in hexadecimal or base32. The text is never told.
fn seed(text: &str, written: Option<SeedArg>) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let plain: Zeroizing<String> = Zeroizing::new(
        text.chars()
            .filter(|character| !character.is_whitespace() && !matches!(character, '-' | '='))
            .collect(),
    );
    let hex = || HEXLOWER_PERMISSIVE.decode(plain.as_bytes()).ok().map(Zeroizing::new);
    let base32 = || {
        let upper = Zeroizing::new(plain.to_uppercase());
        BASE32_NOPAD.decode(upper.as_bytes()).ok().map(Zeroizing::new)
    };
    let decoded = match written {
        Some(SeedArg::Hex) => hex(),
        Some(SeedArg::Base32) => base32(),
        None => hex().or_else(base32),
    };
    match decoded {
        Some(seed) if !seed.is_empty() => Ok(seed),
        Some(_) | None => Err(fault("the seed reads neither as hexadecimal nor as base32")),
    }
}

/// How a secret is asked for.
type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<Secret, CliError>;

/// Longest file that is read, in octets.
const MAX_FILE: u64 = 128 * 1024 * 1024;

pub(super) const IMPORT_HELP: &str = "\
Taken are HOTP and TOTP tokens with all they bring: seed, counter, drift, digits, algorithm, period,
whether they are switched off. The serial number becomes the token's name. All of the file is checked
first; if anything in it would be refused, nothing is enrolled (--skip-faulty takes the rest), and each
fault is printed as FILE:LINE (for PSKC and privacyIDEA: FILE:NUMBER of the token). What people have
already is left as it is, so a file can be read again.

Whose tokens they are comes from the file, from a column of it, or from a list of serial numbers. The
key or password of an encrypted file is asked for, or read from standard input. The file holds seeds:
destroy it afterwards.

Examples:
  portcullis token import tokens.xml --map owners.csv --dry-run
  portcullis token import tokens.csv --user-column upn --keep-realm
  portcullis token import export.pi --format privacyidea < key.txt
  portcullis token import uris.txt
  portcullis token import /etc/users.oath";
