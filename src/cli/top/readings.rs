//! What is looked at: metrics, status, and what the audit says was refused.

use std::collections::VecDeque;

use crate::admin::api::{AuditLine, AuditRequest, ErrorKind, Outcome, StatusReport, StatusRequest, Stretch};
use crate::admin::client::{AdminClient, ClientError};
use crate::cli::output::CliError;
use crate::clock::{self, Timestamp};

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) at: Timestamp,
    pub(super) points: Vec<Point>,
    pub(super) status: StatusReport,
    /// Newest last.
    pub(super) refused: Vec<AuditLine>,
}

/// A sample of OpenMetrics.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Point {
    pub(super) fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Looks again and again.
pub(super) struct Reader<'c> {
    client: &'c AdminClient,
    refused: VecDeque<AuditLine>,
    /// Where the audit goes on; `None` where it may not be read.
    audit: Option<Option<u64>>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(client: &'c AdminClient) -> Self {
        Self {
            client,
            refused: VecDeque::new(),
            audit: Some(None),
        }
    }

    pub(super) async fn read(&mut self) -> Result<Reading, CliError> {
        let text = self.client.text("/metrics").await?;
        let status: StatusReport = self.client.get("/v1/status", &StatusRequest::default()).await?;
        self.read_audit().await?;
        Ok(Reading {
            at: clock::now(),
            points: parse(&text),
            status,
            refused: self.refused.iter().cloned().collect(),
        })
    }

    /// At first the newest records, whatever they are; then those that came since.
    async fn read_audit(&mut self) -> Result<(), CliError> {
        let Some(next) = self.audit else { return Ok(()) };
        let request = AuditRequest {
            from: next,
            last: next.is_none().then_some(NEWEST),
            ..AuditRequest::default()
        };
        let stretch: Stretch = match self.client.get("/v1/audit", &request).await {
            Ok(stretch) => stretch,
            Err(ClientError::Api(error)) if error.kind == ErrorKind::Denied => {
                self.audit = None;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.audit = Some(Some(stretch.next));
        let refused =
            |line: &AuditLine| line.action == "login" && matches!(line.outcome, Outcome::Reject | Outcome::Unavailable);
        for line in stretch.records.into_iter().filter(refused) {
            self.refused.push_back(line);
            if self.refused.len() > KEPT {
                self.refused.pop_front();
            }
        }
        Ok(())
    }
}

/// Records that are looked at first.
const NEWEST: usize = 200;
/// Refusals that are kept.
const KEPT: usize = 50;

/// Reads the text of OpenMetrics as far as it is read here: samples with labels, without moments. What does not read
/// is skipped.
pub(super) fn parse(text: &str) -> Vec<Point> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(point)
        .collect()
}

fn point(line: &str) -> Option<Point> {
    let Some((name, rest)) = line.split_once('{') else {
        let (name, value) = line.split_once(' ')?;
        return Some(Point {
            name: name.to_owned(),
            labels: Vec::new(),
            value: value.split(' ').next()?.parse().ok()?,
        });
    };
    let (mut labels, mut rest) = (Vec::new(), rest);
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(value) = rest.strip_prefix('}') {
            return Some(Point {
                name: name.to_owned(),
                labels,
                value: value.trim().split(' ').next()?.parse().ok()?,
            });
        }
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquoted(quoted)?;
        labels.push((label.to_owned(), value));
        rest = behind;
    }
}

/// The value up to its closing quote, and what stands behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_as_openmetrics_writes_them() {
        let text = "# HELP portcullis_sessions Open sessions.\n# TYPE portcullis_sessions gauge\nportcullis_sessions 3\n\
                    portcullis_decisions_total{protocol=\"radius\",client=\"a\\\"}, \\\\b\",outcome=\"accept\"} 4.5\n\
                    portcullis_decision_seconds_bucket{le=\"+Inf\",protocol=\"ldap\"} 7\nbroken{a=\"b} 1\n# EOF\n";
        let points = parse(text);
        assert_eq!(points.len(), 3);
        assert_eq!((points[0].name.as_str(), points[0].value), ("portcullis_sessions", 3.0));
        assert_eq!((points[1].label("client"), points[1].value), ("a\"}, \\b", 4.5));
        assert_eq!(points[2].label("le"), "+Inf");
    }

    #[test]
    fn our_own_metrics_are_read() {
        let metrics = crate::metrics::Metrics::default();
        let decision = crate::metrics::Decision {
            protocol: "radius",
            client: "vpn \"1\"".into(),
            outcome: "accept",
            reason: "",
        };
        metrics.decided(&decision, std::time::Duration::from_millis(3));
        let points = parse(&metrics.render());
        let decided = points
            .iter()
            .find(|point| point.name == "portcullis_decisions_total")
            .unwrap();
        assert_eq!((decided.label("client"), decided.value), ("vpn \"1\"", 1.0));
        assert!(
            points
                .iter()
                .any(|point| point.name == "portcullis_decision_seconds_bucket")
        );
    }
}
