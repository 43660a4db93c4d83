//! A day of the Gregorian calendar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A day, kept as days since 1970-01-01 so that ages are a subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Date {
    /// The day so many days after 1970-01-01.
    pub const fn from_days(days: i32) -> Date {
        Date(days)
    }

    /// The day of a Unix time in seconds.
    pub fn from_unix(seconds: u64) -> Date {
        Date(i32::try_from(seconds / 86_400).unwrap_or(i32::MAX))
    }

    /// Days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Days from `earlier` to this day, never negative.
    pub fn days_since(self, earlier: Date) -> u32 {
        u32::try_from(i64::from(self.0) - i64::from(earlier.0)).unwrap_or(0)
    }

    /// Reads the day at the start of `2023-11-22`, `2023-11-22T01:02:03Z` or `2023-11-22 0:00:00`.
    pub fn read(text: &str) -> Option<Date> {
        let text = text.trim();
        let day = text.get(..10)?;
        if text.as_bytes().get(10).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let mut parts = day.split('-');
        let year: i64 = digits(parts.next()?, 4)?;
        let month: i64 = digits(parts.next()?, 2)?;
        let day: i64 = digits(parts.next()?, 2)?;
        if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
            return None;
        }
        // Days from civil: years begin in March, so the leap day is the last of its year.
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        i32::try_from(era * 146_097 + day_of_era - 719_468)
            .ok()
            .map(Date)
    }
}

fn digits(text: &str, length: usize) -> Option<i64> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = i64::from(self.0) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(out, "{year:04}-{month:02}-{day:02}")
    }
}

/// The text is not a day such as `2026-01-31`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day such as 2026-01-31")]
pub struct NotADate(String);

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Date, NotADate> {
        Date::read(text).ok_or_else(|| NotADate(text.chars().take(40).collect()))
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_printed() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2026-11-24", 20_781),
            ("1969-12-31", -1),
            ("0001-01-01", -719_162),
        ] {
            let date: Date = text.parse().expect(text);
            assert_eq!((date.days(), date.to_string().as_str()), (days, text));
        }
        assert_eq!(
            Date::read("2023-11-22 0:00:00"),
            Date::read("2023-11-22T17:15:44Z")
        );
        for wrong in [
            "",
            "2023-13-01",
            "2023-02-29",
            "2023-1-01",
            "2023-01-011",
            "yesterday!",
            "２023-01-01",
        ] {
            assert_eq!(Date::read(wrong), None, "{wrong}");
        }
    }
}
