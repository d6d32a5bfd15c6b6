//! What has to be proven: authenticators joined by all-of and any-of.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::document::nearest;
use crate::engine::authenticator::{Kind, KindSet};

/// Sets of authenticators, each of which is enough: the any-of of all-ofs that a written requirement
/// comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    alternatives: Vec<KindSet>,
    written: String,
    /// What is left to be typed, where anything in it is not typed.
    split: Option<Box<Split>>,
}

/// What is left of a requirement to be typed; `None` where that cannot be enough.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    /// Without a certificate.
    bare: Option<Requirement>,
    /// Beside a certificate of the person's.
    certified: Option<Requirement>,
}

/// What is judged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The code; the password is tried only once the code is right.
    #[default]
    CodeFirst,
    /// The password; a code is asked for only once it is right.
    PasswordFirst,
}

/// Alternatives that a requirement may come to.
const MAX_ALTERNATIVES: usize = 64;

impl Requirement {
    /// The password and nothing else.
    pub fn password() -> Self {
        Self::new(vec![KindSet::of(Kind::Password)], Kind::Password.to_string())
    }

    /// `alternatives`, none of which contains another.
    fn new(alternatives: Vec<KindSet>, written: String) -> Self {
        let untyped = |kinds: &KindSet| kinds.without(KindSet::UNTYPED) != *kinds;
        let split = alternatives.iter().any(untyped).then(|| {
            Box::new(Split {
                bare: typed(&alternatives, KindSet::EMPTY, &written),
                certified: typed(&alternatives, KindSet::of(Kind::Certificate), &written),
            })
        });
        Self {
            alternatives,
            written,
            split,
        }
    }

    /// The sets that are enough.
    pub fn alternatives(&self) -> &[KindSet] {
        &self.alternatives
    }

    /// Everything that stands in it.
    pub fn kinds(&self) -> KindSet {
        let sets = self.alternatives.iter();
        sets.fold(KindSet::EMPTY, |kinds, alternative| kinds.union(*alternative))
    }

    /// What is left to be typed by somebody who has proven `held` without typing; `None` when nothing that is
    /// typed can be enough. Where `held` would do by itself, a password that is typed all the same must be right.
    pub fn beside(&self, held: KindSet) -> Option<&Self> {
        match &self.split {
            None => Some(self),
            Some(split) if held.has(Kind::Certificate) => split.certified.as_ref(),
            Some(split) => split.bare.as_ref(),
        }
    }

    /// Whether `proven` is enough.
    pub fn is_met(&self, proven: KindSet) -> bool {
        self.alternatives.iter().any(|alternative| proven.covers(*alternative))
    }

    /// Whether `proven` and the password together are enough, and without the password are not.
    pub fn wants_only_password(&self, proven: KindSet) -> bool {
        !self.is_met(proven) && self.is_met(proven.with(Kind::Password))
    }

    /// The kinds of code that bring `proven` nearer to enough.
    pub fn useful_codes(&self, proven: KindSet) -> KindSet {
        let ahead = self
            .alternatives
            .iter()
            .filter(|alternative| alternative.covers(proven.codes()));
        ahead
            .fold(KindSet::EMPTY, |kinds, alternative| kinds.union(*alternative))
            .without(proven)
            .codes()
    }

    /// Whether security questions are what is asked next: nothing that is typed as a code brings `proven` nearer.
    pub fn asks_questions(&self, proven: KindSet) -> bool {
        self.useful_codes(proven) == KindSet::of(Kind::Questions)
    }

    /// The kinds of code that can be enough without a password.
    pub fn codes_instead_of_password(&self) -> KindSet {
        self.alternatives
            .iter()
            .filter(|alternative| !alternative.has(Kind::Password))
            .fold(KindSet::EMPTY, |kinds, alternative| kinds.union(*alternative))
    }

    /// Whether a password can be part of it.
    pub fn takes_password(&self) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.has(Kind::Password))
    }

    /// Less the sets that the password is no part of. Nothing meets what has none left.
    #[must_use]
    pub fn with_password(&self) -> Self {
        let of_password = self.alternatives.iter().filter(|set| set.has(Kind::Password));
        Self::new(of_password.copied().collect(), self.written.clone())
    }

    /// Whether nothing meets it.
    pub const fn is_impossible(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// The fewest codes that it takes beside the password.
    pub fn fewest_codes(&self) -> u32 {
        let codes = |alternative: &KindSet| alternative.codes().len();
        self.alternatives.iter().map(codes).min().unwrap_or(0)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let alternatives = minimal(node.alternatives().map_err(D::Error::custom)?);
        Ok(Self::new(alternatives, node.to_string()))
    }
}

/// What has to be typed beside `held`.
fn typed(alternatives: &[KindSet], held: KindSet, written: &str) -> Option<Requirement> {
    let possible = alternatives
        .iter()
        .map(|kinds| kinds.without(held))
        .filter(|kinds| kinds.without(KindSet::UNTYPED) == *kinds);
    let left: Vec<KindSet> = possible
        .map(|kinds| {
            if kinds.is_empty() {
                KindSet::of(Kind::Password)
            } else {
                kinds
            }
        })
        .collect();
    (!left.is_empty()).then(|| Requirement {
        alternatives: minimal(left),
        written: written.to_owned(),
        split: None,
    })
}

/// A requirement as written: `"password"`, `{ all = […] }`, `{ any = […] }`.
enum Node {
    One(Kind),
    All(Vec<Node>),
    Any(Vec<Node>),
}

