//! Inputs as people have them, which lie beside the project with what is right of each. The kinds are tried with inputs of
//! the tests' own in `inputs.rs`, `odd_files.rs`, `advice.rs`, `untrusted.rs`, `area.rs` and `passed_files.rs`.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use ndarray::Axis;
use rasterfuse::Result;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::Date;
use rasterfuse::sink::MemorySink;

/// What a description comes to.
enum Right {
    /// By date: smallest and largest value of each band.
    Values(&'static [(&'static str, &'static [(f64, f64)])]),
    /// Values, and a warning with these words.
    Told(&'static [&'static str]),
    /// An error with these words.
    Refused(&'static [&'static str]),
}

use Right::{Refused, Told, Values};

const CASES: [(&str, Right); 19] = [
    (
        "signed-byte/fuse",
        Values(&[("2024-05-01", &[(-0.30, 0.20)]), ("2024-05-11", &[(-0.31, 0.21)]), ("2024-05-21", &[(-0.32, 0.22)])]),
    ),
    (
        "signed-byte/warp",
        Values(&[("2024-05-01", &[(-0.30, 0.20)]), ("2024-05-11", &[(-0.31, 0.21)]), ("2024-05-21", &[(-0.32, 0.22)])]),
    ),
    ("signed-byte/nc", Values(&[("2024-05-01", &[(-0.30, 0.20)]), ("2024-05-11", &[(-0.30, 0.20)])])),
    // The pixels of both classes keep the prior's 0.2, as the smallest of the others are.
    ("signed-byte/q", Values(&[("2024-05-01", &[(0.2, 0.2048)]), ("2024-05-11", &[(0.2, 0.2048)])])),
    ("complex/slc", Refused(&["slc_20240501.tif", "complex numbers", "magnitude"])),
    ("mask-nodata/fuse", Told(&["0 is the nodata value of 2 files", "counts as clear", "quality.nodata"])),
    ("outside/two", Refused(&["\"mod\"", "not one value was used", "does not touch the target", "place"])),
    ("baseline/fuse", Refused(&["offset_by", "N9999", "MTD_MSIL2A.xml", "`offset`"])),
    ("headers-differ/big", Told(&["nodata tags differ: 1 of 20 files", "S2_20240605.tif (2024-06-05)", "none"])),
    ("headers-differ/tag", Refused(&["S2_20240506.tif (2024-05-06)", "scale and offset tags differ"])),
    ("headers-differ/dtype", Refused(&["S2_20240506.tif (2024-05-06)", "integers and floats under one `scale`"])),
    ("headers-differ/flt", Refused(&["S2_20240501.tif (2024-05-01)", "looks like a fill value", "nodata = -3.4"])),
    (
        "band-names/half",
        Values(&[("2024-05-01", &[(0.2, 0.2049), (0.35, 0.3549)]), ("2024-05-06", &[(0.2, 0.2049), (0.35, 0.3549)])]),
    ),
    ("two-fills/fills", Values(&[("2024-05-01", &[(0.2, 0.2048)]), ("2024-05-06", &[(0.2, 0.2048)])])),
    ("two-fills/bil", Values(&[("2024-04-30", &[(0.58, 5.6)]), ("2024-05-08", &[(0.58, 5.6)])])),
    (
        "path-date/parent",
        Values(&[
            ("2024-05-01", &[(0.2, 0.2048)]),
            ("2024-05-11", &[(0.21, 0.2148)]),
            ("2024-05-21", &[(0.22, 0.2248)]),
        ]),
    ),
    ("advice/nocrs", Refused(&["NDVI.nc", "no CRS", "crs = \"EPSG:4326\""])),
    ("advice/imerg", Refused(&["imerg.nc", "(lon, lat)", "ncpdq", "transpose"])),
    ("advice/stackstac", Values(&[("2024-05-01", &[(0.2, 0.2048)]), ("2024-05-06", &[(0.2, 0.2048)])])),
];

/// Dates, smallest and largest value of each band on them, and warnings.
type Outcome = (Vec<(Date, Vec<(f64, f64)>)>, Vec<String>);

fn outcome(config: &FusionConfig) -> Result<Outcome> {
    let fusion = config.build()?;
    let mut sink = MemorySink::new();
    fusion.run(&mut sink)?;
    let dates = sink.dates().to_vec();
    let (means, _) = sink.into_arrays()?;
    let range = |plane: ndarray::ArrayView2<'_, f64>| {
        plane.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (v.min(low), v.max(high)))
    };
    let of_date = |(date, bands): (Date, ndarray::ArrayView3<'_, f64>)| (date, bands.outer_iter().map(range).collect());
    let found = dates.into_iter().zip(means.axis_iter(Axis(0))).map(of_date).collect();
    Ok((found, fusion.plan().warnings.clone()))
}

fn holds(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| text.contains(word))
}

#[test]
fn inputs_that_mislead_are_right_or_named() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    if !cases.is_dir() {
        assert!(std::env::var_os("RASTERFUSE_REQUIRE_SHARED").is_none(), "no cases at {}", cases.display());
        return;
    }
    for (name, right) in CASES {
        let path = cases.join(format!("{name}.toml"));
        match (right, FusionConfig::read(&path).and_then(|config| outcome(&config))) {
            (Refused(words), Err(error)) => assert!(holds(&error.to_string(), words), "{name}: {error}"),
            (Told(words), Ok((_, warnings))) => {
                assert!(warnings.iter().any(|warning| holds(warning, words)), "{name}: {warnings:?}");
            }
            (Values(expected), Ok((found, _))) => {
                for (date, ranges) in expected {
                    let (_, values) = found.iter().find(|(day, _)| day.to_string() == *date).expect(name);
                    let near =
                        |(a, b): (&(f64, f64), &(f64, f64))| (a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6;
                    let same = values.len() == ranges.len() && values.iter().zip(*ranges).all(near);
                    assert!(same, "{name}, {date}: {values:?}, expected {ranges:?}");
                }
            }
            (_, other) => panic!("{name}: {other:?}"),
        }
    }
    // The advice can be followed.
    let text = fs::read_to_string(cases.join("advice/nocrs.toml")).unwrap();
    let text = text.replace("[[instrument]]", "[[instrument]]\ncrs = \"EPSG:4326\"");
    assert!(outcome(&FusionConfig::parse(&text, cases.join("advice")).unwrap()).is_ok());
}
