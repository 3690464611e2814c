mod observation;

use std::sync::Arc;

use super::offset::MOST_LAYERS;
use super::spectrum::{SeenBands, Spectrum};
use super::{Footprint, Gate, OffsetLayer, PixelLattice, SpectralResponse, Values};
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::source::{RasterSource, same_crs};

pub(crate) use observation::{ObservationModel, PartBands, independent_parts};

/// What a missing band means for the rest of its pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Only the missing values drop out.
    #[default]
    Band,
    /// One missing band drops the pixel.
    Pixel,
}

/// A sensor: where its pixels come from, what they see, and how well.
///
/// ```
/// # use ndarray::Array4;
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::source::MemorySource;
/// use rasterfuse::model::{Footprint, Instrument};
/// # let grid = Grid::new(Crs::unknown(), [0.0, 500.0, 0.0, 0.0, 0.0, -500.0], (2, 2))?;
/// # let bands = vec!["B1".to_owned(), "B2".to_owned()];
/// # let modis = MemorySource::new(grid, vec![Date::from_days(0)], bands, Array4::zeros((1, 2, 2, 2)))?;
/// let modis = Instrument::new("modis", modis)
///     .observes(["red", ""]) // its first band sees the target's red, its second is not used
///     .footprint(Footprint::Uniform)
///     .noise_variance(4e-4);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Instrument {
    name: String,
    source: Arc<dyn RasterSource>,
    observes: Option<Vec<String>>,
    response: Option<SpectralResponse>,
    footprint: Footprint,
    noise_variance: Option<Values>,
    bias: Values,
    offset_layers: Vec<OffsetLayer>,
    missing: Missing,
    gate: Option<f64>,
    robust: Option<f64>,
    inflate: bool,
}

