#![doc = "wip"]
#[cfg(feature = "config")]
pub mod config;
pub mod engine;
pub mod error;
pub mod filter;
pub mod geometry;
pub mod model;
pub mod sink;
pub mod source;
pub use engine::Fusion;
pub use error::{Error, Result};
