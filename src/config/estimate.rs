//! Estimates what a description leaves to be estimated, and writes the description that is found.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};
use toml_edit::{DocumentMut, Item, Table};

use super::FusionConfig;
use super::written;
use crate::describe::{Description, Features, Raster, Window};
use crate::engine::FusionBuilder;
use crate::error::{Error, Result};
use crate::estimate::{Estimation, EstimationResult, Watch, spread};
use crate::geometry::Date;
use crate::model::{ChangeBuilder, SeasonalBuilder};
use crate::sink::SeasonalStore;
use crate::source::gdal::write_raster_watched;
use crate::source::{Calibration, PassProgress, PassWatch, RasterSource, RasterStack};
use crate::storage::replace;

/// Days of cell-sized observations from which on a mean of the year is fitted.
const YEARS_DAYS: i32 = 550;

/// Dates that a curve of five numbers for each cell should have, clouds being what they are.
const YEARS_DATES: usize = 12;

/// Standard deviations of a reference image's bands over which the similarity of cells falls to 1/e.
const SIMILAR: f64 = 4.0;

/// Far samples of windows that the description does not describe, and cells within which they lie: gaps of some ten
/// cells are then filled from around them.
const FAR_SAMPLES: usize = 80;
const FAR_CELLS: f64 = 35.0;

/// What an estimation has found, as a description.
///
/// `serde` serialises it without the text, as [`EstimationResult`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EstimatedConfig {
    /// The description with numbers in place of `"estimate"`: comments and spaces are the user's, standard errors are
    /// in comments.
    pub text: String,
    /// What was found.
    pub result: EstimationResult,
    path: PathBuf,
}

/// Passes over all data, followed by who follows the estimation.
#[derive(Debug)]
struct Passes<'a>(&'a dyn Watch);

impl PassWatch for Passes<'_> {
    fn progress(&self, progress: &PassProgress) {
        self.0.pass(progress);
    }

    fn stops(&self) -> bool {
        self.0.stops()
    }
}

impl FusionConfig {
    /// Estimates every number, and chooses every structure, that the description leaves to `"estimate"`, by maximum
    /// likelihood on blocks spread over the scene.
    ///
    /// Where process and prior are free and cells were observed for more than 550 days, a seasonal mean is fitted
    /// first, to all dates there are, and stored in the folder of the description as `NAME.seasonal.zarr`, or with a
    /// number in the name where there is one already, which a series may still use.
    ///
    /// It takes seconds to minutes; progress is reported by `tracing` events of level `INFO`.
    ///
    /// # Errors
    /// [`Error::Setting`] when nothing is left to estimate or something cannot be; those of opening and reading the
    /// inputs, and of [`SeasonalStore::write`].
    pub fn estimate(&self) -> Result<EstimatedConfig> {
        self.estimate_watched(&(), &|_| ())
    }

