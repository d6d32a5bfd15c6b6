//! `portcullis man` and `portcullis completions`: made from the command line itself, so that they are true.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::output::{CliError, Out};
use super::{Cli, Exit};

#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub(super) struct ManArgs {
    /// Folder to write a page for each command into; without one, the page about `portcullis` is printed
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: ShellArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

pub(super) fn man(args: &ManArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        render(&command, "portcullis", &mut page).map_err(CliError::Io)?;
        return raw(&page, out);
    };
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let mut written = Vec::new();
    pages(&command, "portcullis", folder, &mut written)?;
    if out.json {
        return out.json(&serde_json::json!({ "pages": written }));
    }
    out.line(format!("{} pages in {}", written.len(), folder.display()))?;
    Ok(Exit::Done)
}

pub(super) fn completions(args: &CompletionsArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
        ShellArg::Elvish => Shell::Elvish,
        ShellArg::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "portcullis", &mut script);
    raw(&script, out)
}

/// A text for another program, in its own form; in JSON as one string.
fn raw(octets: &[u8], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&serde_json::json!({ "text": String::from_utf8_lossy(octets) }));
    }
    out.octets(octets)
}

/// Writes the page of a command and those of everything in it: `portcullis-audit-tail.1`.
fn pages(command: &Command, name: &str, folder: &Path, written: &mut Vec<String>) -> Result<(), CliError> {
    let file = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    render(command, name, &mut page).map_err(CliError::Io)?;
    fs::write(&file, page).map_err(|error| unwritable(&file, &error))?;
    written.push(format!("{name}.1"));
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, &format!("{name}-{}", verb.get_name()), folder, written)?;
    }
    Ok(())
}

fn render(command: &Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let extra = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone()).title(name).section("1");
    let mut title = Vec::new();
    man.render_title(&mut title)?;
    let title = String::from_utf8_lossy(&title).into_owned();
    // Without a date, which has its place before the source.
    let heading = format!(
        ".TH {name} 1 \"\" \"Portcullis {}\" Portcullis",
        env!("CARGO_PKG_VERSION")
    );
    for line in title.lines() {
        page.extend(if line.starts_with(".TH") { &heading } else { line }.as_bytes());
        page.push(b'\n');
    }
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    notes(&extra, page);
    // Not every roff reads UTF-8 unasked.
    let mut ascii = String::with_capacity(page.len());
    for letter in String::from_utf8_lossy(page).chars() {
        match letter.is_ascii() {
            true => ascii.push(letter),
            false => ascii.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    *page = ascii.into_bytes();
    Ok(())
}

/// What stands behind a command's help: prose, and under `Examples:` lines to be kept as they are.
fn notes(text: &str, page: &mut Vec<u8>) {
    let mut verbatim = false;
    let mut begun = false;
    for line in text.lines() {
        let heading = line
            .strip_suffix(':')
            .filter(|head| matches!(*head, "Example" | "Examples" | "Exit codes"));
        if let Some(heading) = heading {
            if verbatim {
                page.extend(b".fi\n.RE\n");
            }
            page.extend(format!(".SH {}\n.RS\n.nf\n", heading.to_uppercase()).as_bytes());
            (verbatim, begun) = (true, true);
            continue;
        }
        if !begun && !line.trim().is_empty() {
            page.extend(b".SH NOTES\n");
            begun = true;
        }
        match (verbatim, line.trim().is_empty()) {
            (false, true) if begun => page.extend(b".PP\n"),
            (_, true) => {}
            (_, false) => {
                page.extend(escaped(line.trim()).as_bytes());
                page.push(b'\n');
            }
        }
    }
    if verbatim {
        page.extend(b".fi\n.RE\n");
    }
}

/// A line that roff takes as text, with ASCII hyphens and quotes as they are.
fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 8);
    if line.starts_with(['.', '\'']) {
        text.push_str("\\&");
    }
    for letter in line.chars() {
        match letter {
            '\\' => text.push_str("\\e"),
            '-' => text.push_str("\\-"),
            '\'' => text.push_str("\\(aq"),
            '`' => text.push_str("\\(ga"),
            '^' => text.push_str("\\(ha"),
            '~' => text.push_str("\\(ti"),
            plain => text.push(plain),
        }
    }
    text
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    let what = format!("cannot write {}: {error}", path.display());
    CliError::File(what, Some("name a folder that this account may write to"))
}

const MAN_HELP: &str = "\
One page for each command: portcullis-audit-search.1 is about `portcullis audit search`.

Examples:
  portcullis man | man -l -
  portcullis man /usr/local/share/man/man1";

const COMPLETIONS_HELP: &str = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > /usr/local/share/zsh/site-functions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";
