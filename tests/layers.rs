//! Further layers of the state, fields and offsets of instruments: windows against the joint Gaussian of everything, and what runs must keep.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use nalgebra::{DMatrix, DVector};
use ndarray::{Array1, Array2, Array4};
use rasterfuse::Fusion;
use rasterfuse::describe::{
    AcquisitionGroups, Composite, Field, Footprint, Instrument, Kernel, OffsetLayer, Prior, Process,
};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::SpectralBasis;
use support::problem::noise;

const SIDE: usize = 4;
const DAYS: i32 = 9;
const PRIOR: f64 = 0.04;
const RANGE: f64 = 50.0;
const CHANGE: f64 = 2e-3;
const NOISE: f64 = 1e-3;

fn day(k: i32) -> Date {
    Date::from_days(k)
}

fn grid(size: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
}

/// The layers of the coarse instrument, as the crate knows them and as covariance of the offsets of two (pixel, day).
type Cov = Box<dyn Fn((usize, i32), (usize, i32)) -> f64>;

fn layers() -> Vec<(OffsetLayer, Cov)> {
    let groups = AcquisitionGroups::new((0..DAYS).filter(|k| *k != 5).map(|k| (day(k), format!("path {}", k % 2))));
    // The first day is a day from the start.
    let walk = |variance: f64, drift: f64| move |a: i32, b: i32| variance + drift * f64::from(a.min(b) + 1);
    let pull = |variance: f64, phi: f64| move |a: i32, b: i32| variance * phi.powi((a - b).abs());
    let group = |k: i32| (k != 5).then_some(k % 2);
    let (pixel, window, slow) = (walk(0.01, 1e-3), pull(0.02, 0.7), walk(0.015, 0.0));
    vec![
        (
            OffsetLayer::per_pixel(0.01).drift(1e-3),
            Box::new(move |a, b| if a.0 == b.0 { pixel(a.1, b.1) } else { 0.0 }),
        ),
        (OffsetLayer::per_window(0.02).phi(0.7), Box::new(move |a, b| window(a.1, b.1))),
        (OffsetLayer::per_acquisition(0.005), Box::new(|a, b| if a.1 == b.1 { 0.005 } else { 0.0 })),
        (
            OffsetLayer::per_group(0.015, groups),
            Box::new(move |a, b| match (group(a.1), group(b.1)) {
                (Some(one), Some(other)) if one == other => slow(a.1, b.1),
                _ => 0.0,
            }),
        ),
    ]
}

/// Further fields, as the crate knows them and as covariance of two (cell, day).
fn fields() -> Vec<(Field, Cov)> {
    let distance = |a: (f64, f64), b: (f64, f64)| f64::hypot(a.0 - b.0, a.1 - b.1);
    let centre = |cell: usize| ((cell / SIDE) as f64 + 0.5, (cell % SIDE) as f64 + 0.5);
    let matern = |far: f64| (1.0 + 3.0_f64.sqrt() * far) * (-3.0_f64.sqrt() * far).exp();
    // Interpolation between the centres of blocks of 2 cells, node by node.
    let hat = |at: f64, node: i64| (1.0 - (at / 2.0 - 0.5 - node as f64).abs()).max(0.0);
    let nodes = || (-1..3_i64).flat_map(|r| (-1..3_i64).map(move |c| (r, c)));
    let weights = move |cell: usize| -> Vec<((i64, i64), f64)> {
        let (y, x) = centre(cell);
        nodes().map(|(r, c)| ((r, c), hat(y, r) * hat(x, c))).filter(|(_, weight)| *weight > 0.0).collect()
    };
    let between = move |s: usize, t: usize| -> f64 {
        let pairs = weights(s).into_iter().flat_map(|a| weights(t).into_iter().map(move |b| (a, b)));
        let at = |(r, c): (i64, i64)| (r as f64 * 60.0, c as f64 * 60.0);
        pairs.map(|((a, v), (b, w))| v * w * matern(distance(at(a), at(b)) / 200.0)).sum()
    };
    let stationary = 1e-3 / (1.0 - 0.8 * 0.8);
    vec![
        (
            Field::new(Kernel::Matern32, 80.0, 1e-3).phi(0.8).block(1),
            Box::new(move |(s, a), (t, b)| {
                stationary * 0.8_f64.powi((a - b).abs()) * matern(distance(centre(s), centre(t)) * 30.0 / 80.0)
            }),
        ),
        (
            Field::new(Kernel::Matern32, 200.0, 2e-3).prior_variance(0.01).block(2),
            Box::new(move |(s, a), (t, b)| (0.01 + 2e-3 * f64::from(a.min(b) + 1)) * between(s, t)),
        ),
    ]
}

