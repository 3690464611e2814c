//! [`DaySource`]: composites of which each pixel is of a day of its own, as dates of single days.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ndarray::{Array3, Axis, Zip};

use super::{Losses, RasterSource, Slice, check_request, same_crs};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};

/// Most days of a window: a day of the year occurs once in it.
const MOST_DAYS: usize = 366;

/// What the numbers of a layer of days mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DayFormat {
    /// Days of the year, 1 January is 1. In a window over the turn of the year they begin again.
    DayOfYear,
    /// Days since the date of the composite, which is 0.
    Offset,
}

impl DayFormat {
    /// The number of `date` in a composite of `start`; `None` for a day that no calendar has.
    fn number(self, start: Date, date: Date) -> Option<i32> {
        match self {
            Self::DayOfYear => date.day_of_year(),
            Self::Offset => Some(date.days_since(start)),
        }
    }

    /// Its name in TOML.
    fn name(self) -> &'static str {
        match self {
            Self::DayOfYear => "doy",
            Self::Offset => "offset",
        }
    }
}

/// Composites that pick one day for each pixel, such as MOD09A1, with the layer of these days. Its dates are all days
/// of the composites' windows; on each of them it holds the pixels of that day, and NaN elsewhere.
///
/// A composite of a date covers that day and those after it. Where two composites hold a pixel on the same day, the
/// later one counts, unless its value is missing. A pixel without a day, or of a day outside the window, is missing;
/// [`notes`](RasterSource::notes) say how many of the latter there were.
///
/// Nothing is kept from date to date: the layer is read once for every day of a window, and values on the days that
/// the region has pixels of.
///
/// ```
/// use std::sync::Arc;
/// use ndarray::Array4;
/// use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
/// use rasterfuse::source::{DayFormat, DaySource, MemorySource, RasterSource};
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 500.0, 0.0, 0.0, 0.0, -500.0], (1, 2))?;
/// let start = Date::from_ymd(2023, 12, 27)?; // day 361
/// let held = |band: &str, values: Vec<f64>| {
///     let values = Array4::from_shape_vec((1, 1, 1, 2), values).expect("two pixels");
///     MemorySource::new(grid.clone(), vec![start], vec![band.into()], values)
/// };
/// let (values, days) = (held("red", vec![0.1, 0.2])?, held("day", vec![362.0, 1.0])?);
/// let source = DaySource::new(Arc::new(values), Arc::new(days), DayFormat::DayOfYear, Some(8))?;
/// assert_eq!(source.dates().len(), 8);
/// let new_year = source.read(Date::from_ymd(2024, 1, 1)?, &[0], &PixelRegion::new(0..1, 0..2))?.values;
/// assert!(new_year[(0, 0, 0)].is_nan() && new_year[(0, 0, 1)] == 0.2);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct DaySource {
    values: Arc<dyn RasterSource>,
    layer: Arc<dyn RasterSource>,
    format: DayFormat,
    /// Length of every window, where it is given.
    days: Option<usize>,
    /// By their first days.
    windows: Vec<Window>,
    /// Days of the longest window.
    longest: i32,
    dates: Vec<Date>,
    seen: Seen,
}

/// The days of a composite.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Date,
    days: i32,
}

impl Window {
    fn dates(self) -> impl Iterator<Item = Date> {
        (0..self.days).map(move |k| self.start + k)
    }
}

/// Pixels whose day was read, and those of a day outside their window with the first of these.
#[derive(Debug, Default)]
struct Seen {
    all: AtomicU64,
    outside: AtomicU64,
    example: OnceLock<(Date, f64)>,
}

impl DaySource {
    /// Most days of a window whose length is not given.
    pub const USUAL_DAYS: usize = 16;

    /// The pixels of `values` on the days that `layer` gives. Windows have so many days, or, where `None`, end at the
    /// next date, after 16 days at the latest; the last one is as long as that before it.
    ///
    /// # Errors
    /// [`Error::Setting`] when the layer has several bands, another grid or other dates, or for a length that is not 1
    /// to 366 days.
    pub fn new(
        values: Arc<dyn RasterSource>,
        layer: Arc<dyn RasterSource>,
        format: DayFormat,
        days: Option<usize>,
    ) -> Result<Self> {
        if let Some(days) = days.filter(|days| !(1..=MOST_DAYS).contains(days)) {
            return Err(Error::setting("day.days", format!("{days} must be from 1 to {MOST_DAYS}")));
        }
        belong_together(values.as_ref(), layer.as_ref())?;
        let windows = windows(values.dates(), days);
        let mut dates: Vec<Date> = windows.iter().flat_map(|window| window.dates()).collect();
        dates.sort_unstable();
        dates.dedup();
        let longest = windows.iter().map(|window| window.days).max().unwrap_or(0);
        Ok(Self { values, layer, format, days, windows, longest, dates, seen: Seen::default() })
    }

