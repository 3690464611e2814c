//! What part of the ground one pixel observes.

use serde::{Deserialize, Serialize};

/// What part of the ground one pixel of an instrument observes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Footprint {
    /// The pixel is a cell of the target lattice.
    Cell,
    /// The plain average of all cells of the target lattice whose centres lie in the pixel's rectangle, left and top
    /// edges included; the lattice continues beyond the target grid.
    Uniform,
    /// A Gaussian around the pixel's centre, for sensors that observe more than their pixels: a cell at a distance `d`
    /// weighs `exp(-4 ln 2 d² / fwhm²)`, along each axis up to 1.3 FWHM (0.2 % of the weight lies beyond), the weights
    /// scaled to sum 1; the lattice continues beyond the target grid.
    #[serde(rename = "gaussian_fwhm", with = "width")]
    Gaussian {
        /// Full width at half maximum, in CRS units.
        fwhm: f64,
    },
}

/// A Gaussian footprint is written as its width alone: `{ gaussian_fwhm = 500.0 }`.
mod width {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(fwhm: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*fwhm)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        f64::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprints_are_read_as_they_are_written() {
        for (footprint, text) in [
            (Footprint::Cell, "\"cell\""),
            (Footprint::Uniform, "\"uniform\""),
            (Footprint::Gaussian { fwhm: 500.0 }, "{\"gaussian_fwhm\":500.0}"),
        ] {
            assert_eq!(serde_json::to_string(&footprint).unwrap(), text);
            assert_eq!(serde_json::from_str::<Footprint>(text).unwrap(), footprint);
        }
    }
}
