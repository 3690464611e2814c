//! The figure: one day as maps, one cell as a series.

use std::path::Path;

use ndarray::{Array2, ArrayView2, ArrayView4, Axis, s};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::HPos;
use rasterfuse::geometry::Date;

use crate::canvas::{
    BAR, BAR_LABELS, Canvas, Drawn, INK, LARGE, LEFT, MEDIUM, MISSING, Panel, SMALL, Scale, TICKS, ZOOM, bar, font,
    text, upright,
};
use crate::judge::{CarriedForward, Fused, Z90, pixels_over};
use crate::scene::{BANDS, Scene};
use crate::sensors::Acquisitions;

/// The band that is shown.
const BAND: usize = 1;

/// The layout in pixels.
const WIDTH: u32 = 2475;
const HEIGHT: u32 = 1075;
const GAP: i32 = 26;
const SERIES_TOP: i32 = 720;
const SERIES_HEIGHT: i32 = 310;

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
        let (date, name, grid) = (self.scene.dates[time], BANDS[BAND], &self.scene.target);
        let truth = self.scene.truth();
        let truth = truth.slice(s![time, BAND, .., ..]);
        let age = self.naive.age.index_axis(Axis(0), time);
        let carried = self.naive.values.slice(s![time, BAND, .., ..]);
        let seen = Array2::from_shape_fn(grid.shape(), |at| if age[at].is_nan() { f64::NAN } else { carried[at] });
        let coarse = self.coarse(date);
        let mean = self.fused.mean.slice(s![time, BAND, .., ..]);
        let sd = self.fused.sd.slice(s![time, BAND, .., ..]);

        let oldest = age.iter().copied().fold(0.0, f64::max);
        let heading = format!("{name} reflectance on {date}, up to {oldest:.0} days after the last clear view at 30 m");
        text(canvas, &heading, (LEFT, 36), LARGE, HPos::Left)?;
        let reflectance = Scale::of(truth, 0.05, colorous::VIRIDIS);
        let uncertainty = Scale::of(sd, 0.01, colorous::INFERNO);
        let panel = |title, values| {
            let subtitle = format!("RMSE {:.3}", rmse(values, truth));
            Panel { title, subtitle, values, colours: reflectance }
        };
        let panels = [
            panel("last clear Landsat, 30 m", seen.view()),
            panel("MODIS of the day, 240 m", coarse.view()),
            panel("fused, 30 m", mean),
            Panel { subtitle: String::new(), ..panel("truth", truth) },
            Panel {
                title: "fused, uncertainty",
                subtitle: format!("mean {:.3}", sd.mean().unwrap_or(f64::NAN)),
                values: sd,
                colours: uncertainty,
            },
        ];
        for (index, panel) in panels.iter().enumerate() {
            panel.draw(canvas, grid, self.panel_edges(index).0, cell, index == 0)?;
        }
        let beside = |index: usize| self.panel_edges(index).1 + GAP * 3 / 4;
        bar(canvas, grid, beside(3), &format!("{name} reflectance"), reflectance)?;
        bar(canvas, grid, beside(4), "standard deviation", uncertainty)
    }

    /// Left and right edge of a panel in pixels; the colour bar of the first four stands before the fifth.
    fn panel_edges(&self, index: usize) -> (i32, i32) {
        let width = (self.scene.target.cols() * ZOOM) as i32;
        let bar = if index > 3 { BAR + BAR_LABELS + GAP / 2 } else { 0 };
        let left = LEFT + index as i32 * (width + GAP) + bar;
        (left, left + width)
    }

    /// The coarse image of a date on the target's cells.
    fn coarse(&self, date: Date) -> Array2<f64> {
        let (rows, cols) = pixels_over(self.scene, self.modis);
        let image = self.modis.on(date);
        Array2::from_shape_fn(self.scene.target.shape(), |(row, col)| {
            image.map_or(f64::NAN, |image| image[(BAND, rows[row], cols[col])])
        })
    }

    /// One cell through time.
    fn series(&self, canvas: &Canvas<'_>, time: usize, cell: (usize, usize)) -> Drawn {
        let of = |series: ArrayView4<'_, f64>| dated(series.slice(s![.., BAND, cell.0, cell.1]).iter().copied());
        let (truth, mean, sd) = (of(self.scene.truth()), of(self.fused.mean.view()), of(self.fused.sd.view()));
        let upper = mean.iter().zip(&sd).map(|(mean, sd)| (mean.0, mean.1 + Z90 * sd.1));
        let lower = mean.iter().zip(&sd).map(|(mean, sd)| (mean.0, mean.1 - Z90 * sd.1));
        let outline: Vec<_> = upper.chain(lower.rev()).collect();
        let (rows, cols) = pixels_over(self.scene, self.modis);
        let fine = self.observed(self.landsat, cell);
        let coarse = self.observed(self.modis, (rows[cell.0], cols[cell.1]));

        let shown = || [&truth, &outline, &fine, &coarse].into_iter().flatten().map(|point| point.1);
        let (low, high) = (shown().fold(f64::INFINITY, f64::min), shown().fold(f64::NEG_INFINITY, f64::max));
        let margin = 0.06 * (high - low);
        let (low, high) = (low - margin, high + margin);
        let size = (self.panel_edges(4).1 as u32, (SERIES_HEIGHT + TICKS) as u32);
        let mut chart = ChartBuilder::on(&canvas.clone().shrink((0, SERIES_TOP), size))
            .y_label_area_size(LEFT)
            .x_label_area_size(TICKS)
            .build_cartesian_2d(-0.5..truth.len() as f64 - 0.5, low..high)?;
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
        let today = time as f64;
        chart.draw_series([PathElement::new(vec![(today, low), (today, high)], MISSING.stroke_width(3))])?;
        chart.draw_series([Polygon::new(outline, FUSED.mix(0.22))])?;
        chart.draw_series(coarse.into_iter().map(|point| Circle::new(point, 7, MODIS.stroke_width(2))))?;
        chart.draw_series([PathElement::new(truth, INK.stroke_width(3))])?;
        chart.draw_series([PathElement::new(mean, FUSED.stroke_width(4))])?;
        chart.draw_series(fine.into_iter().map(|point| Circle::new(point, 10, LANDSAT.filled())))?;
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

/// Daily values with their days.
fn dated(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    (0..).map(f64::from).zip(values).collect()
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

/// What is what in the series, in a line above it.
fn legend(canvas: &Canvas<'_>) -> Drawn {
    let y = SERIES_TOP - 34;
    text(canvas, "the circled cell through time:", (LEFT, y), MEDIUM, HPos::Left)?;
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
        text(canvas, name, (x + 62, y), SMALL, HPos::Left)?;
        x += 62 + canvas.estimate_text_size(name, &font(SMALL))?.0 as i32 + 50;
    }
    Ok(())
}