    /// As [`estimate`](Self::estimate), followed by a watch that may end it early; the best after each stage goes to
    /// `best`.
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate).
    pub fn estimate_watched(
        &self,
        watch: &dyn Watch,
        best: &(dyn Fn(&EstimatedConfig) + Sync),
    ) -> Result<EstimatedConfig> {
        self.naming(self.estimate_free(watch, best))
    }

    /// Whether estimates are rough and quick: as `estimate.quick`.
    #[must_use]
    pub fn quick(mut self, quick: bool) -> Self {
        self.estimate.quick = quick;
        self
    }

    fn estimate_free(&self, watch: &dyn Watch, best: &(dyn Fn(&EstimatedConfig) + Sync)) -> Result<EstimatedConfig> {
        if self.description.free().is_empty() {
            let problem = "nothing is left to estimate; write \"estimate\" in place of numbers of process, prior, noise_variance or bias";
            return Err(Error::setting("estimate", problem));
        }
        let options = &self.estimate;
        let mut builder = Estimation::builder().threads(self.run.threads).quick(options.quick);
        if let Some(blocks) = options.windows {
            builder = builder.blocks(blocks);
        }
        if let Some(side) = options.window {
            builder = builder.side(side);
        }
        if let Some(cells) = options.scattered {
            builder = builder.scattered(cells);
        }
        if let Some(cells) = options.radius {
            builder = builder.radius(cells);
        }
        if let Some(dates) = options.dates {
            builder = builder.dates(dates);
        }
        builder.check()?;
        let opened = self.open()?;
        if self.wants_seasonal_mean()
            && spans_years(&opened)
            && let Some(with_mean) = self.with_seasonal_mean(watch)?
        {
            return with_mean.estimate_free(watch, best);
        }
        tracing::info!("reading blocks of the scene");
        let fusion = FusionBuilder::described(opened, self.run.clone(), self.file.clone());
        let estimation = builder.read(&fusion)?;
        let description = fusion.description();
        let compares_features = description.process.is_free() && description.seasonal.is_none();
        let reference = if compares_features { self.reference(description, &estimation)? } else { None };
        // What cannot be written is an error in the end, not on the way.
        let so_far = |result: &EstimationResult| _ = self.estimated(result.clone()).map(|estimated| best(&estimated));
        let name = self.new_name("change", "tif");
        let made = OnceLock::new();
        let make = || {
            let map = Arc::new(ChangeBuilder::default().fit_to(description, &Passes(watch))?);
            let raster = Raster::named(&name).opened(Arc::clone(&map));
            _ = made.set(map);
            Ok(raster)
        };
        let reference = reference.as_ref();
        let mut result =
            estimation.estimate_watched(description, options.criterion, reference, Some(&make), watch, &so_far)?;
        if let Some(map) = made.get().filter(|_| result.change.is_some_and(|trial| trial.kept))
            && let Err(error) = write_raster_watched(&self.folder.join(&name), map.as_ref(), &Passes(watch))
        {
            // What was estimated counts all the same.
            tracing::warn!("no map of change: {error}");
            result.change = None;
            result.finished = !watch.stops();
            if let Some(process) = result.description.process.given_mut() {
                process.variation = None;
            }
        }
        self.estimated(result)
    }

    /// The description with what was found.
    fn estimated(&self, result: EstimationResult) -> Result<EstimatedConfig> {
        let failed = |problem| Error::ConfigFile { path: self.path(), problem };
        let window = self.description.process.is_free().then(|| window(&result.description));
        let text = written::write(&self.text, &self.description, &result, window.flatten()).map_err(failed)?;
        let written = Self::of(text.clone(), self.folder.clone(), self.file.clone()).map_err(failed)?;
        if let Some(key) = written.description.free().first() {
            let problem = format!("{key} was estimated but could not be written in its place; give it a number");
            return Err(failed(problem));
        }
        Ok(EstimatedConfig { text, result, path: self.path() })
    }

    /// The file, or the folder of what is no file.
    fn path(&self) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.folder.clone())
    }

    /// Whether the process may be about a mean of the year: not where the prior is given, which would be one of
    /// anomalies then.
    fn wants_seasonal_mean(&self) -> bool {
        let Description { prior, process, seasonal, .. } = &self.description;
        let prior_is_free = prior.given().is_none_or(|prior| prior.mean.is_free() && prior.variance.is_free());
        seasonal.is_none() && process.is_free() && prior_is_free
    }

    /// The description with a seasonal mean, which is fitted and stored in its folder; `None` where the observations
    /// do not give one.
    fn with_seasonal_mean(&self, watch: &dyn Watch) -> Result<Option<Self>> {
        let path = self.path();
        let name = self.new_name("seasonal", "zarr");
        tracing::info!("fitting a seasonal mean, {name}");
        let fit = match self.seasonal_fit_watched(&SeasonalBuilder::default(), &[], &Passes(watch)) {
            Err(error @ (Error::Setting { .. } | Error::Number { .. })) => {
                tracing::warn!("no seasonal mean is fitted: {error}");
                return Ok(None);
            }
            fit => fit?,
        };
        SeasonalStore::create(self.folder.join(&name)).write_watched(&fit, &Passes(watch))?;
        tracing::warn!(
            "mean and numbers are fitted to the same values: where cells have few dates, intervals come out too narrow, which \
             withholding values afterwards does not show"
        );
        let failed = |problem: String| Error::ConfigFile { path: path.clone(), problem };
        let mut document: DocumentMut =
            self.text.parse().map_err(|error: toml_edit::TomlError| failed(error.to_string()))?;
        let mut table = Table::new();
        table.insert("mean", toml_edit::value(name));
        document.insert("seasonal", Item::Table(table));
        let with_mean = Self::of(document.to_string(), self.folder.clone(), self.file.clone()).map_err(failed)?;
        // What the caller has changed since the file was read.
        Ok(Some(Self { run: self.run.clone(), estimate: self.estimate.clone(), ..with_mean }))
    }

    /// A name beside the description that is not taken: what is there may belong to a series which is to be continued.
    fn new_name(&self, what: &str, extension: &str) -> String {
        let path = self.path();
        let stem = path.file_stem().map_or_else(|| "fusion".into(), |stem| stem.to_string_lossy());
        let (mut name, mut count) = (format!("{stem}.{what}.{extension}"), 1);
        while self.folder.join(&name).exists() {
            count += 1;
            name = format!("{stem}.{what}-{count}.{extension}");
        }
        name
    }

    /// Features of a reference image: that of a cell-sized instrument with most values of the sample, if it has a
    /// file of its own.
    fn reference(&self, description: &Description, estimation: &Estimation) -> Result<Option<Features>> {
        let Some(target) = &description.target.grid else { return Ok(None) };
        for (summary, instrument) in estimation.summary().instruments.iter().zip(&description.instrument) {
            let source = instrument.opened()?;
            if !summary.observes_cells || source.dates().len() < 2 {
                continue;
            }
            let Some(path) = summary.fullest.and_then(|date| source.path_of(date)) else { continue };
            // A file of its own that lies on the target: what other layouts hold is for the user to name.
            let files = RasterStack::from_files([(Date::from_days(0), path.clone())], Calibration::default());
            let Ok(held) = files else { continue };
            if held.bands().len() != source.bands().len() || target.lattice_offset(held.grid()).is_none() {
                continue;
            }
            let bands: Vec<usize> = summary.bands.iter().map(|band| band.source_band).collect();
            let scale = spread(&held, &bands)?;
            if scale.iter().all(|sd| *sd > 0.0 && sd.is_finite()) {
                let relative = path.strip_prefix(&self.folder).unwrap_or(&path);
                // As it is written, to four digits.
                let rounded = |sd: &f64| format!("{:.3e}", SIMILAR * sd).parse().unwrap_or(SIMILAR * sd);
                let scale: Vec<f64> = scale.iter().map(rounded).collect();
                return Ok(Some(Features::new(Raster::named(relative).opened(held), scale).bands(bands)));
            }
        }
        Ok(None)
    }
}

