use std::ops::Range;

use super::{AcquisitionGroups, Values};
use crate::error::{Error, Result};
use crate::geometry::Date;

/// Largest number of offset layers of an instrument.
pub(super) const MOST_LAYERS: usize = 16;

/// What an instrument adds to the truth beside its constant bias, unknown beforehand and wandering: one more layer of the
/// state, estimated with the field.
///
/// `y = (what the pixel sees) + bias + Σ_layers o(t) + ε`. The offset `o` of a pixel, a window, an acquisition or a group of
/// acquisitions starts at mean 0 with the layer's variance and moves by `o(t) = φ^Δt o(t - Δt) + w`,
/// `w ~ N(0, q(Δt) drift)`, each band by itself, independent of every other offset. Several layers add up. **Units**: u², u²
/// per day.
///
/// Coarse instruments commonly disagree with fine ones by an offset of each coarse pixel that changes slowly: other viewing
/// angles, calibration, and what their composites and gap filling leave of other days.
///
/// ```
/// use rasterfuse::model::OffsetLayer;
/// // sd 0.02 at the start, drifting by 0.001 a day (random walk)
/// let pixels = OffsetLayer::per_pixel(4e-4).drift(1e-6);
/// // an error of each acquisition, the same throughout the window
/// let acquisitions = OffsetLayer::per_acquisition(1e-4);
/// // forgotten within days, of constant variance
/// let composites = OffsetLayer::per_pixel(1e-4).phi(0.8);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetLayer {
    per: Per,
    variance: Values,
    drift: Option<Values>,
    phi: Option<Values>,
}

/// What shares an offset.
#[derive(Clone, Debug, PartialEq)]
enum Per {
    Pixel,
    Window,
    Acquisition,
    Group(AcquisitionGroups),
}

impl OffsetLayer {
    fn new(per: Per, variance: impl Into<Values>) -> Self {
        Self { per, variance: variance.into(), drift: None, phi: None }
    }

    /// An offset of each of the instrument's own pixels; `variance`, one or one per source band, is that before the first day.
    #[must_use]
    pub fn per_pixel(variance: impl Into<Values>) -> Self {
        Self::new(Per::Pixel, variance)
    }

    /// One offset for all pixels that a window sees.
    #[must_use]
    pub fn per_window(variance: impl Into<Values>) -> Self {
        Self::new(Per::Window, variance)
    }

    /// An offset of each acquisition for all pixels that a window sees, independent of that of the day before.
    #[must_use]
    pub fn per_acquisition(variance: impl Into<Values>) -> Self {
        let forgotten = Self::new(Per::Acquisition, variance);
        Self { phi: Some(Values::Same(0.0)), ..forgotten }
    }

    /// An offset of each group of acquisitions, for all pixels that a window sees.
    #[must_use]
    pub fn per_group(variance: impl Into<Values>, groups: AcquisitionGroups) -> Self {
        Self::new(Per::Group(groups), variance)
    }

    /// How far the offset wanders, one or one per source band, in u² per day. Default: not at all with φ = 1, as far as keeps
    /// its variance with φ < 1.
    #[must_use]
    pub fn drift(mut self, variance_per_day: impl Into<Values>) -> Self {
        self.drift = Some(variance_per_day.into());
        self
    }

