//! Presets say what the products' own guides say: bands against a table typed from them (presets.csv), the rest here.
#![cfg(feature = "gdal")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

use std::collections::BTreeSet;

use rasterfuse::preset::Preset;
use rasterfuse::source::DayFormat;
use rasterfuse::spectral::SpectralResponse;

/// (preset, name, id, centre, width) of every line of the table.
fn published() -> Vec<(&'static str, &'static str, &'static str, f64, f64)> {
    let lines = include_str!("presets.csv").lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let [preset, name, id, centre, width] = fields[..] else { panic!("{line}") };
            (preset, name, id, centre.parse().unwrap(), width.parse().unwrap())
        })
        .collect()
}

#[test]
fn bands_are_those_published() {
    let table = published();
    for preset in Preset::all() {
        let rows: Vec<_> = table.iter().filter(|row| row.0 == preset.name).collect();
        assert_eq!(rows.len(), preset.bands.len(), "{}", preset.name);
        for (band, (_, name, id, centre, width)) in preset.bands.iter().zip(rows) {
            assert_eq!(
                (band.name, band.id, band.centre_nm, band.fwhm_nm),
                (*name, *id, *centre, *width),
                "{}",
                preset.name
            );
        }
    }
    let known: BTreeSet<&str> = Preset::all().iter().map(|preset| preset.name).collect();
    assert!(table.iter().all(|row| known.contains(row.0)));
}

/// Scale, offset, fill and valid range.
#[test]
fn stored_numbers_mean_what_is_published() {
    for (name, scale, offset, fill, range) in [
        // HLS User Guide v2.0: scale 0.0001, fill -9999.
        ("hls_l30", 1e-4, Some(0.0), -9999.0, None),
        ("hls_s30", 1e-4, Some(0.0), -9999.0, None),
        // Landsat Collection 2 Level-2 guides: 0.0000275, -0.2, fill 0.
        ("landsat_c2_l2_oli", 0.000_027_5, Some(-0.2), 0.0, None),
        ("landsat_c2_l2_tm", 0.000_027_5, Some(-0.2), 0.0, None),
        // Sentinel-2 PSD: quantification value 10000, no data 0; the offset depends on the baseline.
        ("sentinel2_l2a_10m", 1e-4, None, 0.0, None),
        ("sentinel2_l2a_20m", 1e-4, None, 0.0, None),
        // MOD09 and VIIRS guides: 0.0001, fill -28672, valid -100 to 16000.
        ("mod09ga", 1e-4, Some(0.0), -28_672.0, Some((-0.01, 1.6))),
        ("vnp09ga_500m", 1e-4, Some(0.0), -28_672.0, Some((-0.01, 1.6))),
        ("vnp09ga_1km", 1e-4, Some(0.0), -28_672.0, Some((-0.01, 1.6))),
        // MCD43A4: 0.0001, fill 32767, valid 0 to 32766.
        ("mcd43a4", 1e-4, Some(0.0), 32_767.0, Some((0.0, 3.2766))),
        ("mcd43a4_geotiff", 1e-4, Some(0.0), 32_767.0, Some((0.0, 3.2766))),
        ("vnp43ia4", 1e-4, Some(0.0), 32_767.0, Some((0.0, 3.2766))),
        ("vnp43ma4", 1e-4, Some(0.0), 32_767.0, Some((0.0, 3.2766))),
        ("mod09a1", 1e-4, Some(0.0), -28_672.0, Some((-0.01, 1.6))),
        // EMIT L2A: reflectance as it is, fill -9999; -0.01 marks bands that see nothing.
        ("emit_l2a", 1.0, Some(0.0), -9999.0, Some((0.0, 1.5))),
    ] {
        let preset = Preset::find(name).unwrap();
        assert_eq!((preset.scale, preset.offset), (Some(scale), offset), "{name}");
        assert_eq!((preset.nodata, preset.valid_range), (&[fill][..], range), "{name}");
    }
    let (pattern, steps) = Preset::find("sentinel2_l2a_10m").unwrap().offset_by.unwrap();
    assert!(pattern.contains("_N"));
    assert_eq!(steps, [(0, 0.0), (400, -1000.0 / 10_000.0)], "baseline 04.00, 25 January 2022");
    let known = Preset::find("sentinel2_l2a_20m").unwrap().offset_known;
    assert_eq!(known, Some(("MTD_MSIL2A.xml", 999)), "Collection 1 has baselines 05.00 to 05.11, and more will follow");
}

