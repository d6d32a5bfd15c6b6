//! What has been read, before it is a dictionary.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::dictionary::attribute::{Attribute, Encryption, Home, Vendor};
use crate::dictionary::{Dictionary, Place};
use crate::document::{Fault, Faults, Severity};

/// A dictionary while it is read.
#[derive(Debug, Default)]
pub(in crate::dictionary) struct Builder {
    pub(super) attributes: Vec<Draft>,
    pub(super) by_name: HashMap<Box<str>, usize>,
    /// The attribute that a number was first given to.
    pub(super) by_place: HashMap<Place, usize>,
    pub(super) vendors: HashMap<Box<str>, (Arc<Vendor>, Origin)>,
    pub(super) vendor_numbers: HashMap<u32, Arc<Vendor>>,
    /// Names of attributes that are not kept, in small letters: their values are passed over.
    pub(super) passed_over: HashSet<Box<str>>,
    /// Where the values stand: index of the attribute, name in small letters.
    pub(super) value_origins: HashMap<(usize, Box<str>), Origin>,
    pub(super) files: Vec<Arc<Path>>,
    /// Values of attributes that were not defined yet.
    pub(super) waiting: Vec<Waiting>,
}

/// A value of an attribute that was not defined yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) attribute: Box<str>,
    pub(super) name: Box<str>,
    pub(super) number: u64,
    pub(super) origin: Origin,
}

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) attribute: Attribute,
    pub(super) origin: Origin,
}

/// Where something was defined.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) file: Arc<Path>,
    pub(super) line: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Builder {
    /// The dictionary of all that was read.
    pub(in crate::dictionary) fn finish(mut self, faults: &mut Faults) -> Dictionary {
        for value in std::mem::take(&mut self.waiting) {
            let result = match self.known(&value.attribute) {
                Some(index) => self.name_value(index, &value.name, value.number, value.origin.clone()),
                None if self.is_passed_over(&value.attribute) => Ok(()),
                None => {
                    let message = format!(
                        "no dictionary has an attribute `{}`: this line does nothing",
                        value.attribute
                    );
                    Err(Wrong::warning(1, message))
                }
            };
            if let Err(wrong) = result {
                faults.0.push(wrong.at(&value.origin, 1));
            }
        }
        let attributes: Vec<Arc<Attribute>> = self
            .attributes
            .into_iter()
            .map(|draft| Arc::new(draft.attribute))
            .collect();
        let get = |index: usize| attributes.get(index).map(Arc::clone);
        Dictionary {
            names: self
                .by_name
                .into_iter()
                .filter_map(|(name, index)| Some((name, get(index)?)))
                .collect(),
            numbers: self
                .by_place
                .into_iter()
                .filter_map(|(place, index)| Some((place, get(index)?)))
                .collect(),
            vendors: self.vendor_numbers,
        }
    }
}

impl Builder {
    /// The index of an attribute by name.
    pub(super) fn known(&self, name: &str) -> Option<usize> {
        self.by_name.get(name.to_ascii_lowercase().as_str()).copied()
    }

    pub(super) fn is_passed_over(&self, name: &str) -> bool {
        self.passed_over.contains(name.to_ascii_lowercase().as_str())
    }

    /// Gives a number of an attribute a name.
    pub(super) fn name_value(&mut self, index: usize, name: &str, number: u64, origin: Origin) -> Result<(), Wrong> {
        let Some(draft) = self.attributes.get_mut(index) else {
            return Ok(());
        };
        let kind = draft.attribute.kind;
        let most = match kind.width() {
            Some(_) if draft.attribute.tagged => 0x00ff_ffff,
            Some(width) if kind.is_number() => u64::MAX >> (64 - 8 * width),
            Some(_) | None => {
                let message = format!("is of type {kind}: only numbers have named values, and this line does nothing");
                return Err(Wrong::warning(1, message));
            }
        };
        if number > most {
            return Err(Wrong::new(
                3,
                format!("is above {most}, the most that {kind} holds here"),
            ));
        }
        let key: Box<str> = name.to_ascii_lowercase().into();
        let values = &mut draft.attribute.values;
        match values.by_name.get(&key) {
            Some(before) if *before == number => {}
            Some(before) => {
                let place = self.value_origins.get(&(index, key));
                let place = place.map_or(String::new(), |place| format!(" at {place}"));
                let message = format!("`{name}` is {before}{place}, and cannot be {number} here; remove one of them");
                return Err(Wrong::new(2, message));
            }
            None => {
                if self.value_origins.len() >= MAX_VALUES {
                    return Err(Wrong::new(0, format!("is one value too many; {MAX_VALUES} are kept")));
                }
                values.by_number.entry(number).or_insert_with(|| name.into());
                values.by_name.insert(key.clone(), number);
                self.value_origins.insert((index, key), origin);
            }
        }
        Ok(())
    }
}

/// What is wrong with a line.
pub(super) struct Wrong {
    /// Which of its words is meant, from 0.
    pub(super) word: usize,
    pub(super) severity: Severity,
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(word: usize, message: impl Into<String>) -> Self {
        Self {
            word,
            severity: Severity::Error,
            message: message.into(),
        }
    }

    pub(super) fn warning(word: usize, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::new(word, message)
        }
    }

    pub(super) fn at(self, origin: &Origin, column: usize) -> Fault {
        Fault {
            severity: self.severity,
            file: origin.file.to_path_buf(),
            line: origin.line,
            column,
            key: String::new(),
            message: self.message,
        }
    }
}

pub(super) fn same_value(left: &Attribute, right: &Attribute) -> bool {
    let essence = |of: &Attribute| (of.kind, of.size, of.tagged, of.encryption);
    essence(left) == essence(right)
}

pub(super) fn described(attribute: &Attribute) -> String {
    let mut text = match &attribute.home {
        Home::Standard => attribute.number.to_string(),
        Home::Vendor(vendor) => format!("{}/{}", vendor.name, attribute.number),
        Home::Extended(outer) => format!("{outer}.{}", attribute.number),
    };
    text.push_str(&format!(" {}", attribute.kind));
    if let Some(size) = attribute.size {
        text.push_str(&format!("[{size}]"));
    }
    if attribute.tagged {
        text.push_str(" has_tag");
    }
    text.push_str(match attribute.encryption {
        Encryption::None => "",
        Encryption::UserPassword => " encrypt=1",
        Encryption::TunnelPassword => " encrypt=2",
        Encryption::AscendSecret => " encrypt=3",
    });
    text
}

/// Named values kept in all.
const MAX_VALUES: usize = 200_000;