    /// Memory φ per day, one or one per source band: 1, the default, for a random walk; less to be pulled back to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Values>) -> Self {
        self.phi = Some(phi.into());
        self
    }

    /// What decides its offsets, as text.
    pub(crate) fn summary(&self) -> String {
        let per = match &self.per {
            Per::Pixel => "pixel".to_owned(),
            Per::Window => "window".to_owned(),
            Per::Acquisition => "acquisition".to_owned(),
            Per::Group(groups) => format!("group of {:?}", groups.names()),
        };
        let or_default = |values: &Option<Values>| values.as_ref().map_or_else(|| "default".into(), Values::to_string);
        format!(
            "per {per}, variance {}, drift {}, phi {}",
            self.variance,
            or_default(&self.drift),
            or_default(&self.phi)
        )
    }

    /// Checks the layer of an instrument with so many bands; of the bands in `used` the parameters are kept.
    pub(crate) fn resolve(&self, bands: usize, used: &[usize], key: &str) -> Result<OffsetModel> {
        let of = "band";
        let key = |name: &str| format!("{key}.{name}");
        let variance = self.variance.expand_positive(bands, &key("variance"), of)?;
        let transition = match &self.phi {
            None => vec![1.0; bands],
            Some(phi) => phi.expand(bands, &key("phi"), of)?,
        };
        let least = if self.per == Per::Acquisition { 0.0 } else { f64::MIN_POSITIVE };
        if let Some(phi) = transition.iter().find(|phi| !(least..=1.0).contains(*phi)) {
            return Err(Error::setting(key("phi"), format!("{phi} must lie in (0, 1]")));
        }
        if self.per == Per::Acquisition && transition.iter().any(|phi| *phi != 0.0) {
            let problem = "an offset per acquisition has no memory; leave `phi` out, or give one per window with it";
            return Err(Error::setting(key("phi"), problem));
        }
        let drift = match &self.drift {
            // What keeps the variance: nothing for φ = 1.
            None => {
                variance.iter().zip(&transition).map(|(variance, phi)| variance * (1.0 - phi) * (1.0 + phi)).collect()
            }
            Some(_) if self.per == Per::Acquisition => {
                let problem = "an offset per acquisition does not drift; leave `drift` out";
                return Err(Error::setting(key("drift"), problem));
            }
            Some(drift) => drift.expand(bands, &key("drift"), of)?,
        };
        if let Some(value) = drift.iter().find(|value| !(**value >= 0.0 && value.is_finite())) {
            return Err(Error::setting(key("drift"), format!("{value} must be zero or positive")));
        }
        if let Per::Group(groups) = &self.per
            && groups.names().is_empty()
        {
            return Err(Error::setting(key("group"), "no acquisition belongs to a group; check the table or pattern"));
        }
        let bands = used.iter().map(|&band| OffsetBand {
            variance: variance[band],
            drift: drift[band],
            transition: transition[band],
        });
        Ok(OffsetModel { per: self.per.clone(), bands: bands.collect() })
    }
}

/// An offset layer, checked.
#[derive(Clone, Debug)]
pub(crate) struct OffsetModel {
    per: Per,
    /// By band read.
    pub(crate) bands: Vec<OffsetBand>,
}

/// How the offsets of a band move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OffsetBand {
    /// Before the first day, in u².
    pub(crate) variance: f64,
    /// In u² per day.
    pub(crate) drift: f64,
    /// φ per day.
    pub(crate) transition: f64,
}

impl OffsetModel {
    /// Offsets of a band in a window that sees so many of the instrument's pixels.
    pub(crate) fn count(&self, pixels: usize) -> usize {
        match &self.per {
            Per::Pixel => pixels,
            Per::Window | Per::Acquisition => 1,
            Per::Group(groups) => groups.names().len(),
        }
    }

    /// Whether pixels have one on a date, on which the instrument did or did not acquire.
    pub(crate) fn exists_on(&self, date: Date, acquired: bool) -> bool {
        match &self.per {
            Per::Pixel | Per::Window => true,
            Per::Acquisition => acquired,
            Per::Group(groups) => groups.group_of(date).is_some(),
        }
    }

    /// The group of a date, if it has groups; dates may have none.
    #[allow(clippy::option_option)] // no groups at all is another thing than none on a date
    pub(crate) fn group_on(&self, date: Date) -> Option<Option<&str>> {
        match &self.per {
            Per::Pixel | Per::Window | Per::Acquisition => None,
            Per::Group(groups) => Some(groups.group_of(date).map(|group| groups.names()[group].as_str())),
        }
    }

