//! The figures: maps of the last day, series of one cell.

use std::path::Path;

use ndarray::{Array2, Array3, Axis, s};
use plotters::style::text_anchor::HPos;
use rasterfuse::geometry::Date;

use crate::common::canvas::{Drawn, FINE, FUSED, INK, LARGE, MEDIUM, SMALL, Scale, picture, text};
use crate::common::chart::{self, Chart, Horizontal, Layer};
use crate::common::map::{self, Map, MapRow};
use crate::common::score::Score;
use crate::scene::{Scene, Seen};
use crate::{Fused, Settings};

const ZOOM: usize = 7;
const TOP: i32 = 60;

/// The last day's layer of a series.
fn last(series: &Array3<f64>) -> Array2<f64> {
    series.index_axis(Axis(0), series.dim().0 - 1).to_owned()
}

/// Of changes, as far below zero as above.
fn both_ways(values: &Array2<f64>) -> Scale {
    let all = Scale::of(values, colorous::PURPLE_ORANGE);
    let most = all.high.max(-all.low);
    Scale::new(-most, most, colorous::PURPLE_ORANGE)
}

/// How far the change of fields reaches under clouds.
pub(crate) fn range(path: &Path, scene: &Scene, seen: &Seen, fused: &[Fused]) -> Drawn {
    let image = scene.since_first(&last(&seen.values));
    let truth = scene.change();
    let means: Vec<_> = fused.iter().map(|fused| scene.since_first(&last(&fused.mean))).collect();
    let sds: Vec<_> = fused.iter().map(|fused| last(&fused.sd)).collect();
    let titles: Vec<_> = fused.iter().map(|fused| format!("range {:.0} m", fused.settings.range)).collect();
    let colours = both_ways(&truth);
    let rmse = |values: &Array2<f64>| format!("RMSE {:.3}", Score::of(values, &truth).rmse());
    let map = |title, subtitle, values| Map { title, subtitle, values, colours, bar: None };
    let mut changes = vec![map("seen", String::new(), image.view())];
    changes.extend(titles.iter().zip(&means).map(|(title, mean)| map(title, rmse(mean), mean.view())));
    changes.push(Map { bar: Some("change"), ..map("truth", String::new(), truth.view()) });
    let changes = row(scene, changes);
    let uncertainty = Scale::from_zero(sds.iter().flatten(), colorous::INFERNO);
    let inside = |fused: &Fused| format!("{:.0} % in the interval", 100.0 * fused.last.coverage());
    let sds = sds.iter().zip(fused).map(|(sd, fused)| Map {
        title: "",
        subtitle: inside(fused),
        values: sd.view(),
        colours: uncertainty,
        bar: None,
    });
    let mut sds: Vec<_> = sds.collect();
    if let Some(last) = sds.last_mut() {
        last.bar = Some("standard deviation");
    }
    let sds = row(scene, sds);
    let second = TOP + changes.height() - 26;
    let size = (changes.width() as u32 + 10, (second + sds.height()) as u32);
    picture(path, size, |canvas| {
        let days = scene.dates.len() - 1;
        let heading =
            format!("change in {days} days under clouds (grey), and its uncertainty: three ranges of the process");
        text(canvas, &heading, (map::LEFT, 34), LARGE, HPos::Left)?;
        changes.draw(canvas, (0, TOP))?;
        sds.draw(canvas, (changes.left_of(1) - map::LEFT, second))
    })
}

/// What a window that does not look around loses.
pub(crate) fn halo(path: &Path, scene: &Scene, fused: &[Fused]) -> Drawn {
    let Some((widest, narrow)) = fused.split_last() else { return Ok(()) };
    let truth = scene.change();
    let means: Vec<_> = fused.iter().map(|fused| scene.since_first(&last(&fused.mean))).collect();
    let titles: Vec<_> = fused.iter().map(|fused| format!("halo {}", fused.settings.halo)).collect();
    let colours = both_ways(&truth);
    let rmse = |values: &Array2<f64>| format!("RMSE {:.4}", Score::of(values, &truth).rmse());
    let map = |title, subtitle, values, colours| Map { title, subtitle, values, colours, bar: None };
    let mut changes: Vec<_> =
        titles.iter().zip(&means).map(|(title, mean)| map(title.as_str(), rmse(mean), mean.view(), colours)).collect();
    changes.push(Map { bar: Some("change"), ..map("truth", String::new(), truth.view(), colours) });
    let changes = row(scene, changes);
    let differences: Vec<_> = narrow.iter().map(|fused| last(&fused.mean) - last(&widest.mean)).collect();
    let colours = differences.first().map_or(colours, both_ways);
    let off = |difference: &Array2<f64>| {
        let mean = Score::of(difference, &Array2::zeros(difference.dim())).rmse();
        format!("off by {mean:.4}")
    };
    let mut differences: Vec<_> =
        differences.iter().map(|difference| map("", off(difference), difference.view(), colours)).collect();
    if let Some(last) = differences.last_mut() {
        last.bar = Some("difference");
    }
    let differences = row(scene, differences);
    let second = TOP + changes.height() - 26;
    let size = (changes.width() as u32 + 10, (second + differences.height()) as u32);
    picture(path, size, |canvas| {
        let widest = widest.settings.halo;
        let heading = format!(
            "change seen by coarse pixels of 8 cells, in windows of 4 cells with halos; below, the difference to halo {widest}"
        );
        text(canvas, &heading, (map::LEFT, 34), LARGE, HPos::Left)?;
        changes.draw(canvas, (0, TOP))?;
        differences.draw(canvas, (0, second))
    })
}

