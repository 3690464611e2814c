//! What the examples share: the command line around them, how they draw, random scenes, scores.
#![allow(dead_code, unused_imports, unused_macros)] // every example is a crate of its own and uses a part

pub(crate) mod canvas;
pub(crate) mod chart;
pub(crate) mod command;
#[cfg(feature = "gdal")]
pub(crate) mod kranj;
pub(crate) mod map;
pub(crate) mod png;
pub(crate) mod random;
pub(crate) mod score;
pub(crate) mod sheet;
