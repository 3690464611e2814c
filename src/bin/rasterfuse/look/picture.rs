//! The picture of `rasterfuse look`: two maps with colour bars, and the series of a cell below.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use colorous::{Gradient, MAGMA, VIRIDIS};
use ndarray::Array2;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rasterfuse::export::CellValue;
use rasterfuse::geometry::Date;
use rasterfuse::ndarray;

/// Largest side of a map in pixels.
pub(super) const MAP: i32 = 600;

const MARGIN: i32 = 50;
const BAR: i32 = 22;
/// Room for the numbers of a bar.
const NUMBERS: i32 = 110;
const CHART: i32 = 380;
const FONT: i32 = 22;
/// Half width of a 90 % interval of the normal distribution, in standard deviations.
const HALF_WIDTH: f64 = 1.645;

const INK: RGBColor = RGBColor(30, 30, 30);
const MISSING: RGBColor = RGBColor(190, 190, 190);
const LINE: RGBColor = RGBColor(0, 114, 178);

type Drawn = Result<(), Box<dyn Error>>;
type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Values of a raster by colours.
pub(super) struct Map<'a> {
    pub(super) title: String,
    pub(super) values: &'a Array2<f64>,
    /// Whether colours begin at 0.
    pub(super) from_zero: bool,
}

/// What is drawn.
pub(super) struct Picture<'a> {
    pub(super) maps: [Map<'a>; 2],
    /// A value of the maps that gets a ring: (row, column).
    pub(super) mark: Option<(usize, usize)>,
    /// Title and values of a chart.
    pub(super) series: Option<(String, &'a [CellValue])>,
    /// The date of the maps, which gets a line in the chart.
    pub(super) date: Date,
}

/// Draws into a PNG file.
pub(super) fn draw(path: &Path, picture: &Picture<'_>) -> Drawn {
    // Fonts of the system may be missing; this one is part of the program.
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
    let width = 2 * (MARGIN + MAP + BAR + NUMBERS);
    let chart = if picture.series.is_some() { CHART } else { 0 };
    let maps = picture.maps.iter().map(|map| size(map.values.dim()).1).max().unwrap_or(MAP);
    let height = 2 * MARGIN + maps + chart;
    let mut rgb = vec![0; (width * height * 3) as usize];
    {
        let canvas = BitMapBackend::with_buffer(&mut rgb, (width as u32, height as u32)).into_drawing_area();
        canvas.fill(&WHITE)?;
        for (k, map) in picture.maps.iter().enumerate() {
            let left = MARGIN + k as i32 * width / 2;
            draw_map(&canvas, map, (left, MARGIN), picture.mark)?;
        }
        if let Some((title, values)) = &picture.series {
            let area = canvas.clone().shrink((0, MARGIN + maps + 20), ((width - MARGIN) as u32, CHART as u32));
            draw_series(&area, title, values, picture.date)?;
        }
        canvas.present()?;
    }
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&rgb)?;
    writer.finish()?;
    Ok(())
}

/// From and to which value colours go: all but the extreme half percents.
fn range(map: &Map<'_>) -> (f64, f64) {
    let mut sorted: Vec<f64> = map.values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let extreme = sorted.len() / 200;
    let low = if map.from_zero { 0.0 } else { sorted.get(extreme).copied().unwrap_or(0.0) };
    let high = sorted.iter().rev().nth(extreme).copied().unwrap_or(1.0);
    if high > low { (low, high) } else { (low, low + low.abs().max(1e-6)) }
}

fn colour(gradient: Gradient, share: f64) -> RGBColor {
    let (r, g, b) = gradient.eval_continuous(share.clamp(0.0, 1.0)).as_tuple();
    RGBColor(r, g, b)
}

fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), anchor: HPos) -> Drawn {
    let style = ("sans-serif", FONT).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center));
    canvas.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// Pixels per side of a value.
fn zoom((rows, cols): (usize, usize)) -> f64 {
    f64::from(MAP) / rows.max(cols) as f64
}

/// Width and height of a map.
fn size((rows, cols): (usize, usize)) -> (i32, i32) {
    let side = |values: usize| (zoom((rows, cols)) * values as f64).round().max(1.0) as i32;
    (side(cols), side(rows))
}

