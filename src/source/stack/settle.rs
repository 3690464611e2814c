//! The grid of a stack of parts on one lattice: which parts count, and from which corner they are counted.

use std::path::PathBuf;

use super::LocatedGranule;
use super::location::StackLocation;
use super::placement::{Placement, Placements};
use crate::error::{Result, shown};
use crate::geometry::{Date, Grid};
use crate::source::same_crs;

/// Pixels of context that a stack adds around the grid that it must cover.
const MARGIN: i64 = 2;

/// The grid that contains the data of all parts, or covers `target` where a part reaches it. The locations of the
/// parts are then counted from its corner, and parts elsewhere move to `far`, unless all are there. The first
/// `data_files` files of each hold data. Also returns which of the parts are left.
pub(super) fn settle(
    (lattice, data_files): (&Grid, usize),
    target: Option<&Grid>,
    parts: &mut Vec<LocatedGranule>,
    far: &mut Vec<(Date, PathBuf)>,
) -> Result<(Grid, Vec<bool>)> {
    let covers = |part: &LocatedGranule| {
        let covers: Vec<[i64; 4]> =
            part.files.iter().take(data_files).map(|file| file.placement.location.cover()).collect();
        covers.into_iter()
    };
    let join = |a: [i64; 4], b: [i64; 4]| [a[0].min(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].max(b[3])];
    let union = parts.iter().flat_map(covers).reduce(join).unwrap_or_default();
    let [x, w, _, y, _, h] = lattice.geotransform();
    let entire = target.filter(|target| same_crs(target.crs(), lattice.crs())).map(|target| {
        let extent = target.extent();
        let down = |edge: f64| (edge - y) / h;
        let across = |edge: f64| (edge - x) / w;
        [
            down(extent.top).floor() as i64 - MARGIN,
            down(extent.bottom).ceil() as i64 + MARGIN,
            across(extent.left).floor() as i64 - MARGIN,
            across(extent.right).ceil() as i64 + MARGIN,
        ]
    });
    let meet = |a: &[i64; 4], b: &[i64; 4]| a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3];
    let reached = entire.filter(|entire| parts.iter().flat_map(covers).any(|cover| meet(&cover, entire)));
    let mut kept = vec![true; parts.len()];
    if let Some(entire) = &reached {
        // A part that is at fault is kept, for its date to be named.
        let near = |part: &LocatedGranule| part.files.is_empty() || covers(part).any(|cover| meet(&cover, entire));
        far.extend(parts.iter().filter(|part| !near(part)).map(|part| (part.date, part.name().to_path_buf())));
        kept = parts.iter().map(near).collect();
        parts.retain(near);
    }
    let [top, bottom, left, right] = reached.unwrap_or(union);
    move_all(parts, |location| location.counted_from(top, left));
    let corner = [x + left as f64 * w, w, 0.0, y + top as f64 * h, 0.0, h];
    let shape = ((bottom - top) as usize, (right - left) as usize);
    Ok((Grid::new(lattice.crs().clone(), corner, shape)?, kept))
}

/// Gives all files new locations.
pub(super) fn move_all(parts: &mut [LocatedGranule], to: impl Fn(&StackLocation) -> StackLocation) {
    let mut placements = Placements::default();
    for file in parts.iter_mut().flat_map(|part| &mut *part.files) {
        let location = to(&file.placement.location);
        file.placement = placements.shared(Placement { location, ..Placement::clone(&file.placement) });
    }
}

/// Tells how many granules do not reach the target, and gives one of them.
pub(super) fn tell_far(far: &[(Date, PathBuf)], near: usize) {
    if let Some((date, path)) = far.first().filter(|_| near > 0) {
        let (count, all, path) = (far.len(), far.len() + near, shown(path));
        tracing::info!(
            "{count} of {all} acquisitions do not reach the target and are left out, such as {path} ({date})"
        );
    }
}