type Field = (u32, u32, Vec<u64>);

/// What hides, from the guides' bit tables.
#[test]
fn quality_rules_are_those_published() {
    type Rule = (&'static str, usize, Vec<u32>, Vec<Field>, Vec<f64>, Vec<f64>);
    let rules: [(&str, Vec<Rule>); 15] = [
        // 1 cloud, 2 adjacent to cloud or shadow, 3 cloud shadow.
        ("hls_l30", vec![("Fmask", 1, vec![1, 2, 3], vec![], vec![], vec![])]),
        ("hls_s30", vec![("Fmask", 1, vec![1, 2, 3], vec![], vec![], vec![])]),
        // 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow.
        ("landsat_c2_l2_oli", vec![("QA_PIXEL", 1, vec![0, 1, 2, 3, 4], vec![], vec![], vec![])]),
        ("landsat_c2_l2_tm", vec![("QA_PIXEL", 1, vec![0, 1, 3, 4], vec![], vec![], vec![])]),
        // 0 no data, 1 saturated or defective, 3 cloud shadow, 8 and 9 cloud, 10 thin cirrus.
        ("sentinel2_l2a_10m", vec![("SCL", 1, vec![], vec![], vec![0.0, 1.0, 3.0, 8.0, 9.0, 10.0], vec![])]),
        ("sentinel2_l2a_20m", vec![("SCL", 1, vec![], vec![], vec![0.0, 1.0, 3.0, 8.0, 9.0, 10.0], vec![])]),
        // 0-1 cloud state (1 cloudy, 2 mixed), 2 cloud shadow, 8-9 cirrus (2 average, 3 high), 10 internal cloud, 13 adjacent.
        (
            "mod09ga",
            vec![("state_1km", 1, vec![2, 10, 13], vec![(0, 1, vec![1, 2]), (8, 9, vec![2, 3])], vec![], vec![])],
        ),
        // 0 full inversion.
        ("mcd43a4", vec![("Mandatory_Quality", 1, vec![], vec![], vec![], vec![0.0])]),
        ("mcd43a4_geotiff", vec![("Mandatory_Quality", 1, vec![], vec![], vec![], vec![0.0])]),
        ("vnp43ia4", vec![("Mandatory_Quality", 1, vec![], vec![], vec![], vec![0.0])]),
        ("vnp43ma4", vec![("Mandatory_Quality", 1, vec![], vec![], vec![], vec![0.0])]),
        // As the state of mod09ga.
        (
            "mod09a1",
            vec![("state_500m", 1, vec![2, 10, 13], vec![(0, 1, vec![1, 2]), (8, 9, vec![2, 3])], vec![], vec![])],
        ),
        // QF1 2-3: 2 probably, 3 confidently cloudy. QF2: 3 shadow, 4 heavy aerosol, 6 and 7 thin cirrus.
        (
            "vnp09ga_500m",
            vec![
                ("QF1", 1, vec![], vec![(2, 3, vec![2, 3])], vec![], vec![]),
                ("QF2", 1, vec![3, 4, 6, 7], vec![], vec![], vec![]),
            ],
        ),
        (
            "vnp09ga_1km",
            vec![
                ("QF1", 1, vec![], vec![(2, 3, vec![2, 3])], vec![], vec![]),
                ("QF2", 1, vec![3, 4, 6, 7], vec![], vec![], vec![]),
            ],
        ),
        // Layer 8: aggregate flag.
        ("emit_l2a", vec![("MASK", 8, vec![], vec![], vec![1.0], vec![])]),
    ];
    assert_eq!(rules.len(), Preset::all().len());
    for (name, expected) in rules {
        let quality = Preset::find(name).unwrap().quality;
        assert_eq!(quality.len(), expected.len(), "{name}");
        for (rule, (file, layer, bits, fields, drop, keep)) in quality.iter().zip(expected) {
            let held: Vec<Field> =
                rule.fields.iter().map(|(first, last, values)| (*first, *last, values.to_vec())).collect();
            assert!(rule.files.contains(file), "{name}: {}", rule.files);
            assert_eq!((rule.layer, rule.bits.to_vec(), held), (layer, bits, fields), "{name}");
            assert_eq!((rule.drop, rule.keep), (&drop[..], &keep[..]), "{name}");
        }
    }
}

/// Days of the products that are made of several, and where among them the date of a file lies.
#[test]
fn composites_have_the_days_of_their_guides() {
    for preset in Preset::all() {
        let expected = match preset.name {
            // 16 days; the date is the ninth.
            "mcd43a4" | "mcd43a4_geotiff" | "vnp43ia4" | "vnp43ma4" => Some((16, 0.5)),
            // 8 days; the date is the first.
            "mod09a1" => Some((8, 0.0)),
            _ => None,
        };
        assert_eq!(preset.composite, expected, "{}", preset.name);
        assert_eq!(preset.composite().map(|composite| (composite.days, composite.centre)), expected);
    }
}

/// Layers with the day of each pixel: name, days of a composite, fill.
#[test]
fn layers_of_days_are_those_of_the_guides() {
    for preset in Preset::all() {
        let day = preset.day.map(|day| (day.id, day.format, day.days, day.nodata));
        let expected = match preset.name {
            "mod09a1" => Some(("day_of_year", DayFormat::DayOfYear, 8, 65535.0)),
            _ => None,
        };
        assert_eq!(day, expected, "{}", preset.name);
    }
}

#[test]
fn noise_is_the_published_accuracy_or_none() {
    for preset in Preset::all() {
        let bands: Vec<_> = preset.bands.iter().collect();
        let noise = Preset::noise_variance(&bands);
        if preset.name.contains("p43") || preset.name.starts_with("mcd43") || preset.bands.is_empty() {
            assert_eq!(noise, None, "{}: its guide gives none", preset.name);
        } else {
            // 0.005 + 0.05 ρ at ρ = 0.2.
            assert!(noise.unwrap().iter().all(|v| (v - 0.015_f64.powi(2)).abs() < 1e-15), "{}", preset.name);
        }
    }
}

#[test]
fn presets_are_complete_and_cited() {
    let mut names = BTreeSet::new();
    for preset in Preset::all() {
        assert!(names.insert(preset.name), "{} twice", preset.name);
        assert!(preset.citation.url.starts_with("https://") && !preset.citation.title.is_empty(), "{}", preset.name);
        assert_eq!(Preset::find(preset.name).unwrap(), preset);
        for band in preset.bands {
            assert_eq!((preset.band(band.name), preset.band(band.id)), (Some(band), Some(band)), "{}", preset.name);
        }
        match preset.response() {
            Some(SpectralResponse::Gaussian { centre_nm, fwhm_nm }) => {
                assert_eq!((centre_nm.len(), fwhm_nm.len()), (preset.bands.len(), preset.bands.len()));
                assert!(centre_nm.iter().all(|nm| (400.0..2500.0).contains(nm)), "{}", preset.name);
            }
            other => assert!(other.is_none() && preset.bands.is_empty(), "{}", preset.name),
        }
    }
    let message = Preset::find("modis").unwrap_err().to_string();
    assert!(message.contains("mod09ga") && message.contains("\"modis\""), "{message}");
}
