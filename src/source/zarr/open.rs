//! Builder of Zarr cubes: variables, dates, bands and grid from the metadata of a store.

use std::sync::Arc;

use serde_json::{Map, Value};
use zarrs::array::Array;

use super::chunks::ChunkCache;
use super::folder::{Arrays, EPSG, Folder, GRID_MAPPINGS, grid_mapping};
use super::georeference::{self, PixelAxis};
use super::variable::{self, Variable};
use super::{DimensionNames, ZarrCube};
use crate::error::{Error, Result};
use crate::geometry::{Crs, Grid};
use crate::source::calibration::calibration_setters;
use crate::source::cf::{self, Acquisitions};
use crate::source::{Calibration, Remote};
use crate::storage::Place;

/// Memory for decoded chunks that hold several dates, unless the chunks under a tile need more.
const CACHE_BYTES: u64 = 128 << 20;

/// Longest time of one request, repetitions and pause before the first of them, where [`Remote`] does not say.
const TIMEOUT_SECONDS: f64 = 60.0;
const RETRIES: u32 = 4;
const RETRY_SECONDS: f64 = 1.0;

/// Largest length of a coordinate: metadata must not make a program ask for all memory there is.
const MOST_COORDINATES: usize = 1 << 26;

/// Largest number of chunks that a tile no larger than a chunk meets.
const CHUNKS_UNDER_A_TILE: u64 = 9;

/// Builder of a [`ZarrCube`]; [`open`](Self::open) finishes it.
#[derive(Clone, Debug)]
pub struct CubeBuilder {
    place: Place,
    remote: Remote,
    variables: Vec<String>,
    dimensions: DimensionNames,
    crs: Option<Crs>,
    calibration: Calibration,
    cache_bytes: Option<u64>,
}

