//! From the file's tables to a checked fusion.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::source::{Opened, open_source};
use super::values::{Memory, NumbersOrPath, Place};
use super::{
    Adaptive, Checkpoint, Combine, Field, FusionConfig, Instrument, Kernel, Missing, NestedTerm, OnError, Precision,
    PriorCorrelation, Reproject, Response, Space,
};
use crate::engine::{self, Fusion, FusionBuilder, MemoryBudget, Shard};
use crate::error::{Error, Result};
use crate::geometry::{Crs, Date, Grid};
use crate::model::{
    self, Features, Footprint, Prior, PriorField, Process, SeasonalMean, SpectralBasis, SpectralResponse, Values,
    Variation,
};
use crate::series::OutputSpace;
use crate::sink::{ZarrFormat, ZarrSink};
use crate::source::gdal::{crs_from_definition, read_header};
use crate::source::{Calibration, RasterSource, RasterStack, Resampling};

/// What a description refers to, opened.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) target: Grid,
    /// In the order of the description.
    pub(super) instruments: Vec<Opened>,
    /// The mean function.
    pub(super) seasonal: Option<SeasonalMean>,
}

impl FusionConfig {
    /// Opens the inputs (headers only), checks everything and plans the run.
    ///
    /// # Errors
    /// Those of [`FusionBuilder::build`](crate::engine::FusionBuilder::build) and
    /// [`StackBuilder::open`](crate::source::StackBuilder::open).
    pub fn build(&self) -> Result<Fusion> {
        self.build_for(None)
    }

