//! Formulas of bands against values and derivatives worked out otherwise.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::*;

fn names() -> Vec<String> {
    ["blue", "red", "nir", "B8A", "band 1", "a-b", "sqrt"].map(String::from).to_vec()
}

const VALUES: [f64; 7] = [0.05, 0.1, 0.4, 0.3, 2.0, 5.0, 7.0];

fn formula(text: &str) -> Formula {
    Formula::new(text, &names()).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

/// Value and sd where all bands have these values and this covariance.
fn at(text: &str, values: &[f64], cov: impl Fn(usize, usize) -> f64) -> (f64, f64) {
    let formula = formula(text);
    let mean: Vec<f64> = formula.bands().iter().map(|&band| values[band]).collect();
    let pairs =
        formula.bands().iter().enumerate().flat_map(|(k, &a)| formula.bands()[..=k].iter().map(move |&b| (a, b)));
    let cov: Vec<f64> = pairs.map(|(a, b)| cov(a, b)).collect();
    formula.evaluate(&mean, &cov, &mut Stack::default())
}

fn value(text: &str) -> f64 {
    at(text, &VALUES, |_, _| 0.0).0
}

#[test]
fn expressions_mean_what_they_mean_on_paper() {
    let [blue, red, nir, b8a, one, ab, root] = VALUES;
    for (text, expected) in [
        ("nir", nir),
        ("  ( nir-red )/( nir + red )  ", (nir - red) / (nir + red)),
        ("nir - red - blue", nir - red - blue),
        ("nir / red / blue", nir / red / blue),
        ("nir / red * blue", nir / red * blue),
        ("nir + red * blue ^ 2", nir + red * blue * blue),
        ("-nir^2", -nir * nir),
        ("(-nir)^2", nir * nir),
        ("2^-nir * red", 2_f64.powf(-nir) * red),
        ("-nir * -red", nir * red),
        ("- -nir - -red", nir + red),
        ("exp(-(nir - red)^2 / (2 * 0.15^2))", (-(nir - red).powi(2) / (2.0 * 0.15 * 0.15)).exp()),
        (
            "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
            2.5 * (nir - red) / (nir + 6.0 * red - 7.5 * blue + 1.0),
        ),
        (".5e-1 * nir + 1.E1 + 2e+0", 0.05 * nir + 12.0),
        ("B8A * {B8A} + {band 1} - {a-b}", b8a * b8a + one - ab),
        ("sqrt(nir) + sqrt + ln(nir) * log10 ( red )", nir.sqrt() + root + nir.ln() * red.log10()),
        ("tanh(((nir - red) / (nir + red))^2)", ((nir - red) / (nir + red)).powi(2).tanh()),
    ] {
        let value = value(text);
        assert!((value - expected).abs() <= 1e-14 * expected.abs(), "{text}: {value}, not {expected}");
    }
}

#[test]
fn what_cannot_be_read_is_said_where_it_is() {
    let deep = format!("{}nir{}", "(".repeat(51), ")".repeat(51));
    let long = format!("nir{}", " + nir".repeat(200));
    for (text, says) in [
        ("", &["a band, a number or \"(\" is expected at its end"][..]),
        ("(nir - red / (nir + red)", &["an operator or \")\" is expected at its end"]),
        ("nir - red)", &["an operator is expected at \")\""]),
        ("nir red", &["an operator is expected at \"red\"", "*"]),
        ("2 nir", &["an operator is expected at \"nir\""]),
        ("8A + nir", &["at \"A + nir\"", "{band 1}"]),
        ("nir + * red", &["at \"* red\""]),
        ("nir +", &["a band, a number or \"(\" is expected at its end"]),
        ("nir ^ 2 ^ 3", &["at \"^ 3\"", "parentheses"]),
        ("0,5 * nir", &["an operator is expected at \",5 * nir\""]),
        ("2(nir)", &["at \"(nir)\"", "*"]),
        ("nir (red)", &["\"nir\" is no function", "sqrt, exp, ln, log10, tanh", "*"]),
        ("log(nir)", &["\"log\" is no function"]),
        ("{nir", &["\"}\" is expected at its end"]),
        ("{} + nir", &["the name of a band is expected"]),
        ("nri - red", &["\"nri\" is no band", "\"blue\", \"red\", \"nir\""]),
        ("1 + 2", &["holds no band"]),
        ("1e999 * nir", &["is expected"]),
        (&deep, &["50 deep"]),
        (&long, &["longer than 1000"]),
    ] {
        let problem = Formula::new(text, &names()).map(|_| ()).unwrap_err();
        says.iter().for_each(|words| assert!(problem.contains(words), "{text}: {problem}; not {words}"));
    }
}

#[test]
fn uncertainty_follows_from_derivatives_by_hand() {
    let [_, r, n, ..] = VALUES;
    let cov = |a: usize, b: usize| match (a.min(b), a.max(b)) {
        (1, 1) => 4e-5,
        (2, 2) => 9e-5,
        (1, 2) => 3e-5,
        _ => 0.0,
    };
    let by_hand = |of_red: f64, of_nir: f64| {
        (of_red * of_red * 4e-5 + of_nir * of_nir * 9e-5 + 2.0 * of_red * of_nir * 3e-5).sqrt()
    };
    let sum = n + r;
    let root = ((2.0 * n + 1.0).powi(2) - 8.0 * (n - r)).sqrt();
    for (text, of_red, of_nir) in [
        ("(nir - red) / (nir + red)", -2.0 * n / (sum * sum), 2.0 * r / (sum * sum)),
        ("nir / red", -n / (r * r), 1.0 / r),
        ("nir^red", n.powf(r) * n.ln(), r * n.powf(r - 1.0)),
        ("nir^-2 * 3 + red^0", 0.0, -6.0 * n.powi(-3)),
        ("(red - nir)^3", 3.0 * (r - n).powi(2), -3.0 * (r - n).powi(2)),
        (
            "(2 * nir + 1 - sqrt((2 * nir + 1)^2 - 8 * (nir - red))) / 2",
            -2.0 / root,
            1.0 - ((2.0 * n + 1.0) - 2.0) / root,
        ),
        ("ln(nir) - log10(red)", -1.0 / (r * std::f64::consts::LN_10), 1.0 / n),
        ("exp(nir) * tanh(red)", n.exp() * (1.0 - r.tanh().powi(2)), n.exp() * r.tanh()),
    ] {
        let (_, sd) = at(text, &VALUES, cov);
        let expected = by_hand(of_red, of_nir);
        assert!((sd - expected).abs() <= 1e-12 * expected, "{text}: {sd}, not {expected}");
    }
    // What is certain has no spread.
    assert_eq!(at("nir - nir + red * 0", &VALUES, cov), (0.0, 0.0));
}

#[test]
fn first_order_is_what_samples_show_where_bands_are_well_known() {
    let mut random = StdRng::seed_from_u64(7);
    // Correlated by 0.6.
    let (sd_red, sd_nir, correlation) = (0.004, 0.01, 0.6_f64);
    let cov = |a: usize, b: usize| match (a, b) {
        (1, 1) => sd_red * sd_red,
        (2, 2) => sd_nir * sd_nir,
        _ => correlation * sd_red * sd_nir,
    };
    for text in
        ["(nir - red) / (nir + red)", "1.5 * (nir - red) / (nir + red + 0.5)", "tanh(((nir - red) / (nir + red))^2)"]
    {
        let (mean, sd) = at(text, &VALUES, cov);
        let formula = formula(text);
        let (mut sum, mut squares, n) = (0.0, 0.0, 40_000);
        for _ in 0..n {
            let (a, b): (f64, f64) = (random.sample(StandardNormal), random.sample(StandardNormal));
            let red = VALUES[1] + sd_red * a;
            let nir = VALUES[2] + sd_nir * (correlation * a + (1.0 - correlation * correlation).sqrt() * b);
            let (value, _) = formula.evaluate(&[red, nir], &[0.0; 3], &mut Stack::default());
            sum += value - mean;
            squares += (value - mean).powi(2);
        }
        let (bias, spread) = (sum / f64::from(n), (squares / f64::from(n)).sqrt());
        // 40 000 samples know a standard deviation to 0.35 %.
        assert!((spread / sd - 1.0).abs() < 0.02, "{text}: {spread} and {sd}");
        assert!(bias.abs() < 0.05 * sd, "{text}: {bias}");
    }
}

#[test]
fn there_is_no_value_where_it_means_nothing() {
    // Independent bands whose sds are 0.1 each, so that of a sum is 0.1414.
    let of = |text: &str, red: f64, nir: f64| {
        at(text, &[0.0, red, nir, 0.0, 0.0, 0.0, 0.0], |a, b| if a == b { 0.01 } else { 0.0 })
    };
    let ndvi = "(nir - red) / (nir + red)";
    let nothing = |(mean, sd): (f64, f64)| mean.is_nan() && sd.is_nan();
    assert!(nothing(of(ndvi, 0.2, 0.22)) && nothing(of(ndvi, -0.2, -0.22)), "|d| = 0.42 < 3 × 0.1414");
    assert!(!nothing(of(ndvi, 0.2, 0.23)) && !nothing(of(ndvi, -0.2, -0.23)), "|d| = 0.43 > 3 × 0.1414");
    for text in ["1 / nir", "nir^-1", "nir^0.5", "sqrt(nir)", "ln(nir)", "log10(nir)", "red * (1 / nir)", "nir^red"] {
        assert!(nothing(of(text, 1.0, 0.29)) && !nothing(of(text, 1.0, 0.31)), "{text}");
    }
    // Whole powers, and what divides by a number, mean something everywhere.
    for text in ["nir^2 / 3", "nir^3 + nir^0 + nir^1", "exp(nir)", "tanh(nir)"] {
        assert!(!nothing(of(text, 1.0, 0.0)), "{text}");
    }
    // No finite number of float32, and what is missing.
    for text in ["nir / 0", "exp(1000 * nir)", "exp(100 * nir)", "ln(-1 * nir)", "(-1 * nir)^0.5", "sqrt(0) * nir"] {
        assert!(nothing(of(text, 1.0, 1.0)), "{text}");
    }
    assert!(nothing(of(ndvi, f64::NAN, 0.3)) && nothing(of(ndvi, 0.3, f64::NAN)) && !nothing(of("nir", f64::NAN, 0.3)));
}

proptest! {
    #[test]
    fn any_text_comes_back(text in "[a-z(){}+*/^., 0-9eE-]{0,40}", other in ".{0,40}") {
        for text in [text, other] {
            if let Ok(formula) = Formula::new(&text, &["e".into(), "a".into()]) {
                let n = formula.bands().len();
                formula.evaluate(&vec![0.3; n], &vec![0.01; pair(n - 1, n - 1) + 1], &mut Stack::default());
            }
        }
    }
}
