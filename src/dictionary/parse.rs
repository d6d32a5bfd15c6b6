//! Reading dictionary files.
//!
//! Every line is read by itself, so that one fault does not hide the others. Files, lines, names and faults
//! are bounded: a dictionary that somebody downloaded is input like any other.
mod builder;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dictionary::attribute::{Attribute, Encryption, Format, Home, Kind, Values, Vendor};
use crate::dictionary::{Place, shipped};
use crate::document::{Faults, Source, nearest};

use builder::{Draft, Origin, Waiting, Wrong, described, same_value};
use words::{MAX_NAME, NO_NUMBER, check_name, format_of, kind_of, read_number, words};

pub(super) use builder::Builder;

impl Builder {
    /// Reads the dictionaries that are part of the program.
    pub(super) fn read_shipped(&mut self, faults: &mut Faults) {
        for (name, text) in shipped::FILES {
            self.read_text(&Source::new(Path::new(name), *text), faults);
        }
    }

    /// Reads a file with all that it includes.
    pub(super) fn read(&mut self, file: &Path, faults: &mut Faults) {
        let Some(source) = source(file, faults) else { return };
        let mut open = vec![identity(file)];
        Reader::new(self, &source, Some(&mut open), faults).run();
    }

    /// Reads a text, which may include nothing.
    pub(super) fn read_text(&mut self, source: &Source, faults: &mut Faults) {
        Reader::new(self, source, None, faults).run();
    }
}

/// Reads one file into a builder.
struct Reader<'r> {
    builder: &'r mut Builder,
    source: &'r Source,
    file: Arc<Path>,
    /// The files that are open, outermost first; none where nothing may be included.
    open: Option<&'r mut Vec<PathBuf>>,
    faults: &'r mut Faults,
    line: usize,
    vendor: Option<Arc<Vendor>>,
    /// Inside a block whose contents are not kept: the word that ends it, and the name.
    skipping: Option<(&'static str, String)>,
}

impl<'r> Reader<'r> {
    fn new(
        builder: &'r mut Builder,
        source: &'r Source,
        open: Option<&'r mut Vec<PathBuf>>,
        faults: &'r mut Faults,
    ) -> Self {
        let file: Arc<Path> = source.file().into();
        builder.files.push(Arc::clone(&file));
        Self {
            builder,
            source,
            file,
            open,
            faults,
            line: 0,
            vendor: None,
            skipping: None,
        }
    }

    fn run(&mut self) {
        for (index, line) in self.source.text().lines().enumerate() {
            self.line = index + 1;
            let words = words(line);
            if let Err(wrong) = self.take(&words) {
                let column = words.get(wrong.word).or(words.last()).map_or(1, |(column, _)| *column);
                let fault = wrong.at(&self.origin(), column);
                self.faults.0.push(fault);
            }
            if self.faults.0.len() >= MAX_FAULTS {
                return;
            }
        }
        let open = match (self.skipping.take(), self.vendor.take()) {
            (Some((end, name)), _) => format!("`{name}` is not closed; end it with {end} {name}"),
            (None, Some(vendor)) => format!("`{0}` is not closed; end it with END-VENDOR {0}", vendor.name),
            (None, None) => return,
        };
        let fault = Wrong::new(0, open).at(&self.origin(), 1);
        self.faults.0.push(fault);
    }

    fn origin(&self) -> Origin {
        Origin {
            file: Arc::clone(&self.file),
            line: self.line,
        }
    }

