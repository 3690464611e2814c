//! The figure: a day as maps of a wavelength that the multispectral instrument has no band for, and two spectra.

use std::path::Path;

use ndarray::{Array2, s};
use rasterfuse::geometry::Date;

use crate::Spectra;
use crate::common::canvas::{COARSE, Drawn, FINE, FUSED, INK, Scale};
use crate::common::chart::{Chart, Horizontal, Layer};
use crate::common::map::{Map, MapRow};
use crate::common::score::Score;
use crate::common::sheet::Sheet;
use crate::judge::last_clear;
use crate::twin::{CENTRES, Seen, Twin};

/// The wavelength of the maps, in nm, and the band of the other instrument that is shown beside it.
const WAVELENGTH: f64 = 1245.0;
const NIR: usize = 4;
const ZOOM: usize = 8;
const CHART_HEIGHT: i32 = 340;

/// What the figure shows.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) twin: &'a Twin,
    pub(crate) hyper: &'a Seen,
    pub(crate) multi: &'a Seen,
    pub(crate) fused: &'a Spectra<'a>,
}

impl Figure<'_> {
    /// Draws the figure into a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Drawn {
        let wavelengths = &self.twin.wavelengths_nm;
        let band = wavelengths.iter().position(|nm| *nm >= WAVELENGTH).unwrap_or(0);
        let nm = wavelengths[band];
        let time = self.time(band);
        let date = self.twin.dates[time];
        let shape = self.twin.target.shape();
        let truth = self.twin.truth.slice(s![time, band, .., ..]);
        let last = Array2::from_shape_fn(shape, |cell| self.last(time, cell).map_or(f64::NAN, |last| last[band]));
        let mean = Array2::from_shape_fn(shape, |cell| self.fused.at(time, cell).0[band]);
        let sd = self.sd(time, band);
        let (multi_index, multi_date) = newest(&self.multi.dates, date);
        let (_, hyper_date) = newest(&self.hyper.dates, date);
        let nir = self.multi.values.slice(s![multi_index, NIR, .., ..]);
        let cells = cells(&sd);

        let reflectance = Scale::of(truth.iter().chain(nir), colorous::VIRIDIS);
        let rmse = |values: &Array2<f64>| format!("RMSE {:.3}", Score::of(values, truth).rmse());
        let multi_title = format!("multispectral, {}", multi_date.format("%-d %b"));
        let hyper_title = format!("hyperspectral, {}", hyper_date.format("%-d %b"));
        let map = |title, subtitle, values| Map { title, subtitle, values, colours: reflectance, bar: None };
        let maps = MapRow {
            grid: &self.twin.target,
            zoom: ZOOM,
            maps: vec![
                map(&multi_title, format!("{} nm, 30 m", CENTRES[NIR]), nir),
                map(&hyper_title, format!("{nm} nm, 60 m, {}", rmse(&last)), last.view()),
                map("fused", format!("{nm} nm, 30 m, {}", rmse(&mean)), mean.view()),
                Map { bar: Some("reflectance"), ..map("truth", format!("{nm} nm"), truth) },
                Map::uncertainty("uncertainty", sd.view()),
            ],
            marks: vec![(cells[0], "A"), (cells[1], "B")],
        };
        let charts = cells.map(|cell| self.chart(time, multi_index, cell));
        let high = charts.iter().map(|chart| chart.span().1).fold(0.0, f64::max);
        let charts = charts.map(|chart| Chart { limits: Some((0.0, high)), ..chart });
        let days = date.days_since(hyper_date);
        let heading = format!(
            "reflectance on {date}, {days} days after the last hyperspectral image, at a wavelength between the multispectral bands"
        );
        Sheet {
            heading: &heading,
            maps,
            cells: "cells A and B:",
            charts: ["A", "B"].into_iter().zip(charts).collect(),
            chart_height: CHART_HEIGHT,
        }
        .draw(path)
    }

    /// Between the last two hyperspectral images the day on which clouds make the greatest difference to what is known.
    fn time(&self, band: usize) -> usize {
        let images = &self.hyper.dates[self.hyper.dates.len() - 2..];
        let between =
            (0..self.twin.dates.len()).filter(|time| (images[0]..images[1]).contains(&self.twin.dates[*time]));
        let spread = |time: usize| self.sd(time, band).std(0.0);
        between.max_by(|a, b| spread(*a).total_cmp(&spread(*b))).unwrap_or(0)
    }

    /// Standard deviations at a wavelength.
    fn sd(&self, time: usize, band: usize) -> Array2<f64> {
        Array2::from_shape_fn(self.twin.target.shape(), |cell| self.fused.at(time, cell).1[band])
    }

    fn last(&self, time: usize, cell: (usize, usize)) -> Option<ndarray::ArrayView1<'_, f64>> {
        last_clear(self.twin, self.hyper, time, cell)
    }

    /// The spectra of a cell.
    fn chart(&self, time: usize, multi: usize, cell: (usize, usize)) -> Chart<'static> {
        let nm = &self.twin.wavelengths_nm;
        // Lines break where water vapour hides the ground.
        let broken = |values: Vec<f64>| {
            let gap = |index: usize| index > 0 && nm[index] - nm[index - 1] > 50.0;
            let points = nm.iter().zip(values).enumerate();
            let of = |(index, (nm, value)): (usize, (&f64, f64))| {
                let before = gap(index).then_some((nm - 1.0, f64::NAN));
                before.into_iter().chain([(*nm, value)])
            };
            points.flat_map(of).collect::<Vec<_>>()
        };
        let (mean, sd) = self.fused.at(time, cell);
        let estimates = broken(mean).into_iter().zip(broken(sd)).map(|((x, mean), (_, sd))| (x, mean, sd));
        let last = self.last(time, cell).map_or_else(Vec::new, |last| last.to_vec());
        let seen = self.multi.values.slice(s![multi, .., cell.0, cell.1]);
        let truth = self.twin.truth.slice(s![time, .., cell.0, cell.1]);
        Chart {
            horizontal: Horizontal::Numbers("wavelength (nm)"),
            from_to: (nm[0] - 20.0, nm[nm.len() - 1] + 20.0),
            vertical: "reflectance",
            limits: None,
            layers: vec![
                Layer::line("last hyperspectral image", COARSE, broken(last)),
                Layer::estimate("fused, 90 % interval", FUSED, estimates),
                Layer::line("truth", INK, broken(truth.to_vec())),
                Layer::dots("last multispectral image", FINE, CENTRES.into_iter().zip(seen.to_vec())),
            ],
        }
    }
}

/// The newest of some dates that is not after `date`, with its position.
fn newest(dates: &[Date], date: Date) -> (usize, Date) {
    let index = dates.partition_point(|other| *other <= date).saturating_sub(1);
    (index, dates[index])
}

/// Two cells off the edge, of great and of little uncertainty, each in the middle of those like it.
fn cells(sd: &Array2<f64>) -> [(usize, usize); 2] {
    let (rows, cols) = sd.dim();
    let inside = (3..rows - 3).flat_map(|row| (3..cols - 6).map(move |col| (row, col)));
    let mut cells: Vec<_> = inside.collect();
    cells.sort_by(|a, b| sd[*a].total_cmp(&sd[*b]));
    [0.95, 0.2].map(|share| cells[(share * cells.len() as f64) as usize])
}