impl CubeBuilder {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            remote: Remote::default(),
            variables: Vec::new(),
            dimensions: DimensionNames::default(),
            crs: None,
            calibration: Calibration::default(),
            cache_bytes: None,
        }
    }

    /// The variable that holds the values, with or without a band axis. Default: the only one with axes for time, y
    /// and x.
    #[must_use]
    pub fn variable(self, name: impl Into<String>) -> Self {
        self.variables([name])
    }

    /// The variables, one for each band. The bands take their names.
    #[must_use]
    pub fn variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.variables = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names of dimensions that cannot be derived from attributes (`axis`, `standard_name`, `units`) or common names.
    #[must_use]
    pub fn dimensions(mut self, names: DimensionNames) -> Self {
        self.dimensions = names;
        self
    }

    /// The CRS. It replaces the one that the store gives.
    #[must_use]
    pub fn crs(mut self, crs: Crs) -> Self {
        self.crs = Some(crs);
        self
    }

    calibration_setters!();

    /// Memory for decoded chunks that hold several dates. A chunk is decoded once for all of its dates as long as the
    /// chunks under a tile fit. Default: 128 MiB, or nine chunks of all bands where these are larger.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// How a server is asked, if it is on one: in place of what the place says ([`Place::options`]), which is the default,
    /// and not of a place that was used before.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.place = self.place.patience(
            remote.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
            remote.retries.unwrap_or(RETRIES),
            remote.retry_seconds.unwrap_or(RETRY_SECONDS),
        );
        self.remote = remote;
        self
    }

    /// Reads the metadata and coordinates.
    ///
    /// # Errors
    /// [`Error::Open`] for a store that cannot be read, that is not evenly spaced, or that has two acquisitions on
    /// one day; [`Error::Setting`] for variables or dimensions that are missing or whose role is unknown, and for a
    /// malformed calibration.
    pub fn open(self) -> Result<ZarrCube> {
        self.calibration.validate()?;
        self.remote.check()?;
        let store = Store::open(&self.place, &self.variables)?;
        let cube = self.open_in(&store);
        // Nothing is missing because a server failed.
        store.folder.opened().map_err(|problem| store.failed(problem))?;
        cube
    }

    fn open_in(self, store: &Store) -> Result<ZarrCube> {
        let mut variables = self.open_variables(store)?;
        for &nodata in &self.calibration.nodata {
            variables.iter_mut().for_each(|variable| variable.add_missing(nodata));
        }
        let Some(first) = variables.first() else { return Err(Error::setting("variables", "an empty list")) };
        let (grid, flipped) = self.georeference(store, first)?;
        let acquisitions = store.acquisitions(first)?;
        let bands = match (&variables[..], first.axes.band) {
            ([only], Some(axis)) => store.band_names(only, axis)?,
            _ => variables.iter().map(|variable| variable.name.clone()).collect(),
        };
        let cache = ChunkCache::new(self.chunks_held(&variables));
        let Self { place, calibration, remote, .. } = self;
        Ok(ZarrCube { place, remote, grid, acquisitions, bands, variables, flipped, calibration, cache })
    }

    /// The requested variables, all on the same axes.
    fn open_variables(&self, store: &Store) -> Result<Vec<Variable>> {
        let names = if self.variables.is_empty() { vec![self.only_variable(store)?] } else { self.variables.clone() };
        let mut variables: Vec<Variable> = Vec::with_capacity(names.len());
        for name in &names {
            let refuse = |problem: String| Error::setting("variables", format!("{name:?} {problem}"));
            if !store.names.contains(name) {
                let (path, held) = (self.place.name().display(), &store.names);
                return Err(refuse(if store.complete {
                    format!("is not in {path}, which holds {held:?}")
                } else {
                    format!("is no array at {path}/{name}; check its name, and that {path} is its group")
                }));
            }
            let array = store.array(name)?;
            let variable = Variable::new(name, array, &self.dimensions, |dimension| store.attributes(dimension));
            let variable = variable.map_err(|problem| store.error(name, &problem))?;
            if let Some(problem) = variable.unusable_scale().filter(|_| self.calibration.scale.is_none()) {
                return Err(store.error(name, &problem));
            }
            if names.len() > 1 && variable.axes.band.is_some_and(|axis| variable.length(axis) > 1) {
                return Err(refuse("has an axis of bands itself; give it alone, as `variable`".into()));
            }
            let axes = |variable: &Variable| {
                let axes = variable.axes;
                [axes.time, axes.y, axes.x].map(|axis| (variable.dimensions[axis].clone(), variable.length(axis)))
            };
            if let Some(first) = variables.first().filter(|first| axes(first) != axes(&variable)) {
                let (found, expected) = (axes(&variable), axes(first));
                return Err(refuse(format!(
                    "has time, y and x {found:?}, but {:?} {expected:?}; make instruments of those that differ",
                    first.name
                )));
            }
            variables.push(variable);
        }
        Ok(variables)
    }

    /// The only array with axes for time, y and x.
    fn only_variable(&self, store: &Store) -> Result<String> {
        let mut found = Vec::new();
        for name in &store.names {
            let Ok(array) = store.array(name) else { continue };
            if array.dimensionality() >= 3
                && Variable::new(name, array, &self.dimensions, |dimension| store.attributes(dimension)).is_ok()
            {
                found.push(name.clone());
            }
        }
        let path = self.place.name().display();
        match &found[..] {
            [only] => Ok(only.clone()),
            [] => Err(Error::setting(
                "variable",
                format!("none of {:?} in {path} has known axes for time, y and x; name it", store.names),
            )),
            several => Err(Error::setting(
                "variable",
                format!("{path} holds {several:?}; name one, or `variables` for one per band"),
            )),
        }
    }

    /// The grid, and whether (rows, columns) are stored against its order.
    fn georeference(&self, store: &Store, variable: &Variable) -> Result<(Grid, (bool, bool))> {
        let mapping = store.grid_mapping(variable);
        let geotransform = mapping.as_ref().and_then(georeference::geotransform);
        let group = store.group_attributes();
        let said = || georeference::crs(mapping.iter().chain([variable.attributes()]).chain(group.iter()));
        let crs = self.crs.clone().or_else(|| Some(said()).filter(|crs| !crs.is_unknown()));
        let crs = crs.or_else(|| store.epsg()).unwrap_or_default();
        let factor = |name: &str| {
            let attributes = store.attributes(name);
            let units = attributes.as_ref().and_then(|held| held.get("units")).and_then(Value::as_str);
            units.map_or(1.0, |units| georeference::to_unit_of(&crs, units))
        };
        let line = |axis: usize, origin_and_step: Option<(f64, f64)>| {
            let (name, count) = (&variable.dimensions[axis], variable.length(axis));
            match (store.coordinate(name, count)?, origin_and_step) {
                // Coordinates take precedence: they stay true when a cube is cut, and a GeoTransform does not.
                (Some(array), known) => variable::numbers(&array)
                    .and_then(|centres| PixelAxis::new(&centres, known.map(|(_, step)| step / factor(name))))
                    .map(|line| line.times(factor(name)))
                    .map_err(|problem| store.error(name, &problem)),
                (None, Some((origin, step))) => Ok(georeference::line(origin, step, count)),
                (None, None) => Err(store.error(
                    &variable.name,
                    &format!("there are neither coordinates {name:?} nor a GeoTransform that locate it"),
                )),
            }
        };
        let y = line(variable.axes.y, geotransform.map(|[.., top, _, step]| (top, step)))?;
        let x = line(variable.axes.x, geotransform.map(|[left, step, ..]| (left, step)))?;
        let corners = georeference::holds_corners(variable.attributes(), &x);
        let (y, x) = if corners { (y.moved_from_edges(false), x.moved_from_edges(true)) } else { (y, x) };
        let grid = georeference::grid(crs, &y, &x).map_err(|error| match error {
            Error::Grid { problem, .. } => Error::Grid { what: self.place.name().display().to_string(), problem },
            other => other,
        })?;
        Ok((grid, (y.ascending, !x.ascending && x.count > 1)))
    }

    /// Number of decoded chunks to cache.
    fn chunks_held(&self, variables: &[Variable]) -> usize {
        let largest = variables.iter().map(Variable::chunk_bytes).max().unwrap_or(1).max(1);
        if let Some(bytes) = self.cache_bytes {
            return (bytes / largest) as usize;
        }
        // A chunk of one date is not requested again soon.
        if variables.iter().all(|variable| variable.chunk[variable.axes.time] == 1) {
            return 0;
        }
        let per_pixel: u64 = variables.iter().map(Variable::chunks_per_pixel).sum();
        let all: u64 = variables.iter().map(Variable::chunks).sum();
        (CACHE_BYTES / largest).max(per_pixel.saturating_mul(CHUNKS_UNDER_A_TILE)).min(all) as usize
    }
}

