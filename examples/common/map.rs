//! Rows of maps with axes in km and colour bars.

use ndarray::ArrayView2;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use rasterfuse::geometry::Grid;

use super::canvas::{Canvas, Drawn, INK, MEDIUM, SMALL, Scale, font, text, upright};

/// Room left of the first map, above a map for its titles, and below it for its axis.
pub(crate) const LEFT: i32 = 100;
pub(crate) const TITLES: i32 = 88;
pub(crate) const AXIS: i32 = 78;
/// Between two maps.
const GAP: i32 = 28;
/// Width of a colour bar, and of its numbers and name.
const BAR: i32 = 26;
const BAR_LABELS: i32 = 140;
const TICKS: i32 = 40;

/// A map: its title, a line below that, and its values as colours.
#[derive(Debug)]
pub(crate) struct Map<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: String,
    pub(crate) values: ArrayView2<'a, f64>,
    pub(crate) colours: Scale,
    /// Name of the colour bar beside it, for this map and those before it.
    pub(crate) bar: Option<&'a str>,
}

impl<'a> Map<'a> {
    /// A map of standard deviations, with a scale and a colour bar of its own.
    pub(crate) fn uncertainty(title: &'a str, sd: ArrayView2<'a, f64>) -> Self {
        Self {
            title,
            subtitle: format!("mean {:.3}", sd.mean().unwrap_or(f64::NAN)),
            values: sd,
            colours: Scale::from_zero(sd, colorous::INFERNO),
            bar: Some("standard deviation"),
        }
    }
}

/// Maps of the same cells, side by side.
#[derive(Debug)]
pub(crate) struct MapRow<'a> {
    pub(crate) grid: &'a Grid,
    /// Pixels of a cell's side.
    pub(crate) zoom: usize,
    pub(crate) maps: Vec<Map<'a>>,
    /// Cells to circle, with a letter or none.
    pub(crate) marks: Vec<((usize, usize), &'a str)>,
}

impl MapRow<'_> {
    /// Width and height in pixels of one map.
    fn map_size(&self) -> (i32, i32) {
        ((self.grid.cols() * self.zoom) as i32, (self.grid.rows() * self.zoom) as i32)
    }

    /// Height in pixels, titles and axes included.
    pub(crate) fn height(&self) -> i32 {
        TITLES + self.map_size().1 + AXIS
    }

    /// Width in pixels, axes and bars included.
    pub(crate) fn width(&self) -> i32 {
        self.left_of(self.maps.len()) - GAP
    }

    /// Left edge of a map.
    pub(crate) fn left_of(&self, index: usize) -> i32 {
        let beside = |map: &Map<'_>| if map.bar.is_some() { GAP / 2 + BAR + BAR_LABELS } else { 0 };
        LEFT + self.maps.iter().take(index).map(|map| self.map_size().0 + GAP + beside(map)).sum::<i32>()
    }

    /// Draws the row with its upper left corner at `(x, y)`.
    pub(crate) fn draw(&self, canvas: &Canvas<'_>, (x, y): (i32, i32)) -> Drawn {
        for (index, map) in self.maps.iter().enumerate() {
            let corner = (x + self.left_of(index), y + TITLES);
            self.map(canvas, map, corner, index == 0)?;
            if let Some(name) = map.bar {
                let (width, height) = self.map_size();
                bar(canvas, (corner.0 + width + GAP * 3 / 4, corner.1), height, name, map.colours)?;
            }
        }
        Ok(())
    }

    /// One map, its upper left corner at `(x, y)`; numbers on the vertical axis only if `labelled`.
    fn map(&self, canvas: &Canvas<'_>, map: &Map<'_>, (x, y): (i32, i32), labelled: bool) -> Drawn {
        let (width, height) = self.map_size();
        let centre = x + width / 2;
        text(canvas, map.title, (centre, y - 60), MEDIUM, HPos::Center)?;
        text(canvas, &map.subtitle, (centre, y - 23), SMALL, HPos::Center)?;
        let area = canvas.clone().shrink((x - LEFT, y), ((width + LEFT) as u32, (height + TICKS) as u32));
        let (cell_width, cell_height) = self.grid.cell_size();
        let (east, north) = (self.grid.cols() as f64 * cell_width / 1e3, self.grid.rows() as f64 * cell_height / 1e3);
        let mut chart = ChartBuilder::on(&area)
            .y_label_area_size(LEFT)
            .x_label_area_size(TICKS)
            .build_cartesian_2d(0.0..east, 0.0..north)?;
        let zoom = self.zoom;
        let rgb = pixels(height, width, |row, col| map.colours.colour(map.values[(row / zoom, col / zoom)]));
        chart.draw_series(BitMapElement::with_owned_buffer((0.0, north), (width as u32, height as u32), rgb))?;
        let decimals = usize::from(east < 2.5);
        let number = |value: &f64| format!("{value:.decimals$}");
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(4)
            .y_labels(4)
            .x_label_formatter(&number)
            .y_label_formatter(&|value| if labelled { number(value) } else { String::new() })
            .label_style(font(SMALL))
            .draw()?;
        text(canvas, "x (km)", (centre, y + height + TICKS + 20), SMALL, HPos::Center)?;
        if labelled {
            upright(canvas, "y (km)", (x - 78, y + height / 2))?;
        }
        chart.draw_series([Rectangle::new([(0.0, 0.0), (east, north)], INK)])?;
        for ((row, col), letter) in &self.marks {
            let mark = ((*col as f64 + 0.5) * cell_width / 1e3, north - (*row as f64 + 0.5) * cell_height / 1e3);
            chart.draw_series([
                Circle::new(mark, 11, WHITE.stroke_width(5)),
                Circle::new(mark, 11, BLACK.stroke_width(2)),
            ])?;
            let beside = (x + (col * zoom) as i32 + 24, y + (row * zoom) as i32 + zoom as i32 / 2);
            outlined(canvas, letter, beside)?;
        }
        Ok(())
    }
}

