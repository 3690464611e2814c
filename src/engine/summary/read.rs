//! The dates on which instruments were read: four bytes each, because there may be thousands.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::geometry::Date;

/// Days since 1970-01-01 by instrument, in order. Serialised the other way round: instruments by day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReadDates(BTreeMap<usize, Vec<i32>>);

impl ReadDates {
    /// Records that an instrument was read on a date.
    pub(super) fn add(&mut self, instrument: usize, date: Date) {
        self.insert(instrument, date.days_since_epoch());
    }

    fn insert(&mut self, instrument: usize, day: i32) {
        let days = self.0.entry(instrument).or_default();
        if let Err(at) = days.binary_search(&day) {
            days.insert(at, day);
        }
    }

    pub(super) fn contains(&self, instrument: usize, day: i32) -> bool {
        self.0.get(&instrument).is_some_and(|days| days.binary_search(&day).is_ok())
    }

    /// The dates of an instrument.
    pub(super) fn of(&self, instrument: usize) -> impl Iterator<Item = Date> + '_ {
        self.0.get(&instrument).into_iter().flatten().map(|day| Date::from_days(*day))
    }

    pub(super) fn forget_after(&mut self, date: Date) {
        self.0.values_mut().for_each(|days| days.retain(|day| *day <= date.days_since_epoch()));
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (instrument, days) in other.0 {
            match self.0.get(&instrument) {
                None => drop(self.0.insert(instrument, days)),
                Some(_) => days.iter().for_each(|day| self.insert(instrument, *day)),
            }
        }
    }
}

impl Serialize for ReadDates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<i32> = self.0.values().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut map = serializer.serialize_map(Some(all.len()))?;
        for day in all {
            let read: Vec<usize> =
                self.0.keys().copied().filter(|instrument| self.contains(*instrument, day)).collect();
            map.serialize_entry(&day, &read)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ReadDates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Self::default();
        for (day, instruments) in BTreeMap::<i32, Vec<usize>>::deserialize(deserializer)? {
            instruments.iter().for_each(|instrument| read.insert(*instrument, day));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_by_day_and_come_back() {
        let mut read = ReadDates::default();
        for (instrument, day) in [(1, 7), (0, 5), (1, 5), (1, 7), (0, 9)] {
            read.add(instrument, Date::from_days(day));
        }
        let text = serde_json::to_string(&read).unwrap();
        assert_eq!(text, r#"{"5":[0,1],"7":[1],"9":[0]}"#);
        assert_eq!(serde_json::from_str::<ReadDates>(&text).unwrap(), read);
        let mut other = ReadDates::default();
        other.add(0, Date::from_days(6));
        other.add(2, Date::from_days(8));
        read.merge(other);
        read.forget_after(Date::from_days(8));
        let days = |instrument| read.of(instrument).map(Date::days_since_epoch).collect::<Vec<_>>();
        assert_eq!([days(0), days(1), days(2)], [vec![5, 6], vec![5, 7], vec![8]]);
        assert!(read.contains(0, 6) && !read.contains(0, 7) && !read.contains(3, 5));
    }
}
