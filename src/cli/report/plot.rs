//! Bars for the terminal.

use crate::admin::api::{Report, ReportRow};
use crate::cli::output::{Out, Tone, is_utf8};

/// What is drawn on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// Columns.
    width: usize,
    ascii: bool,
}

impl Canvas {
    /// The terminal, or a page of 80 columns. Its characters are those of the locale.
    pub(super) fn here(ascii: bool, terminal: bool) -> Self {
        let width = if terminal {
            ratatui::crossterm::terminal::size().ok()
        } else {
            None
        };
        Self {
            width: width.map_or(80, |(columns, _)| usize::from(columns)).clamp(40, 200),
            ascii: ascii || !is_utf8(),
        }
    }

    fn ink(&self) -> [char; 4] {
        if self.ascii {
            ['#', '+', 'x', '.']
        } else {
            ['█', '▓', '▒', '░']
        }
    }
}

/// The report as bars, with a line over all rows where they are moments.
pub(super) fn draw(report: &Report, canvas: &Canvas, out: &Out<'_>) -> String {
    let mut lines = Vec::new();
    let shown = shown(report);
    let sum = |row: &ReportRow| -> u64 { shown.iter().filter_map(|at| row.counts.get(*at)).sum() };
    let greatest = report.rows.iter().map(sum).max().unwrap_or(0);
    if greatest == 0 {
        return "nothing to draw".into();
    }
    if matches!(report.heads.first().map(String::as_str), Some("day" | "hour")) && report.heads.len() == 1 {
        let sums: Vec<u64> = report.rows.iter().map(sum).collect();
        lines.push(out.tint(Tone::Bold, &sparkline(&sums, canvas)));
    }
    let names: Vec<String> = report.rows.iter().take(MOST_BARS).map(|row| row.of.join(" ")).collect();
    let most_name = (canvas.width / 3).max(10);
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .min(most_name);
    let digits = greatest.to_string().len();
    let room = canvas.width.saturating_sub(width + digits + 4).max(10);
    for (row, name) in report.rows.iter().zip(&names) {
        let parts: Vec<u64> = shown
            .iter()
            .map(|at| row.counts.get(*at).copied().unwrap_or(0))
            .collect();
        let bar = bar(&parts, greatest, room, canvas, out);
        lines.push(format!("{}  {:>digits$}  {bar}", fitted(name, width), sum(row)));
    }
    if report.rows.len() > MOST_BARS {
        lines.push(format!(
            "and {} more rows; --csv prints all",
            report.rows.len() - MOST_BARS
        ));
    }
    let legend: Vec<String> = shown
        .iter()
        .zip(canvas.ink())
        .enumerate()
        .filter_map(|(place, (at, ink))| {
            let name = report.columns.get(*at)?;
            Some(format!("{} {name}", tinted(out, place, &ink.to_string())))
        })
        .collect();
    lines.push(String::new());
    lines.push(legend.join("   "));
    lines.join("\n")
}

/// The columns that are parts of one whole.
fn shown(report: &Report) -> Vec<usize> {
    let place = |name: &str| report.columns.iter().position(|column| column == name);
    match (place("registered"), place("not registered")) {
        (Some(registered), Some(not)) => vec![registered, not],
        _ => (0..report.columns.len().min(4)).collect(),
    }
}

/// A bar of at most `room` characters for what `greatest` has all of; each part at least one character while there is
/// room for it.
fn bar(parts: &[u64], greatest: u64, room: usize, canvas: &Canvas, out: &Out<'_>) -> String {
    let whole: u64 = parts.iter().sum();
    let length = scaled(whole, greatest, room).max(usize::from(whole > 0));
    let mut text = String::new();
    let (mut drawn, mut before) = (0, 0);
    for (place, (part, ink)) in parts.iter().zip(canvas.ink()).enumerate() {
        before += part;
        let mut end = scaled(before, whole.max(1), length);
        if *part > 0 && end == drawn {
            end = (drawn + 1).min(length);
        }
        let piece: String = std::iter::repeat_n(ink, end.saturating_sub(drawn)).collect();
        if !piece.is_empty() {
            text.push_str(&tinted(out, place, &piece));
        }
        drawn = end.max(drawn);
    }
    text
}