    /// As [`build`](Self::build), for one of several processes that share the run, so that there are tiles for each.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_for(&self, shard: Option<Shard>) -> Result<Fusion> {
        self.builder()?.shards(shard.map_or(1, Shard::count)).build()
    }

    /// The description as the library has it, its inputs opened (headers only), to be changed or validated before it is built.
    ///
    /// # Errors
    /// As [`build`](Self::build), as far as files and keys are concerned.
    pub fn builder(&self) -> Result<FusionBuilder> {
        self.naming(self.refuse_free())?;
        let builder = self.naming(self.open().and_then(|inputs| self.describe(&inputs)))?;
        // A store that is there already has its tiles, whatever memory there is now.
        let tile = self.document.output.tile.map(Into::into).or(self.sink()?.tile_shape()?);
        let builder = builder.described_in(self.file.clone());
        Ok(match tile {
            Some((rows, cols)) => builder.tile(rows, cols),
            None => builder,
        })
    }

    /// A result whose error, if it is of a setting, names the file.
    pub(super) fn naming<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_description(self.file.as_deref()))
    }

    /// Opens the inputs (headers only).
    pub(super) fn open(&self) -> Result<Inputs> {
        let document = &self.document;
        if document.instrument.is_empty() {
            return Err(Error::setting("instrument", "empty; describe at least one [[instrument]]"));
        }
        let target = self.target()?;
        let lenient = matches!(document.run.on_error, OnError::Skip);
        let open = |instrument| self.open_instrument(instrument, &target, lenient);
        let instruments = document.instrument.iter().map(open).collect::<Result<_>>()?;
        Ok(Inputs { target, instruments, seasonal: self.seasonal()? })
    }

    /// The description of the fusion, tile and shards aside.
    pub(super) fn describe(&self, inputs: &Inputs) -> Result<FusionBuilder> {
        let document = &self.document;
        let mut builder = Fusion::builder(inputs.target.clone())
            .bands(self.bands()?)
            .space(match document.output.space {
                Space::Bands => OutputSpace::Bands,
                Space::Components => OutputSpace::Components,
            })
            .put_out_offsets(document.output.offsets)
            .unit(document.target.unit.clone())
            .window(document.window.size, document.window.halo)
            .far_samples(document.window.far_samples, document.window.far_radius)
            .process(self.process(inputs.seasonal.as_ref())?)
            .prior(self.prior()?)
            .lag(document.smoothing.lag)
            .precision(match document.run.precision {
                Precision::F64 => engine::Precision::F64,
                Precision::F32 => engine::Precision::F32,
            })
            .threads(document.run.threads);
        builder = self.run_settings(builder)?;
        if let Some(basis) = self.basis()? {
            builder = builder.basis(basis);
        }
        if let Some(seasonal) = &inputs.seasonal {
            builder = builder.seasonal(seasonal.clone());
        }
        if let Some(start) = document.time.start {
            builder = builder.start(start.0);
        }
        if let Some(end) = document.time.end {
            builder = builder.end(end.0);
        }
        if let Some(output) = &document.time.output {
            builder = builder.output(output.0.clone());
        }
        if let Some(memory) = document.run.memory {
            builder = builder.memory(memory.0);
        }
        for (instrument, opened) in document.instrument.iter().zip(&inputs.instruments) {
            builder = builder.instrument(self.instrument(instrument, &inputs.target, opened)?);
        }
        if let Some(factor) = &document.output.sd_factor {
            builder = builder.sd_factor(factor.0.clone());
        }
        Ok(builder)
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
        let refuse = |key: &str, problem: String| self.naming(Err(Error::setting(key, problem)));
        if output.store.as_os_str().is_empty() {
            return refuse("output.store", "empty; name the folder of the store".into());
        }
        let format = match output.zarr_format {
            None | Some(3) => ZarrFormat::V3,
            Some(2) => ZarrFormat::V2,
            Some(other) => return refuse("output.zarr_format", format!("{other}; give 3 or 2")),
        };
        Ok(ZarrSink::create(self.folder.join(&output.store)).format(format))
    }

    pub(super) fn target(&self) -> Result<Grid> {
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

    /// Names of the target bands; wavelengths name themselves. None where those that all instruments observe are meant.
    pub(super) fn bands(&self) -> Result<Vec<String>> {
        let target = &self.document.target;
        match (&target.bands, &target.wavelengths_nm) {
            (Some(bands), _) if bands.is_empty() => {
                let problem =
                    "empty; list the names of the output bands, or leave it out where all instruments observe the same";
                Err(Error::setting("target.bands", problem))
            }
            (Some(bands), _) => Ok(bands.clone()),
            (None, Some(wavelengths)) => Ok(wavelengths.iter().map(|wavelength| format!("{wavelength} nm")).collect()),
            (None, None) => Ok(Vec::new()),
        }
    }

    pub(super) fn basis(&self) -> Result<Option<SpectralBasis>> {
        let key = "target.wavelengths_nm";
        match (&self.document.basis, &self.document.target.wavelengths_nm) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::setting(key, "wavelengths are those of a [basis], and there is none")),
            (Some(_), None) => {
                Err(Error::setting(key, "not given; list the wavelengths in nm that the [basis] is made on"))
            }
            (Some(basis), Some(wavelengths)) => {
                let path = |path: &Path| self.folder.join(path);
                SpectralBasis::read(path(&basis.mean), path(&basis.matrix), wavelengths.clone()).map(Some)
            }
        }
    }

    /// The response of an instrument's bands.
    pub(super) fn response(&self, response: &Response) -> Result<SpectralResponse> {
        match response {
            Response { centre_nm: Some(centres), fwhm_nm: Some(widths), table: None } => {
                SpectralResponse::gaussian(centres.clone(), widths.clone())
            }
            Response { centre_nm: None, fwhm_nm: None, table: Some(table) } => {
                SpectralResponse::from_csv(self.folder.join(table))
            }
            _ => Err(Error::setting("response", "give either `centre_nm` and `fwhm_nm`, or `table`")),
        }
    }

    fn process(&self, seasonal: Option<&SeasonalMean>) -> Result<Process> {
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
        for Field { kernel, range, variance, phi, prior_variance, block } in &process.field {
            let range = range_of(*kernel, range.as_ref().map(|range| &range.0), "process.field.range")?;
            let mut field = model::Field::new((*kernel).into(), range, variance.0.clone());
            if let Some(phi) = phi {
                field = field.phi(phi.0.clone());
            }
            if let Some(prior) = prior_variance {
                field = field.prior_variance(prior.0.clone());
            }
            if let Some(cells) = block {
                field = field.block(*cells);
            }
            built = built.field(field);
        }
        built = built.inflate(process.inflate);
        if let Some(Adaptive { weight, scale }) = process.adaptive {
            built = built.adaptive(weight, scale);
        }
        if let Some(super::Relative { weight, level }) = &process.relative {
            built = built.relative(weight.0.clone(), level.0.clone());
        }
        if let Some(super::Season { cosine, sine }) = &process.season {
            built = built.season(cosine.0.clone(), sine.0.clone());
        }
        if let Some(super::Variation { range, elsewhere, points }) = &process.variation {
            if points.is_empty() {
                return Err(Error::setting("process.variation.points", "none; give some, or leave variation out"));
            }
            let new = Variation::new(*range);
            let new = elsewhere.iter().fold(new, |new, elsewhere| new.elsewhere(elsewhere.0.clone()));
            built = built.variation(points.iter().fold(new, |all, point| all.point(point.at, point.factor.0.clone())));
        }
        Ok(match &process.features {
            Some(features) => built.features(self.features(features, seasonal)?),
            None => built,
        })
    }

    fn features(&self, features: &super::Features, seasonal: Option<&SeasonalMean>) -> Result<Features> {
        let scale = features.scale.0.clone();
        let refuse = |problem: &str| Err(Error::setting("process.features", problem));
        let mut built = match (&features.raster, features.seasonal, seasonal) {
            (Some(raster), false, _) => Features::new(self.undated("process.features.raster", raster)?, scale),
            (None, true, Some(mean)) => Features::of_seasonal(mean, scale),
            (None, true, None) => {
                return refuse("seasonal = true, but there is no [seasonal] mean; name one, or a raster");
            }
            (Some(_), true, _) => return refuse("give either raster or seasonal = true, not both"),
            (None, false, _) => {
                return refuse("name a raster, or say seasonal = true for the curves of the [seasonal] mean");
            }
        };
        if let Some(bands) = &features.bands {
            built = built.bands(bands.iter().copied());
        }
        let refuse = |problem: &str| Err(Error::setting("process.features.weight", problem));
        match (features.combine, features.weight) {
            (Combine::Times, None) => Ok(built.times()),
            (Combine::Times, Some(_)) => refuse("it goes with combine = \"plus\"; leave it out"),
            (Combine::Plus, Some(weight)) => Ok(built.plus(weight)),
            (Combine::Plus, None) => refuse("not given; combine = \"plus\" needs the share of likeness"),
        }
    }

    /// A raster of which one date is read.
    pub(super) fn undated(&self, key: &str, path: &Path) -> Result<RasterStack> {
        let path = self.folder.join(path);
        if !path.exists() {
            return Err(Error::setting(key, format!("there is no raster {}", path.display())));
        }
        // A raster without date: any will do.
        let stack = RasterStack::from_files([(Date::from_days(0), path)], Calibration::default());
        stack.map_err(|error| error.of_input(key))
    }

    fn prior(&self) -> Result<Prior> {
        let super::Prior { mean, variance, correlation } = &self.document.prior;
        let prior = Prior::new(self.field("prior.mean", mean)?, self.field("prior.variance", variance)?);
        Ok(match correlation {
            PriorCorrelation::Independent => prior,
            PriorCorrelation::Process => prior.correlated(),
        })
    }

    fn field(&self, key: &str, field: &NumbersOrPath) -> Result<PriorField> {
        match field {
            NumbersOrPath::Numbers(values) => Ok(PriorField::Constant(values.clone())),
            NumbersOrPath::Path(path) => Ok(PriorField::raster(self.undated(key, path)?)),
        }
    }

    /// Opens the files of an instrument; `lenient` as for [`StackBuilder`](crate::source::StackBuilder::lenient).
    pub(super) fn open_instrument(&self, instrument: &Instrument, target: &Grid, lenient: bool) -> Result<Opened> {
        open_source(self, instrument, target, lenient).map_err(|error| error.of_instrument(&instrument.name))
    }

    pub(super) fn instrument(
        &self,
        instrument: &Instrument,
        target: &Grid,
        opened: &Opened,
    ) -> Result<model::Instrument> {
        let Opened { source, noise_variance, response } = opened;
        // Reprojected pixels are whole numbers of cells.
        let single = instrument.reproject.is_none() || target.lattice_offset(source.grid()).is_some();
        let given = instrument.noise_variance.as_ref().map(|noise| noise.0.clone());
        let noise = given.or_else(|| noise_variance.clone()).ok_or_else(|| {
            let key = format!("instrument {:?}: noise_variance", instrument.name);
            Error::setting(key, "not given; state the variance of a pixel's error in u²")
        })?;
        let layer =
            |layer| self.offset_layer(layer, source.as_ref()).map_err(|error| error.of_instrument(&instrument.name));
        let layers = instrument.offset_layer.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let mut built = model::Instrument::new(&instrument.name, Arc::clone(source))
            .footprint(match instrument.footprint {
                Some(Place::Uniform) => Footprint::Uniform,
                Some(Place::Gaussian(fwhm)) => Footprint::Gaussian { fwhm },
                None if !single => Footprint::Uniform,
                Some(Place::Cell) | None => Footprint::Cell,
            })
            .noise_variance(noise)
            .missing(match instrument.missing {
                Some(Missing::Pixel) => model::Missing::Pixel,
                _ => model::Missing::Band,
            });
        if let Some(quantile) = instrument.gate {
            built = built.gate(quantile);
        }
        if let Some(dof) = instrument.robust {
            built = built.robust(dof);
        }
        built = built.inflate(instrument.inflate);
        if let Some(bias) = &instrument.bias {
            built = built.bias(bias.0.clone());
        }
        for layer in layers {
            built = built.offset_layer(layer);
        }
        if let Some(response) = response {
            built = built.response(response.clone());
        }
        if let Some(bands) = &instrument.bands {
            built = built.observes(bands.iter().cloned());
        }
        Ok(built)
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