    fn take(&mut self, words: &[(usize, &str)]) -> Result<(), Wrong> {
        let Some((_, keyword)) = words.first() else {
            return Ok(());
        };
        let keyword = keyword.to_ascii_uppercase();
        let words: Vec<&str> = words.iter().skip(1).map(|(_, word)| *word).collect();
        if let Some(long) = words.iter().position(|word| word.len() > MAX_WORD) {
            return Err(Wrong::new(long + 1, format!("has more than {MAX_WORD} octets")));
        }
        if let Some((end, name)) = &self.skipping {
            let ends = keyword == *end && words.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
            if ends {
                self.skipping = None;
            } else if let ("ATTRIBUTE", Some(name)) = (keyword.as_str(), words.first()) {
                self.pass_over(name);
            }
            return Ok(());
        }
        match (keyword.as_str(), words.as_slice()) {
            ("ATTRIBUTE", [name, number, kind, flags @ ..]) => self.attribute(name, number, kind, flags),
            ("ATTRIBUTE", _) => Err(Wrong::new(0, "needs a name, a number and a type")),
            ("VALUE", [attribute, name, number]) => self.value(attribute, name, number),
            ("VALUE", _) => Err(Wrong::new(0, "needs an attribute, a name and a number")),
            ("VENDOR", [name, number]) => self.vendor(name, number, None),
            ("VENDOR", [name, number, format]) => self.vendor(name, number, Some(format)),
            ("VENDOR", _) => Err(Wrong::new(0, "needs a name and a number, and perhaps format=1,1")),
            ("BEGIN-VENDOR", [name]) => self.begin_vendor(name),
            // Vendor attributes inside the extended types (RFC 6929 section 2.4) are not kept.
            ("BEGIN-VENDOR", [name, _]) => {
                self.skipping = Some(("END-VENDOR", (*name).to_owned()));
                Ok(())
            }
            ("END-VENDOR", [name]) => match self.vendor.take() {
                Some(vendor) if vendor.name.eq_ignore_ascii_case(name) => Ok(()),
                Some(vendor) => Err(Wrong::new(1, format!("does not match BEGIN-VENDOR {}", vendor.name))),
                None => Err(Wrong::new(0, "has no BEGIN-VENDOR before it")),
            },
            ("BEGIN-TLV", [name]) => {
                if self.builder.known(name).is_none() && !self.builder.is_passed_over(name) {
                    return Err(Wrong::new(1, "is no attribute yet; put its ATTRIBUTE line before this"));
                }
                self.skipping = Some(("END-TLV", (*name).to_owned()));
                Ok(())
            }
            ("$INCLUDE", [file]) => self.include(file, true),
            ("$INCLUDE-", [file]) => self.include(file, false),
            ("BEGIN-VENDOR" | "END-VENDOR" | "BEGIN-TLV" | "END-TLV" | "$INCLUDE" | "$INCLUDE-", _) => Err(Wrong::new(
                0,
                "stands in the wrong place, or has too few or too many words",
            )),
            (other, _) => {
                let near = nearest(other, KEYWORDS).map_or(String::new(), |near| format!("; did you mean {near}?"));
                let message = format!("is not known here; there are {}{near}", KEYWORDS.join(", "));
                Err(Wrong::new(0, message))
            }
        }
    }

    fn attribute(&mut self, name: &str, number: &str, kind: &str, flags: &[&str]) -> Result<(), Wrong> {
        check_name(name).map_err(|message| Wrong::new(1, message))?;
        let (mut home, number) = match self.place(number)? {
            Some(place) => place,
            // Inside a TLV: those are kept as octets.
            None => {
                self.pass_over(name);
                return Ok(());
            }
        };
        let (kind, size) = kind_of(kind).map_err(|message| Wrong::new(3, message))?;
        let mut attribute = Attribute {
            name: name.into(),
            home: home.clone(),
            number,
            kind,
            size,
            tagged: false,
            encryption: Encryption::None,
            secret: false,
            concat: false,
            values: Values::default(),
        };
        for flag in flags
            .iter()
            .flat_map(|word| word.split(','))
            .filter(|flag| !flag.is_empty())
        {
            match flag.to_ascii_lowercase().as_str() {
                "has_tag" => attribute.tagged = true,
                "encrypt=1" | "encrypt=user-password" => attribute.encryption = Encryption::UserPassword,
                "encrypt=2" | "encrypt=tunnel-password" => attribute.encryption = Encryption::TunnelPassword,
                "encrypt=3" | "encrypt=ascend-secret" => attribute.encryption = Encryption::AscendSecret,
                "secret" => attribute.secret = true,
                "concat" => attribute.concat = true,
                // Any attribute may stand more than once.
                "array" => {}
                // Never in a packet.
                "virtual" => {
                    self.pass_over(name);
                    return Ok(());
                }
                // The vendor's name, as older dictionaries have it.
                _ => match self.builder.vendors.get(flag.to_ascii_lowercase().as_str()) {
                    Some((vendor, _)) => home = Home::Vendor(Arc::clone(vendor)),
                    None => {
                        let message = format!(
                            "`{flag}` is neither a vendor nor a flag; there are has_tag, encrypt=1, encrypt=2, encrypt=3, array, concat, secret, virtual"
                        );
                        return Err(Wrong::new(4, message));
                    }
                },
            }
        }
        attribute.home = home;
        attribute.secret |= attribute.encryption != Encryption::None;
        if attribute.home == Home::Standard && attribute.number > 255 {
            // FreeRADIUS' own numbers, which never are in a packet.
            self.pass_over(name);
            return Ok(());
        }
        self.fits(&attribute)?;
        self.define(attribute)
    }

