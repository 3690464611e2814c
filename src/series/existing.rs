//! A series that a sink holds already, as far as a run must know it to resume or append.

use super::Settings;
use crate::geometry::Date;

/// A series that a sink holds already.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExistingSeries {
    /// What it was made with; empty when it does not say.
    pub settings: Settings,
    /// Dates planned, and the last of them.
    pub planned: (usize, Date),
    /// [`digest`] of the dates planned.
    pub dates_digest: u32,
    /// Dates that readers see.
    pub visible: usize,
    /// Of them, those that will not change when the series is appended to.
    pub settled: usize,
    /// Whether its run has ended.
    pub finished: bool,
    /// Dates that it had when a run ended the last time; 0 when none has.
    pub finished_dates: usize,
}

impl ExistingSeries {
    /// `a finished run with 33 dates` and the like.
    #[must_use]
    pub fn describe(&self) -> String {
        let (visible, (planned, _)) = (self.visible, self.planned);
        if self.finished {
            format!("a finished run with {visible} dates")
        } else {
            format!("an unfinished run with {visible} of {planned} dates")
        }
    }

    /// How many of `dates` the series was not planned for; `None` where its own are not the first of them.
    #[must_use]
    pub fn new_dates(&self, dates: &[Date]) -> Option<usize> {
        let planned = dates.get(..self.planned.0)?;
        (digest(planned) == self.dates_digest).then(|| dates.len() - planned.len())
    }
}

/// A number that two lists of dates share only when they are the same, or by an unlikely chance.
#[must_use]
pub fn digest(dates: &[Date]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    dates.iter().for_each(|date| hasher.update(&date.days_since_epoch().to_le_bytes()));
    hasher.finalize()
}
