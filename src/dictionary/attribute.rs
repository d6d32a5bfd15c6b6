//! What a dictionary says of an attribute.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::Arc;

/// One attribute of the dictionary.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name, as the dictionary spells it.
    pub name: Box<str>,
    /// Whose number it is.
    pub home: Home,
    /// Its number there.
    pub number: u32,
    /// What its value is.
    pub kind: Kind,
    /// The only length that its value may have, in octets.
    pub size: Option<u8>,
    /// Whether a tag groups it with others (RFC 2868 section 3).
    pub tagged: bool,
    /// How its value is hidden on the wire.
    pub encryption: Encryption,
    /// Whether its value proves or opens something, and so has no place in a log.
    pub secret: bool,
    /// Whether a long value runs over several attributes (RFC 3579 section 3.1).
    pub concat: bool,
    pub(super) values: Values,
}

/// Whose number an attribute's number is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// RFC 2865 section 5: types 1 to 255.
    Standard,
    /// Inside Vendor-Specific (RFC 2865 section 5.26).
    Vendor(Arc<Vendor>),
    /// Inside one of the extended types 241 to 246 (RFC 6929 section 2).
    Extended(u8),
}

/// Somebody who gives out numbers inside Vendor-Specific.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// The name, as the dictionary spells it.
    pub name: Box<str>,
    /// The private enterprise number.
    pub number: u32,
    /// How its attributes are laid out.
    pub format: Format,
}

/// How a vendor's attributes are laid out in Vendor-Specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Octets of the type: 1, 2 or 4.
    pub kind: u8,
    /// Octets of the length: 0, 1 or 2. With 0 there is one attribute, which runs to the end.
    pub length: u8,
    /// Whether an octet follows that says that the value goes on in the next attribute (WiMAX).
    pub continuation: bool,
}

impl Default for Format {
    /// What RFC 2865 section 5.26 recommends.
    fn default() -> Self {
        Self {
            kind: 1,
            length: 1,
            continuation: false,
        }
    }
}

impl Format {
    /// Octets before the value.
    pub fn header(self) -> usize {
        usize::from(self.kind) + usize::from(self.length) + usize::from(self.continuation)
    }
}

/// What a value is, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Octets without meaning to us.
    Octets,
    /// An unsigned number of 32 bits; of 24 bits when tagged.
    Integer,
    /// An unsigned number of 8 bits.
    Byte,
    /// An unsigned number of 16 bits.
    Short,
    /// An unsigned number of 64 bits.
    Integer64,
    /// A number of 32 bits with a sign.
    Signed,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// An address of either kind; its length tells which.
    Ip,
    /// An IPv4 prefix: a zero octet, the length in bits, four octets (RFC 8044 section 3.11).
    Ipv4Prefix,
    /// An IPv6 prefix: a zero octet, the length in bits, up to 16 octets (RFC 3162 section 2.3).
    Ipv6Prefix,
    /// Seconds since 1970-01-01, 32 bits.
    Date,
    /// An interface identifier of 8 octets (RFC 3162 section 2.2).
    InterfaceId,
    /// An Ethernet address of 6 octets.
    Ether,
    /// Attributes inside the attribute, which are kept as octets.
    Tlv,
    /// Vendor-Specific itself.
    VendorSpecific,
    /// One of the extended types 241 to 244 itself (RFC 6929 section 2.1).
    Extended,
    /// One of the extended types 245 and 246 itself (RFC 6929 section 2.2).
    LongExtended,
}

impl Kind {
    /// The word of dictionary files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Octets => "octets",
            Self::Integer => "integer",
            Self::Byte => "byte",
            Self::Short => "short",
            Self::Integer64 => "integer64",
            Self::Signed => "signed",
            Self::Ipv4 => "ipaddr",
            Self::Ipv6 => "ipv6addr",
            Self::Ip => "combo-ip",
            Self::Ipv4Prefix => "ipv4prefix",
            Self::Ipv6Prefix => "ipv6prefix",
            Self::Date => "date",
            Self::InterfaceId => "ifid",
            Self::Ether => "ether",
            Self::Tlv => "tlv",
            Self::VendorSpecific => "vsa",
            Self::Extended => "extended",
            Self::LongExtended => "long-extended",
        }
    }

    /// Whether VALUE lines can name its values.
    pub const fn is_number(self) -> bool {
        self.width().is_some() && !matches!(self, Self::Date)
    }

    /// Octets of a number; none for what is no number.
    pub(super) const fn width(self) -> Option<usize> {
        match self {
            Self::Byte => Some(1),
            Self::Short => Some(2),
            Self::Integer | Self::Signed | Self::Date => Some(4),
            Self::Integer64 => Some(8),
            Self::Text
            | Self::Octets
            | Self::Ipv4
            | Self::Ipv6
            | Self::Ip
            | Self::Ipv4Prefix
            | Self::Ipv6Prefix
            | Self::InterfaceId
            | Self::Ether
            | Self::Tlv
            | Self::VendorSpecific
            | Self::Extended
            | Self::LongExtended => None,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a value is hidden on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// As User-Password (RFC 2865 section 5.2); `encrypt=1`.
    UserPassword,
    /// As Tunnel-Password, with a salt (RFC 2868 section 3.5); `encrypt=2`.
    TunnelPassword,
    /// As Ascend-Send-Secret; `encrypt=3`.
    AscendSecret,
}

/// Names of an attribute's numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    /// By name in small letters: number, and where it was defined.
    pub(super) by_name: HashMap<Box<str>, u64>,
    /// By number: the name first given to it.
    pub(super) by_number: HashMap<u64, Box<str>>,
}

