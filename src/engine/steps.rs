//! The dates of a run: which are output, and which instruments are read on each.

use std::collections::{BTreeMap, BTreeSet};

use crate::describe::{OutputDates, Time};
use crate::error::{Error, Result};
use crate::geometry::{Date, DateRange};
use crate::model::ObservationModel;

/// A date on which something is read or written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Position on the output axis, when it is output.
    pub(super) output: Option<usize>,
    /// Instruments that observe.
    pub(super) instruments: Vec<usize>,
}

/// The dates of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Every date on which something is read or output, in order.
    pub(super) steps: Vec<(Date, Step)>,
    /// The output dates, in order.
    pub(super) output: Vec<Date>,
}

/// Orders the observation dates and the output dates of a period on one time axis. Dates that the series holds already
/// count as observed.
pub(super) fn schedule(period: DateRange, time: &Time, instruments: &[ObservationModel]) -> Result<Schedule> {
    let mut steps: BTreeMap<Date, Step> = BTreeMap::new();
    for (index, instrument) in instruments.iter().enumerate() {
        let days = instrument.source.dates().iter().map(|date| instrument.counts_on(*date));
        for day in days.filter(|day| period.contains(*day)) {
            steps.entry(day).or_default().instruments.push(index);
        }
    }
    let mut dates: Vec<Date> = match &time.output {
        OutputDates::Daily => period.days().collect(),
        OutputDates::Observed => {
            let held = time.held.iter().copied().filter(|date| period.contains(*date));
            steps.keys().copied().chain(held).collect::<BTreeSet<Date>>().into_iter().collect()
        }
        OutputDates::Dates(dates) => dates.clone(),
    };
    dates.sort_unstable();
    if let Some(pair) = dates.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::setting("time.output", format!("{} is given twice", pair[0])));
    }
    if let Some(date) = dates.iter().find(|date| !period.contains(**date)) {
        let (start, end) = (period.start(), period.end());
        return Err(Error::setting("time.output", format!("{date} lies outside {start} to {end}")));
    }
    if dates.is_empty() {
        return Err(Error::setting("time.output", "no date to output; check time.start and time.end"));
    }
    for (index, &date) in dates.iter().enumerate() {
        steps.entry(date).or_default().output = Some(index);
    }
    let steps = steps.into_iter().map(|(date, mut step)| {
        // There is one for every date of a long series.
        step.instruments.shrink_to_fit();
        (date, step)
    });
    Ok(Schedule { steps: steps.collect(), output: dates })
}
