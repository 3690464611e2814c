//! Dilation of masks by a Euclidean disc.

/// Sets every cell within `radius` (Euclidean, between centres) of a set one.
///
/// Two passes: the distance to the nearest set cell within each row, then for every cell the rows within the disc.
pub(super) fn dilated(cells: &[bool], cols: usize, radius: usize) -> Vec<bool> {
    if cols == 0 || !cells.contains(&true) {
        return cells.to_vec();
    }
    let rows = cells.len() / cols;
    let radius = radius.min(usize::from(u16::MAX) - 1); // no raster is wider by much
    let beyond = radius as u16 + 1;
    let mut distance = vec![beyond; cells.len()];
    for (distance, cells) in distance.chunks_exact_mut(cols).zip(cells.chunks_exact(cols)) {
        let mut since = beyond;
        for (distance, set) in distance.iter_mut().zip(cells) {
            since = if *set { 0 } else { (since + 1).min(beyond) };
            *distance = since;
        }
        since = beyond;
        for (distance, set) in distance.iter_mut().zip(cells).rev() {
            since = if *set { 0 } else { (since + 1).min(beyond) };
            *distance = since.min(*distance);
        }
    }
    let mut grown = vec![false; cells.len()];
    for row in 0..rows {
        for other in row.saturating_sub(radius)..(row + radius + 1).min(rows) {
            let reach = (radius * radius - row.abs_diff(other).pow(2)).isqrt() as u16;
            let near = &distance[other * cols..(other + 1) * cols];
            for (cell, distance) in grown[row * cols..(row + 1) * cols].iter_mut().zip(near) {
                *cell |= *distance <= reach;
            }
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dilation_equals_its_slow_twin() {
        for (rows, cols, seed) in [(1, 1, 1), (1, 17, 2), (13, 1, 3), (20, 31, 4), (9, 40, 5)] {
            let set = |k: usize| (k * 2_654_435_761 + seed * 97).is_multiple_of(23);
            let cells: Vec<bool> = (0..rows * cols).map(set).collect();
            for radius in [1, 2, 3, 7, 50, 255, 300] {
                let slow: Vec<bool> = (0..rows * cols)
                    .map(|k| {
                        (0..rows * cols).any(|other| {
                            let (dy, dx) = ((k / cols).abs_diff(other / cols), (k % cols).abs_diff(other % cols));
                            cells[other] && dy * dy + dx * dx <= radius * radius
                        })
                    })
                    .collect();
                assert_eq!(dilated(&cells, cols, radius), slow, "{rows} x {cols}, {radius}");
            }
        }
    }
}
