//! Composites of which each pixel is of a day of its own: fused as daily values are, and what is refused.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, Array3, Array4, Axis};
use rasterfuse::config::FusionConfig;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{DayFormat, DaySource, MemorySource, RasterSource};
use rasterfuse::{Fusion, Result};
use support::{Missing, Sample, Tiff, assert_says, day, refusal};
use tempfile::TempDir;

const SHAPE: (usize, usize) = (6, 7);
const UTM: &str = "EPSG:32633";

fn target() -> Grid {
    Grid::new(Crs::unknown(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], SHAPE).unwrap()
}

/// Mean and standard deviation of the fused series.
fn fused(source: impl RasterSource + 'static) -> (Array4<f64>, Array4<f64>) {
    let process = Process::new(Kernel::Exponential, 60.0, 2e-4);
    let builder = Fusion::builder(target()).bands(["red", "nir"]).process(process).prior(Prior::new(0.3, 0.05));
    let builder = builder.instrument(Instrument::new("modis", source).noise_variance(1e-4)).tile(4, 3);
    let mut sink = MemorySink::new();
    builder.build().unwrap().run(&mut sink).unwrap();
    sink.into_arrays().unwrap()
}

#[test]
fn composites_with_their_days_are_fused_as_the_daily_values_are() {
    const DAYS: usize = 8;
    let composites = 3;
    let value = |t: usize, band: usize, row: usize, col: usize| {
        let missing = (t + 2 * row + 3 * col).is_multiple_of(11);
        if missing { f64::NAN } else { 0.2 + 0.01 * ((7 * t + 5 * band + 3 * row + col) % 23) as f64 }
    };
    // No pixel of some days, all days in others.
    let of_day = |t: usize, row: usize, col: usize| (5 * t + row * row + 2 * col) % if t == 1 { 3 } else { DAYS };
    let bands = || vec!["red".to_owned(), "nir".to_owned()];
    let starts: Vec<Date> = (0..composites).map(|t| day((DAYS * t) as i32 - 11)).collect();
    let values = Array4::from_shape_fn((composites, 2, SHAPE.0, SHAPE.1), |(t, b, r, c)| value(t, b, r, c));
    let numbers = Array4::from_shape_fn((composites, 1, SHAPE.0, SHAPE.1), |(t, _, r, c)| {
        let date = starts[t] + of_day(t, r, c) as i32;
        f64::from(date.day_of_year().unwrap())
    });
    let daily = Array4::from_shape_fn((DAYS * composites, 2, SHAPE.0, SHAPE.1), |(k, b, r, c)| {
        let t = k / DAYS;
        if of_day(t, r, c) == k % DAYS { value(t, b, r, c) } else { f64::NAN }
    });
    let dates: Vec<Date> = (0..DAYS * composites).map(|k| starts[0] + k as i32).collect();
    let memory = |dates: &[Date], bands, values| MemorySource::new(target(), dates.to_vec(), bands, values).unwrap();
    let composites = memory(&starts, bands(), values);
    let layer = memory(&starts, vec!["day".into()], numbers);
    let by_day = DaySource::new(Arc::new(composites), Arc::new(layer), DayFormat::DayOfYear, Some(DAYS)).unwrap();
    assert_eq!(by_day.dates(), dates);
    assert!(dates.iter().any(|date| date.day_of_year() == Some(1)), "no turn of the year");
    let (found, expected) = (fused(by_day), fused(memory(&dates, bands(), daily)));
    let bits = |array: &Array4<f64>| array.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found.0), bits(&expected.0));
    assert_eq!(bits(&found.1), bits(&expected.1));
}

/// A band's name, and its value in a row and column.
type Band<'a> = (&'a str, &'a dyn Fn(usize, usize) -> f64);

