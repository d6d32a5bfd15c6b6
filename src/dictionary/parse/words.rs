//! The words of a line: numbers, names, types, formats.

use crate::dictionary::attribute::{Format, Kind};
use crate::document::nearest;

/// The words of a line with their columns, from 1; none of a comment.
pub(super) fn words(line: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut rest = line.split_once('#').map_or(line, |(before, _)| before);
    let mut column = 1;
    while let Some(start) = rest.find(|letter: char| !letter.is_whitespace()) {
        let (blank, word) = rest.split_at(start);
        column += blank.chars().count();
        let (word, after) = word.split_at(word.find(char::is_whitespace).unwrap_or(word.len()));
        found.push((column, word));
        column += word.chars().count();
        rest = after;
    }
    found
}

/// Decimal, or hexadecimal behind `0x`.
pub(super) fn read_number(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let sound = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    sound.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let sound = name
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-_./+:".contains(&octet));
    if sound && name.len() <= MAX_NAME {
        Ok(())
    } else {
        Err(format!(
            "is no name; at most {MAX_NAME} letters, digits and any of - _ . / + : make one"
        ))
    }
}

/// Type, and the one length that values may have.
pub(super) fn kind_of(word: &str) -> Result<(Kind, Option<u8>), String> {
    let word = word.to_ascii_lowercase();
    if let Some(size) = word.strip_prefix("octets[").and_then(|rest| rest.strip_suffix(']')) {
        return match size.parse() {
            Ok(size @ 1..=253) => Ok((Kind::Octets, Some(size))),
            Ok(_) | Err(_) => Err("must have a length from 1 to 253".into()),
        };
    }
    let kind = match word.as_str() {
        "string" | "text" => Kind::Text,
        "octets" | "abinary" => Kind::Octets,
        "integer" | "uint32" => Kind::Integer,
        "byte" | "uint8" => Kind::Byte,
        "short" | "uint16" => Kind::Short,
        "integer64" | "uint64" => Kind::Integer64,
        "signed" | "int32" => Kind::Signed,
        "ipaddr" | "ipv4addr" => Kind::Ipv4,
        "ipv6addr" => Kind::Ipv6,
        "combo-ip" => Kind::Ip,
        "ipv4prefix" => Kind::Ipv4Prefix,
        "ipv6prefix" => Kind::Ipv6Prefix,
        "date" => Kind::Date,
        "ifid" => Kind::InterfaceId,
        "ether" => Kind::Ether,
        "tlv" => Kind::Tlv,
        "vsa" => Kind::VendorSpecific,
        "extended" => Kind::Extended,
        "long-extended" => Kind::LongExtended,
        // Vendor attributes inside the extended types (RFC 6929 section 2.4).
        "evs" => Kind::Octets,
        other => {
            let near = nearest(other, KINDS).map_or(String::new(), |near| format!("; did you mean {near}?"));
            return Err(format!(
                "`{other}` is no type known here{near} Where nothing else fits, octets does"
            ));
        }
    };
    Ok((kind, None))
}

/// `format=T,L` or `format=T,L,c`.
pub(super) fn format_of(word: &str) -> Option<Format> {
    let mut parts = word.strip_prefix("format=")?.split(',');
    let kind = parts.next()?.parse().ok().filter(|kind| [1, 2, 4].contains(kind))?;
    let length = parts.next()?.parse().ok().filter(|length| [0, 1, 2].contains(length))?;
    let continuation = match parts.next() {
        None => false,
        Some("c") if length > 0 => true,
        Some(_) => return None,
    };
    parts.next().is_none().then_some(Format {
        kind,
        length,
        continuation,
    })
}

/// What is wrong with what should be a number.
pub(super) const NO_NUMBER: &str = "is no number; write it in decimal, or in hexadecimal behind 0x";

const KINDS: &[&str] = &[
    "string",
    "octets",
    "integer",
    "byte",
    "short",
    "integer64",
    "signed",
    "ipaddr",
    "ipv6addr",
    "combo-ip",
    "ipv4prefix",
    "ipv6prefix",
    "date",
    "ifid",
    "ether",
    "tlv",
];

/// Longest name, in octets.
pub(super) const MAX_NAME: usize = 128;
