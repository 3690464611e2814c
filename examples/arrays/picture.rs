//! The figure: the product as maps, one cell as a series.

use std::path::Path;

use ndarray::Array2;
use rasterfuse::geometry::Date;
use rasterfuse::series::FusedBlock;

use crate::GreenUp;
use crate::common::canvas::{COARSE, Drawn, FINE, FUSED, INK, Scale};
use crate::common::chart::{Chart, Horizontal, Layer};
use crate::common::map::{Map, MapRow};
use crate::common::score::Score;
use crate::common::sheet::Sheet;
use crate::spring::{Seen, Spring, THRESHOLD, ndvi};

const ZOOM: usize = 6;
const CHART_HEIGHT: i32 = 300;

/// Red and nir of one cell on one day, as fused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellDay {
    date: Date,
    pub(crate) mean: [f64; 2],
    pub(crate) sd: [f64; 2],
}

impl CellDay {
    /// What a block says of a cell, if it holds it.
    pub(crate) fn of(block: &FusedBlock, (row, col): (usize, usize)) -> Option<Self> {
        let inside = block.region.rows.contains(&row) && block.region.cols.contains(&col);
        let cell = inside.then(|| (row - block.region.rows.start, col - block.region.cols.start))?;
        let of = |values: &ndarray::Array3<f64>| [0, 1].map(|band| values[(band, cell.0, cell.1)]);
        Some(Self { date: block.date, mean: of(&block.mean), sd: of(&block.uncertainty) })
    }

    pub(crate) fn days_since(&self, spring: &Spring) -> f64 {
        f64::from(self.date.days_since(spring.dates[0]))
    }

    /// The NDVI's standard deviation, to first order.
    fn ndvi_sd(&self) -> f64 {
        let [red, nir] = self.mean;
        let square = (red + nir).powi(2);
        (2.0 * nir / square * self.sd[0]).hypot(2.0 * red / square * self.sd[1])
    }
}

/// What the figure shows.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) spring: &'a Spring,
    pub(crate) fine: &'a Seen,
    pub(crate) coarse: &'a Seen,
    /// True day.
    pub(crate) truth: Array2<f64>,
    /// True day of the cells for which fused and clear images both tell one.
    pub(crate) judged: Array2<f64>,
    /// Day of the first clear image that is green.
    pub(crate) last_clear: Array2<f64>,
    pub(crate) green: &'a GreenUp,
    pub(crate) cell: (usize, usize),
    pub(crate) series: Vec<CellDay>,
    /// (day, probability of green)
    pub(crate) probabilities: Vec<(f64, f64)>,
}

impl Figure<'_> {
    /// Draws the figure into a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Drawn {
        let [_, day, _] = &self.green.days;
        let width = self.green.width();
        let days = Scale::of(&self.truth, colorous::VIRIDIS).since(self.spring.dates[0]);
        let rmse = |days: &Array2<f64>| format!("RMSE {:.1} days", Score::of(days, &self.judged).rmse());
        let map = |title, subtitle, values| Map { title, subtitle, values, colours: days, bar: None };
        let maps = MapRow {
            grid: &self.spring.target,
            zoom: ZOOM,
            maps: vec![
                map("first clear fine image", rmse(&self.last_clear), self.last_clear.view()),
                map("fused", rmse(day), day.view()),
                Map { bar: Some("first day"), ..map("truth", String::new(), self.truth.view()) },
                Map {
                    title: "probability 5 to 95 %",
                    subtitle: format!("mean {:.1} days", self.green.mean_width()),
                    values: width.view(),
                    colours: Scale::from_zero(&width, colorous::INFERNO),
                    bar: Some("days"),
                },
            ],
            marks: vec![(self.cell, "")],
        };
        Sheet {
            heading: &format!("first day with an NDVI above {THRESHOLD}, found while the series streams by"),
            maps,
            cells: "the circled cell:",
            charts: vec![("", self.ndvi()), ("", self.probability())],
            chart_height: CHART_HEIGHT,
        }
        .draw(path)
    }

    fn chart<'a>(&self, vertical: &'a str, limits: Option<(f64, f64)>, layers: Vec<Layer<'a>>) -> Chart<'a> {
        let from_to = (-0.7, self.spring.dates.len() as f64 - 0.3);
        Chart { horizontal: Horizontal::Days(self.spring.dates[0]), from_to, vertical, limits, layers }
    }

    /// The NDVI of the cell.
    fn ndvi(&self) -> Chart<'static> {
        let day = |date: Date| f64::from(date.days_since(self.spring.dates[0]));
        let seen = |seen: &Seen| {
            let dates = seen.dates.iter().enumerate();
            let points = dates.map(|(time, date)| (day(*date), ndvi(seen.at(time, self.cell))));
            points.filter(|(_, value)| !value.is_nan()).collect::<Vec<_>>()
        };
        let truth = |time: usize| ndvi([0, 1].map(|band| self.spring.truth[[time, band, self.cell.0, self.cell.1]]));
        let end = self.spring.dates.len() as f64;
        let layers = vec![
            Layer::line("", COARSE, [(-0.7, THRESHOLD), (end, THRESHOLD)]),
            Layer::marks("true day", [self.truth[self.cell]]),
            Layer::estimate(
                "fused, 90 % interval",
                FUSED,
                self.series.iter().map(|day| (day.days_since(self.spring), ndvi(day.mean), day.ndvi_sd())),
            ),
            Layer::rings("coarse pixel over it", COARSE, seen(self.coarse)),
            Layer::line("truth", INK, (0..self.spring.dates.len()).map(|time| (time as f64, truth(time)))),
            Layer::dots("fine", FINE, seen(self.fine)),
        ];
        self.chart("NDVI", None, layers)
    }

    /// The probability that the cell is green.
    fn probability(&self) -> Chart<'static> {
        let layers = vec![
            Layer::marks("true day", [self.truth[self.cell]]),
            Layer::line("probability", FUSED, self.probabilities.iter().copied()),
        ];
        self.chart("probability", Some((-0.03, 1.03)), layers)
    }
}