/// A file of uint16 with a band for each of `bands`.
fn put(folder: &Path, name: &str, bands: &[Band<'_>]) {
    let planes = bands.iter().map(|(_, value)| Array2::from_shape_fn(SHAPE, |(row, col)| value(row, col)));
    let planes: Vec<_> = planes.collect();
    let views: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
    let values: Array3<f64> = ndarray::stack(Axis(0), &views).unwrap();
    let names = bands.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing = Missing::Nodata(65535.0);
    let tiff = Tiff { crs: Some(UTM), sample: Sample::U16, missing, names, ..Tiff::new(&target(), values.view()) };
    tiff.write(&folder.join(name));
}

/// A description whose fused value of a day is what was observed on it.
fn description(instrument: &str) -> String {
    format!(
        r#"
        [target]
        geotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]
        shape = [6, 7]
        crs = "{UTM}"
        bands = ["red"]
        [time]
        output = "observed"
        [process]
        kernel = "none"
        variance = 0.01
        [prior]
        mean = 0.5
        variance = 1.0
        [[instrument]]
        name = "modis"
        {instrument}
        noise_variance = 1e-9
        [output]
        store = "out.zarr"
        "#
    )
}

fn run(folder: &TempDir, instrument: &str) -> Result<(Vec<Date>, Array4<f64>, Report)> {
    let fusion = FusionConfig::parse(&description(instrument), folder.path())?.build()?;
    let mut sink = MemorySink::new();
    let report = fusion.run(&mut sink)?;
    let dates = sink.dates().to_vec();
    Ok((dates, sink.into_arrays()?.0, report))
}

fn refused(folder: &TempDir, instrument: &str) -> String {
    refusal(run(folder, instrument))
}

/// Two composites at the turn of the year: columns are of days 361, 362, ..., and 2, 3, ...
fn shelf() -> TempDir {
    let folder = TempDir::new().unwrap();
    // 2023-12-27 is day 361 of 365; column 6 is of a day that the composite cannot hold.
    let first = |_, col: usize| [361.0, 362.0, 365.0, 1.0, 2.0, 65535.0, 200.0][col];
    put(folder.path(), "c_20231227.tif", &[("red", &|row, _| 1000.0 + row as f64), ("doy", &first)]);
    put(
        folder.path(),
        "c_20240101.tif",
        &[("red", &|row, _| 2000.0 + row as f64), ("doy", &|_, col| 2.0 + col as f64)],
    );
    folder
}

const FILES: &str = "files = \"c_*.tif\"\ndate = '_(\\d{8})'\nscale = 1e-4\n";

#[test]
fn a_band_of_the_files_gives_the_days() {
    let folder = shelf();
    let keys = "source_bands = [\"red\"]\nday = { band = \"doy\", format = \"doy\", days = 8 }";
    let (dates, mean, report) = run(&folder, &format!("{FILES}{keys}")).unwrap();
    let at = |date: &str, row: usize, col: usize| {
        let date: Date = date.parse().unwrap();
        mean[(dates.iter().position(|held| *held == date).unwrap(), 0, row, col)]
    };
    assert_eq!((dates.len(), dates[0].to_string()), (13, "2023-12-27".into()));
    for (date, row, col, value) in [
        ("2023-12-27", 2, 0, 0.1002),
        ("2023-12-31", 3, 2, 0.1003),
        ("2024-01-01", 4, 3, 0.1004),
        // Both composites hold day 2: in columns 4 and 0.
        ("2024-01-02", 5, 4, 0.1005),
        ("2024-01-02", 5, 0, 0.2005),
        ("2024-01-08", 0, 6, 0.2),
        // Not observed yet: the prior's mean.
        ("2024-01-07", 0, 6, 0.5),
    ] {
        assert!((at(date, row, col) - value).abs() < 1e-6, "{date} {row} {col}: {}", at(date, row, col));
    }
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert_says(&report.notes[0], &["modis", "outside the window", "200 on 2023-12-27", "day.format"]);
}

