//! Headers that the `proj:` and `raster:` fields of STAC items promise, in place of those of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::item::{Asset, Item};
use crate::geometry::{Crs, Grid};
use crate::source::gdal::{RasterHeader, crs_from_definition};

/// Headers that were promised; equal ones are held once.
#[derive(Default)]
pub(super) struct Headers {
    known: BTreeMap<String, Option<Arc<RasterHeader>>>,
}

impl Headers {
    /// The header of an asset; `None` where the item does not say its CRS, transform and shape, or where they are no
    /// north-up grid.
    pub(super) fn of(&mut self, item: &Item, asset: &Asset) -> Option<Arc<RasterHeader>> {
        let field = |key: &str| item.field(asset, key);
        let crs = match (field("proj:code"), field("proj:epsg"), field("proj:wkt2")) {
            (Some(Value::String(code)), ..) => code.clone(),
            (None, Some(Value::Number(epsg)), _) => format!("EPSG:{epsg}"),
            (None, None, Some(Value::String(wkt))) => wkt.clone(),
            _ => return None,
        };
        // A code is looked up in a registry of this machine; an address would be fetched.
        if crs.contains("://") {
            return None;
        }
        let numbers = |key: &str| field(key)?.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let (transform, shape) = (numbers("proj:transform")?, numbers("proj:shape")?);
        let sample = asset.raster(&["data_type"]).and_then(Value::as_str).unwrap_or_default();
        let nodata = asset.raster(&["nodata"]).and_then(Value::as_f64);
        let (bands, key) =
            (asset.band_count(), format!("{crs} {transform:?} {shape:?} {sample} {nodata:?} {}", asset.band_count()));
        self.known
            .entry(key)
            .or_insert_with(|| {
                let grid = grid(&crs, &transform, &shape)?;
                Some(Arc::new(RasterHeader::promised(grid, bands, sample, nodata)))
            })
            .clone()
    }
}

/// The grid of an affine transform from (column, row) to (x, y), by rows.
fn grid(crs: &str, transform: &[f64], shape: &[f64]) -> Option<Grid> {
    let (&[a, b, c, d, e, f, ..], &[rows, cols]) = (transform, shape) else { return None };
    let crs: Crs = crs_from_definition(crs).ok()?;
    let whole = |n: f64| (n.fract() == 0.0 && (1.0..1e9).contains(&n)).then_some(n as usize);
    Grid::new(crs, [c, a, b, f, d, e], (whole(rows)?, whole(cols)?)).ok()
}
