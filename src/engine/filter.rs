//! Search filters (RFC 4511 section 4.5.1.7): text (RFC 4515) to a tree, and the tree held against entries
//! ([`Matcher`]). What crosses the wire is read and written by those who speak LDAP.
//!
//! Names that people type never become filter text: they are put into the tree as values, so there is
//! nothing to escape and nothing to inject into.

mod matching;

pub use matching::{Entry, Matcher};

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of these.
    And(Vec<Filter>),
    /// Any of these.
    Or(Vec<Filter>),
    /// Not this one.
    Not(Box<Filter>),
    /// A value compared with an attribute.
    Compare(Comparison, String, Vec<u8>),
    /// The attribute is there.
    Present(String),
    /// The attribute has a value made of these parts.
    Substrings(String, Vec<(Part, Vec<u8>)>),
    /// A matching rule by name.
    Extensible {
        /// The rule's name or OID.
        rule: Option<String>,
        /// The attribute.
        attribute: Option<String>,
        /// The value.
        value: Vec<u8>,
        /// Whether attributes of the name count as well.
        dn: bool,
    },
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
    /// `~=`
    Approximate,
}

/// Where a substring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// At the beginning.
    Initial,
    /// Anywhere between.
    Any,
    /// At the end.
    Final,
}

/// Where and why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at} of the filter: {message}")]
pub struct FilterError {
    /// Counted from 1.
    pub at: usize,
    /// What is wrong.
    pub message: &'static str,
}

impl Filter {
    /// Reads the text of a filter.
    ///
    /// # Errors
    /// [`FilterError`] with the place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { text, at: 0 };
        parser.blanks();
        let filter = parser.filter(0)?;
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.error("something follows the filter; put several into one `(&…)`"));
        }
        Ok(filter)
    }

    /// `attribute` equals `value`, whatever octets it is made of.
    pub fn equal(attribute: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::Compare(Comparison::Equal, attribute.to_owned(), value.into())
    }

    /// The filter with each `{name}` within a value replaced by what `replacements` say.
    #[must_use]
    pub fn filled(&self, replacements: &[(&str, &[u8])]) -> Self {
        let fill = |value: &[u8]| replaced(value, replacements);
        let all = |filters: &[Filter]| filters.iter().map(|filter| filter.filled(replacements)).collect();
        match self {
            Self::And(filters) => Self::And(all(filters)),
            Self::Or(filters) => Self::Or(all(filters)),
            Self::Not(filter) => Self::Not(Box::new(filter.filled(replacements))),
            Self::Compare(comparison, attribute, value) => Self::Compare(*comparison, attribute.clone(), fill(value)),
            Self::Present(attribute) => Self::Present(attribute.clone()),
            Self::Substrings(attribute, parts) => Self::Substrings(
                attribute.clone(),
                parts.iter().map(|(part, value)| (*part, fill(value))).collect(),
            ),
            Self::Extensible {
                rule,
                attribute,
                value,
                dn,
            } => Self::Extensible {
                rule: rule.clone(),
                attribute: attribute.clone(),
                value: fill(value),
                dn: *dn,
            },
        }
    }
}

