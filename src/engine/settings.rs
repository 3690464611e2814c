//! What a series is made with, as text: a store remembers it, and only a run of the same settings may go on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// What decides the values of a series, by key: two runs with the same settings and inputs make the same bytes.
///
/// Threads, memory, the length of batches, the last date and the like are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, String>);

/// A setting that differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDifference {
    /// The setting, by its key in the TOML file where it has one.
    pub key: String,
    /// What the series was made with; `None` when it knew no such setting.
    pub stored: Option<String>,
    /// What the run would go on with.
    pub given: Option<String>,
}

impl fmt::Display for SettingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        write!(f, "{} was {}, is {}", self.key, text(&self.stored), text(&self.given))
    }
}

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

    /// Adds a setting, as sinks do that write in more than one way.
    pub fn insert(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.insert(key.into(), value.to_string());
    }

    /// What differs, key by key, when a series made with `self` were gone on with `given`.
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
