//! What the audit and people's records come to: counted, never listed by person.
//!
//! A report reads the audit page by page and keeps counters only, of which there are at most [`MOST_ROWS`].

mod enrolment;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::accounts::view::moment;
use crate::audit::{Audit, AuditError, AuditLine, Filter};
use crate::clock::Timestamp;
use crate::engine::event::Outcome;

pub use enrolment::enrolment;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Who has a second factor, and who must do something about theirs.
    Enrolment,
    /// Logins by what came of them.
    Logins,
    /// What operators did.
    Helpdesk,
    /// What was proven in logins that were let in.
    Factors,
}

/// What rows are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The day, in UTC.
    Day,
    /// The hour, in UTC.
    Hour,
    /// The RADIUS client or LDAP listener.
    Client,
    /// The rule that decided.
    Rule,
    /// Why it came out as it did.
    Reason,
    /// The directory.
    Directory,
    /// `radius` or `ldap`.
    Protocol,
    /// Who did it.
    Operator,
    /// What was done.
    Action,
    /// What was proven.
    Factor,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What about; not [`Kind::Enrolment`], which the audit says nothing of.
    pub kind: Kind,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// What to count by; what is usual for the kind when absent.
    pub by: Option<By>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What about.
    pub kind: Kind,
    /// Not before.
    #[serde(default, with = "moment::option")]
    pub since: Option<Timestamp>,
    /// Before.
    #[serde(default, with = "moment::option")]
    pub until: Option<Timestamp>,
    /// What the texts of a row are.
    pub heads: Vec<String>,
    /// What the counts of a row are.
    pub columns: Vec<String>,
    /// Moments in their order, everything else by its count, the greatest first.
    pub rows: Vec<Row>,
    /// The sums of the columns.
    pub total: Vec<u64>,
    /// Records looked at.
    pub records: u64,
    /// What is to be known of it: sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// As many as [`Report::heads`].
    pub of: Vec<String>,
    /// As many as [`Report::columns`].
    pub counts: Vec<u64>,
}

impl By {
    /// The head of its column.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Client => "client",
            Self::Rule => "rule",
            Self::Reason => "reason",
            Self::Directory => "directory",
            Self::Protocol => "protocol",
            Self::Operator => "operator",
            Self::Action => "action",
            Self::Factor => "factor",
        }
    }

    const fn is_of_time(self) -> bool {
        matches!(self, Self::Day | Self::Hour)
    }

    /// The value of a record; what it says nothing of is `-`.
    fn of(self, line: &AuditLine) -> String {
        let text = |text: Option<&str>| match text {
            Some(text) if !text.is_empty() => text.to_owned(),
            Some(_) | None => "-".to_owned(),
        };
        match self {
            Self::Day => line.at.to_string().get(..10).unwrap_or_default().to_owned(),
            Self::Hour => line.at.to_string().get(..13).unwrap_or_default().replace('T', " "),
            Self::Client => text(line.client.as_deref()),
            Self::Rule => text(line.rule.as_deref()),
            Self::Reason => text(line.reason.as_deref()),
            Self::Directory => {
                let context = line.context.as_deref().map(|context| &*context.directory);
                let target = line
                    .target
                    .as_deref()
                    .and_then(|target| Some(target.split_once(':')?.0));
                text(context.or(target))
            }
            Self::Protocol => text(Some(&line.via)),
            Self::Operator => text(Some(&line.actor)),
            Self::Action => text(Some(&line.action)),
            // Set apart by the kind that counts it.
            Self::Factor => text(Some(&line.factors.join("+"))),
        }
    }
}

impl Question {
    /// What rows are told apart by.
    fn dimensions(&self) -> Vec<By> {
        let own: &[By] = match self.kind {
            Kind::Logins | Kind::Enrolment => &[],
            Kind::Helpdesk => &[By::Operator, By::Action],
            Kind::Factors => &[By::Factor],
        };
        let first = self.by.or((self.kind == Kind::Logins).then_some(By::Day));
        let further = own.iter().copied().filter(|own| Some(*own) != first);
        // Who and what belong together; any one of them alone is what was asked for.
        match first {
            Some(By::Operator | By::Action) if self.kind == Kind::Helpdesk => first.into_iter().collect(),
            Some(_) | None => first.into_iter().chain(further).collect(),
        }
    }

    /// Whether the record counts.
    fn concerns(&self, line: &AuditLine) -> bool {
        match self.kind {
            Kind::Logins => line.action == LOGIN,
            Kind::Factors => line.action == LOGIN && matches!(line.outcome, Outcome::Accept | Outcome::Restricted),
            Kind::Helpdesk => line.via == "admin",
            Kind::Enrolment => false,
        }
    }

