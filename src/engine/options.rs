//! Choices of a run that do not change what is fused: what it keeps for the next run, and what it does about errors.

use std::fmt;

/// How much of the window states is kept at the end of a run, for the dates that will be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checkpoint {
    /// Full where it takes no more disk than the output before compression, or 4 GiB where that is less; light otherwise.
    #[default]
    Auto,
    /// All states: appending goes on exactly where the run ended.
    Full,
    /// Mean and covariance of each cell by itself, some days before the end, from where appending replays the observations:
    /// small, but the correlation between cells is lost on the way.
    Light,
    /// Nothing: the series cannot be appended to, and a killed run begins its unfinished tiles anew.
    Off,
}

/// What a run does about slices that cannot be read and windows whose arithmetic breaks down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// It ends with the error.
    #[default]
    Abort,
    /// It goes on without the slice, or with NaN in the window; both are named in the report and in the store.
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
