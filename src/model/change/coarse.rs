//! How much the pixels of a coarse instrument change, from the increments of their own series.

use std::collections::VecDeque;
use std::ops::Range;

use ndarray::{Array2, Array3, Axis, Zip, s};

use super::levels::{Agreement, Half};
use crate::error::Result;
use crate::geometry::{Date, Grid, PixelRegion, Rect};
use crate::model::ObservationModel;
use crate::source::{Pass, PassWatch};

/// Numbers that a strip of pixels keeps at a time, at most.
const NUMBERS: usize = 8 << 20;

/// How many pixels are as good as one: changes of neighbours are alike.
const TOGETHER: usize = 4;

/// Logarithms of the variance of change of coarse pixels, and where these are.
#[derive(Clone, Debug)]
pub(super) struct CoarseChange {
    /// Each as far as it is to be believed.
    logs: Array2<f64>,
    /// Centres of rows and columns of pixels, on the target lattice.
    rows: Vec<f64>,
    cols: Vec<f64>,
    /// How far the logarithms are believed.
    pub(super) reliability: f64,
}

/// Sums of the sizes of increments: of each half and of all, by band and pixel.
struct Increments {
    sums: [Array3<f64>; 3],
    counts: [Array3<f64>; 3],
}

impl CoarseChange {
    /// From increments over at least `window` days and half as many more; `None` where the series has none.
    ///
    /// # Errors
    /// Those of reading; [`Error::Interrupted`](crate::error::Error::Interrupted) where the watch ends it.
    pub(super) fn new(
        model: &ObservationModel,
        window: i32,
        target: &Grid,
        watch: &dyn PassWatch,
    ) -> Result<Option<Self>> {
        let (rows, cols) = model.source.grid().shape();
        let increments = increments(model, window, watch)?;
        let logs: Vec<Array2<f64>> = (0..3).map(|k| logs(&increments.sums[k], &increments.counts[k])).collect();
        let mut agreement = Agreement::default();
        // Pixels of the target alone: what lies beyond it, such as the sea, says nothing of it.
        let all = Rect::new(0..target.rows() as i64, 0..target.cols() as i64);
        let pixels = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        for cell in pixels.filter(|(row, col)| !model.lattice.rect(*row, *col).intersection(&all).is_empty()) {
            let of_pixel = [0, 1, 2].map(|k: usize| logs[k][cell]);
            if of_pixel.iter().all(|log| log.is_finite()) {
                agreement.add(of_pixel);
            }
        }
        let (reliability, mean) = (agreement.reliability(TOGETHER), agreement.mean());
        if reliability == 0.0 {
            return Ok(None);
        }
        let believed = |log: &f64| if log.is_finite() { reliability * (log - mean) } else { 0.0 };
        let centre = |first: i64, end: i64| 0.5 * (first + end - 1) as f64;
        let row = |row: usize| {
            let rect = model.lattice.rect(row, 0);
            centre(rect.top, rect.bottom)
        };
        let col = |col: usize| {
            let rect = model.lattice.rect(0, col);
            centre(rect.left, rect.right)
        };
        Ok(Some(Self {
            logs: logs[2].map(believed),
            rows: (0..rows).map(row).collect(),
            cols: (0..cols).map(col).collect(),
            reliability,
        }))
    }

    /// At a cell of the target, between the centres of pixels.
    pub(super) fn log(&self, row: usize, col: usize) -> f64 {
        let ((above, below, down), (left, right, across)) =
            (between(&self.rows, row as f64), between(&self.cols, col as f64));
        let along = |row: usize| (1.0 - across) * self.logs[(row, left)] + across * self.logs[(row, right)];
        (1.0 - down) * along(above) + down * along(below)
    }
}

/// The two of some ascending places that a place lies between, and its share of the way; beyond them the nearest.
fn between(places: &[f64], at: f64) -> (usize, usize, f64) {
    let next = places.partition_point(|place| *place <= at);
    match next {
        0 => (0, 0, 0.0),
        _ if next == places.len() => (next - 1, next - 1, 0.0),
        _ => (next - 1, next, (at - places[next - 1]) / (places[next] - places[next - 1])),
    }
}

