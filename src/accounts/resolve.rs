//! Whom a name means.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{AccountError, Accounts, Subject};
use crate::clock;
use crate::directory::Directory;
use crate::engine::batch::Key;
use crate::engine::facts::{Lookup, UserKey};
use crate::engine::record::{UserRecord, decode};
use crate::engine::request::{LoginForm, LoginName};

impl Accounts {
    /// Finds the one person called `name`: a login name, a distinguished name, or the key of a record.
    /// All directories are asked, or the one given.
    ///
    /// # Errors
    /// When there is nobody, more than one, or a directory that cannot be asked.
    pub async fn resolve(&self, name: &str, directory: Option<&str>) -> Result<Subject, AccountError> {
        let login = parse_name(name)?;
        let directories = self.chosen(directory)?;
        if let Some(key) = key_in(name, directories.iter().map(|directory| directory.name())) {
            return self.by_key(name, key).await;
        }
        let mut found = Vec::new();
        let mut unavailable = None;
        for (directory, lookup) in look_up(directories, &login).await {
            match lookup {
                Lookup::Found(person) => found.push(person),
                Lookup::Unknown => {}
                Lookup::Ambiguous => {
                    let what = format!("several entries of directory `{directory}`");
                    return Err(AccountError::Ambiguous(name.to_owned(), what));
                }
                Lookup::Unavailable(reason) => {
                    unavailable = Some(AccountError::DirectoryUnavailable(directory, reason));
                }
            }
        }
        if let Some(error) = unavailable {
            return Err(error);
        }
        let keys: Vec<&str> = found.iter().map(|person| person.key.as_str()).collect();
        if keys.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
            return Err(AccountError::Ambiguous(name.to_owned(), keys.join(", ")));
        }
        match found.into_iter().next() {
            Some(person) => Ok(Subject {
                key: person.key.clone(),
                login: person.login.clone(),
                person: Some(person),
                warrant: None,
            }),
            None => self.by_record(name, &login, directory).await,
        }
    }

    /// The person with this key: known by a record, or by the directory under the record's name.
    pub(super) async fn by_key(&self, name: &str, key: UserKey) -> Result<Subject, AccountError> {
        let found = self.store.read(&[Key::user(&key)], clock::now()).await?;
        let Some(octets) = found.into_iter().next().and_then(|found| found.value) else {
            return Err(AccountError::NoSuchUser(name.to_owned()));
        };
        let record: UserRecord = decode(&octets).map_err(|error| AccountError::BadRecord(name.to_owned(), error))?;
        self.known_as(key, &record.login).await
    }

    /// The person with this key, who was last called `login`.
    pub(super) async fn known_as(&self, key: UserKey, login: &str) -> Result<Subject, AccountError> {
        let mut person = None;
        if let (Ok(login), Ok(directories)) = (parse_name(login), self.chosen(Some(directory_of(key.as_str())))) {
            for (directory, lookup) in look_up(directories, &login).await {
                match lookup {
                    Lookup::Found(candidate) if candidate.key == key => person = Some(candidate),
                    Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous => {}
                    Lookup::Unavailable(reason) => return Err(AccountError::DirectoryUnavailable(directory, reason)),
                }
            }
        }
        Ok(Subject {
            key,
            login: login.to_owned(),
            person,
            warrant: None,
        })
    }

    /// Someone whom no directory knows, but of whom there is a record.
    async fn by_record(&self, name: &str, login: &LoginName, directory: Option<&str>) -> Result<Subject, AccountError> {
        let mut found: Vec<UserKey> = Vec::new();
        self.each_user(|key, record| {
            let called = record.login.to_lowercase() == login.as_str() || key.as_str() == login.as_str();
            if called && directory.is_none_or(|name| directory_of(key.as_str()) == name) {
                found.push(key.clone());
            }
            found.len() < 2
        })
        .await?;
        match found.as_slice() {
            [] => Err(AccountError::NoSuchUser(name.to_owned())),
            [key] => self.by_key(name, key.clone()).await,
            [first, second, ..] => Err(AccountError::Ambiguous(
                name.to_owned(),
                format!("records {first} and {second}"),
            )),
        }
    }

    pub(super) fn chosen(&self, directory: Option<&str>) -> Result<Vec<Arc<dyn Directory>>, AccountError> {
        let all = self.surroundings.directories();
        let Some(name) = directory else {
            return Ok(all);
        };
        let known: Vec<String> = all.iter().map(|directory| directory.name().to_owned()).collect();
        let chosen: Vec<_> = all.into_iter().filter(|directory| directory.name() == name).collect();
        if chosen.is_empty() {
            return Err(AccountError::NoSuchDirectory(name.to_owned(), known.join(", ")));
        }
        Ok(chosen)
    }
}

/// Asks all of `directories` at once, so that a slow one costs its own time only.
pub(super) async fn look_up(directories: Vec<Arc<dyn Directory>>, login: &LoginName) -> Vec<(String, Lookup)> {
    let mut asked = JoinSet::new();
    for (index, directory) in directories.into_iter().enumerate() {
        let login = login.clone();
        asked.spawn(async move {
            let mut lookup = directory.look_up(&login).await;
            // An application's own account need not be what the directory takes for a person.
            if let (LoginForm::Dn(dn), Lookup::Unknown) = (login.form(), &lookup)
                && let Ok(account) = LoginName::account(dn)
            {
                lookup = directory.look_up(&account).await;
            }
            (index, directory.name().to_owned(), lookup)
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.push(answer.unwrap_or_else(|error| {
            let what = Lookup::Unavailable(format!("the look-up ended early: {error}"));
            (usize::MAX, "?".to_owned(), what)
        }));
    }
    answers.sort_by_key(|(index, _, _)| *index);
    answers.into_iter().map(|(_, name, lookup)| (name, lookup)).collect()
}

pub(super) fn parse_name(name: &str) -> Result<LoginName, AccountError> {
    let parsed = if name.contains('=') {
        LoginName::parse_dn(name)
    } else {
        LoginName::parse(name)
    };
    parsed.map_err(|error| AccountError::BadName(name.to_owned(), error))
}

/// `name` as a key of one of these directories' people.
fn key_in<'a>(name: &str, directories: impl Iterator<Item = &'a str>) -> Option<UserKey> {
    let (prefix, identifier) = name.trim().split_once(':')?;
    let mut known = directories.filter(|directory| *directory == prefix);
    known.next().map(|directory| UserKey::new(directory, identifier))
}

pub(super) fn directory_of(key: &str) -> &str {
    key.split_once(':').map_or("", |(directory, _)| directory)
}
