//! Withheld observations are predicted as an independent run without them predicts them, and the scores tell what they should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use ndarray::{Array1, Array2, Array4};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};
use rasterfuse::Fusion;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::model::SeasonalBuilder;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::SpectralBasis;
use rasterfuse::validate::{
    Baseline, DaysSince, PredictionKind, Predictor, ScoreRow, Validation, ValidationPass, ValidationReport,
    WithheldKind, Withhold,
};
use support::assert_says;

const CELL: f64 = 30.0;
const NOISE: f64 = 4e-4;
const WALK: f64 = 1e-3;

fn grid(size: f64, (rows, cols): (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (rows, cols)).unwrap()
}

/// Independent random walks seen with noise: what `kernel = "none"` believes, exactly.
fn walks(dates: usize, (rows, cols): (usize, usize)) -> Array4<f64> {
    let mut random = StdRng::seed_from_u64(11);
    let mut draw = |variance: f64| -> f64 {
        let z: f64 = StandardNormal.sample(&mut random);
        variance.sqrt() * z
    };
    let mut values = Array4::zeros((dates, 1, rows, cols));
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        let mut x = 0.3 + draw(0.01);
        for t in 0..dates {
            x += draw(WALK * if t == 0 { 1.0 } else { 2.0 });
            values[(t, 0, row, col)] = x + draw(NOISE);
        }
    }
    values
}

fn dates(n: usize) -> Vec<Date> {
    (0..n as i32).map(|k| Date::from_days(2 * k)).collect()
}

fn fine(values: Array4<f64>) -> Instrument {
    let (n, _, rows, cols) = values.dim();
    let source = MemorySource::new(grid(CELL, (rows, cols)), dates(n), vec!["red".into()], values).unwrap();
    Instrument::new("fine", source).noise_variance(NOISE)
}

fn fusion(kernel: Kernel, shape: (usize, usize)) -> FusionBuilder {
    Fusion::builder(grid(CELL, shape))
        .bands(["red"])
        .process(Process::new(kernel, if kernel == Kernel::None { 0.0 } else { 1e-3 }, WALK))
        .prior(Prior::new(0.3, 0.01))
        .window(4, 0)
}

