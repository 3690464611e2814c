//! What instruments observe: bands, footprints, noise and offsets, checked against the target.

mod observation;

use std::sync::Arc;

use super::offset::{MOST_LAYERS, OffsetModel};
use super::{CompositeModel, Gate, PixelLattice};
use crate::describe::{Footprint, Instrument, Key, OffsetLayer, Response};
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::source::{RasterSource, same_crs};
use crate::spectral::{ObservedBands, Spectrum};

pub(crate) use observation::{ObservationModel, Observer, PartBands, independent_parts};

impl ObservationModel {
    /// Checks everything against the target and works out what the filter needs.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Number`] by key, [`Error::CrsMismatch`].
    pub(crate) fn new(instrument: &Instrument, target: &Grid, spectrum: &Spectrum) -> Result<Self> {
        let (name, source) = (&instrument.name, instrument.opened()?);
        let key = |key: &str| Key::of_instrument(name).name(key);
        if !same_crs(source.grid().crs(), target.crs()) {
            return Err(Error::CrsMismatch {
                what: format!("instrument {name:?} ({})", source.origin()),
                expected: target.crs().clone(),
                found: source.grid().crs().clone(),
            });
        }
        let footprint = instrument.footprint.unwrap_or(Footprint::Cell);
        let lattice = PixelLattice::new(target, source.grid(), footprint, name)?;
        let n = source.bands().len();
        let Some(noise) = &instrument.noise_variance else {
            return Err(Error::setting(
                key("noise_variance"),
                "not given; state the variance of a pixel's error in u²",
            ));
        };
        let noise = noise.expand_positive(n, &key("noise_variance"), "band")?;
        let bias = instrument.bias.expand_where((n, "band"), &key("bias"), f64::is_finite, "must be finite")?;
        if let Some(dof) = instrument.robust.filter(|dof| !(*dof > 0.0 && dof.is_finite())) {
            let problem = "must be a positive number of degrees of freedom, such as 4.0";
            return Err(Error::number(key("robust"), dof, problem));
        }
        let follow = instrument.follow.map(|dates| followed(dates, instrument)).transpose()?;
        let (source_bands, ObservedBands { design, constant }) = observed(instrument, source.as_ref(), spectrum)?;
        let pick = |values: &[f64]| source_bands.iter().map(|&band| values[band]).collect();
        let layers = match &instrument.offset_layer {
            Some(layers) => layers.chosen(key("offset_layer"))?.as_slice(),
            None => &[],
        };
        if layers.len() > MOST_LAYERS {
            let layers = layers.len();
            return Err(Error::setting(key("offset_layer"), format!("{layers} layers; give at most {MOST_LAYERS}")));
        }
        let layer = |(k, layer): (usize, &OffsetLayer)| {
            OffsetModel::new(layer, n, &source_bands, &key("offset_layer").position(k))
        };
        let composite = match &instrument.composite {
            Some(composite) => CompositeModel::new(composite, &key("composite"))?,
            None => None,
        };
        Ok(Self {
            composite,
            offset_layers: layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
            name: name.clone(),
            source: Arc::clone(source),
            noise: pick(&noise),
            offset: source_bands.iter().zip(&constant).map(|(&band, constant)| bias[band] + constant).collect(),
            missing: instrument.missing,
            robust: instrument.robust,
            inflate: instrument.inflate,
            follow,
            gate: instrument
                .gate
                .map(|quantile| Gate::new(quantile, source_bands.len(), &key("gate").to_string()))
                .transpose()?,
            source_bands,
            by_name: instrument.response.is_none() && instrument.bands.is_none(),
            design,
            lattice,
        })
    }
}

/// On how many dates in a row the gate of an instrument refuses a pixel at most.
fn followed(dates: u32, instrument: &Instrument) -> Result<u8> {
    let refuse = |problem: String| Error::setting(instrument.key().name("follow"), problem);
    if instrument.gate.is_none() {
        return Err(refuse("without a gate; give `gate`, such as 0.999, or leave `follow` out".into()));
    }
    let known = u8::try_from(dates).ok().filter(|dates| *dates > 0);
    known.ok_or_else(|| refuse(format!("{dates} dates in a row; give 1 to {}, such as 5", u8::MAX)))
}

