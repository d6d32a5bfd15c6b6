//! The language of transcripts.

use std::fmt;
use std::time::Duration;

use portcullis::engine::delivery::Delivered;
use portcullis::engine::{Capability, PasswordOutcome, Split};

/// One line of a transcript.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    User(String),
    Client(String, Capability),
    Directory(Option<PasswordOutcome>),
    Later(Duration),
    /// What the reason of the last audit record begins with.
    Reason(String),
    Typed(String),
    Answer(String),
    /// The response of an offline token to the challenge that was asked.
    Response,
    Reply(Reply),
    Binds(usize),
    /// The password that the directory has.
    Password(String),
    /// Whether the upstream is out of reach.
    Upstream(bool),
    Asked(usize),
    /// Whether codes cannot be sent.
    Delivery(Option<Delivered>),
    Sent(usize),
    /// Answers hashed.
    Hashed(usize),
    /// Whether ana's answers are locked.
    Answers(bool),
    /// What somebody says to the open request for an approval.
    Approval(bool),
}

/// What comes back, as a transcript writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    Challenge(String),
    Reject(String),
    /// Not let in, and told what came of it.
    Closed(String),
    Unavailable,
}

impl Reply {
    /// Whether it is what was wanted; `#` in the text of a challenge stands for any digit.
    pub(crate) fn fits(&self, wanted: &Self) -> bool {
        let (Self::Challenge(text), Self::Challenge(wanted)) = (self, wanted) else {
            return self == wanted;
        };
        let same = |(got, wanted): (char, char)| got == wanted || wanted == '#' && got.is_ascii_digit();
        text.chars().count() == wanted.chars().count() && text.chars().zip(wanted.chars()).all(same)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Challenge(text) => write!(f, "challenge \"{text}\""),
            Self::Reject(word) => write!(f, "reject {word}"),
            Self::Closed(text) => write!(f, "closed \"{text}\""),
            Self::Unavailable => f.write_str("unavailable"),
        }
    }
}

/// The lines that say something, with their numbers; the error begins with the number of the line.
pub(crate) fn parse(text: &str) -> Result<Vec<(usize, Line)>, String> {
    let said = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| said(line))
        .map(|(index, line)| match parse_line(line) {
            Ok(parsed) => Ok((index + 1, parsed)),
            Err(fault) => Err(format!("{}: {fault}: {line}", index + 1)),
        })
        .collect()
}