    /// The composites whose windows hold a date, the latest one last.
    fn holding(&self, date: Date) -> impl DoubleEndedIterator<Item = Window> {
        let from = self.windows.partition_point(|window| window.start + self.longest <= date);
        let until = self.windows.partition_point(|window| window.start <= date);
        let near = &self.windows[from.min(until)..until];
        near.iter().copied().filter(move |window| date < window.start + window.days)
    }

    /// Counts days outside the window. It is called on its first day only, so that no pixel counts for every day.
    fn count(&self, window: Window, numbers: &Array3<f64>) {
        let within: Vec<i32> = window.dates().filter_map(|date| self.format.number(window.start, date)).collect();
        let (mut all, mut outside) = (0, 0);
        for number in numbers.iter().filter(|number| !number.is_nan()) {
            all += 1;
            if !within.iter().any(|day| is_day(*number, *day)) {
                outside += 1;
                let _ = self.seen.example.set((window.start, *number));
            }
        }
        self.seen.all.fetch_add(all, Ordering::Relaxed);
        self.seen.outside.fetch_add(outside, Ordering::Relaxed);
    }
}

/// Whether a number of the layer is this day; a fraction is a time of day.
fn is_day(number: f64, day: i32) -> bool {
    number.floor() == f64::from(day)
}

/// Refuses a layer that does not lie on the values.
fn belong_together(values: &dyn RasterSource, layer: &dyn RasterSource) -> Result<()> {
    let refuse = |problem: String| Err(Error::setting("day", problem));
    if layer.bands().len() != 1 {
        return refuse(format!("the layer of days is one band, but {} has {:?}", layer.origin(), layer.bands()));
    }
    let same_place = |a: &Grid, b: &Grid| {
        a.geotransform() == b.geotransform() && a.shape() == b.shape() && same_crs(a.crs(), b.crs())
    };
    if !same_place(values.grid(), layer.grid()) {
        let text = |grid: &Grid| format!("{:?} pixels at {:?}", grid.shape(), grid.geotransform());
        let (of_layer, of_values) = (text(layer.grid()), text(values.grid()));
        return refuse(format!(
            "the layer of days has another grid than the values: {of_layer}, the values {of_values}; give files whose \
             bands have the same pixels"
        ));
    }
    let (dates, others) = (values.dates(), layer.dates());
    if dates != others {
        let alone = |a: &[Date], b: &[Date]| a.iter().find(|date| b.binary_search(date).is_err()).copied();
        let what = match (alone(dates, others), alone(others, dates)) {
            (Some(date), _) => format!("{date} has values and no layer of days"),
            (None, Some(date)) => format!("{date} has a layer of days and no values"),
            (None, None) => "their dates differ".into(),
        };
        return refuse(format!("{what}; give both for every date"));
    }
    Ok(())
}

fn windows(starts: &[Date], days: Option<usize>) -> Vec<Window> {
    let mut last = DaySource::USUAL_DAYS as i32;
    let length = |k: usize| {
        if let Some(days) = days {
            return days as i32;
        }
        if let Some(next) = starts.get(k + 1) {
            last = next.days_since(starts[k]).min(DaySource::USUAL_DAYS as i32);
        }
        last
    };
    starts.iter().copied().zip((0..starts.len()).map(length)).map(|(start, days)| Window { start, days }).collect()
}

impl RasterSource for DaySource {
    fn grid(&self) -> &Grid {
        self.values.grid()
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        self.values.bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        check_request(self, date, bands, region)?;
        let (rows, cols) = region.shape();
        let missing = || Array3::from_elem((bands.len(), rows, cols), f64::NAN);
        let mut slice = Slice::new(date, region.clone(), missing());
        slice.noise_variance = self.knows_noise().then(missing);
        for window in self.holding(date) {
            let numbers = self.layer.read(window.start, &[0], region)?.values;
            if date == window.start {
                self.count(window, &numbers);
            }
            let Some(day) = self.format.number(window.start, date) else { continue };
            if !numbers.iter().any(|number| is_day(*number, day)) {
                continue;
            }
            let held = self.values.read(window.start, bands, region)?;
            let numbers = numbers.index_axis(Axis(0), 0);
            // Noise first: it goes with the values that replace.
            if let (Some(out), Some(noise)) = (&mut slice.noise_variance, &held.noise_variance) {
                for ((mut out, noise), values) in
                    out.outer_iter_mut().zip(noise.outer_iter()).zip(held.values.outer_iter())
                {
                    Zip::from(&mut out).and(&noise).and(&values).and(&numbers).for_each(|out, noise, value, number| {
                        if is_day(*number, day) && !value.is_nan() {
                            *out = *noise;
                        }
                    });
                }
            }
            for (mut out, values) in slice.values.outer_iter_mut().zip(held.values.outer_iter()) {
                Zip::from(&mut out).and(&values).and(&numbers).for_each(|out, value, number| {
                    if is_day(*number, day) && !value.is_nan() {
                        *out = *value;
                    }
                });
            }
        }
        Ok(slice)
    }

