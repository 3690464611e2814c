//! How the figure is drawn: text, maps with axes, colour bars.

use std::error::Error;

use colorous::Gradient;
use ndarray::ArrayView2;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rasterfuse::geometry::Grid;

pub(crate) type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn Error>>;

/// A panel shows every cell as a square of so many pixels.
pub(crate) const ZOOM: usize = 4;
/// Left and upper edge of the panels, in pixels.
pub(crate) const LEFT: i32 = 130;
pub(crate) const TOP: i32 = 160;
/// Room for the numbers below an axis.
pub(crate) const TICKS: i32 = 40;
/// Width of a colour bar, and of its numbers and name.
pub(crate) const BAR: i32 = 26;
pub(crate) const BAR_LABELS: i32 = 128;

pub(crate) const LARGE: i32 = 34;
pub(crate) const MEDIUM: i32 = 30;
pub(crate) const SMALL: i32 = 27;
pub(crate) const INK: RGBColor = RGBColor(30, 30, 30);
pub(crate) const MISSING: RGBColor = RGBColor(190, 190, 190);

/// Values from `low` to `high` as colours; outside they saturate. A bar has a number every `step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    step: f64,
    gradient: Gradient,
}

impl Scale {
    fn colour(self, value: f64) -> RGBColor {
        if value.is_nan() {
            return MISSING;
        }
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let (r, g, b) = self.gradient.eval_continuous(share).as_tuple();
        RGBColor(r, g, b)
    }

    /// Over all but the extreme half percents of the values, rounded outwards to a multiple of `step`.
    pub(crate) fn of(values: ArrayView2<'_, f64>, step: f64, gradient: Gradient) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let extreme = sorted.len() / 200;
        let low = sorted.get(extreme).copied().unwrap_or(0.0);
        let high = sorted.iter().rev().nth(extreme).copied().unwrap_or(1.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, gradient }
    }
}

pub(crate) fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

pub(crate) fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Drawn {
    let style = font(size).pos(Pos::new(anchor, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Text that reads upwards, around its centre.
pub(crate) fn upright(canvas: &Canvas<'_>, text: &str, at: (i32, i32)) -> Drawn {
    let style = font(SMALL).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// A map: its title, a line below that, and its values as colours.
#[derive(Debug)]
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: String,
    pub(crate) values: ArrayView2<'a, f64>,
    pub(crate) colours: Scale,
}

impl Panel<'_> {
    /// Draws the map with axes in km, its upper left corner at `x`; numbers on the vertical axis only if `labelled`.
    pub(crate) fn draw(&self, canvas: &Canvas<'_>, grid: &Grid, x: i32, cell: (usize, usize), labelled: bool) -> Drawn {
        let (height, width) = ((grid.rows() * ZOOM) as i32, (grid.cols() * ZOOM) as i32);
        let centre = x + width / 2;
        text(canvas, self.title, (centre, TOP - 60), MEDIUM, HPos::Center)?;
        text(canvas, &self.subtitle, (centre, TOP - 23), SMALL, HPos::Center)?;
        let area = canvas.clone().shrink((x - LEFT, TOP), ((width + LEFT) as u32, (height + TICKS) as u32));
        let (cell_width, cell_height) = grid.cell_size();
        let (east, north) = (grid.cols() as f64 * cell_width / 1e3, grid.rows() as f64 * cell_height / 1e3);
        let mut chart = ChartBuilder::on(&area)
            .y_label_area_size(LEFT)
            .x_label_area_size(TICKS)
            .build_cartesian_2d(0.0..east, 0.0..north)?;
        let rgb = pixels(height, width, |row, col| self.colours.colour(self.values[(row / ZOOM, col / ZOOM)]));
        chart.draw_series(BitMapElement::with_owned_buffer((0.0, north), (width as u32, height as u32), rgb))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(4)
            .y_labels(4)
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| if labelled { format!("{value:.0}") } else { String::new() })
            .label_style(font(SMALL))
            .draw()?;
        text(canvas, "x (km)", (centre, TOP + height + TICKS + 22), SMALL, HPos::Center)?;
        if labelled {
            upright(canvas, "y (km)", (x - 62, TOP + height / 2))?;
        }
        chart.draw_series([Rectangle::new([(0.0, 0.0), (east, north)], INK)])?;
        let mark = ((cell.1 as f64 + 0.5) * cell_width / 1e3, north - (cell.0 as f64 + 0.5) * cell_height / 1e3);
        chart.draw_series([
            Circle::new(mark, 11, WHITE.stroke_width(5)),
            Circle::new(mark, 11, BLACK.stroke_width(2)),
        ])?;
        Ok(())
    }
}

/// A colour bar beside a panel, numbers and name to its right.
pub(crate) fn bar(canvas: &Canvas<'_>, grid: &Grid, x: i32, name: &str, colours: Scale) -> Drawn {
    let height = (grid.rows() * ZOOM) as i32;
    let per_pixel = (colours.high - colours.low) / f64::from(height);
    let rgb = pixels(height, BAR, |row, _| colours.colour(colours.high - row as f64 * per_pixel));
    if let Some(image) = BitMapElement::with_owned_buffer((x, TOP), (BAR as u32, height as u32), rgb) {
        canvas.draw(&image)?;
    }
    canvas.draw(&Rectangle::new([(x, TOP), (x + BAR, TOP + height)], INK))?;
    for tick in 0..=((colours.high - colours.low) / colours.step).round() as i32 {
        let above = f64::from(tick) * colours.step;
        let y = TOP + height - (above / per_pixel).round() as i32;
        canvas.draw(&PathElement::new([(x + BAR, y), (x + BAR + 7, y)], INK))?;
        text(canvas, &format!("{:.2}", colours.low + above), (x + BAR + 14, y), SMALL, HPos::Left)?;
    }
    upright(canvas, name, (x + BAR + BAR_LABELS - 30, TOP + height / 2))
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
