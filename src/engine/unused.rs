//! Instruments and bands of which a run used not one value, and what took the values.

use std::collections::BTreeMap;

use super::summary::Summary;
use super::{Fusion, OnError};
use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion, Rect};
use crate::model::ObservationModel;
use crate::series::{InstrumentReport, Report, UnusedInput};
use crate::source::Losses;

/// What is read again of an input that gave nothing: dates, tiles and bands at most, evenly spread, and pixels per
/// side of each part.
const DATES: usize = 6;
const TILES: usize = 4;
const BANDS: usize = 4;
const SIDE: usize = 512;

/// Ratio of two instruments' medians of one target band beyond which their units differ.
const UNITS: f64 = 50.0;

/// Standard deviations of the prior beyond which values are of another order than it.
const PRIOR_SDS: f64 = 30.0;

impl Fusion {
    /// Refuses instruments that headers show to give nothing, before anything is read.
    ///
    /// # Errors
    /// [`Error::NothingUsed`], unless errors are skipped.
    pub(super) fn refuse_idle(&self) -> Result<()> {
        let idle = |plan: &super::InstrumentPlan| {
            let (instrument, reason) = (plan.name.clone(), plan.idle.clone()?);
            Some(UnusedInput { instrument, band: None, reason })
        };
        self.refuse(&self.plan.instruments.iter().filter_map(idle).collect::<Vec<_>>())
    }

    /// The report of a whole series. Inputs of which not one value was used are listed in it.
    ///
    /// # Errors
    /// [`Error::NothingUsed`] for the first of these, unless errors are skipped.
    pub(super) fn whole_report(&self, summary: &Summary) -> Result<Report> {
        let mut report = summary.report(&super::fusion::names(&self.model.instruments));
        for (k, instrument) in report.instruments.iter().enumerate() {
            if instrument.total().is_none_or(|total| total.values == 0) {
                let reason = self.reason(k, instrument, &report);
                report.unused.push(UnusedInput { instrument: instrument.name.clone(), band: None, reason });
                continue;
            }
            let model = &self.model.instruments[k];
            for band in summary.never_held(k) {
                let Some(&band) = model.source_bands.get(band) else { continue };
                let reason = self.what_took(model, &[band]);
                let name = model.source.bands()[band].clone();
                report.unused.push(UnusedInput { instrument: instrument.name.clone(), band: Some(name), reason });
            }
        }
        self.refuse(&report.unused)?;
        let named = |instrument: &ObservationModel| {
            let name = instrument.name.clone();
            instrument.source.notes().into_iter().map(move |note| format!("{name}: {note}"))
        };
        report.notes = self.model.instruments.iter().flat_map(named).collect();
        report.notes.extend(self.other_units(summary));
        report.notes.extend(self.far_from_prior(summary));
        Ok(report)
    }