impl Attribute {
    /// The vendor whose attribute it is.
    pub fn vendor(&self) -> Option<&Vendor> {
        match &self.home {
            Home::Vendor(vendor) => Some(vendor),
            Home::Standard | Home::Extended(_) => None,
        }
    }

    /// Whether the two are the same on the wire, whatever their names.
    pub fn is(&self, other: &Self) -> bool {
        (&self.home, self.number) == (&other.home, other.number)
    }

    /// The RADIUS type that carries it: its own number, 26, or the extended type.
    pub fn carrier(&self) -> u8 {
        match self.home {
            Home::Standard => u8::try_from(self.number).unwrap_or(0),
            Home::Vendor(_) => VENDOR_SPECIFIC,
            Home::Extended(kind) => kind,
        }
    }

    /// The name of a number among its values.
    pub fn value_name(&self, number: u64) -> Option<&str> {
        self.values.by_number.get(&number).map(AsRef::as_ref)
    }

    /// The number of a name among its values; capitals do not matter.
    pub fn value_number(&self, name: &str) -> Option<u64> {
        self.values.by_name.get(name.to_ascii_lowercase().as_str()).copied()
    }

    /// The names of its values with their numbers, smallest first.
    pub fn value_names(&self) -> Vec<(u64, &str)> {
        let mut names: Vec<(u64, &str)> = self.values.by_number.iter().map(|(at, name)| (*at, &**name)).collect();
        names.sort_unstable();
        names
    }

    /// Most octets that its value may have in a packet, before it is hidden and without its tag.
    pub fn capacity(&self) -> usize {
        let room = match &self.home {
            Home::Standard => MAX_VALUE,
            Home::Vendor(vendor) => MAX_VALUE.saturating_sub(4 + vendor.format.header()),
            Home::Extended(245 | 246) => MAX_LONG,
            Home::Extended(_) => MAX_VALUE - 1,
        };
        match self.encryption {
            Encryption::None if self.concat => MAX_LONG,
            Encryption::None => room.saturating_sub(usize::from(self.tagged)),
            Encryption::UserPassword => 128,
            // A salt of two octets, blocks of 16, and an octet of length (RFC 2868 section 3.5).
            Encryption::TunnelPassword => {
                (room.saturating_sub(2 + usize::from(self.tagged)) / 16 * 16).saturating_sub(1)
            }
            Encryption::AscendSecret => 16,
        }
    }
}

/// An attribute with its value.
#[derive(Clone)]
pub struct Pair {
    /// The attribute.
    pub attribute: Arc<Attribute>,
    /// Its tag; none is written as zero where the format has one.
    pub tag: Option<u8>,
    /// Its value before it is hidden.
    pub value: Vec<u8>,
}

impl Pair {
    /// The name, with the tag behind it if there is one.
    pub fn label(&self) -> String {
        match self.tag {
            Some(tag) => format!("{}:{tag}", self.attribute.name),
            None => self.attribute.name.to_string(),
        }
    }
}

/// `Name:tag = value`; a value that has no place in a log appears as its length.
impl Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attribute.name)?;
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        f.write_str(" = ")?;
        if self.attribute.secret {
            write!(f, "({} octets)", self.value.len())
        } else {
            self.attribute.show(&self.value).fmt(f)
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Type of Vendor-Specific.
pub(super) const VENDOR_SPECIFIC: u8 = 26;

/// Most octets of one attribute's value (RFC 2865 section 5).
pub(super) const MAX_VALUE: usize = 253;

/// Most octets of a value that runs over several attributes: it must leave room in a packet of 4096.
const MAX_LONG: usize = 3800;
