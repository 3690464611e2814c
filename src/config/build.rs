//! From the file's tables to a checked fusion.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cubes;
use super::values::{Memory, NumbersOrPath, Place};
use super::{
    Adaptive, Checkpoint, FusionConfig, Instrument, Kernel, Missing, NestedTerm, OnError, Precision, Reproject, Space,
};
use crate::engine::{self, Fusion, FusionBuilder, MemoryBudget, Shard};
use crate::error::{Error, Result};
use crate::geometry::{Crs, Date, Grid};
use crate::model::{self, Footprint, Prior, PriorField, Process, Values};
use crate::sink::{ZarrFormat, ZarrSink};
use crate::source::gdal::{crs_from_definition, read_header};
use crate::source::{Calibration, RasterSource, RasterStack, Resampling};

impl FusionConfig {
    /// Opens the inputs (headers only), checks everything and plans the run.
    ///
    /// # Errors
    /// Those of [`FusionBuilder::build`](crate::engine::FusionBuilder::build) and
    /// [`StackBuilder::open`](crate::source::StackBuilder::open), and [`Error::Unsupported`] for keys that this version does not offer yet.
    pub fn build(&self) -> Result<Fusion> {
        self.build_for(None)
    }

    /// As [`build`](Self::build), for one of several processes that share the run, so that there are tiles for each.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_for(&self, shard: Option<Shard>) -> Result<Fusion> {
        self.refuse_unsupported()?;

