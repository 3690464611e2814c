//! What a description must be, and the fusion that it becomes.

use std::sync::Arc;

use rayon::ThreadPoolBuilder;

use super::FusionBuilder;
use crate::engine::cells::CellModel;
use crate::engine::output::Projection;
use crate::engine::plan::{Plan, PlanInput};
use crate::engine::spare::Spare;
use crate::engine::steps::{Schedule, schedule};
use crate::engine::window::Part;
use crate::engine::{Fusion, OutputDates, Precision};
use crate::error::{Error, Result};
use crate::geometry::{DateRange, Tiling};
use crate::model::{
    Instrument, ObservationModel, Prior, Process, ProcessModel, SeasonalMean, Spectrum, Values, independent_parts,
    shared_bands,
};
use crate::series::{OutputSpace, Settings};

/// Window sizes beyond this are slips of the keyboard; the plan's arithmetic stays far from overflow.
const LARGEST_WINDOW: usize = 1 << 16;

/// Worker threads at most.
const LARGEST_POOL: usize = 4096;

impl FusionBuilder {
    /// Checks everything and plans the run; reads no pixel.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting that cannot work, [`Error::CrsMismatch`] for an instrument in another CRS,
    /// [`Error::Memory`] when the budget is too small for any tile, [`Error::Threads`].
    pub fn build(self) -> Result<Fusion> {
        let description = self.description.clone();
        self.checked().map_err(|error| error.in_description(description.as_deref()))
    }

