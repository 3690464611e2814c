//! Offset layers of an instrument: checked, and where their offsets stand in a window.

use std::ops::Range;

use super::numbers::transitions;
use crate::describe::{AcquisitionGroups, Groups, Key, OffsetLayer, Sharing};
use crate::error::{Error, Result};
use crate::geometry::Date;

/// Largest number of offset layers of an instrument.
pub(super) const MOST_LAYERS: usize = 16;

/// What shares an offset, groups of acquisitions known.
#[derive(Clone, Debug, PartialEq)]
enum Per {
    Pixel,
    Window,
    Acquisition,
    Group(AcquisitionGroups),
}

/// What shares the offsets of a layer.
fn per(layer: &OffsetLayer, key: &Key) -> Result<Per> {
    match (layer.per, &layer.group) {
        (Sharing::Group, Some(Groups::Open(groups))) => Ok(Per::Group(groups.clone())),
        (Sharing::Group, Some(_)) => Err(Error::setting(key, "not opened")),
        (Sharing::Group, None) => {
            let problem = "not given; an offset per group needs a pattern for the files' paths or a table";
            Err(Error::setting(key, problem))
        }
        (_, Some(_)) => Err(Error::setting(key, "only offsets per group have any; leave it out")),
        (Sharing::Pixel, None) => Ok(Per::Pixel),
        (Sharing::Window, None) => Ok(Per::Window),
        (Sharing::Acquisition, None) => Ok(Per::Acquisition),
    }
}

impl OffsetModel {
    /// Checks the layer of an instrument with so many bands; of the bands in `used` the parameters are kept.
    ///
    /// # Errors
    /// [`Error::Number`] and [`Error::Setting`] by key; `at` is that of the layer.
    pub(crate) fn new(layer: &OffsetLayer, bands: usize, used: &[usize], at: &Key) -> Result<Self> {
        let of = "band";
        let key = |name: &str| at.name(name);
        let per = per(layer, &key("group"))?;
        let variance = layer.variance.expand_positive(bands, &key("variance"), of)?;
        let transition = match &layer.phi {
            None if per == Per::Acquisition => vec![0.0; bands],
            None => vec![1.0; bands],
            Some(_) if per == Per::Acquisition => {
                let problem =
                    "an offset per acquisition has no memory; leave `phi` out, or give one per window with it";
                return Err(Error::setting(key("phi"), problem));
            }
            Some(phi) => transitions(phi, bands, &key("phi"), of)?,
        };
        let drift = match &layer.drift {
            // What keeps the variance: nothing for φ = 1.
            None => {
                variance.iter().zip(&transition).map(|(variance, phi)| variance * (1.0 - phi) * (1.0 + phi)).collect()
            }
            Some(_) if per == Per::Acquisition => {
                let problem = "an offset per acquisition does not drift; leave `drift` out";
                return Err(Error::setting(key("drift"), problem));
            }
            Some(drift) => {
                let possible = |value: f64| value >= 0.0 && value.is_finite();
                drift.expand_where((bands, of), &key("drift"), possible, "must be zero or positive")?
            }
        };
        if let Per::Group(groups) = &per
            && groups.names().is_empty()
        {
            return Err(Error::setting(key("group"), "no acquisition belongs to a group; check the table or pattern"));
        }
        let bands = used.iter().map(|&band| OffsetBand {
            variance: variance[band],
            drift: drift[band],
            transition: transition[band],
        });
        Ok(Self { per, bands: bands.collect() })
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
    /// Whether an offset outlives its acquisition, so that earlier dates say something of it.
    pub(crate) fn lasts(&self) -> bool {
        self.per != Per::Acquisition
    }

    /// Offsets of a band in a window that observes so many of the instrument's pixels.
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

    /// Variance of a band's offset on a date to come, where nothing is known of it by then: of an acquisition's or a
    /// group's, and of what is forgotten.
    pub(crate) fn new_variance(&self, band: usize) -> f64 {
        let OffsetBand { variance, drift, transition } = self.bands[band];
        match self.per {
            Per::Acquisition | Per::Group(_) => variance,
            Per::Pixel | Per::Window if transition < 1.0 => drift / ((1.0 - transition) * (1.0 + transition)),
            Per::Pixel | Per::Window => 0.0,
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
    /// Of layers in a window that observes so many pixels of the instrument.
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
        let layer = OffsetModel::new(&OffsetLayer::per_pixel([4.0, 1.0]).phi(0.5), 2, &[1, 0], &"o".into()).unwrap();
        assert_eq!(layer.bands[0], OffsetBand { variance: 1.0, drift: 0.75, transition: 0.5 });
        let walk = OffsetModel::new(&OffsetLayer::per_window(4.0), 1, &[0], &"o".into()).unwrap();
        assert_eq!(walk.bands[0], OffsetBand { variance: 4.0, drift: 0.0, transition: 1.0 });
        let fresh = OffsetModel::new(&OffsetLayer::per_acquisition(4.0), 1, &[0], &"o".into()).unwrap();
        assert_eq!(fresh.bands[0], OffsetBand { variance: 4.0, drift: 4.0, transition: 0.0 });
    }

    #[test]
    fn offsets_of_a_pixel_are_those_of_all_layers() {
        let day = Date::from_days;
        let groups = AcquisitionGroups::new([(day(0), "a"), (day(1), "b")]);
        let layers = [OffsetLayer::per_pixel(1.0), OffsetLayer::per_group(1.0, groups), OffsetLayer::per_window(1.0)];
        let layers: Vec<_> =
            layers.iter().map(|layer| OffsetModel::new(layer, 1, &[0], &"o".into()).unwrap()).collect();
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
            let message = OffsetModel::new(&layer, 2, &[0, 1], &"offset_layer".into()).unwrap_err().to_string();
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
