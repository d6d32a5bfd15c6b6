//! `portcullis reload`

use super::Exit;
use super::output::{CliError, Out};
use super::policy::print_faults;
use crate::admin::api::ReloadReport;
use crate::admin::client::AdminClient;

pub(super) async fn run(client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let report: ReloadReport = client.post("/v1/reload", &()).await?;
    if out.json {
        return out.json(&report);
    }
    print_faults(&report.warnings, out)?;
    for change in &report.changes {
        out.line(format!("reloaded: {change}"))?;
    }
    for change in &report.needs_restart {
        let text = out.news(false, &format!("waits for a restart: {change}"));
        out.line(text)?;
    }
    if report.changes.is_empty() && report.needs_restart.is_empty() {
        out.line("reloaded; the configuration and the policies are as they were, and what they name was read again")?;
    }
    Ok(Exit::Done)
}

pub(super) const HELP: &str = "\
When the files have faults, everything stays as it is, the faults are printed, and the exit code
is 2.

Example:
  portcullis check -c portcullis.toml && portcullis reload";
