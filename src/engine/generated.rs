//! Passwords that are made up: readable, of the kinds of characters that directories ask for.

use crate::secret::Secret;

/// What a made-up password is like: groups of five, parted by dashes where it has special characters. No character is
/// easily taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Characters, dashes included.
    pub length: usize,
    /// Whether it has small letters.
    pub lower: bool,
    /// Whether it has capitals.
    pub upper: bool,
    /// Whether it has digits.
    pub digit: bool,
    /// Whether it has special characters, which are dashes between the groups.
    pub special: bool,
}

impl Shape {
    /// The bounds of the length. The shortest that there can be, of capitals alone, has 54 bits.
    pub const LENGTHS: std::ops::RangeInclusive<usize> = 12..=64;
}

/// 86 bits, of all four kinds: what the usual policies of directories ask for.
impl Default for Shape {
    fn default() -> Self {
        Self {
            length: 17,
            lower: true,
            upper: true,
            digit: true,
            special: true,
        }
    }
}

const LOWER: &[u8] = b"abcdefghjkmnpqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const DIGITS: &[u8] = b"23456789";

/// Symbols in a group.
const GROUP: usize = 5;

/// A password of this shape, every one as likely as any other. `None` when `random` has too few octets that are of use
/// (three times the length is plenty), or happens to leave out a kind: to be asked again with others.
pub fn password(random: &[u8], shape: Shape) -> Option<Secret> {
    let kinds: Vec<&[u8]> = [(shape.lower, LOWER), (shape.upper, UPPER), (shape.digit, DIGITS)]
        .into_iter()
        .filter_map(|(wanted, symbols)| wanted.then_some(symbols))
        .collect();
    let symbols = kinds.concat();
    let count = u8::try_from(symbols.len()).ok().filter(|&count| count > 0)?;
    // Octets that would make the first symbols likelier are passed over.
    let usable = u8::MAX - (u8::MAX % count + 1) % count;
    let mut drawn = random.iter().filter(|&&octet| octet <= usable);
    let mut made = zeroize::Zeroizing::new(Vec::with_capacity(shape.length));
    while made.len() < shape.length {
        let dash = shape.special && made.len() % (GROUP + 1) == GROUP && made.len() + 1 < shape.length;
        let next = match dash {
            true => b'-',
            false => *symbols.get(usize::from(drawn.next()? % count))?,
        };
        made.push(next);
    }
    let has = |symbols: &&[u8]| made.iter().any(|symbol| symbols.contains(symbol));
    kinds.iter().all(has).then(|| Secret::new(made.as_slice()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_made_is_of_the_shape(
            random in prop::collection::vec(any::<u8>(), 0..256),
            length in Shape::LENGTHS,
            (lower, upper, digit, special) in any::<(bool, bool, bool, bool)>(),
        ) {
            let shape = Shape { length, lower, upper, digit, special };
            let Some(made) = password(&random, shape) else { return Ok(()) };
            let text = made.expose_str().unwrap();
            prop_assert_eq!(text.len(), length);
            prop_assert_eq!(text.contains('-'), special);
            prop_assert!(!text.ends_with('-') && !text.contains("--"));
            prop_assert_eq!(text.contains(|letter: char| letter.is_ascii_lowercase()), lower);
            prop_assert_eq!(text.contains(|letter: char| letter.is_ascii_uppercase()), upper);
            prop_assert_eq!(text.contains(|letter: char| letter.is_ascii_digit()), digit);
            prop_assert!(!text.contains(['l', 'I', 'O', 'o', 'i', '0', '1']));
        }
    }

    #[test]
    fn plenty_of_randomness_makes_one_and_little_makes_none() {
        let random: Vec<u8> = (0..128_u8).map(|octet| octet.wrapping_mul(67)).collect();
        assert_eq!(password(&random, Shape::default()).unwrap().len(), 17);
        assert!(password(&random[..14], Shape::default()).is_none());
        assert!(password(&[0; 128], Shape::default()).is_none(), "small letters alone");
    }

    #[test]
    fn every_symbol_is_as_likely() {
        // All octets, once each: 55 symbols, 220 octets that are of use.
        let all: Vec<u8> = (0..=255).collect();
        let mut counts = std::collections::BTreeMap::new();
        let shape = Shape {
            length: 220,
            special: false,
            ..Shape::default()
        };
        let made = password(&all, shape).unwrap();
        for symbol in made.expose() {
            *counts.entry(*symbol).or_insert(0) += 1;
        }
        assert_eq!((counts.len(), counts.values().all(|&count| count == 4)), (55, true));
        assert!(password(&all, Shape { length: 221, ..shape }).is_none());
    }
}
