//! Keys that type Yubico OTP: `portcullis token enrol --yubico`, `portcullis token import-yubico`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::admin::api::{ImportKeysRequest, ImportedKey, TokenView};
use crate::admin::client::AdminClient;
use crate::cli::output::{CliError, Out, read_secret};
use crate::cli::{Exit, UserArg};
use crate::secret::Secret;

/// Longest list that is read, in octets: a hundred thousand keys.
const MAX_FILE: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The list, as ykman or the personalisation tool writes it
    file: PathBuf,
    /// Whose key it is, where there is one in the list
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "user_column",
        required_unless_present = "user_column"
    )]
    user: Option<String>,
    /// Which column of the list says whose key it is, from 1; you have added it
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    user_column: Option<u8>,
    /// Ask this directory only
    #[arg(long, value_name = "NAME")]
    directory: Option<String>,
    /// Only say what would be refused
    #[arg(long)]
    dry_run: bool,
}

/// One key, as it was read. The texts are wiped when it goes.
#[derive(Debug, Default)]
struct Row {
    line: usize,
    user: String,
    label: Option<String>,
    public: String,
    private: Zeroizing<String>,
    key: Zeroizing<String>,
    code: Zeroizing<String>,
}

impl Row {
    fn to_request(&self, directory: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "user": self.user,
            "directory": directory,
            "public": self.public,
            "private": *self.private,
            "key": *self.key,
            "code": (!self.code.is_empty()).then_some(&*self.code),
            "label": self.label,
        })
    }
}

/// Gives a person the key whose identities and AES key are typed or come by standard input.
pub(super) async fn enrol(
    user: &UserArg,
    label: Option<&str>,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let mut row = asked()?;
    row.user.clone_from(&user.user);
    row.label = label.map(ToOwned::to_owned).or(row.label);
    let request = row.to_request(user.directory.as_deref());
    let token: TokenView = client.post("/v1/token/enrol-yubico", &request).await?;
    if out.json {
        return out.json(&token);
    }
    let public = token.public.as_deref().unwrap_or_default();
    out.line(format!(
        "{} has token {} `{}` now: the key {public}",
        user.user, token.id, token.label
    ))?;
    Ok(Exit::Done)
}

/// Asks for one thing after the other; a first line with commas in it is one of a list.
fn asked() -> Result<Row, CliError> {
    let text = |secret: &Secret| secret.expose_str().unwrap_or_default().trim().to_owned();
    let first = text(&read_secret("Public identity (12 letters): ")?);
    if first.contains(',') {
        return match read_line(&first, &Whose::Told(String::new())) {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(CliError::Usage("that line has no key in it".into(), None)),
            Err(fault) => Err(CliError::Usage(fault, None)),
        };
    }
    Ok(Row {
        public: first,
        private: Zeroizing::new(text(&read_secret("Private identity (12 hexadecimal digits): ")?)),
        key: Zeroizing::new(text(&read_secret("AES key (32 hexadecimal digits): ")?)),
        code: Zeroizing::new(text(&read_secret("Touch the key to check it, or press Enter: ")?)),
        ..Row::default()
    })
}

/// Enrols every key of a list, or none if one of them would be refused.
pub(super) async fn import(args: &ImportArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let whose = match (&args.user, args.user_column) {
        (_, Some(column)) => Whose::Column(usize::from(column)),
        (user, None) => Whose::Told(user.clone().unwrap_or_default()),
    };
    let (rows, mut faults) = read_file(&args.file, &whose)?;
    let directory = args.directory.as_deref();
    if faults.is_empty() {
        let tried = send(&rows, directory, true, client).await?;
        faults.extend(tried.into_iter().filter_map(|(line, done)| Some((line, done.error?))));
    }
    if !faults.is_empty() {
        return refused(&args.file, &faults, out);
    }
    if args.dry_run {
        if out.json {
            return out.json(&serde_json::json!({ "keys": rows.len(), "faults": [] }));
        }
        out.line(format!(
            "{}: {} keys, all of them sound",
            args.file.display(),
            rows.len()
        ))?;
        return Ok(Exit::Done);
    }
    let done = send(&rows, directory, false, client).await?;
    let faults: Vec<(usize, String)> = done
        .iter()
        .filter_map(|(line, done)| Some((*line, done.error.clone()?)))
        .collect();
    if out.json {
        let keys: Vec<&ImportedKey> = done.iter().map(|(_, done)| done).collect();
        out.json(&keys)?;
    } else {
        out.line(format!("{} keys are enrolled", done.len() - faults.len()))?;
        print_faults(&args.file, &faults, out)?;
    }
    Ok(if faults.is_empty() { Exit::Done } else { Exit::Refused })
}

