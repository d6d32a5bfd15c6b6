//! Time windows, `mon-fri 08:00-18:00 Europe/Berlin`, and spans of days.

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

use crate::clock::Timestamp;

/// Days of the week and a span of the day, in a time zone. A window that ends before it starts runs
/// over midnight and belongs to the day that it starts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    days: [bool; 7],
    from: Time,
    until: Time,
    zone: TimeZone,
    written: String,
}

impl Window {
    /// Reads `[days] from-until [zone]`: days as `mon`, `mon-fri` or `sat,sun`, every day when absent;
    /// times as `HH:MM`, 24:00 allowed as the end; the zone as an IANA name, UTC when absent.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().peekable();
        let mut days = [true; 7];
        if let Some(word) = words.next_if(|word| word.starts_with(|first: char| first.is_ascii_alphabetic())) {
            days = parse_days(word)?;
        }
        let span = words
            .next()
            .ok_or_else(|| format!("`{text}` has no times; write `mon-fri 08:00-18:00 Europe/Berlin`"))?;
        let (from, until) = span
            .split_once('-')
            .ok_or_else(|| format!("`{span}` is no span of the day such as 08:00-18:00"))?;
        let (from, until) = (
            parse_time(from)?,
            if until == "24:00" {
                Time::midnight()
            } else {
                parse_time(until)?
            },
        );
        let zone = words.next().map_or(Ok(TimeZone::UTC), zone)?;
        if let Some(more) = words.next() {
            return Err(format!(
                "`{more}` is too much; write `mon-fri 08:00-18:00 Europe/Berlin`"
            ));
        }
        Ok(Self {
            days,
            from,
            until,
            zone,
            written: text.to_owned(),
        })
    }

    /// Whether the moment lies in the window.
    pub fn contains(&self, now: Timestamp) -> bool {
        let Ok(moment) = jiff::Timestamp::from_millisecond(i64::try_from(now.millis()).unwrap_or(i64::MAX)) else {
            return false;
        };
        let here = moment.to_zoned(self.zone.clone());
        let (time, today) = (here.time(), here.weekday());
        if self.from < self.until {
            return self.on(today) && self.from <= time && time < self.until;
        }
        (self.on(today) && time >= self.from) || (self.on(today.previous()) && time < self.until)
    }

    fn on(&self, day: Weekday) -> bool {
        usize::try_from(day.to_monday_zero_offset())
            .ok()
            .and_then(|index| self.days.get(index))
            .copied()
            .unwrap_or(false)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Days, the first and the last included: `{ from = "2026-07-01", until = "2026-12-31", zone = "Europe/Berlin" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    from: Option<Timestamp>,
    /// The first moment after it.
    over: Option<Timestamp>,
    written: String,
}

impl Span {
    /// Whether the moment lies in it.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.over.is_none_or(|over| now < over)
    }

    /// Whether every moment of `other` lies in it.
    pub fn covers(&self, other: &Self) -> bool {
        let begins = self
            .from
            .is_none_or(|from| other.from.is_some_and(|inner| from <= inner));
        let ends = self
            .over
            .is_none_or(|over| other.over.is_some_and(|inner| inner <= over));
        begins && ends
    }

    /// The first moment after it, if it ends.
    pub const fn over(&self) -> Option<Timestamp> {
        self.over
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            from: Option<String>,
            #[serde(default)]
            until: Option<String>,
            #[serde(default)]
            zone: Option<String>,
        }

        let raw = Raw::deserialize(deserializer)?;
        let custom = |message: String| serde::de::Error::custom(message);
        let common = raw.zone.as_deref().map(zone).transpose().map_err(custom)?;
        let read = |text: &Option<String>| {
            let days = text.as_deref().map(|text| Day::parse_in(text, common.clone()));
            days.transpose().map_err(custom)
        };
        let (from, until) = (read(&raw.from)?, read(&raw.until)?);
        let (from, over) = (from.map(|day| day.begins), until.map(|day| day.over));
        if from.is_none() && over.is_none() {
            return Err(custom("wants `from`, `until`, or both, such as `2026-12-31`".into()));
        }
        if let (Some(from), Some(over)) = (from, over)
            && over <= from
        {
            return Err(custom("ends before it begins".into()));
        }
        let part = |word: &str, text: Option<String>| text.map(|text| format!("{word} {}", text.trim()));
        let written = [part("from", raw.from), part("until", raw.until), part("in", raw.zone)];
        Ok(Self {
            from,
            over,
            written: written.into_iter().flatten().collect::<Vec<_>>().join(" "),
        })
    }
}

/// One day, in a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    /// Its first moment.
    pub(super) begins: Timestamp,
    /// The first moment after it.
    pub(super) over: Timestamp,
}

impl Day {
    /// Reads `2026-12-31` or `2026-12-31 Europe/Berlin`; in UTC when no zone is named.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, None)
    }

    /// The same in another zone than UTC.
    fn parse_in(text: &str, usual: Option<TimeZone>) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no day; write `2026-12-31`, or `2026-12-31 Europe/Berlin`");
        let mut words = text.split_whitespace();
        let day: Date = words.next().and_then(|day| day.parse().ok()).ok_or_else(wrong)?;
        let zone = match words.next() {
            Some(name) => zone(name)?,
            None => usual.unwrap_or(TimeZone::UTC),
        };
        if words.next().is_some() {
            return Err(wrong());
        }
        let moment = |day: Date| {
            let moment = day.to_zoned(zone.clone()).map_err(|_| wrong())?;
            let millis = u64::try_from(moment.timestamp().as_millisecond()).map_err(|_| wrong())?;
            Ok::<_, String>(Timestamp::from_millis(millis))
        };
        Ok(Self {
            begins: moment(day)?,
            over: moment(day.tomorrow().map_err(|_| wrong())?)?,
        })
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone; write a name such as Europe/Berlin"))
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn parse_days(word: &str) -> Result<[bool; 7], String> {
    let index = |name: &str| {
        NAMES
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known))
            .ok_or_else(|| format!("`{name}` is no day of the week; there are {}", NAMES.join(", ")))
    };
    let mut days = [false; 7];
    for part in word.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (index(first)?, index(last)?),
            None => (index(part)?, index(part)?),
        };
        let length = (last + 7 - first) % 7;
        for offset in 0..=length {
            if let Some(day) = days.get_mut((first + offset) % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

fn parse_time(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is no time of the day such as 08:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    Time::new(
        hour.parse().map_err(|_| wrong())?,
        minute.parse().map_err(|_| wrong())?,
        0,
        0,
    )
    .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(window: &str, moment: &str) -> bool {
        let millis = moment.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        Window::parse(window)
            .unwrap()
            .contains(Timestamp::from_millis(u64::try_from(millis).unwrap()))
    }

    #[test]
    fn windows_follow_their_zone_and_its_summer_time() {
        // 2026-01-05 and 2026-07-06 are Mondays; Berlin is one hour ahead in winter, two in summer.
        assert!(contains("mon-fri 08:00-18:00 Europe/Berlin", "2026-01-05T07:00:00Z"));
        assert!(!contains("mon-fri 08:00-18:00 Europe/Berlin", "2026-01-05T06:59:59Z"));
        assert!(contains("mon-fri 08:00-18:00 Europe/Berlin", "2026-07-06T06:00:00Z"));
        assert!(!contains("mon-fri 08:00-18:00 Europe/Berlin", "2026-07-06T16:00:00Z"));
        assert!(!contains("sat,sun 00:00-24:00", "2026-01-05T12:00:00Z"));
    }

    #[test]
    fn windows_over_midnight_belong_to_the_day_they_start_on() {
        assert!(contains("fri 22:00-06:00", "2026-01-09T23:00:00Z"));
        assert!(contains("fri 22:00-06:00", "2026-01-10T05:59:00Z"));
        assert!(!contains("fri 22:00-06:00", "2026-01-09T05:00:00Z"));
        assert!(contains("00:00-24:00", "2026-01-09T23:59:59Z"));
    }

    #[test]
    fn faults_say_what_is_wrong() {
        assert!(
            Window::parse("mon-fry 08:00-18:00")
                .unwrap_err()
                .contains("`fry` is no day")
        );
        assert!(Window::parse("mon 8-18").unwrap_err().contains("`8` is no time"));
        assert!(
            Window::parse("08:00-18:00 Berlin")
                .unwrap_err()
                .contains("no time zone")
        );
        assert!(Window::parse("mon").unwrap_err().contains("no times"));
    }

    #[test]
    fn spans_hold_from_their_first_day_through_their_last() {
        #[derive(Deserialize)]
        struct Holder {
            date: Span,
        }
        let read = |text: &str| toml::from_str::<Holder>(&format!("date = {text}")).map(|holder| holder.date);
        let lies = |span: &Span, moment: &str| {
            let millis = moment.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            span.contains(Timestamp::from_millis(u64::try_from(millis).unwrap()))
        };
        let summer = read("{ from = '2026-07-01', until = '2026-08-31', zone = 'Europe/Berlin' }").unwrap();
        assert_eq!(summer.to_string(), "from 2026-07-01 until 2026-08-31 in Europe/Berlin");
        for (moment, expected) in [
            ("2026-06-30T21:59:59Z", false),
            ("2026-06-30T22:00:00Z", true),
            ("2026-08-31T21:59:59Z", true),
            ("2026-08-31T22:00:00Z", false),
        ] {
            assert_eq!(lies(&summer, moment), expected, "{moment}");
        }
        let open = read("{ until = '2026-12-31' }").unwrap();
        assert!(lies(&open, "2026-12-31T23:59:59Z") && !lies(&open, "2027-01-01T00:00:00Z"));
        assert!(open.covers(&summer) && !summer.covers(&open));
        for (text, fault) in [
            ("{ }", "wants `from`"),
            ("{ from = '2026-02-30' }", "is no day"),
            ("{ from = '2026-02-01', zone = 'Atlantis' }", "is no time zone"),
            ("{ from = '2026-02-02', until = '2026-02-01' }", "ends before it begins"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
