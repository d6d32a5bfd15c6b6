//! Distinguished names, compared by what they mean and not by how they are written (RFC 4514, RFC 4518).
//!
//! For access checks: whoever may reach one part of a directory must not reach another by spelling a name in
//! a way that we read differently from the server. So nothing is guessed: the grammar of RFC 4514 is taken,
//! with blanks around its separators, and whatever else servers may understand (`;` between names, values in
//! quotes, `<GUID=…>`) is refused.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use crate::ber::{self, Reader};
use crate::schema;

/// A distinguished name in a form in which equal names are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dn(Vec<Rdn>);

/// One step of a name: one or more attributes with their values, in an order of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rdn(Vec<(String, Vec<u8>)>);

/// Octets that are not a distinguished name as RFC 4514 writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a distinguished name")]
pub struct BadDn;

impl Dn {
    /// Reads a name; the empty one is the root.
    ///
    /// # Errors
    /// [`BadDn`] for what RFC 4514 does not allow.
    pub fn parse(octets: &[u8]) -> Result<Self, BadDn> {
        if trimmed(octets).is_empty() {
            return Ok(Self(Vec::new()));
        }
        Ok(Self(rdns(octets)?))
    }

    /// Whether this is the name of the root: no name at all.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `base` or lies below it.
    pub fn is_within(&self, base: &Self) -> bool {
        self.0.ends_with(&base.0)
    }

    /// The name with its first step replaced, and put below `above` when there is one: what a rename makes of
    /// it. `None` for the root.
    #[must_use]
    pub fn renamed(&self, first: Rdn, above: Option<&Self>) -> Option<Self> {
        let (_, own) = self.0.split_first()?;
        let above = above.map_or(own, |above| above.0.as_slice());
        Some(Self([&[first][..], above].concat()))
    }

    /// The first steps, the entry's own first.
    pub fn rdns(&self) -> &[Rdn] {
        &self.0
    }
}

impl Rdn {
    /// Reads one step.
    ///
    /// # Errors
    /// [`BadDn`] also for several steps, or none.
    pub fn parse(octets: &[u8]) -> Result<Self, BadDn> {
        let mut steps = rdns(octets)?;
        match (steps.pop(), steps.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_) | None, _) => Err(BadDn),
        }
    }

    /// The names of its attributes, in lower case, the short ones where there are several.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether this is one attribute with one value, both given in the form that names are compared in.
    pub fn is(&self, attribute: &str, value: &str) -> bool {
        matches!(self.0.as_slice(), [(name, held)] if name == attribute && held == value.as_bytes())
    }
}

fn rdns(octets: &[u8]) -> Result<Vec<Rdn>, BadDn> {
    let mut steps = Vec::new();
    let mut rest = octets;
    loop {
        let mut parts = Vec::new();
        let end = loop {
            let (part, end, after) = attribute_and_value(rest)?;
            parts.push(part);
            rest = after;
            match end {
                Some(b'+') => {}
                Some(_) | None => break end,
            }
        };
        parts.sort_unstable();
        steps.push(Rdn(parts));
        if end.is_none() {
            return Ok(steps);
        }
    }
}

type Pair = (String, Vec<u8>);

/// Reads `type=value` and tells what ends it, `,` or `+`, and what follows that.
fn attribute_and_value(octets: &[u8]) -> Result<(Pair, Option<u8>, &[u8]), BadDn> {
    let equals = octets.iter().position(|&octet| octet == b'=').ok_or(BadDn)?;
    let (name, rest) = octets.split_at_checked(equals).ok_or(BadDn)?;
    let name = type_name(trimmed(name))?;
    let rest = rest.get(1..).unwrap_or_default();
    let start = rest.iter().position(|&octet| octet != b' ').unwrap_or(rest.len());
    let rest = rest.get(start..).unwrap_or_default();
    let (value, used) = if rest.first() == Some(&b'#') {
        hexadecimal(rest)?
    } else {
        string(rest)?
    };
    let after = rest.get(used..).unwrap_or_default();
    let (end, after) = match after.split_first() {
        None => (None, after),
        Some((&end @ (b',' | b'+'), after)) => (Some(end), after),
        Some(_) => return Err(BadDn),
    };
    Ok(((name, prepared(&value)), end, after))
}

/// An attribute type in the one form that stands for all of its names.
fn type_name(octets: &[u8]) -> Result<String, BadDn> {
    let text = std::str::from_utf8(octets).map_err(|_| BadDn)?.to_ascii_lowercase();
    // RFC 2253 had it, and servers still take it.
    let text = text.strip_prefix("oid.").unwrap_or(&text);
    if !schema::is_number(text) && !schema::is_name(text) {
        return Err(BadDn);
    }
    Ok(schema::attribute_type(text)
        .map_or(text, |known| known.name())
        .to_owned())
}