    /// Its values are not looked for.
    fn pass_over(&mut self, name: &str) {
        if self.builder.passed_over.len() < MAX_ATTRIBUTES {
            self.builder.passed_over.insert(name.to_ascii_lowercase().into());
        }
    }

    /// Home and number of an attribute; none for what lies inside a TLV.
    fn place(&self, number: &str) -> Result<Option<(Home, u32)>, Wrong> {
        let mut steps = number.split('.');
        let mut next = || match steps.next() {
            Some(step) => read_number(step).map(Some).ok_or_else(|| Wrong::new(2, NO_NUMBER)),
            None => Ok(None),
        };
        let (first, second, third) = (next()?, next()?, next()?);
        let Some(first) = first else {
            return Err(Wrong::new(2, NO_NUMBER));
        };
        let number = |wide: u64| u32::try_from(wide).map_err(|_| Wrong::new(2, "does not fit 32 bits"));
        Ok(match (&self.vendor, first, second, third) {
            (Some(vendor), number_of, None, None) => Some((Home::Vendor(Arc::clone(vendor)), number(number_of)?)),
            (None, 241..=246, Some(inner), None) if inner != u64::from(super::attribute::VENDOR_SPECIFIC) => {
                let outer = u8::try_from(first).map_err(|_| Wrong::new(2, NO_NUMBER))?;
                Some((Home::Extended(outer), number(inner)?))
            }
            (None, number_of, None, None) => Some((Home::Standard, number(number_of)?)),
            (Some(_) | None, _, _, _) => None,
        })
    }

    fn fits(&mut self, attribute: &Attribute) -> Result<(), Wrong> {
        let most = match &attribute.home {
            Home::Standard | Home::Extended(_) => 255,
            Home::Vendor(vendor) => u32::MAX >> (32 - 8 * u32::from(vendor.format.kind)),
        };
        let least = u32::from(attribute.vendor().is_none());
        if !(least..=most).contains(&attribute.number) {
            return Err(Wrong::new(
                2,
                format!("is not between {least} and {most}, so it cannot be in a packet; remove the line"),
            ));
        }
        let tag_fits = matches!(attribute.kind, Kind::Text | Kind::Octets | Kind::Integer);
        if attribute.tagged && !tag_fits {
            return Err(Wrong::new(
                4,
                "has_tag goes with string, octets and integer only (RFC 2868)",
            ));
        }
        let hides = matches!(attribute.kind, Kind::Text | Kind::Octets);
        let plain = matches!(attribute.encryption, Encryption::None | Encryption::TunnelPassword);
        if !hides && !plain {
            return Err(Wrong::new(4, "this encryption goes with string and octets only"));
        }
        let outer = matches!(
            attribute.kind,
            Kind::VendorSpecific | Kind::Extended | Kind::LongExtended
        );
        let expected = match (&attribute.home, attribute.number) {
            (Home::Standard, 26) => attribute.kind == Kind::VendorSpecific || attribute.kind == Kind::Octets,
            (Home::Standard, 241..=244) => attribute.kind == Kind::Extended,
            (Home::Standard, 245..=246) => attribute.kind == Kind::LongExtended,
            (Home::Standard | Home::Vendor(_) | Home::Extended(_), _) => !outer,
        };
        if expected {
            return Ok(());
        }
        let message = "is not the type of this number: 26 is vsa, 241 to 244 are extended, 245 and 246 long-extended, and no others are (RFC 6929); this line does nothing";
        self.pass_over(&attribute.name);
        Err(Wrong::warning(3, message))
    }

