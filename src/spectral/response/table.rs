//! Spectral responses in CSV files.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::SpectralResponse;
use crate::error::{Error, Result};

/// Units of the first column that are not nanometres.
const MICROMETRES: [&str; 8] =
    ["um", "\u{b5}m", "\u{3bc}m", "micron", "microns", "micrometre", "micrometres", "micrometers"];

/// Reads a table. The caller checks its numbers.
pub(super) fn read(path: &Path) -> Result<SpectralResponse> {
    let failed = |problem: String| Error::setting("response", format!("{}: {problem}", path.display()));
    let opened = ReaderBuilder::new().trim(Trim::All).from_path(path);
    let mut reader = opened.map_err(|error| failed(format!("cannot read: {error}")))?;
    let header = reader.headers().map_err(|error| failed(error.to_string()))?.clone();
    if let Some(problem) = header_problem(&header) {
        return Err(failed(problem));
    }
    let (mut wavelengths_nm, mut curves) = (Vec::new(), vec![Vec::new(); header.len() - 1]);
    for record in reader.records() {
        let record = record
            .map_err(|error| failed(format!("{error}; every line needs a cell for each column of the header")))?;
        let line = record.position().map_or(0, csv::Position::line);
        let columns = std::iter::once(&mut wavelengths_nm).chain(&mut curves);
        for ((column, text), name) in columns.zip(&record).zip(&header) {
            let number = text.parse::<f64>().map_err(|_| {
                failed(format!(
                    "line {line}, column {name:?}: {text:?} is not a number; write 0 where there is no response"
                ))
            })?;
            column.push(number);
        }
    }
    let names = header.iter().skip(1).map(str::to_owned).collect();
    Ok(SpectralResponse::Tabulated { wavelengths_nm, curves, names, file: Some(path.to_path_buf()) })
}

/// The problem with the header, if any.
fn header_problem(header: &StringRecord) -> Option<String> {
    const WANTED: &str = "a header wavelength_nm,b1,b2,... is needed";
    let first = header.get(0).unwrap_or_default().trim_start_matches('\u{feff}');
    if first.is_empty() {
        return Some(format!("it has no header; {WANTED}"));
    }
    if first.parse::<f64>().is_ok() {
        return Some(format!("its first line is a line of numbers; {WANTED}"));
    }
    let lower = first.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphabetic());
    if words.clone().any(|word| MICROMETRES.contains(&word)) {
        return Some(format!(
            "the first column, {first:?}, is in micrometres, but nanometres are needed; multiply it by 1000 and call it \
             wavelength_nm"
        ));
    }
    if !words.any(|word| word.starts_with("wavelength") || word == "nm" || word.starts_with("nanomet")) {
        return Some(format!("the first column is {first:?}, not the wavelength in nm; {WANTED}"));
    }
    (header.len() < 2).then(|| format!("only one column; {WANTED}"))
}
