//! Values as text: read from policies and command lines, and written for logs.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::HEXLOWER_PERMISSIVE;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::dictionary::attribute::{Attribute, Kind};
use crate::document::nearest;

/// Why a text is no value of an attribute. Never holds the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An empty value; RADIUS has none.
    #[error("is empty; a RADIUS attribute has at least one octet")]
    Empty,
    /// Too long for one attribute.
    #[error("has {0} octets; {1} fit in this attribute")]
    Long(usize, usize),
    /// The attribute has one length.
    #[error("has {0} octets; this attribute has {1}")]
    Size(usize, u8),
    /// Neither a number in range nor the name of one.
    #[error("is neither a number from 0 to {most} nor the name of a value{hint}")]
    Number {
        /// The largest number.
        most: u64,
        /// A name that is meant perhaps, or the names there are.
        hint: String,
    },
    /// Not what the attribute holds.
    #[error("is not {0}")]
    Form(&'static str),
    /// What holds other attributes cannot be given as such.
    #[error("holds other attributes; name one of those")]
    Container,
}

impl Attribute {
    /// Encodes a text: numbers by the names of their values or as digits, addresses, prefixes, moments by
    /// RFC 3339, octets as `0x` and hexadecimal digits (or as they stand).
    ///
    /// # Errors
    /// [`Unfit`], which says what it should have been.
    pub fn encode(&self, text: &str) -> Result<Vec<u8>, Unfit> {
        let value = match self.kind {
            Kind::Text => text.as_bytes().to_vec(),
            Kind::Octets | Kind::Tlv => match text.strip_prefix("0x") {
                Some(digits) => HEXLOWER_PERMISSIVE
                    .decode(digits.as_bytes())
                    .map_err(|_| Unfit::Form("an even number of hexadecimal digits after 0x"))?,
                None => text.as_bytes().to_vec(),
            },
            Kind::Integer | Kind::Byte | Kind::Short | Kind::Integer64 => self.number_of(text)?,
            Kind::Signed => match text.parse::<i32>() {
                Ok(number) => number.to_be_bytes().to_vec(),
                Err(_) => self.number_of(text)?,
            },
            Kind::Date => date(text)?.to_be_bytes().to_vec(),
            Kind::Ipv4 => read::<Ipv4Addr>(text, "an IPv4 address")?.octets().to_vec(),
            Kind::Ipv6 => read::<Ipv6Addr>(text, "an IPv6 address")?.octets().to_vec(),
            Kind::Ip => match read::<IpAddr>(text, "an IP address")? {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            },
            Kind::Ipv4Prefix => {
                let net = read::<Ipv4Net>(text, "an IPv4 prefix such as 192.0.2.0/24")?.trunc();
                [&[0, net.prefix_len()], net.addr().octets().as_slice()].concat()
            }
            Kind::Ipv6Prefix => {
                let net = read::<Ipv6Net>(text, "an IPv6 prefix such as 2001:db8::/32")?.trunc();
                let octets = usize::from(net.prefix_len()).div_ceil(8);
                let prefix = net.addr().octets();
                [&[0, net.prefix_len()], prefix.get(..octets).unwrap_or(&prefix)].concat()
            }
            Kind::InterfaceId => interface_id(text)?.to_vec(),
            Kind::Ether => ether(text)?.to_vec(),
            Kind::VendorSpecific | Kind::Extended | Kind::LongExtended => return Err(Unfit::Container),
        };
        if value.is_empty() {
            return Err(Unfit::Empty);
        }
        if value.len() > self.capacity() {
            return Err(Unfit::Long(value.len(), self.capacity()));
        }
        match self.size {
            Some(size) if value.len() != usize::from(size) => Err(Unfit::Size(value.len(), size)),
            Some(_) | None => Ok(value),
        }
    }

    /// The value for logs: a text in quotation marks, numbers by the names of their values, octets as `0x`
    /// and hexadecimal digits. So is everything that is not what the dictionary says.
    pub const fn show<'a>(&'a self, value: &'a [u8]) -> Shown<'a> {
        Shown { attribute: self, value }
    }

    fn number_of(&self, text: &str) -> Result<Vec<u8>, Unfit> {
        let width = if self.tagged && self.kind == Kind::Integer {
            3
        } else {
            self.kind.width().unwrap_or(4)
        };
        let most = u64::MAX >> (64 - 8 * width);
        let digits = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        // Names come first: some are made of digits.
        let number = self.value_number(text).or(digits.ok());
        match number {
            Some(number) if number <= most => {
                let octets = number.to_be_bytes();
                Ok(octets.get(octets.len() - width..).unwrap_or(&octets).to_vec())
            }
            Some(_) | None => Err(Unfit::Number {
                most,
                hint: self.hint(text),
            }),
        }
    }

    fn hint(&self, text: &str) -> String {
        let names: Vec<&str> = self.value_names().into_iter().map(|(_, name)| name).collect();
        if let Some(near) = nearest(text, &names) {
            return format!("; did you mean `{near}`?");
        }
        match names.len() {
            0 => String::new(),
            1..=12 => format!(" ({})", names.join(", ")),
            _ => format!(" ({}, …)", names.get(..8).unwrap_or(&[]).join(", ")),
        }
    }
}