fn row(
    report: &ValidationReport,
    instrument: usize,
    estimate: PredictionKind,
    kind: Option<WithheldKind>,
) -> &ScoreRow {
    let wanted = |row: &&ScoreRow| row.estimate == estimate && row.kind == kind && row.days_since.is_none();
    report.instruments[instrument].scores.iter().find(wanted).unwrap_or_else(|| panic!("no such row in {report}"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1e-3)
}

#[test]
fn a_true_model_is_found_calibrated_by_cells_and_by_windows() {
    let (shape, values) = ((24, 24), walks(30, (24, 24)));
    let validation = Validation::new().withhold(Withhold::default().share(0.25).dates(3)).seed(3);
    let cells = validation.run(fusion(Kernel::None, shape).instrument(fine(values.clone()))).unwrap();
    // Over a range of a millimetre cells are as good as independent.
    let windows = |tile: (usize, usize)| {
        let fusion = fusion(Kernel::Exponential, shape).instrument(fine(values.clone())).tile(tile.0, tile.1);
        validation.run(fusion.lag(3)).unwrap()
    };
    let (coarse_tiles, fine_tiles) = (windows((24, 24)), windows((8, 12)));
    for kind in [None, Some(WithheldKind::Block), Some(WithheldKind::Date)] {
        let score = &row(&cells, 0, PredictionKind::Filtered, kind).score;
        assert!((score.coverage_90 - 0.9).abs() < 0.03 && (score.coverage_50 - 0.5).abs() < 0.04, "{cells}");
        assert!((score.nis_ratio - 1.0).abs() < 0.1 && (score.rms_sd / score.rmse - 1.0).abs() < 0.05, "{cells}");
        assert!((score.crps / (0.5642 * score.rmse) - 1.0).abs() < 0.03 && score.bias.abs() < 0.1 * score.rmse);
        assert!((score.sd_factor.unwrap() - 1.0).abs() < 0.1, "{cells}");
        for report in [&coarse_tiles, &fine_tiles] {
            let other = &row(report, 0, PredictionKind::Filtered, kind).score;
            assert_eq!((other.values, other.coverage_90), (score.values, score.coverage_90));
            assert!(
                close(other.rmse, score.rmse)
                    && close(other.crps, score.crps)
                    && close(other.nis_ratio, score.nis_ratio)
            );
            let smoothed = &row(report, 0, PredictionKind::Smoothed, kind).score;
            assert_eq!(smoothed.values, score.values);
            assert!(smoothed.rmse < 0.9 * score.rmse && (smoothed.coverage_90 - 0.9).abs() < 0.03, "{report}");
        }
    }
    let blocks = row(&cells, 0, PredictionKind::Filtered, Some(WithheldKind::Block)).score.values as f64;
    assert!((blocks / (26.0 * 24.0 * 24.0) - 0.25).abs() < 0.03, "{blocks}");
    assert!((cells.sd_factor.as_ref().unwrap()[0] - 1.0).abs() < 0.1);
    // Time since the latest observation: two days for most.
    let by_days: Vec<_> = coarse_tiles.instruments[0].scores.iter().filter_map(|row| row.days_since).collect();
    assert_eq!(by_days[..2], [DaysSince::Between(0, 4), DaysSince::Between(5, 8)]);
    assert_says(&coarse_tiles.to_string(), &["smoothed blocks", "filtered whole dates"]);
    assert_eq!(validation.run(fusion(Kernel::None, shape).instrument(fine(values.clone()))).unwrap(), cells);
    let other = validation.seed(4).run(fusion(Kernel::None, shape).instrument(fine(values))).unwrap();
    assert_ne!(other.instruments[0].whole_dates, cells.instruments[0].whole_dates);
}

/// A whole date of both instruments withheld, against runs that never had it: cells from what they put out, coarse pixels
/// from their innovation in a run that has them.
#[test]
fn predictions_are_those_of_a_run_that_never_saw_the_date() {
    let (shape, n) = ((6, 7), 4);
    let values = walks(n, shape);
    let coarse_grid = Grid::new(Crs::unknown(), [-50.0, 320.0, 0.0, 40.0, 0.0, -320.0], (1, 1)).unwrap();
    let coarse = |n: usize| {
        let seen = Array4::from_shape_fn((n, 1, 1, 1), |(t, ..)| 0.3 + 0.02 * t as f64);
        let dates = dates(n).into_iter().map(|date| date + 1).collect();
        let source = MemorySource::new(coarse_grid.clone(), dates, vec!["red".into()], seen).unwrap();
        Instrument::new("coarse", source).footprint(Footprint::Uniform).noise_variance(1e-4).bias(0.01)
    };
    let only = |n: usize| values.slice(ndarray::s![..n, .., .., ..]).to_owned();
    let whole = |n: usize, with_coarse: usize| {
        // One window holds everything, so that every pixel counts once.
        let process = Process::new(Kernel::Exponential, 90.0, WALK);
        fusion(Kernel::None, shape)
            .process(process)
            .window(8, 0)
            .instrument(fine(only(n)))
            .instrument(coarse(with_coarse))
    };
    // With two dates left to choose from and one asked for, a seed finds the last.
    let withhold = Withhold::default().share(0.0).dates(1);
    let last = dates(n)[n - 1];
    let fine_report = (0..20)
        .map(|seed| {
            let validation = Validation::new().seed(seed).withhold(Withhold::nothing()).withhold_of("fine", withhold);
            validation.run(whole(n, n - 1)).unwrap()
        })
        .find(|report| report.instruments[0].whole_dates == [last])
        .unwrap();
    let mut sink = MemorySink::new();
    whole(n - 1, n - 1).end(last).output(OutputDates::Dates(vec![last])).build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    let cells = || ndarray::indices(shape).into_iter();
    let error = |(row, col): (usize, usize)| mean[(0, 0, row, col)] - values[(n - 1, 0, row, col)];
    let variance = |(row, col): (usize, usize)| sd[(0, 0, row, col)].powi(2) + NOISE;
    let count = cells().count() as f64;
    let score = &row(&fine_report, 0, PredictionKind::Filtered, None).score;
    assert_eq!(score.values as f64, count);
    assert!(close(score.bias, cells().map(error).sum::<f64>() / count), "{fine_report}");
    assert!(close(score.nis_ratio, cells().map(|at| error(at).powi(2) / variance(at)).sum::<f64>() / count));
    assert!(close(score.rms_sd, (cells().map(variance).sum::<f64>() / count).sqrt()));
    assert!(fine_report.instruments[1].scores.is_empty(), "nothing of it was withheld");

    let seen = whole(n, n).build().unwrap().run(&mut MemorySink::new()).unwrap();
    let innovation = seen.instruments[1].dates.last().unwrap();
    let coarse_report = (0..20)
        .map(|seed| {
            let validation = Validation::new().seed(seed).withhold(Withhold::nothing()).withhold_of("coarse", withhold);
            validation.run(whole(n, n)).unwrap()
        })
        .find(|report| report.instruments[1].whole_dates == [last + 1])
        .unwrap();
    let score = &row(&coarse_report, 1, PredictionKind::Filtered, Some(WithheldKind::Date)).score;
    assert_eq!((score.values, innovation.values), (1, 1));
    assert!(close(score.nis_ratio, innovation.nis), "{} {}", score.nis_ratio, innovation.nis);
    // ln p = -(ln 2 π S + ν²/S)/2
    let s = (-2.0 * innovation.log_likelihood - innovation.nis).exp() / std::f64::consts::TAU;
    assert!(close(score.rms_sd.powi(2), s) && close(score.rmse.powi(2) / s, innovation.nis));
    assert!(coarse_report.sd_factor.is_none(), "no pixel of it is a cell");
}

/// Bands of a spectral basis, some pixels knowing their noise: windows at lag 0 and what is put out agree.
#[test]
fn bands_of_a_basis_are_predicted_alike_by_windows_and_from_components() {
    let shape = (8, 8);
    let matrix = Array2::from_shape_fn((3, 2), |(band, j)| 0.4 + 0.3 * j as f64 - 0.45 * (band * j) as f64);
    let basis = SpectralBasis::new(vec![500.0, 600.0, 700.0], Array1::from(vec![0.1, 0.2, 0.3]), matrix).unwrap();
    let bands = || ["a", "b", "c"].map(String::from).to_vec();
    let values = Array4::from_shape_fn((5, 3, 8, 8), |(t, b, r, c)| {
        if (t + r + c) % 6 == 0 { f64::NAN } else { 0.2 + 0.1 * ((t + 2 * b) as f64 + 0.3 * (r * c) as f64).sin() }
    });
    let noise = Array4::from_shape_fn(
        (5, 3, 8, 8),
        |(_, b, r, c)| if (r + c) % 2 == 0 { f64::NAN } else { 1e-3 * (b + 1) as f64 },
    );
    let source =
        MemorySource::new(grid(CELL, shape), dates(5), bands(), values).unwrap().with_noise_variance(noise).unwrap();
    let fusion = Fusion::builder(grid(CELL, shape))
        .bands(bands())
        .basis(basis)
        .process(Process::new(Kernel::Exponential, 90.0, 1e-2))
        .prior(Prior::new(0.0, 0.3))
        .instrument(Instrument::new("s", source).noise_variance(2e-3).bias([0.01, 0.0, -0.02]))
        .output(OutputDates::Observed);
    // Of the last date both are conditioned on the same: a lag reaches no further.
    let validation = (0..20).map(|seed| Validation::new().seed(seed).withhold(Withhold::default().share(0.0).dates(1)));
    let last = dates(5)[4];
    let report = validation
        .map(|validation| validation.run(fusion.clone().lag(1)).unwrap())
        .find(|report| report.instruments[0].whole_dates == [last])
        .unwrap();
    for band in ["a", "b", "c"] {
        let of = |estimate: PredictionKind| {
            let wanted = |row: &&ScoreRow| row.estimate == estimate && row.kind.is_none() && row.score.name == band;
            report.instruments[0].scores.iter().find(wanted).unwrap().score.clone()
        };
        let (filtered, smoothed) = (of(PredictionKind::Filtered), of(PredictionKind::Smoothed));
        assert_eq!(filtered.values, smoothed.values);
        assert!(
            close(filtered.rmse, smoothed.rmse) && close(filtered.nis_ratio, smoothed.nis_ratio),
            "{filtered:?} {smoothed:?}"
        );
        assert!(close(filtered.rms_sd, smoothed.rms_sd) && filtered.values > 40);
    }
}

#[test]
fn bands_are_printed_with_the_target_bands_they_observe() {
    let values = walks(20, (16, 16));
    let both = ndarray::concatenate(ndarray::Axis(1), &[values.view(), values.view()]).unwrap();
    let source = MemorySource::new(grid(CELL, (16, 16)), dates(20), vec!["B4".into(), "nir".into()], both).unwrap();
    let instrument = Instrument::new("fine", source).noise_variance(NOISE).observes(["red", "nir"]);
    let report =
        Validation::new().run(fusion(Kernel::None, (16, 16)).bands(["red", "nir"]).instrument(instrument)).unwrap();
    let words =
        ["filtered B4 -> red ", "filtered nir ", "error/sd: ", "sd factor: ", "[output] sd_factor = [", "] # red, nir"];
    assert_says(&report.to_string(), &words);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["bands"], serde_json::json!(["red", "nir"]));
    let named: Vec<_> =
        json["instruments"][0]["scores"].as_array().unwrap().iter().map(|row| &row["target_band"]).collect();
    assert!(named.iter().any(|name| **name == "red") && named.iter().all(|name| name.is_null() || **name == "red"));
}

