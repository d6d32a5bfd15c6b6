//! The screen: figures in their places. It fits 80 columns and 24 lines, and makes use of more.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Row, Sparkline, Table, Widget};

use super::figures::{ClientFigures, Figures};
use crate::admin::api::ServerStatus;
use crate::cli::output::moment;

/// How it is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) coloured: bool,
    pub(super) ascii: bool,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) sort: Sort,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
}

impl View {
    /// Without colours, in the characters of the locale.
    pub(super) fn plain() -> Self {
        Self {
            ascii: !crate::cli::output::is_utf8(),
            ..Self::default()
        }
    }
}

/// What clients are sorted by, the greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The slowest.
    #[default]
    Mean,
    /// The busiest.
    Rate,
    /// Those refused most.
    Refused,
}

impl Sort {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Mean => Self::Rate,
            Self::Rate => Self::Refused,
            Self::Refused => Self::Mean,
        }
    }

    const fn head(self) -> &'static str {
        match self {
            Self::Mean => "SLOWEST",
            Self::Rate => "BUSIEST",
            Self::Refused => "REFUSED MOST",
        }
    }
}

/// Figures as they are looked at.
pub(super) struct Screen<'a> {
    figures: &'a Figures,
    view: &'a View,
}

impl<'a> Screen<'a> {
    pub(super) const fn new(figures: &'a Figures, view: &'a View) -> Self {
        Self { figures, view }
    }

    fn styled(&self, style: Style) -> Style {
        if self.view.coloured { style } else { Style::new() }
    }

    fn head_style(&self) -> Style {
        self.styled(Style::new().add_modifier(Modifier::BOLD))
    }

    fn good(&self) -> Style {
        self.styled(Style::new().fg(Color::Green))
    }

    fn bad(&self) -> Style {
        self.styled(Style::new().fg(Color::Red))
    }

    fn faint(&self) -> Style {
        self.styled(Style::new().add_modifier(Modifier::DIM))
    }
}

impl Widget for Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let servers = self.servers().len();
        let directories = u16::try_from(servers)
            .unwrap_or(u16::MAX)
            .clamp(1, (area.height / 5).max(2))
            + 1;
        let [title, upper, middle, lower, refused, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(6),
            Constraint::Min(5),
            Constraint::Length(directories),
            Constraint::Length((area.height / 4).max(3)),
            Constraint::Length(1),
        ])
        .areas(area);
        self.title(title, buffer);
        let [rate, outcomes] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(38)]).areas(upper);
        self.rate(rate, buffer);
        self.outcomes(outcomes, buffer);
        let [clients, latency] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(38)]).areas(middle);
        self.clients(clients, buffer);
        self.latency(latency, buffer);
        self.directories(lower, buffer);
        self.refused(refused, buffer);
        self.keys(keys, buffer);
        if self.view.help {
            self.help(area, buffer);
        }
    }
}

