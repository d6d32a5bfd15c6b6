//! What a configuration says of dialogs: the prompt and workflow files of the policy folder, and who is spoken to in
//! which language.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::document::{Document, Faults, Source, nearest};
use crate::engine::policy::{self, Policy};
use crate::engine::texts::Texts;
use crate::engine::workflow::Workflows;
use crate::server::parts::policy_files;

/// Reads the prompts and workflows that belong to the rules of `rules`. Blocks.
pub(super) fn load(folder: &Path, rules: &[Source], policy: &mut Policy, faults: &mut Faults) {
    let prompts = sources(folder, PROMPTS, faults);
    policy.texts = Texts::parse(&prompts, faults);
    let workflows = sources(folder, WORKFLOWS, faults);
    policy.workflows = Workflows::parse(&workflows, faults);
    let allowed = policy.questions.only_proof;
    policy.workflows.check_questions(&workflows, allowed, faults);
    policy::check_workflows(rules, &policy.workflows, faults);
}

/// The prompt and workflow files of a policy folder, in order.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let folders = [PROMPTS, WORKFLOWS].into_iter();
    folders
        .flat_map(|name| policy_files(&folder.join(name)).unwrap_or_default())
        .collect()
}

/// Has texts said in the languages that the configuration names, and tells of those that there are no texts in.
pub(super) fn settle(config: &Config, policy: &mut Policy, document: &Document<'_>, faults: &mut Faults) {
    let texts = &mut policy.texts;
    for (index, client) in config.clients.iter().enumerate() {
        if let Some(name) = &client.language
            && texts.language(name).is_none()
        {
            let path = ["client", &index.to_string(), "language"];
            faults.0.push(document.fault(&path, no_language(name, texts)));
        }
    }
    match texts.language(&config.dialogs.language).cloned() {
        Some(language) => texts.set_default(language),
        None => {
            let message = no_language(&config.dialogs.language, texts);
            faults.0.push(document.fault(&["dialogs", "language"], message));
        }
    }
    for directory in &config.directories {
        if let Some(attribute) = directory.language_attribute() {
            texts.prefer(directory.name(), attribute);
        }
    }
}

fn no_language(name: &str, texts: &Texts) -> String {
    let known: Vec<&str> = texts.languages().collect();
    let hint = nearest(&name.to_lowercase(), &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!(
        "there are no prompts in \"{name}\"; there are {}{hint}",
        known.join(", ")
    )
}

/// The files of one folder below that of the policies; there need be none.
fn sources(folder: &Path, name: &str, faults: &mut Faults) -> Vec<Source> {
    let folder = folder.join(name);
    match policy_files(&folder) {
        Ok(files) => files.iter().filter_map(|file| Source::read(file, faults)).collect(),
        // A link to nothing is no folder that nobody made: what is shipped is not to stand in for it.
        Err(error) if error.kind() == ErrorKind::NotFound && folder.symlink_metadata().is_err() => Vec::new(),
        Err(error) => {
            faults.file(&folder, format!("cannot be read: {error}"));
            Vec::new()
        }
    }
}

/// Folder of prompt files, in that of the policies.
const PROMPTS: &str = "prompts";

/// Folder of workflow files, in that of the policies.
const WORKFLOWS: &str = "workflows";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::parts::Parts;

    #[test]
    fn a_folder_that_is_a_link_to_nothing_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let mut faults = Faults::default();
        assert!(sources(folder.path(), WORKFLOWS, &mut faults).is_empty());
        assert!(faults.0.is_empty(), "there need be none: {faults}");
        std::os::unix::fs::symlink("moved-away", folder.path().join(WORKFLOWS)).unwrap();
        sources(folder.path(), WORKFLOWS, &mut faults);
        assert!(faults.to_string().contains("cannot be read"), "{faults}");
    }

    const RULES: &str = "[[rule]]\nname = \"staff\"\nrequire = \"password\"\nworkflow = [\"vpn-recover\"]\n";

    const CONFIGURATION: &str = r#"
[dialogs]
language = "it"

[[directory]]
name = "people"
kind = "local"
ldif = "people.ldif"
language_attribute = "preferredLanguage"

[[radius]]
listen = "127.0.0.1:1812"

[[client]]
name = "vpn"
address = ["192.0.2.1"]
secret = "sixteen octets or more"
profile = "dialog"
recover = true
language = "DE"
ascii = true

[[client]]
name = "switch"
address = ["192.0.2.2"]
secret = "sixteen octets or more"
recover = "!help"
"#;

    /// What is told of a configuration with these files, each fault without the folder.
    fn check(configuration: &str, files: &[(&str, &str)]) -> Result<Parts, String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["policies/prompts", "policies/workflows"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("people.ldif"), "version: 1\n").unwrap();
        fs::write(at("portcullis.toml"), configuration).unwrap();
        for (name, text) in files {
            fs::write(at(name), text).unwrap();
        }
        let plain = |faults: &Faults| faults.to_string().replace(&format!("{}/", folder.path().display()), "");
        match Parts::check(&at("portcullis.toml")) {
            Ok(parts) => Ok(parts),
            Err(faults) => Err(plain(&faults)),
        }
    }

    #[test]
    fn prompts_and_workflows_of_the_folder_are_taken() {
        let recover = "[workflow]\nstarts = \"recover\"\nsteps = [{ prove = [\"totp\"] }, \"unlock\"]\n";
        let files = [
            ("policies/a.toml", RULES),
            ("policies/prompts/it.toml", "refused = \"Accesso negato.\"\n"),
            ("policies/workflows/vpn-recover.toml", recover),
        ];
        let parts = check(CONFIGURATION, &files).unwrap_or_else(|faults| panic!("{faults}"));
        let (vpn, switch) = (
            parts.clients.named("vpn").unwrap(),
            parts.clients.named("switch").unwrap(),
        );
        assert_eq!(
            (
                vpn.manner.recover.as_deref(),
                vpn.manner.language.as_deref(),
                vpn.manner.ascii
            ),
            (Some("?recover"), Some("de"), true)
        );
        assert_eq!(&*vpn.refused, "Anmeldung fehlgeschlagen.");
        assert_eq!(&*switch.refused, "Accesso negato.", "the default language");
        assert_eq!(switch.manner.recover, None, "it cannot show a dialog");
        assert!(parts.policy.workflows.named("vpn-recover").is_some());
        let crate::config::Directory::Local(local) = &parts.config.directories[0] else {
            panic!("the directory is not local");
        };
        assert_eq!(local.attributes, ["preferredLanguage"]);
        let warnings = parts.warnings.to_string();
        assert!(warnings.contains("it.toml: warning: has no text for "), "{warnings}");
        assert!(
            warnings.contains("warning: client[1].recover: does nothing unless"),
            "{warnings}"
        );
    }

    #[test]
    fn what_is_not_there_is_told() {
        let configuration = CONFIGURATION
            .replace("\"DE\"", "\"ed\"")
            .replace("[\"192.0.2.2\"]", "[]");
        let files = [("policies/a.toml", RULES)];
        let configuration = configuration.replace("address = []", "address = [\"192.0.2.2\"]");
        let Err(faults) = check(&configuration, &files) else {
            panic!("taken")
        };
        for fault in [
            "policies/a.toml:4:13: rule[0].workflow[0]: there is no workflow \"vpn-recover\"; there are ",
            "portcullis.toml:20:12: client[0].language: there are no prompts in \"ed\"; there are de, en, fr",
            "portcullis.toml:3:12: dialogs.language: there are no prompts in \"it\"; there are de, en, fr",
        ] {
            assert!(faults.contains(fault), "{fault}: {faults}");
        }
    }
}
