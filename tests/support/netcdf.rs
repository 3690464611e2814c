//! Writes NetCDF files of the classic format, attribute for attribute.

use std::fs;
use std::path::Path;

/// Numbers of a type of the format.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    Bytes(Vec<i8>),
    Shorts(Vec<i16>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Text(&'static str),
}

impl Numbers {
    fn kind(&self) -> u32 {
        match self {
            Self::Bytes(_) => 1,
            Self::Text(_) => 2,
            Self::Shorts(_) => 3,
            Self::Floats(_) => 5,
            Self::Doubles(_) => 6,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(numbers) => numbers.len(),
            Self::Text(text) => text.len(),
            Self::Shorts(numbers) => numbers.len(),
            Self::Floats(numbers) => numbers.len(),
            Self::Doubles(numbers) => numbers.len(),
        }
    }

    /// The largest byte first, filled up to a multiple of four.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = match self {
            Self::Bytes(numbers) => numbers.iter().map(|number| number.cast_unsigned()).collect(),
            Self::Text(text) => text.bytes().collect(),
            Self::Shorts(numbers) => numbers.iter().flat_map(|number| number.to_be_bytes()).collect(),
            Self::Floats(numbers) => numbers.iter().flat_map(|number| number.to_be_bytes()).collect(),
            Self::Doubles(numbers) => numbers.iter().flat_map(|number| number.to_be_bytes()).collect(),
        };
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

type Attributes<'a> = [(&'a str, Numbers)];

fn word(out: &mut Vec<u8>, number: usize) {
    out.extend((number as u32).to_be_bytes());
}

fn name(out: &mut Vec<u8>, text: &str) {
    word(out, text.len());
    out.extend(text.bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

fn attributes(out: &mut Vec<u8>, all: &Attributes<'_>) {
    word(out, if all.is_empty() { 0 } else { 12 });
    word(out, all.len());
    for (key, value) in all {
        name(out, key);
        word(out, value.kind() as usize);
        word(out, value.len());
        out.extend(value.bytes());
    }
}

/// Writes the variable `red` with axes `x` and `y` of pixel centres in metres, and a time axis where dates are given in days
/// since 2024-01-01. `values` run over time, y and x.
pub(crate) fn write_netcdf(
    path: &Path,
    (x, y): (&[f64], &[f64]),
    time: Option<&[f64]>,
    values: &Numbers,
    of_red: &Attributes<'_>,
) {
    let axis = |standard: &'static str, unit: &'static str| {
        vec![("standard_name", Numbers::Text(standard)), ("units", Numbers::Text(unit))]
    };
    let mut dimensions = vec![("y", y), ("x", x)];
    let mut variables = vec![
        ("y", vec![0], axis("projection_y_coordinate", "m"), Numbers::Doubles(y.to_vec())),
        ("x", vec![1], axis("projection_x_coordinate", "m"), Numbers::Doubles(x.to_vec())),
    ];
    let mut over = vec![0, 1];
    if let Some(days) = time {
        dimensions.push(("time", days));
        over.insert(0, 2);
        variables.push(("time", vec![2], axis("time", "days since 2024-01-01"), Numbers::Doubles(days.to_vec())));
    }
    variables.push(("red", over, of_red.to_vec(), values.clone()));
    let header = |begins: &[usize]| {
        let mut out = b"CDF\x01\0\0\0\0".to_vec();
        word(&mut out, 10);
        word(&mut out, dimensions.len());
        for (dimension, centres) in &dimensions {
            name(&mut out, dimension);
            word(&mut out, centres.len());
        }
        attributes(&mut out, &[]);
        word(&mut out, 11);
        word(&mut out, variables.len());
        for ((variable, over, of_it, numbers), begin) in variables.iter().zip(begins) {
            name(&mut out, variable);
            word(&mut out, over.len());
            over.iter().for_each(|dimension| word(&mut out, *dimension));
            attributes(&mut out, of_it);
            word(&mut out, numbers.kind() as usize);
            word(&mut out, numbers.bytes().len());
            word(&mut out, *begin);
        }
        out
    };
    // The header is as long whatever it says of where numbers begin.
    let mut at = header(&vec![0; variables.len()]).len();
    let begins: Vec<usize> = variables
        .iter()
        .map(|(.., numbers)| {
            let begin = at;
            at += numbers.bytes().len();
            begin
        })
        .collect();
    let mut file = header(&begins);
    variables.iter().for_each(|(.., numbers)| file.extend(numbers.bytes()));
    fs::write(path, file).unwrap();
}
