//! Whether the bands of a series, which are its dates, mean the same.

use super::builder::OpenedVariable;
use crate::error::{Error, Result};
use crate::source::Calibration;
use crate::source::gdal::{BandTags, same_crs};

/// What is to be said of the headers of a variable's bands.
///
/// # Errors
/// [`Error::Open`] where scale, offset or unit differ, so that the same numbers would mean something else.
pub(super) fn warnings(opened: &OpenedVariable, calibration: &Calibration) -> Result<Vec<String>> {
    let Some((first, others)) = opened.header.tags.split_first() else { return Ok(Vec::new()) };
    let differing = |says: &dyn Fn(&BandTags) -> String| {
        let usual = says(first);
        let odd: Vec<usize> = (1..).zip(others).filter(|(_, tags)| says(tags) != usual).map(|(band, _)| band).collect();
        let band = *odd.first()?;
        let date = opened.dates.get(band).map_or_else(String::new, |date| format!(" ({date})"));
        let (count, all, found) = (odd.len(), opened.header.tags.len(), says(&opened.header.tags[band]));
        Some(format!("{count} of {all} bands, first band {}{date}: {found}, the first band {usual}", band + 1))
    };
    let refuse = |problem: String| Err(Error::Open { path: opened.path.clone(), date: None, problem, source: None });
    let tag = |given: Option<f64>, own: Option<f64>, none: f64| given.or(own).unwrap_or(none) as f32;
    let scale = |tags: &BandTags| {
        let (scale, offset) = (tag(calibration.scale, tags.scale, 1.0), tag(calibration.offset, tags.offset, 0.0));
        format!("scale {scale}, offset {offset}")
    };
    if let Some(differing) = differing(&scale) {
        return refuse(format!(
            "scale and offset tags differ: {differing}; correct the tags, or give `scale` and `offset` for all of them"
        ));
    }
    if let Some(differing) = differing(&BandTags::plain_unit) {
        return refuse(format!("units differ: {differing}; convert them, or make an instrument of each"));
    }
    let nodata = |tags: &BandTags| {
        let own = tags.missing().filter(|nodata| !calibration.nodata.contains(nodata));
        own.map_or_else(|| "none".into(), |nodata| format!("{nodata:?}"))
    };
    let nodata =
        differing(&nodata).map(|differing| format!("nodata tags differ: {differing}; give `nodata` for all of them"));
    let useless = (first.nodata.is_some() && !first.holds_nodata()).then(|| {
        let nodata = first.nodata.unwrap_or(f64::NAN);
        format!("its nodata tag {nodata:?} hides nothing, because {} cannot hold it; give `nodata`", first.sample)
    });
    let range = first.odd_range.map(|(low, high)| {
        format!(
            "its attribute valid_range, [{low}, {high}], looks like that of other numbers than those that are stored: numbers outside \
             are missing; remove the attribute where it does not fit"
        )
    });
    let date = opened.other_date.map(|(band, own)| {
        let listed = opened.dates.get(band).map_or_else(String::new, ToString::to_string);
        format!(
            "`dates` differ from those of the file: band {} is of {own} by its header, and listed as {listed}",
            band + 1
        )
    });
    Ok([nodata, useless, range, date].into_iter().flatten().collect())
}

/// The first property in which two variables differ.
pub(super) fn difference(first: &OpenedVariable, other: &OpenedVariable) -> Option<&'static str> {
    let (a, b) = (&first.header.grid, &other.header.grid);
    if a.geotransform() != b.geotransform() || a.shape() != b.shape() || !same_crs(a.crs(), b.crs()) {
        Some("another grid")
    } else if first.dates != other.dates {
        Some("other dates")
    } else {
        None
    }
}
