//! How a place is reached and kept: how long runs wait for a server, what stays in memory, settings of a server.

use std::fmt;
#[cfg(feature = "object-store")]
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, Result};

/// Longest times, in seconds: a day.
const LONGEST: f64 = 86_400.0;

/// Shortest lease, in seconds: it is renewed three times as often.
const SHORTEST_LEASE: f64 = 0.3;

/// How a store is reached and kept where it is no folder. The table `[run.storage]`. It decides nothing about the values.
///
/// ```
/// use rasterfuse::storage::{Place, StorageOptions};
/// let mut patient = StorageOptions::default();
/// patient.retry_seconds = 900.0;
/// let place = Place::from("s3://bucket/fused.zarr").options(patient);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StorageOptions {
    /// Longest time of one request to a server, in seconds. Default: 30.
    pub timeout_seconds: f64,
    /// How long a request is repeated that fails, is not answered in time or is asked to wait, in seconds; then it is an
    /// error. Default: 120.
    pub retry_seconds: f64,
    /// How often a request is repeated at most in that time. Default: 1000.
    pub retries: u32,
    /// How long a lease, which stands for a lock in an object store, holds when the run that took it is not heard of, in
    /// seconds; it is renewed three times as often. Another run takes over after this time. Default: 30.
    pub lease_seconds: f64,
    /// Bytes up to which a store in an overlay stays in memory, as long as a twentieth of the machine's memory is free.
    /// Default: 1 GiB.
    #[serde(deserialize_with = "size")]
    pub keep_in_memory: u64,
    /// Bytes beyond which it is on the disk. Default: 10 GiB.
    #[serde(deserialize_with = "size")]
    pub move_to_disk: u64,
    /// Between the two: the share of the machine's memory that must be free, from 0 to 1. Default: 0.25.
    pub free_memory: f64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            timeout_seconds: 30.0,
            retry_seconds: 120.0,
            retries: 1000,
            lease_seconds: 30.0,
            keep_in_memory: 1 << 30,
            move_to_disk: 10 << 30,
            free_memory: 0.25,
        }
    }
}

impl StorageOptions {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Setting`] by key.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, given, least) in [
            ("timeout_seconds", self.timeout_seconds, 0.01),
            ("retry_seconds", self.retry_seconds, 0.0),
            ("lease_seconds", self.lease_seconds, SHORTEST_LEASE),
        ] {
            if !(given >= least && given <= LONGEST) {
                return Err(refuse(key, format!("{given}; give {least} to {LONGEST} seconds")));
            }
        }
        if !(0.0..=1.0).contains(&self.free_memory) {
            let problem = format!("{}; give a share of the machine's memory, from 0 to 1", self.free_memory);
            return Err(refuse("free_memory", problem));
        }
        if self.move_to_disk < self.keep_in_memory {
            let (keep, go) = (ByteSize(self.keep_in_memory), ByteSize(self.move_to_disk));
            return Err(refuse(
                "move_to_disk",
                format!("{go}, less than keep_in_memory, {keep}; give at least as much"),
            ));
        }
        Ok(())
    }

    #[cfg(feature = "object-store")]
    pub(super) fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }

    #[cfg(feature = "object-store")]
    pub(super) fn retry(&self) -> Duration {
        seconds(self.retry_seconds)
    }

    #[cfg(feature = "object-store")]
    pub(super) fn lease(&self) -> Duration {
        seconds(self.lease_seconds)
    }
}

fn refuse(key: &str, problem: String) -> Error {
    Error::setting(format!("run.storage.{key}").as_str(), problem)
}

#[cfg(feature = "object-store")]
/// The time; of what no clock could measure, the longest.
pub(super) fn seconds(given: f64) -> Duration {
    Duration::try_from_secs_f64(given).unwrap_or(Duration::from_secs(LONGEST as u64))
}

/// Reads a size such as `"2GiB"`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size = text.parse::<ByteSize>();
    size.map(|size| size.as_u64()).map_err(|_| de::Error::custom(format!("{text:?}; give a size such as \"2GiB\"")))
}

/// How a place is reached.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub(super) options: StorageOptions,
    /// The pause before a request is repeated first, in seconds; about doubled each time.
    pub(super) pause: Option<f64>,
    /// Settings by name, in place of those of the environment.
    pub(super) settings: Vec<(String, String)>,
}

/// Without values of settings, which may be secret.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.settings.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Access")
            .field("options", &self.options)
            .field("pause", &self.pause)
            .field("settings", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        type Change = fn(&mut StorageOptions);
        let cases: [(&str, Change); 6] = [
            ("run.storage.timeout_seconds: 0", |options| options.timeout_seconds = 0.0),
            ("run.storage.retry_seconds: -1", |options| options.retry_seconds = -1.0),
            ("run.storage.lease_seconds: 0.1", |options| options.lease_seconds = 0.1),
            ("run.storage.lease_seconds: NaN", |options| options.lease_seconds = f64::NAN),
            ("run.storage.free_memory: 1.5", |options| options.free_memory = 1.5),
            ("run.storage.move_to_disk", |options| options.move_to_disk = 5),
        ];
        StorageOptions::default().check().unwrap();
        for (words, change) in cases {
            let mut options = StorageOptions::default();
            change(&mut options);
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
