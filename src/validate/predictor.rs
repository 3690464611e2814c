//! What predicts withheld values: the fusion, and the baselines that it is compared with.

use std::fmt;

use serde::Serialize;

/// Which prediction of a withheld value is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PredictionKind {
    /// From the observations up to its date (lag 0).
    Filtered,
    /// With the fusion's lag.
    Smoothed,
}

/// A prediction of a withheld value that needs no fusion, from clear values: those that are there and were not
/// withheld.
///
/// A value of an instrument is predicted from the values of the same pixel and band. *Last* is the latest clear one
/// before the date; *linear* interpolates in time to the next clear one, which must come within 366 days, and is the
/// one there is where there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Baseline {
    /// The last clear value.
    Last,
    /// Linear in time between the last and the next clear value.
    Linear,
    /// The last clear value, plus the mean of (value - last clear value) over the clear pixels of the date.
    LastResidual,
    /// Linear in time, plus the mean of (value - linear) over the clear pixels of the date.
    LinearResidual,
    /// The last clear value, plus the change of a coarser instrument at the place: its latest clear value up to the
    /// date, minus, of those up to the date, the one nearest to the date of the last clear value.
    LastCoarse,
    /// Linear in time, plus the departure of a coarser instrument from a straight line: its latest clear value up to
    /// the date, minus the line, at the date, between its values nearest to the dates of the last and of the next
    /// clear value.
    LinearCoarse,
}

impl Baseline {
    /// In the order of the report.
    pub(super) const ALL: [Self; 6] =
        [Self::Last, Self::Linear, Self::LastResidual, Self::LinearResidual, Self::LastCoarse, Self::LinearCoarse];
}

/// A prediction of the fusion, or a baseline. JSON has the name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Predictor {
    /// The fusion.
    Fusion(PredictionKind),
    /// A baseline.
    Baseline(Baseline),
}

impl Predictor {
    /// Whether it uses observations after the date of the predicted value.
    #[must_use]
    pub fn uses_later(self) -> bool {
        match self {
            Self::Fusion(kind) => kind == PredictionKind::Smoothed,
            Self::Baseline(baseline) => {
                matches!(baseline, Baseline::Linear | Baseline::LinearResidual | Baseline::LinearCoarse)
            }
        }
    }
}

impl fmt::Display for PredictionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filtered => "filtered",
            Self::Smoothed => "smoothed",
        })
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last clear value",
            Self::Linear => "linear",
            Self::LastResidual => "last + date residual",
            Self::LinearResidual => "linear + date residual",
            Self::LastCoarse => "last + coarse change",
            Self::LinearCoarse => "linear + coarse change",
        })
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fusion(kind) => kind.fmt(f),
            Self::Baseline(baseline) => baseline.fmt(f),
        }
    }
}
