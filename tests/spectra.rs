//! Spectral responses and bases: what bands see of a spectrum, tables and arrays in files, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ShapeBuilder, array};
use numpy::Npz;
use rasterfuse::spectral::{SpectralBasis, SpectralResponse};

use support::assert_says;

fn fixture(name: &str) -> Npz {
    Npz::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.npz")))
}

#[test]
fn gaussian_weights_are_those_of_the_golden_cases() {
    for (name, instruments) in [("tiny", 2), ("smoother", 2)] {
        let mut case = fixture(name);
        let wavelengths = case.list("waves");
        for k in 0..instruments {
            let [centres, widths] = ["centres", "fwhm"].map(|what| case.list(&format!("inst{k}_srf_{what}")));
            let expected: Array2<f64> = case.array(&format!("inst{k}_R"));
            let response = SpectralResponse::gaussian(centres, widths).unwrap();
            let weights = response.weights(&wavelengths).unwrap();
            assert_eq!((response.bands(), weights.dim()), (expected.nrows(), expected.dim()));
            for ((band, wavelength), value) in expected.indexed_iter() {
                assert!((weights[(band, wavelength)] - value).abs() < 1e-14, "{name} {k} {band} {wavelength}");
            }
        }
    }
}

/// (folder, path) of a table with this text.
fn table(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("response.csv");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn tables_are_linear_between_their_knots_and_zero_beyond() {
    let (_folder, path) =
        table("wavelength_nm, b1,\"b2, wide\"\r\n500, 0, 1\r\n510, 1, 1\r\n530, 0, 2\r\n600, 0, 0\r\n");
    let read = SpectralResponse::from_csv(path).unwrap();
    let made = SpectralResponse::tabulated(
        [500.0, 510.0, 530.0, 600.0],
        vec![vec![0.0, 1.0, 0.0, 0.0], vec![1.0, 1.0, 2.0, 0.0]],
    );
    let wavelengths = [490.0, 500.0, 505.0, 510.0, 515.0, 565.0, 600.0, 610.0];
    let weights = read.weights(&wavelengths).unwrap();
    assert_eq!(weights, made.unwrap().weights(&wavelengths).unwrap());
    for (band, values) in
        [[0.0, 0.0, 0.5, 1.0, 0.75, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0, 1.25, 1.0, 0.0, 0.0]].iter().enumerate()
    {
        let sum: f64 = values.iter().sum();
        for (k, value) in values.iter().enumerate() {
            assert!((weights[(band, k)] - value / sum).abs() < 1e-15, "{band} {k}");
        }
    }
}

#[test]
fn a_byte_order_mark_and_other_names_of_the_wavelength_are_read() {
    for header in ["\u{feff}wavelength_nm,red", "Wavelength (nm),red", "wavelength,red", "SR_WL [nm],red"] {
        let (_folder, path) = table(&format!("{header}\n600,0\n650,1\n700,0\n"));
        assert_eq!(SpectralResponse::from_csv(path).unwrap().weights(&[640.0, 660.0]).unwrap()[(0, 0)], 0.5);
    }
}

fn refused(text: &str) -> String {
    let (_folder, path) = table(text);
    let message = SpectralResponse::from_csv(path).unwrap_err().to_string();
    assert_says(&message, &["response: ", "response.csv: "]);
    message
}

#[test]
fn tables_in_micrometres_are_refused_with_file_and_fix() {
    for text in [
        "wavelength_nm,b1\n0.50,0\n0.55,1\n0.60,0\n",
        "wavelength_um,b1\n0.50,0\n0.55,1\n0.60,0\n",
        "wavelength (\u{b5}m),b1\n0.50,0\n0.55,1\n0.60,0\n",
        "Wavelength [\u{3bc}m],b1\n500,0\n550,1\n",
    ] {
        assert_says(&refused(text), &["micrometres", "nanometres", "by 1000"]);
    }
    let message = SpectralResponse::gaussian([0.443, 0.865], [0.016, 0.028]).unwrap_err().to_string();
    assert_says(&message, &["response: ", "0.443 to 0.865", "micrometres", "multiply them by 1000"]);
}

#[test]
fn broken_tables_are_refused_with_line_and_fix() {
    for (text, words) in [
        ("wavelength_nm,b1\n500,0\n510,x\n", &["line 3", "\"b1\"", "\"x\" is not a number", "write 0"][..]),
        ("wavelength_nm,b1\n500,0\n510,\n", &["line 3", "\"b1\"", "\"\" is not a number"]),
        ("wavelength_nm,b1,b2\n500,0\n", &["every line needs a cell for each column"]),
        ("wavelength_nm,b1\n510,0\n500,1\n", &["510 is followed by 500", "sort them"]),
        ("wavelength_nm,b1,b2\n500,1,0\n510,1,0\n", &["band 2", "nowhere positive", "leave it out"]),
        ("wavelength_nm,b1\n500,1\n", &["1 wavelengths", "two or more"]),
        ("wavelength_nm,b1\n500,1\n510,nan\n", &["band 1 holds NaN", "write 0"]),
        ("wavelength_nm\n500\n510\n", &["only one column", "wavelength_nm,b1,b2"]),
        ("500,0.5\n510,1\n", &["line of numbers", "wavelength_nm,b1,b2"]),
        ("band,b1\n500,0.5\n510,1\n", &["\"band\"", "wavelength_nm,b1,b2"]),
        ("", &["no header", "wavelength_nm,b1,b2"]),
    ] {
        assert_says(&refused(text), words);
    }
    let message = SpectralResponse::from_csv("nowhere/response.csv").unwrap_err().to_string();
    assert_says(&message, &["response: nowhere/response.csv: cannot read"]);
}

#[test]
fn responses_that_do_not_overlap_are_refused_with_band_and_ranges() {
    let wavelengths: Vec<f64> = (0..100).map(|k| 400.0 + 10.0 * f64::from(k)).collect();
    let weights = |response: rasterfuse::Result<SpectralResponse>| response.unwrap().weights(&wavelengths);

    // Far beyond, in fractions that underflow, and just beyond a width from the end.
    for centre in [2200.0, 1501.1] {
        let message = weights(SpectralResponse::gaussian([500.0, centre], [20.0, 111.0])).unwrap_err().to_string();
        let range = format!("{:.1} to {:.1} nm", centre - 111.0, centre + 111.0);
        assert_says(&message, &["response: band 2", &range, "400 to 1390 nm", "leave the band out"]);
    }
    let edge = weights(SpectralResponse::gaussian([1500.9], [111.0])).unwrap();
    assert!((edge.sum() - 1.0).abs() < 1e-12);

    // Between two wavelengths that are far apart for it.
    let narrow = weights(SpectralResponse::gaussian([505.0], [0.4])).unwrap_err().to_string();
    assert_says(&narrow, &["band 1", "504.6 to 505.4 nm", "500.0 nm", "nanometres?"]);

    let (_folder, path) = table("wavelength_nm,b1,b2\n500,1,0.01\n600,1,0.01\n1590,0,0.01\n1600,0,1\n1700,0,1\n");
    let message = weights(SpectralResponse::from_csv(path)).unwrap_err().to_string();
    assert_says(&message, &["response.csv: band 2", "1600.0 to 1700.0 nm", "400 to 1390 nm", "leave the band out"]);

    let message = SpectralResponse::gaussian([500.0], [20.0]).unwrap().weights(&[0.45, 0.55]).unwrap_err().to_string();
    assert_says(&message, &["target.wavelengths_nm", "0.45 to 0.55", "multiply them by 1000"]);
    let message = SpectralResponse::gaussian([500.0], [20.0]).unwrap().weights(&[]).unwrap_err().to_string();
    assert_says(&message, &["target.wavelengths_nm", "empty"]);
}

#[test]
fn responses_without_sense_are_refused() {
    for (response, words) in [
        (SpectralResponse::gaussian([500.0], [20.0, 30.0]), &["1 centres and 2 widths"][..]),
        (SpectralResponse::gaussian([500.0, 600.0], [20.0, 0.0]), &["FWHM of band 2 is 0", "positive"]),
        (SpectralResponse::gaussian([500.0, f64::NAN], [20.0, 20.0]), &["centre of band 2 is NaN"]),
        (SpectralResponse::gaussian([], []), &["no bands"]),
        (SpectralResponse::tabulated([500.0, 600.0], vec![vec![1.0]]), &["band 1 has 1 values for 2 wavelengths"]),
        (SpectralResponse::tabulated([500.0, 600.0], vec![]), &["no bands"]),
    ] {
        assert_says(&response.unwrap_err().to_string(), &[&["response: "], words].concat());
    }
}

fn basis() -> SpectralBasis {
    let matrix = array![[1.0, 0.5], [0.25, -2.0], [0.0, 4.0]];
    SpectralBasis::new(vec![450.0, 550.0, 650.0], array![0.1, 0.2, 0.3], matrix).unwrap()
}

#[test]
fn a_basis_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new/basis");
    basis().write(&place).unwrap();
    let wavelengths: Array1<f64> = numpy::read(place.join("wavelengths_nm.npy"));
    let read = SpectralBasis::read(place.join("basis_mean.npy"), place.join("basis.npy"), wavelengths.to_vec());
    assert_eq!(read.unwrap(), basis());
}

