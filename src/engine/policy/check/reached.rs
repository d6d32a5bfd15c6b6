//! Whether anybody comes to a rule past those before it.

use super::compare;
use crate::engine::policy::{Condition, Rule};

/// The rules of `before` that together match all that `rule` would; none where that is not certain.
///
/// The rule is taken apart into pieces, one for each member of its lists and for each value of what it says nothing
/// about but has few values; every piece has to be taken by one rule.
pub(super) fn takers<'r>(rule: &Rule, before: &'r [Rule]) -> Option<Vec<&'r Rule>> {
    let mut near: Vec<&Rule> = before.iter().filter(|taker| may_take(taker, rule)).collect();
    if near.is_empty() {
        return None;
    }
    let mut takers: Vec<&Rule> = Vec::new();
    for piece in pieces(rule, &near)? {
        let taker = near.iter().find(|taker| takes(taker, rule, &piece))?;
        if !takers.iter().any(|known| known.name == taker.name) {
            takers.push(taker);
        }
    }
    near.retain(|taker| takers.iter().any(|known| known.name == taker.name));
    (!near.is_empty()).then_some(near)
}

/// Most pieces that a rule is taken apart into; of what has more it is not told.
const MOST_PIECES: usize = 256;

/// Whether a rule may take a piece of another: each of its conditions is one of the other's, or has few values.
fn may_take(taker: &Rule, rule: &Rule) -> bool {
    let answered = |condition: &Condition| {
        let key = compare::key(condition);
        compare::domain(key).is_some() || rule.when.iter().any(|own| compare::key(own) == key)
    };
    taker.when.iter().all(answered) && !compare::are_apart(taker, rule)
}

/// The conditions of the rule, as pieces; `None` when there are too many.
fn pieces(rule: &Rule, near: &[&Rule]) -> Option<Vec<Vec<Condition>>> {
    let asked = |key: &str| {
        let mut asking = near.iter().flat_map(|taker| &taker.when);
        asking.any(|condition| compare::key(condition) == key)
    };
    let own = rule.when.iter().map(|condition| match asked(compare::key(condition)) {
        true => compare::parts(condition),
        false => vec![condition.clone()],
    });
    let unsaid = ["operation", "protocol", "encrypted"]
        .into_iter()
        .filter(|key| asked(key) && !rule.when.iter().any(|condition| compare::key(condition) == *key));
    let mut pieces: Vec<Vec<Condition>> = vec![Vec::new()];
    for parts in own.chain(unsaid.filter_map(compare::domain)) {
        pieces = pieces
            .iter()
            .flat_map(|piece| {
                let with = |part: &Condition| piece.iter().chain([part]).cloned().collect::<Vec<_>>();
                parts.iter().map(with).collect::<Vec<_>>()
            })
            .collect();
        if pieces.len() > MOST_PIECES {
            return None;
        }
    }
    Some(pieces)
}

/// Whether nothing of a piece of `rule` gets past `taker`.
fn takes(taker: &Rule, rule: &Rule, piece: &[Condition]) -> bool {
    // A missing datum matches a rule that denies, and no other: what both ask about must be known, or they must be alike.
    let alike = taker.denies() == rule.denies();
    let sure = |condition: &Condition| alike || compare::is_always_known(condition);
    let by_piece = |wide: &Condition| sure(wide) && piece.iter().any(|narrow| wide.covers(narrow));
    // What the taker leaves out, the rule leaves out as well.
    let left_out = |narrow: &Condition| sure(narrow) && rule.unless.iter().any(|wide| wide.covers(narrow));
    taker.when.iter().all(by_piece) && taker.unless.iter().all(left_out)
}
