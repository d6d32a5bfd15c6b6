//! Machine-made codes: the alphabet, drawing from it without bias, and reading back what people type.

/// 30 symbols that people do not mistake for one another: no I, L, O, U, 0, 1.
pub const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Draws `length` symbols from random octets; `None` when the octets run out. Octets of 240 and above
/// are passed over, so that every symbol is as likely as the others; twice the length is plenty.
pub fn draw(random: &[u8], length: usize) -> Option<String> {
    let symbols = random.iter().filter(|&&octet| octet < 240);
    let code: String = symbols
        .filter_map(|&octet| ALPHABET.get(usize::from(octet % 30)))
        .take(length)
        .copied()
        .map(char::from)
        .collect();
    (code.len() == length).then_some(code)
}

/// What was meant by what was typed: blanks and dashes left out, upper case.
pub fn normalise(typed: &str) -> String {
    typed
        .chars()
        .filter(|character| !character.is_whitespace() && *character != '-')
        .collect::<String>()
        .to_uppercase()
}

/// Whether a normalised code consists of `length` symbols of the alphabet.
pub fn is_well_formed(code: &str, length: usize) -> bool {
    code.len() == length && code.bytes().all(|octet| ALPHABET.contains(&octet))
}

/// The code in groups of five, for reading aloud.
pub fn grouped(code: &str) -> String {
    in_groups(code, 5, '-')
}

/// ASCII text in groups of `size` characters, with `between` between them. Its memory is taken once, so that wiping
/// it leaves nothing behind.
pub fn in_groups(text: &str, size: usize, between: char) -> String {
    let mut groups = String::with_capacity(text.len() * 2);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(size) {
            groups.push(between);
        }
        groups.push(character);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_symbol_equally_often() {
        let all: Vec<u8> = (0..=255).collect();
        let code = draw(&all, 240).unwrap();
        for symbol in ALPHABET {
            assert_eq!(code.bytes().filter(|octet| octet == symbol).count(), 8);
        }
        assert_eq!(draw(&all, 241), None);
    }

    #[test]
    fn reads_what_people_type() {
        assert_eq!(normalise(" k7qxm-3rtwp "), "K7QXM3RTWP");
        assert!(is_well_formed("K7QXM3RTWP", 10));
        assert!(!is_well_formed("K7QXM3RTW0", 10));
        assert_eq!(grouped("K7QXM3RTWPABCD"), "K7QXM-3RTWP-ABCD");
    }
}