/// The value of a `string` (RFC 4514 section 3), and how many octets it took, blanks at its end included.
fn string(octets: &[u8]) -> Result<(Vec<u8>, usize), BadDn> {
    let mut value = Vec::new();
    let mut used = 0;
    // Blanks behind this are not written with escapes, and so are no part of the value.
    let mut significant = 0;
    while let Some(&octet) = octets.get(used) {
        match octet {
            b',' | b'+' => break,
            b'"' | b';' | b'<' | b'>' | 0 => return Err(BadDn),
            b'\\' => {
                let (&first, second) = (octets.get(used + 1).ok_or(BadDn)?, octets.get(used + 2));
                match (first, second.and_then(|&second| hex_pair(first, second))) {
                    (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\', _) => {
                        value.push(first);
                        used += 2;
                    }
                    (_, Some(octet)) => {
                        value.push(octet);
                        used += 3;
                    }
                    (_, None) => return Err(BadDn),
                }
                significant = value.len();
            }
            b' ' => {
                value.push(octet);
                used += 1;
            }
            _ => {
                value.push(octet);
                used += 1;
                significant = value.len();
            }
        }
    }
    value.truncate(significant);
    Ok((value, used))
}

/// The value of a `hexstring`: the BER of a string, of those that hold text or octets as they are.
fn hexadecimal(octets: &[u8]) -> Result<(Vec<u8>, usize), BadDn> {
    const UTF8_STRING: u8 = 0x0c;
    const PRINTABLE_STRING: u8 = 0x13;
    const IA5_STRING: u8 = 0x16;
    let mut encoded = Vec::new();
    let mut used = 1;
    while let (Some(&first), second) = (octets.get(used), octets.get(used + 1)) {
        if !first.is_ascii_hexdigit() {
            break;
        }
        encoded.push(second.and_then(|&second| hex_pair(first, second)).ok_or(BadDn)?);
        used += 2;
    }
    let blanks = octets.get(used..).unwrap_or_default();
    used += blanks.iter().take_while(|&&octet| octet == b' ').count();
    let mut reader = Reader::new(&encoded);
    let element = reader.element().map_err(|_| BadDn)?;
    let taken = matches!(
        element.tag,
        ber::OCTET_STRING | UTF8_STRING | PRINTABLE_STRING | IA5_STRING
    );
    if !taken || !reader.is_empty() {
        return Err(BadDn);
    }
    Ok((element.content.to_vec(), used))
}

fn hex_pair(first: u8, second: u8) -> Option<u8> {
    let digit = |octet: u8| {
        char::from(octet)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(first)? << 4 | digit(second)?)
}

/// A value as it is compared: text in NFKC and lower case, one blank for many and none at the ends, as
/// caseIgnoreMatch does (RFC 4518). What is no text stays as it is.
fn prepared(value: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(value) else {
        return value.to_vec();
    };
    let folded: Cow<'_, str> = if text.is_ascii() {
        text.to_ascii_lowercase().into()
    } else {
        text.nfkc()
            .collect::<String>()
            .to_lowercase()
            .nfkc()
            .collect::<String>()
            .into()
    };
    let mut prepared = Vec::with_capacity(folded.len());
    for word in folded.split(' ').filter(|word| !word.is_empty()) {
        if !prepared.is_empty() {
            prepared.push(b' ');
        }
        prepared.extend_from_slice(word.as_bytes());
    }
    prepared
}

