//! Options of a run that do not change the fused values: checkpoints, and the handling of errors.

use std::fmt;

/// How much of the window states is stored at the end of a run, for dates that will be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checkpoint {
    /// Full if it needs no more disk space than the uncompressed output, or at most 4 GiB where that is less;
    /// otherwise light.
    #[default]
    Auto,
    /// All states: appending continues exactly where the run ended.
    Full,
    /// Mean and covariance of each single cell, some days before the end; appending replays the observations from
    /// there. Small, but the correlation between cells is lost.
    Light,
    /// Nothing: the series cannot be appended to, and after an interruption unfinished tiles are run again from the
    /// start.
    Off,
}

/// What a run does about slices that cannot be read and windows whose arithmetic breaks down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The run ends with the error.
    #[default]
    Abort,
    /// The run continues without the slice, or with NaN in the window. The report and the store list both.
    Skip,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Light => "light",
            Self::Off => "off",
        })
    }
}
