//! The state-space model of a fusion: process, prior, observation models and the parts that are filtered separately.

use std::sync::Arc;

use super::instrument::independent_parts;
use super::ratios::resolve;
use super::together::{check_correlation, groups, learned};
use super::{
    Effect, FarSamples, FeatureModel, ObservationModel, PartBands, PartSize, PriorModel, ProcessModel, Together,
    VariationModel, shared_bands,
};
use crate::describe::{Bands, Description, Instrument, Numbers, OutputSpace, Process, Window};
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::seasonal::SeasonalMean;
use crate::spectral::Spectrum;

/// Larger window sizes are typing errors; the plan's arithmetic stays far from overflow.
const LARGEST_WINDOW: usize = 1 << 16;

/// The model that a description defines, checked, in the form that the filter uses.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) target: Grid,
    pub(crate) spectrum: Spectrum,
    pub(crate) process: ProcessModel,
    pub(crate) prior: PriorModel,
    /// The mean function; the state is the anomaly.
    pub(crate) seasonal: Option<SeasonalMean>,
    pub(crate) instruments: Vec<ObservationModel>,
    /// Groups of components that are filtered separately.
    pub(crate) parts: Vec<Part>,
    /// Why bands are not filtered together, where that was to be expected.
    pub(crate) apart: Option<String>,
    pub(crate) far: FarSamples,
}

/// Components that observations couple or that share one covariance, which are filtered together and separately from
/// all others.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) components: Vec<usize>,
    /// What the bands of each instrument observe of those that have states.
    pub(crate) bands: Vec<PartBands>,
    /// Where they share one covariance: the first alone has states then.
    pub(crate) together: Option<Arc<Together>>,
}

impl Model {
    /// Reads of observations that should be in flight at a time, because servers are waited for; 0 where none are.
    pub(crate) fn reads_in_flight(&self) -> usize {
        self.instruments.iter().filter_map(|instrument| instrument.source.reads_in_flight()).max().unwrap_or(0)
    }

    /// Checks a description whose inputs are opened; reads no pixel.
    ///
    /// # Errors
    /// [`Error::Setting`] by key for what cannot work or is left to be estimated, [`Error::Number`] for numbers that
    /// cannot be, [`Error::CrsMismatch`] for an instrument in another CRS.
    pub(crate) fn new(description: &Description) -> Result<Self> {
        let Some(target) = description.target.grid.clone() else {
            return Err(Error::setting("target", "the grid is not opened"));
        };
        check_window(description.window)?;
        let spectrum = spectrum(description)?;
        let p = spectrum.components();
        let resolved = resolve(description, spectrum.bands())?;
        let (unresolved, description) = (description, resolved.as_ref());
        let instruments = &description.instrument;
        let wants_together = wants_together(unresolved)?;
        let process = description.process.chosen("process")?;
        let prior = PriorModel::new(description.prior.chosen("prior")?, &target, p)?;
        let seasonal = description.mean_function().cloned();
        if let Some(seasonal) = &seasonal {
            seasonal.validate(&target, &spectrum)?;
        }
        let observed = |instrument| ObservationModel::new(instrument, &target, &spectrum);
        let instruments = instruments.iter().map(observed).collect::<Result<Vec<_>>>()?;
        check_overlap(&target, &instruments)?;
        let features = process.features.as_ref();
        let features = features.map(|features| FeatureModel::new(features, seasonal.as_ref(), &target)).transpose()?;
        let variation = match &process.variation {
            None => None,
            Some(variation) => Some(VariationModel::new(variation.chosen("process.variation")?, p, &target)?),
        };
        let Window { far_samples: count, far_radius: radius, .. } = description.window;
        let far = FarSamples { count, radius };
        let reach = reach(description.window, &target, &instruments);
        let described = process;
        let process = ProcessModel::new(described, (features, variation), p, target.cell_size(), reach)?;
        let mut this =
            Self { target, spectrum, process, prior, seasonal, instruments, parts: Vec::new(), apart: None, far };
        this.divide(described, wants_together)?;
        Ok(this)
    }