    /// Adds an attribute. The same once more is nothing new; anything else under its name is a fault. A number
    /// may have several names, of which the first is shown.
    fn define(&mut self, attribute: Attribute) -> Result<(), Wrong> {
        let key: Box<str> = attribute.name.to_ascii_lowercase().into();
        let place = Place::of(&attribute.home, attribute.number);
        if let Some(before) = self
            .builder
            .by_name
            .get(&key)
            .and_then(|at| self.builder.attributes.get(*at))
        {
            let same_place = Place::of(&before.attribute.home, before.attribute.number) == place;
            return if same_place && same_value(&before.attribute, &attribute) {
                Ok(())
            } else {
                let message = format!(
                    "`{}` is {} at {}, and cannot be {} here; remove one of them, or give this one another name",
                    attribute.name,
                    described(&before.attribute),
                    before.origin,
                    described(&attribute)
                );
                Err(Wrong::new(1, message))
            };
        }
        if let Some(before) = self
            .builder
            .by_place
            .get(&place)
            .and_then(|at| self.builder.attributes.get(*at))
            && !same_value(&before.attribute, &attribute)
        {
            let message = format!(
                "this number is `{}`, {}, at {} already: packets show that name, and `{}` can be written only",
                before.attribute.name,
                described(&before.attribute),
                before.origin,
                attribute.name
            );
            self.faults.0.push(Wrong::warning(2, message).at(&self.origin(), 1));
        }
        if self.builder.attributes.len() >= MAX_ATTRIBUTES {
            return Err(Wrong::new(
                0,
                format!("is one attribute too many; {MAX_ATTRIBUTES} are kept"),
            ));
        }
        let index = self.builder.attributes.len();
        self.builder.by_name.insert(key, index);
        self.builder.by_place.entry(place).or_insert(index);
        let origin = self.origin();
        self.builder.attributes.push(Draft { attribute, origin });
        Ok(())
    }

