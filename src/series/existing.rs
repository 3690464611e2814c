//! An existing series in a sink, described as far as resuming and appending need it.

use super::{SeriesIdentity, Settings};
use crate::geometry::Date;

/// A series that exists in a sink.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExistingSeries {
    /// Its settings; empty when they are not stored.
    pub settings: Settings,
    /// Number of planned dates, and the last one.
    pub planned: (usize, Date),
    /// [`digest`] of the planned dates.
    pub dates_digest: u32,
    /// Number of dates that readers see.
    pub visible: usize,
    /// Number of visible dates that do not change when the series is appended to.
    pub settled: usize,
    /// Whether its run has ended.
    pub finished: bool,
    /// Number of dates at the end of its last completed run; 0 when there was none.
    pub finished_dates: usize,
    /// Which series it is; `None` where the store was made before series had identities.
    pub identity: Option<SeriesIdentity>,
}

impl ExistingSeries {
    /// For example `a finished run with 33 dates`.
    #[must_use]
    pub fn describe(&self) -> String {
        let (visible, (planned, _)) = (self.visible, self.planned);
        if self.finished {
            format!("a finished run with {visible} dates")
        } else {
            format!("an unfinished run with {visible} of {planned} dates")
        }
    }

    /// Whether dates that were processed before are being made anew.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.replaying)
    }

    /// Number of `dates` that the series was not planned for; `None` where its own dates are not the first of them.
    #[must_use]
    pub fn new_dates(&self, dates: &[Date]) -> Option<usize> {
        let planned = dates.get(..self.planned.0)?;
        (digest(planned) == self.dates_digest).then(|| dates.len() - planned.len())
    }
}

/// A hash of a list of dates. Different lists have different hashes, except by an unlikely chance.
#[must_use]
pub fn digest(dates: &[Date]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    dates.iter().for_each(|date| hasher.update(&date.days_since_epoch().to_le_bytes()));
    hasher.finalize()
}
