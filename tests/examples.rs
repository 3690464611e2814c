//! What the examples share and is more than drawing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../examples/common/mod.rs"]
mod common;

use common::canvas::{Scale, number, round_step};
use common::png::palette;
use common::score::Score;
use common::{png, random};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rasterfuse::geometry::{Crs, Date, Grid};

#[test]
fn scores_leave_out_what_is_missing() {
    let score = Score::of_estimates(&[1.0, 2.0, f64::NAN, 4.0], &[1.0, 0.1, 1.0, 1.0], &[1.5, 3.0, 1.0, f64::NAN]);
    assert_eq!(score.count(), 2);
    assert!((score.rmse() - (1.25_f64 / 2.0).sqrt()).abs() < 1e-12);
    assert!((score.bias() + 0.75).abs() < 1e-12 && (score.mean_sd() - 0.55).abs() < 1e-12);
    assert!((score.coverage() - 0.5).abs() < 1e-12);
    let mut twice = score;
    twice += score;
    assert_eq!((twice.count(), twice.rmse()), (4, score.rmse()));
    assert_eq!(Score::of(&[1.0], &[3.0]).rmse(), 2.0);
}

#[test]
fn steps_of_scales_are_round() {
    for (span, step) in [(0.4, 0.1), (0.35, 0.05), (0.08, 0.02), (9.0, 2.0), (40.0, 10.0), (0.0, 1.0)] {
        assert!((round_step(span) / step - 1.0).abs() < 1e-9, "{span}: {}", round_step(span));
    }
    assert_eq!([number(0.25, 0.05), number(0.5, 0.1), number(30.0, 10.0)], ["0.25", "0.5", "30"]);
    let values: Vec<f64> = (0..1000).map(|k| f64::from(k) / 1000.0).chain([f64::NAN, 99.0]).collect();
    let scale = Scale::of(&values, colorous::VIRIDIS);
    assert!(scale.low == 0.0 && (scale.high - 1.0).abs() < 1e-9 && (scale.step - 0.2).abs() < 1e-9);
    assert_eq!(scale.colour(0.2), scale.colour(0.2001));
    assert_ne!(scale.colour(0.2), scale.colour(0.3));
    assert_eq!(scale.since(Date::from_ymd(2024, 5, 1).unwrap()).label(31.0), "1 Jun");
}

#[test]
fn a_palette_keeps_few_colours_and_stands_for_many() {
    let few = [[1, 2, 3], [200, 0, 0], [1, 2, 3]].concat();
    let (colours, indices) = palette(&few);
    assert_eq!((colours, indices), (vec![[1, 2, 3], [200, 0, 0]], vec![0, 1, 0]));
    let many: Vec<u8> = (0..4000_u32).flat_map(|k| [(k % 256) as u8, (k / 256 * 16) as u8, 7]).collect();
    let (colours, indices) = palette(&many);
    assert_eq!((colours.len(), indices.len()), (256, 4000));
    for (pixel, index) in many.chunks(3).zip(&indices) {
        let off = pixel.iter().zip(colours[usize::from(*index)]).map(|(a, b)| u32::from(a.abs_diff(b)));
        assert!(off.max().unwrap() <= 24);
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    png::write(file.path(), (3, 1), &few).unwrap();
    let decoder = ::png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file.path()).unwrap()));
    let reader = decoder.read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().height), (3, 1));
}

#[test]
fn random_fields_have_unit_variance_and_clouds_their_share() {
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (120, 120)).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let field = random::rough_field(&grid, 60.0, &mut rng);
    assert!((field.var(0.0) - 1.0).abs() < 0.2, "{}", field.var(0.0));
    // Cells two apart are a range apart.
    let pairs =
        || field.rows().into_iter().flat_map(|row| row.to_vec().windows(3).map(|w| (w[0], w[2])).collect::<Vec<_>>());
    let correlation =
        pairs().map(|(a, b)| a * b).sum::<f64>() / pairs().map(|(a, b)| 0.5 * (a * a + b * b)).sum::<f64>();
    assert!((correlation - (-1.0_f64).exp()).abs() < 0.1, "{correlation}");
    let hidden = random::clouds(&grid, 300.0, 0.3, &mut rng);
    let share = hidden.iter().filter(|cloud| **cloud).count() as f64 / hidden.len() as f64;
    assert!((share - 0.3).abs() < 1e-3);
    let fields = random::patchwork(&grid, 20, &mut rng);
    assert!(fields.iter().all(|value| (0.0..=1.0).contains(value)));
}
