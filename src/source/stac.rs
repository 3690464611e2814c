//! STAC items as lists of files: read from local files, filtered, and turned into granules. Nothing is fetched to plan.

mod header;
mod item;
mod query;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use walkdir::WalkDir;

pub(crate) use item::{Asset, Item};
use query::Query;

use super::gdal::geographic_bounds;
use super::stack::Granule;
use crate::error::{Error, Result};
use crate::geometry::Grid;
use header::Headers;

/// Endings of files that hold items.
const ENDINGS: [&str; 4] = ["json", "geojson", "ndjson", "jsonl"];

/// STAC items, as catalogues give them: an `ItemCollection`, one item, items line by line, or a folder of such files.
#[derive(Debug)]
pub struct StacItems {
    items: Vec<Item>,
    /// Whether grids are taken from the items' `proj:` fields, where these are complete.
    headers: bool,
}

impl StacItems {
    /// Reads the items of a file, or of all files in a folder and those below. Items that are there twice count once.
    ///
    /// # Errors
    /// [`Error::Open`] for a file that cannot be read or holds no items.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let failed =
            |file: &Path, problem: String| Error::Open { path: file.to_path_buf(), date: None, problem, source: None };
        let mut items = Vec::new();
        if path.is_dir() {
            let files = WalkDir::new(&path).sort_by_file_name().into_iter().filter_map(std::result::Result::ok);
            let named = |file: &Path| {
                file.extension().is_some_and(|end| ENDINGS.iter().any(|known| end.eq_ignore_ascii_case(known)))
            };
            for file in files.map(walkdir::DirEntry::into_path).filter(|file| file.is_file() && named(file)) {
                let text = fs::read_to_string(&file).map_err(|error| failed(&file, error.to_string()))?;
                // Catalogues and collections lie among their items.
                items.extend(item::items_in(&text, &file).map_err(|problem| failed(&file, problem))?);
            }
        } else {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error.to_string()))?;
            items = item::items_in(&text, &path).map_err(|problem| failed(&path, problem))?;
        }
        if items.is_empty() {
            let problem = "it holds no STAC items (\"type\": \"Feature\" with \"assets\"); save those that a catalogue's search gives";
            return Err(failed(&path, problem.into()));
        }
        let mut seen = BTreeSet::new();
        items.retain(|item| seen.insert((item.collection.clone(), item.id.clone())));
        Ok(Self { items, headers: true })
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether grids are taken from `proj:` fields, where these are complete; else headers are opened. Default: yes.
    #[must_use]
    pub fn headers_of_items(mut self, trust: bool) -> Self {
        self.headers = trust;
        self
    }

    /// Leaves the items whose properties meet every condition: a value, or a table of operators as in the query
    /// extension of STAC's API (`eq`, `neq`, `lt`, `lte`, `gt`, `gte`, `in`, `startsWith`, `endsWith`, `contains`). Items without
    /// the property are left out.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown operator.
    pub fn query(mut self, conditions: &Map<String, Value>) -> Result<Self> {
        let query = Query::new(conditions).map_err(|problem| Error::setting("query", problem))?;
        self.items.retain(|item| query.holds(&item.properties));
        Ok(self)
    }

    /// Leaves the items whose `bbox` meets a grid; those without one stay.
    #[must_use]
    pub fn intersecting(mut self, target: &Grid) -> Self {
        // A grid without CRS, or around a pole, has no bounds in degrees: headers then say what reaches it.
        if let Some(bounds) = geographic_bounds(target) {
            self.items.retain(|item| item.meets(bounds));
        }
        self
    }

    /// The granules of the items, with a file for each band and one for each quality rule
    /// ([`Quality::listed`](super::Quality::listed)), for [`RasterStack::from_granules`](super::RasterStack::from_granules). Bands and
    /// quality are the key, the band or the common name of an asset. Offsets of the items are those of the granules; scale and
    /// nodata are to be given to the stack.
    ///
    /// ```no_run
    /// use rasterfuse::source::{Quality, RasterStack, StacItems};
    /// let items = StacItems::read("items.json")?;
    /// let stack = RasterStack::from_granules(items.granules(["red", "nir"], ["scl"])?)
    ///     .source_bands(["red", "nir"])
    ///     .quality(Quality::listed().keep([4.0, 5.0, 6.0]))
    ///     .scale(1e-4)
    ///     .mosaic(true)
    ///     .open()?; // asks no server where the items say their grids
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] for a band that an item does not have, [`Error::Open`] for an item without date.
    pub fn granules<S: Into<String>, Q: Into<String>>(
        &self,
        bands: impl IntoIterator<Item = S>,
        quality: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Granule>> {
        let bands: Vec<Vec<String>> = bands.into_iter().map(|name| vec![name.into()]).collect();
        let quality: Vec<Vec<String>> = quality.into_iter().map(|name| vec![name.into()]).collect();
        let offset = |item: StacGranule| {
            let offset = item.own_offset(true)?;
            Ok(offset.into_iter().fold(item.granule, Granule::offset))
        };
        self.granules_of(&bands, &quality)?.into_iter().map(offset).collect()
    }

    /// The granules of the items that have all `bands`, each by the first of its names that is the key, a band or a common
    /// name of an asset, with the assets of quality rules. Also the items' own calibration of each.
    ///
    /// # Errors
    /// [`Error::Setting`] for a band that items do not have, [`Error::Open`] for an item without date.
    pub(crate) fn granules_of(&self, bands: &[Vec<String>], quality: &[Vec<String>]) -> Result<Vec<StacGranule>> {
        let mut headers = Headers::default();
        let mut granules = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let failed = |problem: String| Error::Open {
                path: item.file.clone(),
                date: None,
                problem: format!("item {:?}: {problem}", item.id),
                source: None,
            };
            let find =
                |names: &Vec<String>| item.asset(names).map_err(|problem| Error::setting("source_bands", problem));
            let date = item.date().map_err(failed)?;
            let data = bands.iter().map(find).collect::<Result<Vec<&Asset>>>()?;
            let flags = quality.iter().map(find).collect::<Result<Vec<&Asset>>>()?;
            let path = |asset: &&Asset| item.path_of(&asset.href);
            let mut granule = Granule::new(date, data.iter().map(path));
            for flag in &flags {
                granule = granule.quality([path(flag)]);
            }
            if self.headers {
                let all = data.iter().chain(&flags).map(|asset| headers.of(item, asset));
                granule = granule.promised(all.collect());
            }
            let calibrations = data.iter().map(|asset| asset.calibration()).collect();
            granules.push(StacGranule { granule, id: item.id.clone(), calibrations, offset: item.known_offset() });
        }
        granules.sort_by(|a, b| (a.granule.date(), &a.id).cmp(&(b.granule.date(), &b.id)));
        Ok(granules)
    }

    /// Names of the assets of the first item, for messages.
    #[cfg(all(feature = "config", feature = "zarr"))]
    pub(crate) fn asset_keys(&self) -> Vec<&String> {
        self.items.first().map(|item| item.assets.keys().collect()).unwrap_or_default()
    }
}

