#![doc = "wip"]
pub mod error;
pub mod filter;
pub mod geometry;
pub mod model;
pub mod source;
pub use error::{Error, Result};