/// Logarithms of the variance of change, mean of bands of which each counts the same; NaN where nothing is known.
fn logs(sums: &Array3<f64>, counts: &Array3<f64>) -> Array2<f64> {
    let (bands, rows, cols) = sums.dim();
    let (mut total, mut known) = (Array2::<f64>::zeros((rows, cols)), Array2::<f64>::zeros((rows, cols)));
    for band in 0..bands {
        // Means of sizes rather than of squares, so that what masks miss counts little.
        let variance = |(row, col): (usize, usize)| {
            let count = counts[(band, row, col)];
            if count > 0.0 { (sums[(band, row, col)] / count).powi(2) } else { f64::NAN }
        };
        let variance = Array2::from_shape_fn((rows, cols), variance);
        let held = variance.iter().filter(|value| !value.is_nan());
        let (count, sum) = held.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        if sum > 0.0 {
            Zip::from(&mut total).and(&mut known).and(&variance).for_each(|total, known, variance| {
                if !variance.is_nan() {
                    *total += variance * count / sum;
                    *known += 1.0;
                }
            });
        }
    }
    Zip::from(&total)
        .and(&known)
        .map_collect(|total, known| if *known > 0.0 && *total > 0.0 { (total / known).ln() } else { f64::NAN })
}

/// Reads the series strip by strip, and keeps the dates of a window of days.
fn increments(model: &ObservationModel, window: i32, watch: &dyn PassWatch) -> Result<Increments> {
    let source = &model.source;
    let ((rows, cols), bands) = (source.grid().shape(), model.source_bands.len());
    let zeros = || [(); 3].map(|()| Array3::zeros((bands, rows, cols)));
    let mut all = Increments { sums: zeros(), counts: zeros() };
    let (Some(&start), Some(&end)) = (source.dates().first(), source.dates().last()) else { return Ok(all) };
    let reading = Pass::new(watch, "change of coarse pixels", (rows * cols * source.dates().len()) as u64);
    let middle = start + end.days_since(start) / 2;
    let kept = (3 * window as usize / 2 + 2).min(source.dates().len());
    let height = (NUMBERS / (kept * bands * cols)).clamp(1, rows);
    for top in (0..rows).step_by(height) {
        let strip = PixelRegion::new(top..(top + height).min(rows), 0..cols);
        let mut waiting: VecDeque<(Date, Array3<f64>)> = VecDeque::new();
        for &date in source.dates() {
            reading.read(strip.len())?;
            let values = source.read(date, &model.source_bands, &strip)?.values;
            while let Some((earlier, _)) = waiting.front()
                && date.days_since(*earlier) >= window
            {
                let Some((earlier, before)) = waiting.pop_front() else { break };
                let days = date.days_since(earlier);
                if 2 * days <= 3 * window {
                    let half = match () {
                        () if date <= middle => Half::First,
                        () if earlier > middle => Half::Second,
                        () => Half::Neither,
                    };
                    all.add(half, &strip.rows, f64::from(days).sqrt(), &values, &before);
                }
            }
            waiting.push_back((date, values));
        }
    }
    Ok(all)
}

impl Increments {
    fn add(&mut self, half: Half, rows: &Range<usize>, scale: f64, after: &Array3<f64>, before: &Array3<f64>) {
        let own = match half {
            Half::First => Some(0),
            Half::Second => Some(1),
            Half::Neither => None,
        };
        for k in own.into_iter().chain([2]) {
            let part = s![.., rows.clone(), ..];
            let (mut sums, mut counts) = (self.sums[k].slice_mut(part), self.counts[k].slice_mut(part));
            for band in 0..after.len_of(Axis(0)) {
                let plane = s![band, .., ..];
                Zip::from(sums.slice_mut(plane))
                    .and(counts.slice_mut(plane))
                    .and(after.slice(plane))
                    .and(before.slice(plane))
                    .for_each(|sum, count, after, before| {
                        let size = (after - before).abs() / scale;
                        if size.is_finite() {
                            *sum += size;
                            *count += 1.0;
                        }
                    });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_between_centres_are_shares_of_the_way() {
        let places = [3.0, 10.0, 17.0];
        for (at, expected) in [(0.0, (0, 0, 0.0)), (3.0, (0, 1, 0.0)), (12.0, (1, 2, 2.0 / 7.0)), (30.0, (2, 2, 0.0))] {
            assert_eq!(between(&places, at), expected);
        }
    }
}
