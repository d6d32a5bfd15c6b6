//! `portcullis policy check`

use std::path::Path;

use super::super::Exit;
use super::super::output::{CliError, Out, Tone};
use crate::admin::api::{FaultLine, PolicyReport};
use crate::admin::client::AdminClient;

pub(super) async fn run(folder: Option<&Path>, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let sent = folder.map(super::read).transpose()?;
    let report: PolicyReport = client.post("/v1/policy/check", &sent).await?;
    let faulty = report.faults.iter().any(|fault| !fault.warning);
    let exit = if faulty { Exit::Usage } else { Exit::Done };
    if out.json {
        out.json(&report)?;
        return Ok(exit);
    }
    print_faults(&report.faults, out)?;
    let verdict = out.news(!faulty, if faulty { "not usable" } else { "sound" });
    let (rules, files) = (report.rules, report.files.len());
    let (workflows, languages) = (report.workflows.len(), report.languages.join(", "));
    out.line(format!(
        "{}: {rules} rules and {workflows} workflows in {files} files, prompts in {languages}: {verdict}",
        report.path
    ))?;
    Ok(exit)
}

pub(in crate::cli) fn print_faults(faults: &[FaultLine], out: &mut Out<'_>) -> Result<(), CliError> {
    for fault in faults {
        let place = match fault.line {
            0 => fault.file.clone(),
            line => format!("{}:{line}:{}", fault.file, fault.column),
        };
        let kind = if fault.warning { "warning: " } else { "" };
        let key = if fault.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", fault.key)
        };
        let place = out.tint(Tone::Bold, &place);
        out.line(format!("{place}: {kind}{key}{}", fault.message))?;
    }
    Ok(())
}

pub(super) const HELP: &str = "\
Faults are printed as FILE:LINE:COLUMN: what is wrong, and what to do. Exit code 2 when the files
could not be taken; warnings alone are 0. They are read as a reload would, with the configuration
as it is on disk. `portcullis check -c FILE` does it without a running server.

Examples:
  portcullis policy check && portcullis reload
  portcullis policy check ~/policies-draft";
