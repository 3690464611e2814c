//! Offsets that a product's own metadata give: `MTD_MSIL2A.xml` of Sentinel-2.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Folders above a raster in which its product's metadata are looked for.
const LEVELS: usize = 6;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// The offset of reflectance, and the file that gives it, if a file of this name lies in a folder above a raster.
///
/// # Errors
/// The file, and what in it is wrong.
pub(super) fn offset_beside(raster: &Path, name: &str) -> Result<Option<f64>, (PathBuf, String)> {
    let above = raster.ancestors().skip(1).take(LEVELS).map(|folder| folder.join(name));
    let Some(path) = above.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let text = match path.metadata() {
        Ok(file) if file.len() > LARGEST => Err(format!("it is larger than {LARGEST} bytes")),
        Ok(_) => fs::read_to_string(&path).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    text.and_then(|text| offset_of(&text)).map(Some).map_err(|problem| (path, problem))
}

/// `BOA_ADD_OFFSET` over `BOA_QUANTIFICATION_VALUE`; products before baseline 04.00 have no offset.
fn offset_of(text: &str) -> Result<f64, String> {
    let numbers = |tag: &str| -> Result<Vec<f64>, String> {
        let pattern = format!(r"<{tag}(?:\s[^>]*)?>\s*([^<]*?)\s*</{tag}>");
        let regex = Regex::new(&pattern).map_err(|error| error.to_string())?;
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{tag} is {text:?}, which is no number"));
        regex.captures_iter(text).filter_map(|found| found.get(1)).map(|found| number(found.as_str())).collect()
    };
    let divisor = match numbers("BOA_QUANTIFICATION_VALUE")?.as_slice() {
        [one] if *one > 0.0 => *one,
        other => return Err(format!("BOA_QUANTIFICATION_VALUE is {other:?}, in place of one positive number")),
    };
    let offsets = numbers("BOA_ADD_OFFSET")?;
    match offsets.split_first() {
        None => Ok(0.0),
        Some((first, others)) if others.iter().all(|other| other == first) => Ok(first / divisor),
        Some(_) => Err(format!(
            "BOA_ADD_OFFSET differs from band to band, {offsets:?}; give `offset`, and an instrument for each"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_product() {
        let list = "<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id=\"0\">-1000</BOA_ADD_OFFSET>\
                    <BOA_ADD_OFFSET band_id=\"1\"> -1000 </BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST>";
        let divisor = "<BOA_QUANTIFICATION_VALUE unit=\"none\">10000</BOA_QUANTIFICATION_VALUE>";
        assert_eq!(offset_of(&format!("{divisor}{list}")), Ok(-0.1));
        assert_eq!(offset_of(divisor), Ok(0.0));
        assert!(offset_of(list).unwrap_err().contains("BOA_QUANTIFICATION_VALUE"));
        let uneven = list.replacen("-1000", "-900", 1);
        assert!(offset_of(&format!("{divisor}{uneven}")).unwrap_err().contains("band to band"));
        assert!(offset_of(&format!("{divisor}{}", list.replace("-1000", "x"))).unwrap_err().contains("no number"));
    }
}
