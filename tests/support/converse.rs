//! Programs that ask on a terminal, answered by what they show.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// Runs `command`, and has each prompt answered: `answer` gets what is new on the screen as soon as that ends with a
/// colon, and says what is typed; nothing when it was no prompt yet. Whether it succeeded, and all that was shown.
pub(crate) fn converse(command: &Command, mut answer: impl FnMut(&str) -> Option<String>) -> (bool, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    // One stream for both outputs, in the order of what is shown.
    let mut merged = Command::new("setpriv");
    merged.args(["--pdeathsig", "KILL", "--", "sh", "-c", "exec \"$@\" 2>&1", "sh"]);
    merged.arg(command.get_program()).args(command.get_args());
    let mut child = merged
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {name} (tests/run installs what is missing): {error}"));
    let mut typed = child.stdin.take().expect("a piped stdin");
    let mut screen = child.stdout.take().expect("a piped stdout");
    let (mut shown, mut answered) = (Vec::new(), 0);
    let mut octets = [0; 4096];
    loop {
        let count = screen.read(&mut octets).expect("reading what is shown");
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&octets[..count]);
        let new = String::from_utf8_lossy(&shown[answered..]).into_owned();
        if new.trim_end_matches(' ').ends_with(':')
            && let Some(line) = answer(&new)
        {
            answered = shown.len();
            // It may have ended without waiting for more.
            let _ = writeln!(typed, "{line}");
        }
    }
    let status = child.wait().expect("a child that has ended");
    (status.success(), String::from_utf8_lossy(&shown).into_owned())
}
