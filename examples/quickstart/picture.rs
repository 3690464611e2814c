//! The figure: one day as maps, one cell as a series.

use std::error::Error;
use std::path::Path;

use colorous::Gradient;
use ndarray::{Array2, ArrayView2, ArrayView3, Axis, s};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, register_font};
use rasterfuse::geometry::{Date, Grid};

use crate::judge::{CarriedForward, Fused, Z90, pixels_over};
use crate::scene::{BANDS, Scene};
use crate::sensors::Acquisitions;

type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// The band that is shown.
const BAND: usize = 1;

/// The layout in pixels: a panel shows every cell as a square of `ZOOM` pixels.
const ZOOM: usize = 4;
const WIDTH: u32 = 2500;
const HEIGHT: u32 = 1090;
const LEFT: i32 = 130;
const TOP: i32 = 160;
const GAP: i32 = 26;
/// Width of a colour bar, and of its numbers and name.
const BAR: i32 = 26;
const BAR_LABELS: i32 = 140;
const SERIES_TOP: i32 = 720;
const SERIES_HEIGHT: i32 = 310;
/// Room for the numbers below an axis.
const TICKS: i32 = 40;

const LARGE: i32 = 34;
const MEDIUM: i32 = 30;
const SMALL: i32 = 27;
const INK: RGBColor = RGBColor(30, 30, 30);
const MISSING: RGBColor = RGBColor(190, 190, 190);
const FUSED: RGBColor = RGBColor(0, 114, 178);
const LANDSAT: RGBColor = RGBColor(213, 94, 0);
const MODIS: RGBColor = RGBColor(130, 130, 130);

/// What the figure shows.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) landsat: &'a Acquisitions,
    pub(crate) modis: &'a Acquisitions,
    pub(crate) naive: &'a CarriedForward,
    pub(crate) fused: &'a Fused,
}

/// Values from `low` to `high` as colours; outside they saturate. A bar has a number every `step`.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    step: f64,
    gradient: Gradient,
}