impl Screen<'_> {
    fn title(&self, area: Rect, buffer: &mut Buffer) {
        let mut spans = vec![Span::styled("portcullis ", self.head_style())];
        if let Some(status) = &self.figures.status {
            let up = self.figures.at.since(status.started).as_secs();
            spans.push(Span::raw(format!(
                "{} {}  up {}",
                shown(&status.node),
                status.version,
                span(up)
            )));
            let word = if status.is_healthy() {
                Span::styled("  everything works", self.good())
            } else {
                Span::styled("  something is wrong: portcullis status", self.bad())
            };
            spans.push(word);
        }
        Line::from(spans).render(area, buffer);
        let at = moment(self.figures.at);
        let width = u16::try_from(at.len()).unwrap_or(0);
        let right = Rect {
            x: area.right().saturating_sub(width),
            width: width.min(area.width),
            ..area
        };
        Line::styled(at, self.faint()).render(right, buffer);
    }

    fn rate(&self, area: Rect, buffer: &mut Buffer) {
        let [head, graph] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let most = self.figures.rates.iter().copied().fold(0.0, f64::max);
        let text = format!("LOGINS {}/s, at most {}/s", number(self.figures.rate), number(most));
        Line::styled(text, self.head_style()).render(head, buffer);
        let width = usize::from(graph.width.saturating_sub(2));
        let skipped = self.figures.rates.len().saturating_sub(width);
        // In thousandths, so that less than one login a second is seen.
        let data: Vec<u64> = self
            .figures
            .rates
            .iter()
            .skip(skipped)
            .map(|rate| thousandths(*rate))
            .collect();
        let graph = Rect {
            width: graph.width.saturating_sub(2),
            height: graph.height.saturating_sub(1),
            ..graph
        };
        Sparkline::default()
            .data(data)
            .style(self.good())
            .bar_set(if self.view.ascii { ASCII } else { bar::NINE_LEVELS })
            .render(graph, buffer);
    }

    fn outcomes(&self, area: Rect, buffer: &mut Buffer) {
        let rows = self.figures.outcomes.iter().map(|outcome| {
            let style = match outcome.outcome.as_str() {
                "accept" => self.good(),
                "reject" | "unavailable" => self.bad(),
                _ => Style::new(),
            };
            let cells = [
                outcome.outcome.clone(),
                right(number(outcome.rate), 9),
                right(whole(outcome.total), 12),
            ];
            Row::new(cells).style(style)
        });
        let rows = rows.take(usize::from(area.height.saturating_sub(1)));
        let widths = [Constraint::Length(12), Constraint::Length(9), Constraint::Length(12)];
        let head = ["OUTCOME".to_owned(), right("/s", 9), right("SINCE START", 12)];
        Table::new(rows, widths)
            .header(Row::new(head).style(self.head_style()))
            .render(area, buffer);
    }

    fn clients(&self, area: Rect, buffer: &mut Buffer) {
        let mut clients: Vec<&ClientFigures> = self.figures.clients.iter().collect();
        let by = |client: &ClientFigures| match self.view.sort {
            Sort::Mean => client.mean_ms.unwrap_or(-1.0),
            Sort::Rate => client.rate,
            Sort::Refused => client.refused,
        };
        clients.sort_by(|one, other| by(other).total_cmp(&by(one)));
        let rows = clients.into_iter().map(|client| {
            Row::new([
                shown(&client.client),
                right(number(client.rate), 7),
                right(client.mean_ms.map_or_else(|| "-".to_owned(), number), 8),
                right(number(client.refused), 9),
            ])
        });
        let rows = rows.take(usize::from(area.height.saturating_sub(2)));
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(7),
            Constraint::Length(8),
            Constraint::Length(9),
        ];
        let head = [
            self.view.sort.head().to_owned(),
            right("/s", 7),
            right("MEAN MS", 8),
            right("REFUSED", 9),
        ];
        let area = Rect {
            width: area.width.saturating_sub(2),
            ..area
        };
        Table::new(rows, widths)
            .header(Row::new(head).style(self.head_style()))
            .render(area, buffer);
    }

    fn latency(&self, area: Rect, buffer: &mut Buffer) {
        let cell = |millis: Option<f64>| right(millis.map_or_else(|| "-".to_owned(), number), 8);
        let rows: Vec<Row<'_>> = self
            .figures
            .latency
            .iter()
            .map(|one| {
                let head = format!("{} ms", one.protocol);
                Row::new([head, cell(one.p50_ms), cell(one.p90_ms), cell(one.p99_ms)])
            })
            .collect();
        let widths = [
            Constraint::Length(10),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
        ];
        let head = ["LATENCY".to_owned(), right("50%", 8), right("90%", 8), right("99%", 8)];
        let [upper, lower] = Layout::vertical([Constraint::Length(3), Constraint::Fill(1)]).areas(area);
        Table::new(rows, widths)
            .header(Row::new(head).style(self.head_style()))
            .render(upper, buffer);
        let status = self.figures.status.as_ref();
        let count = |number: Option<usize>| number.map_or_else(String::new, |number| number.to_string());
        let locked = if self.figures.lockouts > 0.0 {
            self.bad()
        } else {
            Style::new()
        };
        let lines = vec![
            Line::styled(
                format!(
                    "lockouts {}/s  drops {}/s",
                    number(self.figures.lockouts),
                    number(self.figures.dropped)
                ),
                locked,
            ),
            Line::raw(format!(
                "sessions {}  store queue {}",
                count(status.map(|status| status.sessions)),
                count(status.map(|status| status.store.queue))
            )),
        ];
        Paragraph::new(lines).render(lower, buffer);
    }

    fn servers(&self) -> Vec<(&str, &ServerStatus, usize)> {
        let directories = self.figures.status.iter().flat_map(|status| &status.directories);
        directories
            .flat_map(|directory| {
                directory
                    .servers
                    .iter()
                    .map(|server| (directory.name.as_str(), server, directory.queue))
            })
            .collect()
    }

    fn directories(&self, area: Rect, buffer: &mut Buffer) {
        let rows = self.servers().into_iter().map(|(directory, server, queue)| {
            let (word, style) = if server.healthy {
                ("works", self.good())
            } else {
                ("given up", self.bad())
            };
            Row::new([
                shown(directory),
                shown(&server.address),
                word.to_owned(),
                right(server.latency_ms.map_or_else(|| "-".to_owned(), number), 8),
                right(format!("{}+{}", server.connections, server.relayed), 8),
                right(queue.to_string(), 6),
            ])
            .style(style)
        });
        let rows = rows.take(usize::from(area.height.saturating_sub(1)));
        let widths = [
            Constraint::Length(12),
            Constraint::Fill(1),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(6),
        ];
        let head = [
            "DIRECTORY".to_owned(),
            "SERVER".to_owned(),
            "STATE".to_owned(),
            right("MS", 8),
            right("POOL", 8),
            right("QUEUE", 6),
        ];
        Table::new(rows, widths)
            .header(Row::new(head).style(self.head_style()))
            .render(area, buffer);
    }

    fn refused(&self, area: Rect, buffer: &mut Buffer) {
        let rows = self.figures.refused.iter().rev().map(|line| {
            let at = moment(line.at);
            Row::new([
                at.get(11..19).unwrap_or_default().to_owned(),
                shown(&line.actor),
                shown(line.client.as_deref().unwrap_or("-")),
                line.source.map(|source| source.to_string()).unwrap_or_default(),
                shown(line.reason.as_deref().unwrap_or("-")),
            ])
        });
        let rows = rows.take(usize::from(area.height.saturating_sub(1)));
        let widths = [
            Constraint::Length(8),
            Constraint::Length(16),
            Constraint::Length(12),
            Constraint::Length(15),
            Constraint::Fill(1),
        ];
        let head = ["REFUSED", "WHO", "CLIENT", "FROM", "WHY"];
        Table::new(rows, widths)
            .header(Row::new(head).style(self.head_style()))
            .render(area, buffer);
    }

    fn keys(&self, area: Rect, buffer: &mut Buffer) {
        let line = match (&self.view.trouble, self.view.paused) {
            (Some(trouble), _) => Line::styled(shown(trouble), self.bad()),
            (None, true) => Line::styled("paused: p goes on", self.head_style()),
            (None, false) => Line::styled("q quit  p pause  tab sort  ? help", self.faint()),
        };
        line.render(area, buffer);
    }

    fn help(&self, area: Rect, buffer: &mut Buffer) {
        let width = area.width.min(60);
        let height = area.height.min(u16::try_from(HELP.len()).unwrap_or(u16::MAX) + 2);
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        Clear.render(place, buffer);
        let block = ratatui::widgets::Block::bordered().border_set(if self.view.ascii {
            ASCII_BORDER
        } else {
            ratatui::symbols::border::PLAIN
        });
        let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
        Paragraph::new(lines).block(block.title(" keys ")).render(place, buffer);
    }
}

