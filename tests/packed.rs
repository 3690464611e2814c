//! Stores that hold rounded or whole numbers: what readers get, what is lost, and how such a series goes on.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use ndarray::{Array3, Array4};
use rasterfuse::describe::{Codec, Encoding};
use rasterfuse::engine::{FusionBuilder, Start};
use rasterfuse::geometry::Date;
use rasterfuse::sink::{FusedSeries, MemorySink, ZarrFormat, ZarrSink, verify};
use rasterfuse::source::RasterSource;
use support::{assert_says, tree, two_bands};

const SHAPE: (usize, usize) = (13, 17);

/// Two bands over so many days, observed every third; a column is never observed and has the prior.
fn fusion(days: i32) -> FusionBuilder {
    two_bands(SHAPE, (0..days).step_by(3), 1e-5, |(_, col)| (col == 7).then_some(f64::NAN))
        .end(Date::from_days(days - 1))
        .index("ndvi", "(nir - red) / (nir + red)")
        .tile(8, 8)
}

/// Means and standard deviations, as computed.
fn computed(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>) {
    let mut sink = MemorySink::new();
    builder.build().unwrap().run(&mut sink).unwrap();
    sink.into_arrays().unwrap()
}

/// Those of a date of a store.
fn stored(path: &Path, time: usize) -> (Array3<f64>, Array3<f64>) {
    let series = FusedSeries::open(path).unwrap();
    series.values(series.dates()[time], &[0, 1, 2], &series.grid().region()).unwrap()
}

fn bytes(path: &Path) -> u64 {
    tree(path).values().map(|file| file.len() as u64).sum()
}

#[test]
fn readers_get_what_was_computed_to_the_step_that_was_asked_for() {
    let (mean, sd) = computed(fusion(5));
    let codecs = [(Codec::BloscLz4, 5), (Codec::BloscLz4hc, 9), (Codec::BloscZstd, 1), (Codec::BloscZlib, 6)];
    for format in [ZarrFormat::V2, ZarrFormat::V3] {
        for (k, (codec, level)) in codecs.into_iter().chain([(Codec::Zstd, 9), (Codec::None, 0)]).enumerate() {
            let (steps, share) = ((1e-4, 1e-5), 0.01);
            let whole = Encoding::int16(steps.0).sd_scale(steps.1).add_offset(0.25);
            // Types and codecs do not know of each other: all types with one codec, one with the others.
            let floats = if k == 0 { vec![Encoding::float32(), Encoding::rounded(share)] } else { Vec::new() };
            for encoding in floats.into_iter().chain([whole]).map(|one| one.codec(codec, level)) {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("fused.zarr");
                let mut sink = ZarrSink::create(&path).format(format);
                fusion(5).encoding(encoding).build().unwrap().run(&mut sink).unwrap();
                for time in [0, 4] {
                    let (means, sds) = stored(&path, time);
                    let computed = mean.index_axis(ndarray::Axis(0), time);
                    let spread = sd.index_axis(ndarray::Axis(0), time);
                    for (at, computed) in computed.indexed_iter() {
                        // An index of the prior alone may mean nothing.
                        if computed.is_nan() {
                            assert!(means[at].is_nan(), "{encoding} {at:?}");
                            continue;
                        }
                        let allowed = match encoding {
                            one if one == whole.codec(codec, level) => (0.5 * steps.0, 0.5 * steps.1),
                            one if one == Encoding::float32().codec(codec, level) => (0.0, 0.0),
                            _ => (0.5 * share * spread[at], 0.5 * share * spread[at]),
                        };
                        let float32 = 1e-7 * (computed.abs() + spread[at]);
                        assert!((means[at] - computed).abs() <= allowed.0 + float32, "{encoding} {at:?}");
                        assert!((sds[at] - spread[at]).abs() <= allowed.1 + float32, "{encoding} {at:?}");
                    }
                }
                assert!(verify(&path).unwrap().is_whole(), "{encoding}");
            }
        }
    }
}

