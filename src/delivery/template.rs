//! Texts with places to fill in, each value escaped for where it goes.

use zeroize::Zeroizing;

/// A text with places: `{code}`. A brace that no place stands in is a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
    escape: Escape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the message goes.
    Destination,
    /// The code.
    Code,
    /// The whole text.
    Text,
    /// Minutes that the code is good for.
    Minutes,
    /// Whose it is.
    Login,
    /// What for.
    Service,
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// As they are, less control characters.
    Plain,
    /// Percent-encoded (RFC 3986 section 2.1), for URLs and forms.
    Percent,
    /// Within a JSON string (RFC 8259 section 7).
    Json,
    /// Within XML text or an attribute's value.
    Xml,
}

impl Place {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Destination, "destination"),
        (Self::Code, "code"),
        (Self::Text, "text"),
        (Self::Minutes, "minutes"),
        (Self::Login, "login"),
        (Self::Service, "service"),
    ];

    /// What a message says.
    pub(super) const WORDS: [Self; 4] = [Self::Code, Self::Minutes, Self::Login, Self::Service];

    /// What a request to a gateway holds.
    pub(super) const REQUEST: [Self; 3] = [Self::Destination, Self::Code, Self::Text];

    fn named(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, name)| *name == word)
            .map(|(place, _)| place)
    }

    fn word(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(place, _)| *place == self)
            .map_or("", |(_, name)| name)
    }
}

impl Escape {
    /// What a body of this media type wants.
    pub(super) fn of(media_type: &str) -> Self {
        let kind = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => Self::Percent,
            // Also +json and +xml (RFC 6839), text/json, application/x-json.
            kind if kind.ends_with("json") => Self::Json,
            kind if kind.ends_with("xml") => Self::Xml,
            _ => Self::Plain,
        }
    }

    fn write(self, value: &str, into: &mut String) {
        for letter in value.chars() {
            match self {
                Self::Plain if letter.is_control() => into.push(' '),
                Self::Percent if letter.is_ascii_alphanumeric() || "-._~".contains(letter) => into.push(letter),
                Self::Percent => {
                    let mut octets = [0; 4];
                    for octet in letter.encode_utf8(&mut octets).bytes() {
                        into.push('%');
                        into.push_str(&data_encoding::HEXUPPER.encode(&[octet]));
                    }
                }
                Self::Json => match letter {
                    '"' | '\\' => into.extend(['\\', letter]),
                    letter if u32::from(letter) < 0x20 => into.push_str(&format!("\\u{:04x}", u32::from(letter))),
                    letter => into.push(letter),
                },
                Self::Xml => match letter {
                    '&' => into.push_str("&amp;"),
                    '<' => into.push_str("&lt;"),
                    '>' => into.push_str("&gt;"),
                    '"' => into.push_str("&quot;"),
                    '\'' => into.push_str("&apos;"),
                    letter if letter.is_control() => into.push(' '),
                    letter => into.push(letter),
                },
                Self::Plain => into.push(letter),
            }
        }
    }
}

impl Template {
    /// Reads a template that may hold `places`.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub(super) fn parse(text: &str, places: &[Place], escape: Escape) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            // JSON is full of braces: only a word alone is a place.
            let word = from
                .get(1..)
                .and_then(|inside| inside.split_once('}'))
                .filter(|(word, _)| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_lowercase()));
            let Some((word, after)) = word else {
                plain.push('{');
                rest = from.get(1..).unwrap_or_default();
                continue;
            };
            let Some(place) = Place::named(word).filter(|place| places.contains(place)) else {
                let known: Vec<String> = places.iter().map(|place| format!("{{{}}}", place.word())).collect();
                return Err(format!("has a place {{{word}}}; there are {}", known.join(", ")));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts, escape })
    }

    /// Whether any of `places` is in it.
    pub(super) fn holds(&self, places: &[Place]) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Place(place) if places.contains(place)))
    }

    /// The text with every place filled in.
    pub(super) fn fill<'v>(&self, value: impl Fn(Place) -> &'v str) -> Zeroizing<String> {
        // With room enough, so that nothing is moved and leaves a copy behind.
        let values = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Place(place) => 6 * value(*place).len(),
        };
        let mut filled = Zeroizing::new(String::with_capacity(self.parts.iter().map(values).sum()));
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(place) => self.escape.write(value(*place), &mut filled),
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVIL: &str = "a\"b\\c\r\nd&<e>\u{0}ü?=%";

    fn fill(text: &str, escape: Escape, value: &str) -> String {
        let template = Template::parse(text, &Place::REQUEST, escape).unwrap();
        template.fill(|_| value).to_string()
    }

    #[test]
    fn values_are_escaped_for_their_place() {
        assert_eq!(
            fill("https://x/?to={destination}&x", Escape::Percent, "+49 a&b=c/ü\r\n"),
            "https://x/?to=%2B49%20a%26b%3Dc%2F%C3%BC%0D%0A&x"
        );
        let json = fill("{\"to\": \"{destination}\", \"n\": {\"a\": 1}}", Escape::Json, EVIL);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["to"], EVIL);
        assert_eq!(
            fill("<to>{text}</to>", Escape::Xml, "<&\">"),
            "<to>&lt;&amp;&quot;&gt;</to>"
        );
        assert_eq!(fill("to={text}", Escape::Plain, "a\r\nBcc: b"), "to=a  Bcc: b");
    }

    #[test]
    fn the_media_type_says_how() {
        for (media_type, escape) in [
            ("application/json; charset=utf-8", Escape::Json),
            ("application/vnd.api+json", Escape::Json),
            ("application/x-www-form-urlencoded", Escape::Percent),
            ("text/json", Escape::Json),
            ("application/x-json", Escape::Json),
            ("text/xml", Escape::Xml),
            ("application/soap+xml", Escape::Xml),
            ("text/plain", Escape::Plain),
        ] {
            assert_eq!(Escape::of(media_type), escape, "{media_type}");
        }
    }

    #[test]
    fn unknown_places_are_faults_and_braces_are_not() {
        let fault = Template::parse("{kode}", &Place::WORDS, Escape::Plain).unwrap_err();
        assert_eq!(
            fault,
            "has a place {kode}; there are {code}, {minutes}, {login}, {service}"
        );
        assert!(Template::parse("{destination}", &Place::WORDS, Escape::Plain).is_err());
        assert_eq!(fill("{} { x } {", Escape::Plain, "v"), "{} { x } {");
        assert!(
            !Template::parse("x", &Place::WORDS, Escape::Plain)
                .unwrap()
                .holds(&[Place::Code])
        );
    }

    proptest! {
        #[test]
        fn nothing_breaks_out(value in any::<String>()) {
            let json = fill("\"{text}\"", Escape::Json, &value);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value.clone());
            let url = fill("{text}", Escape::Percent, &value);
            prop_assert!(url.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~%".contains(&octet)));
            let plain = fill("{text}", Escape::Plain, &value);
            prop_assert!(!plain.chars().any(char::is_control));
        }
    }
}