    fn action(&self) -> Option<String> {
        match self.kind {
            Kind::Logins | Kind::Factors => Some(LOGIN.to_owned()),
            Kind::Helpdesk | Kind::Enrolment => None,
        }
    }
}

/// Counts what the audit says.
///
/// # Errors
/// When it cannot be read.
pub async fn count(audit: &Audit, question: &Question) -> Result<Report, AuditError> {
    let filter = Filter {
        since: question.since,
        until: question.until,
        action: question.action(),
        ..Filter::default()
    };
    let dimensions = question.dimensions();
    let mut counters = Counters::default();
    let mut from = 1;
    loop {
        let stretch = audit.search(&filter, from, PAGE).await?;
        for line in stretch.records.iter().filter(|line| question.concerns(line)) {
            counters.add(&dimensions, line);
        }
        from = stretch.next;
        if stretch.end {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(counters.report(question, &dimensions))
}

#[derive(Default)]
struct Counters {
    rows: HashMap<Vec<String>, [u64; OUTCOMES.len()]>,
    records: u64,
    folded: bool,
}

impl Counters {
    fn add(&mut self, dimensions: &[By], line: &AuditLine) {
        self.records += 1;
        if dimensions.contains(&By::Factor) && line.factors.len() > 1 {
            // Each by itself: what was proven, not in which company.
            for factor in &line.factors {
                let of = dimensions
                    .iter()
                    .map(|by| if *by == By::Factor { factor.clone() } else { by.of(line) });
                self.count(of.collect(), line.outcome);
            }
            return;
        }
        self.count(dimensions.iter().map(|by| by.of(line)).collect(), line.outcome);
    }

    fn count(&mut self, of: Vec<String>, outcome: Outcome) {
        let of = if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&of) {
            self.folded = true;
            vec!["(others)".to_owned(); of.len()]
        } else {
            of
        };
        let counts = self.rows.entry(of).or_default();
        let at = OUTCOMES.iter().position(|one| *one == outcome);
        if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
            *count += 1;
        }
    }

    fn report(self, question: &Question, dimensions: &[By]) -> Report {
        let rows = self.rows.into_iter().map(|(of, counts)| Row {
            of,
            counts: counts.to_vec(),
        });
        let mut rows: Vec<Row> = rows.collect();
        let of_time = dimensions.first().is_some_and(|first| first.is_of_time());
        rows.sort_by(|one, other| {
            let sum = |row: &Row| std::cmp::Reverse(row.counts.iter().sum::<u64>());
            let moment = |row: &Row| row.of.first().filter(|_| of_time).cloned();
            (moment(one), sum(one), &one.of).cmp(&(moment(other), sum(other), &other.of))
        });
        let mut notes = Vec::new();
        if self.folded {
            notes.push(format!(
                "there are more than {MOST_ROWS} rows; the rest is counted as (others)"
            ));
        }
        Report {
            kind: question.kind,
            since: question.since,
            until: question.until,
            heads: dimensions.iter().map(|by| by.word().to_owned()).collect(),
            columns: OUTCOMES.iter().map(ToString::to_string).collect(),
            total: sums(&rows, OUTCOMES.len()),
            rows,
            records: self.records,
            notes,
        }
    }
}

/// The sums of each column.
fn sums(rows: &[Row], columns: usize) -> Vec<u64> {
    let column = |at: usize| rows.iter().filter_map(|row| row.counts.get(at)).sum();
    (0..columns).map(column).collect()
}

/// Rows that are counted apart.
pub const MOST_ROWS: usize = 5000;

