//! Baselines against a slow twin that holds the whole series and searches it for every withheld value.

use ndarray::Array4;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::describe::{Footprint, Instrument, Kernel, OffsetLayer, Prior, Process};
use crate::engine::{Fusion, FusionBuilder};
use crate::geometry::{Crs, Date, Grid};
use crate::source::MemorySource;
use crate::validate::mask::WithholdingMask;
use crate::validate::{
    Baseline, Comparison, PredictionKind, Predictor, Validation, ValidationReport, WithheldKind, Withhold,
};

const WALK: f64 = 1e-3;
const NOISE: f64 = 4e-4;
const PRIOR: (f64, f64) = (0.3, 0.01);
const SHAPE: (usize, usize) = (11, 14);
const BANDS: [&str; 2] = ["red", "nir"];

/// An instrument's whole series.
struct Series {
    name: &'static str,
    grid: Grid,
    days: Vec<i32>,
    /// **Shape** (time, band, y, x), gaps as NaN.
    values: Array4<f64>,
    mask: WithholdingMask,
}

type Place = (usize, usize, usize);

impl Series {
    fn new((name, seed): (&'static str, u64), grid: Grid, days: Vec<i32>, withhold: Withhold, clouds: f64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (rows, cols) = grid.shape();
        let values = Array4::from_shape_fn((days.len(), BANDS.len(), rows, cols), |(t, band, row, col)| {
            let value = 0.3 + 0.05 * (f64::from(days[t]) / 40.0 + band as f64).sin() + 0.004 * (row * col) as f64;
            let noise = 0.05 * (random.random::<f64>() - 0.5);
            if random.random::<f64>() < clouds { f64::NAN } else { value + noise }
        });
        let dates: Vec<Date> = days.iter().map(|&day| Date::from_days(day)).collect();
        let mask = WithholdingMask::new((SEED, name), withhold, grid.shape(), &dates).unwrap();
        Self { name, grid, days, values, mask }
    }

    fn instrument(&self) -> Instrument {
        let dates = self.days.iter().map(|&day| Date::from_days(day)).collect();
        let bands = BANDS.map(String::from).to_vec();
        let source = MemorySource::new(self.grid.clone(), dates, bands, self.values.clone()).unwrap();
        Instrument::new(self.name, source)
    }

    fn withheld(&self, t: usize, (_, row, col): Place) -> Option<WithheldKind> {
        let date = Date::from_days(self.days[t]);
        self.mask.kind(date).filter(|kind| self.mask.holds(*kind, date, (row, col)))
    }

    /// The clear values of a pixel that were not withheld: (day, value).
    fn kept(&self, place: Place) -> Vec<(i32, f64)> {
        let (band, row, col) = place;
        (0..self.days.len())
            .filter(|&t| self.withheld(t, place).is_none())
            .map(|t| (self.days[t], self.values[(t, band, row, col)]))
            .filter(|(_, value)| !value.is_nan())
            .collect()
    }

    /// Last and next clear value around a day.
    fn around(&self, place: Place, day: i32) -> [Option<(i32, f64)>; 2] {
        let kept = self.kept(place);
        let last = kept.iter().rev().find(|(other, _)| *other < day).copied();
        [last, kept.iter().find(|(other, _)| *other > day && *other <= day + 366).copied()]
    }

    /// Mean of value - baseline over the clear pixels of a date.
    fn residual(&self, t: usize, band: usize, baseline: Baseline) -> Option<f64> {
        let (rows, cols) = self.grid.shape();
        let mut residuals = Vec::new();
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let (place, value) = ((band, row, col), self.values[(t, band, row, col)]);
            if value.is_nan() || self.withheld(t, place).is_some() {
                continue;
            }
            let [last, next] = self.around(place, self.days[t]);
            let predicted =
                if baseline == Baseline::Last { last.map(|(_, v)| v) } else { line(last, next, self.days[t]) };
            residuals.extend(predicted.map(|predicted| value - predicted));
        }
        (!residuals.is_empty()).then(|| residuals.iter().sum::<f64>() / residuals.len() as f64)
    }

    /// The pixel that holds the centre of another grid's pixel.
    fn under(&self, other: &Grid, (band, row, col): Place) -> Option<Place> {
        let (x, y) = other.centre(row as i64, col as i64);
        let ([left, width, _, top, _, height], (rows, cols)) = (self.grid.geotransform(), self.grid.shape());
        let (row, col) = (((y - top) / height).floor(), ((x - left) / width).floor());
        let inside = row >= 0.0 && col >= 0.0 && row < rows as f64 && col < cols as f64;
        inside.then_some((band, row as usize, col as usize))
    }
}