    #[allow(clippy::too_many_lines)] // one check after the other, then a long list of fields
    fn checked(mut self) -> Result<Fusion> {
        if self.bands.is_empty() && self.basis.is_none() {
            self.bands = shared_bands(&self.instruments)?;
        }
        self.check_names()?;
        if self.keep_checkpoints == 0 {
            let problem = "0; give at least 1, or keep none with `Checkpoint::Off`";
            return Err(Error::setting("run.keep_checkpoints", problem));
        }
        let process = self.process.as_ref().ok_or_else(|| missing("process", "say how the scene changes"))?;
        let prior = self.prior.clone().ok_or_else(|| missing("prior", "say what is believed before the first day"))?;
        let spectrum = Spectrum::new(self.bands.clone(), self.basis.clone().map(Arc::new))?;
        if self.space == OutputSpace::Components && self.basis.is_none() {
            let problem =
                "\"components\" are those of a spectral basis, and there is none; give `basis`, or put out bands";
            return Err(Error::setting("output.space", problem));
        }
        let projection = Projection::new(&spectrum, self.space, &self.sd_factor)?;
        let p = spectrum.components();
        prior.validate(&self.target, p)?;
        if let Some(seasonal) = &self.seasonal {
            seasonal.validate(&self.target, &spectrum)?;
        }
        let instruments = self
            .instruments
            .iter()
            .map(|instrument| instrument.resolve(&self.target, &spectrum))
            .collect::<Result<Vec<_>>>()?;
        self.check_overlap(&instruments)?;
        let period = self.period(&instruments)?;
        let Schedule { steps, output } = schedule(period, &self.output, &instruments)?;
        let mut settings = self.settings(period, process, &prior);
        let features = process.resolve_features(&self.target)?;
        let process = process.resolve(p, self.target.cell_size(), self.reach(&instruments))?;
        let process = ProcessModel { features, ..process };
        let parts: Vec<Part> = independent_parts(&instruments, p)
            .into_iter()
            .map(|components| {
                let bands = instruments.iter().map(|instrument| instrument.part(&components)).collect();
                Part { components, bands }
            })
            .collect();
        let offsets = self.offsets(&instruments)?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|index| format!("rasterfuse-{index}"))
            .build()
            .map_err(|error| Error::Threads { threads: self.threads, source: Box::new(error) })?;
        // A lag beyond the end of the output axis takes memory for nothing. A ring of as many dates as there are never turns, so
        // that it can be enlarged when the series is appended to.
        let lag = self.lag.min(output.len());
        let days = f64::from(period.end().days_since(period.start())) + 1.0;
        let largest_ratio = largest_ratio(&process, &prior, &instruments, &parts, days);
        let adapts = process.inflate || instruments.iter().any(|i| i.inflate || i.robust.is_some());
        let uncoupled = self.lag == 0 && self.far.count == 0 && self.precision == Precision::F64 && !adapts;
        let cells = uncoupled.then(|| CellModel::new(&process, &instruments, &parts)).flatten().map(Arc::new);
        let window = if cells.is_some() { (1, 0) } else { (self.window_size, self.halo) };
        let plan = Plan::new(&PlanInput {
            target: &self.target,
            spectrum: &spectrum,
            layers: (projection.layers().0 + offsets.len(), projection.layers().1 + offsets.len()),
            offsets: offsets.len(),
            parts: &parts.iter().map(Part::size).collect::<Vec<_>>(),
            window,
            independent_cells: cells.is_some(),
            far: self.far,
            correlations: process.correlations.len(),
            fields: &process.fields,
            instruments: &instruments,
            prior: &prior,
            seasonal: self.seasonal.as_ref(),
            period,
            steps: &steps,
            dates: output.len(),
            tile: self.tile,
            batch_dates: self.batch_dates,
            shards: self.shards,
            budget_bytes: self.memory.bytes()?,
            threads: pool.current_num_threads(),
            lag,
            lag_asked: self.lag,
            adaptive: process.adaptive.is_some(),
            relative: process.is_relative(),
            factors: process.factors(),
            features: process.features.as_ref(),
            precision: self.precision,
            checkpoint: self.checkpoint,
            largest_ratio,
        })?;
        let tiling = Tiling::new(self.target.shape(), plan.tile_shape, window.0, window.1);
        settings.insert("output.tile", format!("[{}, {}]", plan.tile_shape.0, plan.tile_shape.1));
        Ok(Fusion {
            target: self.target,
            spectrum,
            projection,
            space: self.space,
            unit: self.unit,
            period,
            steps,
            output,
            tiling,
            far: self.far,
            process,
            prior,
            seasonal: self.seasonal,
            instruments,
            offsets,
            parts,
            cells,
            lag,
            lag_asked: self.lag,
            precision: self.precision,
            plan,
            pool,
            spare: Spare::default(),
            settings,
            withholds: self.withholds,
            description: self.description,
            on_error: self.on_error,
            replay_days: self.replay_days,
            checkpoint_interval: self.checkpoint_interval,
            keep_checkpoints: self.keep_checkpoints,
        })
    }

    /// What decides the values, tile shape aside.
    fn settings(&self, period: DateRange, process: &Process, prior: &Prior) -> Settings {
        let mut settings = Settings::of_target(&self.target, &self.bands, &self.unit);
        if let Some(basis) = &self.basis {
            settings.insert("basis", basis.summary());
        }
        settings.insert("output.space", self.space);
        if self.sd_factor != Values::Same(1.0) {
            settings.insert("output.sd_factor", &self.sd_factor);
        }
        if self.put_out_offsets {
            settings.insert("output.offsets", true);
        }
        settings.insert("time.start", period.start());
        settings.insert(
            "time.output",
            match self.output {
                OutputDates::Daily => "daily",
                OutputDates::Observed => "observed",
                OutputDates::Dates(_) => "a list of dates",
            },
        );
        settings.insert("window.size", self.window_size);
        settings.insert("window.halo", self.halo);
        settings.insert("window.far_samples", self.far.count);
        settings.insert("window.far_radius", format!("{:?}", self.far.radius));
        settings.add_process(process);
        settings.add_prior(prior);
        for (key, value) in self.seasonal.iter().flat_map(SeasonalMean::settings) {
            settings.insert(format!("seasonal.{key}"), value);
        }
        settings.add_instruments(&self.instruments, &self.bands);
        settings.insert("smoothing.lag", self.lag);
        settings.insert("run.precision", self.precision);
        settings
    }

    /// Offsets to put out: (instrument, band read).
    fn offsets(&self, instruments: &[ObservationModel]) -> Result<Vec<(usize, usize)>> {
        if !self.put_out_offsets {
            return Ok(Vec::new());
        }
        if self.lag > 0 {
            let problem = "offsets are filtered, and with a smoothing lag the values are not; leave out one of them";
            return Err(Error::setting("output.offsets", problem));
        }
        let layered = instruments.iter().enumerate().filter(|(_, instrument)| !instrument.offset_layers.is_empty());
        let bands =
            |(k, instrument): (usize, &ObservationModel)| (0..instrument.source_bands.len()).map(move |band| (k, band));
        let offsets: Vec<_> = layered.flat_map(bands).collect();
        if offsets.is_empty() {
            return Err(Error::setting("output.offsets", "no instrument has an offset_layer"));
        }
        Ok(offsets)
    }

    fn check_names(&self) -> Result<()> {
        let duplicate = |names: &[&str]| {
            names.iter().enumerate().find(|(k, name)| names[..*k].contains(name)).map(|(_, name)| (*name).to_owned())
        };
        if self.bands.is_empty() {
            return Err(missing("target.bands", "name the output bands"));
        }
        if self.instruments.is_empty() {
            return Err(missing("instrument", "add at least one"));
        }
        let bands: Vec<&str> = self.bands.iter().map(String::as_str).collect();
        if bands.contains(&"") {
            return Err(Error::setting("target.bands", "a band without a name; every output band needs one"));
        }
        if let Some(name) = duplicate(&bands) {
            return Err(Error::setting("target.bands", format!("{name:?} is given twice")));
        }
        let names: Vec<&str> = self.instruments.iter().map(Instrument::name).collect();
        if let Some(name) = duplicate(&names) {
            return Err(Error::setting("instrument", format!("two instruments are called {name:?}; name them apart")));
        }
        if self.window_size == 0 {
            return Err(Error::setting("window.size", "0 cells; give at least 1"));
        }
        if self.far.count > 0 && !(self.far.radius > 0.0 && self.far.radius.is_finite()) {
            let radius = self.far.radius;
            return Err(Error::setting(
                "window.far_radius",
                format!("{radius} must be positive when far_samples are asked for"),
            ));
        }
        let sizes = [("size", self.window_size), ("halo", self.halo), ("far_samples", self.far.count)];
        if let Some((key, cells)) = sizes.into_iter().find(|(_, cells)| *cells > LARGEST_WINDOW) {
            return Err(Error::setting(
                format!("window.{key}"),
                format!("{cells} cells; give at most {LARGEST_WINDOW}"),
            ));
        }
        if self.threads > LARGEST_POOL {
            let threads = self.threads;
            return Err(Error::setting(
                "run.threads",
                format!("{threads}; give at most {LARGEST_POOL}, or 0 for one per core"),
            ));
        }
        if self.batch_dates == Some(0) {
            return Err(Error::setting("batch_dates", "0 dates; give at least 1"));
        }
        if self.shards == 0 {
            return Err(Error::setting("shards", "0 processes; give at least 1"));
        }
        if self.tile.is_some_and(|(rows, cols)| rows == 0 || cols == 0) {
            return Err(Error::setting("output.tile", "0 cells; give at least [1, 1]"));
        }
        Ok(())
    }

    fn check_overlap(&self, instruments: &[ObservationModel]) -> Result<()> {
        if instruments.iter().any(|instrument| self.target.overlaps(instrument.source.grid())) {
            return Ok(());
        }
        let grids: Vec<String> = instruments
            .iter()
            .map(|instrument| format!("{:?}: {}", instrument.name, instrument.source.grid()))
            .collect();
        Err(Error::setting(
            "target",
            format!(
                "no instrument touches the target grid ({}); the instruments cover {}",
                self.target,
                grids.join(", ")
            ),
        ))
    }

    /// The days asked for, or those between the first and the last observation.
    fn period(&self, instruments: &[ObservationModel]) -> Result<DateRange> {
        let dates = || instruments.iter().flat_map(|instrument| instrument.source.dates().iter().copied());
        let (Some(first), Some(last)) = (self.period.0.or(dates().min()), self.period.1.or(dates().max())) else {
            return Err(Error::setting("time", "the instruments hold no date; give start and end"));
        };
        match self.period {
            (Some(start), None) if last < start => {
                let problem = format!(
                    "start {start} is after the last observation of all instruments, {last}, which a series without `end` ends with; \
                     give an earlier start, or an end"
                );
                Err(Error::setting("time", problem))
            }
            (None, Some(end)) if end < first => {
                let problem = format!(
                    "end {end} precedes the first observation of all instruments, {first}, which a series without `start` begins \
                     with; give a later end, or a start"
                );
                Err(Error::setting("time", problem))
            }
            _ => DateRange::new(first, last),
        }
    }

    /// Largest displacement between two cells that a window's covariances ask for, in (rows, columns).
    fn reach(&self, instruments: &[ObservationModel]) -> (i64, i64) {
        let footprint = instruments
            .iter()
            .map(|instrument| instrument.lattice.largest())
            .fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let window = (self.window_size + 2 * self.halo) as i64;
        let far = |size: f64| if self.far.count > 0 { (2.0 * self.far.radius / size).ceil() as i64 } else { 0 };
        let (width, height) = self.target.cell_size();
        (window.max(far(height)) + 2 * footprint.0, window.max(far(width)) + 2 * footprint.1)
    }
}

