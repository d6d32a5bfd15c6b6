//! Attributes of a packet by their names, those inside others too. Reads what came over the wire:
//! anything goes in, and what is not laid out as the dictionary says comes out as octets.

use std::collections::VecDeque;
use std::fmt::{self, Display};

use crate::dictionary::Dictionary;
use crate::dictionary::attribute::{Attribute, Encryption, Format, Kind, VENDOR_SPECIFIC};
use crate::dictionary::value::hex;

/// One attribute of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// What the dictionary knows of it.
    pub attribute: Option<&'a Attribute>,
    /// Where it stands.
    pub path: Path,
    /// Its tag; none where there is none, or zero.
    pub tag: Option<u8>,
    /// Its value as it travels: without the tag, but hidden if the attribute is one of those.
    pub value: &'a [u8],
}

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// A type of RFC 2865.
    Standard(u8),
    /// Inside Vendor-Specific: vendor and type.
    Vendor(u32, u32),
    /// Vendor-Specific of this vendor whose contents are not laid out as its attributes are.
    Opaque(u32),
    /// Inside an extended type (RFC 6929): that type, and the type within.
    Extended(u8, u8),
}

/// The number in the form `26.311.16` that stands for names nobody knows.
impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(kind) => write!(f, "{kind}"),
            Self::Vendor(vendor, kind) => write!(f, "{VENDOR_SPECIFIC}.{vendor}.{kind}"),
            Self::Opaque(vendor) => write!(f, "{VENDOR_SPECIFIC}.{vendor}"),
            Self::Extended(outer, kind) => write!(f, "{outer}.{kind}"),
        }
    }
}

impl Named<'_> {
    /// Whether the value proves or opens something, or may: responses and keys stand in attributes of
    /// Microsoft's that are not laid out as they should be, too.
    pub fn is_secret(&self) -> bool {
        self.attribute.is_some_and(|attribute| attribute.secret) || self.path == Path::Opaque(MICROSOFT)
    }

    /// The name, with the tag behind it if there is one: `Attr-26.311.99` when nobody knows it.
    pub const fn label(&self) -> Label<'_> {
        Label(self)
    }

    /// The attribute for logs: values that prove or open something appear as their lengths.
    pub const fn for_log(&self) -> ForLog<'_> {
        ForLog(self)
    }
}

/// `Name:tag = value`, whatever the value is.
impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", self.label())?;
        match self.attribute {
            Some(attribute) if attribute.encryption == Encryption::None => attribute.show(self.value).fmt(f),
            Some(_) | None => hex(f, self.value),
        }
    }
}

/// Prints the name of an attribute.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a>(&'a Named<'a>);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.attribute {
            Some(attribute) => f.write_str(&attribute.name)?,
            None => write!(f, "Attr-{}", self.0.path)?,
        }
        match self.0.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

/// Prints an attribute without its secrets.
#[derive(Clone, Copy, Debug)]
pub struct ForLog<'a>(&'a Named<'a>);

impl Display for ForLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_secret() {
            write!(f, "{} = ({} octets)", self.0.label(), self.0.value.len())
        } else {
            self.0.fmt(f)
        }
    }
}

impl Dictionary {
    /// Names the attributes in the octets behind a packet's header, in order. Ends before the first that is
    /// shorter than two octets or runs past the end.
    pub fn name<'a>(&'a self, attributes: &'a [u8]) -> Names<'a> {
        Names {
            dictionary: self,
            rest: attributes,
            inner: VecDeque::new(),
        }
    }

    fn attribute_of<'a>(&'a self, path: Path, value: &'a [u8]) -> Named<'a> {
        let attribute = match path {
            Path::Standard(kind) => self.standard(kind),
            Path::Vendor(vendor, kind) => self.vendors_attribute(vendor, kind),
            Path::Extended(outer, kind) => self.extended(outer, kind),
            Path::Opaque(_) => None,
        };
        let attribute = attribute.map(AsRef::as_ref);
        let (tag, value) = match attribute {
            Some(attribute) if attribute.tagged => untag(attribute, value),
            Some(_) | None => (None, value),
        };
        Named {
            attribute,
            path,
            tag,
            value,
        }
    }
}

