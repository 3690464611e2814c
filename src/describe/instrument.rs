//! A sensor: where its pixels come from, what they observe, and how well.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::visit::{Visit, Visitor, list};
use super::{Composite, Footprint, Key, Numbers, OffsetLayer, Quantity, Response, Structure};
use crate::error::{Error, Result};
use crate::source::RasterSource;
use crate::spectral::SpectralResponse;

/// A sensor: where its pixels come from, what they observe, and how well. The table `[[instrument]]`, without the
/// keys that say where its files are.
///
/// ```
/// # use ndarray::Array4;
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::source::MemorySource;
/// use rasterfuse::describe::{Footprint, Instrument};
/// # let grid = Grid::new(Crs::unknown(), [0.0, 500.0, 0.0, 0.0, 0.0, -500.0], (2, 2))?;
/// # let bands = vec!["B1".to_owned(), "B2".to_owned()];
/// # let modis = MemorySource::new(grid, vec![Date::from_days(0)], bands, Array4::zeros((1, 2, 2, 2)))?;
/// let modis = Instrument::new("modis", modis)
///     .observes(["red", ""]) // its first band observes the target's red, its second is not used
///     .footprint(Footprint::Uniform)
///     .noise_variance(4e-4);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Instrument {
    /// Its name, for messages and the report.
    pub name: String,
    /// Its pixels, once they are opened.
    #[serde(skip_deserializing, serialize_with = "source_settings")]
    pub source: Option<Arc<dyn RasterSource>>,
    /// The target band that each source band observes. Default: the one with the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands: Option<Vec<String>>,
    /// How each band weighs the spectrum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// What a pixel observes. Default: a target cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
    /// The days over which its values are averages; one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composite: Option<Composite>,
    /// Noise variance, in u².
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_variance: Option<Numbers>,
    /// What it adds to the truth, in u.
    #[serde(default = "zero")]
    pub bias: Numbers,
    /// Offsets that change; none where the list is empty. Where nothing is said there are none either, but an
    /// [estimation](crate::estimate) that finds the bias of pixels larger than cells chooses some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_layer: Option<Structure<Vec<OffsetLayer>>>,
    /// What a missing band means for its pixel.
    #[serde(default)]
    pub missing: Missing,
    /// The χ² quantile beyond which pixels are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// On how many dates in a row the gate refuses a pixel at most, from 1 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<u32>,
    /// Degrees of freedom of Student's t for its errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robust: Option<f64>,
    /// Whether windows learn a factor of the noise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inflate: bool,
}

/// What a missing band means for the rest of its pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Missing {
    /// Only the missing values drop out.
    #[default]
    Band,
    /// One missing band drops the pixel.
    Pixel,
}

fn zero() -> Numbers {
    0.0.into()
}

/// What the source reports of itself, with its grid.
#[expect(clippy::ref_option, reason = "serde gives the field")]
fn source_settings<S: Serializer>(source: &Option<Arc<dyn RasterSource>>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(source) = source else { return serializer.serialize_none() };
    let (rows, cols) = source.grid().shape();
    let grid = format!("[{rows}, {cols}] at {:?}", source.grid().geotransform());
    serializer.collect_map(std::iter::once(("grid".to_owned(), grid)).chain(source.settings()))
}