const LOGIN: &str = "login";
const OUTCOMES: [Outcome; 4] = [
    Outcome::Accept,
    Outcome::Restricted,
    Outcome::Reject,
    Outcome::Unavailable,
];
/// Records read at once.
const PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::batch::Batch;
    use crate::engine::event::AuditEvent;
    use crate::keyring::Keyring;
    use crate::store::memory::MemoryStore;
    use crate::store::{Durability, Store};

    fn event(at: u64, action: &str, actor: &str, outcome: Outcome) -> AuditEvent {
        AuditEvent {
            at: Timestamp::from_secs(at),
            action: action.into(),
            actor: actor.into(),
            target: Some("people:1".into()),
            via: if action == "login" { "radius" } else { "admin" }.into(),
            client: (action == "login").then(|| "vpn".into()),
            source: None,
            rule: Some("two".into()),
            factors: Vec::new(),
            outcome,
            reason: None,
            context: None,
        }
    }

    async fn audit(events: Vec<AuditEvent>) -> Audit {
        let keyring = Arc::new(Keyring::from_root(&[7; 32]));
        let store = Arc::new(MemoryStore::new(Arc::clone(&keyring)));
        for chunk in events.chunks(500) {
            let batch = Batch {
                audit: chunk.to_vec(),
                ..Batch::default()
            };
            store.commit(batch, Durability::Durable).await.unwrap();
        }
        Audit::new(store, keyring)
    }

    fn question(kind: Kind, by: Option<By>) -> Question {
        Question {
            kind,
            since: None,
            until: None,
            by,
        }
    }

    const DAY: u64 = 86_400;

    #[tokio::test]
    async fn logins_by_day_are_in_order_and_within_the_range() {
        let events = vec![
            event(DAY + 5, "login", "ana", Outcome::Accept),
            event(DAY + 6, "login", "ben", Outcome::Reject),
            event(DAY + 6, "user.unlock", "carol", Outcome::Accept),
            event(3 * DAY, "login", "ana", Outcome::Accept),
            event(9 * DAY, "login", "ana", Outcome::Unavailable),
        ];
        let mut asked = question(Kind::Logins, None);
        asked.since = Some(Timestamp::from_secs(DAY));
        asked.until = Some(Timestamp::from_secs(9 * DAY));
        let report = count(&audit(events).await, &asked).await.unwrap();
        let rows: Vec<(&str, &[u64])> = report.rows.iter().map(|row| (&*row.of[0], &*row.counts)).collect();
        assert_eq!(
            rows,
            [("1970-01-02", &[1, 0, 1, 0][..]), ("1970-01-04", &[1, 0, 0, 0][..])]
        );
        assert_eq!((report.total, report.records), (vec![2, 0, 1, 0], 3));
    }

    #[tokio::test]
    async fn helpdesk_counts_who_and_what() {
        let events = vec![
            event(1, "user.unlock", "carol", Outcome::Accept),
            event(2, "user.unlock", "carol", Outcome::Reject),
            event(3, "token.enrol", "dora", Outcome::Accept),
            event(4, "login", "carol", Outcome::Accept),
        ];
        let audit = audit(events).await;
        let report = count(&audit, &question(Kind::Helpdesk, None)).await.unwrap();
        assert_eq!(report.heads, ["operator", "action"]);
        let rows: Vec<String> = report
            .rows
            .iter()
            .map(|row| format!("{} {:?}", row.of.join(" "), row.counts))
            .collect();
        assert_eq!(
            rows,
            ["carol user.unlock [1, 0, 1, 0]", "dora token.enrol [1, 0, 0, 0]"]
        );
        let report = count(&audit, &question(Kind::Helpdesk, Some(By::Operator)))
            .await
            .unwrap();
        assert_eq!((report.heads.len(), report.rows.len()), (1, 2));
    }

    #[tokio::test]
    async fn factors_are_counted_each_by_itself() {
        let with = |factors: &[&str], outcome| AuditEvent {
            factors: factors.iter().map(|factor| (*factor).to_owned()).collect(),
            ..event(5, "login", "ana", outcome)
        };
        let events = vec![
            with(&["password", "totp"], Outcome::Accept),
            with(&["password"], Outcome::Accept),
            with(&["password"], Outcome::Reject),
        ];
        let report = count(&audit(events).await, &question(Kind::Factors, None))
            .await
            .unwrap();
        let rows: Vec<(&str, u64)> = report.rows.iter().map(|row| (&*row.of[0], row.counts[0])).collect();
        assert_eq!(rows, [("password", 2), ("totp", 1)]);
    }

    #[tokio::test]
    async fn rows_are_bounded_and_nothing_is_uncounted() {
        let events = (0..MOST_ROWS as u64 + 200).map(|number| AuditEvent {
            client: Some(format!("client-{number}")),
            ..event(number, "login", "ana", Outcome::Accept)
        });
        let audit = audit(events.collect()).await;
        let report = count(&audit, &question(Kind::Logins, Some(By::Client))).await.unwrap();
        assert_eq!(report.rows.len(), MOST_ROWS + 1);
        assert_eq!((&*report.rows[0].of[0], report.rows[0].counts[0]), ("(others)", 200));
        assert_eq!((report.total[0], report.notes.len()), (MOST_ROWS as u64 + 200, 1));
    }
}
