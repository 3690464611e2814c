//! The figure: the last day as maps beside what was seen, two cells as series.

use std::path::Path;

use ndarray::{Array2, Array3, Array4, Axis, s};
use rasterfuse::geometry::{Date, Grid};
use rasterfuse::source::{RasterSource, RasterStack};

use crate::common::canvas::{COARSE, Drawn, FINE, FUSED, Scale};
use crate::common::chart::{Chart, Horizontal, Layer};
use crate::common::kranj::image;
use crate::common::map::{Map, MapRow};
use crate::common::score::Score;
use crate::common::sheet::Sheet;

/// The band that is shown: nir.
const BAND: usize = 3;
const ZOOM: usize = 7;
const SERIES_HEIGHT: i32 = 300;

/// What the figure shows.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) dates: &'a [Date],
    pub(crate) modis: &'a RasterStack,
    /// The image that was fused and the one that was withheld.
    pub(crate) first: Array3<f64>,
    pub(crate) second: Array3<f64>,
    pub(crate) mean: Array4<f64>,
    pub(crate) sd: Array4<f64>,
}

impl Figure<'_> {
    /// Draws the figure into a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Drawn {
        let last = self.dates.len() - 1;
        let band = |image: &Array3<f64>| image.index_axis(Axis(0), BAND).to_owned();
        let (first, second) = (band(&self.first), band(&self.second));
        let (mean, sd) = (self.mean.slice(s![last, BAND, .., ..]), self.sd.slice(s![last, BAND, .., ..]));
        let (modis, modis_date) = self.last_modis()?;
        let cells = changed(&first, &second);

        let reflectance = Scale::of(first.iter().chain(&second), colorous::VIRIDIS);
        let day = |date: Date| date.format("%-d %B");
        let rmse = |values: &Array2<f64>| format!("RMSE {:.3}", Score::of(values, &second).rmse());
        let titles = [
            format!("Landsat, {}", day(self.dates[0])),
            format!("MODIS, {}", day(modis_date)),
            format!("predicted, {}", day(self.dates[last])),
            format!("Landsat, {}", day(self.dates[last])),
        ];
        let map = |index: usize, subtitle, values| Map {
            title: &titles[index],
            subtitle,
            values,
            colours: reflectance,
            bar: None,
        };
        let predicted = mean.to_owned();
        let maps = MapRow {
            grid: self.grid,
            zoom: ZOOM,
            maps: vec![
                map(0, rmse(&first), first.view()),
                map(1, rmse(&modis), modis.view()),
                map(2, rmse(&predicted), mean),
                Map { bar: Some("nir reflectance"), ..map(3, "withheld".into(), second.view()) },
                Map::uncertainty("uncertainty", sd),
            ],
            marks: vec![(cells[0], "A"), (cells[1], "B")],
        };
        let charts = cells.map(|cell| self.series(cell));
        let charts = charts.into_iter().collect::<rasterfuse::Result<Vec<_>>>()?;
        let spans = charts.iter().map(Chart::span);
        let limits = spans.fold((f64::INFINITY, f64::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let charts = charts.into_iter().map(|chart| Chart { limits: Some(limits), ..chart });
        Sheet {
            heading: "nir reflectance at 30 m, Kranj, Slovenia, 2020: predicted from one Landsat image and daily MODIS",
            maps,
            cells: "cells A and B:",
            charts: ["A", "B"].into_iter().zip(charts).collect(),
            chart_height: SERIES_HEIGHT,
        }
        .draw(path)
    }

    /// The last MODIS image on the target's cells, and its date.
    fn last_modis(&self) -> rasterfuse::Result<(Array2<f64>, Date)> {
        let last = self.modis.dates().len() - 1;
        let image = image(self.modis, last)?;
        let of_cells = Array2::from_shape_fn(self.grid.shape(), |cell| {
            let (row, col) = self.pixel_over(cell);
            image[(BAND, row, col)]
        });
        Ok((of_cells, self.modis.dates()[last]))
    }

    /// The MODIS pixel over a cell; the pixels cover all of the target.
    fn pixel_over(&self, (row, col): (usize, usize)) -> (usize, usize) {
        let modis = self.modis.grid();
        let over =
            |under: Vec<std::ops::Range<i64>>, cell: usize| under.partition_point(|cells| cells.end <= cell as i64);
        (over(self.grid.rows_under(modis), row), over(self.grid.cols_under(modis), col))
    }

    /// One cell through time.
    fn series(&self, cell: (usize, usize)) -> rasterfuse::Result<Chart<'static>> {
        let of = |series: &Array4<f64>| series.slice(s![.., BAND, cell.0, cell.1]).to_vec();
        let days = |date: Date| f64::from(date.days_since(self.dates[0]));
        let estimates = self.dates.iter().map(|date| days(*date)).zip(of(&self.mean)).zip(of(&self.sd));
        let pixel = self.pixel_over(cell);
        let coarse = self
            .modis
            .dates()
            .iter()
            .enumerate()
            .map(|(index, date)| Ok((days(*date), image(self.modis, index)?[(BAND, pixel.0, pixel.1)])));
        let last = days(self.dates[self.dates.len() - 1]);
        let fine = |image: &Array3<f64>| image[(BAND, cell.0, cell.1)];
        Ok(Chart {
            horizontal: Horizontal::Days(self.dates[0]),
            from_to: (-0.7, last + 0.7),
            vertical: "nir reflectance",
            limits: None,
            layers: vec![
                Layer::estimate("fused, 90 % interval", FUSED, estimates.map(|((x, mean), sd)| (x, mean, sd))),
                Layer::rings("MODIS pixel over it", COARSE, coarse.collect::<rasterfuse::Result<Vec<_>>>()?),
                Layer::dots("Landsat", FINE, [(0.0, fine(&self.first))]),
                Layer::targets("Landsat, withheld", FINE, [(last, fine(&self.second))]),
            ],
        })
    }
}

/// Two cells that were seen twice: one that has changed more than nine in ten have, and one of ordinary change.
fn changed(first: &Array2<f64>, second: &Array2<f64>) -> [(usize, usize); 2] {
    let change = (second - first).mapv(f64::abs);
    let mut cells: Vec<_> = change.indexed_iter().filter(|(_, change)| !change.is_nan()).collect();
    cells.sort_by(|a, b| a.1.total_cmp(b.1));
    [0.9, 0.5].map(|share| cells[(share * cells.len() as f64) as usize].0)
}
