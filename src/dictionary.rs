//! Names, numbers and types of RADIUS attributes.
//!
//! Dictionaries are files in FreeRADIUS' format: those of the RFCs and of common vendors are part of the
//! program, and a site adds its own. See `docs/decisions/0007-dictionaries.md`.

mod attribute;
mod named;
mod parse;
mod shipped;
mod value;
mod wire;

use std::collections::HashMap;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, LazyLock};

use crate::document::{Faults, nearest};

pub use attribute::{Attribute, Encryption, Format, Home, Kind, Pair, Vendor};
pub use named::{ForLog, Label, Named, Names, Path};
pub use value::{Shown, Unfit};
pub use wire::Long;

/// All attributes that are known.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    /// By name in small letters.
    names: HashMap<Box<str>, Arc<Attribute>>,
    numbers: HashMap<Place, Arc<Attribute>>,
    vendors: HashMap<u32, Arc<Vendor>>,
}

/// Whose number, and which: zero for RFC 2865, an extended type, or a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Standard(u32),
    Vendor(u32, u32),
    Extended(u8, u32),
}

impl Place {
    fn of(home: &Home, number: u32) -> Self {
        match home {
            Home::Standard => Self::Standard(number),
            Home::Vendor(vendor) => Self::Vendor(vendor.number, number),
            Home::Extended(kind) => Self::Extended(*kind, number),
        }
    }
}

/// Why a name names no attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// Nobody knows it.
    #[error("no dictionary knows the attribute `{name}`{hint}")]
    Unknown {
        /// The name as given.
        name: String,
        /// A name that is meant perhaps.
        hint: String,
    },
    /// A tag on what has none.
    #[error("`{0}` has no tag; write it without the `:` and what follows")]
    Untagged(String),
    /// A tag out of range.
    #[error("the tag of `{0}` must be a number from 1 to 31")]
    Tag(String),
}