    /// Which of them a pixel has on a date.
    fn of(&self, pixel: usize, date: Date) -> Option<usize> {
        match &self.per {
            Per::Pixel => Some(pixel),
            Per::Window | Per::Acquisition => Some(0),
            Per::Group(groups) => groups.group_of(date),
        }
    }
}

/// Where the offsets of an instrument stand in a window: band by band, each with the offsets of layer after layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetStates {
    /// Offsets of each layer among those of a band.
    pub(crate) layers: Vec<Range<usize>>,
}

impl OffsetStates {
    /// Of layers in a window that sees so many pixels of the instrument.
    pub(crate) fn new(layers: &[OffsetModel], pixels: usize) -> Self {
        let mut next = 0;
        let place = |layer: &OffsetModel| {
            let states = next..next + layer.count(pixels);
            next = states.end;
            states
        };
        Self { layers: layers.iter().map(place).collect() }
    }

    /// Offsets of a band.
    pub(crate) fn per_band(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.end)
    }

    /// The offsets that a pixel has on a date, as positions among those of a band.
    pub(crate) fn of_pixel(&self, layers: &[OffsetModel], pixel: usize, date: Date, states: &mut Vec<u32>) {
        states.clear();
        let positions = self.layers.iter().zip(layers);
        states.extend(positions.filter_map(|(place, layer)| Some((place.start + layer.of(pixel, date)?) as u32)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_variance_by_default() {
        let layer = OffsetLayer::per_pixel([4.0, 1.0]).phi(0.5).resolve(2, &[1, 0], "o").unwrap();
        assert_eq!(layer.bands[0], OffsetBand { variance: 1.0, drift: 0.75, transition: 0.5 });
        let walk = OffsetLayer::per_window(4.0).resolve(1, &[0], "o").unwrap();
        assert_eq!(walk.bands[0], OffsetBand { variance: 4.0, drift: 0.0, transition: 1.0 });
        let fresh = OffsetLayer::per_acquisition(4.0).resolve(1, &[0], "o").unwrap();
        assert_eq!(fresh.bands[0], OffsetBand { variance: 4.0, drift: 4.0, transition: 0.0 });
    }

    #[test]
    fn offsets_of_a_pixel_are_those_of_all_layers() {
        let day = Date::from_days;
        let groups = AcquisitionGroups::new([(day(0), "a"), (day(1), "b")]);
        let layers = [OffsetLayer::per_pixel(1.0), OffsetLayer::per_group(1.0, groups), OffsetLayer::per_window(1.0)];
        let layers: Vec<_> = layers.iter().map(|layer| layer.resolve(1, &[0], "o").unwrap()).collect();
        let states = OffsetStates::new(&layers, 5);
        assert_eq!(states.per_band(), 8);
        let mut found = Vec::new();
        states.of_pixel(&layers, 3, day(1), &mut found);
        assert_eq!(found, [3, 6, 7]);
        states.of_pixel(&layers, 0, day(2), &mut found);
        assert_eq!(found, [0, 7]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |layer: OffsetLayer, key: &str| {
            let message = layer.resolve(2, &[0, 1], "offset_layer").unwrap_err().to_string();
            assert!(message.starts_with(&format!("offset_layer.{key}")), "{message}");
        };
        check(OffsetLayer::per_pixel(0.0), "variance");
        check(OffsetLayer::per_pixel([1.0, 2.0, 3.0]), "variance");
        check(OffsetLayer::per_pixel(1.0).phi(0.0), "phi");
        check(OffsetLayer::per_pixel(1.0).phi(1.1), "phi");
        check(OffsetLayer::per_pixel(1.0).drift(-1.0), "drift");
        check(OffsetLayer::per_acquisition(1.0).drift(1.0), "drift");
        check(OffsetLayer::per_acquisition(1.0).phi(0.5), "phi");
        check(OffsetLayer::per_group(1.0, AcquisitionGroups::default()), "group");
    }
}
