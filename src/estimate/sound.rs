//! Whether the values of a sample can be fitted: no date so far off that a variance would be spent on it, no instrument
//! in another unit than the others.

use std::collections::{BTreeMap, HashMap};

use crate::engine::{Sample, SampleBlock};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::model::{Model, ObservationModel};

/// Distance from the median, in robust standard deviations, beyond which a value is far, and beyond which no noise
/// explains it.
const FAR: f64 = 20.0;
const ABSURD: f64 = 1000.0;

/// Share of a date's values that must be far for the date to be named.
const SHARE: f64 = 0.01;

/// Dates that an instrument needs for one of them to be odd.
const DATES: usize = 5;

/// Ratio of two instruments' medians of one target band beyond which their units differ.
const UNITS: f64 = 50.0;

/// Standard deviations of a normal distribution per median of absolute deviations.
const SDS_PER_MAD: f64 = 1.4826;

/// The values of a band by date.
type OfBand = BTreeMap<Date, Vec<f64>>;

/// A date that lies far off the others.
#[derive(Clone, Debug, PartialEq)]
struct OddDate {
    date: Date,
    /// Median of its far values, and of all values of the band.
    found: f64,
    usual: f64,
    /// The distance between them in robust standard deviations.
    distance: f64,
}

/// Warns of dates that lie far off the others of their instrument, and of instruments whose medians of the same target
/// band differ by orders of magnitude.
///
/// # Errors
/// [`Error::Setting`] for a date so far off that its values can be none.
pub(super) fn check(sample: &Sample, model: &Model) -> Result<()> {
    let mut bands: HashMap<(usize, usize), OfBand> = HashMap::new();
    for observed in sample.blocks().iter().flat_map(SampleBlock::observations) {
        let of_band = bands.entry((observed.instrument, observed.band)).or_default();
        of_band.entry(observed.date).or_default().push(observed.value);
    }
    let mut sizes: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
    let mut keys: Vec<(usize, usize)> = bands.keys().copied().collect();
    keys.sort_unstable();
    for (k, band) in keys {
        let of_band = &bands[&(k, band)];
        if let Some(odd) = odd_date(of_band) {
            tell(&model.instruments[k], band, &odd)?;
        }
        if let Some(component) = model.component_of(k, band) {
            let size = median(of_band.values().flatten().map(|value| value.abs()).collect());
            sizes.entry(component).or_default().push((k, size));
        }
    }
    for (component, sizes) in sizes {
        let by_size = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1);
        let (Some(small), Some(large)) = (sizes.iter().min_by(by_size), sizes.iter().max_by(by_size)) else { continue };
        if small.1 > 0.0 && large.1 > UNITS * small.1 {
            let band = model.spectrum.bands().get(component).map_or("a component", String::as_str);
            let name = |k: usize| &model.instruments[k].name;
            tracing::warn!(
                "instruments {:?} and {:?} observe {band:?} in numbers of other orders: their medians are {:.4} and {:.4}; give both the \
                 same unit by `scale` and `offset`, or offsets will absorb the difference",
                name(small.0),
                name(large.0),
                small.1,
                large.1
            );
        }
    }
    Ok(())
}

fn tell(instrument: &ObservationModel, band: usize, odd: &OddDate) -> Result<()> {
    let OddDate { date, found, usual, distance } = odd;
    let source = &instrument.source;
    let file = source.path_of(*date).map_or_else(String::new, |path| format!(" ({})", path.display()));
    let band =
        instrument.source_bands.get(band).and_then(|&band| source.bands().get(band)).cloned().unwrap_or_default();
    let problem = format!(
        "{date}{file}, band {band:?}: values about {found:.4}, where most of its dates have {usual:.4}, {distance:.0} standard \
         deviations away; check fill values, scale, unit and clouds of that file, or take it out of `files`"
    );
    if *distance > ABSURD {
        return Err(Error::setting("files", problem).of_instrument(&instrument.name));
    }
    tracing::warn!("instrument {:?}: {problem}; noise or change would absorb the difference", instrument.name);
    Ok(())
}

/// The date that lies farthest off, where most dates have no value so far.
fn odd_date(of_band: &OfBand) -> Option<OddDate> {
    if of_band.len() < DATES {
        return None;
    }
    let all = || of_band.values().flatten();
    let usual = median(all().copied().collect());
    let spread = SDS_PER_MAD * median(all().map(|value| (value - usual).abs()).collect());
    // More than half of the values may be one number, as of snow or water: there is no spread to judge by.
    if spread <= 1e-6 * usual.abs() {
        return None;
    }
    let is_far = |value: &&f64| (**value - usual).abs() > FAR * spread;
    let share = |values: &Vec<f64>| values.iter().filter(is_far).count() as f64 / values.len() as f64;
    if median(of_band.values().map(share).collect()) > 0.0 {
        return None;
    }
    let odd = of_band.iter().filter(|(_, values)| share(values) > SHARE).map(|(date, values)| {
        let found = median(values.iter().filter(is_far).copied().collect());
        OddDate { date: *date, found, usual, distance: (found - usual).abs() / spread }
    });
    odd.max_by(|a, b| a.distance.total_cmp(&b.distance))
}

/// The middle one of some values; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { f64::NAN } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(odd: impl Fn(usize) -> f64) -> OfBand {
        let value = |day: usize, k: usize| {
            if day == 7 && k < 2 { odd(k) } else { 0.2 + 0.01 * ((day * 7 + k * 3) % 11) as f64 }
        };
        (0..20).map(|day| (Date::from_days(day as i32), (0..100).map(|k| value(day, k)).collect())).collect()
    }

    #[test]
    fn a_date_of_which_a_part_is_far_off_is_found() {
        let odd = odd_date(&series(|_| -1.0)).unwrap();
        assert_eq!((odd.date, odd.found), (Date::from_days(7), -1.0));
        assert!(odd.distance > FAR && odd.distance < ABSURD, "{odd:?}");
        assert!(odd_date(&series(|_| 2023.0)).unwrap().distance > ABSURD);
        assert_eq!(odd_date(&series(|_| 0.35)), None);
    }

    #[test]
    fn what_most_dates_have_is_not_odd_and_few_dates_tell_nothing() {
        let spiky: OfBand = (0..20)
            .map(|day| {
                (Date::from_days(day), (0..100).map(|k| if k == 0 { 9.0 } else { 0.01 * f64::from(k % 7) }).collect())
            })
            .collect();
        assert_eq!(odd_date(&spiky), None);
        let mostly_zero: OfBand = (0..20)
            .map(|day| (Date::from_days(day), (0..10).map(|k| if day == 7 && k < 3 { 50.0 } else { 1.0 }).collect()))
            .collect();
        assert_eq!(odd_date(&mostly_zero), None);
        let few: OfBand = series(|_| 2023.0).into_iter().skip(6).take(4).collect();
        assert_eq!(odd_date(&few), None);
    }
}