impl Instrument {
    /// An instrument with the pixels of `source`; each pixel a target cell, no bias, every source band observing the target
    /// band of its own name.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl RasterSource + 'static) -> Self {
        Self {
            name: name.into(),
            source: Arc::new(source),
            observes: None,
            response: None,
            footprint: Footprint::Cell,
            noise_variance: None,
            bias: Values::Same(0.0),
            offset_layers: Vec::new(),
            missing: Missing::Band,
            gate: None,
            robust: None,
            inflate: false,
        }
    }

    /// The target band that each source band observes, in the source's order; `""` for bands not used.
    #[must_use]
    pub fn observes<S: Into<String>>(mut self, bands: impl IntoIterator<Item = S>) -> Self {
        self.observes = Some(bands.into_iter().map(Into::into).collect());
        self
    }

    /// How each band, in the source's order, weighs the spectrum that the fusion's
    /// [basis](crate::engine::FusionBuilder::basis) describes. [`observes`](Self::observes) then only tells which bands are used:
    /// those with any name. Without a response, each band sees the wavelength of the target band it observes.
    #[must_use]
    pub fn response(mut self, response: SpectralResponse) -> Self {
        self.response = Some(response);
        self
    }

    /// What a pixel sees; default: one target cell.
    #[must_use]
    pub fn footprint(mut self, footprint: Footprint) -> Self {
        self.footprint = footprint;
        self
    }

    /// Noise variance in u², one or one per source band; where the source [knows better](crate::source::Slice::noise_variance)
    /// that counts. Required.
    #[must_use]
    pub fn noise_variance(mut self, variance: impl Into<Values>) -> Self {
        self.noise_variance = Some(variance.into());
        self
    }

    /// What the instrument adds to the truth, in u, one or one per source band; default 0.
    #[must_use]
    pub fn bias(mut self, bias: impl Into<Values>) -> Self {
        self.bias = bias.into();
        self
    }

    /// Adds a layer of offsets that are estimated with the field, beside the constant bias; default none. Windows then hold states
    /// for them, and all cells of a fusion are filtered by windows.
    #[must_use]
    pub fn offset_layer(mut self, layer: OffsetLayer) -> Self {
        self.offset_layers.push(layer);
        self
    }

    /// What a missing band means for its pixel; default: nothing for the others.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Refuses pixels, as undetected clouds, whose normalised innovation squared over all bands exceeds this quantile of the
    /// χ² distribution, from 0.5 to below 1; 0.999 refuses one good pixel in a thousand. Default: none is refused.
    #[must_use]
    pub fn gate(mut self, quantile: f64) -> Self {
        self.gate = Some(quantile);
        self
    }

    /// Believes that errors have the heavy tails of Student's t with so many degrees of freedom, above 0: a pixel whose own normalised
    /// innovation squared `NIS` over its `d` values is larger than expected has the noise variances `v / w`,
    /// `w = min(1, (ν + d)/(ν + NIS))`, the weight that the t distribution gives it (Agamennoni, Nieto & Nebot, *Approximate Inference in
    /// State-Space Models With Heavy-Tailed Noise*, IEEE TSP 60, 2012; Roth, Özkan & Gustafsson, *A Student's t filter for heavy
    /// tailed process and measurement noise*, ICASSP 2013), never above one. 4 is a usual choice; large numbers approach the Gaussian.
    /// Default: Gaussian.
    #[must_use]
    pub fn robust(mut self, degrees_of_freedom: f64) -> Self {
        self.robust = Some(degrees_of_freedom);
        self
    }

    /// Whether the noise variances stated are the least: every window multiplies them by a factor that it learns from the normalised
    /// innovations, by groups of components that are filtered apart (by band, without a spectral basis); a few tens of dates tell. Default: no.
    #[must_use]
    pub fn inflate(mut self, inflate: bool) -> Self {
        self.inflate = inflate;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its pixels.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn RasterSource> {
        &self.source
    }

    /// Reads another source of the same grid, dates and bands.
    pub(crate) fn replace_source(&mut self, source: Arc<dyn RasterSource>) {
        self.source = source;
    }

    /// The target bands that it observes by name, each once, in order; none where its response tells what it sees.
    pub(crate) fn band_names(&self) -> Vec<&str> {
        let names = match (&self.observes, &self.response) {
            (_, Some(_)) => &[],
            (Some(names), None) => names.as_slice(),
            (None, None) => self.source.bands(),
        };
        let mut once: Vec<&str> = Vec::with_capacity(names.len());
        for name in names.iter().filter(|name| !name.is_empty()) {
            if !once.contains(&name.as_str()) {
                once.push(name);
            }
        }
        once
    }

    /// Whether each of its pixels sees a target cell.
    #[cfg(all(feature = "config", feature = "gdal", feature = "zarr"))]
    pub(crate) fn footprint_is_cell(&self) -> bool {
        self.footprint == Footprint::Cell
    }

    /// What decides its observations, by key.
    pub(crate) fn settings(&self, target_bands: &[String]) -> Vec<(String, String)> {
        let grid = self.source.grid();
        let (rows, cols) = grid.shape();
        // Written as a list whether it was given or found by name.
        let by_name = |name: &String| if target_bands.contains(name) { name.clone() } else { String::new() };
        let held = self.source.bands();
        let bands = match (&self.observes, &self.response) {
            (Some(names), _) => format!("{names:?} of {held:?}"),
            (None, None) => format!("{:?} of {held:?}", held.iter().map(by_name).collect::<Vec<_>>()),
            (None, Some(_)) => format!("all of {held:?}"),
        };
        let noise = self.noise_variance.as_ref().map(Values::to_string).unwrap_or_default();
        let mut settings = vec![
            ("grid".into(), format!("[{rows}, {cols}] at {:?}", grid.geotransform())),
            ("bands".into(), bands),
            ("response".into(), self.response.as_ref().map_or_else(|| "none".into(), SpectralResponse::summary)),
            ("footprint".into(), format!("{:?}", self.footprint)),
            ("noise_variance".into(), noise),
            ("bias".into(), self.bias.to_string()),
            ("missing".into(), format!("{:?}", self.missing)),
            ("gate".into(), self.gate.map_or_else(|| "none".into(), |gate| format!("{gate:?}"))),
        ];
        let layers = self.offset_layers.iter().enumerate();
        settings.extend(layers.map(|(k, layer)| (format!("offset_layer {}", k + 1), layer.summary())));
        settings.extend(self.robust.map(|dof| ("robust".into(), format!("{dof:?}"))));
        settings.extend(self.inflate.then(|| ("inflate".into(), "true".into())));
        settings.extend(self.source.settings());
        settings
    }

    /// Checks everything against the target and works out what the filter needs.
    pub(crate) fn resolve(&self, target: &Grid, spectrum: &Spectrum) -> Result<ObservationModel> {
        let key = |name: &str| format!("instrument {:?}: {name}", self.name);
        if !same_crs(self.source.grid().crs(), target.crs()) {
            return Err(Error::CrsMismatch {
                what: format!("instrument {:?} ({})", self.name, self.source.origin()),
                expected: target.crs().clone(),
                found: self.source.grid().crs().clone(),
            });
        }
        let lattice = PixelLattice::new(target, self.source.grid(), self.footprint, &self.name)?;
        let n = self.source.bands().len();
        let Some(noise) = &self.noise_variance else {
            return Err(Error::setting(
                key("noise_variance"),
                "not given; state the variance of a pixel's error in u²",
            ));
        };
        let noise = noise.expand_positive(n, &key("noise_variance"), "band")?;
        let bias = self.bias.expand(n, &key("bias"), "band")?;
        if let Some(value) = bias.iter().find(|value| !value.is_finite()) {
            return Err(Error::setting(key("bias"), format!("{value} must be finite")));
        }
        if let Some(dof) = self.robust.filter(|dof| !(*dof > 0.0 && dof.is_finite())) {
            let problem = format!("{dof} must be a positive number of degrees of freedom, such as 4.0");
            return Err(Error::setting(key("robust"), problem));
        }
        let (source_bands, SeenBands { design, constant }) = self.seen_bands(spectrum)?;
        let pick = |values: &[f64]| source_bands.iter().map(|&band| values[band]).collect();
        if self.offset_layers.len() > MOST_LAYERS {
            let layers = self.offset_layers.len();
            return Err(Error::setting(key("offset_layer"), format!("{layers} layers; give at most {MOST_LAYERS}")));
        }
        let layer = |(k, layer): (usize, &OffsetLayer)| {
            layer.resolve(n, &source_bands, &key(&format!("offset_layer {}", k + 1)))
        };
        Ok(ObservationModel {
            offset_layers: self.offset_layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
            name: self.name.clone(),
            source: Arc::clone(&self.source),
            noise: pick(&noise),
            offset: source_bands.iter().zip(&constant).map(|(&band, constant)| bias[band] + constant).collect(),
            missing: self.missing,
            robust: self.robust,
            inflate: self.inflate,
            gate: self.gate.map(|quantile| Gate::new(quantile, source_bands.len(), &key("gate"))).transpose()?,
            source_bands,
            by_name: self.response.is_none() && self.observes.is_none(),
            design,
            lattice,
        })
    }

    /// The source bands that are read and what they see of the components.
    fn seen_bands(&self, spectrum: &Spectrum) -> Result<(Vec<usize>, SeenBands)> {
        let Some(response) = &self.response else {
            let observed = self.observed_bands(spectrum.bands())?.into_iter().enumerate();
            let (used, targets): (Vec<_>, Vec<_>) = observed.filter_map(|(band, target)| Some((band, target?))).unzip();
            return Ok((used, spectrum.of_bands(&targets)));
        };
        let held = self.source.bands();
        let named = |error: Error| error.of_instrument(&self.name);
        let of_response = response.bands_for(held).map_err(named)?;
        let names = self.listed_bands()?;
        let used = (0..held.len()).filter(|&band| names.is_none_or(|names| !names[band].is_empty()));
        let used: Vec<usize> = used.collect();
        if used.is_empty() {
            return Err(self.refuse_bands("all are empty; name at least one"));
        }
        let curves: Vec<usize> = used.iter().map(|&band| of_response[band]).collect();
        let seen = spectrum.through(response, &curves).map_err(named)?;
        Ok((used, seen))
    }

    fn refuse_bands(&self, problem: impl Into<String>) -> Error {
        Error::setting(format!("instrument {:?}: bands", self.name), problem)
    }

    /// The list of [`observes`](Self::observes), one for each source band.
    fn listed_bands(&self) -> Result<Option<&[String]>> {
        let held = self.source.bands();
        match &self.observes {
            Some(names) if names.len() != held.len() => {
                let (listed, n) = (names.len(), held.len());
                Err(self.refuse_bands(format!(
                    "{listed} listed, but {} holds {n} ({held:?}); list one target band for each, \"\" for bands not used",
                    self.source.origin()
                )))
            }
            names => Ok(names.as_deref()),
        }
    }

    /// The target band of each source band.
    fn observed_bands(&self, target_bands: &[String]) -> Result<Vec<Option<usize>>> {
        let held = self.source.bands();
        let position = |name: &String| target_bands.iter().position(|target| target == name);
        let observed: Vec<Option<usize>> = match self.listed_bands()? {
            None => held.iter().map(position).collect(),
            Some(names) => {
                let mut observed = Vec::with_capacity(names.len());
                for name in names {
                    let target = position(name);
                    if target.is_none() && !name.is_empty() {
                        let problem = format!(
                            "{name:?} is not among the target bands {target_bands:?}; give one of these for each of {held:?}, \"\" for \
                             bands not used"
                        );
                        return Err(self.refuse_bands(problem));
                    }
                    observed.push(target);
                }
                observed
            }
        };
        if observed.iter().all(Option::is_none) {
            let list = suggested(held, target_bands);
            let alike = list.iter().any(|name| !name.is_empty());
            let example = if alike { format!(", such as {list:?}") } else { String::new() };
            return Err(self.refuse_bands(format!(
                "none of the bands of {} ({held:?}) has the name of a target band ({target_bands:?}), whose case counts; list the target \
                 band that each of them observes, in their order, \"\" for bands not used{example}; or, with a spectral basis, give a \
                 `response`",
                self.source.origin()
            )));
        }
        Ok(observed)
    }
}

