//! Putting a version of the policies back: into the folder, then in force.

use std::path::Path;

use tracing::{error, info};

use crate::admin::api::{ApiError, ErrorKind, RollbackReport};
use crate::causes::in_full;
use crate::clock;
use crate::document::Faults;
use crate::engine::batch::Batch;
use crate::engine::event::{AuditEvent, Outcome};
use crate::policies::files::PolicyFiles;
use crate::policies::folder::{Exchanged, FolderError, Staged};
use crate::policies::versions::Why;
use crate::server::Node;
use crate::server::parts::Parts;
use crate::server::policies::{in_background, unkept};
use crate::store::{CommitError, Durability};

impl Node {
    /// Puts the files of a version into the folder of the policies, whole or not at all, and reloads.
    ///
    /// The audit has it before the folder changes, so that no change is without its record, whenever the process dies.
    /// When anything fails afterwards, the folder is put back as it was, and the audit says so.
    pub(super) async fn roll_back(&self, number: u64, by: &str) -> Result<RollbackReport, ApiError> {
        let _one_at_a_time = self.reloading.lock().await;
        let folder = self.config.load().policies.path.clone();
        let (version, files) = self.version(number, &folder).await?;
        self.fits(number, files.clone()).await?;
        let (on_disk, in_force) = self.unsaved(&folder).await?;
        let what = format!(
            "rollback to version {number}: policies {in_force} -> {}",
            version.digest
        );
        self.audit_change(by, Outcome::Accept, what.clone()).await?;
        let staged = in_background(move || Staged::make(&folder, &files)?.exchange()).await;
        let exchanged = match staged.and_then(|made| made.map_err(unwritable)) {
            Ok(exchanged) => exchanged,
            Err(error) => return Err(self.taken_back(by, &what, error).await),
        };
        let reload = match self.reload_for(by, Why::Rollback(number)).await {
            Ok(reload) => reload,
            Err(error) => {
                let undone = in_background(move || exchanged.undo()).await;
                if let Err(error) = undone.and_then(|undone| undone.map_err(unwritable)) {
                    error!(%error, "the folder of the policies could not be put back as it was");
                }
                return Err(self.taken_back(by, &what, error).await);
            }
        };
        info!(version = number, by, "rolled back");
        Ok(RollbackReport {
            version: number,
            kept: self.put_away(exchanged, on_disk).await,
            reload,
        })
    }

    /// Whether a version can be put in force with the configuration as it is on disk.
    async fn fits(&self, number: u64, files: PolicyFiles) -> Result<(), ApiError> {
        let file = self.file.clone();
        let checked = in_background(move || Parts::check_with(&file, Some(files)).map(drop)).await?;
        checked.map_err(|faults| {
            ApiError::new(
                ErrorKind::Faulty,
                format!("version {number} does not fit the configuration as it is now:\n{faults}"),
            )
            .with_remedy(format!(
                "`portcullis policy show {number} --to DIR` writes its files to be mended; nothing has changed"
            ))
        })
    }

    /// Whether the folder has files that were never in force, and what is in force.
    async fn unsaved(&self, folder: &Path) -> Result<(bool, String), ApiError> {
        let folder = folder.to_owned();
        let on_disk = in_background(move || PolicyFiles::read(&folder, &mut Faults::default()).digest()).await?;
        let in_force = self.policy_files.load().digest();
        let kept = self.versions.with_digest(&on_disk).await.map_err(unkept)?;
        Ok((kept.is_none(), in_force))
    }

    /// Removes the files of before, or keeps them where they are in no version. Returns where.
    async fn put_away(&self, exchanged: Exchanged, unsaved: bool) -> Option<String> {
        let moment = clock::now().to_string().replace([':', '.'], "-");
        let put_away = in_background(move || match unsaved {
            true => exchanged.keep(&moment).map(Some),
            false => exchanged.forget().map(|()| None),
        });
        match put_away.await.and_then(|done| done.map_err(unwritable)) {
            Ok(kept) => kept.map(|path| path.display().to_string()),
            Err(error) => {
                error!(%error, "the policy files of before are left beside the folder");
                None
            }
        }
    }

    /// Tells the audit that a rollback did not come about.
    async fn taken_back(&self, by: &str, what: &str, error: ApiError) -> ApiError {
        let first = error.error.lines().next().unwrap_or_default();
        let text = format!("{what}: not done, {first}");
        match self.audit_change(by, Outcome::Reject, text).await {
            Ok(()) => error,
            Err(unaudited) => unaudited,
        }
    }

    async fn audit_change(&self, by: &str, outcome: Outcome, what: String) -> Result<(), ApiError> {
        let event = AuditEvent {
            at: clock::now(),
            action: "policy.change".to_owned(),
            actor: by.to_owned(),
            target: None,
            via: "admin".to_owned(),
            client: None,
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome,
            reason: Some(what),
            context: None,
        };
        let batch = Batch {
            audit: vec![event],
            ..Batch::default()
        };
        let committed = self.store.commit(batch, Durability::Durable).await;
        let unwritten = |error: CommitError| {
            ApiError::new(ErrorKind::Unavailable, in_full(&error)).with_remedy("see `portcullis status`")
        };
        committed.map(drop).map_err(unwritten)
    }
}

fn unwritable(error: FolderError) -> ApiError {
    ApiError::new(ErrorKind::Refused, in_full(&error)).with_remedy(
        "the server must own the folder of the policies and the one that it lies in, on one file system; otherwise \
         `portcullis policy show VERSION --to DIR` as somebody who does, and `portcullis reload`",
    )
}