impl Scale {
    fn colour(&self, value: f64) -> RGBColor {
        if value.is_nan() {
            return MISSING;
        }
        let (r, g, b) =
            self.gradient.eval_continuous(((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)).as_tuple();
        RGBColor(r, g, b)
    }

    /// Over all but the extreme half percents of the values, rounded outwards to a multiple of `step`.
    fn of(values: ArrayView2<'_, f64>, step: f64, gradient: Gradient) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let extreme = sorted.len() / 200;
        let low = sorted.get(extreme).copied().unwrap_or(0.0);
        let high = sorted.iter().rev().nth(extreme).copied().unwrap_or(1.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, gradient }
    }
}

impl Figure<'_> {
    /// Draws the figure into a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Drawn {
        // Fonts of the system may be missing; this one is part of the program.
        register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
        let canvas = BitMapBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let time = self.time();
        let cell = self.cell(time);
        self.maps(&canvas, time, cell)?;
        self.series(&canvas, time, cell)?;
        canvas.present()?;
        Ok(())
    }

    /// Among the days on which no cloud hides the coarse pixels, the one furthest from a clear fine image.
    fn time(&self) -> usize {
        let age = |time: usize| {
            let days = self.naive.age.index_axis(Axis(0), time);
            let (sum, seen) =
                days.iter().filter(|age| !age.is_nan()).fold((0.0, 0.0), |(s, n), age| (s + age, n + 1.0));
            sum / f64::max(seen, 1.0)
        };
        let clear = |date: Date| self.modis.on(date).is_some_and(|image| image.iter().all(|value| !value.is_nan()));
        let clear_days = (0..self.scene.dates.len()).filter(|&time| clear(self.scene.dates[time]));
        clear_days.max_by(|&a, &b| age(a).total_cmp(&age(b))).unwrap_or(0)
    }

    /// Among the cells that have not been seen clearly for longest, the one nearest to the centre.
    fn cell(&self, time: usize) -> (usize, usize) {
        let age = self.naive.age.index_axis(Axis(0), time);
        let oldest = age.iter().copied().fold(0.0, f64::max);
        let (rows, cols) = age.dim();
        let far = |(row, col): (usize, usize)| (2 * row).abs_diff(rows).pow(2) + (2 * col).abs_diff(cols).pow(2);
        let old = age.indexed_iter().filter(|(_, age)| **age >= oldest).map(|(cell, _)| cell);
        old.min_by_key(|cell| far(*cell)).unwrap_or((rows / 2, cols / 2))
    }

    /// The row of maps with their colour bars.
    fn maps(&self, canvas: &Canvas<'_>, time: usize, cell: (usize, usize)) -> Drawn {
        let date = self.scene.dates[time];
        let name = BANDS[BAND];
        let truth = self.scene.truth();
        let truth = truth.slice(s![time, BAND, .., ..]);
        let carried = self.naive.values.slice(s![time, BAND, .., ..]);
        let age = self.naive.age.index_axis(Axis(0), time);
        let seen = Array2::from_shape_fn(carried.dim(), |at| if age[at].is_nan() { f64::NAN } else { carried[at] });
        let coarse = self.modis.on(date).map_or(seen.clone(), |image| self.on_cells(image));
        let mean = self.fused.mean.slice(s![time, BAND, .., ..]);
        let sd = self.fused.sd.slice(s![time, BAND, .., ..]);
        let oldest = age.iter().copied().fold(0.0, f64::max);

        let heading = format!("{name} reflectance on {date}, up to {oldest:.0} days after the last clear view at 30 m");
        text(canvas, &heading, (LEFT, 36), LARGE, HPos::Left, INK)?;
        let error = |values: ArrayView2<'_, f64>| format!("RMSE {:.3}", rmse(values, truth));
        let panels = [
            ("last clear Landsat, 30 m", error(seen.view()), seen.view()),
            ("MODIS of the day, 240 m", error(coarse.view()), coarse.view()),
            ("fused, 30 m", error(mean), mean),
            ("truth", String::new(), truth),
        ];
        let colours = Scale::of(truth, 0.05, colorous::VIRIDIS);
        let grid = &self.scene.target;
        let side = (grid.cols() * ZOOM) as i32;
        let mut x = LEFT;
        for (index, (title, subtitle, values)) in panels.iter().enumerate() {
            panel(canvas, grid, x, (title, subtitle), *values, colours, cell, index == 0)?;
            x += side + GAP;
        }
        bar(canvas, grid, x - GAP / 4, &format!("{name} reflectance"), colours, 2)?;
        x += BAR + BAR_LABELS + GAP / 2;
        let colours = Scale::of(sd, 0.01, colorous::INFERNO);
        let mean_sd = format!("mean {:.3}", sd.mean().unwrap_or(f64::NAN));
        panel(canvas, grid, x, ("fused, uncertainty", &mean_sd), sd, colours, cell, false)?;
        bar(canvas, grid, x + side + GAP * 3 / 4, "standard deviation", colours, 2)
    }

    /// A coarse image on the target's cells.
    fn on_cells(&self, image: ArrayView3<'_, f64>) -> Array2<f64> {
        let (rows, cols) = pixels_over(self.scene, self.modis);
        Array2::from_shape_fn(self.scene.target.shape(), |(row, col)| image[(BAND, rows[row], cols[col])])
    }

    /// One cell through time.
    fn series(&self, canvas: &Canvas<'_>, time: usize, cell: (usize, usize)) -> Drawn {
        let days = self.scene.dates.len();
        let truth: Vec<f64> = self.scene.truth().slice(s![.., BAND, cell.0, cell.1]).to_vec();
        let mean: Vec<f64> = self.fused.mean.slice(s![.., BAND, cell.0, cell.1]).to_vec();
        let half: Vec<f64> = self.fused.sd.slice(s![.., BAND, cell.0, cell.1]).iter().map(|sd| Z90 * sd).collect();
        let (rows, cols) = pixels_over(self.scene, self.modis);
        let fine = self.observed(self.landsat, cell);
        let coarse = self.observed(self.modis, (rows[cell.0], cols[cell.1]));

        let seen = fine.iter().chain(&coarse).map(|(_, value)| *value);
        let all = || mean.iter().zip(&half).flat_map(|(m, h)| [m - h, m + h]).chain(truth.iter().copied());
        let low = all().chain(seen.clone()).fold(f64::INFINITY, f64::min);
        let high = all().chain(seen).fold(f64::NEG_INFINITY, f64::max);
        let margin = 0.05 * (high - low);

        let right = WIDTH as i32 - BAR_LABELS;
        let area = canvas.clone().shrink((0, SERIES_TOP), (right as u32, (SERIES_HEIGHT + TICKS) as u32));
        let mut chart = ChartBuilder::on(&area)
            .y_label_area_size(LEFT)
            .x_label_area_size(TICKS)
            .build_cartesian_2d(-0.5..days as f64 - 0.5, low - margin..high + margin)?;
        let first = self.scene.dates[0];
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(9)
            .x_label_formatter(&|day| (first + day.round() as i32).to_string())
            .y_labels(5)
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style(font(SMALL))
            .draw()?;
        let at = |values: Vec<f64>| (0..days).map(|day| day as f64).zip(values).collect::<Vec<_>>();
        let upper = at(mean.iter().zip(&half).map(|(m, h)| m + h).collect());
        let lower = at(mean.iter().zip(&half).map(|(m, h)| m - h).collect());
        let outline: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
        chart.draw_series([Polygon::new(outline, FUSED.mix(0.22))])?;
        let today = time as f64;
        chart.draw_series([PathElement::new(
            [(today, low - margin), (today, high + margin)],
            MISSING.stroke_width(2),
        )])?;
        chart.draw_series(coarse.iter().map(|&point| Circle::new(point, 7, MODIS.stroke_width(2))))?;
        chart.draw_series([PathElement::new(at(truth), INK.stroke_width(3))])?;
        chart.draw_series([PathElement::new(at(mean), FUSED.stroke_width(4))])?;
        chart.draw_series(fine.iter().map(|&point| Circle::new(point, 10, LANDSAT.filled())))?;
        upright(canvas, &format!("{} reflectance", BANDS[BAND]), (22, SERIES_TOP + SERIES_HEIGHT / 2))?;
        legend(canvas)
    }

    /// What a sensor has seen at one of its pixels: (day, value).
    fn observed(&self, sensor: &Acquisitions, pixel: (usize, usize)) -> Vec<(f64, f64)> {
        let values = sensor.values.slice(s![.., BAND, pixel.0, pixel.1]);
        let day = |date: Date| f64::from(date.days_since(self.scene.dates[0]));
        let dated = sensor.dates.iter().map(|&date| day(date)).zip(values.iter().copied());
        dated.filter(|(_, value)| !value.is_nan()).collect()
    }
}

