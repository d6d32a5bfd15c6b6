//! Attributes of an upstream's Access-Accept that clients get as well.

use std::sync::Arc;

use crate::dictionary::{Attribute, Dictionary, Encryption, Pair};
use crate::engine::policy;
use crate::radius::pairs::{self, Hiding};

/// Which attributes are passed on.
#[derive(Debug)]
pub(super) struct Passed {
    dictionary: Arc<Dictionary>,
    attributes: Vec<Arc<Attribute>>,
}

impl Passed {
    /// From their names; those that cannot be passed on come back with their place and why.
    pub(super) fn compile(names: &[String], dictionary: &Arc<Dictionary>) -> (Self, Vec<(usize, String)>) {
        let mut faults = Vec::new();
        let mut attributes = Vec::new();
        for (place, name) in names.iter().enumerate() {
            match wanted(name, dictionary) {
                Ok(attribute) => attributes.push(attribute),
                Err(why) => faults.push((place, format!("`{name}` {why}"))),
            }
        }
        let dictionary = Arc::clone(dictionary);
        (Self { dictionary, attributes }, faults)
    }

    /// Those among the attributes of a reply, decrypted.
    ///
    /// # Errors
    /// The name of one that cannot be decrypted.
    pub(super) fn read(&self, octets: &[u8], hiding: Hiding<'_>) -> Result<Vec<Pair>, String> {
        let mut pairs = Vec::new();
        if self.attributes.is_empty() {
            return Ok(pairs);
        }
        for named in self.dictionary.name(octets) {
            let found = named.attribute;
            let wanted = |known: &&Arc<Attribute>| found.is_some_and(|found| known.is(found));
            let Some(attribute) = self.attributes.iter().find(wanted) else {
                continue;
            };
            let value = match attribute.encryption {
                Encryption::None => named.value.to_vec(),
                Encryption::UserPassword | Encryption::TunnelPassword | Encryption::AscendSecret => {
                    let revealed = pairs::reveal(&named, hiding).ok_or_else(|| named.label().to_string())?;
                    revealed.expose().to_vec()
                }
            };
            pairs.push(Pair {
                attribute: Arc::clone(attribute),
                tag: named.tag,
                value,
            });
        }
        Ok(pairs)
    }
}

fn wanted(name: &str, dictionary: &Dictionary) -> Result<Arc<Attribute>, String> {
    let (attribute, tag) = dictionary
        .find_tagged(name)
        .map_err(|error| format!("cannot be passed on: {error}"))?;
    if tag.is_some() {
        return Err("has a tag; without it all of them are passed on".into());
    }
    match policy::refused(&attribute) {
        Some(why) => Err(why.into()),
        None => Ok(attribute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::crypto::{Salts, SharedSecret};
    use crate::radius::packet::Writer;
    use crate::secret::Secret;

    fn passed(names: &[&str]) -> (Passed, Vec<(usize, String)>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Passed::compile(&names, Dictionary::shipped())
    }

    #[test]
    fn names_are_checked() {
        let (_, faults) = passed(&["Filter-Id", "Filter-Idd", "State", "User-Password", "Tunnel-Password:1"]);
        let faults: Vec<String> = faults.iter().map(|(place, why)| format!("{place} {why}")).collect();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].starts_with("1 `Filter-Idd` cannot be passed on") && faults[0].contains("`Filter-Id`"));
        assert!(
            faults[1].starts_with("2 `State` belongs to the conversation"),
            "{faults:?}"
        );
        assert!(faults[2].starts_with("3 `User-Password` proves"), "{faults:?}");
        assert!(faults[3].starts_with("4 `Tunnel-Password:1` has a tag"), "{faults:?}");
    }

    #[test]
    fn what_is_hidden_is_decrypted_and_nothing_else_is_let_through() {
        let authenticator = [7; 16];
        let secret = SharedSecret::new(&Secret::new("shared with the upstream"));
        let hiding = Some((&secret, &authenticator));
        let sent: Vec<Pair> = [
            ("Filter-Id", "staff"),
            ("Tunnel-Password:3", "hunter2"),
            ("MS-MPPE-Send-Key", "0x0011"),
            ("Class", "0x01"),
        ]
        .iter()
        .map(|(name, value)| Dictionary::shipped().pair(name, value).unwrap())
        .collect();
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, 2, 1, &authenticator, false);
        pairs::write(&mut writer, &sent, hiding, &mut Salts::default()).unwrap();
        writer.finish_plain();
        let (passed, _) = passed(&["MS-MPPE-Send-Key", "tunnel-password", "Filter-Id"]);
        let read = passed.read(&buffer[20..], hiding).unwrap();
        let plain =
            |pairs: &[Pair]| -> Vec<_> { pairs.iter().map(|pair| (pair.label(), pair.value.clone())).collect() };
        assert_eq!(plain(&read), plain(&sent[..3]));
        // A salt whose first bit is clear, and no whole block.
        let broken = [69, 6, 1, 0, 1, 2];
        assert_eq!(passed.read(&broken, hiding).unwrap_err(), "Tunnel-Password:1");
    }
}