fn tinted(out: &Out<'_>, place: usize, text: &str) -> String {
    match place {
        0 => out.tint(Tone::Good, text),
        2 => out.tint(Tone::Bad, text),
        3 => out.tint(Tone::Faint, text),
        _ => text.to_owned(),
    }
}

/// One character for each value, or for as many neighbours as must share one.
fn sparkline(values: &[u64], canvas: &Canvas) -> String {
    let share = values.len().div_ceil(canvas.width).max(1);
    let sums: Vec<u64> = values.chunks(share).map(|chunk| chunk.iter().sum()).collect();
    let greatest = sums.iter().copied().max().unwrap_or(0).max(1);
    let steps: &[char] = if canvas.ascii {
        &['_', '.', '-', '=', '*', '#']
    } else {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    };
    let step = |value: &u64| {
        let at = scaled(*value, greatest, steps.len() - 1);
        steps.get(at).copied().unwrap_or(' ')
    };
    sums.iter().map(step).collect()
}

/// `value` of `greatest`, on a scale that ends with `room`; rounded to the nearest.
fn scaled(value: u64, greatest: u64, room: usize) -> usize {
    let room = u128::try_from(room).unwrap_or(0);
    let scaled = (u128::from(value) * room * 2 + u128::from(greatest)) / (u128::from(greatest.max(1)) * 2);
    usize::try_from(scaled.min(room)).unwrap_or(0)
}

/// A name at its width, cut where it is too long.
fn fitted(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return format!("{name:width$}");
    }
    let cut: String = name.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}~")
}

/// Bars at once.
const MOST_BARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::ReportKind;

    fn report(heads: &[&str], rows: &[(&str, [u64; 4])]) -> Report {
        Report {
            kind: ReportKind::Logins,
            since: None,
            until: None,
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            columns: ["accept", "restricted", "reject", "unavailable"]
                .map(str::to_owned)
                .to_vec(),
            rows: rows
                .iter()
                .map(|(of, counts)| ReportRow {
                    of: vec![(*of).to_owned()],
                    counts: counts.to_vec(),
                })
                .collect(),
            total: Vec::new(),
            records: 0,
            notes: Vec::new(),
        }
    }

    fn drawn(report: &Report, ascii: bool) -> String {
        let mut octets = Vec::new();
        let out = Out::new(&mut octets, false, false);
        draw(report, &Canvas { width: 60, ascii }, &out)
    }

    #[test]
    fn bars() {
        let days = report(
            &["day"],
            &[
                ("2030-01-01", [40, 0, 10, 0]),
                ("2030-01-02", [80, 1, 19, 1]),
                ("2030-01-03", [0, 0, 0, 0]),
                ("2030-01-04", [1, 0, 0, 0]),
            ],
        );
        insta::assert_snapshot!("bars", drawn(&days, false));
        insta::assert_snapshot!("bars_in_ascii", drawn(&days, true));
        assert!(drawn(&days, true).is_ascii());
    }

    #[test]
    fn nothing_is_not_drawn() {
        assert_eq!(drawn(&report(&["client"], &[]), false), "nothing to draw");
    }

    #[test]
    fn no_bar_is_longer_than_the_room_and_no_part_vanishes() {
        let canvas = Canvas { width: 80, ascii: true };
        let mut octets = Vec::new();
        let out = Out::new(&mut octets, false, false);
        let text = bar(&[1_000_000, 1, 1, 1], 1_000_003, 20, &canvas, &out);
        assert_eq!(text.chars().count(), 20);
        let long = bar(&[u64::MAX / 2, 0, 0, 0], u64::MAX / 2, 30, &canvas, &out);
        assert_eq!(long, "#".repeat(30));
    }
}