async fn send(
    rows: &[Row],
    directory: Option<&str>,
    dry_run: bool,
    client: &AdminClient,
) -> Result<Vec<(usize, ImportedKey)>, CliError> {
    let mut all = Vec::with_capacity(rows.len());
    for batch in rows.chunks(ImportKeysRequest::MOST) {
        let keys: Vec<serde_json::Value> = batch.iter().map(|row| row.to_request(directory)).collect();
        let request = serde_json::json!({ "keys": keys, "dry_run": dry_run });
        let done: Vec<ImportedKey> = client.post("/v1/token/import-yubico", &request).await?;
        all.extend(batch.iter().map(|row| row.line).zip(done));
    }
    Ok(all)
}

fn refused(file: &Path, faults: &[(usize, String)], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        let fault = |(line, message): &(usize, String)| serde_json::json!({ "line": line, "message": message });
        let faults: Vec<serde_json::Value> = faults.iter().map(fault).collect();
        out.json(&serde_json::json!({ "file": file, "faults": faults }))?;
    } else {
        print_faults(file, faults, out)?;
        out.line("Nothing was enrolled.")?;
    }
    Ok(Exit::Usage)
}

fn print_faults(file: &Path, faults: &[(usize, String)], out: &mut Out<'_>) -> Result<(), CliError> {
    for (line, fault) in faults {
        let text = out.news(false, &format!("{}:{line}: {fault}", file.display()));
        out.line(text)?;
    }
    Ok(())
}

/// How a list says whose keys they are.
enum Whose {
    /// Not at all: they are this person's.
    Told(String),
    /// In this column, from 1.
    Column(usize),
}

type Read = (Vec<Row>, Vec<(usize, String)>);

fn read_file(file: &Path, whose: &Whose) -> Result<Read, CliError> {
    let failed = |error: std::io::Error| CliError::File(format!("{}: {error}", file.display()), None);
    if fs::metadata(file).map_err(failed)?.len() > MAX_FILE {
        let what = format!("{} has more than {} MiB", file.display(), MAX_FILE >> 20);
        return Err(CliError::File(what, None));
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(failed)?);
    let (mut rows, mut faults) = read_text(&text, whose);
    if rows.is_empty() && faults.is_empty() {
        faults.push((1, "there is no key in the list".to_owned()));
    }
    if let (Whose::Told(user), Some(second)) = (whose, rows.get(1)) {
        let fault = format!("a second key for `{user}`: say with --user-column whose each of them is");
        faults.push((second.line, fault));
        rows.truncate(1);
    }
    Ok((rows, faults))
}

fn read_text(text: &str, whose: &Whose) -> Read {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        match read_line(line, whose) {
            Ok(Some(row)) => rows.push(Row { line: index + 1, ..row }),
            Ok(None) => {}
            Err(fault) => faults.push((index + 1, fault)),
        }
    }
    (rows, faults)
}

