//! Where and when: grids, pixel regions, tiles and windows, dates. Pure; imports nothing but [`crate::Error`].

mod crs;
mod grid;
mod region;
mod tiling;
mod time;
mod wkt;

pub use crs::Crs;
pub use grid::{Extent, Grid};
pub use region::{PixelRegion, Rect};
pub use tiling::{Tile, Tiling, Window};
pub use time::{Date, DateRange};
