//! Files with a token on each line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Algorithm, Given, Kind, Material, Read, Refused, SeedArg, fault, number, seed};
use crate::cli::output::CliError;

/// `otpauth://` URIs. Whose they are stands in the label: `otpauth://totp/issuer:name?…`.
pub(super) fn otpauth(input: impl BufRead) -> Result<Read, CliError> {
    let mut read = Read::default();
    each_line(input, |at, line| {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let label = line
            .split_once("://")
            .and_then(|(_, rest)| rest.split(['?', '#']).next()?.split_once('/'));
        let Some((kind, label)) = label else {
            read.fault(at, "this is not an otpauth:// URI");
            return;
        };
        let name = percent_decoded(label);
        let name = name.rsplit_once(':').map_or(name.as_str(), |(_, name)| name).trim();
        let token = Kind::parse(kind).map(|kind| Given {
            user: Some(name.to_owned()),
            kind,
            material: Material::Uri(Zeroizing::new(line.to_owned())),
            ..Given::default()
        });
        read.take(at, token);
    })?;
    Ok(read)
}

/// A users file: `HOTP/T30/6 name pin key counter last-code moment`, as pam_oath and mod_authn_otp keep it.
pub(super) fn users_file(input: impl BufRead) -> Result<Read, CliError> {
    let mut read = Read::default();
    each_line(input, |at, line| {
        if !line.is_empty() && !line.starts_with('#') {
            read.take(at, user_line(line));
        }
    })?;
    Ok(read)
}

fn user_line(line: &str) -> Result<Given, Refused> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [kind, user, _pin, key, rest @ ..] = fields.as_slice() else {
        return Err(fault("kind, name, PIN and key are not all there"));
    };
    let mut parts = kind.split('/');
    if !parts.next().unwrap_or_default().eq_ignore_ascii_case("HOTP") {
        return Err(Refused::Skip(format!("a token of kind `{kind}`")));
    }
    let mut token = Given {
        user: Some((*user).to_owned()),
        material: Material::Seed(seed(key, Some(SeedArg::Hex))?),
        ..Given::default()
    };
    for part in parts {
        match part.strip_prefix(['T', 't']) {
            Some(period) => {
                token.kind = Kind::Totp;
                token.period = number(period, "number of seconds")?;
            }
            None if part.eq_ignore_ascii_case("E") => {}
            None => token.digits = number(part, "number of digits")?,
        }
    }
    let moved: i64 = rest.first().map_or(Ok(0), |text| number(text, "counter"))?;
    match token.kind {
        // pam_oath keeps the counter of the last code that was used, mod_authn_otp the next one: a code that is passed
        // over costs nothing, and one that counts twice would.
        Kind::Hotp => {
            let used = u64::from(rest.len() > 1);
            token.counter = u64::try_from(moved).map_err(|_| fault("the counter is negative"))? + used;
        }
        Kind::Totp => token.drift = i16::try_from(moved).map_err(|_| fault("the clock is too far off"))?,
    }
    Ok(token)
}

/// Comma-separated values, with the names of the columns in the first line or in an order that is known.
pub(super) fn csv(input: impl BufRead, user_column: Option<&str>, written: Option<SeedArg>) -> Result<Read, CliError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(input);
    let mut read = Read::default();
    let mut columns: Option<Columns> = None;
    let mut row = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut row) {
            Ok(false) => return Ok(read),
            Ok(true) => {}
            Err(error) => {
                let at = error.position().map_or(0, csv::Position::line);
                read.fault(at, "this line does not read as comma-separated values");
                return Ok(read);
            }
        }
        let at = row.position().map_or(0, csv::Position::line);
        if row.iter().all(str::is_empty) {
            continue;
        }
        if columns.is_none()
            && let Some(named) = Columns::named(&row)
        {
            columns = Some(named.with_user(user_column, &row)?);
            continue;
        }
        let ordered = match &columns {
            Some(columns) => columns.clone(),
            None => match Columns::ordered(&row) {
                Some(columns) => columns.with_user(user_column, &row)?,
                None => {
                    read.fault(at, "neither this nor the first line says what is in which column");
                    continue;
                }
            },
        };
        read.take(at, ordered.token(&row, written));
    }
}

/// Which column holds what, from 0.
#[derive(Clone, Debug, Default)]
struct Columns {
    user: Option<usize>,
    serial: Option<usize>,
    seed: Option<usize>,
    kind: Option<usize>,
    digits: Option<usize>,
    period: Option<usize>,
    algorithm: Option<usize>,
    counter: Option<usize>,
    drift: Option<usize>,
}

impl Columns {
    /// By the names in the first line: those of Microsoft's, Yubico's and others' lists too.
    fn named(row: &csv::StringRecord) -> Option<Self> {
        let mut columns = Self::default();
        for (index, name) in row.iter().enumerate() {
            let name = name.trim_start_matches('\u{feff}').to_lowercase();
            let slot = match name.as_str() {
                "user" | "username" | "login" | "owner" | "upn" => &mut columns.user,
                "serial" | "serial number" | "serialnumber" | "serialno" => &mut columns.serial,
                "seed" | "secret" | "key" | "otpkey" | "secret key" | "secretkey" => &mut columns.seed,
                "type" | "kind" | "tokentype" => &mut columns.kind,
                "digits" | "otplen" | "length" => &mut columns.digits,
                "period" | "timestep" | "time step" | "timeinterval" | "time interval" => &mut columns.period,
                "algorithm" | "hash" | "hashlib" => &mut columns.algorithm,
                "counter" | "count" => &mut columns.counter,
                "drift" => &mut columns.drift,
                _ => continue,
            };
            slot.get_or_insert(index);
        }
        columns.seed.map(|_| columns)
    }