#[test]
fn bases_of_float32_and_in_fortran_order_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let [mean, matrix] = ["mean.npy", "matrix.npy"].map(|name| folder.path().join(name));
    let values = basis().mean().mapv(|value| value as f32);
    numpy::write(&mean, &values);
    let mut fortran = Array2::<f32>::zeros((3, 2).f());
    fortran.assign(&basis().matrix().mapv(|value| value as f32));
    numpy::write(&matrix, &fortran);
    let text = String::from_utf8_lossy(&fs::read(&matrix).unwrap()).into_owned();
    assert!(text.contains("'fortran_order': True") && text.contains("f4"), "{text}");

    let read = SpectralBasis::read(&mean, &matrix, basis().wavelengths_nm().to_vec()).unwrap();
    assert_eq!(read.matrix(), basis().matrix());
    assert!(read.mean().iter().zip(basis().mean()).all(|(a, b)| (a - b).abs() < 1e-7));
}

#[test]
fn bases_that_do_not_fit_are_refused_with_file_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let [mean, matrix] = ["basis_mean.npy", "basis.npy"].map(|name| folder.path().join(name));
    let wavelengths = || basis().wavelengths_nm().to_vec();
    let refused = |wavelengths: Vec<f64>| SpectralBasis::read(&mean, &matrix, wavelengths).unwrap_err().to_string();
    assert_says(&refused(wavelengths()), &["basis.mean: ", "basis_mean.npy: cannot read"]);

    basis().write(folder.path()).unwrap();
    assert_says(&refused(vec![450.0, 550.0]), &["basis.mean: ", "basis_mean.npy", "3 values for 2 wavelengths"]);
    let micrometres = refused(vec![0.45, 0.55, 0.65]);
    assert_says(&micrometres, &["target.wavelengths_nm: ", "0.45 to 0.65", "micrometres", "multiply them by 1000"]);

    numpy::write(&matrix, &basis().matrix().t().as_standard_layout());
    assert_says(&refused(wavelengths()), &["basis.matrix: ", "basis.npy", "(2, 3)", "3 wavelengths", "transpose it"]);
    numpy::write(&mean, &array![1_i64, 2, 3]);
    assert_says(&refused(wavelengths()), &["basis_mean.npy", "i8", "float64 or float32", "astype"]);
    numpy::write(&mean, basis().matrix());
    assert_says(&refused(wavelengths()), &["basis_mean.npy", "2 dimensions", "shape (3 wavelengths)"]);
    fs::write(&mean, "wavelength,mean\n").unwrap();
    assert_says(&refused(wavelengths()), &["basis_mean.npy", "not a file of numpy.save"]);
    basis().write(folder.path()).unwrap();
    let bytes = fs::read(&mean).unwrap();
    fs::write(&mean, &bytes[..bytes.len() - 3]).unwrap();
    assert_says(&refused(wavelengths()), &["basis_mean.npy", "ends too early"]);
}
