// The README speaks of files and stores; its code compiles only with them.
#![cfg_attr(all(feature = "gdal", feature = "zarr"), doc = include_str!(concat!(env!("OUT_DIR"), "/README.md")))]
#![cfg_attr(
    not(all(feature = "gdal", feature = "zarr")),
    doc = "Fuses raster time series of several instruments into one gap-free series with uncertainty, in constant memory."
)]
//!
//! ## The rooms of the house
//!
//! Data flow one way: [`geometry`] (where and when) → [`source`] (what was observed) → [`model`] (what we believe) → [`filter`]
//! (the numerics) → [`engine`] (the only place with threads) → [`sink`] (where results go); what the last two share is in
//! [`series`]. Start at [`Fusion::builder`].
//! [`preset`] knows published products, [`validate`] what a fusion is worth.
//! [`estimate`] finds the numbers of a description by likelihood.
#![cfg_attr(
    all(doc, feature = "gdal", feature = "zarr"),
    doc = "[`guide`] holds the pages of the documentation beside the API."
)]

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