impl Instrument {
    /// An instrument with the pixels of `source`; each pixel a target cell, no bias, every source band observing the
    /// target band of the same name.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl RasterSource + 'static) -> Self {
        Self {
            name: name.into(),
            source: Some(Arc::new(source)),
            bands: None,
            response: None,
            footprint: None,
            composite: None,
            noise_variance: None,
            bias: zero(),
            offset_layer: None,
            missing: Missing::Band,
            gate: None,
            follow: None,
            robust: None,
            inflate: false,
        }
    }

    /// The target band that each source band observes, in the source's order; `""` for unused bands.
    #[must_use]
    pub fn observes<S: Into<String>>(mut self, bands: impl IntoIterator<Item = S>) -> Self {
        self.bands = Some(bands.into_iter().map(Into::into).collect());
        self
    }

    /// How each band, in the source's order, weighs the spectrum that the fusion's
    /// [basis](crate::engine::FusionBuilder::basis) describes. [`observes`](Self::observes) then only says which
    /// bands are used: those with any name. Without a response, each band observes the wavelength of the target band
    /// it is named for.
    #[must_use]
    pub fn response(mut self, response: SpectralResponse) -> Self {
        self.response = Some(Response::Open(response));
        self
    }

    /// What a pixel observes; default: one target cell.
    #[must_use]
    pub fn footprint(mut self, footprint: Footprint) -> Self {
        self.footprint = Some(footprint);
        self
    }

    /// The days over which its values are averages; default: one.
    #[must_use]
    pub fn composite(mut self, composite: Composite) -> Self {
        self.composite = Some(composite);
        self
    }

    /// Noise variance in u², one or one per source band; where the source [knows
    /// better](crate::source::Slice::noise_variance) that counts. Required.
    #[must_use]
    pub fn noise_variance(mut self, variance: impl Into<Numbers>) -> Self {
        self.noise_variance = Some(variance.into());
        self
    }

    /// What the instrument adds to the truth, in u, one or one per source band; default 0.
    #[must_use]
    pub fn bias(mut self, bias: impl Into<Numbers>) -> Self {
        self.bias = bias.into();
        self
    }

    /// Adds a layer of offsets that are estimated with the field, in addition to the constant bias; default none.
    /// Windows then hold states for them, and all cells of a fusion are filtered by windows.
    #[must_use]
    pub fn offset_layer(mut self, layer: OffsetLayer) -> Self {
        match &mut self.offset_layer {
            Some(Structure::Given(layers)) => layers.push(layer),
            none => *none = Some(Structure::Given(vec![layer])),
        }
        self
    }

    /// What a missing band means for its pixel; default: nothing for the others.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Refuses pixels, as undetected clouds, whose normalised innovation squared over all bands exceeds this quantile
    /// of the χ² distribution, from 0.5 to below 1; 0.999 refuses one good pixel in a thousand. Default: none is
    /// refused.
    #[must_use]
    pub fn gate(mut self, quantile: f64) -> Self {
        self.gate = Some(quantile);
        self
    }

    /// Lets the gate refuse a pixel on so many of its dates in a row at most, from 1 to 255. From then on it passes,
    /// until it is within the gate again.
    /// What lies beyond a gate for so long is a change of the surface (a harvest, a fire, a clear-cut), not a cloud.
    /// Continuous change detection asks for six anomalies in a row (Zhu et al., *Continuous monitoring of land
    /// disturbance based on Landsat time series*, Remote Sensing of Environment 238, 2020). Default: no limit.
    #[must_use]
    pub fn follow(mut self, dates: u32) -> Self {
        self.follow = Some(dates);
        self
    }

    /// Assumes that errors have the heavy tails of Student's t with so many degrees of freedom, above 0: a pixel
    /// whose own normalised innovation squared `NIS` over its `d` values is larger than expected has the noise
    /// variances `v / w`, `w = min(1, (ν + d)/(ν + NIS))`, the weight that the t distribution gives it (Agamennoni,
    /// Nieto & Nebot, *Approximate Inference in State-Space Models With Heavy-Tailed Noise*, IEEE TSP 60, 2012; Roth,
    /// Özkan & Gustafsson, *A Student's t filter for heavy tailed process and measurement noise*, ICASSP 2013), never
    /// above one. 4 is a usual choice; large numbers approach the Gaussian. Default: Gaussian.
    #[must_use]
    pub fn robust(mut self, degrees_of_freedom: f64) -> Self {
        self.robust = Some(degrees_of_freedom);
        self
    }

    /// Whether the stated noise variances are lower bounds: every window multiplies them by a factor that it learns from
    /// the normalised innovations, by groups of components that are filtered separately (by band, without a spectral
    /// basis). It takes a few tens of dates. Default: no.
    #[must_use]
    pub fn inflate(mut self, inflate: bool) -> Self {
        self.inflate = inflate;
        self
    }

    /// Its key in a description.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of_instrument(&self.name)
    }

    /// Whether its offsets are to be chosen.
    pub(crate) fn has_free_offsets(&self) -> bool {
        self.offset_layer.as_ref().is_some_and(Structure::is_free)
    }

    /// Its pixels.
    ///
    /// # Errors
    /// [`Error::Setting`] while they are not opened.
    pub(crate) fn opened(&self) -> Result<&Arc<dyn RasterSource>> {
        self.source.as_ref().ok_or_else(|| Error::setting(self.key().name("files"), "not opened"))
    }

    /// Whether each of its pixels is a cell of the target.
    pub(crate) fn observes_cells(&self, target: &crate::geometry::Grid) -> bool {
        let cells = matches!(self.footprint, None | Some(Footprint::Cell));
        cells && self.source.as_ref().is_some_and(|source| target.lattice_offset(source.grid()).is_some())
    }

    /// The target bands that it observes by name, each once, in order; none where its response says what it observes.
    pub(crate) fn band_names(&self) -> Vec<&str> {
        let names = match (&self.bands, &self.response, &self.source) {
            (Some(names), None, _) => names.as_slice(),
            (None, None, Some(source)) => source.bands(),
            _ => &[],
        };
        let mut once: Vec<&str> = Vec::with_capacity(names.len());
        for name in names.iter().filter(|name| !name.is_empty()) {
            if !once.contains(&name.as_str()) {
                once.push(name);
            }
        }
        once
    }
}

impl Visit for Instrument {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "noise_variance", Quantity::Noise, self.noise_variance.as_mut(), visit);
        list(at, "bias", Quantity::Bias, &mut self.bias, visit);
        self.offset_layer.visit(&at.name("offset_layer"), visit);
    }
}
