//! The `portcullis` program: command line, logging, exit codes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use portcullis::cli::{self, Cli, ConfigArgs, DemoArgs, Exit};
use portcullis::config::{Config, Log, LogFormat};
use portcullis::demo;
use portcullis::document::{Faults, Severity};
use portcullis::server::parts::Parts;
use portcullis::server::{Server, StartError};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

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
                let summary = format!(
                    "{}: {} directories, {} RADIUS clients, {} listeners, {} rules: sound",
                    args.config.display(),
                    config.directories.len(),
                    config.clients.len(),
                    config.radius.len() + config.ldap.len(),
                    parts.policy.rules.len()
                );
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
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            lines
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false)
                .init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(guard)
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
