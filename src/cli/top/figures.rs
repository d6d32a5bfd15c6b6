//! What two looks come to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::readings::{Point, Reading};
use crate::admin::api::{AuditLine, StatusReport, moment};
use crate::clock::Timestamp;

/// The looks so far: the last one whole, and the rates of those before it.
#[derive(Default)]
pub(super) struct History {
    before: Option<Reading>,
    last: Option<Reading>,
    rates: VecDeque<f64>,
}

/// What is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// When it was looked last.
    #[serde(with = "moment")]
    pub(super) at: Timestamp,
    /// Logins that came to an end, each second.
    pub(super) rate: f64,
    /// The rates of the looks before, oldest first.
    pub(super) rates: Vec<f64>,
    /// By what came of them.
    pub(super) outcomes: Vec<OutcomeFigures>,
    /// How long verdicts take.
    pub(super) latency: Vec<LatencyFigures>,
    /// By client.
    pub(super) clients: Vec<ClientFigures>,
    /// Refusals for too many failures, each second.
    pub(super) lockouts: f64,
    /// Drops, each second.
    pub(super) dropped: f64,
    /// What was refused lately, newest last.
    pub(super) refused: Vec<AuditLine>,
    /// How everything is.
    pub(super) status: Option<StatusReport>,
}

/// What came of verdicts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OutcomeFigures {
    pub(super) outcome: String,
    /// Each second.
    pub(super) rate: f64,
    /// Since the server started.
    pub(super) total: f64,
}

/// How long verdicts of one protocol take, in milliseconds; absent where there were none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LatencyFigures {
    pub(super) protocol: String,
    pub(super) p50_ms: Option<f64>,
    pub(super) p90_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ClientFigures {
    pub(super) protocol: String,
    pub(super) client: String,
    /// Verdicts each second.
    pub(super) rate: f64,
    /// Milliseconds of one, on the average.
    pub(super) mean_ms: Option<f64>,
    /// Refused ones each second.
    pub(super) refused: f64,
}

/// Rates kept for the line.
const KEPT: usize = 240;

/// The words of outcomes, in the order shown.
const OUTCOMES: [&str; 6] = ["accept", "challenge", "restricted", "reject", "closed", "unavailable"];

impl History {
    pub(super) fn take(&mut self, reading: Reading) {
        self.before = self.last.take();
        self.last = Some(reading);
        if let Some(span) = self.span() {
            let rate = self.delta("decisions_total", |point| point.label("outcome") != "challenge") / span;
            self.rates.push_back(rate);
            if self.rates.len() > KEPT {
                self.rates.pop_front();
            }
        }
    }

    pub(super) fn figures(&self) -> Figures {
        // Until there are two looks, everything is still.
        let span = self.span().unwrap_or(f64::INFINITY);
        let decided = |wanted: &dyn Fn(&Point) -> bool| self.delta("decisions_total", wanted) / span;
        let outcomes = OUTCOMES.into_iter().filter_map(|outcome| {
            let of = |point: &Point| point.label("outcome") == outcome;
            let total = sum(self.last.as_ref(), "decisions_total", of);
            (total > 0.0).then(|| OutcomeFigures {
                outcome: outcome.to_owned(),
                rate: decided(&of),
                total,
            })
        });
        Figures {
            at: self.last.as_ref().map(|last| last.at).unwrap_or_default(),
            rate: decided(&|point| point.label("outcome") != "challenge"),
            rates: self.rates.iter().copied().collect(),
            outcomes: outcomes.collect(),
            latency: ["radius", "ldap"].map(|protocol| self.latency(protocol)).to_vec(),
            clients: self.clients(span),
            lockouts: decided(&|point| matches!(point.label("reason"), "throttled" | "source-throttled" | "locked")),
            dropped: self.delta("dropped_total", |_| true) / span,
            refused: self.last.as_ref().map(|last| last.refused.clone()).unwrap_or_default(),
            status: self.last.as_ref().map(|last| last.status.clone()),
        }
    }

