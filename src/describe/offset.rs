//! Offsets of an instrument that change slowly.

use serde::{Deserialize, Serialize};

use super::visit::{Visit, Visitor, list, one};
use super::{AcquisitionGroups, Groups, Key, Numbers, Quantity};

/// What an instrument adds to the truth in addition to its constant bias, unknown beforehand and changing: one more
/// layer of the state, estimated with the field. The table `[[instrument.offset_layer]]`.
///
/// `y = (what the pixel observes) + bias + Σ_layers o(t) + ε`. The offset `o` of a pixel, a window, an acquisition or
/// a group of acquisitions starts at mean 0 with the layer's variance and moves by `o(t) = φ^Δt o(t - Δt) + w`, `w ~
/// N(0, q(Δt) drift)`, each band by itself, independent of every other offset. Several layers add up. **Units**: u²,
/// u² per day.
///
/// Coarse instruments commonly disagree with fine ones by an offset of each coarse pixel that changes slowly: other
/// viewing angles, calibration, and what their composites and gap filling leave of other days.
///
/// ```
/// use rasterfuse::describe::OffsetLayer;
/// // sd 0.02 at the start, drifting by 0.001 a day (random walk)
/// let pixels = OffsetLayer::per_pixel(4e-4).drift(1e-6);
/// // an error of each acquisition, the same throughout the window
/// let acquisitions = OffsetLayer::per_acquisition(1e-4);
/// // forgotten within days, of constant variance
/// let composites = OffsetLayer::per_pixel(1e-4).phi(0.8);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OffsetLayer {
    /// What shares an offset.
    pub per: Sharing,
    /// Variance before the first day, in u².
    pub variance: Numbers,
    /// Variance of its change per day, in u² per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Numbers>,
    /// Memory φ per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phi: Option<Numbers>,
    /// The groups, where each has an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Groups>,
}

/// What shares an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Sharing {
    /// Each pixel of the instrument has its own.
    Pixel,
    /// All pixels that a window observes.
    Window,
    /// All pixels of an acquisition that a window observes.
    Acquisition,
    /// All pixels of a group of acquisitions that a window observes.
    Group,
}

impl OffsetLayer {
    fn new(per: Sharing, variance: impl Into<Numbers>) -> Self {
        Self { per, variance: variance.into(), drift: None, phi: None, group: None }
    }

    /// An offset of each of the instrument's own pixels; `variance`, one or one per source band, is that before the
    /// first day, in u².
    #[must_use]
    pub fn per_pixel(variance: impl Into<Numbers>) -> Self {
        Self::new(Sharing::Pixel, variance)
    }

    /// One offset for all pixels that a window observes; `variance` as [`per_pixel`](Self::per_pixel) has it.
    #[must_use]
    pub fn per_window(variance: impl Into<Numbers>) -> Self {
        Self::new(Sharing::Window, variance)
    }

    /// An offset of each acquisition for all pixels that a window observes, independent of that of the day before;
    /// `variance`, one or one per source band, in u².
    #[must_use]
    pub fn per_acquisition(variance: impl Into<Numbers>) -> Self {
        Self::new(Sharing::Acquisition, variance)
    }

    /// An offset of each group of acquisitions, for all pixels that a window observes; `variance` as
    /// [`per_pixel`](Self::per_pixel) has it.
    #[must_use]
    pub fn per_group(variance: impl Into<Numbers>, groups: AcquisitionGroups) -> Self {
        Self { group: Some(Groups::Open(groups)), ..Self::new(Sharing::Group, variance) }
    }

    /// How far the offset drifts, one or one per source band, in u² per day. Default: not at all with φ = 1, as far
    /// as keeps its variance with φ < 1.
    #[must_use]
    pub fn drift(mut self, variance_per_day: impl Into<Numbers>) -> Self {
        self.drift = Some(variance_per_day.into());
        self
    }

    /// Memory φ per day, one or one per source band: 1, the default, for a random walk; less to revert to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Numbers>) -> Self {
        self.phi = Some(phi.into());
        self
    }
}

impl Visit for OffsetLayer {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        let is_ratio = self.variance.is_ratio();
        let of_ratio = match self.per {
            Sharing::Acquisition | Sharing::Group => Quantity::AcquisitionRatio,
            Sharing::Pixel | Sharing::Window if self.phi.is_some() => Quantity::ForgottenRatio,
            Sharing::Pixel | Sharing::Window => Quantity::OffsetRatio,
        };
        match &mut self.variance {
            Numbers::Ratio(ratio) => one(&at.name("variance"), "ratio", of_ratio, ratio, visit),
            variance => list(at, "variance", Quantity::OffsetVariance, variance, visit),
        }
        list(at, "drift", Quantity::OffsetDrift, self.drift.as_mut(), visit);
        let memory = if is_ratio { Quantity::ShortMemory } else { Quantity::OffsetMemory };
        list(at, "phi", memory, self.phi.as_mut(), visit);
    }
}
