//! `portcullis top`

mod figures;
mod readings;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::widgets::Widget as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Exit;
use super::output::{CliError, Out};
use crate::admin::client::AdminClient;
use figures::History;
use readings::Reader;
use screen::{Screen, View};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct TopArgs {
    /// Seconds between looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Print one screen as text, from two looks, and end
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(args: TopArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let interval = Duration::from_secs(args.interval);
    if args.once || out.json {
        return once(interval, client, out).await;
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let what = "a live screen needs a terminal, and there is none".to_owned();
        return Err(CliError::Usage(
            what,
            Some("`portcullis top --once` prints one screen as text"),
        ));
    }
    // What fails at once is told before the screen is taken.
    let mut reader = Reader::new(client);
    let mut history = History::default();
    let first = reader.read().await?;
    history.take(first);
    let mut terminal = Terminal::take().map_err(CliError::Io)?;
    let ended = watch(&mut terminal.0, interval, &mut reader, history, out.is_coloured()).await;
    drop(terminal);
    ended.map_err(CliError::Io)?;
    Ok(Exit::Done)
}

async fn once(interval: Duration, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let mut reader = Reader::new(client);
    let mut history = History::default();
    history.take(reader.read().await?);
    tokio::time::sleep(interval).await;
    history.take(reader.read().await?);
    let figures = history.figures();
    if out.json {
        return out.json(&figures);
    }
    let (width, height) = match out.is_terminal() {
        true => ratatui::crossterm::terminal::size().map_err(CliError::Io)?,
        false => (80, 24),
    };
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    Screen::new(&figures, &View::plain()).render(area, &mut buffer);
    out.line(text_of(&buffer))?;
    Ok(Exit::Done)
}

/// Draws until somebody has seen enough.
async fn watch(
    terminal: &mut DefaultTerminal,
    interval: Duration,
    reader: &mut Reader<'_>,
    mut history: History,
    coloured: bool,
) -> io::Result<()> {
    let mut view = View {
        coloured,
        ..View::plain()
    };
    let mut keys = listen();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut figures = history.figures();
    loop {
        terminal.draw(|frame| frame.render_widget(Screen::new(&figures, &view), frame.area()))?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            key = keys.recv() => match key {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if !view.obey(key) {
                        return Ok(());
                    }
                }
                // A new size is drawn at the next turn, which is now.
                Some(_) => {}
                None => return Ok(()),
            },
            reading = next(&mut ticks, reader), if !view.paused => {
                match reading {
                    Ok(reading) => {
                        view.trouble = None;
                        history.take(reading);
                        figures = history.figures();
                    }
                    Err(error) => view.trouble = Some(error.to_string()),
                }
            }
        }
    }
}

async fn next(ticks: &mut tokio::time::Interval, reader: &mut Reader<'_>) -> Result<readings::Reading, CliError> {
    ticks.tick().await;
    reader.read().await
}

impl View {
    /// Does what a key says; false when it says that this is the end.
    fn obey(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.code == KeyCode::Char('q') || (control && key.code == KeyCode::Char('c')) {
            return false;
        }
        if self.help {
            self.help = false;
            return true;
        }
        if key.code == KeyCode::Char('?') || key.code == KeyCode::Char('h') {
            self.help = true;
        } else if key.code == KeyCode::Char('p') || key.code == KeyCode::Char(' ') {
            self.paused = !self.paused;
        } else if key.code == KeyCode::Tab || key.code == KeyCode::Char('s') {
            self.sort = self.sort.next();
        } else if key.code == KeyCode::Esc {
            return false;
        }
        true
    }
}

/// Keys and new sizes, read where waiting for them holds up nothing. The thread ends soon after nobody listens.
fn listen() -> mpsc::Receiver<Event> {
    let (tell, told) = mpsc::channel(64);
    std::thread::spawn(move || {
        while !tell.is_closed() {
            match event::poll(Duration::from_millis(100)) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => {
                        if tell.blocking_send(event).is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    told
}

/// The terminal, given back however this ends: after a panic the hook of `ratatui` does it.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = ratatui::try_restore();
    }
}

/// The characters of a buffer, without blanks at the ends of lines.
fn text_of(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    let lines: Vec<String> = buffer.content.chunks(width).map(line).collect();
    lines.join("\n").trim_end().to_owned()
}

const HELP: &str = "\
Logins each second and what comes of them; how long they take; the slowest clients; directories and
their servers; what was refused lately; lockouts, sessions, and what waits for the store. Keys: q
ends, p holds the screen, tab sorts clients, ? helps. Colours only where NO_COLOR is not set. With
--json the figures are printed once.

Examples:
  portcullis top
  portcullis top --interval 5
  portcullis top --once | mail -s 'how it goes' ops@example.org";
