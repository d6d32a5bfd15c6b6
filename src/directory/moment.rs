//! Moments as directories write them.

use crate::clock::Timestamp;

/// GeneralizedTime of RFC 4517 section 3.3.13: minutes, seconds and their fraction may be missing. A moment
/// before 1970 counts as 1970; `None` for what is none.
pub(super) fn generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (date, rest) = text.split_at_checked(digits)?;
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let (minute, second) = match digits {
        10 => (0, 0),
        12 => (small(10)?, 0),
        // A leap second is the one before it.
        14 => (small(10)?, small(12)?.min(59)),
        _ => return None,
    };
    let moment = jiff::civil::DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(8)?, minute, second, 0).ok()?;
    // A fraction of the smallest unit written is less than anybody here wants to know.
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|character: char| character.is_ascii_digit()),
        None => rest,
    };
    let seconds = jiff::tz::Offset::UTC.to_timestamp(moment).ok()?.as_second() - offset(zone)?;
    Some(Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `Z`, `+hh` or `-hhmm`, in seconds.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let digits = zone
        .get(1..)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    let part = |from: usize| digits.get(from..from + 2)?.parse::<i64>().ok();
    let minutes = match digits.len() {
        2 => 0,
        4 => part(2)?,
        _ => return None,
    };
    Some(sign * (part(0)? * 3600 + minutes * 60))
}

/// A Windows FILETIME: tenths of a microsecond since 1601. `None` for zero, for "never", and for anything
/// before 1970.
pub(super) fn file_time(value: i64) -> Option<Timestamp> {
    if value == i64::MAX {
        return None;
    }
    let since_1970 = value.checked_sub(EPOCH_IN_FILE_TIME).filter(|&ticks| ticks > 0)?;
    u64::try_from(since_1970 / TICKS_IN_A_MILLISECOND)
        .ok()
        .map(Timestamp::from_millis)
}

/// 1970 as a FILETIME.
const EPOCH_IN_FILE_TIME: i64 = 116_444_736_000_000_000;
const TICKS_IN_A_MILLISECOND: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generalized_times() {
        let read = |text: &str| generalized_time(text).map(Timestamp::secs);
        assert_eq!(read("20300131120000Z"), Some(1_896_091_200));
        assert_eq!(read("203001311200Z"), Some(1_896_091_200));
        assert_eq!(read("2030013112Z"), Some(1_896_091_200));
        assert_eq!(read("20300131120000.123456Z"), Some(1_896_091_200));
        assert_eq!(read("20300131140000+0200"), Some(1_896_091_200));
        assert_eq!(read("20300131063000,5-0530"), Some(1_896_091_200));
        assert_eq!(read("20301231235960Z"), Some(1_924_991_999));
        assert_eq!(read("19700101000000Z"), Some(0));
        assert_eq!(read("000001010000Z"), Some(0));
        for text in [
            "",
            "Z",
            "2030",
            "20300131120000",
            "20301331120000Z",
            "20300131250000Z",
            "20300131120000+1",
            "20300131120000+ab",
            "20300131120000Zz",
            "2030013112000Z",
            "\u{661}0300131120000Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn file_times() {
        assert_eq!(
            file_time(133_000_000_000_000_000).map(Timestamp::secs),
            Some(1_655_526_400)
        );
        for value in [0, -1, i64::MIN, i64::MAX, EPOCH_IN_FILE_TIME] {
            assert_eq!(file_time(value), None, "{value}");
        }
    }
}
