//! CF time coordinates: conversion of encoded times to dates.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use crate::geometry::Date;

/// First day of the Gregorian calendar. Earlier days are Julian in `standard` and Gregorian in `proleptic_gregorian`.
const GREGORIAN: (i32, u32, u32) = (1582, 10, 15);

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The dates of CF times: `values` in `units` (`days since 1970-01-01`), UTC, Gregorian calendar.
///
/// Times are rounded to the millisecond, so that rounding errors of floats do not move midnight to the day before.
///
/// # Errors
/// The problem with the units, the calendar or a value, and what is accepted.
pub(in crate::source) fn dates(values: &[f64], units: &str, calendar: Option<&str>) -> Result<Vec<Date>, String> {
    let calendar = calendar.unwrap_or("standard").to_lowercase();
    if !["standard", "gregorian", "proleptic_gregorian"].contains(&calendar.as_str()) {
        return Err(format!(
            "calendar {calendar:?} has days that do not exist; only standard, gregorian and proleptic_gregorian are read: \
             convert the times first"
        ));
    }
    let malformed = || {
        format!(
            "units {units:?} are not of the form \"days since 1970-01-01\" with days, hours, minutes or seconds and a date in UTC"
        )
    };
    let mut words = units.splitn(3, char::is_whitespace);
    let (Some(unit), Some(since), Some(reference)) = (words.next(), words.next(), words.next()) else {
        return Err(malformed());
    };
    let millis = millis_of(unit).filter(|_| since.eq_ignore_ascii_case("since")).ok_or_else(malformed)?;
    let reference = reference_time(reference).ok_or_else(malformed)?;
    let (year, month, day) = GREGORIAN;
    if calendar != "proleptic_gregorian" && NaiveDate::from_ymd_opt(year, month, day) > Some(reference.date()) {
        return Err(format!(
            "units {units:?} count from before the Gregorian calendar; convert the times to days since 1970-01-01 first"
        ));
    }
    let reference = reference.and_utc().timestamp_millis();
    let day_of = |value: &f64| {
        let since = (value * millis).round();
        // No observation is a million years old; the bound excludes overflow.
        if since.is_finite() && since.abs() < 4e16 {
            Ok(Date::from_days((reference + since as i64).div_euclid(MILLIS_PER_DAY) as i32))
        } else {
            Err(format!("{value} {units} is not a valid time; drop such dates first"))
        }
    };
    values.iter().map(day_of).collect()
}

/// Length of a time unit in milliseconds.
fn millis_of(unit: &str) -> Option<f64> {
    Some(match unit.to_lowercase().as_str() {
        "days" | "day" | "d" => 86_400_000.0,
        "hours" | "hour" | "hrs" | "hr" | "h" => 3_600_000.0,
        "minutes" | "minute" | "mins" | "min" => 60_000.0,
        "seconds" | "second" | "secs" | "sec" | "s" => 1000.0,
        "milliseconds" | "millisecond" | "ms" => 1.0,
        "microseconds" | "microsecond" => 1e-3,
        "nanoseconds" | "nanosecond" => 1e-6,
        _ => return None,
    })
}

/// Accepts `1970-1-1`, `1970-01-01 00:00`, `1970-01-01T00:00:00.0Z`. Time zones other than UTC are refused.
fn reference_time(text: &str) -> Option<NaiveDateTime> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.naive_utc());
    }
    let text = text.trim();
    let text =
        ["UTC", "Z", "+00:00", "+0000", "+00", "+0:00"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text);
    let (date, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), ""));
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let time = match time.trim() {
        "" => NaiveTime::MIN,
        time => ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|format| NaiveTime::parse_from_str(time, format).ok())?,
    };
    Some(date.and_time(time))
}

/// Dates in increasing order, and the position of each in the file.
#[derive(Clone, Debug)]
pub(in crate::source) struct Acquisitions {
    pub(in crate::source) dates: Vec<Date>,
    /// Positions along the time axis of the file.
    pub(in crate::source) positions: Vec<u32>,
}

