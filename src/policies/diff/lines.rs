//! Lines that differ, and what else keeps its order.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Lines that differ, with some around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk {
    /// Number of its first line in the older text.
    pub old: usize,
    /// Number of its first line in the newer text.
    pub new: usize,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// In which of the texts it stands.
    pub mark: Mark,
    /// What it says.
    pub text: String,
}

/// In which of two texts a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// In both.
    Both,
    /// In the older one.
    Old,
    /// In the newer one.
    New,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Both => ' ',
            Mark::Old => '-',
            Mark::New => '+',
        };
        write!(f, "{mark}{}", self.text)
    }
}

/// Compares two texts whose first lines have these numbers. With more than [`MOST_EDITS`] lines that differ, all from
/// the first to the last of them count as different.
pub(super) fn compare(old: &str, new: &str, (old_first, new_first): (usize, usize)) -> Vec<Hunk> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut hunks: Vec<Hunk> = Vec::new();
    let (mut at_old, mut at_new) = (old_first, new_first);
    let mut before: Vec<&str> = Vec::new();
    let mut quiet = usize::MAX;
    for (mark, text) in script(&old, &new) {
        if mark == Mark::Both {
            quiet = quiet.saturating_add(1);
            match hunks.last_mut().filter(|_| quiet <= AROUND) {
                Some(hunk) => hunk.lines.push(line(mark, text)),
                None => before.push(text),
            }
        } else {
            // What lies between two changes is told whole where that is hardly more than their surroundings.
            let joined = !hunks.is_empty() && before.len() <= AROUND;
            if !joined {
                let from = before.len().saturating_sub(AROUND);
                before.drain(..from);
                hunks.push(Hunk {
                    old: at_old - before.len(),
                    new: at_new - before.len(),
                    lines: Vec::new(),
                });
            }
            if let Some(hunk) = hunks.last_mut() {
                hunk.lines.extend(before.drain(..).map(|text| line(Mark::Both, text)));
                hunk.lines.push(line(mark, text));
            }
            quiet = 0;
        }
        at_old += usize::from(mark != Mark::New);
        at_new += usize::from(mark != Mark::Old);
    }
    hunks
}

/// Of names that stand in both lists, each once, a largest set whose order is the same in both.
pub(super) fn in_order<'n>(old: &[&'n str], new: &[&'n str]) -> HashSet<&'n str> {
    // A longest increasing run of old places, taken in the order of the new list (patience sorting).
    let places: HashMap<&str, usize> = old.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let mut tops: Vec<(usize, usize)> = Vec::new();
    let mut entries: Vec<(&'n str, Option<usize>)> = Vec::new();
    for name in new {
        let Some(place) = places.get(name) else { continue };
        let pile = tops.partition_point(|(top, _)| top < place);
        let under = pile
            .checked_sub(1)
            .and_then(|pile| tops.get(pile))
            .map(|(_, entry)| *entry);
        let entry = (*place, entries.len());
        entries.push((name, under));
        match tops.get_mut(pile) {
            Some(top) => *top = entry,
            None => tops.push(entry),
        }
    }
    let mut kept = HashSet::new();
    let mut at = tops.last().map(|(_, entry)| *entry);
    while let Some((name, under)) = at.and_then(|entry| entries.get(entry)) {
        kept.insert(*name);
        at = *under;
    }
    kept
}

/// Lines around a change.
const AROUND: usize = 3;

/// Most lines that differ which are told one by one: time and memory grow with the square of it.
const MOST_EDITS: usize = 1000;

fn line(mark: Mark, text: &str) -> Line {
    Line {
        mark,
        text: text.to_owned(),
    }
}

/// All lines of both texts, those in both once.
fn script<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Mark, &'t str)> {
    let common = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(old, new)| old == new).count();
    let first = common(&mut old.iter().zip(new));
    let (old_rest, new_rest) = (
        old.get(first..).unwrap_or_default(),
        new.get(first..).unwrap_or_default(),
    );
    let last = common(&mut old_rest.iter().rev().zip(new_rest.iter().rev()));
    let old_middle = old_rest.get(..old_rest.len() - last).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len() - last).unwrap_or_default();
    let both = |lines: &[&'t str]| lines.iter().map(|text| (Mark::Both, *text)).collect::<Vec<_>>();
    let mut script = both(old.get(..first).unwrap_or_default());
    script.extend(shortest(old_middle, new_middle).unwrap_or_else(|| {
        let gone = old_middle.iter().map(|text| (Mark::Old, *text));
        gone.chain(new_middle.iter().map(|text| (Mark::New, *text))).collect()
    }));
    script.extend(both(old_rest.get(old_rest.len() - last..).unwrap_or_default()));
    script
}

/// The shortest way from `old` to `new` (E. Myers, An O(ND) Difference Algorithm, 1986); `None` when it is longer than
/// [`MOST_EDITS`].
fn shortest<'t>(old: &[&'t str], new: &[&'t str]) -> Option<Vec<(Mark, &'t str)>> {
    // `furthest[k]` is how far in `old` one gets on the diagonal k - MOST_EDITS with the edits so far.
    let middle = MOST_EDITS.min(old.len() + new.len()) + 1;
    let mut furthest = vec![0_usize; 2 * middle + 1];
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for edits in 0..middle {
        let mut ended = false;
        for diagonal in (middle - edits..=middle + edits).step_by(2) {
            let mut x = step(&furthest, diagonal, middle, edits);
            let mut y = (x + middle).checked_sub(diagonal)?;
            while x < old.len() && y < new.len() && old.get(x) == new.get(y) {
                x += 1;
                y += 1;
            }
            *furthest.get_mut(diagonal)? = x;
            if x >= old.len() && y >= new.len() {
                ended = true;
                break;
            }
        }
        trace.push(furthest.get(middle - edits..=middle + edits)?.to_vec());
        if ended {
            return walk_back(old, new, &trace);
        }
    }
    None
}