    /// By the order: `owner, serial, key, type, digits, seconds` as privacyIDEA writes it, or the same without the
    /// owner as LinOTP reads it.
    fn ordered(row: &csv::StringRecord) -> Option<Self> {
        let is_kind = |index: usize| {
            let kind = row.get(index).unwrap_or_default().to_ascii_lowercase();
            ["hotp", "totp", "ocra", "ocra2", "pw", "sms", "motp"].contains(&kind.as_str())
        };
        let from = match (is_kind(2), is_kind(3)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => return None,
        };
        Some(Self {
            user: (from == 1).then_some(0),
            serial: Some(from),
            seed: Some(from + 1),
            kind: Some(from + 2),
            digits: Some(from + 3),
            period: Some(from + 4),
            ..Self::default()
        })
    }

    fn with_user(mut self, column: Option<&str>, row: &csv::StringRecord) -> Result<Self, CliError> {
        let Some(column) = column else { return Ok(self) };
        let index = match column.parse::<usize>() {
            Ok(number) => number.checked_sub(1),
            Err(_) => row.iter().position(|name| name.eq_ignore_ascii_case(column)),
        };
        let wrong = |what: &str| CliError::Usage(what.to_owned(), Some("columns are counted from 1"));
        let index = index.ok_or_else(|| wrong(&format!("there is no column `{column}`")))?;
        // Otherwise it would be looked for as a name, and said to be nobody's.
        if self.seed == Some(index) {
            return Err(wrong(&format!("column `{column}` holds the seed")));
        }
        self.user = Some(index);
        Ok(self)
    }

    fn token(&self, row: &csv::StringRecord, written: Option<SeedArg>) -> Result<Given, Refused> {
        let field = |column: Option<usize>| row.get(column?).filter(|text| !text.is_empty());
        let owner = field(self.user).filter(|owner| !owner.eq_ignore_ascii_case("n/a"));
        let mut token = Given {
            kind: match field(self.kind) {
                Some(kind) => Kind::parse(kind)?,
                // Lists without kinds are of tokens by time, unless they count.
                None if self.counter.is_some() => Kind::Hotp,
                None => Kind::Totp,
            },
            user: owner.map(ToOwned::to_owned),
            serial: field(self.serial).map(ToOwned::to_owned),
            algorithm: field(self.algorithm).map(Algorithm::parse).transpose()?,
            ..Given::default()
        };
        if let Some(text) = field(self.digits) {
            token.digits = number(text, "number of digits")?;
        }
        if let Some(text) = field(self.period) {
            token.period = number(text, "number of seconds")?;
        }
        if let Some(text) = field(self.counter) {
            token.counter = number(text, "counter")?;
        }
        if let Some(text) = field(self.drift) {
            token.drift = number(text, "number of steps")?;
        }
        let text = field(self.seed).ok_or_else(|| fault("there is no seed"))?;
        token.material = Material::Seed(seed(text, written)?);
        Ok(token)
    }
}

/// Whose token is whose: lines of a serial number and a name.
pub(super) fn map(path: &Path) -> Result<HashMap<String, String>, CliError> {
    let failed = |error: String| CliError::File(format!("{}: {error}", path.display()), None);
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(BufReader::new(file.take(super::MAX_FILE)));
    let mut owners = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| failed(error.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let (Some(serial), Some(name)) = (row.get(0), row.get(1)) else {
            return Err(failed(format!("line {line}: wants `SERIAL,NAME`")));
        };
        if owners.insert(serial.to_owned(), name.to_owned()).is_some() {
            return Err(failed(format!("line {line}: `{serial}` is there twice")));
        }
    }
    Ok(owners)
}

fn each_line(mut input: impl BufRead, mut each: impl FnMut(u64, &str)) -> Result<(), CliError> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    for at in 1.. {
        line.clear();
        let read = (&mut input).take(MAX_LINE as u64).read_until(b'\n', &mut line);
        if read.map_err(CliError::Io)? == 0 {
            return Ok(());
        }
        if line.len() == MAX_LINE {
            let what = format!("line {at} has more than {MAX_LINE} octets");
            return Err(CliError::File(what, None));
        }
        match std::str::from_utf8(&line) {
            Ok(text) => each(at, text.trim()),
            Err(_) => return Err(CliError::File(format!("line {at} is not UTF-8"), None)),
        }
    }
    Ok(())
}

/// RFC 3986 section 2.1; what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        let escaped = after
            .split_at_checked(2)
            .filter(|_| octet == b'%')
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        match escaped {
            Some((octet, after)) => {
                octets.push(octet);
                rest = after;
            }
            None => octets.push(octet),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

const MAX_LINE: usize = 8192;