/// Whether an instrument whose pixels are cells has observed more than one and a half years, often enough for a curve.
fn spans_years(description: &Description) -> bool {
    let Some(target) = &description.target.grid else { return false };
    description.instrument.iter().filter(|instrument| instrument.observes_cells(target)).any(|instrument| {
        let dates = instrument.source.as_ref().map_or(&[][..], |source| source.dates());
        let ends = dates.first().zip(dates.last());
        dates.len() >= YEARS_DATES && ends.is_some_and(|(a, b)| b.days_since(*a) > YEARS_DAYS)
    })
}

/// A window for cells of the target's size.
fn window(description: &Description) -> Option<Window> {
    let (width, height) = description.target.grid.as_ref()?.cell_size();
    Some(Window { size: 8, halo: 4, far_samples: FAR_SAMPLES, far_radius: FAR_CELLS * width.max(height) })
}

impl EstimatedConfig {
    /// Where the description goes by default: `FUSION.estimated.toml` next to `FUSION.toml`; `fusion.estimated.toml`
    /// in the folder of one that is no file.
    #[must_use]
    pub fn default_path(&self) -> PathBuf {
        if self.path.is_dir() || self.path.as_os_str().is_empty() {
            self.path.join("fusion.estimated.toml")
        } else {
            self.path.with_extension("estimated.toml")
        }
    }

    /// Writes the description, and the folders on the way; a file of that name is replaced when the new one is
    /// complete. Relative paths in it are what they were, so it belongs into the folder of the one it is made of.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        replace(path, folder, true, |file| file.write_all(self.text.as_bytes())).map_err(|error| Error::ConfigFile {
            path: path.to_path_buf(),
            problem: format!("cannot write: {error}; name another file"),
        })
    }
}

impl Serialize for EstimatedConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.result.serialize(serializer)
    }
}

impl fmt::Display for EstimatedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EstimationResult { fit, choices, checks, gates, change, blocks: (blocks, side), finished, .. } =
            &self.result;
        writeln!(f, "estimated from {} values in {blocks} blocks of {side} x {side} cells", fit.values)?;
        for (table, choice) in choices {
            if choice.table().len() > 1 {
                writeln!(f, "structures of {table}:")?;
                choice.table().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        write!(f, "{fit}")?;
        checks.iter().try_for_each(|check| write!(f, "\n{check}"))?;
        gates.iter().try_for_each(|gates| write!(f, "\n{gates}"))?;
        change.iter().try_for_each(|change| write!(f, "\n{change}"))?;
        if *finished { Ok(()) } else { write!(f, "\nnot finished: {}", written::UNFINISHED) }
    }
}