/// An item's granule, and what the item says of its numbers.
pub(crate) struct StacGranule {
    pub(crate) granule: Granule,
    pub(crate) id: String,
    /// Scale, offset and nodata of each band.
    pub(crate) calibrations: Vec<[Option<f64>; 3]>,
    /// The offset that follows from what a product's items say in words of their own.
    pub(crate) offset: Option<f64>,
}

impl StacGranule {
    /// The offset of its values; `scaled` says whether they have a scale beside that of the item.
    ///
    /// # Errors
    /// [`Error::Setting`] where bands have offsets of their own.
    pub(crate) fn own_offset(&self, scaled: bool) -> Result<Option<f64>> {
        let first = self.calibrations.first();
        // An offset of reflectance means nothing for numbers that are not reflectance.
        if let Some(known) = self.offset.filter(|_| scaled || first.is_some_and(|own| own[0].is_some())) {
            return Ok(Some(known));
        }
        let own = first.and_then(|own| own[1]);
        match self.calibrations.iter().find(|other| other[1] != own) {
            Some(other) => Err(Error::setting(
                "offset",
                format!(
                    "bands of item {:?} have other offsets ({:?} and {:?}); give `offset`, and an instrument for each",
                    self.id, own, other[1]
                ),
            )),
            None => Ok(own),
        }
    }
}