        let document = &self.document;
        if document.target.bands.is_empty() {
            return Err(Error::setting("target.bands", "empty; list the names of the output bands"));
        }
        if document.instrument.is_empty() {
            return Err(Error::setting("instrument", "empty; describe at least one [[instrument]]"));
        }
        let target = self.target()?;
        let mut builder = Fusion::builder(target.clone())
            .bands(document.target.bands.iter().cloned())
            .unit(document.target.unit.clone())
            .window(document.window.size, document.window.halo)
            .far_samples(document.window.far_samples, document.window.far_radius)
            .process(self.process()?)
            .prior(Prior::new(
                self.field("prior.mean", &document.prior.mean)?,
                self.field("prior.variance", &document.prior.variance)?,
            ))
            .lag(document.smoothing.lag)
            .precision(match document.run.precision {
                Precision::F64 => engine::Precision::F64,
                Precision::F32 => engine::Precision::F32,
            })
            .threads(document.run.threads)
            .shards(shard.map_or(1, Shard::count));
        builder = self.run_settings(builder)?;
        if let Some(start) = document.time.start {
            builder = builder.start(start.0);
        }
        if let Some(end) = document.time.end {
            builder = builder.end(end.0);
        }
        if let Some(output) = &document.time.output {
            builder = builder.output(output.0.clone());
        }
        // A store that is there already has its tiles, whatever memory there is now.
        if let Some((rows, cols)) = document.output.tile.map(Into::into).or(self.sink()?.tile_shape()?) {
            builder = builder.tile(rows, cols);
        }
        if let Some(memory) = document.run.memory {
            builder = builder.memory(memory.0);
        }
        for instrument in &document.instrument {
            builder = builder.instrument(self.instrument(instrument, &target)?);
        }
        builder.build()
    }

    /// The same with another memory budget.
    #[must_use]
    pub fn with_memory(mut self, memory: MemoryBudget) -> Self {
        self.document.run.memory = Some(Memory(memory));
        self
    }

    /// How the run deals with errors and crashes.
    fn run_settings(&self, builder: FusionBuilder) -> Result<FusionBuilder> {
        let run = &self.document.run;
        let mut builder = builder
            .on_error(match run.on_error {
                OnError::Abort => engine::OnError::Abort,
                OnError::Skip => engine::OnError::Skip,
            })
            .checkpoint(match run.checkpoint {
                Checkpoint::Auto => engine::Checkpoint::Auto,
                Checkpoint::Full => engine::Checkpoint::Full,
                Checkpoint::Light => engine::Checkpoint::Light,
                Checkpoint::Off => engine::Checkpoint::Off,
            });
        if let Some(days) = run.replay_days {
            builder = builder.replay_days(days);
        }
        if let Some(minutes) = run.checkpoint_minutes {
            let interval = Duration::try_from_secs_f64(minutes * 60.0);
            builder = builder.checkpoint_interval(interval.map_err(|_| {
                Error::setting("run.checkpoint_minutes", format!("{minutes}; give zero or a positive number"))
            })?);
        }
        if let Some(count) = run.keep_checkpoints {
            if count == 0 {
                return Err(Error::setting("run.keep_checkpoints", "0; give at least 1, or checkpoint = \"off\""));
            }
            builder = builder.keep_checkpoints(count);
        }
        Ok(builder)
    }

    /// Whether a run is refused whose results may not fit on the disk (`run.check_disk`).
    #[must_use]
    pub fn checks_disk(&self) -> bool {
        self.document.run.check_disk.unwrap_or(true)
    }

    /// The sink for the file's `[output]`.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown `zarr_format`.
    pub fn sink(&self) -> Result<ZarrSink> {
        let output = &self.document.output;
        if output.store.as_os_str().is_empty() {
            return Err(Error::setting("output.store", "empty; name the folder of the store"));
        }
        let format = match output.zarr_format {
            None | Some(3) => ZarrFormat::V3,
            Some(2) => ZarrFormat::V2,
            Some(other) => return Err(Error::setting("output.zarr_format", format!("{other}; give 3 or 2"))),
        };
        Ok(ZarrSink::create(self.folder.join(&output.store)).format(format))
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let document = &self.document;
        let refuse = |asked: bool, key: &str, feature: &str, instead: &str| {
            if asked {
                let (key, feature, instead) = (key.to_owned(), feature.to_owned(), instead.to_owned());
                return Err(Error::Unsupported { key, feature, instead });
            }
            Ok(())
        };
        let leave_out = "leave it out";
        refuse(document.basis.is_some(), "basis", "a spectral basis", leave_out)?;
        refuse(document.target.wavelengths_nm.is_some(), "target.wavelengths_nm", "a spectral basis", leave_out)?;
        let components = matches!(document.output.space, Space::Components);
        refuse(components, "output.space", "output of components", "write \"bands\"")?;
        for instrument in &document.instrument {
            let key = |name: &str| format!("instrument {:?}: {name}", instrument.name);
            let gaussian = matches!(instrument.footprint, Some(Place::Gaussian));
            refuse(gaussian, &key("footprint"), "a Gaussian footprint", "write \"uniform\"")?;
            refuse(instrument.response.is_some(), &key("response"), "a spectral response", leave_out)?;
            let instead = "leave it out and mask the files first";
            refuse(instrument.quality.is_some(), &key("quality"), "masking by quality files", instead)?;
        }
        Ok(())
    }

    fn target(&self) -> Result<Grid> {
        let target = &self.document.target;
        let ways = "give either `like`, or `geotransform` and `shape` (and `crs`)";
        match (&target.like, target.geotransform, target.shape) {
            (Some(like), None, None) if target.crs.is_none() => match read_header(&self.folder.join(like)) {
                Ok(header) => Ok(header.grid),
                Err(error) => Err(Error::setting("target.like", error.to_string())),
            },
            (None, Some(geotransform), Some([rows, cols])) => {
                let crs = target.crs.as_deref().map_or_else(|| Ok(Crs::unknown()), crs_from_definition)?;
                Grid::new(crs, geotransform, (rows, cols)).map_err(|error| match error {
                    Error::Grid { problem, .. } => Error::Grid { what: "target".into(), problem },
                    other => other,
                })
            }
            _ => Err(Error::setting("target", ways)),
        }
    }

    fn process(&self) -> Result<Process> {
        let process = &self.document.process;
        let range = range_of(process.kernel, process.range.as_ref().map(|range| &range.0), "process.range")?;
        let variance = process.variance.0.clone();
        let mut built =
            Process::new(process.kernel.into(), range, variance).nugget(or_zero(process.nugget.as_ref().map(|n| &n.0)));
        for NestedTerm { kernel, range, variance, nugget } in &process.nested {
            let range = range_of(*kernel, range.as_ref().map(|range| &range.0), "process.nested.range")?;
            let nugget = or_zero(nugget.as_ref().map(|n| &n.0));
            built = built.nested((*kernel).into(), range, variance.0.clone()).nugget(nugget);
        }
        if let Some(phi) = &process.phi {
            built = built.phi(phi.0.clone());
        }
        if let Some(Adaptive { weight, scale }) = process.adaptive {
            built = built.adaptive(weight, scale);
        }
        Ok(built)
    }

    fn field(&self, key: &str, field: &NumbersOrPath) -> Result<PriorField> {
        match field {
            NumbersOrPath::Numbers(values) => Ok(PriorField::Constant(values.clone())),
            NumbersOrPath::Path(path) => {
                let path = self.folder.join(path);
                if !path.exists() {
                    return Err(Error::setting(key, format!("there is no raster {}", path.display())));
                }
                // A raster without date: any will do.
                let stack = RasterStack::from_files([(Date::from_days(0), path)], Calibration::default())?;
                Ok(PriorField::raster(stack))
            }
        }
    }

    fn instrument(&self, instrument: &Instrument, target: &Grid) -> Result<model::Instrument> {
        let lenient = matches!(self.document.run.on_error, OnError::Skip);
        let opened = match cubes::open(instrument, &self.folder) {
            Ok(Some(cube)) => Ok(cube),
            Ok(None) => open_stack(instrument, &self.folder, target, lenient)
                .map(|stack| -> Arc<dyn RasterSource> { Arc::new(stack) }),
            Err(error) => Err(error),
        };
        let source = opened.map_err(|error| named(error, &instrument.name))?;
        // Reprojected pixels are whole numbers of cells.
        let single = instrument.reproject.is_none() || target.lattice_offset(source.grid()).is_some();
        let mut built = model::Instrument::new(&instrument.name, source)
            .footprint(match instrument.footprint {
                Some(Place::Uniform) => Footprint::Uniform,
                None if !single => Footprint::Uniform,
                _ => Footprint::Cell,
            })
            .noise_variance(instrument.noise_variance.0.clone())
            .missing(match instrument.missing {
                Some(Missing::Pixel) => model::Missing::Pixel,
                _ => model::Missing::Band,
            });
        if let Some(quantile) = instrument.gate {
            built = built.gate(quantile);
        }
        if let Some(bias) = &instrument.bias {
            built = built.bias(bias.0.clone());
        }
        if let Some(bands) = &instrument.bands {
            built = built.observes(bands.iter().cloned());
        }
        Ok(built)
    }
}

