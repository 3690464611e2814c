//! Real Landsat and MODIS through `examples/kranj.toml`.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use ndarray::{Array4, s};
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{RasterSource, RasterStack};

/// Noise standard deviations of the bands of Landsat, as in the description.
const LANDSAT_NOISE: [f64; 6] = [2e-3, 2e-3, 2e-3, 5e-3, 5e-3, 3.2e-3];

fn stack(folder: &Path, name: &str) -> RasterStack {
    RasterStack::builder(format!("{name}_*.tif"), format!(r"{name}_(\d{{8}})")).folder(folder).open().unwrap()
}

/// Mean of the fused cells under each MODIS pixel that holds at least 15 × 15 of them, with the pixel's value: (fused, seen).
fn under_pixels(mean: &Array4<f64>, target: &Grid, start: Date, modis: &RasterStack, band: usize) -> Vec<(f64, f64)> {
    let (rows, cols) = (target.rows_under(modis.grid()), target.cols_under(modis.grid()));
    let inside = |span: &std::ops::Range<i64>, n: usize| span.start.max(0) as usize..(span.end.max(0) as usize).min(n);
    let mut pairs = Vec::new();
    for &date in modis.dates() {
        let seen = modis.read(date, &[band], &modis.grid().region()).unwrap().values;
        let time = date.days_since(start) as usize;
        for (r, c) in (0..rows.len()).flat_map(|r| (0..cols.len()).map(move |c| (r, c))) {
            let (ys, xs) = (inside(&rows[r], target.rows()), inside(&cols[c], target.cols()));
            if ys.len() >= 15 && xs.len() >= 15 {
                pairs.push((mean.slice(s![time, band, ys, xs]).mean().unwrap(), seen[(0, r, c)]));
            }
        }
    }
    pairs
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|p| f(p.0 - mx, p.1 - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn the_fused_series_keeps_landsat_and_follows_modis() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rasters = project.join("examples/data/kranj");
    let fusion = FusionConfig::read(project.join("examples/kranj.toml")).unwrap().build().unwrap();
    let mut sink = MemorySink::new();
    fusion.run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    assert_eq!(mean.dim(), (33, 6, 44, 45));
    assert!(mean.iter().all(|v| v.is_finite()) && sd.iter().all(|v| *v > 0.0 && v.is_finite()));

    let start = fusion.output_dates()[0];
    let landsat = stack(&rasters, "landsat");
    for &date in landsat.dates() {
        let seen = landsat.read(date, &[0, 1, 2, 3, 4, 5], &landsat.grid().region()).unwrap().values;
        for ((band, row, col), value) in seen.indexed_iter().filter(|(_, value)| value.is_finite()) {
            let fused = mean[(date.days_since(start) as usize, band, row, col)];
            let away = (fused - value).abs() / LANDSAT_NOISE[band];
            assert!(
                away < 2.0,
                "{date}, band {band}, cell [{row}, {col}]: {fused} is {away} sd from Landsat's {value}"
            );
        }
    }
    let modis = stack(&rasters, "modis");
    for band in 0..6 {
        let pairs = under_pixels(&mean, fusion.target(), start, &modis, band);
        assert_eq!(pairs.len(), 26 * 4);
        let bias = pairs.iter().map(|(fused, seen)| fused - seen).sum::<f64>() / pairs.len() as f64;
        let correlation = correlation(&pairs);
        assert!(correlation > 0.8 && bias.abs() < 5e-3, "band {band}: correlation {correlation}, bias {bias}");
    }
}