/// The bands that every instrument observes, in the order of the first, where they all observe the same; none without instruments.
///
/// # Errors
/// [`Error::Setting`] when two observe others.
pub(crate) fn shared_bands(instruments: &[Instrument]) -> Result<Vec<String>> {
    let Some((first, others)) = instruments.split_first() else { return Ok(Vec::new()) };
    let bands = first.band_names();
    let sorted = |instrument: &Instrument| {
        let mut names: Vec<String> = instrument.band_names().into_iter().map(Into::into).collect();
        names.sort_unstable();
        names
    };
    if let Some(other) = others.iter().find(|other| sorted(other) != sorted(first)) {
        let (a, b) = (first.name(), other.name());
        let problem = format!(
            "not given, and {a:?} observes {bands:?}, {b:?} {:?}; name the output bands, and what each band observes",
            other.band_names()
        );
        return Err(Error::setting("target.bands", problem));
    }
    Ok(bands.into_iter().map(Into::into).collect())
}

/// The list of target bands that would do for bands held: those whose names differ by case alone, else, of as many without names of
/// their own, all in order.
fn suggested(held: &[String], target: &[String]) -> Vec<String> {
    let unnamed =
        held.len() == target.len() && held.iter().enumerate().all(|(k, name)| *name == format!("band{}", k + 1));
    if unnamed {
        return target.to_vec();
    }
    let alike = |name: &String| target.iter().find(|other| other.to_lowercase() == name.to_lowercase());
    held.iter().map(|name| alike(name).cloned().unwrap_or_default()).collect()
}