fn missing(key: &str, advice: &str) -> Error {
    Error::setting(key, format!("not given; {advice}"))
}

/// Largest variance that any window can reach in `days` over the smallest noise variance, where both are known.
fn largest_ratio(
    process: &ProcessModel,
    prior: &Prior,
    instruments: &[ObservationModel],
    parts: &[Part],
    days: f64,
) -> Option<f64> {
    // Noise that only the pixels know may be as small as it likes, further layers add variances of
    // their own, and process variances may be learned.
    if process.inflate
        || !process.fields.is_empty()
        || instruments.iter().any(|instrument| instrument.source.knows_noise() || !instrument.offset_layers.is_empty())
    {
        return None;
    }
    let p = process.components.len();
    let widest = |part: &Part| {
        let variance = |&j: &usize| process.largest_variance(j, prior.constant_variance(j, p)?, days);
        let variances: Option<Vec<f64>> = part.components.iter().map(variance).collect();
        let information = instruments.iter().map(|i| i.most_information(&part.components)).fold(0.0, f64::max);
        // A combination of several components has at most so many times the largest variance.
        let combined = information * part.components.len() as f64;
        variances.map(|variances| variances.into_iter().fold(0.0, f64::max) * combined)
    };
    let ratios: Option<Vec<f64>> = parts.iter().map(widest).collect();
    ratios.map(|ratios| ratios.into_iter().fold(0.0, f64::max))
}
