//! What commands print, what they ask, and how they fail.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Exit;
use super::qr::QrError;
use crate::admin::api::ErrorKind;
use crate::admin::client::ClientError;
pub(super) use crate::causes::in_full;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Where answers go.
pub(super) struct Out<'a> {
    writer: &'a mut dyn Write,
    /// One JSON document instead of text.
    pub(super) json: bool,
    terminal: bool,
    colour: bool,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was asked makes no sense, and what to do.
    #[error("{0}")]
    Usage(String, Option<&'static str>),
    #[error("input or output failed")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Qr(#[from] QrError),
    /// Something on this machine failed, without a server.
    #[error("{0}")]
    Local(String),
    /// The same, because of a file or folder that is not as it must be.
    #[error("{0}")]
    File(String, Option<&'static str>),
    /// A server other than the admin socket's is out of reach.
    #[error("{0}")]
    Away(String, Option<&'static str>),
}

/// A mark for good or bad, coloured on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Faint,
    Bold,
}

impl<'a> Out<'a> {
    pub(super) fn new(writer: &'a mut dyn Write, json: bool, terminal: bool) -> Self {
        Self {
            writer,
            json,
            terminal,
            // https://no-color.org
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Whether people read along on a terminal.
    pub(super) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line of text, or several. Names and reasons come from outside: whatever could tell the
    /// terminal what to do is made visible instead.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        writeln!(self.writer, "{}", printable(text.as_ref(), self.colour)).map_err(CliError::Io)
    }

    /// One JSON document.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<Exit, CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Io(error.into()))?;
        writeln!(self.writer, "{text}").map_err(CliError::Io)?;
        Ok(Exit::Done)
    }

    /// Octets for another program, as they are.
    pub(super) fn octets(&mut self, octets: &[u8]) -> Result<Exit, CliError> {
        self.writer.write_all(octets).map_err(CliError::Io)?;
        self.writer.flush().map_err(CliError::Io)?;
        Ok(Exit::Done)
    }

    /// Whether colours are wanted.
    pub(super) const fn is_coloured(&self) -> bool {
        self.colour
    }

    /// One JSON object on one line, written through at once.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::Io(error.into()))?;
        writeln!(self.writer, "{text}").map_err(CliError::Io)?;
        self.writer.flush().map_err(CliError::Io)
    }

    /// A table; nothing at all when it has no rows.
    pub(super) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) -> Result<(), CliError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(if self.terminal {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        table.set_header(head.iter().map(|title| self.tint(Tone::Bold, title)));
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        self.line(lines.join("\n"))
    }

    /// Pairs of a name and a value, one a line; those without a value are left out. What follows the first
    /// line of a value is set in, so that nothing from outside looks like another pair.
    pub(super) fn pairs(&mut self, pairs: &[(&str, Option<String>)]) -> Result<(), CliError> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
        for (name, value) in pairs {
            if let Some(value) = value {
                let name = format!("{name:width$}");
                let name = self.tint(Tone::Faint, &name);
                let lines: Vec<&str> = value.split('\n').map(str::trim_start).collect();
                self.line(format!("{name}{}", lines.join(&format!("\n{:width$}", ""))))?;
            }
        }
        Ok(())
    }

    /// `text` in the colour of `tone`, on a terminal. Colours are marks of no width until the text is
    /// printed, so that tables come out straight.
    pub(super) fn tint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        format!("{}{text}{END}", tone.mark())
    }

    /// `text` as good or bad news.
    pub(super) fn news(&self, good: bool, text: &str) -> String {
        self.tint(if good { Tone::Good } else { Tone::Bad }, text)
    }
}

/// Ends a colour.
const END: char = '\u{206f}';

impl Tone {
    const ALL: [Self; 4] = [Self::Good, Self::Bad, Self::Faint, Self::Bold];

    /// What stands for the colour until it is printed: a character of no width that no name needs.
    const fn mark(self) -> char {
        match self {
            Self::Good => '\u{206a}',
            Self::Bad => '\u{206b}',
            Self::Faint => '\u{206c}',
            Self::Bold => '\u{206d}',
        }
    }

    /// Select Graphic Rendition (ECMA-48 section 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "\u{1b}[32m",
            Self::Bad => "\u{1b}[31m",
            Self::Faint => "\u{1b}[2m",
            Self::Bold => "\u{1b}[1m",
        }
    }
}

/// Marks as colours; control and direction characters as U+FFFD.
pub(super) fn printable(text: &str, colour: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let tone = Tone::ALL.into_iter().find(|tone| tone.mark() == character);
        match (character, tone) {
            ('\n', _) => out.push('\n'),
            (_, Some(tone)) if colour => out.push_str(tone.code()),
            (END, _) if colour => out.push_str("\u{1b}[0m"),
            (END, _) | (_, Some(_)) => {}
            ('\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}', _) => out.push('\u{fffd}'),
            (other, None) if other.is_control() => out.push('\u{fffd}'),
            (other, None) => out.push(other),
        }
    }
    out
}

/// In groups of four, for typing and reading aloud.
pub(super) fn grouped(text: &str) -> String {
    let mut grouped = String::with_capacity(text.len() + text.len() / 4);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    grouped
}

/// Asks before something that cannot be undone. Without a terminal to ask on, only `--yes` will do.
pub(super) fn confirm(yes: bool, question: &str) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        let what = format!("{question} It cannot be undone, and there is no terminal to ask on");
        return Err(CliError::Usage(what, Some("say --yes to do it without being asked")));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} This cannot be undone. [y/N] ").map_err(CliError::Io)?;
    stderr.flush().map_err(CliError::Io)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CliError::Io)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// Reads a line that is no secret, asked for on a terminal.