    /// Says which instruments observe a target band in numbers of other orders, as far as they are not anomalies.
    fn other_units(&self, summary: &Summary) -> Vec<String> {
        let mut sizes: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        for k in (0..self.model.instruments.len()).filter(|_| self.model.seasonal.is_none()) {
            for (band, size) in summary.sizes(k).enumerate().filter(|(_, size)| *size > 0.0) {
                if let Some(component) = self.model.component_of(k, band) {
                    sizes.entry(component).or_default().push((k, size));
                }
            }
        }
        let differ = |(component, sizes): (usize, Vec<(usize, f64)>)| {
            let by_size = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1);
            let (small, large) = (sizes.iter().min_by(by_size)?, sizes.iter().max_by(by_size)?);
            let (name, other) = (&self.model.instruments[small.0].name, &self.model.instruments[large.0].name);
            let band = self.model.spectrum.bands().get(component)?;
            (large.1 > UNITS * small.1).then(|| {
                format!(
                    "{name} and {other} observe {band:?} in numbers of other orders: their medians are {:.4} and {:.4}; give both the same \
                     unit by `scale` and `offset`",
                    small.1, large.1
                )
            })
        };
        sizes.into_iter().filter_map(differ).collect()
    }

    /// Says which bands have values of an order that the prior does not know, as far as it is the same everywhere: after
    /// a first date, which it does not fit, the series follows them without a word.
    fn far_from_prior(&self, summary: &Summary) -> Vec<String> {
        let mut notes = Vec::new();
        for (k, instrument) in self.model.instruments.iter().enumerate().filter(|_| self.model.seasonal.is_none()) {
            for (band, size) in summary.sizes(k).enumerate() {
                let Some(component) = self.model.component_of(k, band) else { continue };
                let (mean, variance) =
                    (self.model.prior.constant_mean(component), self.model.prior.constant_variance(component));
                let (Some(mean), Some(sd)) = (mean, variance.map(f64::sqrt)) else { continue };
                if size > mean.abs() + PRIOR_SDS * sd {
                    let name = &instrument.source.bands()[instrument.source_bands[band]];
                    notes.push(format!(
                        "{}, band {name:?}: values about {size:.4}, where the prior expects {mean:.4} ± {sd:.4}; check scale, offset and unit",
                        instrument.name
                    ));
                }
            }
        }
        notes
    }

    fn refuse(&self, unused: &[UnusedInput]) -> Result<()> {
        match unused.first().filter(|_| self.options.on_error == OnError::Abort) {
            None => Ok(()),
            Some(UnusedInput { instrument, band, reason }) => {
                let (instrument, band, reason) = (instrument.clone(), band.clone(), reason.clone());
                Err(Error::NothingUsed { instrument, band, reason })
            }
        }
    }

    /// Why no value of an instrument was used.
    fn reason(&self, k: usize, instrument: &InstrumentReport, report: &Report) -> String {
        if let Some(idle) = &self.plan.instruments[k].idle {
            return idle.clone();
        }
        if let Some(total) = instrument.total() {
            return if total.incomplete > 0 {
                format!("all {} pixels that hold a value lack a band that goes together with theirs", total.incomplete)
            } else {
                let (refused, pixels) = (total.refused, total.pixels);
                format!(
                    "its gate refused {refused} of {pixels} pixels; check scale, offset and unit, or leave `gate` out"
                )
            };
        }
        let skipped = report.skipped.iter().filter(|slice| slice.instrument == instrument.name).count();
        if skipped > 0 && instrument.empty.is_empty() {
            return format!("none of its {skipped} dates could be read");
        }
        let model = &self.model.instruments[k];
        self.what_took(model, &model.source_bands)
    }

    /// What became of the values of some bands, as parts of some dates show it.
    fn what_took(&self, model: &ObservationModel, bands: &[usize]) -> String {
        let dates: Vec<Date> =
            model.source.dates().iter().copied().filter(|date| self.period.contains(*date)).collect();
        let regions: Vec<PixelRegion> = self
            .tiles()
            .map(|(_, tile)| model.lattice.covering(&Rect::from(&tile.region)))
            .filter(|region| !region.is_empty())
            .collect();
        let (mut losses, mut looked, mut unread) = (Losses::default(), 0, 0);
        for &date in spread(&dates, DATES) {
            let mut of_date = Losses::default();
            let readable = spread(&regions, TILES).all(|region| {
                spread(bands, BANDS).all(|&band| match model.source.losses(date, band, &middle(region)) {
                    Ok(found) => {
                        of_date += found;
                        true
                    }
                    Err(_) => false,
                })
            });
            if readable {
                losses += of_date;
                looked += 1;
            } else {
                unread += 1;
            }
        }
        let advice = if losses.quality > losses.all() / 2 {
            "; check what `quality` hides and the nodata value of its files, which `quality.nodata` = [] makes an ordinary number"
        } else if losses.range > losses.all() / 2 {
            "; check `valid_range`, which is in physical units, `scale` and `offset`"
        } else if losses.nodata > losses.all() / 2 {
            "; check `nodata`, and the nodata tag and the attribute valid_range of the files"
        } else if losses.day > losses.all() / 2 {
            "; check `format` and `days` of `day`"
        } else {
            ""
        };
        let unread = if unread > 0 { format!(" ({unread} more cannot be read)") } else { String::new() };
        format!("of {} values sampled on {looked} of its {} dates{unread}: {losses}{advice}", losses.all(), dates.len())
    }
}

/// At most `most` entries, evenly spread, the first and the last among them.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let n = all.len().min(most);
    (0..n).map(move |k| &all[if n == 1 { 0 } else { k * (all.len() - 1) / (n - 1) }])
}

/// The middle of a region, so that no more than a block of it is read.
fn middle(region: &PixelRegion) -> PixelRegion {
    let cut = |range: &std::ops::Range<usize>| {
        let start = range.start + range.len().saturating_sub(SIDE) / 2;
        start..range.end.min(start + SIDE)
    };
    PixelRegion::new(cut(&region.rows), cut(&region.cols))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_is_spread_over_all_there_is() {
        let all: Vec<usize> = (0..11).collect();
        assert_eq!(spread(&all, 6).copied().collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10]);
        assert_eq!(spread(&all[..2], 6).copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(spread(&all[..0], 6).count(), 0);
        assert_eq!(middle(&PixelRegion::new(0..2048, 3..13)), PixelRegion::new(768..1280, 3..13));
    }
}
