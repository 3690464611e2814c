// The README speaks of files and stores; its code compiles only with them.
#![cfg_attr(all(feature = "gdal", feature = "zarr"), doc = include_str!(concat!(env!("OUT_DIR"), "/README.md")))]
#![cfg_attr(
    not(all(feature = "gdal", feature = "zarr")),
    doc = "Fuses raster time series of several instruments into one gap-free series with uncertainty, in constant memory."
)]
//!
//! ## The rooms of the house
//!
//! Data flow one way: [`geometry`] (where and when) → [`source`] (what was observed) → [`model`] (what is believed, worked out) →
//! [`filter`] (the numerics) → [`engine`] (the only place with threads) → [`sink`] (where results go); what the last two share is in
//! [`series`]. What a fusion is, is a value: [`describe`]. Start at [`Fusion::builder`], which fills it.
//! [`preset`] knows published products, [`estimate`] finds the numbers of a description by likelihood, [`validate`] measures what a
//! fusion is worth.
#![cfg_attr(all(doc, feature = "gdal", feature = "zarr"), doc = "[`guide`] holds the pages of the documentation.")]

#[cfg(feature = "config")]
pub mod config;
pub mod describe;
pub mod engine;
mod error;
pub mod estimate;
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
pub mod validate;

/// The arrays of the public interface.
pub use ndarray;

pub use engine::{Fusion, Precision};
pub use error::{BoxedError, Error, Key, KeyStep, Remedy, Result, SettingDifference};