pub(super) fn read_line(prompt: &str) -> Result<String, CliError> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt}").map_err(CliError::Io)?;
        stderr.flush().map_err(CliError::Io)?;
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(CliError::Io)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a secret: unseen from a terminal, or the first line of standard input.
pub(super) fn read_secret(prompt: &str) -> Result<Secret, CliError> {
    let line = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map_err(CliError::Io)?
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(CliError::Io)?;
        line
    };
    let line = zeroize::Zeroizing::new(line);
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

impl CliError {
    /// Tells standard error, and how the command ends.
    pub(super) fn report(&self, json: bool) -> Exit {
        if let Self::Io(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // Whoever reads has seen enough.
            return Exit::Done;
        }
        let remedy = self.remedy();
        let what = printable(&self.in_full(), false);
        let mut stderr = io::stderr().lock();
        // Nobody is left to tell when this fails.
        let _ = if json {
            let error = serde_json::json!({ "error": self.in_full(), "remedy": remedy });
            writeln!(stderr, "{error}")
        } else {
            let told = writeln!(stderr, "portcullis: {what}");
            match remedy {
                Some(remedy) => told.and_then(|()| writeln!(stderr, "  remedy: {remedy}")),
                None => told,
            }
        };
        self.exit()
    }

    /// How the command ends.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Unreachable(..) | ClientError::Broken(..)) | Self::Away(..) => Exit::Unreachable,
            Self::Client(ClientError::Forbidden(_)) => Exit::Denied,
            Self::Client(ClientError::Api(error)) => match error.kind {
                ErrorKind::Invalid | ErrorKind::Faulty => Exit::Usage,
                ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::Confirm => Exit::Denied,
                ErrorKind::NotFound => Exit::NotFound,
                ErrorKind::Refused | ErrorKind::Internal => Exit::Refused,
                ErrorKind::Unavailable | ErrorKind::Throttled => Exit::Unreachable,
            },
            Self::Usage(..) | Self::File(..) => Exit::Usage,
            Self::Io(_) | Self::Qr(_) | Self::Local(_) | Self::Client(ClientError::Taken(_)) => Exit::Refused,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Client(ClientError::Unreachable(..)) => {
                Some("start it with `portcullis serve`, or name its socket with --socket or PORTCULLIS_SOCKET, or its TLS listener with --url".into())
            }
            Self::Client(ClientError::Forbidden(_)) => {
                Some("run it as root, or as a member of admin.group that is listed in admin.operators".into())
            }
            Self::Client(ClientError::Broken(..)) => Some("see the server's log".into()),
            Self::Client(ClientError::Api(error)) => error.remedy.clone(),
            Self::Usage(_, remedy) | Self::File(_, remedy) | Self::Away(_, remedy) => remedy.map(str::to_owned),
            Self::Io(_) | Self::Qr(_) | Self::Local(_) | Self::Client(ClientError::Taken(_)) => None,
        }
    }

    fn in_full(&self) -> String {
        in_full(self)
    }
}

/// Whether the locale's characters are Unicode (POSIX, section 8.2: the first of these that is set counts).
pub(super) fn is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A moment without its milliseconds.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replacen('T', " ", 1)),
        None => text,
    }
}

/// A moment that may not have been.
pub(super) fn moment_or_never(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(terminal: bool, print: impl FnOnce(&mut Out<'_>)) -> String {
        let mut octets = Vec::new();
        let mut out = Out::new(&mut octets, false, terminal);
        out.colour = terminal;
        print(&mut out);
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let text = printed(true, |out| out.line("a\u{1b}[2Jb\rc\u{202e}d").unwrap());
        assert_eq!(text, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\n");
    }

    #[test]
    fn values_cannot_look_like_other_pairs() {
        let station = Some("192.0.2.1\nstate   approved".to_owned());
        let text = printed(false, |out| {
            out.pairs(&[("from", station), ("state", Some("pending".into()))])
                .unwrap();
        });
        assert_eq!(text, "from   192.0.2.1\n       state   approved\nstate  pending\n");
    }

    #[test]
    fn colours_are_for_terminals_and_do_not_bend_tables() {
        let table = |out: &mut Out<'_>| {
            let row = |state: String| vec![state, "end".to_owned()];
            let rows = vec![row(out.news(true, "yes")), row("no".to_owned())];
            out.table(&["STATE", "LAST"], rows).unwrap();
        };
        let plain = printed(false, table);
        assert_eq!(plain, "STATE  LAST\nyes    end\nno     end\n");
        let coloured = printed(true, table);
        assert!(coloured.contains("\u{1b}[32myes\u{1b}[0m"), "{coloured:?}");
        let bare = ["\u{1b}[32m", "\u{1b}[1m", "\u{1b}[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
    }

    #[test]
    fn exit_codes_follow_from_what_went_wrong() {
        let api = |kind| CliError::Client(ClientError::Api(crate::admin::api::ApiError::new(kind, "no")));
        for (kind, exit) in [
            (ErrorKind::Invalid, Exit::Usage),
            (ErrorKind::Faulty, Exit::Usage),
            (ErrorKind::Denied, Exit::Denied),
            (ErrorKind::NotFound, Exit::NotFound),
            (ErrorKind::Refused, Exit::Refused),
            (ErrorKind::Unavailable, Exit::Unreachable),
        ] {
            assert_eq!(api(kind).exit(), exit, "{kind:?}");
        }
    }
}