#[test]
fn metadata_say_what_numbers_are() {
    let folder = tempfile::tempdir().unwrap();
    let written = |format, name: &str| {
        let path = folder.path().join(name);
        let encoding = Encoding::int16(1e-3).codec(Codec::Zstd, 9);
        let fusion = fusion(4).encoding(encoding).build().unwrap();
        fusion.run(&mut ZarrSink::create(&path).format(format)).unwrap();
        path
    };
    let json =
        |path: std::path::PathBuf| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let three = written(ZarrFormat::V3, "three.zarr");
    let sd = json(three.join("sd/zarr.json"));
    assert_eq!((&sd["data_type"], &sd["fill_value"]), (&"uint16".into(), &65_535.into()));
    assert_eq!(sd["codecs"][1]["name"], "zstd");
    assert_eq!(sd["codecs"][1]["configuration"]["level"], 9);
    let step = sd["attributes"]["scale_factor"].as_f64().unwrap();
    assert!((step - 1e-4).abs() < 1e-12 && sd["attributes"]["_FillValue"] == 65_535);
    let mean = json(three.join("mean/zarr.json"));
    assert_eq!((&mean["data_type"], &mean["attributes"]["_FillValue"]), (&"int16".into(), &(-32_768).into()));
    assert!(mean["attributes"].get("add_offset").is_none());
    let settings = &json(three.join("zarr.json"))["attributes"]["rasterfuse"]["settings"];
    assert_eq!((&settings["output.dtype"], &settings["output.scale"]), (&"int16".into(), &"0.001".into()));
    let two = json(written(ZarrFormat::V2, "two.zarr").join("mean/.zarray"));
    assert_eq!(
        (&two["dtype"], &two["fill_value"], &two["compressor"]["id"]),
        (&"<i2".into(), &(-32_768).into(), &"zstd".into())
    );
    // An attribute that was taken out is not guessed.
    let broken = three.join("mean/zarr.json");
    let mut document = mean;
    document["attributes"].as_object_mut().unwrap().remove("scale_factor");
    fs::write(&broken, document.to_string()).unwrap();
    let message = FusedSeries::open(&three).unwrap_err().to_string();
    assert_says(&message, &["three.zarr", "mean", "scale_factor"]);
}

#[test]
fn values_out_of_range_are_missing_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fused.zarr");
    // Means reach 0.32; the prior's standard deviation is larger than any sd that fits.
    let encoding = Encoding::int16(1e-5).sd_scale(1e-6);
    let report = fusion(4).encoding(encoding).build().unwrap().run(&mut ZarrSink::create(&path)).unwrap();
    let (mean, sd) = computed(fusion(4));
    let lost = |mean: f64, sd: f64| (mean / 1e-5).abs().round() > 32_767.0 || (sd / 1e-6).round() > 65_534.0;
    let expected = mean.iter().zip(&sd).filter(|(mean, sd)| lost(**mean, **sd)).count();
    assert!(expected > 0 && expected < mean.len());
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    let count = format!("{expected} of {} values", mean.len());
    assert_says(&report.to_string(), &[&count, "out of the range of int16", "output.scale", "0.32767"]);
    for time in 0..4 {
        let (means, sds) = stored(&path, time);
        for (at, value) in means.indexed_iter() {
            let of = [time, at.0, at.1, at.2];
            assert_eq!(value.is_nan(), mean[of].is_nan() || lost(mean[of], sd[of]), "{of:?}");
            assert_eq!(sds[at].is_nan(), value.is_nan(), "{of:?}");
        }
    }
    // Steps that hold everything are not spoken of.
    let path = folder.path().join("wide.zarr");
    let report = fusion(4).encoding(Encoding::int16(1e-4)).build().unwrap().run(&mut ZarrSink::create(&path)).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn appending_goes_on_in_the_same_numbers_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    for (k, encoding) in
        [Encoding::rounded(0.02), Encoding::int16(1e-4).codec(Codec::BloscZstd, 3)].into_iter().enumerate()
    {
        let (whole, grown) =
            (folder.path().join(format!("whole{k}.zarr")), folder.path().join(format!("grown{k}.zarr")));
        let run = |days: i32, path: &Path, start: Start, encoding: Encoding| {
            let fusion = fusion(days).encoding(encoding).build().unwrap();
            fusion.job().start(start).run(&mut ZarrSink::create(path))
        };
        run(12, &whole, Start::New, encoding).unwrap();
        run(7, &grown, Start::New, encoding).unwrap();
        let message = run(12, &grown, Start::Append, Encoding::default()).unwrap_err().to_string();
        assert_says(&message, &["output."]);
        run(12, &grown, Start::Append, encoding).unwrap();
        for array in ["mean/c", "sd/c"] {
            assert_eq!(tree(&whole.join(array)), tree(&grown.join(array)), "{array} {encoding}");
        }
        assert!(verify(&grown).unwrap().is_whole());
    }
}

#[test]
fn plans_and_stores_are_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let size = |encoding: Encoding, name: &str| {
        let path = folder.path().join(name);
        let fusion = fusion(30).encoding(encoding).build().unwrap();
        fusion.run(&mut ZarrSink::create(&path)).unwrap();
        (fusion.plan().store_bytes, bytes(&path.join("mean/c")) + bytes(&path.join("sd/c")), fusion.plan().to_string())
    };
    let (plain, rounded) = (size(Encoding::default(), "plain"), size(Encoding::rounded(0.01), "rounded"));
    let whole = size(Encoding::int16(1e-4).sd_scale(1e-4), "whole");
    assert_eq!((plain.0, plain.0), (rounded.0, 2 * whole.0));
    assert!(rounded.1 * 3 < plain.1 * 2 && whole.1 * 2 < plain.1, "{} {} {}", plain.1, rounded.1, whole.1);
    assert!(whole.2.contains("int16 in steps of 0.0001") && !plain.2.contains("float32;"), "{}", whole.2);
}