/// A folder of arrays.
struct Store {
    folder: Arc<Folder>,
    names: Vec<String>,
    /// Whether these are all there are.
    complete: bool,
}

impl Store {
    /// With the arrays that it holds; on a server without consolidated metadata, those among `variables` and what these
    /// refer to.
    fn open(place: &Place, variables: &[String]) -> Result<Self> {
        let folder = Arc::new(Folder::new(place)?);
        let arrays = folder.arrays(variables);
        let (names, complete) = match arrays {
            Ok(Arrays::All(names)) => (names, true),
            Ok(Arrays::Known(names)) => (names, false),
            Err(error) => return Err(Self { folder, names: Vec::new(), complete: false }.failed(error.to_string())),
        };
        let store = Self { folder, names, complete };
        match (store.names.is_empty(), complete) {
            (true, true) => Err(store.failed("it holds no Zarr array; give the folder of the group that does".into())),
            (true, false) if variables.is_empty() => {
                let problem = "it has no consolidated metadata that name its arrays: give `variables`, or consolidate them \
                               (zarr.consolidate_metadata); or it is not the group that holds arrays";
                Err(store.failed(problem.into()))
            }
            _ => Ok(store),
        }
    }

    fn failed(&self, problem: String) -> Error {
        Error::Open { path: self.folder.path().to_path_buf(), date: None, problem, source: None }
    }

