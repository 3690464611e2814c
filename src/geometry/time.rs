//! Calendar dates and daily ranges.

use std::fmt::{self, Write};
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};

/// A calendar day, UTC, counted in days since 1970-01-01 as CF and Zarr do.
///
/// ```
/// use rasterfuse::geometry::Date;
/// let date: Date = "2020-03-08".parse()?;
/// assert_eq!(date.days_since_epoch(), 18_329);
/// assert_eq!((date + 30).to_string(), "2020-04-07");
/// assert_eq!(Date::parse("2020068", "%Y%j")?, date);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
///
/// `serde` serialises it as text, `"2020-03-08"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

/// Day number of 1970-01-01 in chrono's proleptic Gregorian count.
const EPOCH_FROM_CE: i32 = 719_163;

impl Date {
    /// The day this many days after 1970-01-01.
    #[must_use]
    pub fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// A day of the Gregorian calendar.
    ///
    /// # Errors
    /// [`Error::Date`] when there is no such day.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Result<Self> {
        NaiveDate::from_ymd_opt(year, month, day)
            .map(from_chrono)
            .ok_or_else(|| Error::Date { text: format!("{year}-{month}-{day}"), format: "%Y-%m-%d".into() })
    }

    /// Parses a date by a `strftime` format; a time of day is dropped. In a text of digits only, every field must
    /// have its full width: by `%Y%m%d`, `2023091` (a day of the year) is not 1 September.
    ///
    /// # Errors
    /// [`Error::Date`] when the text does not follow the format or names no day.
    pub fn parse(text: &str, format: &str) -> Result<Self> {
        NaiveDate::parse_from_str(text, format)
            .or_else(|_| NaiveDateTime::parse_from_str(text, format).map(|time| time.date()))
            .ok()
            .map(from_chrono)
            // Without separators, a missing digit would shift all following fields.
            .filter(|date| !text.bytes().all(|b| b.is_ascii_digit()) || date.format(format).len() <= text.len())
            .ok_or_else(|| Error::Date { text: text.into(), format: format.into() })
    }

    /// Whether anything can have been observed on this day, or will be said of it: from 1700, before the
    /// first reanalyses, to 2400, after the last scenarios.
    #[cfg(any(feature = "gdal", feature = "zarr"))]
    pub(crate) fn can_be_observed(self) -> bool {
        (-98_615..157_420).contains(&self.0)
    }

    /// Formats the date by a `strftime` format, for file names for example: `date.format("%Y%m%d")`. The text ends at
    /// an unknown specifier.
    #[must_use]
    pub fn format(self, format: &str) -> String {
        NaiveDate::from_num_days_from_ce_opt(self.0.saturating_add(EPOCH_FROM_CE)).map_or_else(
            || self.to_string(),
            |date| {
                let mut text = String::new();
                let _ = write!(text, "{}", date.format(format));
                text
            },
        )
    }

    /// Day of its year, 1 January is 1. `None` beyond the years of the calendar, which ends after some 260,000.
    #[must_use]
    pub fn day_of_year(self) -> Option<i32> {
        let days = self.0.checked_add(EPOCH_FROM_CE)?;
        NaiveDate::from_num_days_from_ce_opt(days).map(|date| date.ordinal() as i32)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn days_since_epoch(self) -> i32 {
        self.0
    }

    /// Days from `earlier` to this day.
    #[must_use]
    pub fn days_since(self, earlier: Self) -> i32 {
        self.0 - earlier.0
    }
}

/// Converts a `chrono` date.
fn from_chrono(date: NaiveDate) -> Date {
    Date(date.num_days_from_ce() - EPOCH_FROM_CE)
}

impl std::ops::Add<i32> for Date {
    type Output = Self;

    fn add(self, days: i32) -> Self {
        Self(self.0 + days)
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "%Y-%m-%d")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NaiveDate::from_num_days_from_ce_opt(self.0.saturating_add(EPOCH_FROM_CE)) {
            Some(date) => date.fmt(f),
            None => write!(f, "day {}", self.0),
        }
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;

        impl Visitor<'_> for DateVisitor {
            type Value = Date;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date such as \"2020-03-08\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Date, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(DateVisitor)
    }
}

/// A daily axis: every day from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateRange {
    start: Date,
    end: Date,
}

impl DateRange {
    /// The days from `start` to `end`, both included.
    ///
    /// # Errors
    /// [`Error::Setting`] when `end` precedes `start`.
    pub fn new(start: Date, end: Date) -> Result<Self> {
        if end < start {
            return Err(Error::setting(
                "time",
                format!("end {end} precedes start {start}; give a later end, or an earlier start"),
            ));
        }
        Ok(Self { start, end })
    }

    /// First day.
    #[must_use]
    pub fn start(&self) -> Date {
        self.start
    }

    /// Last day.
    #[must_use]
    pub fn end(&self) -> Date {
        self.end
    }

    /// Number of days, at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.end.days_since(self.start) as usize + 1
    }

    /// Whether the day is one of them.
    #[must_use]
    pub fn contains(&self, date: Date) -> bool {
        (self.start..=self.end).contains(&date)
    }

    /// Every day, in order.
    pub fn days(&self) -> impl Iterator<Item = Date> + use<> {
        (self.start.0..=self.end.0).map(Date)
    }
}

impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_with_times_and_ordinals_parse() {
        let expected = Date::from_ymd(2024, 5, 2).unwrap();
        assert_eq!(Date::parse("2024123T183919", "%Y%jT%H%M%S").unwrap(), expected);
        assert_eq!(Date::parse("20240502", "%Y%m%d").unwrap(), expected);
        assert_eq!(Date::parse("2024-5-2", "%Y-%m-%d").unwrap(), expected);
        assert!(matches!(Date::parse("20240231", "%Y%m%d"), Err(Error::Date { .. })));
        // A day of the year, not 1 September.
        assert!(matches!(Date::parse("2023091", "%Y%m%d"), Err(Error::Date { .. })));
        assert_eq!(Date::from_days(-1).to_string(), "1969-12-31");
        assert_eq!(expected.format("%Y%j"), "2024123");
    }

    #[test]
    fn dates_are_serialised_as_text() {
        let date = Date::from_ymd(2024, 5, 2).unwrap();
        assert_eq!(serde_json::to_string(&date).unwrap(), "\"2024-05-02\"");
        assert_eq!(serde_json::from_str::<Date>("\"2024-05-02\"").unwrap(), date);
        for wrong in ["\"2024-05-32\"", "19845", "1.5", "null"] {
            assert!(serde_json::from_str::<Date>(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(any(feature = "gdal", feature = "zarr"))]
    #[test]
    fn reanalyses_and_scenarios_can_be_read_and_nonsense_cannot() {
        let year = |year| Date::from_ymd(year, 7, 1).unwrap().can_be_observed();
        assert_eq!([1699, 1700, 1836, 2300, 2400, 2401, 9999].map(year), [false, true, true, true, true, false, false]);
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = DateRange::new("2020-02-27".parse().unwrap(), "2020-03-01".parse().unwrap()).unwrap();
        assert_eq!((range.len(), range.to_string().as_str()), (4, "2020-02-27 to 2020-03-01"));
        assert_eq!(range.days().nth(2).unwrap().to_string(), "2020-02-29");
        assert!(DateRange::new(range.end(), range.start()).is_err());
    }
}
