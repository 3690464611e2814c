//! The figure that most examples end in: a heading, a row of maps, and below it one or two cells as charts.

use std::path::Path;

use plotters::style::text_anchor::HPos;

use super::canvas::{Drawn, LARGE, picture, text};
use super::chart::{AXIS, Chart, Horizontal};
use super::map::{LEFT, MapRow};

/// Room for the heading; from the maps to the legend; from there to the charts, and to charts with letters.
const HEADING: i32 = 62;
const LEGEND: i32 = 40;
const CHARTS: i32 = 34;
const LETTERED: i32 = 80;
/// Between two charts, and right of the last.
const GAP: i32 = 130;
const RIGHT: i32 = 30;

/// Maps with charts below.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    pub(crate) heading: &'a str,
    pub(crate) maps: MapRow<'a>,
    /// What the charts show, before the legend, which is that of the first.
    pub(crate) cells: &'a str,
    /// Side by side, each with a letter or none.
    pub(crate) charts: Vec<(&'a str, Chart<'a>)>,
    /// Height of their frames in pixels.
    pub(crate) chart_height: i32,
}

impl Sheet<'_> {
    /// Draws the sheet into a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Drawn {
        let lettered = self.charts.iter().any(|(letter, _)| !letter.is_empty());
        let legend = HEADING + self.maps.height() + LEGEND;
        let top = legend + if lettered { LETTERED } else { CHARTS };
        let count = self.charts.len() as i32;
        let width = (self.maps.width() - LEFT - RIGHT - GAP * (count - 1)) / count.max(1);
        // Days have no name below them.
        let named = self.charts.iter().any(|(_, chart)| matches!(chart.horizontal, Horizontal::Numbers(_)));
        let below = if named { AXIS + 10 } else { AXIS - 25 };
        let size = (self.maps.width() as u32 + 10, (top + self.chart_height + below) as u32);
        picture(path, size, |canvas| {
            text(canvas, self.heading, (LEFT, 36), LARGE, HPos::Left)?;
            self.maps.draw(canvas, (0, HEADING))?;
            if let Some((_, first)) = self.charts.first() {
                first.legend(canvas, self.cells, (LEFT, legend))?;
            }
            for (index, (letter, chart)) in self.charts.iter().enumerate() {
                let left = LEFT + index as i32 * (width + GAP);
                text(canvas, letter, (left + 20, top - 28), LARGE, HPos::Left)?;
                chart.draw(canvas, (left, top), (width, self.chart_height))?;
            }
            Ok(())
        })
    }
}
