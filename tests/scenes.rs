//! Whole scenes from files, through TOML, the engine and the store, against a dense reference that knows no remainder
//! states (`tests/scenes/make_scenes.py`).
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;

use std::path::{Path, PathBuf};

use ndarray::{Array4, Ix0};
use numpy::read;
use rasterfuse::config::FusionConfig;
use rasterfuse::sink::MemorySink;

fn scenes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenes");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scenes: Vec<_> = entries.filter(|path| path.join("fuse.toml").exists()).collect();
    scenes.sort();
    scenes
}

/// Fuses a scene with a lag and compares with the expected arrays whose names begin with `prefix`.
fn check(lag: usize, prefix: &str) {
    let scenes = scenes();
    assert!(scenes.len() >= 10, "{scenes:?}");
    for scene in scenes {
        let toml = std::fs::read_to_string(scene.join("fuse.toml")).unwrap();
        let toml = format!("{toml}\n[smoothing]\nlag = {lag}\n");
        let fusion = FusionConfig::parse(&toml, &scene).unwrap().build().unwrap();
        let mut sink = MemorySink::new();
        let report = fusion.run(&mut sink).unwrap();
        let (mean, sd) = sink.into_arrays().unwrap();
        let expected_mean: Array4<f64> = read(scene.join(format!("expected_{prefix}mean.npy")));
        let expected_sd: Array4<f64> = read(scene.join(format!("expected_{prefix}sd.npy")));
        let name = scene.file_name().unwrap().to_string_lossy();
        assert_eq!(mean.dim(), expected_mean.dim(), "{name}");
        for (at, spread) in expected_sd.indexed_iter() {
            let (got, expected) = (mean[at], expected_mean[at]);
            assert!((got - expected).abs() <= 1e-9 * spread, "{name}: mean {at:?} is {got}, not {expected}");
            assert!((sd[at] - spread).abs() <= 1e-9 * spread, "{name}: sd {at:?} is {}, not {spread}", sd[at]);
        }
        let expected = read::<Ix0>(scene.join("expected_loglik.npy")).into_scalar();
        let got = report.log_likelihood();
        assert!((got - expected).abs() <= 1e-9 * expected.abs(), "{name}: log-likelihood {got}, not {expected}");
    }
}

#[test]
fn every_scene_agrees_with_the_reference() {
    check(0, "");
}

#[test]
fn every_scene_smoothed_agrees_with_the_reference() {
    check(2, "lagged_");
}