    fn knows_noise(&self) -> bool {
        self.values.knows_noise()
    }

    fn origin(&self) -> String {
        self.values.origin()
    }

    fn path_of(&self, date: Date) -> Option<PathBuf> {
        self.holding(date).next_back().and_then(|window| self.values.path_of(window.start))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let days = self.days.map_or("to the next date".into(), |days| format!("{days} days"));
        let mut settings = self.values.settings();
        settings.push(("day".into(), format!("{}, {days}", self.format.name())));
        settings.extend(self.layer.settings().into_iter().map(|(key, value)| (format!("day.{key}"), value)));
        settings
    }

    fn warnings(&self) -> Vec<String> {
        let of_layer = self.layer.warnings().into_iter().map(|warning| format!("layer of days: {warning}"));
        self.values.warnings().into_iter().chain(of_layer).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.values.notes();
        let (all, outside) = (self.seen.all.load(Ordering::Relaxed), self.seen.outside.load(Ordering::Relaxed));
        if let Some((start, number)) = self.seen.example.get() {
            notes.push(format!(
                "of {all} days read from the layer of days {outside} are outside the window of their composite, such as \
                 {number} on {start}; these pixels are missing: check `day.format`, `day.days` and `day.nodata`"
            ));
        }
        notes
    }

    fn coverage(&self) -> Option<f64> {
        self.values.coverage()
    }

    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        let read = self.read(date, &[band], region)?.values;
        let left = read.iter().filter(|value| !value.is_nan()).count() as u64;
        let Some(window) = self.holding(date).next_back() else {
            return Ok(Losses { left, nodata: read.len() as u64 - left, ..Losses::default() });
        };
        // What the composite loses itself, it loses on every day.
        let of_composite = self.values.losses(window.start, band, region)?;
        Ok(Losses { left, day: of_composite.left.saturating_sub(left), ..of_composite })
    }

    fn reads_in_flight(&self) -> Option<usize> {
        self.values.reads_in_flight().max(self.layer.reads_in_flight())
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.values.block_shape()
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.values.handle_bytes(readers).saturating_add(self.layer.handle_bytes(readers))
    }

    fn scratch_bytes(&self, bands: usize, shape: (u64, u64)) -> u64 {
        let plane = shape.0.saturating_mul(shape.1).saturating_mul(size_of::<f64>() as u64);
        // Days, and the composite's values with their noise, which are still there when the slice is filled.
        let planes = 1 + bands as u64 * if self.knows_noise() { 2 } else { 1 };
        let within = self.values.scratch_bytes(bands, shape).max(self.layer.scratch_bytes(1, shape));
        within.saturating_add(plane.saturating_mul(planes))
    }

    fn shared_cache_bytes(&self) -> u64 {
        self.values.shared_cache_bytes().max(self.layer.shared_cache_bytes())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::geometry::Crs;
    use crate::source::MemorySource;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn held(dates: &[&str], rows: &[[f64; 3]]) -> MemorySource {
        let grid = Grid::new(Crs::unknown(), [0.0, 500.0, 0.0, 0.0, 0.0, -500.0], (1, 3)).unwrap();
        let values = Array4::from_shape_fn((rows.len(), 1, 1, 3), |(t, _, _, col)| rows[t][col]);
        MemorySource::new(grid, dates.iter().map(|text| date(text)).collect(), vec!["red".into()], values).unwrap()
    }

    fn source(values: MemorySource, layer: MemorySource, format: DayFormat, days: Option<usize>) -> Result<DaySource> {
        DaySource::new(Arc::new(values), Arc::new(layer), format, days)
    }

    fn on(source: &DaySource, day: &str) -> Vec<String> {
        let slice = source.read(date(day), &[0], &PixelRegion::new(0..1, 0..3)).unwrap();
        slice.values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_pixel_is_of_its_day_over_the_turn_of_the_year() {
        let values = held(&["2023-12-27", "2024-01-01"], &[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]);
        // Days 361 and 1 and none; 3, 8 and 9, which is outside.
        let layer = held(&["2023-12-27", "2024-01-01"], &[[361.0, 1.0, f64::NAN], [3.0, 8.0, 9.0]]);
        let source = source(values, layer, DayFormat::DayOfYear, Some(8)).unwrap();
        assert_eq!(source.dates(), (0..13).map(|k| date("2023-12-27") + k).collect::<Vec<_>>());
        let expected = [
            ("2023-12-27", ["0.1", "NaN", "NaN"]),
            ("2023-12-28", ["NaN", "NaN", "NaN"]),
            ("2024-01-01", ["NaN", "0.2", "NaN"]),
            ("2024-01-03", ["0.4", "NaN", "NaN"]),
            ("2024-01-08", ["NaN", "0.5", "NaN"]),
        ];
        assert!(source.notes().is_empty());
        for (day, values) in expected {
            assert_eq!(on(&source, day), values, "{day}");
        }
        let notes = source.notes();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("of 5 days") && notes[0].contains(" 1 are outside"), "{notes:?}");
        assert!(notes[0].contains("9 on 2024-01-01"), "{notes:?}");
    }

    #[test]
    fn of_two_composites_the_later_one_counts_where_it_has_a_value() {
        let dates = ["2024-05-01", "2024-05-05"];
        let values = held(&dates, &[[0.1, 0.2, 0.3], [0.4, f64::NAN, 0.6]]);
        let layer = held(&dates, &[[6.0, 6.0, 6.0], [2.0, 2.0, 3.0]]);
        let source = source(values, layer, DayFormat::Offset, Some(8)).unwrap();
        assert_eq!(on(&source, "2024-05-07"), ["0.4", "0.2", "0.3"]);
        assert_eq!(on(&source, "2024-05-08"), ["NaN", "NaN", "0.6"]);
    }

    #[test]
    fn noise_goes_with_the_values() {
        let noise = Array4::from_shape_fn((1, 1, 1, 3), |(.., col)| 1.0 + col as f64);
        let values = held(&["2024-05-01"], &[[0.1, 0.2, f64::NAN]]).with_noise_variance(noise).unwrap();
        let source = source(values, held(&["2024-05-01"], &[[1.0, 2.5, 2.0]]), DayFormat::Offset, None).unwrap();
        let slice = source.read(date("2024-05-03"), &[0], &PixelRegion::new(0..1, 0..3)).unwrap();
        let noise: Vec<f64> = slice.noise_variance.unwrap().into_iter().collect();
        assert!(noise[0].is_nan() && noise[1] == 2.0 && noise[2].is_nan(), "{noise:?}");
        assert_eq!(source.dates().len(), 16);
    }

    #[test]
    fn windows_end_at_the_next_date_unless_their_length_is_given() {
        let starts = ["2024-01-01", "2024-01-09", "2024-03-01", "2024-03-05"].map(date);
        let lengths = |days| windows(&starts, days).iter().map(|window| window.days).collect::<Vec<_>>();
        assert_eq!(lengths(None), [8, 16, 4, 4]);
        assert_eq!(lengths(Some(10)), [10, 10, 10, 10]);
    }

    #[test]
    fn losses_tell_other_days_from_what_the_composite_lacks() {
        let values = held(&["2024-05-01"], &[[0.1, 0.2, f64::NAN]]);
        let source = source(values, held(&["2024-05-01"], &[[0.0, 1.0, 0.0]]), DayFormat::Offset, Some(2)).unwrap();
        let losses = source.losses(date("2024-05-01"), 0, &PixelRegion::new(0..1, 0..3)).unwrap();
        assert_eq!((losses.left, losses.day, losses.nodata, losses.all()), (1, 1, 1, 3));
    }

    #[test]
    fn a_layer_that_does_not_lie_on_the_values_is_refused() {
        let one = || held(&["2024-05-01"], &[[0.0; 3]]);
        let refused = |layer: MemorySource, days: Option<usize>| {
            source(one(), layer, DayFormat::Offset, days).unwrap_err().to_string()
        };
        let says = |message: String, words: &[&str]| {
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        let other = held(&["2024-05-01", "2024-05-09"], &[[0.0; 3], [0.0; 3]]);
        says(refused(other, None), &["2024-05-09", "no values"]);
        let grid = Grid::new(Crs::unknown(), [0.0, 250.0, 0.0, 0.0, 0.0, -250.0], (1, 3)).unwrap();
        let finer = |bands: &[&str], grid: Grid| {
            let values = Array4::zeros((1, bands.len(), 1, 3));
            let names = bands.iter().map(ToString::to_string).collect();
            MemorySource::new(grid, vec![date("2024-05-01")], names, values).unwrap()
        };
        says(refused(finer(&["day"], grid), None), &["another grid", "250"]);
        says(refused(finer(&["day", "red"], one().grid().clone()), None), &["one band", "red"]);
        says(refused(one(), Some(0)), &["day.days", "1 to 366"]);
        says(refused(one(), Some(367)), &["day.days", "367"]);
    }
}
