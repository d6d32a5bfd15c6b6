//! `portcullis password-hash`

use super::Exit;
use super::output::{CliError, Out, read_secret};
use crate::directory::local::hash_password;

pub(super) fn run(out: &mut Out<'_>) -> Result<Exit, CliError> {
    let password = read_secret("Password: ")?;
    if password.is_empty() {
        let what = "an empty password lets nobody in";
        return Err(CliError::Usage(
            what.into(),
            Some("type one, or send it as the first line of standard input"),
        ));
    }
    let hash = hash_password(&password);
    if out.json {
        return out.json(&serde_json::json!({ "userPassword": hash }));
    }
    out.line(hash)?;
    Ok(Exit::Done)
}

pub(super) const HELP: &str = "\
The password is typed unseen, or read as the first line of standard input. What is printed goes
after `userPassword: ` in the LDIF file.

Examples:
  portcullis password-hash
  pwgen -s 20 1 | tee password.txt | portcullis password-hash";
