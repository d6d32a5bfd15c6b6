//! What was meant by an answer: case, width, composition and blanks make no difference.

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Version of this normaliser and of the costs of the hash; stored with each answer.
pub const SCHEME: u8 = 1;

/// NFKC, case folded, blanks at the ends cut off and others made one; control characters count as blanks, and what
/// nobody can see does not count. Normalising again changes nothing.
pub fn normalise(answer: &str) -> Zeroizing<String> {
    let mut text = pass(answer);
    // Folding can make something composable, and composing something foldable; it ends after a few passes.
    for _ in 0..MAX_PASSES {
        let next = pass(&text);
        if *next == *text {
            break;
        }
        text = next;
    }
    text
}

/// More than any text takes.
const MAX_PASSES: usize = 8;

fn pass(text: &str) -> Zeroizing<String> {
    // Upper case first: it is what makes `ß` and `ss`, `ς` and `σ` the same.
    let visible = text.chars().filter(|letter| !is_invisible(*letter));
    let folded = visible.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let composed: Zeroizing<String> = Zeroizing::new(folded.nfkc().collect());
    let mut joined = Zeroizing::new(String::with_capacity(composed.len()));
    for word in composed.split(is_blank).filter(|word| !word.is_empty()) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control()
}

/// What keyboards and copied text bring along unseen (`Default_Ignorable_Code_Point`, Unicode section 5.21): with it
/// an answer would not be found on the list of those that are too easy, and not be right when it is typed elsewhere.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_is_meant() {
        for (one, other) in [
            ("  Fluffy ", "fluffy"),
            ("St.\t Mary's", "st. mary's"),
            ("Straße", "STRASSE"),
            ("Ｒｅｘ", "rex"),
            ("Jose\u{301}", "JOSÉ"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("a\u{0}b", "a b"),
            ("pass\u{200b}wo\u{ad}rd\u{feff}", "password"),
        ] {
            assert_eq!(*normalise(one), *normalise(other), "{one:?}");
        }
        assert_ne!(*normalise("rex"), *normalise("max"));
        assert_eq!(normalise(" \t\u{3000}").as_str(), "");
        assert_eq!(
            normalise("\u{200b}\u{2060}\u{3164}").as_str(),
            "",
            "nothing, however long"
        );
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing(answer in any::<String>()) {
            let once = normalise(&answer);
            prop_assert_eq!(&*normalise(&once), &*once);
        }

        #[test]
        fn blanks_and_case_make_no_difference(words in proptest::collection::vec("[a-zäöüéñ0-9]{1,8}", 1..4)) {
            let loud = format!("  {} ", words.join("   ").to_uppercase());
            prop_assert_eq!(&*normalise(&loud), &*normalise(&words.join(" ")));
        }
    }
}