const HELP: [&str; 11] = [
    "q, esc, ctrl-c   end",
    "p, space         hold the screen, or go on",
    "tab, s           sort clients: slowest, busiest, refused",
    "?, h             this; any key goes back",
    "",
    "LOGINS counts verdicts without challenges. LATENCY is from",
    "arrival to verdict, since the last look. POOL is our own",
    "connections + those of LDAP clients. lockouts are refusals",
    "for too many failures.",
    "",
    "A dash: nothing happened since the last look.",
];

const ASCII: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "#",
    five_eighths: "+",
    half: "+",
    three_eighths: "-",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

const ASCII_BORDER: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Names come from outside: nothing in them draws.
fn shown(text: &str) -> String {
    crate::cli::output::printable(text, false).replace('\n', " ")
}

fn right(text: impl AsRef<str>, width: usize) -> String {
    format!("{:>width$}", text.as_ref())
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value {
        none if none <= 0.0 => "0".to_owned(),
        small if small < 9.95 => format!("{small:.2}"),
        middle if middle < 99.5 => format!("{middle:.1}"),
        great => whole(great),
    }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn thousandths(rate: f64) -> u64 {
    format!("{:.0}", (rate * 1000.0).clamp(0.0, 1e12)).parse().unwrap_or(0)
}

/// A span in its two greatest units.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::admin::api::{AuditLine, Outcome, StatusReport};
    use crate::cli::top::figures::{LatencyFigures, OutcomeFigures};
    use crate::clock::Timestamp;

    fn figures() -> Figures {
        let status: StatusReport = serde_json::from_str(include_str!("status.json")).unwrap();
        let outcome = |outcome: &str, rate, total| OutcomeFigures {
            outcome: outcome.into(),
            rate,
            total,
        };
        let client = |client: &str, rate, mean_ms, refused| ClientFigures {
            protocol: "radius".into(),
            client: client.into(),
            rate,
            mean_ms,
            refused,
        };
        let latency = |protocol: &str, at: [Option<f64>; 3]| LatencyFigures {
            protocol: protocol.into(),
            p50_ms: at[0],
            p90_ms: at[1],
            p99_ms: at[2],
        };
        let refused = (0..4_u64).map(|number| AuditLine {
            sequence: number,
            at: Timestamp::from_secs(1_893_456_000 + number * 7),
            action: "login".into(),
            actor: format!("user-{number}\u{1b}[31m"),
            target: None,
            via: "radius".into(),
            client: Some("vpn".into()),
            source: Some([192, 0, 2, 17].into()),
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Reject,
            reason: Some("wrong-password".into()),
            context: None,
            link: String::new(),
        });
        Figures {
            at: Timestamp::from_secs(1_893_456_060),
            rate: 41.25,
            rates: (0..100_u32).map(|step| f64::from((step * 37) % 60)).collect(),
            outcomes: vec![
                outcome("accept", 38.5, 120_345.0),
                outcome("challenge", 12.0, 60_001.0),
                outcome("reject", 2.75, 4_711.0),
            ],
            latency: vec![
                latency("radius", [Some(1.25), Some(4.5), Some(120.0)]),
                latency("ldap", [None, None, None]),
            ],
            clients: vec![
                client("vpn", 30.0, Some(2.5), 1.0),
                client(
                    "a client with a name that is far too long for this",
                    0.25,
                    Some(312.0),
                    0.0,
                ),
                client("door", 11.0, None, 1.75),
            ],
            lockouts: 0.5,
            dropped: 0.0,
            refused: refused.collect(),
            status: Some(status),
        }
    }

    fn drawn(width: u16, height: u16, view: &View) -> String {
        let figures = figures();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| frame.render_widget(Screen::new(&figures, view), frame.area()))
            .unwrap();
        let text = terminal.backend().to_string();
        text.lines()
            .map(|line| line.trim_matches('"').trim_end())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn screens() {
        let view = View::default();
        insta::assert_snapshot!("screen", drawn(80, 24, &view));
        insta::assert_snapshot!("wide_screen", drawn(132, 43, &view));
        let ascii = View {
            ascii: true,
            sort: Sort::Refused,
            paused: true,
            ..View::default()
        };
        insta::assert_snapshot!("screen_in_ascii", drawn(80, 24, &ascii));
        assert!(drawn(80, 24, &ascii).is_ascii() || drawn(80, 24, &ascii).contains('\u{fffd}'));
        let help = View {
            help: true,
            ..View::default()
        };
        insta::assert_snapshot!("screen_with_help", drawn(80, 24, &help));
    }

    #[test]
    fn it_fits_wherever_there_is_any_room() {
        for (width, height) in [(1, 1), (10, 3), (39, 10), (80, 5), (300, 100)] {
            drawn(
                width,
                height,
                &View {
                    help: true,
                    ..View::default()
                },
            );
        }
    }

    #[test]
    fn trouble_takes_the_place_of_the_keys() {
        let view = View {
            trouble: Some("no server answers\u{1b}[2J".into()),
            ..View::default()
        };
        let text = drawn(80, 24, &view);
        assert!(text.ends_with("no server answers\u{fffd}[2J"), "{text}");
    }
}
