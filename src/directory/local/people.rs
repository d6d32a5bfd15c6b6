//! Everybody of a file whom a filter finds. Text is compared without regard to case.

use crate::directory::filter::{Comparison, Filter, Part};
use crate::directory::local::Entry;

/// Whether an entry is one of those that `filter` means; an error for what cannot be judged without a server.
pub(super) fn matches(filter: &Filter, entry: &Entry) -> Result<bool, String> {
    Ok(match filter {
        Filter::And(filters) => {
            for filter in filters {
                if !matches(filter, entry)? {
                    return Ok(false);
                }
            }
            true
        }
        Filter::Or(filters) => {
            for filter in filters {
                if matches(filter, entry)? {
                    return Ok(true);
                }
            }
            false
        }
        Filter::Not(filter) => !matches(filter, entry)?,
        Filter::Present(attribute) => !entry.values(attribute).is_empty(),
        Filter::Compare(comparison, attribute, wanted) => {
            let wanted = folded(wanted);
            let holds = |value: &Vec<u8>| match comparison {
                Comparison::Equal | Comparison::Approximate => folded(value) == wanted,
                Comparison::GreaterOrEqual => ordered(&folded(value), &wanted).is_ge(),
                Comparison::LessOrEqual => ordered(&folded(value), &wanted).is_le(),
            };
            entry.values(attribute).iter().any(holds)
        }
        Filter::Substrings(attribute, parts) => {
            let parts: Vec<(Part, String)> = parts.iter().map(|(part, text)| (*part, folded(text))).collect();
            entry
                .values(attribute)
                .iter()
                .any(|value| has_parts(&folded(value), &parts))
        }
        Filter::Extensible { .. } => {
            return Err("a local directory knows no matching rules (`:=`) in filters".into());
        }
    })
}

fn folded(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim().to_lowercase()
}

fn ordered(one: &str, other: &str) -> std::cmp::Ordering {
    match (one.parse::<i64>(), other.parse::<i64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        (Ok(_) | Err(_), _) => one.cmp(other),
    }
}

fn has_parts(value: &str, parts: &[(Part, String)]) -> bool {
    let mut rest = value;
    for (part, text) in parts {
        let after = match part {
            Part::Initial => rest.strip_prefix(text.as_str()),
            Part::Any => rest.split_once(text.as_str()).map(|(_, after)| after),
            Part::Final => rest.strip_suffix(text.as_str()).map(|_| ""),
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::directory::local::Tree;

    #[test]
    fn entries_are_found_by_their_attributes() {
        let text = b"dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: uid=ana,dc=x\nobjectClass: person\nuid: ana\n\
                     department: Sales North\nlevel: 10\n";
        let tree = Tree::parse(Path::new("x.ldif"), text).unwrap();
        let entry = tree.get("uid=ana,dc=x").unwrap();
        let found = |text: &str| matches(&Filter::parse(text).unwrap(), entry);
        for yes in [
            "(uid=ANA)",
            "(&(uid=ana)(department=*))",
            "(|(uid=ben)(department=sales*))",
            "(department=*s*n*th)",
            "(!(uid=ben))",
            "(level>=9)",
            "(level<=10)",
        ] {
            assert_eq!(found(yes), Ok(true), "{yes}");
        }
        for no in [
            "(uid=an)",
            "(department=*south)",
            "(mail=*)",
            "(level>=11)",
            "(!(uid=ana))",
        ] {
            assert_eq!(found(no), Ok(false), "{no}");
        }
        assert!(found("(cn:dn:=x)").is_err());
    }
}