fn open_stack(instrument: &Instrument, folder: &Path, target: &Grid, lenient: bool) -> Result<RasterStack> {
    let Some(files) = &instrument.files else {
        return Err(Error::setting("files", "not given; give `files`, `zarr` or `series`"));
    };
    let Some(date) = &instrument.date else {
        return Err(Error::setting(
            "date",
            "not given; a regular expression whose first group is the date, such as \"_(\\\\d{8})\"",
        ));
    };
    let mut stack =
        RasterStack::builder(files, date).folder(folder).date_format(&instrument.date_format).lenient(lenient);
    if let Some(scale) = instrument.scale {
        stack = stack.scale(scale);
    }
    if let Some(offset) = instrument.offset {
        stack = stack.offset(offset);
    }
    if let Some([low, high]) = instrument.valid_range {
        stack = stack.valid_range(low, high);
    }
    if let Some(reproject) = instrument.reproject {
        stack = stack.onto(target, reproject.into());
    }
    stack.open()
}

/// A setting's error with the instrument's name.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::Setting { key, problem } => Error::Setting { key: format!("instrument {name:?}: {key}"), problem },
        other => other,
    }
}

fn range_of(kernel: Kernel, range: Option<&Values>, key: &str) -> Result<Values> {
    match (kernel, range) {
        (_, Some(range)) => Ok(range.clone()),
        (Kernel::None, None) => Ok(Values::Same(0.0)),
        (_, None) => Err(Error::setting(key, "not given; the kernel needs a range, in units of the target's CRS")),
    }
}

fn or_zero(values: Option<&Values>) -> Values {
    values.cloned().unwrap_or(Values::Same(0.0))
}

impl From<Kernel> for model::Kernel {
    fn from(kernel: Kernel) -> Self {
        match kernel {
            Kernel::Exponential => Self::Exponential,
            Kernel::Matern32 => Self::Matern32,
            Kernel::Matern52 => Self::Matern52,
            Kernel::None => Self::None,
        }
    }
}

impl From<Reproject> for Resampling {
    fn from(reproject: Reproject) -> Self {
        match reproject {
            Reproject::Nearest => Self::Nearest,
            Reproject::Bilinear => Self::Bilinear,
            Reproject::Cubic => Self::Cubic,
            Reproject::Average => Self::Average,
        }
    }
}