struct Scene {
    /// Whether there are further fields.
    fields: bool,
    /// Weights of the days that the coarse instrument averages, the last day last.
    days: Vec<f64>,
    fine: (Vec<i32>, Array4<f64>),
    coarse: (Vec<i32>, Array4<f64>),
    /// What bands see of components; **shape** (bands, components).
    matrix: Array2<f64>,
}

impl Scene {
    fn new(matrix: Array2<f64>, fields: bool) -> Self {
        let bands = matrix.nrows();
        let values = |seed: u64, dates: usize, side: usize| {
            Array4::from_shape_fn((dates, bands, side, side), |(t, b, r, c)| {
                let k = ((t * bands + b) * side + r) * side + c;
                if k % 7 == 3 { f64::NAN } else { 0.2 + 0.2 * noise(seed, k) }
            })
        };
        let (fine, coarse) = (vec![0, 6], vec![0, 1, 2, 4, 5, 7]);
        let (fine_values, coarse_values) = (values(1, fine.len(), SIDE), values(2, coarse.len(), SIDE / 2));
        Self { fields, days: vec![1.0], fine: (fine, fine_values), coarse: (coarse, coarse_values), matrix }
    }

    fn builder(&self) -> FusionBuilder {
        let bands: Vec<String> = (0..self.matrix.nrows()).map(|b| format!("b{b}")).collect();
        let source = |(dates, values): &(Vec<i32>, Array4<f64>), size: f64, side: usize| {
            let dates = dates.iter().copied().map(day).collect();
            MemorySource::new(grid(size, side), dates, bands.clone(), values.clone()).unwrap()
        };
        let fine = Instrument::new("fine", source(&self.fine, 30.0, SIDE)).noise_variance(NOISE);
        let coarse = Instrument::new("coarse", source(&self.coarse, 60.0, SIDE / 2));
        let coarse = coarse.footprint(Footprint::Uniform).noise_variance(NOISE);
        // The dates of files are the last days of their windows, and every day stands for itself.
        let composite = Composite::new(self.days.len()).centre(1.0).weights(self.days.clone()).every(1);
        let coarse = coarse.composite(composite);
        let coarse = layers().into_iter().fold(coarse, |coarse, (layer, _)| coarse.offset_layer(layer));
        let plain = Process::new(Kernel::Exponential, RANGE, CHANGE);
        let process = fields().into_iter().fold(plain.clone(), |process, (field, _)| process.field(field));
        let builder = Fusion::builder(grid(30.0, SIDE))
            .bands(bands.clone())
            .process(if self.fields { process } else { plain })
            .prior(Prior::new(0.1, PRIOR))
            .window(SIDE, 0)
            .end(day(DAYS - 1))
            .instrument(fine)
            .instrument(coarse);
        if self.is_plain() {
            return builder;
        }
        let wavelengths = (0..bands.len()).map(|b| 400.0 + 100.0 * b as f64).collect();
        builder.basis(SpectralBasis::new(wavelengths, Array1::zeros(bands.len()), self.matrix.clone()).unwrap())
    }

    fn is_plain(&self) -> bool {
        self.matrix.nrows() == self.matrix.ncols()
    }

