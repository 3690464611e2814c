//! Settings of a series as text. A store holds them, and only a run with equal settings may resume or extend its
//! series.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::SettingDifference;

/// The settings, by key, that decide the values of a series: two runs with equal settings and inputs give the same
/// bytes.
///
/// Threads, memory, the length of batches and the last date are not included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Adds a setting. Sinks use it for their own options.
    pub fn insert(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.insert(key.into(), value.to_string());
    }

    /// Differences, key by key, between the settings of a series (`self`) and those of a run that would resume it
    /// (`given`).
    #[must_use]
    pub fn differences(&self, given: &Self) -> Vec<SettingDifference> {
        let keys: BTreeSet<&String> = self.0.keys().chain(given.0.keys()).collect();
        let difference = |key: &String| {
            let (stored, given) = (self.0.get(key).cloned(), given.0.get(key).cloned());
            (stored != given).then(|| SettingDifference { key: key.clone(), stored, given })
        };
        keys.into_iter().filter_map(difference).collect()
    }
}
