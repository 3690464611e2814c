//! Checks of wavelengths.

/// Optical instruments measure from about 300 to 15 000 nm, which is 0.3 to 15 µm.
const LEAST_NM: f64 = 100.0;

/// The problem with wavelengths that should increase and be in nm, and what to do; `None` when there is none.
pub(crate) fn wavelength_problem(wavelengths_nm: &[f64]) -> Option<String> {
    if let Some(value) = wavelengths_nm.iter().find(|value| !value.is_finite()) {
        return Some(format!("the wavelength {value} is not finite"));
    }
    if let Some(pair) = wavelengths_nm.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Some(format!("{} is followed by {}; wavelengths must increase: sort them", pair[0], pair[1]));
    }
    unit_problem(wavelengths_nm)
}

/// The problem with the unit of wavelengths in any order, if any.
pub(crate) fn unit_problem(wavelengths_nm: &[f64]) -> Option<String> {
    let largest = wavelengths_nm.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = wavelengths_nm.iter().copied().fold(f64::INFINITY, f64::min);
    if wavelengths_nm.is_empty() || largest >= LEAST_NM {
        return None;
    }
    Some(format!(
        "wavelengths from {smallest} to {largest} look like micrometres, but nanometres are needed; multiply them by 1000"
    ))
}