fn line(last: Option<(i32, f64)>, next: Option<(i32, f64)>, day: i32) -> Option<f64> {
    match (last, next) {
        (Some((a, before)), Some((b, after))) => {
            let share = f64::from(day - a) / f64::from(b - a);
            Some(before * (1.0 - share) + after * share)
        }
        (last, next) => last.or(next).map(|(_, value)| value),
    }
}

/// The first of those nearest to a day.
fn nearest(values: &[(i32, f64)], day: i32) -> Option<(i32, f64)> {
    values.iter().min_by_key(|(other, _)| (other - day).abs()).copied()
}

/// What each baseline predicts of a withheld value.
fn predictions(fine: &Series, coarse: Option<&Series>, t: usize, place: Place) -> [Option<f64>; 6] {
    let day = fine.days[t];
    let [last, next] = fine.around(place, day);
    let linear = line(last, next, day);
    let residual = |baseline| fine.residual(t, place.0, baseline);
    let mut all = [last.map(|(_, value)| value), linear, None, None, None, None];
    all[2] = all[0].zip(residual(Baseline::Last)).map(|(value, residual)| value + residual);
    all[3] = linear.zip(residual(Baseline::Linear)).map(|(value, residual)| value + residual);
    let seen = coarse.and_then(|coarse| Some(coarse.kept(coarse.under(&fine.grid, place)?))).unwrap_or_default();
    let so_far: Vec<_> = seen.iter().copied().filter(|(other, _)| *other <= day).collect();
    if let Some(&(_, now)) = so_far.last() {
        let at_last = last.and_then(|(other, _)| Some((other, nearest(&so_far, other)?.1)));
        let at_next = next.and_then(|(other, _)| Some((other, nearest(&seen, other)?.1)));
        all[4] = last.zip(at_last).map(|((_, value), (_, then))| value + now - then);
        all[5] = linear.zip(line(at_last, at_next, day)).map(|(value, line)| value + now - line);
    }
    all
}

/// The prediction of a cell that walks at random, from its clear values up to a day.
fn filtered(fine: &Series, place: Place, day: i32, before_first: i32) -> f64 {
    let (mut at, (mut mean, mut variance)) = (before_first, PRIOR);
    for (other, value) in fine.kept(place).into_iter().filter(|(other, _)| *other < day) {
        variance += WALK * f64::from(other - at);
        let gain = variance / (variance + NOISE);
        (at, mean, variance) = (other, mean + gain * (value - mean), (1.0 - gain) * variance);
    }
    mean
}

const SEED: u64 = 5;

fn grid(size: f64, left: f64, top: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [left, size, 0.0, top, 0.0, -size], shape).unwrap()
}

fn fine(withhold: Withhold) -> Series {
    // Two gaps longer than clear values are waited for.
    let days = (0..26).map(|k| 5 * k + 400 * i32::from(k > 12) + 390 * i32::from(k > 20)).collect();
    Series::new(("fine", 1), grid(30.0, 0.0, 0.0, SHAPE), days, withhold, 0.35)
}

fn coarse(withhold: Withhold) -> Series {
    // On days of the fine one and on others; a strip of the scene is not observed.
    let days = (0..60).map(|k| 3 * k + 400 * i32::from(k > 21) + 390 * i32::from(k > 34)).collect();
    Series::new(("coarse", 2), grid(100.0, -20.0, 40.0, (4, 4)), days, withhold, 0.4)
}

fn fusion(kernel: Kernel, fine: &Series) -> FusionBuilder {
    fusion_of(kernel, fine, fine.instrument().noise_variance(NOISE))
}

fn fusion_of(kernel: Kernel, fine: &Series, instrument: Instrument) -> FusionBuilder {
    let range = if kernel == Kernel::None { 0.0 } else { 1e-3 };
    Fusion::builder(fine.grid.clone())
        .bands(BANDS)
        .process(Process::new(kernel, range, WALK))
        .prior(Prior::new(PRIOR.0, PRIOR.1))
        .window(4, 0)
        .instrument(instrument)
}