fn replaced(value: &[u8], replacements: &[(&str, &[u8])]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        let placeholder = replacements.iter().find_map(|(name, with)| {
            let after = after.strip_prefix(name.as_bytes())?.strip_prefix(b"}")?;
            (first == b'{').then_some((*with, after))
        });
        match placeholder {
            Some((with, after)) => {
                filled.extend_from_slice(with);
                rest = after;
            }
            None => {
                filled.push(first);
                rest = after;
            }
        }
    }
    filled
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn filter(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.take(b'(', "a filter begins with `(`")?;
        let filter = match self.peek() {
            Some(b'&') => Filter::And(self.several(depth)?),
            Some(b'|') => Filter::Or(self.several(depth)?),
            Some(b'!') => {
                self.at += 1;
                self.blanks();
                Filter::Not(Box::new(self.filter(depth + 1)?))
            }
            Some(_) | None => self.item()?,
        };
        self.blanks();
        self.take(b')', "a `)` is missing")?;
        Ok(filter)
    }

    fn several(&mut self, depth: usize) -> Result<Vec<Filter>, FilterError> {
        self.at += 1;
        let mut filters = Vec::new();
        self.blanks();
        while self.peek() == Some(b'(') {
            filters.push(self.filter(depth + 1)?);
            self.blanks();
        }
        Ok(filters)
    }

    fn item(&mut self) -> Result<Filter, FilterError> {
        let start = self.at;
        let left = self.until(|octet| matches!(octet, b'=' | b'<' | b'>' | b'~' | b'(' | b')'));
        let operator_at = self.at;
        let operator = match self.peek() {
            Some(b'=') if left.ends_with(':') => {
                self.at += 1;
                return self.extensible(start, left.strip_suffix(':').unwrap_or_default().to_owned());
            }
            Some(b'=') => Comparison::Equal,
            Some(b'>') => Comparison::GreaterOrEqual,
            Some(b'<') => Comparison::LessOrEqual,
            Some(b'~') => Comparison::Approximate,
            Some(_) | None => return Err(self.error("expected `attribute=value`")),
        };
        let attribute = left.trim().to_owned();
        if !is_attribute(&attribute) {
            self.at = start;
            return Err(self.error("this is no attribute name"));
        }
        if operator != Comparison::Equal {
            self.at += 1;
        }
        if self.take(b'=', "").is_err() {
            self.at = operator_at;
            return Err(self.error("the operators are `=`, `>=`, `<=`, `~=` and `:=`"));
        }
        let pieces = self.value()?;
        match (operator, pieces.as_slice()) {
            (_, [value]) => Ok(Filter::Compare(operator, attribute, value.clone())),
            (Comparison::Equal, [first, last]) if first.is_empty() && last.is_empty() => Ok(Filter::Present(attribute)),
            (Comparison::Equal, pieces) => self.substrings(attribute, pieces),
            (Comparison::GreaterOrEqual | Comparison::LessOrEqual | Comparison::Approximate, _) => {
                Err(self.error("a `*` here must be written `\\2a`"))
            }
        }
    }

    fn substrings(&self, attribute: String, pieces: &[Vec<u8>]) -> Result<Filter, FilterError> {
        let last = pieces.len().saturating_sub(1);
        let mut parts = Vec::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            let part = match index {
                0 => Part::Initial,
                index if index == last => Part::Final,
                _ => Part::Any,
            };
            if !piece.is_empty() {
                parts.push((part, piece.clone()));
            } else if part == Part::Any {
                return Err(self.error("two `*` with nothing between them"));
            }
        }
        Ok(Filter::Substrings(attribute, parts))
    }

    /// `attribute[:dn][:rule]:=value` or `[:dn]:rule:=value`; `left` is what stands before `:=`.
    fn extensible(&mut self, start: usize, left: String) -> Result<Filter, FilterError> {
        let mut fields = left.split(':');
        let attribute = fields.next().map(str::trim).filter(|name| !name.is_empty());
        let mut fields = fields.peekable();
        let dn = fields.next_if(|field| field.eq_ignore_ascii_case("dn")).is_some();
        let rule = fields.next();
        let known = attribute.is_some() || rule.is_some();
        let named = attribute.into_iter().chain(rule).all(is_attribute);
        if !known || !named || fields.next().is_some() {
            self.at = start;
            return Err(self.error("expected `attribute:rule:=value`"));
        }
        let (attribute, rule) = (attribute.map(str::to_owned), rule.map(str::to_owned));
        match self.value()?.as_slice() {
            [value] => Ok(Filter::Extensible {
                rule,
                attribute,
                value: value.clone(),
                dn,
            }),
            _ => Err(self.error("a `*` here must be written `\\2a`")),
        }
    }

    /// The value up to `)`, unescaped, cut at each `*`.
    fn value(&mut self) -> Result<Vec<Vec<u8>>, FilterError> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        loop {
            match self.peek() {
                None | Some(b')') => {
                    pieces.push(piece);
                    return Ok(pieces);
                }
                Some(b'(') => return Err(self.error("a `(` in a value must be written `\\28`")),
                Some(b'*') => pieces.push(std::mem::take(&mut piece)),
                Some(b'\\') => {
                    let digits = self.text.get(self.at + 1..self.at + 3);
                    let octet = digits
                        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    piece.push(octet.ok_or_else(|| self.error("`\\` wants two hexadecimal digits after it"))?);
                    self.at += 2;
                }
                Some(octet) => piece.push(octet),
            }
            self.at += 1;
        }
    }

    fn until(&mut self, stop: impl Fn(u8) -> bool) -> String {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&octet| stop(octet)).unwrap_or(rest.len());
        let taken = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        taken.to_owned()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|octet| octet.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, octet: u8, otherwise: &'static str) -> Result<(), FilterError> {
        if self.peek() != Some(octet) {
            return Err(self.error(otherwise));
        }
        self.at += 1;
        Ok(())
    }

    fn error(&self, message: &'static str) -> FilterError {
        FilterError {
            at: self.at + 1,
            message,
        }
    }
}

fn is_attribute(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b';' | b'_'))
}

const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for (text, at) in [
            ("", 1),
            ("uid=ana", 1),
            ("(uid=ana", 9),
            ("(uid=ana))", 10),
            ("(uid)", 5),
            ("(=ana)", 2),
            ("(u d=ana)", 2),
            ("(uid=a(b)", 7),
            ("(uid=a\\zz)", 7),
            ("(uid=a\\+f)", 7),
            ("(uid>ana)", 5),
            ("(uid>=a*)", 9),
            ("(uid=a**b)", 10),
            ("(:=x)", 2),
            ("(&(uid=a)", 10),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        let deep = "(!".repeat(100) + "(a=b)" + &")".repeat(100);
        assert_eq!(Filter::parse(&deep).unwrap_err().message, "nested too deeply");
    }
}
