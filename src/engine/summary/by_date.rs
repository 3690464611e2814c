//! Values by date and instrument in one allocation: of a long series there are thousands, and each in an allocation of
//! its own would be scattered among what comes and goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Places that are taken at once at least.
const PLACES: usize = 64;

/// Values by day since 1970-01-01 and position of the instrument, in order. Serialised by day: pairs of instrument and
/// value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByDate<V>(Vec<(i32, u32, V)>);

impl<V> Default for ByDate<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> ByDate<V> {
    fn find(&self, day: i32, instrument: usize) -> Result<usize, usize> {
        let key = (day, instrument as u32);
        // Nearly all come in order.
        match self.0.last() {
            Some((last, index, _)) if (*last, *index) < key => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&key, |(day, index, _)| (*day, *index)),
        }
    }

    /// The value of an instrument on a day, made where there is none.
    pub(super) fn entry(&mut self, day: i32, instrument: usize) -> &mut V
    where
        V: Default,
    {
        let at = self.find(day, instrument).unwrap_or_else(|at| {
            if self.0.len() == self.0.capacity() {
                // Doubling would take twice of what is needed.
                self.0.reserve_exact(PLACES.max(self.0.len() / 8));
            }
            self.0.insert(at, (day, instrument as u32, V::default()));
            at
        });
        &mut self.0[at].2
    }

    pub(super) fn get(&self, day: i32, instrument: usize) -> Option<&V> {
        self.find(day, instrument).ok().map(|at| &self.0[at].2)
    }

    /// Day, instrument and value, by day.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, usize, &V)> {
        self.0.iter().map(|(day, instrument, value)| (*day, *instrument as usize, value))
    }

    /// Removes what is later than a day.
    pub(super) fn forget_after(&mut self, day: i32) {
        self.0.truncate(self.0.partition_point(|(held, ..)| *held <= day));
    }

    /// Adds the values of another one, in any order.
    pub(super) fn merge(&mut self, other: Self, merge: impl Fn(&mut V, &V))
    where
        V: Default,
    {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        other.0.iter().for_each(|(day, instrument, value)| merge(self.entry(*day, *instrument as usize), value));
    }
}

impl<V: Serialize> Serialize for ByDate<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let days = self.0.chunk_by(|a, b| a.0 == b.0);
        serializer.collect_map(days.map(|day| {
            let pairs: Vec<(u32, &V)> = day.iter().map(|(_, instrument, value)| (*instrument, value)).collect();
            (day[0].0, pairs)
        }))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByDate<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let days = BTreeMap::<i32, Vec<(u32, V)>>::deserialize(deserializer)?;
        let all = days
            .into_iter()
            .flat_map(|(day, values)| values.into_iter().map(move |(instrument, value)| (day, instrument, value)));
        let mut all: Vec<(i32, u32, V)> = all.collect();
        all.sort_by_key(|(day, instrument, _)| (*day, *instrument));
        if all.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            return Err(de::Error::custom("two values of an instrument on a date"));
        }
        all.shrink_to_fit();
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_by_day_and_come_back_in_any_order() {
        let mut sums = ByDate::<u64>::default();
        for (day, instrument) in [(5, 0), (7, 1), (5, 1), (7, 1), (-3, 2), (9, 0)] {
            *sums.entry(day, instrument) += 1;
        }
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(text, r#"{"-3":[[2,1]],"5":[[0,1],[1,1]],"7":[[1,2]],"9":[[0,1]]}"#);
        assert_eq!(serde_json::from_str::<ByDate<u64>>(&text).unwrap(), sums);
        let disordered = r#"{"9":[[0,1]],"5":[[1,1],[0,1]],"7":[[1,2]],"-3":[[2,1]]}"#;
        assert_eq!(serde_json::from_str::<ByDate<u64>>(disordered).unwrap(), sums);
        let mut other = ByDate::default();
        *other.entry(5, 1) += 10;
        *other.entry(6, 0) += 20;
        sums.merge(other, |own, other| *own += other);
        sums.forget_after(7);
        let all: Vec<_> = sums.iter().map(|(day, instrument, value)| (day, instrument, *value)).collect();
        assert_eq!(all, [(-3, 2, 1), (5, 0, 1), (5, 1, 11), (6, 0, 20), (7, 1, 2)]);
        assert_eq!((sums.get(6, 0), sums.get(6, 1), sums.get(9, 0)), (Some(&20), None, None));
    }
}
