//! CF packing attributes: scale, offset and the numbers that stand for missing values.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// Which stored numbers are missing, and the conversion of the others to physical values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::source) struct Packing {
    pub(in crate::source) scale: Option<f64>,
    pub(in crate::source) offset: Option<f64>,
    /// Stored numbers that stand for missing values.
    missing: Vec<f64>,
    /// Stored numbers outside are missing.
    range: Option<(f64, f64)>,
    /// By `_Unsigned` of the NetCDF conventions: whether integers, whatever their stored type, represent unsigned or signed
    /// ones of the same width.
    unsigned: Option<bool>,
}

impl Packing {
    /// From `scale_factor`, `add_offset`, `_FillValue`, `missing_value`, `valid_range`, `valid_min` and `valid_max`.
    ///
    /// # Errors
    /// The name of an attribute that violates CF, and its problem.
    pub(in crate::source) fn new(attributes: &Map<String, Value>) -> Result<Self, String> {
        let numbers = |key: &str| match attributes.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                values.iter().map(|value| number(value).ok_or_else(|| no_number(key, value))).collect()
            }
            Some(value) => number(value).map(|value| vec![value]).ok_or_else(|| no_number(key, value)),
        };
        let single = |key: &str| numbers(key).map(|values| values.first().copied());
        let mut missing = numbers("_FillValue")?;
        missing.extend(numbers("missing_value")?);
        let mut range = (single("valid_min")?, single("valid_max")?);
        match numbers("valid_range")?[..] {
            [] => {}
            [low, high] => range = (Some(low), Some(high)),
            _ => return Err("valid_range must hold two numbers".into()),
        }
        let range = match range {
            (None, None) => None,
            (low, high) => Some((low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY))),
        };
        let unsigned = match attributes.get("_Unsigned") {
            Some(Value::Bool(unsigned)) => Some(*unsigned),
            Some(Value::String(text)) => text.to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        Ok(Self { scale: single("scale_factor")?, offset: single("add_offset")?, missing, range, unsigned })
    }

    /// Adds a stored number that means "missing".
    pub(in crate::source) fn add_missing(&mut self, value: f64) {
        self.missing.push(value);
    }

    /// Stored numbers outside are missing.
    pub(in crate::source) fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// Rounds the numbers that mean "missing" as float32 arrays do.
    pub(in crate::source) fn rounded_to_f32(mut self) -> Self {
        let round = |value: f64| f64::from(value as f32);
        self.missing.iter_mut().for_each(|value| *value = round(*value));
        self.range = self.range.map(|(low, high)| (round(low), round(high)));
        self
    }

    /// Replaces missing numbers by NaN. `values` are stored numbers: integers of `bits` bits, or floats where it is `None`.
    /// Signed integers that represent unsigned ones are converted, a negative number gains 2^`bits`; and the other way
    /// round, numbers from 2^(`bits` - 1) lose as much.
    pub(in crate::source) fn hide(&self, bits: Option<u32>, values: &mut [f64]) {
        let hide = |values: &mut [f64]| {
            for &missing in &self.missing {
                values.iter_mut().filter(|value| **value == missing).for_each(|value| *value = f64::NAN);
            }
        };
        hide(values);
        if let (Some(unsigned), Some(bits)) = (self.unsigned, bits) {
            let beyond = 2.0_f64.powi(bits as i32);
            for value in &mut *values {
                match unsigned {
                    true if *value < 0.0 => *value += beyond,
                    false if *value >= beyond / 2.0 => *value -= beyond,
                    _ => {}
                }
            }
            // Fill values may be written as signed or as unsigned numbers.
            hide(values);
        }
        if let Some((low, high)) = self.range {
            values.iter_mut().filter(|value| !(low..=high).contains(*value)).for_each(|value| *value = f64::NAN);
        }
    }
}

/// JSON has no NaN. Zarr writes it as text, and xarray writes fill values of floats as base64 of a little-endian
/// float64.
fn number(value: &Value) -> Option<f64> {
    let Value::String(text) = value else { return value.as_f64() };
    if let Ok(value) = text.parse() {
        return Some(value); // "NaN", "Infinity"
    }
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(f64::from_le_bytes(bytes.try_into().ok()?))
}

fn no_number(key: &str, value: &Value) -> String {
    format!("{key} = {value} is not a number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn packing(attributes: Value) -> Result<Packing, String> {
        match attributes {
            Value::Object(attributes) => Packing::new(&attributes),
            _ => unreachable!(),
        }
    }

    fn hidden(packing: &Packing, values: &[f64]) -> Vec<bool> {
        let mut values = values.to_vec();
        packing.hide(Some(16), &mut values);
        values.iter().map(|value| value.is_nan()).collect()
    }

    #[test]
    fn what_is_missing_is_said_in_stored_numbers() {
        let all = packing(json!({
            "_FillValue": -9, "missing_value": [7, 8], "valid_range": [-5, 100], "scale_factor": 0.5, "add_offset": 1.0
        }));
        let all = all.unwrap();
        assert_eq!((all.scale, all.offset), (Some(0.5), Some(1.0)));
        assert_eq!(
            hidden(&all, &[-9.0, -5.0, 7.0, 8.0, 9.0, 100.0, 101.0]),
            [true, false, true, true, false, false, true]
        );
        let low = packing(json!({ "valid_min": 0 })).unwrap();
        assert_eq!(hidden(&low, &[-1.0, 0.0, 1e30]), [true, false, false]);
        // What xarray writes for -9999.0.
        let encoded = packing(json!({ "_FillValue": "AAAAAICHw8A=" })).unwrap();
        assert_eq!(hidden(&encoded, &[-9999.0, 0.0]), [true, false]);
        let rounded = packing(json!({ "_FillValue": 0.1 })).unwrap().rounded_to_f32();
        assert_eq!(hidden(&rounded, &[f64::from(0.1_f32), 0.1]), [true, false]);
        assert_eq!(packing(json!({})).unwrap(), Packing::default());
    }

    #[test]
    fn integers_are_of_the_sign_that_the_attribute_says() {
        let read = |attributes: Value, bits: Option<u32>| {
            let mut values = [200.0, -56.0, 100.0, 255.0];
            packing(attributes).unwrap().hide(bits, &mut values);
            values.map(|value| (!value.is_nan()).then_some(value))
        };
        let [low, high] = [[-56.0, -56.0, 100.0], [200.0, 200.0, 100.0]].map(|values| values.map(Some));
        for (says, expected) in [(json!("false"), low), (json!(false), low), (json!("True"), high), (json!(true), high)]
        {
            let values = read(json!({ "_Unsigned": says, "_FillValue": -1, "missing_value": 255 }), Some(8));
            assert_eq!(values, [expected[0], expected[1], expected[2], None], "{says}");
        }
        let plain = [Some(200.0), Some(-56.0), Some(100.0), Some(255.0)];
        assert_eq!(read(json!({ "_Unsigned": "false" }), None), plain);
        assert_eq!(read(json!({ "_Unsigned": "perhaps" }), Some(8)), plain);
    }

    #[test]
    fn attributes_of_another_kind_are_named() {
        assert!(packing(json!({ "scale_factor": "half" })).unwrap_err().contains("scale_factor"));
        assert!(packing(json!({ "valid_range": [1, 2, 3] })).unwrap_err().contains("valid_range"));
    }
}