impl Node {
    fn alternatives(&self) -> Result<Vec<KindSet>, String> {
        let alternatives = match self {
            Self::One(kind) => vec![KindSet::of(*kind)],
            Self::Any(nodes) => {
                let mut sets = Vec::new();
                for node in nodes {
                    sets.extend(node.alternatives()?);
                }
                sets
            }
            Self::All(nodes) => {
                let mut sets = vec![KindSet::EMPTY];
                for node in nodes {
                    let more = node.alternatives()?;
                    sets = sets
                        .iter()
                        .flat_map(|set| more.iter().map(|other| set.union(*other)))
                        .collect();
                    if sets.len() > MAX_ALTERNATIVES {
                        break;
                    }
                }
                sets
            }
        };
        if alternatives.len() > MAX_ALTERNATIVES {
            return Err(format!(
                "comes to more than {MAX_ALTERNATIVES} alternatives; write fewer"
            ));
        }
        Ok(alternatives)
    }
}

/// Leaves out every set that contains another one.
fn minimal(mut sets: Vec<KindSet>) -> Vec<KindSet> {
    sets.sort_by_key(|set| set.len());
    let mut least: Vec<KindSet> = Vec::new();
    for set in sets {
        if !least.iter().any(|smaller| set.covers(*smaller)) {
            least.push(set);
        }
    }
    least
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, nodes: &[Self], word: &str| {
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match node {
                    Self::One(_) => write!(f, "{node}")?,
                    Self::All(_) | Self::Any(_) => write!(f, "({node})")?,
                }
            }
            Ok(())
        };
        match self {
            Self::One(kind) => write!(f, "{kind}"),
            Self::All(nodes) => joined(f, nodes, "and"),
            Self::Any(nodes) => joined(f, nodes, "or"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an authenticator such as \"password\", or { all = [...] }, or { any = [...] }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Node, E> {
                Kind::ALL
                    .into_iter()
                    .find(|kind| kind.word() == word)
                    .map(Node::One)
                    .ok_or_else(|| {
                        let words = Kind::ALL.map(Kind::word);
                        let hint =
                            nearest(word, &words).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                        E::custom(format!(
                            "`{word}` is no authenticator; there are {}{hint}",
                            words.join(", ")
                        ))
                    })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let wants = "wants one key, `all` or `any`, with a list that is not empty";
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom(wants));
                };
                let nodes: Vec<Node> = map.next_value()?;
                if nodes.is_empty() || map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom(wants));
                }
                match key.as_str() {
                    "all" => Ok(Node::All(nodes)),
                    "any" => Ok(Node::Any(nodes)),
                    _ => Err(A::Error::custom(wants)),
                }
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Requirement, String> {
        #[derive(Deserialize)]
        struct Holder {
            require: Requirement,
        }
        toml::from_str::<Holder>(&format!("require = {text}"))
            .map(|holder| holder.require)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn comes_to_alternatives() {
        let requirement = read(r#"{ all = ["password", { any = ["totp", "recovery-code"] }] }"#).unwrap();
        let expected = [
            KindSet::of(Kind::Password).with(Kind::Totp),
            KindSet::of(Kind::Password).with(Kind::RecoveryCode),
        ];
        assert_eq!(requirement.alternatives(), expected);
        assert_eq!(requirement.to_string(), "password and (totp or recovery-code)");
        assert!(requirement.wants_only_password(KindSet::of(Kind::Totp)));
        assert!(!requirement.wants_only_password(KindSet::EMPTY));
        assert_eq!(
            requirement.useful_codes(KindSet::EMPTY),
            KindSet::of(Kind::Totp).with(Kind::RecoveryCode)
        );
        assert!(requirement.useful_codes(KindSet::of(Kind::Totp)).is_empty());
        assert_eq!(requirement.fewest_codes(), 1);
    }

    #[test]
    fn an_alternative_that_contains_another_is_left_out() {
        let requirement = read(r#"{ any = ["password", { all = ["password", "totp"] }] }"#).unwrap();
        assert_eq!(requirement.alternatives(), [KindSet::of(Kind::Password)]);
    }

    #[test]
    fn what_a_certificate_leaves_to_be_typed() {
        let certificate = KindSet::of(Kind::Certificate);
        let both = read(r#"{ all = ["certificate", "password"] }"#).unwrap();
        assert_eq!(both.beside(KindSet::EMPTY), None);
        let left = both.beside(certificate).unwrap();
        assert!(left.wants_only_password(certificate) && left.useful_codes(certificate).is_empty());
        let alone = read(r#""certificate""#).unwrap();
        assert!(alone.beside(certificate).unwrap().wants_only_password(certificate));
        let code =
            read(r#"{ any = [{ all = ["certificate", "totp"] }, { all = ["password", "totp"] }, "sasl"] }"#).unwrap();
        let bare = code.beside(KindSet::EMPTY).unwrap();
        assert_eq!(bare.alternatives(), [KindSet::of(Kind::Password).with(Kind::Totp)]);
        let certified = code.beside(certificate).unwrap();
        assert_eq!(certified.alternatives(), [KindSet::of(Kind::Totp)]);
        let usual = read(r#"{ all = ["password", "totp"] }"#).unwrap();
        assert_eq!(usual.beside(certificate), Some(&usual));
        assert_eq!(usual.useful_codes(certificate), KindSet::of(Kind::Totp));
    }

    #[test]
    fn faults_say_what_is_meant() {
        assert_eq!(
            read(r#""topt""#).unwrap_err(),
            "`topt` is no authenticator; there are password, totp, hotp, recovery-code, passcode, radius, certificate, sasl, yubico-otp, email-code, gateway-code, approval, ocra, questions; did you mean `totp`?"
        );
        assert!(read("{ all = [] }").unwrap_err().contains("not empty"));
        assert!(read("{ some = [\"totp\"] }").unwrap_err().contains("`all` or `any`"));
        assert!(read("3").unwrap_err().contains("an authenticator such as"));
    }
}