#[test]
fn what_cannot_be_validated_is_said() {
    let values = walks(3, (4, 4));
    let run = |validation: Validation, values: &Array4<f64>| {
        validation.run(fusion(Kernel::None, (4, 4)).instrument(fine(values.clone()))).map(|report| report.to_string())
    };
    let refused = |validation: Validation| run(validation, &values).unwrap_err().to_string();
    assert_says(&refused(Validation::new().withhold_of("modis", Withhold::nothing())), &["modis", "fine"]);
    assert_says(&refused(Validation::new().withhold(Withhold::nothing())), &["nothing would be withheld"]);
    assert_says(&refused(Validation::new().withhold(Withhold::default().share(0.7))), &["fine", "share", "0.7"]);
    let empty = Array4::from_elem((3, 1, 4, 4), f64::NAN);
    assert_says(&run(Validation::new(), &empty).unwrap(), &["none held a value"]);
}

#[test]
fn the_factor_scales_what_is_put_out_and_nothing_else() {
    let (shape, values) = ((5, 6), walks(4, (5, 6)));
    let arrays = |fusion: FusionBuilder| {
        let mut sink = MemorySink::new();
        fusion.build().unwrap().run(&mut sink).unwrap();
        sink.into_arrays().unwrap()
    };
    // Cells one by one, windows, and windows with a lag.
    for (kernel, lag) in [(Kernel::None, 0), (Kernel::Matern32, 0), (Kernel::Matern32, 2)] {
        let fusion = || fusion(kernel, shape).lag(lag).instrument(fine(values.clone()));
        let ((mean, sd), (scaled_mean, scaled_sd)) = (arrays(fusion()), arrays(fusion().sd_factor([1.5])));
        assert_eq!(mean, scaled_mean);
        assert_eq!(sd.mapv(|sd| 1.5 * sd), scaled_sd);
        let settings =
            |fusion: FusionBuilder| fusion.build().unwrap().settings().get("output.sd_factor").map(String::from);
        assert_eq!((settings(fusion()), settings(fusion().sd_factor(1.5))), (Some("1.0".into()), Some("1.5".into())));
    }
    let basis = SpectralBasis::new(vec![500.0], Array1::from(vec![0.1]), Array2::from_elem((1, 1), 0.8)).unwrap();
    let components = || {
        fusion(Kernel::Matern32, shape)
            .basis(basis.clone())
            .space(OutputSpace::Components)
            .instrument(fine(values.clone()))
    };
    let ((_, cov), (_, scaled)) = (arrays(components()), arrays(components().sd_factor(2.0)));
    assert_eq!(cov.mapv(|cov| 4.0 * cov), scaled);
    let refused = |factor: rasterfuse::describe::Numbers| {
        fusion(Kernel::None, shape).instrument(fine(values.clone())).sd_factor(factor).build().unwrap_err().to_string()
    };
    assert_says(&refused(0.0.into()), &["output.sd_factor", "positive"]);
    assert_says(&refused([1.0, 2.0].into()), &["output.sd_factor", "2 values for 1 band"]);
    let several = components().sd_factor([1.0, 2.0]).build().unwrap_err().to_string();
    assert_says(&several, &["output.sd_factor", "components"]);
}