/// A letter that is seen on any colour.
fn outlined(canvas: &Canvas<'_>, letter: &str, (x, y): (i32, i32)) -> Drawn {
    for (dx, dy) in [(-2, 0), (2, 0), (0, -2), (0, 2), (-2, -2), (2, 2), (-2, 2), (2, -2)] {
        let style = font(MEDIUM)
            .color(&WHITE)
            .pos(plotters::style::text_anchor::Pos::new(HPos::Left, plotters::style::text_anchor::VPos::Center));
        canvas.draw(&Text::new(letter, (x + dx, y + dy), style))?;
    }
    text(canvas, letter, (x, y), MEDIUM, HPos::Left)
}

/// A colour bar with its upper left corner at `(x, y)`, numbers and name to its right.
fn bar(canvas: &Canvas<'_>, (x, y): (i32, i32), height: i32, name: &str, colours: Scale) -> Drawn {
    let per_pixel = (colours.high - colours.low) / f64::from(height);
    let rgb = pixels(height, BAR, |row, _| colours.colour(colours.high - row as f64 * per_pixel));
    if let Some(image) = BitMapElement::with_owned_buffer((x, y), (BAR as u32, height as u32), rgb) {
        canvas.draw(&image)?;
    }
    canvas.draw(&Rectangle::new([(x, y), (x + BAR, y + height)], INK))?;
    for tick in 0..=((colours.high - colours.low) / colours.step + 1e-6).floor() as i32 {
        let above = f64::from(tick) * colours.step;
        let at = y + height - (above / per_pixel).round() as i32;
        canvas.draw(&PathElement::new([(x + BAR, at), (x + BAR + 7, at)], INK))?;
        text(canvas, &colours.label(colours.low + above), (x + BAR + 14, at), SMALL, HPos::Left)?;
    }
    upright(canvas, name, (x + BAR + BAR_LABELS - 16, y + height / 2))
}

/// Red, green and blue bytes of an image, row by row.
fn pixels(height: i32, width: i32, colour: impl Fn(usize, usize) -> RGBColor) -> Vec<u8> {
    let at = |row| (0..width as usize).map(move |col| (row, col));
    (0..height as usize)
        .flat_map(at)
        .map(|(row, col)| colour(row, col))
        .flat_map(|RGBColor(r, g, b)| [r, g, b])
        .collect()
}
