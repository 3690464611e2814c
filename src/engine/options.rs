//! How a run is carried out on this machine. It decides nothing about the values, but for the precision.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{MemoryBudget, Precision};
use crate::error::{Error, Result};
use crate::source::Remote;
use crate::storage::StorageOptions;

/// Worker threads at most.
const LARGEST_POOL: usize = 4096;

/// How a run is carried out: memory, threads, checkpoints. The table `[run]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Memory of the whole process.
    pub memory: MemoryBudget,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
    /// Arithmetic of the covariances.
    pub precision: Precision,
    /// What is done about slices that cannot be read and windows whose arithmetic breaks down.
    pub on_error: OnError,
    /// What is kept of the states at the end.
    pub checkpoint: Checkpoint,
    /// Days that appending replays from a light checkpoint.
    pub replay_days: u32,
    /// How often the states of the tile at work are saved.
    #[serde(rename = "checkpoint_minutes", deserialize_with = "minutes")]
    pub checkpoint_interval: Duration,
    /// Checkpoints of each tile that are kept.
    pub keep_checkpoints: usize,
    /// How servers are asked for remote files.
    pub remote: Remote,
    /// How a store is reached and kept where it is no folder.
    pub storage: StorageOptions,
    /// Whether a run is refused whose results may not fit on the disk.
    pub check_disk: bool,
    /// Dates that are read, filtered and written together. Default: chosen by the plan.
    #[serde(skip)]
    pub batch_dates: Option<usize>,
    /// Processes that share the run.
    #[serde(skip)]
    pub shards: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            memory: MemoryBudget::default(),
            threads: 0,
            precision: Precision::F64,
            on_error: OnError::Abort,
            checkpoint: Checkpoint::Auto,
            replay_days: 30,
            checkpoint_interval: Duration::from_mins(10),
            keep_checkpoints: 1,
            remote: Remote::default(),
            storage: StorageOptions::default(),
            check_disk: true,
            batch_dates: None,
            shards: 1,
        }
    }
}

impl RunOptions {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Setting`] by key.
    pub(super) fn check(&self) -> Result<()> {
        if self.keep_checkpoints == 0 {
            let problem = "0; give at least 1, or keep none with checkpoint = \"off\"";
            return Err(Error::setting("run.keep_checkpoints", problem));
        }
        if self.threads > LARGEST_POOL {
            let problem = format!("{}; give at most {LARGEST_POOL}, or 0 for one per core", self.threads);
            return Err(Error::setting("run.threads", problem));
        }
        if self.batch_dates == Some(0) {
            return Err(Error::setting("batch_dates", "0 dates; give at least 1"));
        }
        self.remote.check()?;
        self.storage.check()?;
        if self.shards == 0 {
            return Err(Error::setting("shards", "0 processes; give at least 1"));
        }
        Ok(())
    }
}

fn minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let minutes = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(minutes * 60.0)
        .map_err(|_| de::Error::custom(format!("{minutes}; give zero or a positive number")))
}

/// How much of the window states is stored at the end of a run, for dates that will be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Checkpoint {
    /// Full if it needs no more disk space than the uncompressed output, or at most 4 GiB where that is less;
    /// otherwise light.
    #[default]
    Auto,
    /// All states: appending continues exactly where the run ended.
    Full,
    /// Mean and covariance of each single cell, some days before the end; appending replays the observations from
    /// there. Small, but the correlation between cells is lost.
    Light,
    /// Nothing: the series cannot be appended to, and after an interruption unfinished tiles are run again from the
    /// start.
    Off,
}

/// What a run does about slices that cannot be read and windows whose arithmetic breaks down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnError {
    /// The run ends with the error.
    #[default]
    Abort,
    /// The run continues without the slice, or with NaN in the window. The report and the store list both.
    Skip,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Light => "light",
            Self::Off => "off",
        })
    }
}
