//! Fuses raster time series of several instruments into one gap-free series with uncertainty, in constant memory.
//!
// The README speaks of files and stores; its code compiles only with them.
#![cfg_attr(all(feature = "gdal", feature = "zarr"), doc = include_str!(concat!(env!("OUT_DIR"), "/README.md")))]
//!
//! ## Modules
//!
//! Start at [`Fusion::builder`]. Data flow one way:
//!
//! | module | content |
//! |---|---|
//! | [`geometry`] | grids, coordinate systems, tiles, windows, dates |
//! | [`source`] | rasters that were observed, read region by region |
//! | [`spectral`], [`seasonal`] | spectral bases and responses; the mean of the year |
//! | [`describe`] | a fusion as a tree of plain values, numbers given or free |
//! | [`model`] | the state-space model that a description defines |
//! | [`filter`] | the Kalman filter and smoother: pure numerics |
//! | [`engine`] | plans and runs a fusion; the only module that starts threads |
//! | [`series`] | blocks, settings and reports that engine and sinks share |
//! | [`sink`] | what results are written as |
//! | [`storage`] | where they are kept: on a disk, in memory, in an object store |
//! | [`estimate`] | free numbers and structures by maximum likelihood |
//! | `export` | dates of a store as cloud optimised GeoTIFFs (features `gdal` and `zarr`) |
//! | [`validate`] | withholds observations and compares predictions with them |
//! | [`preset`] | published products: bands, scale, quality bits, file names |
//! | [`npy`] | NumPy files |
//!
//! With the feature `config`, `config` reads a description from TOML.
#![cfg_attr(all(doc, feature = "gdal", feature = "zarr"), doc = "[`guide`] holds the pages of the documentation.")]

#[cfg(feature = "config")]
pub mod config;
pub mod describe;
pub mod engine;
mod error;
pub mod estimate;
#[cfg(all(feature = "gdal", feature = "zarr"))]
pub mod export;
pub mod filter;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
#[doc(hidden)]
pub mod fuzz;
pub mod geometry;
#[cfg(all(any(doc, doctest), feature = "gdal", feature = "zarr"))]
pub mod guide;
mod machine;
pub mod model;
pub mod npy;
pub mod preset;
pub mod seasonal;
pub mod series;
pub mod sink;
pub mod source;
pub mod spectral;
pub mod storage;
pub mod validate;

/// The arrays of the public interface.
pub use ndarray;

pub use engine::{Fusion, Precision};
pub use error::{BoxedError, ChunkFault, Error, Key, KeyStep, Remedy, Result, SettingDifference};