impl Dictionary {
    /// The dictionaries that are part of the program.
    pub fn shipped() -> &'static Arc<Self> {
        static SHIPPED: LazyLock<Arc<Dictionary>> = LazyLock::new(|| {
            let mut faults = Faults::default();
            let mut builder = parse::Builder::default();
            builder.read_shipped(&mut faults);
            let dictionary = builder.finish(&mut faults);
            debug_assert!(faults.0.is_empty(), "{faults}");
            Arc::new(dictionary)
        });
        &SHIPPED
    }

    /// The shipped dictionaries, and on top of them the files named `dictionary*` and `*.dictionary` of a
    /// folder, in the order of their names. What is wrong goes to `faults`.
    pub fn load(folder: &FilePath, faults: &mut Faults) -> Arc<Self> {
        let mut builder = parse::Builder::default();
        builder.read_shipped(faults);
        for file in files(folder, faults) {
            builder.read(&file, faults);
        }
        Arc::new(builder.finish(faults))
    }

    /// A dictionary of one text alone, without the shipped ones. `$INCLUDE` is refused.
    pub fn parse(source: &crate::document::Source, faults: &mut Faults) -> Self {
        let mut builder = parse::Builder::default();
        builder.read_text(source, faults);
        builder.finish(faults)
    }

    /// The attribute of a name, in which capitals do not matter. `Attr-250` and `Attr-26.311.99` name what
    /// has that number: an attribute of octets where no dictionary has one.
    pub fn find(&self, name: &str) -> Option<Arc<Attribute>> {
        match self.names.get(name.to_ascii_lowercase().as_str()) {
            Some(attribute) => Some(Arc::clone(attribute)),
            None => self.numbered(name),
        }
    }

    /// The attribute and tag of a name such as `Session-Timeout` or `Tunnel-Type:1`.
    ///
    /// # Errors
    /// When nobody knows the name, the attribute has no tag, or the tag is not 1 to 31.
    pub fn find_tagged(&self, name: &str) -> Result<(Arc<Attribute>, Option<u8>), Unnamed> {
        if let Some(attribute) = self.find(name) {
            return Ok((attribute, None));
        }
        let (base, tag) = name.split_once(':').unwrap_or((name, ""));
        let Some(attribute) = self.find(base) else {
            let known: Vec<&str> = self.names.values().map(|attribute| &*attribute.name).collect();
            let hint = nearest(base, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let name = name.to_owned();
            return Err(Unnamed::Unknown { name, hint });
        };
        if !attribute.tagged {
            return Err(Unnamed::Untagged(attribute.name.to_string()));
        }
        match tag.parse() {
            Ok(tag @ 1..=31) => Ok((attribute, Some(tag))),
            Ok(_) | Err(_) => Err(Unnamed::Tag(attribute.name.to_string())),
        }
    }

    /// The attribute of a type of RFC 2865.
    pub fn standard(&self, kind: u8) -> Option<&Arc<Attribute>> {
        self.numbers.get(&Place::Standard(kind.into()))
    }

    /// A vendor's attribute.
    pub fn vendors_attribute(&self, vendor: u32, kind: u32) -> Option<&Arc<Attribute>> {
        self.numbers.get(&Place::Vendor(vendor, kind))
    }

    /// The attribute of an extended type (RFC 6929).
    pub fn extended(&self, outer: u8, kind: u8) -> Option<&Arc<Attribute>> {
        self.numbers.get(&Place::Extended(outer, kind.into()))
    }

    /// The vendor of a private enterprise number.
    pub fn vendor(&self, number: u32) -> Option<&Arc<Vendor>> {
        self.vendors.get(&number)
    }

    /// All attributes, in no order; one that has several names appears under each.
    pub fn attributes(&self) -> impl Iterator<Item = &Arc<Attribute>> {
        self.names.values()
    }

    /// A pair from a name with or without a tag, and a value as text.
    ///
    /// # Errors
    /// The name and what is wrong with it or with the value. The value itself is not in the message.
    pub fn pair(&self, name: &str, value: &str) -> Result<Pair, String> {
        let (attribute, tag) = self.find_tagged(name).map_err(|error| error.to_string())?;
        match attribute.encode(value) {
            Ok(value) => Ok(Pair { attribute, tag, value }),
            Err(error) => Err(format!("the value of {name} {error}")),
        }
    }

    /// Reads `Attr-N`, `Attr-26.V.N`, `Attr-241.N`.
    fn numbered(&self, name: &str) -> Option<Arc<Attribute>> {
        let (prefix, numbers) = name.split_at_checked(5)?;
        if !prefix.eq_ignore_ascii_case("Attr-") {
            return None;
        }
        let mut parts = numbers.split('.').map(|part| {
            let digits = part.bytes().all(|digit| digit.is_ascii_digit());
            digits.then(|| part.parse::<u32>().ok()).flatten()
        });
        let (first, second, third) = (parts.next()??, parts.next(), parts.next());
        let (home, number) = match (first, second, third, parts.next()) {
            (1..=255, None, None, None) if first != u32::from(attribute::VENDOR_SPECIFIC) => (Home::Standard, first),
            (241..=246, Some(Some(number @ 1..=255)), None, None) => {
                (Home::Extended(u8::try_from(first).ok()?), number)
            }
            (26, Some(Some(vendor @ 1..=0x00ff_ffff)), Some(Some(number)), None) => {
                let vendor = self.vendors.get(&vendor).cloned().unwrap_or_else(|| {
                    Arc::new(Vendor {
                        name: vendor.to_string().into(),
                        number: vendor,
                        format: Format::default(),
                    })
                });
                let fits = vendor.format.kind >= 4 || number >> (8 * u32::from(vendor.format.kind)) == 0;
                (Home::Vendor(vendor), fits.then_some(number)?)
            }
            _ => return None,
        };
        let known = self.numbers.get(&Place::of(&home, number)).cloned();
        known.or_else(|| {
            Some(Arc::new(Attribute {
                name: format!("Attr-{numbers}").into(),
                home,
                number,
                kind: Kind::Octets,
                size: None,
                tagged: false,
                encryption: Encryption::None,
                secret: false,
                concat: false,
                values: attribute::Values::default(),
            }))
        })
    }
}

/// The dictionaries of a folder, in the order of their names.
fn files(folder: &FilePath, faults: &mut Faults) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            faults.file(folder, format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let wanted = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("dictionary") || name.ends_with(".dictionary")
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| wanted(file) && file.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
