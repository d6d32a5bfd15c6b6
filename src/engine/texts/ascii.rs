//! Texts for clients that show nothing but ASCII.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The text in ASCII; a question mark for every character that has no equivalent.
pub(super) fn write(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_ascii() {
        return text;
    }
    let mut written = String::with_capacity(text.len());
    each(&text, |equivalent| written.push_str(equivalent.unwrap_or("?")));
    Cow::Owned(written)
}

/// Whether all of the text has an equivalent.
pub(super) fn can_write(text: &str) -> bool {
    let mut all = true;
    each(text, |equivalent| all &= equivalent.is_some());
    all
}

/// Hands over what each character comes to.
fn each(text: &str, mut take: impl FnMut(Option<&str>)) {
    for letter in text.nfc() {
        if letter.is_ascii() {
            take(Some(letter.encode_utf8(&mut [0; 4])));
        } else if let Some(known) = known(letter) {
            take(Some(known));
        } else {
            // A letter with an accent is the letter; compatibility forms are what they stand for.
            let mut nothing = true;
            for part in std::iter::once(letter).nfkd().filter(|part| !is_combining_mark(*part)) {
                nothing = false;
                if part.is_ascii() {
                    take(Some(part.encode_utf8(&mut [0; 4])));
                } else {
                    take(known_part(part));
                }
            }
            if nothing {
                take(Some(""));
            }
        }
    }
}

/// What is not written as its letter without the accent.
const fn known(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ä' => "ae",
        'ö' => "oe",
        'ü' => "ue",
        'Ä' => "Ae",
        'Ö' => "Oe",
        'Ü' => "Ue",
        'ß' => "ss",
        'ẞ' => "SS",
        'å' => "aa",
        'Å' => "Aa",
        'æ' => "ae",
        'Æ' => "Ae",
        'ø' => "oe",
        'Ø' => "Oe",
        'œ' => "oe",
        'Œ' => "Oe",
        'ð' => "d",
        'Ð' => "D",
        'þ' => "th",
        'Þ' => "Th",
        'đ' => "d",
        'Đ' => "D",
        'ł' => "l",
        'Ł' => "L",
        'ı' => "i",
        '„' | '“' | '”' | '‟' | '«' | '»' => "\"",
        '‚' | '‘' | '’' | '‛' | '‹' | '›' | '´' => "'",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '•' | '·' => "*",
        '→' => "->",
        '←' => "<-",
        '×' => "x",
        '€' => "EUR",
        '£' => "GBP",
        '©' => "(c)",
        '®' => "(R)",
        '¿' => "",
        '¡' => "",
        _ => return None,
    })
}

/// What decomposition leaves over.
const fn known_part(part: char) -> Option<&'static str> {
    match part {
        '\u{2044}' => Some("/"),
        _ => known(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        write(Cow::Borrowed(text)).into_owned()
    }

    #[test]
    fn accents_and_signs_have_equivalents() {
        for (text, plain) in [
            ("Größe ändern", "Groesse aendern"),
            ("déjà vu, señor Łukasz", "deja vu, senor Lukasz"),
            ("„so“ – ‚oder so‘ …", "\"so\" - 'oder so' ..."),
            ("Mot de passe\u{202f}: ½ №", "Mot de passe : 1/2 No"),
            ("u\u{308}ber", "ueber"),
            ("ＡＢＣ", "ABC"),
        ] {
            assert_eq!(written(text), plain);
            assert!(can_write(text), "{text}");
        }
    }

    #[test]
    fn what_has_none_is_a_question_mark() {
        assert_eq!(written("код 7"), "??? 7");
        assert!(!can_write("код"));
        assert!(can_write("code"));
    }
}
