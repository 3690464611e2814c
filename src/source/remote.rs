//! How servers are asked for the bytes of remote files.

use serde::Deserialize;

use crate::error::{Error, Result};

/// Reads in flight at a time, unless given.
const READS: usize = 16;

/// Headers read at a time, unless given.
#[cfg(feature = "gdal")]
const HEADERS: usize = 64;

/// Reads in flight at most: each has a thread and open files of its own.
const MOST_READS: usize = 256;

/// Repetitions at most.
const MOST_RETRIES: u32 = 100;

/// Longest time of a request and longest pause, in seconds: a day.
const LONGEST: f64 = 86_400.0;

/// How servers are asked for the bytes of remote files (`https://`, `s3://`, `gs://`, `az://`, `/vsi...`). The table
/// `[run.remote]`. It decides nothing about the values.
///
/// What is not given is, for rasters, that of GDAL's environment (`GDAL_HTTP_TIMEOUT`, `GDAL_HTTP_MAX_RETRY`,
/// `GDAL_HTTP_RETRY_DELAY`), where that is set, and the default otherwise. It holds for the requests of this source
/// alone, not for other uses of GDAL in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Remote {
    /// Longest time of one request, in seconds. Default: 60.
    pub timeout_seconds: Option<f64>,
    /// How often a request is repeated that a server refuses for the moment (429, 500, 502 to 504) or does not answer
    /// in time. Default: 4.
    pub retries: Option<u32>,
    /// Pause before the first repetition, in seconds; about doubled each time. Default: 1.
    pub retry_seconds: Option<f64>,
    /// Reads in flight at a time, so that the time of answers is not waited for one by one. Default: 16, and 64 of headers,
    /// which take little memory.
    pub reads: Option<usize>,
}

impl Remote {
    /// The longest time of one request, in seconds.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: f64) -> Self {
        self.timeout_seconds = Some(seconds);
        self
    }

    /// How often a request is repeated.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// The pause before the first repetition, in seconds.
    #[must_use]
    pub fn retry_seconds(mut self, seconds: f64) -> Self {
        self.retry_seconds = Some(seconds);
        self
    }

    /// Reads in flight at a time.
    #[must_use]
    pub fn reads(mut self, reads: usize) -> Self {
        self.reads = Some(reads);
        self
    }

    /// Reads in flight at a time, by default where none is given.
    #[must_use]
    pub fn reads_in_flight(&self) -> usize {
        self.reads.unwrap_or(READS)
    }

    /// Headers read at a time.
    #[cfg(feature = "gdal")]
    pub(crate) fn headers_in_flight(&self) -> usize {
        self.reads.unwrap_or(HEADERS)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Setting`] by key.
    pub(crate) fn check(&self) -> Result<()> {
        let seconds =
            [("run.remote.timeout_seconds", self.timeout_seconds), ("run.remote.retry_seconds", self.retry_seconds)];
        for (key, given) in seconds {
            if let Some(given) = given.filter(|given| !(*given > 0.0 && *given <= LONGEST)) {
                return Err(Error::setting(
                    key,
                    format!("{given}; give a positive number of seconds, at most {LONGEST}"),
                ));
            }
        }
        if let Some(retries) = self.retries.filter(|retries| *retries > MOST_RETRIES) {
            return Err(Error::setting("run.remote.retries", format!("{retries}; give at most {MOST_RETRIES}")));
        }
        match self.reads {
            Some(reads) if reads == 0 || reads > MOST_READS => {
                Err(Error::setting("run.remote.reads", format!("{reads}; give 1 to {MOST_READS}")))
            }
            _ => Ok(()),
        }
    }
}