    /// Mean and sd of each (band, cell) on `at`, given what was seen up to `until`.
    fn joint(&self, at: i32, until: i32) -> Vec<(f64, f64)> {
        let (bands, p) = self.matrix.dim();
        // (weights of cells, day, band, pixel of the coarse instrument, value)
        let mut data: Vec<(Vec<f64>, i32, usize, Option<usize>, f64)> = Vec::new();
        for (instrument, (dates, values)) in [&self.fine, &self.coarse].into_iter().enumerate() {
            for ((t, b, r, c), &value) in values.indexed_iter().filter(|(_, value)| value.is_finite()) {
                let inside = |cell: usize| match instrument {
                    0 => f64::from(cell == r * SIDE + c),
                    _ => f64::from(cell / SIDE / 2 == r && cell % SIDE / 2 == c) / 4.0,
                };
                let weights = (0..SIDE * SIDE).map(inside).collect();
                let pixel = (instrument == 1).then_some(r * 2 + c);
                data.push((weights, dates[t], b, pixel, value));
            }
        }
        data.retain(|entry| entry.1 <= until);
        let further = if self.fields { fields() } else { Vec::new() };
        // Covariance of two cells of a component on two days.
        let cell_cov = |(s, a): (usize, i32), (t, b): (usize, i32)| {
            let far = f64::hypot((s % SIDE) as f64 - (t % SIDE) as f64, (s / SIDE) as f64 - (t / SIDE) as f64) * 30.0;
            let prior = if s == t { PRIOR } else { 0.0 };
            let further: f64 = further.iter().map(|(_, cov)| cov((s, a), (t, b))).sum();
            prior + CHANGE * f64::from(a.min(b) + 1) * (-far / RANGE).exp() + further
        };
        let spectral = |a: usize, b: usize| (0..p).map(|j| self.matrix[(a, j)] * self.matrix[(b, j)]).sum::<f64>();
        let layers = layers();
        let cells = |weights: &[f64]| -> Vec<(usize, f64)> {
            weights.iter().copied().enumerate().filter(|(_, weight)| *weight != 0.0).collect()
        };
        let field = |x: &[f64], a: i32, y: &[f64], b: i32| -> f64 {
            let pairs = cells(x).into_iter().flat_map(|s| cells(y).into_iter().map(move |t| (s, t)));
            pairs.map(|((s, v), (t, w))| v * w * cell_cov((s, a), (t, b))).sum()
        };
        // The days that an observation averages; nothing changed before the first.
        let total: f64 = self.days.iter().sum();
        let days = |pixel: &Option<usize>, last: i32| -> Vec<(i32, f64)> {
            let weights = self.days.iter().rev().map(|weight| weight / total);
            let before = (0..).zip(weights).map(|(age, weight)| ((last - age).max(-1), weight));
            if pixel.is_some() { before.collect() } else { vec![(last, 1.0)] }
        };
        let averaged = |x: &[f64], a: &[(i32, f64)], y: &[f64], b: &[(i32, f64)]| -> f64 {
            let pairs = a.iter().flat_map(|s| b.iter().map(move |t| (s, t)));
            pairs.map(|((a, v), (b, w))| v * w * field(x, *a, y, *b)).sum()
        };
        let n = data.len();
        let cov = DMatrix::from_fn(n, n, |i, k| {
            let ((x, a, band, pixel, _), (y, b, other, there, _)) = (&data[i], &data[k]);
            let offsets: f64 = match (pixel, there) {
                (Some(one), Some(two)) if band == other => {
                    layers.iter().map(|(_, cov)| cov((*one, *a), (*two, *b))).sum()
                }
                _ => 0.0,
            };
            spectral(*band, *other) * averaged(x, &days(pixel, *a), y, &days(there, *b))
                + offsets
                + if i == k { NOISE } else { 0.0 }
        });
        let level = |band: usize| 0.1 * (0..p).map(|j| self.matrix[(band, j)]).sum::<f64>();
        let residual = DVector::from_iterator(n, data.iter().map(|(_, _, band, _, value)| value - level(*band)));
        let factor = cov.cholesky().unwrap();
        let solved = factor.solve(&residual);
        let at_cell = |band: usize, cell: usize| {
            let mut weights = vec![0.0; SIDE * SIDE];
            weights[cell] = 1.0;
            let cross = data.iter().map(|(y, b, other, there, _)| {
                spectral(band, *other) * averaged(&weights, &[(at, 1.0)], y, &days(there, *b))
            });
            let cross = DVector::from_iterator(n, cross);
            let own = spectral(band, band) * cell_cov((cell, at), (cell, at));
            (level(band) + cross.dot(&solved), (own - cross.dot(&factor.solve(&cross))).sqrt())
        };
        (0..bands).flat_map(|band| (0..SIDE * SIDE).map(move |cell| at_cell(band, cell))).collect()
    }
}

