//! Checkpoints, their key, what they prove, and retention.

use std::path::Path;

use super::{AdminClient, CliError, Exit, Out, Timestamp, moment};
use crate::admin::api::{
    Attestation, Checkpoint, CheckpointView, PruneReport, PruneRequest, PublicKey, verify_export as verify_file,
};
use crate::cli::output::{confirm, in_full};

pub(super) async fn checkpoint(client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let view: CheckpointView = client.get("/v1/audit/checkpoint", &()).await?;
    if out.json {
        return out.json(&view);
    }
    match view.checkpoint {
        Some(text) => out.line(text)?,
        None => out.line("there are no records yet")?,
    }
    Ok(Exit::Done)
}

pub(super) async fn key(client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let view: CheckpointView = client.get("/v1/audit/checkpoint", &()).await?;
    if out.json {
        return out.json(&serde_json::json!({ "public_key": view.public_key }));
    }
    out.line(view.public_key)?;
    Ok(Exit::Done)
}

pub(super) async fn prune(
    before: Timestamp,
    dry_run: bool,
    yes: bool,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let ask = async |dry_run| -> Result<PruneReport, CliError> {
        Ok(client
            .post("/v1/audit/prune", &PruneRequest { before, dry_run })
            .await?)
    };
    let mut report = ask(true).await?;
    if report.records > 0 && !dry_run {
        let question = format!("Take {} away?", words(&report));
        if !confirm(yes, &question)? {
            return Ok(Exit::Refused);
        }
        report = ask(false).await?;
    }
    if out.json {
        return out.json(&report);
    }
    if report.records == 0 {
        out.line("no whole segment of the audit is that old")?;
    } else if dry_run {
        out.line(format!("would take away {}", words(&report)))?;
    } else {
        out.line(format!("taken away: {}", words(&report)))?;
    }
    Ok(Exit::Done)
}

fn words(report: &PruneReport) -> String {
    let latest = report.latest.map(moment).unwrap_or_default();
    format!(
        "{} records up to {}, the latest of {latest}",
        report.records, report.last
    )
}

/// A text as given, or what the file of that name holds.
pub(super) fn text_or_file(given: &str) -> Result<String, CliError> {
    if Checkpoint::parse(given).is_some() || PublicKey::parse(given).is_some() {
        return Ok(given.to_owned());
    }
    match std::fs::read_to_string(given) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => {
            let what = format!("`{given}` is neither what was printed nor a file that can be read: {error}");
            Err(CliError::Usage(
                what,
                Some("give the text that was printed, or the file it was saved to"),
            ))
        }
    }
}

pub(super) fn verify_export(file: &Path, key: &str, noted: Option<&str>, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let Some(key) = PublicKey::parse(&text_or_file(key)?) else {
        let what = "that is no public key: 64 hexadecimal digits".to_owned();
        return Err(CliError::Usage(what, Some("give what `portcullis audit key` printed")));
    };
    let noted = match noted.map(Checkpoint::parse) {
        Some(None) => {
            let what = "that is no checkpoint".to_owned();
            return Err(CliError::Usage(
                what,
                Some("give what `portcullis audit checkpoint` printed"),
            ));
        }
        Some(Some(checkpoint)) => vec![checkpoint],
        None => Vec::new(),
    };
    let attestation = verify_file(file, &key, &noted).map_err(|error| CliError::Local(in_full(&error)))?;
    let exit = match attestation {
        Attestation::Whole(_) => Exit::Done,
        Attestation::Broken(_) => Exit::Refused,
    };
    if out.json {
        out.json(&attestation)?;
        return Ok(exit);
    }
    match attestation {
        Attestation::Whole(whole) => {
            let text = format!(
                "whole: {} records, {} checkpoints hold",
                whole.records, whole.checkpoints
            );
            let text = out.news(true, &text);
            out.line(text)?;
            if whole.gone > 0 {
                let gone = whole.gone;
                out.line(format!(
                    "records up to {gone} were taken away by retention, which is signed"
                ))?;
            }
            if whole.foreign > 0 {
                let foreign = whole.foreign;
                out.line(format!(
                    "{foreign} checkpoints are not signed with this key, and attest nothing"
                ))?;
            }
            match whole.signed {
                Some(at) => out.line(format!(
                    "attested up to record {}, signed {}",
                    whole.attested,
                    moment(at)
                ))?,
                None => out.line("no checkpoint: nothing is attested")?,
            }
            if !whole.head.is_empty() {
                out.line(format!("head {}", whole.head))?;
            }
        }
        Attestation::Broken(broken) => {
            let text = format!("broken at record {}: {}", broken.sequence, broken.detail);
            let text = out.news(false, &text);
            out.line(text)?;
        }
    }
    Ok(exit)
}