fn parse_line(line: &str) -> Result<Line, &'static str> {
    if let Some(span) = line.strip_prefix('+') {
        return Ok(Line::Later(
            span_of(span).ok_or("a span is written as +12s, +5m or +1h")?,
        ));
    }
    let (word, rest) = line.split_once(' ').ok_or("a word alone says nothing")?;
    let rest = rest.trim();
    match word {
        "user" => Ok(Line::User(rest.to_owned())),
        "client" => {
            let (service, profile) = rest.split_once(' ').ok_or("a client has a service and a profile")?;
            let capability = match profile {
                "dialog" => Capability::Dialog,
                "single-challenge" => Capability::SingleChallenge,
                "append" => Capability::Append(Split::Separator(',')),
                "none" => Capability::None,
                _ => return Err("no such profile"),
            };
            Ok(Line::Client(service.to_owned(), capability))
        }
        "directory" => match rest {
            "as it is" => Ok(Line::Directory(None)),
            "expired" => Ok(Line::Directory(Some(PasswordOutcome::Expired))),
            "must change" => Ok(Line::Directory(Some(PasswordOutcome::MustChange))),
            "locked" => Ok(Line::Directory(Some(PasswordOutcome::Locked))),
            "disabled" => Ok(Line::Directory(Some(PasswordOutcome::Disabled))),
            "unavailable" => Ok(Line::Directory(Some(PasswordOutcome::Unavailable(String::new())))),
            _ => Err("a directory does not say that"),
        },
        "upstream" => match rest {
            "as it is" => Ok(Line::Upstream(false)),
            "unavailable" => Ok(Line::Upstream(true)),
            _ => Err("an upstream does not say that"),
        },
        "delivery" => match rest {
            "as it is" => Ok(Line::Delivery(None)),
            "unavailable" => Ok(Line::Delivery(Some(Delivered::Unavailable("gone".into())))),
            "busy" => Ok(Line::Delivery(Some(Delivered::Busy("full".into())))),
            _ => Err("a delivery does not say that"),
        },
        "sent" => rest.parse().map(Line::Sent).map_err(|_| "not a number"),
        "answers" => match rest {
            "unlocked" => Ok(Line::Answers(false)),
            "locked" => Ok(Line::Answers(true)),
            _ => Err("answers are locked or unlocked"),
        },
        "hashed" => rest.parse().map(Line::Hashed).map_err(|_| "not a number"),
        "approval" => match rest {
            "given" => Ok(Line::Approval(true)),
            "denied" => Ok(Line::Approval(false)),
            _ => Err("an approval is given or denied"),
        },
        "asked" => rest.parse().map(Line::Asked).map_err(|_| "not a number"),
        "password" => Ok(Line::Password(quoted(rest)?)),
        "reason" => Ok(Line::Reason(rest.to_owned())),
        "binds" => rest.parse().map(Line::Binds).map_err(|_| "not a number"),
        ">" if rest == "response" => Ok(Line::Response),
        ">" => match rest.strip_prefix("password ") {
            Some(typed) => Ok(Line::Typed(quoted(typed)?)),
            None => Ok(Line::Answer(quoted(rest)?)),
        },
        "<" => reply_of(rest).map(Line::Reply),
        _ => Err("no such line"),
    }
}

fn reply_of(text: &str) -> Result<Reply, &'static str> {
    match text.split_once(' ') {
        None if text == "accept" => Ok(Reply::Accept),
        None if text == "unavailable" => Ok(Reply::Unavailable),
        Some(("challenge", prompt)) => Ok(Reply::Challenge(quoted(prompt)?)),
        Some(("closed", text)) => Ok(Reply::Closed(quoted(text)?)),
        Some(("reject", word)) => Ok(Reply::Reject(word.to_owned())),
        _ => Err("no such reply"),
    }
}

fn quoted(text: &str) -> Result<String, &'static str> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner
        .map(str::to_owned)
        .ok_or("what is typed or shown stands in quotes")
}

fn span_of(text: &str) -> Option<Duration> {
    let number = text.get(..text.len().checked_sub(1)?)?.parse::<u64>().ok()?;
    match text.as_bytes().last()? {
        b's' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_secs(number * 60)),
        b'h' => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}

#[test]
fn lines_are_read_with_their_numbers() {
    let text =
        "# A remark.\n\nuser ana\nclient vpn append\n> password \"a \"b\"\"\n< reject wrong-code\n+5m\n> \"1\"\n";
    let append = Capability::Append(Split::Separator(','));
    assert_eq!(
        parse(text).unwrap(),
        [
            (3, Line::User("ana".into())),
            (4, Line::Client("vpn".into(), append)),
            (5, Line::Typed("a \"b\"".into())),
            (6, Line::Reply(Reply::Reject("wrong-code".into()))),
            (7, Line::Later(Duration::from_secs(300))),
            (8, Line::Answer("1".into())),
        ]
    );
    for (faulty, fault) in [
        ("hello", "1: a word alone says nothing: hello"),
        ("\nsay hello", "2: no such line: say hello"),
        (
            "> password hunter2",
            "1: what is typed or shown stands in quotes: > password hunter2",
        ),
        ("< perhaps", "1: no such reply: < perhaps"),
        ("+12", "1: a span is written as +12s, +5m or +1h: +12"),
        ("client vpn chatty", "1: no such profile: client vpn chatty"),
    ] {
        assert_eq!(parse(faulty).unwrap_err(), fault);
    }
}
