//! Which of the languages that somebody would like there is.

/// Chooses by a value such as `de-DE, en;q=0.8` (RFC 9110 section 12.5.4, which RFC 2798 section 2.7 points to), or
/// `de_DE`: the best-liked language that `known` finds, by its whole name or by the part of it that is there
/// (RFC 4647 section 3.4).
pub(super) fn choose<T>(value: &str, known: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut liked: Vec<(u16, String)> = value.split(',').take(MOST).filter_map(range).collect();
    // Stable: of two liked alike, the first.
    liked.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    liked.iter().find_map(|(_, tag)| {
        let mut tag = tag.as_str();
        loop {
            if let Some(found) = known(tag) {
                return Some(found);
            }
            tag = tag.rsplit_once('-')?.0;
        }
    })
}

/// One language and how much it is liked, in thousandths; none for what is not liked at all.
fn range(item: &str) -> Option<(u16, String)> {
    let mut parts = item.split(';').map(str::trim);
    // A locale (`de_DE.UTF-8@euro`) is a language as well.
    let tag = parts.next()?.split(['.', '@']).next()?.replace('_', "-").to_lowercase();
    let plain = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if !tag.split('-').all(plain) {
        return None;
    }
    let quality = parts
        .find_map(|part| part.strip_prefix("q="))
        .map_or(Some(WHOLLY), thousandths)?;
    (quality > 0).then_some((quality, tag))
}

/// `0.8` in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole.trim() {
        "0" => Some(rest),
        "1" if rest == 0 => Some(WHOLLY),
        _ => None,
    }
}

const WHOLLY: u16 = 1000;

/// Languages looked at of one value.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(value: &str) -> Option<&'static str> {
        let known = ["de", "en", "fr", "pt-br"];
        choose(value, |tag| known.into_iter().find(|known| *known == tag))
    }

    #[test]
    fn the_best_liked_language_that_there_is() {
        for (value, language) in [
            ("de", Some("de")),
            ("DE-at", Some("de")),
            ("de_DE.UTF-8", Some("de")),
            ("pt-BR", Some("pt-br")),
            ("pt", None),
            ("da, en-gb;q=0.8, en;q=0.7", Some("en")),
            ("en;q=0.5, fr;q=0.9", Some("fr")),
            ("en, fr", Some("en")),
            ("de;q=0, fr;q=0.1", Some("fr")),
            ("fr;q=7", None),
            ("fr;q=0.1234", None),
            ("*", None),
            ("", None),
            (",;,-,--", None),
            ("sr-Latn-RS", None),
        ] {
            assert_eq!(chosen(value), language, "{value}");
        }
    }
}
