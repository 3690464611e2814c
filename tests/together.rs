//! Bands together: one covariance for all of them gives what a covariance for each gives, and what a dense joint
//! Gaussian of all bands, cells and dates gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use ndarray::Array4;
use rasterfuse::Fusion;
use rasterfuse::describe::{
    AcquisitionGroups, BandScale, Bands, Composite, Footprint, Instrument, Kernel, Missing, Numbers, OffsetLayer,
    OutputDates, Prior, Process,
};
use rasterfuse::engine::{FusionBuilder, Precision};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;

const SIDE: usize = 12;
const VARIANCE: [f64; 3] = [1e-4, 4e-4, 2.5e-4];

fn grid(size: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
}

fn noise(k: usize) -> f64 {
    let x = (k as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Values of three bands; some pixels lack all of them, and those chosen by `lacks` the second.
fn pixels(days: &[i32], side: usize, lacks: impl Fn(usize) -> bool) -> Array4<f64> {
    Array4::from_shape_fn((days.len(), 3, side, side), |(t, b, row, col)| {
        let pixel = (t * 100 + row) * 100 + col;
        let missing = noise(pixel + 7_000_000) > 0.7 || (b == 1 && lacks(pixel));
        if missing { f64::NAN } else { 0.2 + 0.1 * b as f64 + 0.03 * noise(pixel * 3 + b) }
    })
}

fn source(size: f64, side: usize, days: &[i32], lacks: impl Fn(usize) -> bool) -> Arc<MemorySource> {
    let values = pixels(days, side, lacks);
    let names = vec!["red".into(), "nir".into(), "swir".into()];
    let dates = days.iter().copied().map(Date::from_days).collect();
    Arc::new(MemorySource::new(grid(size, side), dates, names, values).unwrap())
}

fn ratio(ratio: f64) -> Numbers {
    Numbers::ratio(ratio)
}

fn process() -> Process {
    Process::new(Kernel::Exponential, 90.0, VARIANCE).nugget(0.1).nested(Kernel::Matern32, 500.0, ratio(0.6)).phi(0.99)
}

fn fusion(process: Process) -> FusionBuilder {
    let groups = AcquisitionGroups::new([1, 2, 4, 5].map(|day| (Date::from_days(day), format!("path {}", day % 2))));
    let fine = Instrument::new("fine", source(30.0, SIDE, &[2, 5, 9], |_| false));
    let coarse = Instrument::new("coarse", source(100.0, 4, &[1, 2, 3, 4, 5, 6, 8], |_| false));
    Fusion::builder(grid(30.0, SIDE))
        .bands(["red", "nir", "swir"])
        .process(process)
        .prior(Prior::new([0.2, 0.3, 0.4], ratio(40.0)).correlated())
        .instrument(
            fine.noise_variance(ratio(1.5))
                .bias([0.01, 0.0, -0.01])
                .offset_layer(OffsetLayer::per_acquisition(ratio(3.0))),
        )
        .instrument(
            coarse
                .footprint(Footprint::Uniform)
                .composite(Composite::new(4).every(2))
                .noise_variance(ratio(0.5))
                .offset_layer(OffsetLayer::per_pixel(ratio(10.0)).drift(ratio(0.2)))
                .offset_layer(OffsetLayer::per_group(ratio(2.0), groups)),
        )
        .output(OutputDates::Daily)
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>, f64) {
    let mut sink = MemorySink::new();
    let report = builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    (mean, sd, report.log_likelihood())
}

fn assert_near(a: &Array4<f64>, b: &Array4<f64>, tolerance: f64) {
    assert_eq!(a.dim(), b.dim());
    for ((at, x), y) in a.indexed_iter().zip(b) {
        assert!((x - y).abs() < tolerance && x.is_finite(), "{at:?}: {x} and {y}");
    }
}

#[test]
fn one_covariance_gives_what_one_for_each_band_gives() {
    for (lag, precision, tolerance) in
        [(0, Precision::F64, 1e-12), (3, Precision::F64, 1e-12), (0, Precision::F32, 1e-5)]
    {
        let of = |bands| fusion(process().bands(bands)).lag(lag).precision(precision);
        let plan = of(Bands::Together).build().unwrap().plan().clone();
        assert_eq!((plan.independent_parts, plan.bands_together[0].len()), (1, 3));
        let (mean, sd, log_likelihood) = run(of(Bands::Together));
        let (other_mean, other_sd, other) = run(of(Bands::Apart));
        assert_near(&mean, &other_mean, tolerance);
        assert_near(&sd, &other_sd, tolerance);
        assert!((log_likelihood - other).abs() < 1e4 * tolerance * other.abs(), "{log_likelihood} {other}");
    }
}

#[test]
fn offsets_are_those_of_each_band() {
    let of = |bands| {
        let mut sink = MemorySink::new();
        fusion(process().bands(bands)).offsets(true).build().unwrap().run(&mut sink).unwrap();
        sink.offsets().unwrap()
    };
    let ((mean, sd), (other_mean, other_sd)) = (of(Bands::Together), of(Bands::Apart));
    for (a, b) in [(&mean, &other_mean), (&sd, &other_sd)] {
        assert_eq!(a.dim(), b.dim());
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12 || (x.is_nan() && y.is_nan())));
    }
}