/// The source bands that are read and what they observe of the components.
fn observed(
    instrument: &Instrument,
    source: &dyn RasterSource,
    spectrum: &Spectrum,
) -> Result<(Vec<usize>, ObservedBands)> {
    let Some(response) = &instrument.response else {
        let observed = target_bands(instrument, source, spectrum.bands())?.into_iter().enumerate();
        let (used, targets): (Vec<_>, Vec<_>) = observed.filter_map(|(band, target)| Some((band, target?))).unzip();
        return Ok((used, spectrum.of_bands(&targets)));
    };
    let Response::Open(response) = response else {
        return Err(Error::setting(instrument.key().name("response"), "not opened"));
    };
    let held = source.bands();
    let named = |error: Error| error.of_instrument(&instrument.name);
    let of_response = response.bands_for(held).map_err(named)?;
    let names = listed_bands(instrument, source)?;
    let used = (0..held.len()).filter(|&band| names.is_none_or(|names| !names[band].is_empty()));
    let used: Vec<usize> = used.collect();
    if used.is_empty() {
        return Err(refuse_bands(instrument, "all are empty; name at least one"));
    }
    let curves: Vec<usize> = used.iter().map(|&band| of_response[band]).collect();
    let observed = spectrum.through(response, &curves).map_err(named)?;
    Ok((used, observed))
}

fn refuse_bands(instrument: &Instrument, problem: impl Into<String>) -> Error {
    Error::setting(instrument.key().name("bands"), problem)
}

/// The list of target bands, one for each source band.
fn listed_bands<'a>(instrument: &'a Instrument, source: &dyn RasterSource) -> Result<Option<&'a [String]>> {
    let held = source.bands();
    match &instrument.bands {
        Some(names) if names.len() != held.len() => {
            let (listed, n) = (names.len(), held.len());
            let problem = format!(
                "{listed} listed, but {} holds {n} ({held:?}); list one target band for each, \"\" for bands not used",
                source.origin()
            );
            Err(refuse_bands(instrument, problem))
        }
        names => Ok(names.as_deref()),
    }
}

/// The target band of each source band.
pub(super) fn target_bands(
    instrument: &Instrument,
    source: &dyn RasterSource,
    target_bands: &[String],
) -> Result<Vec<Option<usize>>> {
    let held = source.bands();
    let position = |name: &String| target_bands.iter().position(|target| target == name);
    let observed: Vec<Option<usize>> = match listed_bands(instrument, source)? {
        None => {
            let twice = |band: &usize| position(&held[*band]).is_some() && held[..*band].contains(&held[*band]);
            if let Some(band) = (0..held.len()).find(twice) {
                let problem = format!(
                    "{:?} is the name of several bands of {} ({held:?}); list what each observes, in their order, \"\" for bands not \
                     used",
                    held[band],
                    source.origin()
                );
                return Err(refuse_bands(instrument, problem));
            }
            held.iter().map(position).collect()
        }
        Some(names) => {
            if let Some(name) = names.iter().find(|name| !name.is_empty() && position(name).is_none()) {
                let problem = format!(
                    "{name:?} is not among the target bands {target_bands:?}; give one of these for each of {held:?}, \"\" for \
                     bands not used"
                );
                return Err(refuse_bands(instrument, problem));
            }
            names.iter().map(position).collect()
        }
    };
    if observed.iter().all(Option::is_none) {
        let list = suggested(held, target_bands);
        let similar = list.iter().any(|name| !name.is_empty());
        let example = if similar { format!(", such as {list:?}") } else { String::new() };
        let problem = format!(
            "none of the bands of {} ({held:?}) has the name of a target band ({target_bands:?}), whose case counts; list the target \
             band that each of them observes, in their order, \"\" for bands not used{example}; or, with a spectral basis, give a \
             `response`",
            source.origin()
        );
        return Err(refuse_bands(instrument, problem));
    }
    Ok(observed)
}

/// The bands that every instrument observes, in the order of the first, where they all observe the same; none without
/// instruments.
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
        let (a, b) = (&first.name, &other.name);
        let problem = format!(
            "not given, and {a:?} observes {bands:?}, {b:?} {:?}; name the output bands, and what each band observes",
            other.band_names()
        );
        return Err(Error::setting("target.bands", problem));
    }
    Ok(bands.into_iter().map(Into::into).collect())
}

/// The list of target bands that would do for bands held: those whose names differ by case alone, else, of as many
/// without names of their own, all in order.
fn suggested(held: &[String], target: &[String]) -> Vec<String> {
    let unnamed =
        held.len() == target.len() && held.iter().enumerate().all(|(k, name)| *name == format!("band{}", k + 1));
    if unnamed {
        return target.to_vec();
    }
    let same = |name: &String| target.iter().find(|other| other.to_lowercase() == name.to_lowercase());
    held.iter().map(|name| same(name).cloned().unwrap_or_default()).collect()
}