/// A value that can be printed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    attribute: &'a Attribute,
    value: &'a [u8],
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribute = self.attribute;
        match (attribute.kind, self.value) {
            (Kind::Text, value) => match std::str::from_utf8(value) {
                Ok(text) => quoted(f, text),
                Err(_) => hex(f, value),
            },
            (Kind::Signed, &[a, b, c, d]) => match attribute.value_name(u32::from_be_bytes([a, b, c, d]).into()) {
                Some(name) => f.write_str(name),
                None => i32::from_be_bytes([a, b, c, d]).fmt(f),
            },
            (Kind::Date, &[a, b, c, d]) => {
                let seconds = u32::from_be_bytes([a, b, c, d]);
                match jiff::Timestamp::from_second(seconds.into()) {
                    Ok(moment) => moment.fmt(f),
                    Err(_) => seconds.fmt(f),
                }
            }
            (Kind::Integer, value @ &[_, _, _]) if attribute.tagged => number(f, attribute, value),
            (Kind::Integer, value @ &[_, _, _, _])
            | (Kind::Short, value @ &[_, _])
            | (Kind::Byte, value @ &[_])
            | (Kind::Integer64, value @ &[_, _, _, _, _, _, _, _]) => number(f, attribute, value),
            (Kind::Ipv4 | Kind::Ip, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).fmt(f),
            (Kind::Ipv6 | Kind::Ip, value) => match <[u8; 16]>::try_from(value) {
                Ok(octets) => Ipv6Addr::from(octets).fmt(f),
                Err(_) => hex(f, value),
            },
            (Kind::Ipv4Prefix, &[_, bits @ 0..=32, a, b, c, d]) => {
                write!(f, "{}/{bits}", Ipv4Addr::new(a, b, c, d))
            }
            (Kind::Ipv6Prefix, &[_, bits @ 0..=128, ref prefix @ ..]) if prefix.len() <= 16 => {
                let mut octets = [0; 16];
                octets.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
                write!(f, "{}/{bits}", Ipv6Addr::from(octets))
            }
            (Kind::InterfaceId, &[a, b, c, d, e, g, h, i]) => {
                write!(f, "{a:02x}{b:02x}:{c:02x}{d:02x}:{e:02x}{g:02x}:{h:02x}{i:02x}")
            }
            (Kind::Ether, &[a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            (
                Kind::Octets
                | Kind::Tlv
                | Kind::VendorSpecific
                | Kind::Extended
                | Kind::LongExtended
                | Kind::Integer
                | Kind::Byte
                | Kind::Short
                | Kind::Integer64
                | Kind::Signed
                | Kind::Date
                | Kind::Ipv4
                | Kind::Ipv4Prefix
                | Kind::Ipv6Prefix
                | Kind::InterfaceId
                | Kind::Ether,
                value,
            ) => hex(f, value),
        }
    }
}

fn number(f: &mut fmt::Formatter<'_>, attribute: &Attribute, value: &[u8]) -> fmt::Result {
    let number = value.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
    match attribute.value_name(number) {
        Some(name) => f.write_str(name),
        None => number.fmt(f),
    }
}

pub(super) fn hex(f: &mut fmt::Formatter<'_>, value: &[u8]) -> fmt::Result {
    f.write_str("0x")?;
    value.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

/// In quotation marks; nothing in it can break a line or steer a terminal.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            letter if letter.is_control() || is_invisible(letter) => write!(f, "{}", letter.escape_unicode())?,
            letter => fmt::Write::write_char(f, letter)?,
        }
    }
    f.write_str("\"")
}

/// Line ends of Unicode, and marks that turn the direction of writing around.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn read<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Unfit> {
    text.parse().map_err(|_| Unfit::Form(what))
}

fn date(text: &str) -> Result<u32, Unfit> {
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| Unfit::Form("a moment such as 2030-01-31T12:00:00Z"))?
            .as_second(),
    };
    u32::try_from(seconds).map_err(|_| Unfit::Form("a moment from 1970 to 2106"))
}

fn interface_id(text: &str) -> Result<[u8; 8], Unfit> {
    let wrong = Unfit::Form("an interface identifier such as 0123:4567:89ab:cdef");
    let mut octets = [0; 8];
    let mut groups = text.split(':');
    for pair in octets.chunks_exact_mut(2) {
        let group = groups
            .next()
            .and_then(|group| hex_group(group, 4))
            .ok_or_else(|| wrong.clone())?;
        pair.copy_from_slice(&group.to_be_bytes());
    }
    if groups.next().is_some() {
        Err(wrong)
    } else {
        Ok(octets)
    }
}

fn ether(text: &str) -> Result<[u8; 6], Unfit> {
    let wrong = Unfit::Form("an Ethernet address such as 00:00:5e:00:53:01");
    let mut octets = [0; 6];
    let mut groups = text.split([':', '-']);
    for octet in &mut octets {
        let group = groups
            .next()
            .and_then(|group| hex_group(group, 2))
            .ok_or_else(|| wrong.clone())?;
        *octet = u8::try_from(group).map_err(|_| wrong.clone())?;
    }
    if groups.next().is_some() {
        Err(wrong)
    } else {
        Ok(octets)
    }
}

fn hex_group(group: &str, most: usize) -> Option<u16> {
    let sound = (1..=most).contains(&group.len()) && group.bytes().all(|digit| digit.is_ascii_hexdigit());
    sound.then(|| u16::from_str_radix(group, 16).ok()).flatten()
}
