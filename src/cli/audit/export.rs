//! `portcullis audit export`

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::FilterArgs;
use crate::admin::api::export::{COLUMNS, Sender, row};
use crate::admin::api::{AuditLine, AuditRequest, Stretch};
use crate::admin::client::AdminClient;
use crate::cli::Exit;
use crate::cli::output::{CliError, Out};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The file to write; standard output when absent
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// HOSTNAME of syslog messages
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    host: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values, with a line of names
    Csv,
    /// Messages of RFC 5424, one a line
    Syslog,
}

pub(super) async fn run(args: ExportArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let format = if args.filter.jsonl { Format::Jsonl } else { args.format };
    let mut encoder = Encoder {
        format,
        sender: Sender {
            host: args.host,
            facility: Sender::AUTHPRIV,
            enterprise: Sender::NO_ENTERPRISE,
        },
        records: 0,
    };
    let Some(file) = &args.output else {
        let octets = encoder.head().map_err(CliError::Io)?;
        out.octets(&octets)?;
        each_page(&args.filter, client, |page| {
            let octets = encoder.page(page).map_err(CliError::Io)?;
            out.octets(&octets).map(|_| ())
        })
        .await?;
        return out.octets(encoder.tail());
    };
    // Under its own name only once it is whole.
    let part = Part::create(file).map_err(|error| unwritable(file, &error))?;
    let mut writer = BufWriter::new(&part.file);
    let mut write = |octets: &[u8]| writer.write_all(octets).map_err(|error| unwritable(file, &error));
    write(&encoder.head().map_err(CliError::Io)?)?;
    each_page(&args.filter, client, |page| {
        write(&encoder.page(page).map_err(CliError::Io)?)
    })
    .await?;
    write(encoder.tail())?;
    writer.flush().map_err(|error| unwritable(file, &error))?;
    drop(writer);
    part.keep(file).map_err(|error| unwritable(file, &error))?;
    if out.json {
        return out.json(&serde_json::json!({ "file": file, "records": encoder.records }));
    }
    out.line(format!("{} records in {}", encoder.records, file.display()))?;
    Ok(Exit::Done)
}

/// Hands over all that match, a page at a time.
async fn each_page(
    filter: &FilterArgs,
    client: &AdminClient,
    mut take: impl FnMut(&[AuditLine]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut from = 1;
    loop {
        let request = AuditRequest {
            from: Some(from),
            limit: Some(1000),
            ..filter.request()
        };
        let stretch: Stretch = client.get("/v1/audit", &request).await?;
        super::warn_damaged(&stretch);
        take(&stretch.records)?;
        from = stretch.next;
        if stretch.end {
            return Ok(());
        }
    }
}

struct Encoder {
    format: Format,
    sender: Sender,
    records: u64,
}

impl Encoder {
    fn head(&self) -> io::Result<Vec<u8>> {
        match self.format {
            Format::Json => Ok(b"[".to_vec()),
            Format::Csv => table(std::iter::once(COLUMNS.map(str::to_owned))),
            Format::Jsonl | Format::Syslog => Ok(Vec::new()),
        }
    }

    fn page(&mut self, page: &[AuditLine]) -> io::Result<Vec<u8>> {
        let before = self.records;
        self.records += u64::try_from(page.len()).unwrap_or(u64::MAX);
        if self.format == Format::Csv {
            return table(page.iter().map(row));
        }
        let mut octets = Vec::new();
        for (place, line) in (before..).zip(page) {
            match self.format {
                Format::Json => {
                    octets.extend(if place == 0 { &b"\n"[..] } else { &b",\n"[..] });
                    serde_json::to_writer(&mut octets, line)?;
                }
                Format::Jsonl => {
                    serde_json::to_writer(&mut octets, line)?;
                    octets.push(b'\n');
                }
                Format::Syslog => {
                    octets.extend(self.sender.message(line).into_bytes());
                    octets.push(b'\n');
                }
                Format::Csv => {}
            }
        }
        Ok(octets)
    }

    fn tail(&self) -> &'static [u8] {
        match self.format {
            Format::Json => b"\n]\n",
            Format::Jsonl | Format::Csv | Format::Syslog => b"",
        }
    }
}

fn table(rows: impl Iterator<Item = [String; COLUMNS.len()]>) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(io::Error::from)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

/// A file that is gone unless it is kept.
struct Part {
    file: File,
    path: Option<PathBuf>,
}

impl Part {
    /// Readable for this account alone: it names people.
    fn create(file: &Path) -> io::Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    fn keep(mut self, name: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.path {
            Some(path) => fs::rename(path, name)?,
            None => return Ok(()),
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What is left over harms nobody.
            let _ = fs::remove_file(path);
        }
    }
}

fn unwritable(file: &Path, error: &io::Error) -> CliError {
    let what = format!("cannot write {}: {error}", file.display());
    CliError::File(what, Some("name a file in a folder that this account may write to"))
}

pub(super) const HELP: &str = "\
The records come in their order, with their links: what was exported is compared with a later
export, or with `portcullis audit verify --noted`. In CSV a cell that a spreadsheet would take for
a formula begins with an apostrophe. Collectors that are to have records as they are written are
configured as [[audit_stream]].

Examples:
  portcullis audit export --since 2030-01-01 --until 2030-02-01 --format csv -o january.csv
  portcullis audit export --format syslog --action login > logins.log
  portcullis audit export --format jsonl | zstd > audit.jsonl.zst";
