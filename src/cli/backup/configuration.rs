//! A copy of the configuration and the policies without the secrets in them.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::output::CliError;
use crate::config::Config;

/// Files with their names in the copy.
#[derive(Debug)]
pub(super) struct Configuration(Vec<(PathBuf, String)>);

/// Reads the configuration and the policies that it names. Files that hold secrets (`secret_file` and the like) are
/// not read.
pub(super) fn read(file: &Path) -> Result<Configuration, CliError> {
    let (config, _) = Config::load(file).map_err(|faults| {
        CliError::File(
            faults.to_string(),
            Some("mend it, or make the backup without --with-config"),
        )
    })?;
    let mut files = vec![(PathBuf::from("portcullis.toml"), blanked(file)?)];
    let policies = &config.policies.path;
    for path in toml_files(policies).map_err(|error| unreadable(policies, &error))? {
        let name = path.strip_prefix(policies).unwrap_or(&path);
        files.push((Path::new("policies").join(name), blanked(&path)?));
    }
    Ok(Configuration(files))
}

impl Configuration {
    /// Writes it into `folder`; files of these names in it are replaced.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, text) in &self.0 {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::File(format!("cannot read {}: {error}", path.display()), None)
}

fn toml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(toml_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn blanked(file: &Path) -> Result<String, CliError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    without_secrets(&text).ok_or_else(|| unreadable(file, &"it is no TOML"))
}

/// The text with every secret value as `""`; `None` when it is no TOML.
fn without_secrets(text: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let mut secrets = Vec::new();
    find(document.get_ref(), false, &mut secrets);
    secrets.sort_by_key(|place| std::cmp::Reverse(place.start));
    let mut blanked = text.to_owned();
    for place in secrets {
        blanked.replace_range(place, "\"\"");
    }
    // What somebody has commented out may be in use elsewhere.
    let lines = blanked.lines().map(|line| match line.split_once('#') {
        Some((before, said)) if SECRETS.iter().any(|word| said.contains(word)) && said.contains('=') => {
            format!("{before}# (left out)\n")
        }
        Some(_) | None => format!("{line}\n"),
    });
    Some(lines.collect())
}

fn find(table: &DeTable<'_>, all: bool, secrets: &mut Vec<Range<usize>>) {
    for (name, value) in table {
        let name: &str = name.get_ref();
        judge(value, all || is_secret(name), secrets);
    }
}

fn judge(value: &Spanned<DeValue<'_>>, secret: bool, secrets: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => find(table, secret, secrets),
        DeValue::Array(items) => items.iter().for_each(|item| judge(item, secret, secrets)),
        // Credentials in a URL.
        DeValue::String(text) if secret || text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) => {
            secrets.push(value.span());
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) if secret => {
            secrets.push(value.span());
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// `secret`, `bind_password` and the like hold one; `secret_file` only says where it is.
fn is_secret(name: &str) -> bool {
    // RADIUS attributes in replies of rules as well: `"Tunnel-Password:1"`, `MS-MPPE-Send-Key`.
    let name = name.to_ascii_lowercase().replace('-', "_");
    let name = name.split(':').next().unwrap_or_default();
    let word = |word: &str| name == word || name.ends_with(&format!("_{word}"));
    name == "headers" || name.starts_with("ms_mppe_") || SECRETS.iter().any(|known| word(known))
}

const SECRETS: [&str; 3] = ["secret", "password", "token"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_everything_else_stays() {
        let text = r#"# secret = "old one"
[[directory]]
bind_password = "s3cret" # the password is = "s3cret"
bind_password_file = "directory.password"
url = "https://user:s3cret@example.org/" # kept as it is
[[client]]
secret = """
s3cret"""
headers = { Authorization = "Bearer s3cret", Number = 1 }
servers = [{ address = "10.0.0.1:1812", secret = 's3cret' }]
secret_file = "vpn.secret"
"Tunnel-Password:1" = "s3cret"
Tunnel-Password = ["s3cret", "{pager|s3cret}"]
ms-mppe-send-key = "s3cret"
password_policy = "cn=default"
"#;
        let blanked = without_secrets(text).unwrap();
        assert!(!blanked.contains("s3cret") && !blanked.contains("old one"), "{blanked}");
        for kept in [
            "bind_password = \"\"",
            "directory.password",
            "# kept as it is",
            "Number = \"\"",
            "address = \"10.0.0.1:1812\", secret = \"\"",
            "vpn.secret",
            "password_policy = \"cn=default\"",
        ] {
            assert!(blanked.contains(kept), "{kept}: {blanked}");
        }
        assert!(DeTable::parse(&blanked).is_ok());
        assert_eq!(without_secrets("no toml"), None);
    }
}