    /// Divides the components into parts.
    fn divide(&mut self, process: &Process, wants_together: bool) -> Result<()> {
        let p = self.spectrum.components();
        let part = |components: Vec<usize>, together: Option<Together>| {
            let filtered = if together.is_some() { &components[..1] } else { &components[..] };
            let bands = self.instruments.iter().map(|instrument| instrument.part(filtered)).collect();
            Part { bands, components, together: together.map(Arc::new) }
        };
        let singles = independent_parts(&self.instruments, p);
        if process.scale.is_some() && !wants_together {
            let problem = "is for bands together; give noise as ratios and bands = \"together\", or leave it out";
            return Err(Error::setting("process.scale", problem));
        }
        if !wants_together {
            self.parts = singles.into_iter().map(|components| part(components, None)).collect();
            return Ok(());
        }
        check_correlation(&process.band_correlation, p)?;
        let (mut parts, mut apart) = (Vec::new(), None);
        for (group, plain) in groups(&self.instruments, &singles) {
            if !plain {
                apart = Some("an instrument observes a band twice, or several at once".into());
                parts.push(part(group, None));
                continue;
            }
            match Together::new(&group, &self.process, &self.prior, &self.instruments, &process.band_correlation)? {
                Ok(mut together) => {
                    together.scale = learned(process.scale, group.len())?;
                    parts.push(part(group, Some(together)));
                }
                Err((key, why)) if process.bands == Some(Bands::Together) => {
                    let problem =
                        format!("{why}, so bands cannot be filtered together; or set process.bands = \"apart\"");
                    return Err(Error::setting(key, problem));
                }
                Err((key, why)) => {
                    apart = Some(format!("{key} {why}"));
                    parts.extend(group.into_iter().map(|component| part(vec![component], None)));
                }
            }
        }
        (self.parts, self.apart) = (parts, apart);
        Ok(())
    }
}

impl Model {
    /// This model restricted to one part: correlations are then those of its components only.
    pub(crate) fn of_part(mut self, part: usize) -> Self {
        let mut index = 0..;
        self.parts.retain(|_| index.next() == Some(part));
        self.process.keep(self.parts.iter().flat_map(|part| &part.components));
        self
    }

    /// This model with effects that are looked for beside the values of bands together.
    pub(crate) fn with_effects(mut self, effects: &[Effect]) -> Self {
        for together in self.parts.iter_mut().filter_map(|part| part.together.as_mut()) {
            Arc::make_mut(together).looks_for(effects);
        }
        self
    }

    /// Names of the bands of each group that shares a covariance.
    pub(crate) fn bands_together(&self) -> Vec<Vec<String>> {
        let names =
            |together: &Together| together.components.iter().map(|&j| self.spectrum.bands()[j].clone()).collect();
        self.parts.iter().filter_map(|part| part.together.as_deref()).map(names).collect()
    }

    /// Whether the covariance between bands is looked for.
    pub(crate) fn gathers_squares(&self) -> bool {
        self.parts.iter().any(|part| part.together.as_ref().is_some_and(|together| together.is_sought()))
    }

    /// The component that a band of an instrument, among those it reads, observes by itself, if it does.
    pub(crate) fn component_of(&self, instrument: usize, band: usize) -> Option<usize> {
        let part = self.parts.iter().find(|part| part.rows(instrument).contains(&band))?;
        match &part.together {
            None => (part.components.len() == 1).then(|| part.components[0]),
            Some(together) => {
                let position = together.bands[instrument].rows.iter().position(|row| *row == band)?;
                Some(together.components[position])
            }
        }
    }

    /// Whether an instrument's pixels are target cells.
    pub(crate) fn observes_cells(&self, instrument: usize) -> bool {
        self.instruments[instrument].lattice.first_of_single_cells().is_some()
    }
}

impl Part {
    /// The components that have states: all, or of those together the first.
    pub(crate) fn filtered(&self) -> &[usize] {
        if self.together.is_some() { &self.components[..1] } else { &self.components }
    }

    /// The bands of an instrument that observe it, as positions among those read.
    pub(crate) fn rows(&self, instrument: usize) -> &[usize] {
        self.together.as_ref().map_or(&self.bands[instrument].rows, |together| &together.bands[instrument].rows)
    }

    /// Components and bands of each instrument, for the plan.
    pub(crate) fn size(&self) -> PartSize {
        PartSize {
            components: self.filtered().len(),
            columns: self.together.as_ref().map_or(1, |together| together.columns()),
            bands: self.bands.iter().map(|bands| bands.rows.len()).collect(),
        }
    }
}

/// Whether bands are to be filtered together: as the process says, or else where the noise of all instruments is given
/// as a ratio.
fn wants_together(description: &Description) -> Result<bool> {
    let process = description.process.chosen("process")?;
    let ratios = || {
        let noise = |instrument: &Instrument| instrument.noise_variance.as_ref().is_some_and(Numbers::is_ratio);
        description.instrument.iter().all(noise)
    };
    match process.bands {
        Some(Bands::Together) if description.basis.is_some() => {
            let problem = "\"together\", but with a spectral basis bands are coupled by its components; leave it out";
            Err(Error::setting("process.bands", problem))
        }
        Some(bands) => Ok(bands == Bands::Together),
        None => Ok(description.basis.is_none() && ratios()),
    }
}

