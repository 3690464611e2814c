//! The lines on which rasters of another grid are read: a store keeps them, so that a series stays on them.

use std::fmt;
use std::str::FromStr;

/// The lines of the grid of a view among those of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// (rows, columns) of target cells in a pixel.
    pub(super) cells: (i64, i64),
    /// (row, column) of a target cell at which a pixel begins, smaller than `cells`.
    pub(super) begin: (i64, i64),
}

impl Lines {
    /// Whether there are others to choose from.
    pub(in crate::source) fn are_chosen(self) -> bool {
        self.cells != (1, 1)
    }
}

/// As settings of stores have it.
impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((rows, cols), (row, col)) = (self.cells, self.begin);
        write!(f, "{rows} x {cols} cells from ({row}, {col})")
    }
}

impl FromStr for Lines {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<i64> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
        let [rows, cols, row, col] = numbers[..] else { return Err(()) };
        let lines = Self { cells: (rows, cols), begin: (row, col) };
        if lines.to_string() == text && row < rows && col < cols { Ok(lines) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_they_are_read() {
        let lines = Lines { cells: (3, 2), begin: (2, 0) };
        assert_eq!(lines.to_string(), "3 x 2 cells from (2, 0)");
        assert_eq!(lines.to_string().parse(), Ok(lines));
        for text in [
            "",
            "3 x 2 cells from (3, 0)",
            "0 x 2 cells from (0, 0)",
            "3 x 2 cells from (2, 0) or so",
            "-3 x 2 cells from (2, 0)",
        ] {
            assert_eq!(text.parse::<Lines>(), Err(()), "{text}");
        }
    }
}