fn scenes() -> [Scene; 4] {
    let mixed = Array2::from_shape_vec((3, 2), vec![1.0, 0.2, 0.5, -0.7, 0.3, 0.9]).unwrap();
    let plain = || Array2::eye(2);
    [Scene::new(plain(), false), Scene::new(mixed.clone(), false), Scene::new(plain(), true), Scene::new(mixed, true)]
}

#[test]
fn filtered_and_smoothed_values_equal_the_joint_gaussian() {
    let composites = scenes().map(|scene| Scene { days: vec![0.5, 1.0, 2.0, 2.0], ..scene });
    for scene in scenes().into_iter().chain(composites) {
        for lag in [0, 3] {
            let mut sink = MemorySink::new();
            scene.builder().lag(lag as usize).build().unwrap().run(&mut sink).unwrap();
            let (mean, sd) = sink.into_arrays().unwrap();
            for at in [0, 3, 5, 8] {
                let expected = scene.joint(at, (at + lag).min(DAYS - 1));
                for (k, (m, s)) in expected.into_iter().enumerate() {
                    let place = (at as usize, k / (SIDE * SIDE), k % (SIDE * SIDE) / SIDE, k % SIDE);
                    assert!((mean[place] - m).abs() < 1e-9, "lag {lag}, {place:?}: {} {m}", mean[place]);
                    assert!((sd[place] - s).abs() < 1e-9, "lag {lag}, {place:?}: {} {s}", sd[place]);
                }
            }
        }
    }
}

/// Two fine images tell a coarse pixel's offset, and what is put out says so for each of its cells.
#[test]
fn offsets_are_put_out() {
    const OFFSETS: [[f64; 2]; 2] = [[0.03, -0.02], [0.0, 0.05]];
    let (fine, coarse) = (grid(30.0, SIDE), grid(60.0, SIDE / 2));
    let source = |grid: &Grid, values: &dyn Fn(usize, usize) -> f64| {
        let (rows, cols) = grid.shape();
        let values = Array4::from_shape_fn((3, 1, rows, cols), |(_, _, r, c)| values(r, c));
        MemorySource::new(grid.clone(), (0..3).map(day).collect(), vec!["b".into()], values).unwrap()
    };
    let sharp = source(&fine, &|_, _| 0.3);
    let blurred = source(&coarse, &|r, c| 0.3 + OFFSETS[r][c]);
    let layered = |layer: OffsetLayer| {
        let blurred = Instrument::new("coarse", blurred.clone()).footprint(Footprint::Uniform).noise_variance(1e-6);
        Fusion::builder(fine.clone())
            .bands(["b"])
            .process(Process::new(Kernel::Exponential, RANGE, 1e-6))
            .prior(Prior::new(0.3, PRIOR))
            .window(3, 1)
            .instrument(Instrument::new("fine", sharp.clone()).noise_variance(1e-6))
            .instrument(blurred.offset_layer(layer))
            .offsets(true)
    };
    let mut sink = MemorySink::new();
    layered(OffsetLayer::per_pixel(0.01)).build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.offsets().unwrap();
    assert_eq!(mean.dim(), (3, 1, SIDE, SIDE));
    for ((_, _, r, c), value) in mean.indexed_iter() {
        assert!((value - OFFSETS[r / 2][c / 2]).abs() < 1e-3, "[{r}, {c}]: {value}");
    }
    assert!(sd.iter().all(|sd| (1e-4..2e-3).contains(sd)), "{sd}");
    let refused = |builder: FusionBuilder| builder.build().unwrap_err().to_string();
    assert!(refused(layered(OffsetLayer::per_pixel(0.01)).lag(1)).starts_with("output.offsets"));
}