/// The target bands and the basis that describes them.
fn spectrum(description: &Description) -> Result<Spectrum> {
    let instruments = &description.instrument;
    let basis = description.opened_basis();
    let bands = match &description.target.bands {
        Some(bands) => bands.clone(),
        None if basis.is_some() => Vec::new(),
        None => shared_bands(instruments)?,
    };
    if bands.is_empty() {
        return Err(Error::setting("target.bands", "not given; name the output bands"));
    }
    if instruments.is_empty() {
        return Err(Error::setting("instrument", "not given; add at least one"));
    }
    if bands.iter().any(String::is_empty) {
        return Err(Error::setting("target.bands", "a band without a name; every output band needs one"));
    }
    let names: Vec<&str> = bands.iter().map(String::as_str).collect();
    if let Some(name) = duplicate(&names) {
        return Err(Error::setting("target.bands", format!("{name:?} is given twice")));
    }
    let names: Vec<&str> = instruments.iter().map(|instrument| instrument.name.as_str()).collect();
    if names.iter().any(|name| name.trim().is_empty()) {
        return Err(Error::setting("instrument.name", "an instrument without a name; every instrument needs one"));
    }
    if let Some(name) = duplicate(&names) {
        return Err(Error::setting("instrument", format!("two instruments are called {name:?}; name them apart")));
    }
    if description.output.space == OutputSpace::Components && basis.is_none() {
        let problem = "\"components\" are those of a spectral basis, and there is none; give `basis`, or output bands";
        return Err(Error::setting("output.space", problem));
    }
    Spectrum::new(bands, basis.cloned())
}

fn duplicate<'a>(names: &[&'a str]) -> Option<&'a str> {
    names.iter().enumerate().find(|(k, name)| names[..*k].contains(name)).map(|(_, name)| *name)
}

fn check_window(window: Window) -> Result<()> {
    if window.size == 0 {
        return Err(Error::setting("window.size", "0 cells; give at least 1"));
    }
    let radius = window.far_radius;
    if window.far_samples > 0 && !(radius > 0.0 && radius.is_finite()) {
        return Err(Error::number("window.far_radius", radius, "must be positive when far_samples are asked for"));
    }
    let sizes = [("size", window.size), ("halo", window.halo), ("far_samples", window.far_samples)];
    match sizes.into_iter().find(|(_, cells)| *cells > LARGEST_WINDOW) {
        Some((key, cells)) => {
            Err(Error::setting(format!("window.{key}"), format!("{cells} cells; give at most {LARGEST_WINDOW}")))
        }
        None => Ok(()),
    }
}

/// Refuses longitudes of which a part lies a turn of 360 degrees away: it would be missing.
fn check_turns(target: &Grid, instruments: &[ObservationModel]) -> Result<()> {
    let turned = |instrument: &ObservationModel| {
        let (west, east) = target.turned_away(instrument.source.grid())?;
        let problem = format!(
            "not given, and the longitudes of {} run from {west} to {east}, so that a part of the target grid lies a turn of 360 degrees \
             away; give reproject = \"nearest\", which turns them (of a Zarr cube, xarray does: ds.assign_coords(x=(ds.x + 180) % 360 - \
             180).sortby(\"x\"))",
            instrument.source.origin()
        );
        Some(Error::setting("reproject", problem).of_instrument(&instrument.name))
    };
    instruments.iter().find_map(turned).map_or(Ok(()), Err)
}

fn check_overlap(target: &Grid, instruments: &[ObservationModel]) -> Result<()> {
    check_turns(target, instruments)?;
    if instruments.iter().any(|instrument| target.overlaps(instrument.source.grid())) {
        return Ok(());
    }
    let grid = |instrument: &ObservationModel| format!("{:?}: {}", instrument.name, instrument.source.grid());
    let grids: Vec<String> = instruments.iter().map(grid).collect();
    let grids = grids.join(", ");
    let problem = format!("no instrument touches the target grid ({target}); the instruments cover {grids}");
    Err(Error::setting("target", problem))
}

/// Largest displacement between two cells that a window's covariances ask for, in (rows, columns).
fn reach(window: Window, target: &Grid, instruments: &[ObservationModel]) -> (i64, i64) {
    let footprint = instruments
        .iter()
        .map(|instrument| instrument.lattice.largest())
        .fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let Window { size, halo, far_samples, far_radius } = window;
    let side = (size + 2 * halo) as i64;
    let far = |cell: f64| if far_samples > 0 { (2.0 * far_radius / cell).ceil() as i64 } else { 0 };
    let (width, height) = target.cell_size();
    (side.max(far(height)).saturating_add(2 * footprint.0), side.max(far(width)).saturating_add(2 * footprint.1))
}
