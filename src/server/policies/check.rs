//! Policies that are looked at without being taken.

use std::path::Path;

use crate::admin::api::{ApiError, PolicyReport, SentPolicies};
use crate::config::Config;
use crate::document::{Document, Faults, Severity, Source};
use crate::engine::policy::Policy;
use crate::policies::files::PolicyFiles;
use crate::server::Node;
use crate::server::control::line;
use crate::server::parts;
use crate::server::policies::{in_background, taken};

impl Node {
    pub(super) async fn check_policies(&self, sent: Option<SentPolicies>) -> Result<PolicyReport, ApiError> {
        let files = sent.map(taken).transpose()?;
        let file = self.file.clone();
        in_background(move || report(&file, files)).await
    }
}

/// Checks policies as a reload would take them: with the configuration as it is on disk. Blocks.
fn report(file: &Path, sent: Option<PolicyFiles>) -> PolicyReport {
    let mut faults = Faults::default();
    let (files, policy) = read(file, sent, &mut faults);
    PolicyReport {
        path: files.folder().display().to_string(),
        files: files.paths().iter().map(|path| path.display().to_string()).collect(),
        rules: policy.rules.len(),
        workflows: policy
            .workflows
            .iter()
            .map(|workflow| workflow.name.to_string())
            .collect(),
        languages: policy.texts.languages().map(ToOwned::to_owned).collect(),
        faults: faults.0.iter().map(line).collect(),
    }
}

fn read(file: &Path, sent: Option<PolicyFiles>, faults: &mut Faults) -> (PolicyFiles, Policy) {
    let config = match Config::load(file) {
        Ok((config, _)) => config,
        Err(found) => {
            // What a reload would refuse first. What is wrong with policies by themselves cannot be told without it.
            faults
                .0
                .extend(found.0.into_iter().filter(|fault| fault.severity == Severity::Error));
            return (sent.unwrap_or_default(), Policy::default());
        }
    };
    let files = sent.unwrap_or_else(|| PolicyFiles::read(&config.policies.path, faults));
    let (policy, _) = compile(file, config, &files, faults);
    (files, policy)
}

/// The policies of these files in the configuration `file`, which reads as `config`, and the configuration that they
/// want: with all attributes that they take. Blocks.
pub(super) fn compile(file: &Path, mut config: Config, files: &PolicyFiles, faults: &mut Faults) -> (Policy, Config) {
    let Some(source) = Source::read(file, faults) else {
        return (Policy::default(), config);
    };
    let Some(document) = Document::parse(&source, faults) else {
        return (Policy::default(), config);
    };
    // What is wrong with the dictionaries themselves is `portcullis check`'s to tell.
    let dictionary = parts::load_dictionary(&config, &mut Faults::default());
    let (policy, _) = parts::settle(&mut config, files, &dictionary, &document, faults);
    (policy, config)
}