/// How far in `old` one stands on a diagonal after one more edit.
fn step(furthest: &[usize], diagonal: usize, middle: usize, edits: usize) -> usize {
    let at = |diagonal: usize| furthest.get(diagonal).copied().unwrap_or_default();
    if edits == 0 {
        return 0;
    }
    let (left, right) = (at(diagonal - 1), at(diagonal + 1));
    if diagonal == middle - edits || (diagonal != middle + edits && left < right) {
        right
    } else {
        left + 1
    }
}

fn walk_back<'t>(old: &[&'t str], new: &[&'t str], trace: &[Vec<usize>]) -> Option<Vec<(Mark, &'t str)>> {
    let (mut x, mut y) = (old.len(), new.len());
    let mut script = Vec::new();
    for edits in (1..trace.len()).rev() {
        // What was reached with one edit less, from its diagonal `-(edits - 1)` on.
        let before = trace.get(edits - 1)?;
        let reached = |diagonal: isize| {
            let index = diagonal + isize::try_from(edits).ok()? - 1;
            usize::try_from(index).ok().and_then(|index| before.get(index).copied())
        };
        let diagonal = isize::try_from(x).ok()? - isize::try_from(y).ok()?;
        let bound = isize::try_from(edits).ok()?;
        let down = diagonal == -bound
            || (diagonal != bound && reached(diagonal - 1).unwrap_or(0) < reached(diagonal + 1).unwrap_or(0));
        let from = if down { diagonal + 1 } else { diagonal - 1 };
        let from_x = reached(from)?;
        let from_y = usize::try_from(isize::try_from(from_x).ok()? - from).ok()?;
        let (to_x, to_y) = if down {
            (from_x, from_y + 1)
        } else {
            (from_x + 1, from_y)
        };
        while x > to_x && y > to_y {
            script.push((Mark::Both, *old.get(x - 1)?));
            (x, y) = (x - 1, y - 1);
        }
        script.push(match down {
            true => (Mark::New, *new.get(to_y - 1)?),
            false => (Mark::Old, *old.get(to_x - 1)?),
        });
        (x, y) = (from_x, from_y);
    }
    while x > 0 {
        script.push((Mark::Both, *old.get(x - 1)?));
        x -= 1;
    }
    script.reverse();
    Some(script)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(old: &str, new: &str) -> String {
        let hunks = compare(old, new, (1, 1));
        let hunk = |hunk: &Hunk| {
            let lines: Vec<String> = hunk.lines.iter().map(ToString::to_string).collect();
            format!("@{} {}\n{}\n", hunk.old, hunk.new, lines.join("\n"))
        };
        hunks.iter().map(hunk).collect()
    }

    #[test]
    fn changes_are_told_with_their_surroundings() {
        let numbers = |count: usize| (1..=count).map(|number| format!("{number}\n")).collect::<String>();
        let old = numbers(20);
        let new = old.replace("5\n6\n", "5\nsix\n").replace("\n18\n", "\n");
        assert_eq!(
            told(&old, &new),
            "@3 3\n 3\n 4\n 5\n-6\n+six\n 7\n 8\n 9\n@15 15\n 15\n 16\n 17\n-18\n 19\n 20\n"
        );
        assert_eq!(told("", "a\n"), "@1 1\n+a\n");
        assert_eq!(told("a\n", ""), "@1 1\n-a\n");
        assert_eq!(told("a\n", "a\n"), "");
    }

    #[test]
    fn texts_that_have_nothing_in_common_are_told_in_bounded_time() {
        let text = |word: &str| {
            (0..20_000)
                .map(|number| format!("{word} {number}\n"))
                .collect::<String>()
        };
        let hunks = compare(&text("old"), &text("new"), (1, 1));
        assert_eq!(hunks.iter().map(|hunk| hunk.lines.len()).sum::<usize>(), 40_000);
    }

    #[test]
    fn what_keeps_its_order_is_as_much_as_can_be() {
        let kept = |old: &[&'static str], new: &[&'static str]| {
            let mut kept: Vec<&str> = in_order(old, new).into_iter().collect();
            kept.sort_unstable();
            kept
        };
        assert_eq!(kept(&["a", "b", "c", "d"], &["d", "a", "b", "c"]), ["a", "b", "c"]);
        assert_eq!(kept(&["a", "b"], &["b", "a"]).len(), 1);
        assert!(kept(&[], &[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_way_leads_from_one_text_to_the_other(old in "([abc]\n){0,30}", new in "([abc]\n){0,30}") {
            let (before, after): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let script = script(&before, &after);
            let side = |mark: Mark| {
                script.iter().filter(|(is, _)| *is == mark || *is == Mark::Both).map(|(_, text)| *text).collect::<Vec<_>>()
            };
            prop_assert_eq!(side(Mark::Old), before);
            prop_assert_eq!(side(Mark::New), after);
        }
    }
}