/// A trend that the coarse instrument sees every other day: what it adds to the last clear value is worth much.
#[test]
fn the_report_compares_fusion_and_baselines() {
    let (shape, n) = ((16, 16), 16);
    let trend = |day: i32| 0.3 + 0.01 * f64::from(day) + 0.05 * (f64::from(day) / 5.0).sin();
    let fine_values = Array4::from_shape_fn((n, 1, 16, 16), |(t, _, row, col)| {
        if (7 * t + 3 * row + col) % 5 == 0 {
            f64::NAN
        } else {
            trend(4 * t as i32) + 0.01 * ((row * col) as f64).sin()
        }
    });
    let fine_dates = (0..n as i32).map(|k| Date::from_days(4 * k)).collect();
    let fine = MemorySource::new(grid(CELL, shape), fine_dates, vec!["B4".into()], fine_values).unwrap();
    let coarse_values = Array4::from_shape_fn((32, 1, 2, 2), |(t, ..)| 0.05 + trend(2 * t as i32));
    let coarse = MemorySource::new(grid(8.0 * CELL, (2, 2)), dates(32), vec!["red".into()], coarse_values).unwrap();
    let fusion = || {
        fusion(Kernel::Exponential, shape)
            .instrument(Instrument::new("fine", fine.clone()).noise_variance(NOISE).observes(["red"]))
            .instrument(
                Instrument::new("coarse", coarse.clone()).footprint(Footprint::Uniform).noise_variance(1e-4).bias(0.05),
            )
    };
    let validation = Validation::new().withhold(Withhold::default().dates(2));
    let mut passes = Vec::new();
    let report = validation
        .run_with(fusion(), |progress| {
            assert!(progress.run.dates.0 <= progress.run.dates.1);
            passes.push((progress.pass, progress.passes, progress.run.dates.0 == progress.run.dates.1));
        })
        .unwrap();
    for (number, pass) in [(1, ValidationPass::Residuals), (2, ValidationPass::Fusion)] {
        let last = passes.iter().rfind(|(of, ..)| *of == pass).unwrap();
        assert_eq!((last.1, last.2), ((number, 2), true), "all is done at the end");
    }

    let text = report.to_string();
    let words = [
        "blocks, the same ",
        "whole dates, the same ",
        "last clear value ",
        "linear * ",
        "last + date residual ",
        "linear + date residual * ",
        "last + coarse change ",
        "linear + coarse change * ",
        "*: uses later observations",
        "coarse change of fine: that of coarse",
        "fine, blocks: fused (filtered) 0.",
        "best baseline ",
    ];
    assert_says(&text, &words);
    assert!(text.lines().last().unwrap().starts_with("coarse, "), "{text}");
    let of = |kind: WithheldKind| report.instruments[0].baselines.iter().find(|of| of.kind == kind).unwrap();
    let rmse = |kind: WithheldKind, baseline: Baseline| of(kind).baseline(baseline).unwrap().rmse;
    for kind in [WithheldKind::Block, WithheldKind::Date] {
        assert!(rmse(kind, Baseline::LastCoarse) < 0.3 * rmse(kind, Baseline::Last), "{text}");
    }
    assert!(rmse(WithheldKind::Block, Baseline::LastResidual) < 0.7 * rmse(WithheldKind::Block, Baseline::Last));
    assert!(of(WithheldKind::Date).baseline(Baseline::LastResidual).is_none(), "no clear pixels on these dates");
    assert!(report.instruments[1].baselines.iter().all(|of| of.baseline(Baseline::LastCoarse).is_none()));

    let json = serde_json::to_value(&report).unwrap();
    let first = &json["instruments"][0]["baselines"][0];
    assert_eq!(
        (&first["kind"], &first["band"], &first["fused"]),
        (&"block".into(), &"all bands".into(), &"filtered".into())
    );
    let names: Vec<_> =
        first["rows"].as_array().unwrap().iter().map(|row| (&row["predictor"], &row["uses_later"])).collect();
    assert!(names.contains(&(&"filtered".into(), &false.into())), "{names:?}");
    assert!(names.contains(&(&"linear_residual".into(), &true.into())), "{names:?}");
    assert_eq!(json["instruments"][0]["coarse"], "coarse");

    let mut plain = validation.baselines(false).run(fusion()).unwrap();
    assert!(plain.instruments.iter().all(|instrument| instrument.baselines.is_empty()));
    assert!(!plain.to_string().contains("baseline"));
    for (plain, compared) in plain.instruments.iter_mut().zip(&report.instruments) {
        assert_eq!(plain.scores, compared.scores, "the comparison changes no score");
    }
}