    fn value(&mut self, attribute: &str, name: &str, number: &str) -> Result<(), Wrong> {
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Wrong::new(
                2,
                format!("is no name: at most {MAX_NAME} characters that can be seen"),
            ));
        }
        let number = read_number(number).ok_or_else(|| Wrong::new(3, NO_NUMBER))?;
        let origin = self.origin();
        if let Some(index) = self.builder.known(attribute) {
            return self.builder.name_value(index, name, number, origin);
        }
        if self.builder.is_passed_over(attribute) {
            return Ok(());
        }
        if self.builder.waiting.len() >= MAX_ATTRIBUTES {
            return Err(Wrong::new(1, "is no attribute yet; put its ATTRIBUTE line before this"));
        }
        self.builder.waiting.push(Waiting {
            attribute: attribute.into(),
            name: name.into(),
            number,
            origin,
        });
        Ok(())
    }

    fn vendor(&mut self, name: &str, number: &str, format: Option<&str>) -> Result<(), Wrong> {
        check_name(name).map_err(|message| Wrong::new(1, message))?;
        let number = read_number(number)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=0x00ff_ffff).contains(number))
            .ok_or_else(|| Wrong::new(2, "must be a private enterprise number from 1 to 16777215"))?;
        let format = match format {
            Some(format) => {
                format_of(format).ok_or_else(|| Wrong::new(3, "must be format=T,L with T 1, 2 or 4 and L 0, 1 or 2"))?
            }
            None => Format::default(),
        };
        let vendor = Vendor {
            name: name.into(),
            number,
            format,
        };
        let key: Box<str> = name.to_ascii_lowercase().into();
        match self.builder.vendors.get(&key) {
            Some((before, _)) if **before == vendor => return Ok(()),
            Some((before, origin)) => {
                let message = format!(
                    "`{}` is vendor {} with format={},{} at {origin}; remove one of them",
                    before.name, before.number, before.format.kind, before.format.length
                );
                return Err(Wrong::new(1, message));
            }
            None => {}
        }
        if let Some(before) = self.builder.vendor_numbers.get(&number)
            && before.format != format
        {
            let message = format!("is `{}`, with another format; remove one of them", before.name);
            return Err(Wrong::new(2, message));
        }
        let origin = self.origin();
        let vendor = Arc::new(vendor);
        self.builder.vendors.insert(key, (Arc::clone(&vendor), origin));
        self.builder.vendor_numbers.entry(number).or_insert(vendor);
        Ok(())
    }

    fn begin_vendor(&mut self, name: &str) -> Result<(), Wrong> {
        if let Some(open) = &self.vendor {
            return Err(Wrong::new(
                0,
                format!(
                    "stands inside BEGIN-VENDOR {0}; end that with END-VENDOR {0}",
                    open.name
                ),
            ));
        }
        match self.builder.vendors.get(name.to_ascii_lowercase().as_str()) {
            Some((vendor, _)) => self.vendor = Some(Arc::clone(vendor)),
            None => {
                return Err(Wrong::new(
                    1,
                    format!("is no vendor yet; put a line VENDOR {name} NUMBER before this"),
                ));
            }
        }
        Ok(())
    }

    fn include(&mut self, name: &str, needed: bool) -> Result<(), Wrong> {
        let Some(open) = self.open.as_deref_mut() else {
            return Err(Wrong::new(0, "cannot be used here"));
        };
        if Path::new(name).is_absolute() {
            return Err(Wrong::new(1, "is an absolute path; write it relative to this file"));
        }
        let file = self.file.parent().unwrap_or(Path::new("")).join(name);
        if !needed && !file.exists() {
            return Ok(());
        }
        if open.len() >= MAX_DEPTH {
            return Err(Wrong::new(0, format!("goes deeper than {MAX_DEPTH} files")));
        }
        let this = identity(&file);
        if open.contains(&this) {
            return Err(Wrong::new(
                1,
                format!("{} includes itself in the end; remove this line", file.display()),
            ));
        }
        if self.builder.files.len() >= MAX_FILES {
            return Err(Wrong::new(0, format!("is one file too many; {MAX_FILES} are read")));
        }
        let before = self.faults.0.len();
        let Some(source) = source(&file, self.faults) else {
            // Says who wanted the file, and not only that it cannot be read.
            self.faults.0.truncate(before + 1);
            let reason = self.faults.0.pop().map_or(String::new(), |fault| fault.message);
            return Err(Wrong::new(1, format!("{} {reason}", file.display())));
        };
        open.push(this);
        Reader::new(self.builder, &source, Some(&mut *open), self.faults).run();
        open.pop();
        Ok(())
    }
}

fn source(file: &Path, faults: &mut Faults) -> Option<Source> {
    match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            faults.file(file, "is no file");
            None
        }
        Ok(metadata) if metadata.len() > MAX_OCTETS => {
            let message = format!("has {} octets; {MAX_OCTETS} are read of a dictionary", metadata.len());
            faults.file(file, message);
            None
        }
        Ok(_) | Err(_) => Source::read(file, faults),
    }
}

/// What makes two paths the same file.
fn identity(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

const KEYWORDS: &[&str] = &[
    "ATTRIBUTE",
    "VALUE",
    "VENDOR",
    "BEGIN-VENDOR",
    "END-VENDOR",
    "BEGIN-TLV",
    "END-TLV",
    "$INCLUDE",
    "$INCLUDE-",
];

/// Largest file, in octets.
const MAX_OCTETS: u64 = 2 << 20;

/// Files that may be open at once, one including the next.
const MAX_DEPTH: usize = 10;

/// Files read in all.
const MAX_FILES: usize = 1000;

/// Attributes kept in all.
const MAX_ATTRIBUTES: usize = 50_000;

/// Faults after which reading stops.
const MAX_FAULTS: usize = 100;

/// Longest word of a line, in octets.
const MAX_WORD: usize = 1024;