#[test]
fn tiles_threads_and_batches_change_no_bit() {
    let of = |tile, threads, batch| {
        run(fusion(process()).window(3, 2).lag(2).tile(tile, tile).threads(threads).batch_dates(batch))
    };
    let (mean, sd, _) = of(64, 1, 32);
    let (other_mean, other_sd, _) = of(5, 2, 3);
    assert!(mean.iter().zip(&other_mean).chain(sd.iter().zip(&other_sd)).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn pixels_that_lack_a_band_are_missing() {
    let lacks = |pixel: usize| noise(pixel) > 0.3;
    let of = |bands, missing| {
        let fine =
            Instrument::new("fine", source(30.0, SIDE, &[2, 5], lacks)).noise_variance(ratio(1.0)).missing(missing);
        let prior = Prior::new(0.3, ratio(40.0));
        let fusion = Fusion::builder(grid(30.0, SIDE)).process(process().bands(bands)).prior(prior).instrument(fine);
        let mut sink = MemorySink::new();
        let report = fusion.build().unwrap().run(&mut sink).unwrap();
        let (mean, sd) = sink.into_arrays().unwrap();
        (mean, sd, report)
    };
    let (mean, sd, report) = of(Bands::Together, Missing::Band);
    let (other_mean, other_sd, other) = of(Bands::Apart, Missing::Pixel);
    // They are counted, and named where they are many.
    let values = pixels(&[2, 5], SIDE, lacks);
    let holds = |t: usize, row: usize, col: usize, b: usize| !values[(t, b, row, col)].is_nan();
    let (mut incomplete, mut complete) = (0, 0);
    for (t, row, col) in (0..2).flat_map(|t| (0..SIDE * SIDE).map(move |k| (t, k / SIDE, k % SIDE))) {
        incomplete += u64::from(holds(t, row, col, 0) && !holds(t, row, col, 1));
        complete += u64::from(holds(t, row, col, 0) && holds(t, row, col, 1));
    }
    let total = report.instruments[0].total().unwrap();
    assert_eq!((total.incomplete, total.pixels), (incomplete, complete));
    assert_eq!(other.instruments[0].total().unwrap().incomplete, 0);
    assert!(incomplete > 40 && report.to_string().contains("lack a band of their group"), "{report}");
    assert!(report.to_string().contains("often missing one without the others"), "{report}");
    assert_near(&mean, &other_mean, 1e-12);
    assert_near(&sd, &other_sd, 1e-12);
}

#[test]
fn what_is_not_proportional_is_refused_or_filtered_apart() {
    let with = |noise: Numbers, bands: Option<Bands>| {
        let fine = Instrument::new("fine", source(30.0, SIDE, &[2], |_| false)).noise_variance(noise);
        let process = bands.map_or_else(process, |bands| process().bands(bands));
        Fusion::builder(grid(30.0, SIDE)).process(process).prior(Prior::new(0.3, ratio(40.0))).instrument(fine).build()
    };
    let message = with([1e-4, 1e-4, 1e-4].into(), Some(Bands::Together)).unwrap_err().to_string();
    assert!(message.contains("noise_variance") && message.contains("ratio"), "{message}");
    let proportional: Vec<f64> = VARIANCE.iter().map(|variance| 1.5 * variance).collect();
    assert_eq!(with(proportional.clone().into(), Some(Bands::Together)).unwrap().plan().independent_parts, 1);
    // Noise in u² is filtered as it always was, unless it is asked for.
    assert_eq!(with(proportional.into(), None).unwrap().plan().independent_parts, 3);
    assert_eq!(with(ratio(1.5), None).unwrap().plan().independent_parts, 1);
}

/// Cells on two dates under a process with two kernels, correlated bands and errors of acquisitions, in one window: the
/// conditional distribution and the likelihood of a dense joint Gaussian.
#[test]
fn a_dense_joint_gaussian_gives_the_same() {
    const N: usize = 5;
    let correlation = [vec![0.7], vec![0.3, -0.2]];
    let days = [3, 7];
    let (noise_ratio, acquisition, prior, far) = (1.5, 3.0, 40.0, 0.6);
    let values = source(30.0, N, &days, |_| false);
    let process = Process::new(Kernel::Exponential, 90.0, VARIANCE)
        .nested(Kernel::Exponential, 500.0, ratio(far))
        .band_correlation(correlation.clone());
    let fine = Instrument::new("fine", values).noise_variance(ratio(noise_ratio));
    let builder = Fusion::builder(grid(30.0, N))
        .process(process.clone())
        .prior(Prior::new([0.2, 0.3, 0.4], ratio(prior)).correlated())
        .instrument(fine.offset_layer(OffsetLayer::per_acquisition(ratio(acquisition))))
        .window(N, 0)
        .output(OutputDates::Observed);
    let (mean, sd, log_likelihood) = run(builder.clone());
    let dof = 12.0;
    let (learned_mean, learned_sd, _) = run(builder.process(process.scale(BandScale::new(dof))));

    let c = DMatrix::from_fn(3, 3, |b, d| {
        let rho = if b == d { 1.0 } else { correlation[b.max(d) - 1][b.min(d)] };
        rho * (VARIANCE[b] * VARIANCE[d]).sqrt()
    });
    // Of the change per day, per unit of C; the prior describes the day before the first observation.
    let space = |a: usize, b: usize| {
        let d = 30.0 * f64::hypot((a / N).abs_diff(b / N) as f64, (a % N).abs_diff(b % N) as f64);
        (-d / 90.0).exp() + far * (-d / 500.0).exp()
    };
    let field = |(t, a): (i32, usize), (u, b): (i32, usize)| {
        let since = f64::from(t.min(u) - (days[0] - 1));
        space(a, b) * (since + prior / (1.0 + far))
    };
    let data = &pixels(&days, N, |_| false);
    let observed: Vec<(i32, usize)> = days
        .iter()
        .enumerate()
        .flat_map(|(k, &day)| {
            (0..N * N).filter(move |&cell| !data[(k, 0, cell / N, cell % N)].is_nan()).map(move |cell| (day, cell))
        })
        .collect();
    let n = observed.len();
    let k = DMatrix::from_fn(n, n, |i, j| {
        let same = f64::from(u8::from(observed[i].0 == observed[j].0));
        field(observed[i], observed[j]) + acquisition * same + if i == j { noise_ratio } else { 0.0 }
    });
    let cov = c.kronecker(&k);
    let value = |b: usize, (day, cell): (i32, usize)| {
        let date = usize::from(day == days[1]);
        data[(date, b, cell / N, cell % N)] - [0.2, 0.3, 0.4][b]
    };
    let y = DVector::from_iterator(3 * n, (0..3).flat_map(|b| observed.iter().map(move |&at| value(b, at))));
    let factor = cov.clone().cholesky().unwrap();
    let expected =
        -0.5 * (y.dot(&factor.solve(&y)) + factor.ln_determinant() + 3.0 * n as f64 * std::f64::consts::TAU.ln());
    assert!((log_likelihood - expected).abs() < 1e-9 * expected.abs(), "{log_likelihood} for {expected}");
    // The mean of Σ ~ IW(ν₀ + n, Ψ₀ + C⁻½ Yᵀ K⁻¹ Y C⁻½) in whitened bands.
    let (root, by_band) = (c.clone().cholesky().unwrap().l(), DMatrix::from_fn(n, 3, |i, b| value(b, observed[i])));
    let squares = by_band.tr_mul(&k.clone().cholesky().unwrap().solve(&by_band));
    let inverse = root.clone().try_inverse().unwrap();
    let whitened = &inverse * squares * inverse.transpose();
    let prior_dof = dof - 4.0;
    let scale = (DMatrix::identity(3, 3) * prior_dof + whitened) / (prior_dof + n as f64);
    let learned = &root * scale * root.transpose();
    // On the last date, which all observations condition.
    for b in 0..3 {
        for cell in 0..N * N {
            let row = DVector::from_iterator(
                3 * n,
                (0..3)
                    .flat_map(|d| observed.iter().map(move |&at| (d, at)))
                    .map(|(d, at)| c[(b, d)] * field((7, cell), at)),
            );
            let (row_mean, row_variance) = (row.dot(&factor.solve(&y)), row.dot(&factor.solve(&row)));
            let at = (1, b, cell / N, cell % N);
            assert!((mean[at] - [0.2, 0.3, 0.4][b] - row_mean).abs() < 1e-10, "{at:?}");
            let variance = c[(b, b)] * field((7, 0), (7, 0)) - row_variance;
            assert!((sd[at] - variance.sqrt()).abs() < 1e-10, "{at:?}");
            // A matrix-t: the same mean, and the covariance that was learned.
            assert!((learned_mean[at] - mean[at]).abs() < 1e-12, "{at:?}");
            let expected = (variance / c[(b, b)] * learned[(b, b)]).sqrt();
            assert!((learned_sd[at] - expected).abs() < 1e-9 * expected, "{at:?} {} {expected}", learned_sd[at]);
        }
    }
}
