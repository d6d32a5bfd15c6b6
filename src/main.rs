//! The `portcullis` program: command line, logging, exit codes.

use std::fmt::{self, Debug, Write as _};
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use portcullis::cli::{self, Cli, ConfigArgs, DemoArgs, Exit};
use portcullis::config::{self, Config, Log, LogFormat};
use portcullis::demo;
use portcullis::document::{Faults, Severity};
use portcullis::server::parts::Parts;
use portcullis::server::{Server, StartError};
use tracing::field::Field;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

fn main() -> ExitCode {
    cli::run(Cli::parse(), &Programs).into()
}

struct Programs;

impl cli::Programs for Programs {
    fn serve(&self, args: &ConfigArgs) -> Exit {
        report(serve(&args.config))
    }

    fn check(&self, args: &ConfigArgs, json: bool) -> Exit {
        let (faults, summary) = match Parts::check(&args.config) {
            Ok(parts) => {
                let config = &parts.config;
                let mut summary = format!(
                    "{}: {} directories, {} RADIUS clients, {} listeners, {} rules: sound",
                    args.config.display(),
                    config.directories.len(),
                    config.clients.len(),
                    config.radius.len() + config.ldap.len(),
                    parts.policy.rules.len()
                );
                for directory in &config.directories {
                    if let config::Directory::Ldap(ldap) = directory
                        && let Some(record) = &ldap.srv
                    {
                        summary += &format!("; the servers of {} are found when it runs, by {record}", ldap.name);
                    }
                }
                (parts.warnings, Some(summary))
            }
            Err(faults) => (faults, None),
        };
        print_check(&faults, summary.as_deref(), json);
        if summary.is_some() { Exit::Done } else { Exit::Usage }
    }

    fn demo(&self, args: &DemoArgs) -> Exit {
        report(run_demo(args))
    }
}

fn serve(file: &Path) -> anyhow::Result<()> {
    let (config, _) = Config::load(file)?;
    let _guard = start_logging(&config.log)?;
    runtime()?.block_on(async {
        let server = Server::start(file).await?;
        server.run().await.context("waiting for signals")
    })
}

fn run_demo(args: &DemoArgs) -> anyhow::Result<()> {
    if args.code {
        return demo::print_code(&args.folder).context("is the demo's folder there?");
    }
    let demo = demo::Demo::prepare(&args.folder)?;
    let _guard = start_logging(&Log {
        level: "warn,portcullis=info".into(),
        ..Log::default()
    })?;
    runtime()?.block_on(demo.run())?;
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// Logs to standard error through a bounded queue: a terminal that does not keep up loses lines, and
/// holds up nothing.
fn start_logging(log: &Log) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level is `{}`", log.level))?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match log.format {
        LogFormat::Text if std::io::stderr().is_terminal() => lines.with_target(false).init(),
        LogFormat::Text => lines
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(debug_fn(plain_field).delimited(" "))
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(guard)
}

/// Writes a field as the library does where there are no colours, without the detour over styles: there is a
/// line for every login.
fn plain_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// Keeps control characters out of the log: what servers and clients send cannot draw on a terminal.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for character in text.chars() {
            match character {
                '\n' | '\t' => self.0.write_char(character)?,
                control if control.is_control() => write!(self.0, "{}", control.escape_default())?,
                plain => self.0.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Prints why something did not work, and turns it into an exit code.
#[allow(clippy::print_stderr, reason = "the program's own error output")]
fn report(result: anyhow::Result<()>) -> Exit {
    let Err(error) = result else { return Exit::Done };
    eprintln!("portcullis: {error:#}");
    let start = match error.downcast_ref::<demo::DemoError>() {
        Some(demo::DemoError::Start(start)) => Some(start),
        Some(_) | None => error.downcast_ref::<StartError>(),
    };
    match start {
        Some(StartError::Faults(_)) => Exit::Usage,
        Some(StartError::State(_) | StartError::Listen { .. } | StartError::Admin(_)) => Exit::Unreachable,
        None if error.is::<Faults>() => Exit::Usage,
        None => Exit::Refused,
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the command's output")]
fn print_check(faults: &Faults, summary: Option<&str>, json: bool) {
    if json {
        let fault = |fault: &portcullis::document::Fault| {
            serde_json::json!({
                "warning": fault.severity == Severity::Warning,
                "file": fault.file,
                "line": fault.line,
                "column": fault.column,
                "key": fault.key,
                "message": fault.message,
            })
        };
        let faults: Vec<serde_json::Value> = faults.0.iter().map(fault).collect();
        println!(
            "{}",
            serde_json::json!({ "sound": summary.is_some(), "faults": faults })
        );
        return;
    }
    if !faults.0.is_empty() {
        eprintln!("{faults}");
    }
    if let Some(summary) = summary {
        println!("{summary}");
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_are_written_as_the_library_writes_them() {
        let write = || {
            tracing::info!(protocol = "radius", client = %"vpn", user = ?"a\nb", ms = 0.125, count = 3, "login");
            tracing::error!("a text alone");
        };
        let (ours, theirs) = (Shared::default(), Shared::default());
        let fields = debug_fn(plain_field).delimited(" ");
        tracing::subscriber::with_default(lines(&ours).fmt_fields(fields).finish(), write);
        tracing::subscriber::with_default(lines(&theirs).finish(), write);
        assert_eq!(ours.text(), theirs.text());
    }

    #[test]
    fn nothing_in_a_line_draws_on_a_terminal() {
        let output = Shared::default();
        let fields = debug_fn(plain_field).delimited(" ");
        tracing::subscriber::with_default(lines(&output).fmt_fields(fields).finish(), || {
            tracing::warn!(error = %"\u{1b}[31m\u{9b}red\u{7}", "look\u{1b}[2J");
        });
        let expected = " WARN look\\u{1b}[2J error=\\u{1b}[31m\\u{9b}red\\u{7}\n";
        assert_eq!(output.text().replace("\\x1b", "\\u{1b}"), expected);
    }

    fn lines(
        output: &Shared,
    ) -> tracing_subscriber::fmt::SubscriberBuilder<
        tracing_subscriber::fmt::format::DefaultFields,
        tracing_subscriber::fmt::format::Format<tracing_subscriber::fmt::format::Full, ()>,
        tracing_subscriber::filter::LevelFilter,
        impl Fn() -> Shared + use<>,
    > {
        let output = output.clone();
        tracing_subscriber::fmt()
            .with_writer(move || output.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
    }
}
