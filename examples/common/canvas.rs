//! What every picture is drawn with: a canvas, text in three sizes, colours.

use std::error::Error;
use std::path::Path;

use colorous::Gradient;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, RGBColor};
use rasterfuse::geometry::Date;

use super::png;

pub(crate) type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn Error>>;

pub(crate) const LARGE: i32 = 34;
pub(crate) const MEDIUM: i32 = 30;
pub(crate) const SMALL: i32 = 27;

pub(crate) const INK: RGBColor = RGBColor(30, 30, 30);
pub(crate) const MISSING: RGBColor = RGBColor(190, 190, 190);
/// Of what was fused, of the fine and of the coarse instrument: colours that everybody can tell apart (Okabe and Ito 2008).
pub(crate) const FUSED: RGBColor = RGBColor(0, 114, 178);
pub(crate) const FINE: RGBColor = RGBColor(213, 94, 0);
pub(crate) const COARSE: RGBColor = RGBColor(130, 130, 130);
pub(crate) const FOURTH: RGBColor = RGBColor(0, 158, 115);

/// Draws a picture into a PNG file.
pub(crate) fn picture(path: &Path, size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> Drawn {
    // Fonts of the system may be missing; this one is part of the program.
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
    let mut rgb = vec![0; size.0 as usize * size.1 as usize * 3];
    {
        let canvas = BitMapBackend::with_buffer(&mut rgb, size).into_drawing_area();
        canvas.fill(&WHITE)?;
        draw(&canvas)?;
        canvas.present()?;
    }
    png::write(path, size, &rgb)
}

/// Values from `low` to `high` as colours; outside they saturate. A bar has a number every `step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) step: f64,
    gradient: Gradient,
    /// Numbers are days since then.
    since: Option<Date>,
}

/// Colours of a scale: as many as the eye tells apart, few enough for the palette of two scales and the text.
const SHADES: f64 = 100.0;

impl Scale {
    /// Over all but the extreme half percents of the values, rounded outwards to a round number.
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a f64>, gradient: Gradient) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let extreme = sorted.len() / 200;
        let low = sorted.get(extreme).copied().unwrap_or(0.0);
        let high = sorted.iter().rev().nth(extreme).copied().unwrap_or(1.0);
        let step = round_step(high - low);
        Self::new((low / step).floor() * step, (high / step).ceil() * step, gradient)
    }

    /// From zero, for what cannot be negative.
    pub(crate) fn from_zero<'a>(values: impl IntoIterator<Item = &'a f64>, gradient: Gradient) -> Self {
        let high = Self::of(values, gradient).high;
        let step = round_step(high);
        Self::new(0.0, (high / step - 1e-6).ceil() * step, gradient)
    }

    /// From `low` to `high`.
    pub(crate) fn new(low: f64, high: f64, gradient: Gradient) -> Self {
        Self { low, high, step: round_step(high - low), gradient, since: None }
    }

    /// Writes values as the dates that they are days after.
    pub(crate) fn since(self, date: Date) -> Self {
        Self { since: Some(date), ..self }
    }

    pub(crate) fn colour(self, value: f64) -> RGBColor {
        if value.is_nan() {
            return MISSING;
        }
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let (r, g, b) = self.gradient.eval_continuous((share * SHADES).round() / SHADES).as_tuple();
        RGBColor(r, g, b)
    }

    /// A value as a bar has it.
    pub(crate) fn label(self, value: f64) -> String {
        match self.since {
            Some(date) => (date + value.round() as i32).format("%-d %b"),
            None => number(value, self.step),
        }
    }
}

/// A value with as many decimals as a step has.
pub(crate) fn number(value: f64, step: f64) -> String {
    let decimals = (-(step * 1.001).log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// The round number (1, 2 or 5 times a power of ten) that a span holds four to nine times.
pub(crate) fn round_step(span: f64) -> f64 {
    if span.is_nan() || span <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((span / 4.0).log10().floor());
    [5.0, 2.0].into_iter().find(|factor| factor * power <= span / 4.0).unwrap_or(1.0) * power
}

pub(crate) fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

pub(crate) fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Drawn {
    let style = font(size).pos(Pos::new(anchor, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Width of a text in pixels.
pub(crate) fn width_of(canvas: &Canvas<'_>, text: &str, size: i32) -> Result<i32, Box<dyn Error>> {
    Ok(canvas.estimate_text_size(text, &font(size))?.0 as i32)
}

/// Text that reads upwards, around its centre.
pub(crate) fn upright(canvas: &Canvas<'_>, text: &str, at: (i32, i32)) -> Drawn {
    let style = font(SMALL).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
    canvas.draw(&Text::new(text, at, style))?;
    Ok(())
}