/// What is learned of a mean function does not reach the baselines: their values are those of the instrument.
#[test]
fn baselines_are_of_the_values_themselves() {
    let (shape, values) = ((8, 8), walks(12, (8, 8)));
    let year = (0..12).map(|k| Date::from_days(31 * k)).collect();
    let known = MemorySource::new(grid(CELL, shape), year, vec!["red".into()], walks(12, shape)).unwrap();
    let known = Instrument::new("fine", known).noise_variance(NOISE);
    let builder = SeasonalBuilder::default().without_neighbours().robust(None);
    let mean = builder.fit(&grid(CELL, shape), &["red".into()], None, &[known]).unwrap();
    let validation = Validation::new().withhold(Withhold::default().dates(2));
    let run = |fusion: FusionBuilder| validation.run(fusion.instrument(fine(values.clone()))).unwrap();
    let (plain, anomalies) =
        (run(fusion(Kernel::Exponential, shape)), run(fusion(Kernel::Exponential, shape).seasonal(mean)));
    assert_ne!(plain.instruments[0].scores, anomalies.instruments[0].scores);
    for (a, b) in plain.instruments[0].baselines.iter().zip(&anomalies.instruments[0].baselines) {
        for (a, b) in a.rows.iter().zip(&b.rows).filter(|(a, _)| matches!(a.predictor, Predictor::Baseline(_))) {
            assert!(a.predictor == b.predictor && close(a.rmse, b.rmse) && close(a.bias, b.bias), "{a:?} {b:?}");
        }
    }
}
