//! Which attributes are hidden, under all of their names.

use std::collections::HashSet;

use crate::schema::{self, attribute_type, subtypes};

/// Attributes that nobody may see, nor learn of.
#[derive(Debug)]
pub(super) struct Hidden {
    /// All names and numbers of what is hidden, in lower case.
    hidden: HashSet<String>,
    /// Names and numbers of types that stand for hidden ones besides others: they may not be asked about.
    above: HashSet<String>,
}

impl Hidden {
    /// Takes names and numbers in lower case; `None` when there are none.
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Option<Self> {
        let mut hidden = HashSet::new();
        let mut above = HashSet::new();
        for name in names {
            hidden.insert(name.to_owned());
            let Some(known) = attribute_type(name) else { continue };
            for each in [known].into_iter().chain(subtypes(known.name())) {
                hidden.extend(each.names.iter().copied().chain([each.oid]).map(str::to_owned));
            }
            let mut supertype = known.supertype.and_then(attribute_type);
            while let Some(each) = supertype {
                above.extend(each.names.iter().copied().chain([each.oid]).map(str::to_owned));
                supertype = each.supertype.and_then(attribute_type);
            }
        }
        if hidden.is_empty() {
            return None;
        }
        above.extend(AMBIGUOUS_NAMES.map(str::to_owned));
        Some(Self { hidden, above })
    }

    /// Whether an entry may be shown with the attribute of this description (RFC 4512 section 2.5).
    pub(super) fn shows(&self, description: &[u8]) -> bool {
        self.base(description).is_some()
    }

    /// Whether it may be asked about, or written.
    pub(super) fn tells(&self, description: &[u8]) -> bool {
        self.base(description).is_some_and(|name| !self.above.contains(&name))
    }

    /// The type of a description, in lower case, unless it is hidden or cannot be told.
    fn base(&self, description: &[u8]) -> Option<String> {
        let base = description.split(|&octet| octet == b';').next()?;
        let name = std::str::from_utf8(base).ok()?.to_ascii_lowercase();
        let name = name.strip_prefix("oid.").unwrap_or(&name);
        // A number that we do not know may be that of anything.
        let known = schema::is_name(name) || attribute_type(name).is_some();
        // RFC 3671: `c-l` is the collective form of `l`.
        let plain = name.strip_prefix("c-").unwrap_or(name);
        (known && !self.hidden.contains(name) && !self.hidden.contains(plain)).then(|| name.to_owned())
    }
}

/// Active Directory's ambiguous name resolution looks into many attributes, and more at every site.
const AMBIGUOUS_NAMES: [&str; 2] = ["anr", "1.2.840.113556.1.4.1208"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_hidden_attribute() {
        let hidden = Hidden::new(["userpassword", "mail", "sn", "1.2.3.4", "secretthing"].into_iter()).unwrap();
        for out_of_sight in [
            "userPassword",
            "USERPASSWORD;x-foo",
            "2.5.4.35",
            "oid.2.5.4.35",
            "rfc822Mailbox",
            "0.9.2342.19200300.100.1.3;lang-de",
            "surname",
            "c-sn",
            "1.2.3.4",
            "secretThing;range=0-1",
            "1.2.3.5",
            "02.5.4.35",
            "2.5.4.035",
            "user password",
            " userPassword",
            "",
            "\u{e4}",
        ] {
            assert!(!hidden.shows(out_of_sight.as_bytes()), "{out_of_sight}");
            assert!(!hidden.tells(out_of_sight.as_bytes()), "{out_of_sight}");
        }
        assert!(!hidden.shows(b"\xff"));
        for plain in ["uid", "2.5.4.3", "cn;lang-de", "objectClass", "unheardOf"] {
            assert!(
                hidden.shows(plain.as_bytes()) && hidden.tells(plain.as_bytes()),
                "{plain}"
            );
        }
        for wider in ["name", "2.5.4.41", "anr"] {
            assert!(
                hidden.shows(wider.as_bytes()) && !hidden.tells(wider.as_bytes()),
                "{wider}"
            );
        }
    }

    #[test]
    fn hiding_a_type_hides_its_subtypes() {
        let hidden = Hidden::new(["name"].into_iter()).unwrap();
        for below in ["cn", "commonName", "2.5.4.4", "o", "name"] {
            assert!(!hidden.shows(below.as_bytes()), "{below}");
        }
        assert!(hidden.shows(b"uid") && Hidden::new(std::iter::empty()).is_none());
    }
}