#[test]
fn a_preset_knows_its_layer() {
    let folder = TempDir::new().unwrap();
    let name = |layer: &str| format!("MOD09A1.061_sur_refl_{layer}_doy2024121_aid0001.tif");
    put(folder.path(), &name("b01"), &[("", &|_, _| 1000.0)]);
    put(folder.path(), &name("day_of_year"), &[("", &|_, col| if col == 0 { 123.0 } else { 65535.0 })]);
    put(folder.path(), &name("state_500m"), &[("", &|row, _| if row == 0 { 1.0 } else { 0.0 })]);
    let files = "preset = \"mod09a1\"\nfiles = \"MOD09A1.061_sur_refl_{band}_doy*.tif\"\ndate = '_doy(\\d{7})'\n\
                 quality = { files = \"MOD09A1.061_sur_refl_state_500m_doy*.tif\", fields = [{ bits = [0, 1], values = [1, 2] }] }\n";
    let (dates, mean, report) = run(&folder, &format!("{files}day = true")).unwrap();
    assert_eq!((dates.len(), dates[2]), (8, "2024-05-02".parse().unwrap()));
    let first_column: Vec<bool> = (0..SHAPE.0).map(|row| (mean[(2, 0, row, 0)] - 0.1).abs() < 1e-6).collect();
    assert_eq!(first_column, [false, true, true, true, true, true]);
    assert!((mean[(7, 0, 1, 1)] - 0.5).abs() < 1e-6 && (mean[(1, 0, 1, 0)] - 0.5).abs() < 1e-6);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let (dates, ..) = run(&folder, &format!("{files}day = {{ days = 4 }}")).unwrap();
    assert_eq!(dates.len(), 4);
    // Without the key a composite is of its date.
    let (dates, ..) = run(&folder, &format!("{files}day = false")).unwrap();
    assert_eq!(dates.len(), 1);
}

#[test]
fn what_does_not_go_with_days_is_refused_with_what_to_do() {
    let folder = shelf();
    let red = "source_bands = [\"red\"]\n";
    let cases: [(&str, &[&str]); 8] = [
        ("day = true", &["day.band", "name the band"]),
        ("day = { band = \"doy\" }", &["day.format", "\"offset\""]),
        ("day = { band = \"dog\", format = \"doy\" }", &["day.band", "dog", "doy"]),
        ("day = { band = \"doy\", format = \"doy\", days = 0 }", &["day.days", "1 to 366"]),
        ("day = { band = \"doy\", format = \"doy\", day = 8 }", &["day.day", "did you mean `days`"]),
        ("day = 8", &["day", "true or a table"]),
        ("day = { band = \"doy\", format = \"doy\" }\ncomposite = { days = 8 }", &["composite", "no average"]),
        ("day = { band = \"doy\", format = \"doy\" }\nreproject = \"bilinear\"", &["reproject", "nearest"]),
    ];
    for (keys, words) in cases {
        let message = refused(&folder, &format!("{FILES}{red}{keys}"));
        assert_says(&message, words);
        assert_says(&message, &["modis"]);
    }
    let all_bands = "bands = [\"red\", \"\"]\nday = { band = \"doy\", format = \"doy\" }";
    assert_says(&refused(&folder, &format!("{FILES}{all_bands}")), &["source_bands", "would be read as values"]);
    // Days since the date, where the layer has days of the year.
    let misread = format!("{FILES}{red}day = {{ band = \"doy\", format = \"offset\", days = 1 }}");
    assert_says(&refused(&folder, &misread), &["modis", "of another day", "`format`"]);
    let preset =
        "preset = \"emit_l2a\"\nfiles = \"c_*.tif\"\ndate = '_(\\d{8})'\ndate_format = \"%Y%m%d\"\nquality = []\n";
    let message = refused(&folder, &format!("{preset}{red}bands = [\"red\"]\nday = true"));
    assert_says(&message, &["modis", "day.band", "emit_l2a has no layer"]);
}