fn row<'a>(scene: &'a Scene, maps: Vec<Map<'a>>) -> MapRow<'a> {
    MapRow { grid: &scene.target, zoom: ZOOM, maps, marks: Vec::new() }
}

/// One cell through time, with each setting.
pub(crate) fn series(
    path: &Path,
    scene: &Scene,
    seen: &Seen,
    fused: &[Fused],
    name: impl Fn(&Settings) -> String,
) -> Drawn {
    let cell = often_seen(seen);
    let day = |date: Date| f64::from(date.days_since(scene.dates[0]));
    let of = |series: &Array3<f64>| series.slice(s![.., cell.0, cell.1]).to_vec();
    let days = || scene.dates.iter().map(|date| day(*date));
    let observed = seen.dates.iter().map(|date| day(*date)).zip(of(&seen.values));
    let observed: Vec<_> = observed.filter(|(_, value)| !value.is_nan()).collect();
    let chart = |fused: &Fused| Chart {
        horizontal: Horizontal::Days(scene.dates[0]),
        from_to: (-0.7, scene.dates.len() as f64 - 0.3),
        vertical: "value",
        limits: None,
        layers: vec![
            Layer::estimate(
                "fused, 90 % interval",
                FUSED,
                days().zip(of(&fused.mean)).zip(of(&fused.sd)).map(|((x, mean), sd)| (x, mean, sd)),
            ),
            Layer::line("truth", INK, days().zip(of(&scene.truth))),
            Layer::dots("seen", FINE, observed.clone()),
        ],
    };
    let charts: Vec<_> = fused.iter().map(chart).collect();
    let spans = charts.iter().map(Chart::span);
    let limits = spans.fold((f64::INFINITY, f64::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (width, height, gap, top) = (560, 330, 130, 170);
    let count = charts.len() as i32;
    let size = (chart::LEFT + count * width + (count - 1) * gap + 40, top + height + chart::AXIS - 25);
    picture(path, (size.0 as u32, size.1 as u32), |canvas| {
        charts[0].legend(canvas, "one cell:", (chart::LEFT, 36))?;
        for (index, (chart, fused)) in charts.into_iter().zip(fused).enumerate() {
            let left = chart::LEFT + index as i32 * (width + gap);
            let (rmse, inside) = (fused.all.rmse(), 100.0 * fused.all.coverage());
            let worth = format!("all cells: RMSE {rmse:.3}, {inside:.0} % in the interval");
            text(canvas, &name(&fused.settings), (left + width / 2, top - 66), MEDIUM, HPos::Center)?;
            text(canvas, &worth, (left + width / 2, top - 28), SMALL, HPos::Center)?;
            Chart { limits: Some(limits), ..chart }.draw(canvas, (left, top), (width, height))?;
        }
        Ok(())
    })
}

/// Near the centre, a cell that clouds hide as rarely as any.
fn often_seen(seen: &Seen) -> (usize, usize) {
    let (_, rows, cols) = seen.values.dim();
    let times =
        |(row, col): (usize, usize)| seen.values.slice(s![.., row, col]).iter().filter(|value| !value.is_nan()).count();
    let inside = (rows / 4..rows * 3 / 4).flat_map(|row| (cols / 4..cols * 3 / 4).map(move |col| (row, col)));
    let far = |(row, col): (usize, usize)| (2 * row).abs_diff(rows).pow(2) + (2 * col).abs_diff(cols).pow(2);
    inside.max_by_key(|cell| (times(*cell), usize::MAX - far(*cell))).unwrap_or((rows / 2, cols / 2))
}