/// One line: `serial,public,private,key,…` as ykman and the key provisioning format have it, or
/// `Yubico OTP,time,slot,public,private,key,…` as the personalisation tool logs it. What follows a `#` is a remark.
fn read_line(line: &str, whose: &Whose) -> Result<Option<Row>, String> {
    let said = line.split_once('#').map_or(line, |(said, _)| said).trim();
    let fields: Vec<&str> = said.split(',').map(str::trim).collect();
    let first = fields.first().copied().unwrap_or_default();
    let (at, label) = match first.to_ascii_lowercase().as_str() {
        "" | "logging start" | "logging stop" => return Ok(None),
        "yubico otp" => (3, None),
        "0" => (1, None),
        serial if serial.bytes().all(|octet| octet.is_ascii_digit()) => (1, Some(format!("yubikey-{serial}"))),
        // In a list of another order this is a key: it is not quoted.
        _ => return Err("begins with neither a serial number nor `Yubico OTP`".to_owned()),
    };
    let [public, private, key] = fields.get(at..at + 3).unwrap_or_default() else {
        return Err("public identity, private identity and AES key are not all there".to_owned());
    };
    let user = match whose {
        Whose::Told(user) => user.clone(),
        // Nor is it looked for as a name, and said to be nobody's.
        Whose::Column(number) if (at..at + 3).contains(&(number - 1)) => {
            return Err(format!("column {number} holds the key, and not whose it is"));
        }
        Whose::Column(number) => match fields.get(number - 1).copied().filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => return Err(format!("nobody is named in column {number}")),
        },
    };
    Ok(Some(Row {
        user,
        label,
        public: (*public).to_owned(),
        private: Zeroizing::new((*private).to_owned()),
        key: Zeroizing::new((*key).to_owned()),
        ..Row::default()
    }))
}

pub(super) const IMPORT_HELP: &str = "\
Lines are `serial,public,private,key,…` (ykman otp yubiotp --config-output, or # ykksm 1), or
`Yubico OTP,…` (the log of the personalisation tool). All keys of the list are checked first; if one
would be refused, none is enrolled, and each fault is printed as FILE:LINE: what is wrong. The list
holds the keys' secrets: destroy it afterwards.

Examples:
  portcullis token import-yubico key.csv --user ana
  portcullis token import-yubico keys.csv --user-column 8 --dry-run
  portcullis token import-yubico keys.csv --user-column 8";

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn lists_of_every_make_are_read() {
        let text = format!(
            "# ykksm 1\r\n\
             LOGGING START,12/11/2013 10:40\n\
             Yubico OTP,12/11/2013 10:41,1,vvccccccbcde,010203040506,{KEY},,,0,0,0,0,0,0,0,0,0,0\n\
             \n\
             4711,vvccccccbcdf,010203040507,{KEY},be70aeca62ba,2009-01-22T00:25:11,,ana # hers\n\
             0,vvccccccbcdg,010203040508,{KEY},,2024-01-01T00:00:00,\n"
        );
        let (rows, faults) = read_text(&text, &Whose::Told("ben".into()));
        assert!(faults.is_empty(), "{faults:?}");
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.line,
                    row.public.as_str(),
                    row.private.as_str(),
                    row.label.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (3, "vvccccccbcde", "010203040506", None),
                (5, "vvccccccbcdf", "010203040507", Some("yubikey-4711")),
                (6, "vvccccccbcdg", "010203040508", None),
            ]
        );
        assert!(rows.iter().all(|row| row.key.as_str() == KEY && row.user == "ben"));
    }

    #[test]
    fn faults_have_their_lines() {
        let text = format!(
            "OATH-HOTP,12/11/2013 10:41,1,,,{KEY}\n4711,vvccccccbcdf\n4712,a,b,{KEY},,,,ana\n4713,a,b,{KEY},,,,\n"
        );
        for (list, column) in [(format!("{KEY},vvccccccbcdf,4711\n"), 8), (format!("1,a,b,{KEY}\n"), 4)] {
            let (rows, faults) = read_text(&list, &Whose::Column(column));
            assert!(rows.is_empty() && !faults.is_empty() && !format!("{faults:?}").contains(KEY));
        }
        let (rows, faults) = read_text(&text, &Whose::Column(8));
        assert_eq!(rows.iter().map(|row| row.user.as_str()).collect::<Vec<_>>(), ["ana"]);
        let expected = [
            (1, "begins with neither a serial number nor `Yubico OTP`"),
            (2, "public identity, private identity and AES key are not all there"),
            (4, "nobody is named in column 8"),
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for ((line, fault), (wanted, text)) in faults.iter().zip(expected) {
            assert_eq!((*line, fault.as_str()), (wanted, text));
        }
    }
}