fn rmse(values: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>) -> f64 {
    let squares: Vec<f64> = values
        .iter()
        .zip(truth)
        .map(|(value, truth)| (value - truth).powi(2))
        .filter(|square| !square.is_nan())
        .collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos, colour: RGBColor) -> Drawn {
    let style = font(size).color(&colour).pos(Pos::new(anchor, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Text that reads upwards, around its centre.
fn upright(canvas: &Canvas<'_>, text: &str, at: (i32, i32)) -> Drawn {
    let style = font(SMALL).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// A map with axes in km, whose upper left corner is at `x`.
#[allow(clippy::too_many_arguments)]
fn panel(
    canvas: &Canvas<'_>,
    grid: &Grid,
    x: i32,
    (title, subtitle): (&str, &str),
    values: ArrayView2<'_, f64>,
    colours: Scale,
    cell: (usize, usize),
    labelled: bool,
) -> Drawn {
    let (height, width) = ((grid.rows() * ZOOM) as i32, (grid.cols() * ZOOM) as i32);
    let centre = x + width / 2;
    text(canvas, title, (centre, TOP - 60), MEDIUM, HPos::Center, INK)?;
    text(canvas, subtitle, (centre, TOP - 23), SMALL, HPos::Center, INK)?;
    let area = canvas.clone().shrink((x - LEFT, TOP), ((width + LEFT) as u32, (height + TICKS) as u32));
    let (cell_width, cell_height) = grid.cell_size();
    let (east, north) = (grid.cols() as f64 * cell_width / 1e3, grid.rows() as f64 * cell_height / 1e3);
    let mut chart = ChartBuilder::on(&area)
        .y_label_area_size(LEFT)
        .x_label_area_size(TICKS)
        .build_cartesian_2d(0.0..east, 0.0..north)?;
    let rgb = pixels(height, width, |row, col| colours.colour(values[(row / ZOOM, col / ZOOM)]));
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
    text(canvas, "x (km)", (centre, TOP + height + TICKS + 22), SMALL, HPos::Center, INK)?;
    if labelled {
        upright(canvas, "y (km)", (x - 62, TOP + height / 2))?;
    }
    chart.draw_series([Rectangle::new([(0.0, 0.0), (east, north)], INK)])?;
    let mark = ((cell.1 as f64 + 0.5) * cell_width / 1e3, north - (cell.0 as f64 + 0.5) * cell_height / 1e3);
    chart.draw_series([Circle::new(mark, 11, WHITE.stroke_width(5)), Circle::new(mark, 11, BLACK.stroke_width(2))])?;
    Ok(())
}

/// A colour bar beside a panel, numbers and name to its right.
fn bar(canvas: &Canvas<'_>, grid: &Grid, x: i32, name: &str, colours: Scale, digits: usize) -> Drawn {
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
        text(canvas, &format!("{:.digits$}", colours.low + above), (x + BAR + 14, y), SMALL, HPos::Left, INK)?;
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

/// What is what in the series, in a line above it.
fn legend(canvas: &Canvas<'_>) -> Drawn {
    let y = SERIES_TOP - 34;
    text(canvas, "the circled cell through time:", (LEFT, y), MEDIUM, HPos::Left, INK)?;
    let mut x = LEFT + 500;
    for (index, (name, colour)) in [
        ("truth", INK),
        ("fused, 90 % interval", FUSED),
        ("Landsat", LANDSAT),
        ("MODIS pixel over it", MODIS),
        ("day of the maps", MISSING),
    ]
    .into_iter()
    .enumerate()
    {
        let line = |width| PathElement::new([(x, y), (x + 50, y)], colour.stroke_width(width));
        match index {
            0 => canvas.draw(&line(3))?,
            1 => {
                canvas.draw(&Rectangle::new([(x, y - 13), (x + 50, y + 13)], colour.mix(0.22).filled()))?;
                canvas.draw(&line(4))?;
            }
            2 => canvas.draw(&Circle::new((x + 36, y), 10, colour.filled()))?,
            3 => canvas.draw(&Circle::new((x + 36, y), 7, colour.stroke_width(2)))?,
            _ => canvas.draw(&PathElement::new([(x + 36, y - 16), (x + 36, y + 16)], colour.stroke_width(3)))?,
        }
        text(canvas, name, (x + 62, y), SMALL, HPos::Left, INK)?;
        x += 62 + canvas.estimate_text_size(name, &font(SMALL))?.0 as i32 + 50;
    }
    Ok(())
}