/// On dates with and without an acquisition, with and without a group: an offset where every layer has one.
#[test]
fn offsets_of_all_kinds_are_put_out_on_the_dates_that_have_them() {
    const OFFSET: f64 = 0.04;
    const ACQUIRED: [i32; 3] = [0, 2, 3];
    let source = |grid: Grid, days: &[i32], value: f64| {
        let (rows, cols) = grid.shape();
        let values = Array4::from_elem((days.len(), 1, rows, cols), value);
        MemorySource::new(grid, days.iter().copied().map(day).collect(), vec!["b".into()], values).unwrap()
    };
    let run = |layers: Vec<OffsetLayer>| {
        let sharp = Instrument::new("fine", source(grid(30.0, SIDE), &[0, 1, 2, 3, 4], 0.3)).noise_variance(1e-6);
        let blurred = Instrument::new("coarse", source(grid(60.0, SIDE / 2), &ACQUIRED, 0.3 + OFFSET));
        let blurred = blurred.footprint(Footprint::Uniform).noise_variance(1e-6);
        let blurred = layers.into_iter().fold(blurred, Instrument::offset_layer);
        let mut sink = MemorySink::new();
        let builder = Fusion::builder(grid(30.0, SIDE))
            .bands(["b"])
            .process(Process::new(Kernel::Exponential, RANGE, 1e-6))
            .prior(Prior::new(0.3, PRIOR))
            .window(3, 1)
            .instrument(sharp)
            .instrument(blurred)
            .offsets(true);
        builder.build().unwrap().run(&mut sink).unwrap();
        sink.offsets().unwrap()
    };
    let groups = || AcquisitionGroups::new([(day(0), "a"), (day(2), "b"), (day(4), "b")]);
    let pixel = || OffsetLayer::per_pixel(0.01);
    let group = || OffsetLayer::per_group(0.01, groups());
    let acquisition = || OffsetLayer::per_acquisition(0.01);
    let cases: [(Vec<OffsetLayer>, &[usize]); 7] = [
        (vec![pixel()], &[0, 1, 2, 3, 4]),
        (vec![OffsetLayer::per_window(0.01)], &[0, 1, 2, 3, 4]),
        (vec![acquisition()], &[0, 2, 3]),
        (vec![group()], &[0, 2, 4]),
        (vec![pixel(), group()], &[0, 2, 4]),
        (vec![pixel(), acquisition()], &[0, 2, 3]),
        (vec![acquisition(), group()], &[0, 2]),
    ];
    for (k, (layers, dates)) in cases.into_iter().enumerate() {
        let (mean, sd) = run(layers);
        assert_eq!(mean.dim(), (5, 1, SIDE, SIDE));
        for ((at, value), sd) in mean.indexed_iter().zip(&sd) {
            if dates.contains(&at.0) {
                assert!((value - OFFSET).abs() < 2e-3 && (1e-4..3e-3).contains(sd), "{k}, {at:?}: {value} {sd}");
            } else {
                assert!(value.is_nan() && sd.is_nan(), "{k}, {at:?}: {value} {sd}");
            }
        }
    }
}

#[test]
fn the_plan_counts_offsets_and_earlier_averages() {
    let [scene, ..] = scenes();
    let states = |scene: &Scene| scene.builder().build().unwrap().plan().states_per_window;
    // Two bands, each 16 cells and offsets of 4 pixels, a window, an acquisition and two groups.
    assert_eq!(states(&scene), 2 * (16 + 4 + 1 + 1 + 2));
    // And of four days the averages of three that have passed, of each pixel.
    assert_eq!(states(&Scene { days: vec![1.0; 4], ..scene }), 2 * (16 + 8 + 3 * 4));
}

#[test]
fn a_table_of_other_groups_is_another_series() {
    let layer = |names: [&str; 2]| {
        OffsetLayer::per_group(0.01, AcquisitionGroups::new([(day(0), names[0]), (day(1), names[1])]))
    };
    let settings = |layer: OffsetLayer| {
        let source =
            MemorySource::new(grid(30.0, 2), vec![day(0)], vec!["b".into()], Array4::zeros((1, 1, 2, 2))).unwrap();
        let fusion = Fusion::builder(grid(30.0, 2))
            .bands(["b"])
            .process(Process::new(Kernel::None, 0.0, 1e-3))
            .prior(Prior::new(0.0, 1.0))
            .instrument(Instrument::new("one", source).noise_variance(1e-3).offset_layer(layer));
        fusion.build().unwrap().settings().clone()
    };
    let (one, other) = (settings(layer(["a", "b"])), settings(layer(["a", "c"])));
    let differences = one.differences(&other);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].key, "instrument \"one\": offset_layer 1.group");
}