fn draw_map(canvas: &Canvas<'_>, map: &Map<'_>, (x, y): (i32, i32), mark: Option<(usize, usize)>) -> Drawn {
    let gradient = if map.from_zero { MAGMA } else { VIRIDIS };
    let (low, high) = range(map);
    let (zoom, (width, height)) = (zoom(map.values.dim()), size(map.values.dim()));
    for row in 0..height {
        for col in 0..width {
            let at = [(f64::from(row) / zoom) as usize, (f64::from(col) / zoom) as usize];
            let value = map.values.get(at).copied().unwrap_or(f64::NAN);
            let shade = if value.is_nan() { MISSING } else { colour(gradient, (value - low) / (high - low)) };
            canvas.draw_pixel((x + col, y + row), &shade)?;
        }
    }
    if let Some((row, col)) = mark {
        let centre = |cell: usize| ((cell as f64 + 0.5) * zoom) as i32;
        let at = (x + centre(col), y + centre(row));
        canvas.draw(&Circle::new(at, 9, WHITE.stroke_width(5)))?;
        canvas.draw(&Circle::new(at, 9, INK.stroke_width(2)))?;
    }
    text(canvas, &map.title, (x, y - MARGIN / 2), HPos::Left)?;
    // The bar, the largest value at its top.
    let left = x + width + 16;
    for row in 0..height {
        let shade = colour(gradient, 1.0 - f64::from(row) / f64::from(height.max(2) - 1));
        canvas.draw(&PathElement::new([(left, y + row), (left + BAR, y + row)], shade))?;
    }
    let ticks = 4;
    for tick in 0..=ticks {
        let share = f64::from(tick) / f64::from(ticks);
        let at = y + ((1.0 - share) * f64::from(height - 1)) as i32;
        text(canvas, &number(low + share * (high - low), high - low), (left + BAR + 8, at), HPos::Left)?;
    }
    Ok(())
}

/// A value with as many decimals as show a hundredth of a span.
fn number(value: f64, span: f64) -> String {
    let decimals = (2.0 - span.log10().ceil()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

fn draw_series(area: &Canvas<'_>, title: &str, values: &[CellValue], date: Date) -> Drawn {
    text(area, title, (MARGIN, 12), HPos::Left)?;
    let Some(first) = values.first().map(|value| value.date) else { return Ok(()) };
    let day = |date: Date| f64::from(date.days_since(first));
    let known: Vec<&CellValue> = values.iter().filter(|value| !value.mean.is_nan() && !value.sd.is_nan()).collect();
    let low = known.iter().fold(f64::INFINITY, |low, value| low.min(value.mean - HALF_WIDTH * value.sd));
    let high = known.iter().fold(f64::NEG_INFINITY, |high, value| high.max(value.mean + HALF_WIDTH * value.sd));
    if known.is_empty() {
        return text(area, "no value on any date", (MARGIN, 3 * MARGIN), HPos::Left);
    }
    let (span, last) = ((high - low).max(1e-9), values.last().map_or(1.0, |value| day(value.date)).max(1.0));
    let frame = area.clone().shrink((0, 30), (area.dim_in_pixel().0, CHART as u32 - 40));
    let mut chart = ChartBuilder::on(&frame)
        .margin_right(MARGIN)
        .y_label_area_size(NUMBERS)
        .x_label_area_size(40)
        .build_cartesian_2d(0.0..last, low - 0.05 * span..high + 0.05 * span)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(8)
        .x_label_formatter(&|days| (first + days.round() as i32).to_string())
        .y_label_formatter(&|value| number(*value, span))
        .label_style(("sans-serif", FONT).into_font().color(&INK))
        .draw()?;
    let here = [(day(date), low - 0.05 * span), (day(date), high + 0.05 * span)];
    chart.draw_series([PathElement::new(here, MISSING.stroke_width(2))])?;
    // Dates without a value break line and band.
    for run in values.split(|value| value.mean.is_nan() || value.sd.is_nan()).filter(|run| !run.is_empty()) {
        let edge = |sign: f64| move |value: &CellValue| (day(value.date), value.mean + sign * HALF_WIDTH * value.sd);
        let outline: Vec<(f64, f64)> = run.iter().map(edge(1.0)).chain(run.iter().rev().map(edge(-1.0))).collect();
        chart.draw_series([Polygon::new(outline, LINE.mix(0.22))])?;
        let line: Vec<(f64, f64)> = run.iter().map(|value| (day(value.date), value.mean)).collect();
        chart.draw_series([PathElement::new(line, LINE.stroke_width(3))])?;
    }
    Ok(())
}