/// Microsoft's private enterprise number.
const MICROSOFT: u32 = 311;

/// Takes the tag off a value (RFC 2868 section 3.1 and following).
fn untag<'a>(attribute: &Attribute, value: &'a [u8]) -> (Option<u8>, &'a [u8]) {
    match (value.split_first(), attribute.kind, attribute.encryption) {
        // Of a text, an octet above 31 is the first of the text; of a hidden one it never is.
        (Some((&tag @ 0..=31, rest)), Kind::Text | Kind::Octets, _)
        | (Some((&tag, rest)), _, Encryption::TunnelPassword)
        | (Some((&tag @ 0..=31, rest @ &[_, _, _])), Kind::Integer, _) => (Some(tag).filter(|tag| *tag > 0), rest),
        (Some(_) | None, _, _) => (None, value),
    }
}

/// Iterates over the attributes of a packet by name.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    dictionary: &'a Dictionary,
    rest: &'a [u8],
    /// Attributes of the last Vendor-Specific that have not been handed out: at most 83.
    inner: VecDeque<Named<'a>>,
}

impl<'a> Iterator for Names<'a> {
    type Item = Named<'a>;

    fn next(&mut self) -> Option<Named<'a>> {
        if let Some(inner) = self.inner.pop_front() {
            return Some(inner);
        }
        let &[kind, length] = self.rest.first_chunk::<2>()?;
        let (raw, rest) = self.rest.split_at_checked(usize::from(length))?;
        let value = raw.get(2..)?;
        self.rest = rest;
        let path = match (kind, value) {
            (VENDOR_SPECIFIC, &[0, a, b, c, ref inside @ ..]) => {
                let vendor = u32::from_be_bytes([0, a, b, c]);
                return Some(self.open(vendor, inside));
            }
            // RFC 6929 sections 2.1 and 2.2: the type within, and for the long ones an octet of flags.
            (241..=244, &[inner, ref inside @ ..]) if !inside.is_empty() => {
                return Some(self.dictionary.attribute_of(Path::Extended(kind, inner), inside));
            }
            (245..=246, &[inner, _, ref inside @ ..]) if !inside.is_empty() => {
                return Some(self.dictionary.attribute_of(Path::Extended(kind, inner), inside));
            }
            _ => Path::Standard(kind),
        };
        Some(self.dictionary.attribute_of(path, value))
    }
}

impl<'a> Names<'a> {
    /// Opens a Vendor-Specific: hands out its first attribute and keeps the others. Where it is not laid out
    /// as the vendor's attributes are, it is one thing as a whole.
    fn open(&mut self, vendor: u32, inside: &'a [u8]) -> Named<'a> {
        let format = self
            .dictionary
            .vendor(vendor)
            .map_or(Format::default(), |vendor| vendor.format);
        let mut rest = inside;
        while let Some((kind, value, further)) = split(format, rest) {
            let named = self.dictionary.attribute_of(Path::Vendor(vendor, kind), value);
            self.inner.push_back(named);
            rest = further;
        }
        if !rest.is_empty() {
            self.inner.clear();
        }
        let whole = Named {
            attribute: None,
            path: Path::Opaque(vendor),
            tag: None,
            value: inside,
        };
        self.inner.pop_front().unwrap_or(whole)
    }
}

/// Splits a vendor's first attribute off: type, value, rest. None when it is not laid out as `format` says.
fn split(format: Format, octets: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (kind, after) = octets.split_at_checked(format.kind.into())?;
    let (length, _) = after.split_at_checked(format.length.into())?;
    if kind.is_empty() {
        return None;
    }
    let whole = match format.length {
        0 => octets.len(),
        _ => usize::try_from(big_endian(length)).ok()?,
    };
    let (raw, rest) = octets.split_at_checked(whole)?;
    Some((big_endian(kind), raw.get(format.header()..)?, rest))
}

fn big_endian(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}