/// Compares a report's comparisons of the fine instrument, its first, with the twin's.
fn compare(report: &ValidationReport, fine: &Series, coarse: Option<&Series>) {
    let first = fine.days[0].min(coarse.map_or(i32::MAX, |coarse| coarse.days[0])) - 1;
    for band in [None, Some(0), Some(1)] {
        for kind in [WithheldKind::Block, WithheldKind::Date] {
            let (rows, cols) = SHAPE;
            let bands = band.map_or(0..2, |band| band..band + 1);
            let places = bands.flat_map(|b| (0..rows).flat_map(move |row| (0..cols).map(move |col| (b, row, col))));
            let mut errors: Vec<[Option<f64>; 7]> = Vec::new();
            for (place, t) in places.flat_map(|place| (0..fine.days.len()).map(move |t| (place, t))) {
                let value = fine.values[(t, place.0, place.1, place.2)];
                if value.is_nan() || fine.withheld(t, place) != Some(kind) {
                    continue;
                }
                let mut of_value = [None; 7];
                of_value[0] = Some(filtered(fine, place, fine.days[t], first) - value);
                let baselines = predictions(fine, coarse, t, place);
                of_value[1..].iter_mut().zip(baselines).for_each(|(error, p)| *error = p.map(|p| p - value));
                errors.push(of_value);
            }
            let name = band.map_or("all bands", |band| BANDS[band]);
            let comparison = find(report, kind, name);
            check(comparison, &errors);
            let possible = if coarse.is_some() { 4 } else { 2 } + if kind == WithheldKind::Block { 2 } else { 0 };
            let baselines = comparison.rows.iter().filter(|row| matches!(row.predictor, Predictor::Baseline(_)));
            assert_eq!(baselines.count() + comparison.left_out.len(), possible, "{comparison:?}");
        }
    }
}

fn find<'a>(report: &'a ValidationReport, kind: WithheldKind, band: &str) -> &'a Comparison {
    let wanted = |comparison: &&Comparison| comparison.kind == kind && comparison.band == band;
    report.instruments[0].baselines.iter().find(wanted).unwrap()
}

/// One comparison against the errors of filter and baselines of every withheld value.
fn check(comparison: &Comparison, errors: &[[Option<f64>; 7]]) {
    assert_eq!(comparison.of_values, errors.len() as u64);
    let position = |predictor: Predictor| match predictor {
        Predictor::Baseline(baseline) => Some(1 + Baseline::ALL.iter().position(|other| *other == baseline).unwrap()),
        Predictor::Fusion(PredictionKind::Filtered) => Some(0),
        Predictor::Fusion(_) => None,
    };
    let shown: Vec<usize> = comparison.rows.iter().filter_map(|row| position(row.predictor)).collect();
    let common: Vec<_> = errors.iter().filter(|errors| shown.iter().all(|&k| errors[k].is_some())).collect();
    assert_eq!(comparison.values, common.len() as u64);
    assert!(2 * comparison.values >= comparison.of_values && comparison.values > 50);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-7 * b.abs().max(1e-3);
    for row in &comparison.rows {
        let Some(k) = position(row.predictor) else { continue };
        let (n, of_row) = (common.len() as f64, || common.iter().filter_map(|errors| errors[k]));
        let rmse = (of_row().map(|error| error * error).sum::<f64>() / n).sqrt();
        assert!(close(row.rmse, rmse), "{:?}: {} and {rmse}", row.predictor, row.rmse);
        assert!(close(row.bias, of_row().sum::<f64>() / n), "{:?}: {}", row.predictor, row.bias);
        assert!(close(row.mae, of_row().map(f64::abs).sum::<f64>() / n), "{:?}: {}", row.predictor, row.mae);
    }
    for left_out in &comparison.left_out {
        let k = position(left_out.predictor).unwrap();
        assert_eq!(left_out.values, errors.iter().filter(|errors| errors[k].is_some()).count() as u64);
    }
}

#[test]
fn baselines_of_cells_are_those_of_the_twin() {
    let withhold = Withhold::default().share(0.3).dates(4).block(3);
    let fine = fine(withhold);
    let validation = Validation::new().withhold(withhold).seed(SEED);
    for (tile, batch) in [((16, 16), 64), ((4, 8), 1), ((5, 6), 5)] {
        let fusion = fusion(Kernel::None, &fine).tile(tile.0, tile.1).batch_dates(batch);
        compare(&validation.run(fusion).unwrap(), &fine, None);
    }
}

