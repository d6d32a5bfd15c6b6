//! What a configuration says of dialogs: the prompt and workflow files of the policy folder, and who is spoken to in
//! which language.

use crate::config::Config;
use crate::document::{Document, Faults, Source, nearest};
use crate::engine::policy::{self, Policy};
use crate::engine::texts::Texts;
use crate::engine::workflow::Workflows;
use crate::policies::files::{PROMPTS, PolicyFiles, WORKFLOWS};

/// Reads the prompts and workflows that belong to the rules of `rules`.
pub(super) fn load(files: &PolicyFiles, rules: &[Source], policy: &mut Policy, faults: &mut Faults) {
    policy.texts = Texts::parse(&files.below(PROMPTS), faults);
    let workflows = files.below(WORKFLOWS);
    policy.workflows = Workflows::parse(&workflows, faults);
    let allowed = policy.questions.only_proof;
    policy.workflows.check_questions(&workflows, allowed, faults);
    policy::check_workflows(rules, &policy.workflows, faults);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::parts::Parts;

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