fn trimmed(mut octets: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = octets {
        octets = rest;
    }
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn one_name_has_many_spellings() {
        for spellings in [
            &[
                "uid=ana,ou=people,dc=example,dc=org",
                "UID=Ana, OU=People ,DC=example,  DC = ORG",
                " 0.9.2342.19200300.100.1.1=ana,2.5.4.11=people,dc=example,dc=org ",
                "OID.0.9.2342.19200300.100.1.1=ana,organizationalUnitName=people,domainComponent=example,dc=org",
                "uid=\\61n\\61,ou=p\\65ople,dc=example,dc=org",
                "uid=#0403616e61,ou=#0c0670656F706c65,dc=example,dc=org",
            ][..],
            &[
                "cn=a\\,b+ou=x,dc=x",
                "OU = X + cn=A\\2cB,dc=x",
                "ou=x+2.5.4.3=a\\2Cb,dc=x",
            ],
            &["cn=a\\+b", "cn=a\\2bb"],
            &["cn=a  b", "cn= a b ", "cn=\\20a\\20b\\20", "cn=\\ a\\ b\\ "],
            &["cn=Änne", "cn=\\c3\\84nne", "cn=a\\cc\\88nne", "cn=ä\\6ene"],
            &["cn=a=b", "cn=a\\=b", "cn=a\\3db"],
            &["cn=\\#1", "cn=\\231", "cn=#04022331"],
            &["", " "],
        ] {
            for spelling in spellings {
                assert_eq!(dn(spelling), dn(spellings[0]), "{spelling}");
            }
        }
        assert_ne!(dn("cn=a\\,ou=b"), dn("cn=a,ou=b"));
        assert_ne!(dn("cn=a+ou=b"), dn("cn=a,ou=b"));
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for bad in [
            "ou=x;ou=people,dc=x",
            "ou=\"x,ou=people\",dc=x",
            "<GUID=9d5d5b5c-0000-0000-0000-000000000000>",
            "people",
            "ou=people,",
            ",ou=people",
            "ou=people,,dc=x",
            "ou=people+",
            "=people",
            "ou people=x",
            "1.02.3=x",
            "1..2=x",
            "ou;lang-de=x",
            "ou=a\\",
            "ou=a\\x",
            "ou=a\\4",
            "ou=#",
            "ou=#04",
            "ou=#0401",
            "ou=#040161ff",
            "ou=#30020400",
            "ou=#040161x",
            "ou=a\0b",
            "ou=a>b",
        ] {
            assert_eq!(Dn::parse(bad.as_bytes()), Err(BadDn), "{bad}");
        }
        assert_eq!(Dn::parse(b"\xff=x"), Err(BadDn));
    }

    #[test]
    fn being_within_goes_by_whole_steps() {
        let base = dn("ou=people,dc=x");
        for inside in ["ou=people,dc=x", "uid=a,OU=People, DC=x", "uid=a,ou=b,ou=people,dc=x"] {
            assert!(dn(inside).is_within(&base), "{inside}");
        }
        for outside in [
            "dc=x",
            "",
            "ou=otherpeople,dc=x",
            "uid=a\\,ou=people,dc=x",
            "ou=people+cn=x,dc=x",
            "ou=people,dc=x,dc=y",
        ] {
            assert!(!dn(outside).is_within(&base), "{outside}");
        }
        assert!(dn("dc=x").is_within(&dn("")));
    }

    #[test]
    fn renaming() {
        let ana = dn("uid=ana,ou=people,dc=x");
        let first = || Rdn::parse(b"uid=Anna").unwrap();
        assert_eq!(ana.renamed(first(), None), Some(dn("uid=anna,ou=people,dc=x")));
        assert_eq!(ana.renamed(first(), Some(&dn("dc=y"))), Some(dn("uid=anna,dc=y")));
        assert_eq!(dn("").renamed(first(), None), None);
        assert!(Rdn::parse(b"").is_err() && Rdn::parse(b"a=b,c=d").is_err());
        assert_eq!(
            Rdn::parse(b"cn=x+2.5.4.35=y").unwrap().attributes().collect::<Vec<_>>(),
            ["cn", "userpassword"]
        );
    }

    /// A value in one of the ways in which it may be written.
    fn written(value: &str, way: &[u8]) -> String {
        let mut out = String::new();
        for (character, way) in value.chars().zip(way.iter().cycle()) {
            match way % 3 {
                0 if !",+\"\\<>;=# ".contains(character) => out.extend(character.to_uppercase()),
                1 if ",+\"\\<>;=# ".contains(character) => out.extend(['\\', character]),
                _ => character
                    .to_string()
                    .bytes()
                    .for_each(|octet| out.push_str(&format!("\\{octet:02x}"))),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn spellings_agree(
            values in prop::collection::vec("X{1,12}", 1..4),
            ways in prop::collection::vec(any::<u8>(), 8..9),
            blanks in 0..3usize,
        ) {
            let blank = " ".repeat(blanks);
            let plain: Vec<String> = values.iter().map(|value| format!("ou={}", written(value, &[2]))).collect();
            let odd: Vec<String> = values
                .iter()
                .map(|value| format!("{blank}2.5.4.11{blank}={blank}{}{blank}", written(value, &ways)))
                .collect();
            prop_assert_eq!(Dn::parse(plain.join(",").as_bytes()), Dn::parse(odd.join(",").as_bytes()));
            prop_assert!(Dn::parse(plain.join(",").as_bytes()).is_ok());
        }

        #[test]
        fn random_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Dn::parse(&octets), Rdn::parse(&octets));
        }

        #[test]
        fn neither_do_random_names(text in "[a-c0-9=,+\\\\# \"]{0,40}") {
            if let Ok(name) = Dn::parse(text.as_bytes()) {
                prop_assert!(name.is_within(&name));
            }
        }
    }
}
