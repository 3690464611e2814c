//! The figure: one day as maps, one cell as a series.

use std::path::Path;

use ndarray::{Array2, ArrayView2, ArrayView4, Axis, Zip, s};
use rasterfuse::geometry::Date;

use crate::common::canvas::{COARSE, Drawn, FINE, FUSED, INK, Scale};
use crate::common::chart::{Chart, Horizontal, Layer};
use crate::common::map::{Map, MapRow};
use crate::common::score::Score;
use crate::common::sheet::Sheet;
use crate::judge::{CarriedForward, Fused, pixels_over};
use crate::scene::{BANDS, Scene};
use crate::sensors::Acquisitions;

/// The band that is shown.
const BAND: usize = 1;
/// Pixels of a cell's side, and of the series.
const ZOOM: usize = 4;
const SERIES_HEIGHT: i32 = 310;

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
        let time = self.time();
        let cell = self.cell(time);
        let date = self.scene.dates[time];
        let oldest = self.naive.age.index_axis(Axis(0), time).iter().copied().fold(0.0, f64::max);
        let name = BANDS[BAND];
        let heading = format!("{name} reflectance on {date}, up to {oldest:.0} days after the last clear view at 30 m");
        let truth = self.scene.truth();
        let truth = truth.slice(s![time, BAND, .., ..]);
        let seen = self.seen(time);
        let coarse = self.coarse(date);
        Sheet {
            heading: &heading,
            maps: self.maps(time, cell, truth, seen.view(), coarse.view()),
            cells: "the circled cell through time:",
            charts: vec![("", self.series(time, cell))],
            chart_height: SERIES_HEIGHT,
        }
        .draw(path)
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
    fn maps<'a>(
        &'a self,
        time: usize,
        cell: (usize, usize),
        truth: ArrayView2<'a, f64>,
        seen: ArrayView2<'a, f64>,
        coarse: ArrayView2<'a, f64>,
    ) -> MapRow<'a> {
        let mean = self.fused.mean.slice(s![time, BAND, .., ..]);
        let sd = self.fused.sd.slice(s![time, BAND, .., ..]);
        let reflectance = Scale::of(truth, colorous::VIRIDIS);
        let map = |title, values| {
            let subtitle = format!("RMSE {:.3}", Score::of(values, truth).rmse());
            Map { title, subtitle, values, colours: reflectance, bar: None }
        };
        let maps = vec![
            map("last clear Landsat, 30 m", seen),
            map("MODIS of the day, 240 m", coarse),
            map("fused, 30 m", mean),
            Map { subtitle: String::new(), bar: Some("nir reflectance"), ..map("truth", truth) },
            Map::uncertainty("fused, uncertainty", sd),
        ];
        MapRow { grid: &self.scene.target, zoom: ZOOM, maps, marks: vec![(cell, "")] }
    }

    /// What the fine sensor has last seen of each cell.
    fn seen(&self, time: usize) -> Array2<f64> {
        let age = self.naive.age.index_axis(Axis(0), time);
        let carried = self.naive.values.slice(s![time, BAND, .., ..]);
        Zip::from(age).and(carried).map_collect(|age, value| if age.is_nan() { f64::NAN } else { *value })
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
    fn series(&self, time: usize, cell: (usize, usize)) -> Chart<'_> {
        let truth = self.scene.truth();
        let of = |series: ArrayView4<'_, f64>| series.slice(s![.., BAND, cell.0, cell.1]).to_vec();
        let (truth, mean, sd) = (of(truth), of(self.fused.mean.view()), of(self.fused.sd.view()));
        let (rows, cols) = pixels_over(self.scene, self.modis);
        let days = || (0..).map(f64::from);
        Chart {
            horizontal: Horizontal::Days(self.scene.dates[0]),
            from_to: (-0.5, truth.len() as f64 - 0.5),
            vertical: "nir reflectance",
            limits: None,
            layers: vec![
                Layer::marks("day of the maps", [time as f64]),
                Layer::estimate("fused, 90 % interval", FUSED, days().zip(mean).zip(sd).map(|((x, m), s)| (x, m, s))),
                Layer::rings("MODIS pixel over it", COARSE, self.observed(self.modis, (rows[cell.0], cols[cell.1]))),
                Layer::line("truth", INK, days().zip(truth)),
                Layer::dots("Landsat", FINE, self.observed(self.landsat, cell)),
            ],
        }
    }

    /// What a sensor has seen at one of its pixels: (day, value).
    fn observed(&self, sensor: &Acquisitions, pixel: (usize, usize)) -> Vec<(f64, f64)> {
        let values = sensor.values.slice(s![.., BAND, pixel.0, pixel.1]);
        let day = |date: Date| f64::from(date.days_since(self.scene.dates[0]));
        let dated = sensor.dates.iter().map(|&date| day(date)).zip(values.iter().copied());
        dated.filter(|(_, value)| !value.is_nan()).collect()
    }
}