impl Acquisitions {
    /// Sorts the dates.
    ///
    /// # Errors
    /// Two acquisitions on one day, or one on a day on which nothing can have been observed.
    pub(in crate::source) fn new(dates: &[Date]) -> Result<Self, String> {
        if let Some((index, date)) = dates.iter().enumerate().find(|(_, date)| !date.can_be_observed()) {
            return Err(format!(
                "time {index} (counted from 0) is {date}, which cannot be the day of an acquisition; leave it out"
            ));
        }
        let mut order: Vec<(Date, u32)> = dates.iter().copied().zip(0..).collect();
        order.sort_unstable();
        if let Some(pair) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let ((date, first), second) = (pair[0], pair[1].1);
            return Err(format!(
                "times {first} and {second} (counted from 0) are both on {date}; an instrument has one acquisition a day: choose or \
                 average them first, or make two instruments"
            ));
        }
        let (dates, positions) = order.into_iter().unzip();
        Ok(Self { dates, positions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64, units: &str, calendar: Option<&str>) -> Result<String, String> {
        dates(&[value], units, calendar).map(|dates| dates[0].to_string())
    }

    #[test]
    fn every_unit_and_reference_gives_the_day() {
        for (value, units, expected) in [
            (18_329.0, "days since 1970-01-01", "2020-03-08"),
            (18_329.75, "days since 1970-01-01T00:00:00Z", "2020-03-08"),
            (0.999_999_999_999, "days since 2020-03-07", "2020-03-08"),
            (1.0 / 3.0 * 3.0, "days since 2020-3-7", "2020-03-08"),
            (-1.0, "days since 2020-03-09 12:00:00", "2020-03-08"),
            (-13.0, "hours since 2020-03-09 12:30", "2020-03-08"),
            (1_583_625_600.0, "seconds since 1970-01-01 00:00:00.0", "2020-03-08"),
            (1_583_711_999.9, "seconds since 1970-01-01 00:00:00 UTC", "2020-03-08"),
            (26_393_760.0, "Minutes since 1970-01-01 00:00:00 +00:00", "2020-03-08"),
            (1_583_625_600e9, "nanoseconds since 1970-01-01", "2020-03-08"),
            (1.0, "hours since 2020-03-07T22:00:00-01:00", "2020-03-08"),
            (-25.0, "hours since 2020-03-10 00:59:00", "2020-03-08"),
        ] {
            assert_eq!(one(value, units, None).as_deref(), Ok(expected), "{value} {units}");
        }
        assert_eq!(one(737_491.0, "days since 0001-01-01", Some("proleptic_gregorian")).as_deref(), Ok("2020-03-08"));
    }

    #[test]
    fn other_calendars_and_units_are_refused_with_what_would_do() {
        for (units, calendar, words) in [
            ("days since 1970-01-01", "noleap", "convert"),
            ("days since 1970-01-01", "360_day", "proleptic_gregorian"),
            ("days since 0001-01-01", "standard", "before the Gregorian"),
            ("months since 1970-01-01", "standard", "days, hours"),
            ("days after 1970-01-01", "standard", "days since"),
            ("days", "standard", "days since"),
            ("days since yesterday", "standard", "days since"),
            ("days since 1970-02-30", "standard", "days since"),
        ] {
            let message = one(1.0, units, Some(calendar)).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        assert!(one(f64::NAN, "days since 1970-01-01", None).unwrap_err().contains("drop"));
    }

    #[test]
    fn acquisitions_are_sorted_and_alone_on_their_day() {
        let day = Date::from_days;
        let sorted = Acquisitions::new(&[day(5), day(1), day(3)]).unwrap();
        assert_eq!((sorted.dates, sorted.positions), (vec![day(1), day(3), day(5)], vec![1, 2, 0]));
        let message = Acquisitions::new(&[day(5), day(1), day(5)]).unwrap_err();
        assert!(message.contains("times 0 and 2") && message.contains("1970-01-06"), "{message}");
    }
}
