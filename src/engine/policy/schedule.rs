//! Time windows: `mon-fri 08:00-18:00 Europe/Berlin`.

use std::fmt;

use jiff::civil::{Time, Weekday};
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
        let zone = match words.next() {
            Some(name) => TimeZone::get(name)
                .map_err(|_| format!("`{name}` is no time zone; write a name such as Europe/Berlin"))?,
            None => TimeZone::UTC,
        };
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
}