/// The coarse instrument has so much noise that it changes no prediction of the filter.
#[test]
fn baselines_with_a_coarser_instrument_are_those_of_the_twin() {
    let withhold = Withhold::default().share(0.3).dates(4).block(3);
    let (fine, coarse) = (fine(withhold), coarse(withhold));
    let validation = Validation::new().withhold(withhold).seed(SEED);
    for (tile, batch, lag) in [((16, 16), 64, 0), ((4, 8), 1, 0), ((5, 6), 4, 0), ((8, 4), 7, 3)] {
        let noisy = coarse.instrument().noise_variance(1e9).footprint(Footprint::Uniform);
        let fusion = fusion(Kernel::Exponential, &fine).instrument(noisy).tile(tile.0, tile.1).batch_dates(batch);
        let report = validation.run(fusion.lag(lag)).unwrap();
        compare(&report, &fine, Some(&coarse));
        assert_eq!(report.instruments[0].coarse.as_deref(), Some("coarse"));
        assert_eq!(report.instruments[1].coarse, None);
        let smoothed = Predictor::Fusion(PredictionKind::Smoothed);
        let comparison = find(&report, WithheldKind::Block, "all bands");
        assert_eq!(comparison.row(smoothed).is_some(), lag > 0);
        // Linear interpolation needs the future, and so does the smoother; both gain by it.
        if let Some(row) = comparison.row(smoothed) {
            assert_eq!(comparison.fused, PredictionKind::Smoothed);
            assert!(row.rmse < comparison.row(Predictor::Fusion(PredictionKind::Filtered)).unwrap().rmse);
        }
    }
}

/// An offset that an acquisition alone has is no reason to judge anything but the output; one that lasts is.
#[test]
fn what_is_judged_with_offsets_is_what_predicts_best() {
    let withhold = Withhold::default().share(0.3).dates(4).block(3);
    let fine = fine(withhold);
    let validation = Validation::new().withhold(withhold).seed(SEED);
    for (layer, judged) in [
        (OffsetLayer::per_acquisition(1e-5), PredictionKind::Smoothed),
        (OffsetLayer::per_pixel(1e-5), PredictionKind::Filtered),
    ] {
        let instrument = fine.instrument().noise_variance(NOISE).offset_layer(layer);
        let report = validation.run(fusion_of(Kernel::Exponential, &fine, instrument).lag(3)).unwrap();
        assert_eq!(find(&report, WithheldKind::Block, "all bands").fused, judged);
    }
}

/// On the values that both rows cover, the comparison's errors of the fusion are those of the table.
#[test]
fn the_fusion_is_scored_as_in_the_table() {
    let withhold = Withhold::default().share(0.2).dates(3).block(3);
    let days = (0..20).map(|k| 4 * k).collect();
    // No clouds: every baseline but those of the date and the coarse instrument exists for every value.
    let fine = Series::new(("fine", 3), grid(30.0, 0.0, 0.0, SHAPE), days, withhold, 0.0);
    let validation = Validation::new().withhold(withhold).seed(SEED);
    for lag in [0, 2] {
        let report = validation.run(fusion(Kernel::Exponential, &fine).lag(lag).tile(8, 8)).unwrap();
        let kind = if lag > 0 { PredictionKind::Smoothed } else { PredictionKind::Filtered };
        for row in report.instruments[0].scores.iter().filter(|row| row.estimate == kind && row.kind.is_some()) {
            let comparison = find(&report, row.kind.unwrap(), &row.score.name);
            let fused = comparison.row(Predictor::Fusion(kind)).unwrap();
            assert_eq!((comparison.values, comparison.fused), (row.score.values, kind));
            assert!((fused.rmse - row.score.rmse).abs() < 1e-12 && (fused.bias - row.score.bias).abs() < 1e-12);
            assert!((fused.mae - row.score.mae).abs() < 1e-12, "{report}");
        }
    }
}

#[test]
fn a_series_without_kept_dates_waits_for_nothing() {
    let withhold = Withhold::default().share(0.0).dates(99);
    let days = (0..12).map(|k| 4 * k).collect();
    let fine = Series::new(("fine", 4), grid(30.0, 0.0, 0.0, SHAPE), days, withhold, 0.2);
    let report = Validation::new().withhold(withhold).seed(SEED).run(fusion(Kernel::None, &fine)).unwrap();
    let comparison = find(&report, WithheldKind::Date, "all bands");
    // Without a next clear value the line is the last one.
    let [last, linear] = [Baseline::Last, Baseline::Linear].map(|baseline| comparison.baseline(baseline).unwrap().rmse);
    assert_eq!(last, linear);
}
