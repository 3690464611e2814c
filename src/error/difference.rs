//! A setting that differs between two runs, as errors list them.

use std::fmt;

/// A setting that differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDifference {
    /// The setting, by its key in the TOML file where it has one.
    pub key: String,
    /// The setting of the series; `None` when it has no such setting.
    pub stored: Option<String>,
    /// The setting of the run.
    pub given: Option<String>,
}

impl fmt::Display for SettingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        write!(f, "{} was {}, is {}", self.key, text(&self.stored), text(&self.given))
    }
}