    fn error(&self, name: &str, problem: &str) -> Error {
        self.failed(format!("{name:?}: {problem}"))
    }

    fn array(&self, name: &str) -> Result<Array<Folder>> {
        variable::open(&self.folder, name).map_err(|problem| self.error(name, &problem))
    }

    /// The attributes of an array, if there is one of that name.
    fn attributes(&self, name: &str) -> Option<Map<String, Value>> {
        let array = self.names.iter().any(|held| held == name).then(|| self.array(name).ok())??;
        Some(array.attributes().clone())
    }

    /// The coordinate of a dimension, if there is one.
    fn coordinate(&self, dimension: &str, length: usize) -> Result<Option<Array<Folder>>> {
        if !self.names.iter().any(|name| name == dimension) {
            return Ok(None);
        }
        let array = self.array(dimension)?;
        if array.shape() != [length as u64] {
            let problem = format!("{:?} coordinates for a dimension of {length}", array.shape());
            return Err(self.error(dimension, &problem));
        }
        if length > MOST_COORDINATES {
            let problem =
                format!("{length} coordinates, more than any raster has; its metadata are damaged, copy it again");
            return Err(self.error(dimension, &problem));
        }
        Ok(Some(array))
    }

    /// The attributes of the variable that a grid mapping names, or of `spatial_ref` or `crs`.
    fn grid_mapping(&self, variable: &Variable) -> Option<Map<String, Value>> {
        let named = grid_mapping(variable.attributes());
        named.into_iter().chain(GRID_MAPPINGS).find_map(|name| self.attributes(name))
    }

    /// The CRS of a number of the EPSG registry that is a coordinate by itself, as stackstac writes it.
    fn epsg(&self) -> Option<Crs> {
        let held = EPSG.into_iter().find(|name| self.names.iter().any(|held| held == name))?;
        let array = self.array(held).ok().filter(|array| array.shape().iter().all(|length| *length == 1))?;
        match variable::numbers(&array).ok()?.as_slice() {
            [code] if *code > 0.0 && code.fract() == 0.0 => Some(georeference::crs_from_code(&format!("EPSG:{code}"))),
            _ => None,
        }
    }

    /// The attributes of the group; `None` when they cannot be read.
    fn group_attributes(&self) -> Option<Map<String, Value>> {
        let read = |name: &str| self.folder.document(name).ok().flatten();
        let v3 = || read("zarr.json")?.get("attributes").cloned();
        v3().or_else(|| read(".zattrs"))?.as_object().cloned()
    }

    /// The dates of a variable.
    fn acquisitions(&self, variable: &Variable) -> Result<Acquisitions> {
        let axis = variable.axes.time;
        let name = &variable.dimensions[axis];
        let Some(array) = self.coordinate(name, variable.length(axis))? else {
            return Err(self.error(name, "the dimension of time has no coordinate that gives the dates"));
        };
        let text = |key: &str| array.attributes().get(key).and_then(Value::as_str);
        let Some(units) = text("units") else {
            return Err(self.error(name, "has no units, such as \"days since 1970-01-01\""));
        };
        variable::numbers(&array)
            .and_then(|values| cf::dates(&values, units, text("calendar")))
            .and_then(|dates| Acquisitions::new(&dates))
            .map_err(|problem| self.error(name, &problem))
    }

    /// The names along an axis of bands.
    fn band_names(&self, variable: &Variable, axis: usize) -> Result<Vec<String>> {
        let (name, count) = (&variable.dimensions[axis], variable.length(axis));
        match self.coordinate(name, count)? {
            Some(array) => variable::labels(&array).map_err(|problem| self.error(name, &problem)),
            None => Ok((1..=count).map(|band| format!("band{band}")).collect()),
        }
    }
}