    /// Seconds between the last two looks at one process.
    fn span(&self) -> Option<f64> {
        let (before, last) = (self.before.as_ref()?, self.last.as_ref()?);
        let same = before.status.started == last.status.started;
        let span = last.at.since(before.at);
        (same && span > Duration::ZERO).then_some(span.as_secs_f64())
    }

    fn delta(&self, name: &str, wanted: impl Fn(&Point) -> bool) -> f64 {
        let before = if self.span().is_some() {
            self.before.as_ref()
        } else {
            self.last.as_ref()
        };
        (sum(self.last.as_ref(), name, &wanted) - sum(before, name, &wanted)).max(0.0)
    }

    fn clients(&self, span: f64) -> Vec<ClientFigures> {
        let mut clients: BTreeMap<(String, String), ClientFigures> = BTreeMap::new();
        let Some(last) = &self.last else { return Vec::new() };
        for point in last
            .points
            .iter()
            .filter(|point| point.name == "portcullis_decisions_total")
        {
            let name = (point.label("protocol").to_owned(), point.label("client").to_owned());
            clients.entry(name).or_insert_with_key(|(protocol, client)| {
                let of = |point: &Point| point.label("protocol") == protocol && point.label("client") == client;
                let count = self.delta("decisions_total", of);
                let refused = self.delta("decisions_total", |point| {
                    of(point) && point.label("outcome") == "reject"
                });
                let seconds = self.delta("client_seconds_total", of);
                ClientFigures {
                    protocol: protocol.clone(),
                    client: client.clone(),
                    rate: count / span,
                    mean_ms: (count > 0.0).then_some(seconds / count * 1000.0),
                    refused: refused / span,
                }
            });
        }
        clients.into_values().collect()
    }

    fn latency(&self, protocol: &str) -> LatencyFigures {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let ends = self.last.iter().flat_map(|last| &last.points);
        let ends = ends
            .filter(|point| point.name == "portcullis_decision_seconds_bucket" && point.label("protocol") == protocol);
        let mut words: Vec<&str> = ends.map(|point| point.label("le")).collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            let end = if word == "+Inf" {
                Some(f64::INFINITY)
            } else {
                word.parse().ok()
            };
            let Some(end) = end else { continue };
            let of = |point: &Point| point.label("protocol") == protocol && point.label("le") == word;
            buckets.push((end, self.delta("decision_seconds_bucket", of)));
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let at = |share| quantile(&buckets, share).map(|seconds| seconds * 1000.0);
        LatencyFigures {
            protocol: protocol.to_owned(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
        }
    }
}

fn sum(reading: Option<&Reading>, name: &str, wanted: impl Fn(&Point) -> bool) -> f64 {
    let points = reading.into_iter().flat_map(|reading| &reading.points);
    let points = points.filter(|point| point.name.strip_prefix("portcullis_") == Some(name));
    points.filter(|point| wanted(point)).map(|point| point.value).sum()
}

/// Within a bucket values are taken to be spread evenly, as `histogram_quantile` of Prometheus does; beyond the last
/// bound that bound is given.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let all = buckets.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let rank = all * share;
    let (mut begin, mut before) = (0.0, 0.0);
    for (end, count) in buckets {
        if *count >= rank {
            if end.is_infinite() {
                return Some(begin);
            }
            let within = count - before;
            let part = if within > 0.0 { (rank - before) / within } else { 1.0 };
            return Some(begin + (end - begin) * part);
        }
        (begin, before) = (*end, *count);
    }
    Some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let buckets = [(0.1, 0.0), (0.2, 10.0), (0.5, 20.0), (f64::INFINITY, 21.0)];
        let at = |share| quantile(&buckets, share).unwrap();
        assert!((at(0.5) - 0.215).abs() < 1e-9, "{}", at(0.5));
        assert!((at(0.999) - 0.5).abs() < 1e-9, "beyond the last bound");
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
