//! Charts of values over days or wavelengths: lines, dots, estimates with their 90 % interval.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use rasterfuse::geometry::Date;

use super::canvas::{Canvas, Drawn, MEDIUM, MISSING, SMALL, font, number, round_step, text, upright, width_of};
use super::score::Z90;

/// Room left of the frame and below it.
pub(crate) const LEFT: i32 = 100;
pub(crate) const AXIS: i32 = 78;
const TICKS: i32 = 40;

/// What runs along the horizontal axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Horizontal<'a> {
    /// Days since a date.
    Days(Date),
    /// Numbers, with a name.
    Numbers(&'a str),
}

/// What is drawn of a layer's points. Lines break where a value is missing.
#[derive(Clone, Debug)]
enum Style {
    Line(u32),
    /// A line in a band.
    Estimate(Vec<f64>),
    Dots(i32),
    Rings(i32),
    /// A vertical line at each point.
    Marks,
}

/// Points that are drawn alike.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
    style: Style,
}

impl<'a> Layer<'a> {
    fn new(name: &'a str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>, style: Style) -> Self {
        Self { name, colour, points: points.into_iter().collect(), style }
    }

    pub(crate) fn line(name: &'a str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::new(name, colour, points, Style::Line(3))
    }

    /// Means with their 90 % interval; `estimates` are (x, mean, standard deviation).
    pub(crate) fn estimate(
        name: &'a str,
        colour: RGBColor,
        estimates: impl IntoIterator<Item = (f64, f64, f64)>,
    ) -> Self {
        let (points, sds) = estimates.into_iter().map(|(x, mean, sd)| ((x, mean), sd)).unzip();
        Self { name, colour, points, style: Style::Estimate(sds) }
    }

    pub(crate) fn dots(name: &'a str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::new(name, colour, points, Style::Dots(10))
    }

    pub(crate) fn rings(name: &'a str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::new(name, colour, points, Style::Rings(7))
    }

    /// What is seen of single points, in a large ring, so that a filled one fits in.
    pub(crate) fn targets(name: &'a str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::new(name, colour, points, Style::Rings(11))
    }

    /// Vertical lines.
    pub(crate) fn marks(name: &'a str, at: impl IntoIterator<Item = f64>) -> Self {
        Self::new(name, MISSING, at.into_iter().map(|x| (x, f64::NAN)), Style::Marks)
    }

    /// Runs of points without a gap, by their positions.
    fn runs(&self) -> Vec<std::ops::Range<usize>> {
        let mut runs = Vec::new();
        let mut first = 0;
        for (index, (_, value)) in self.points.iter().enumerate() {
            if value.is_nan() {
                runs.push(first..index);
                first = index + 1;
            }
        }
        runs.push(first..self.points.len());
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// Half the height of the band at each point.
    fn reach(&self, index: usize) -> f64 {
        if let Style::Estimate(sds) = &self.style { Z90 * sds[index] } else { 0.0 }
    }

    /// The lowest and highest values drawn.
    fn span(&self) -> (f64, f64) {
        let ends = self.points.iter().enumerate().map(|(index, (_, value))| (*value, self.reach(index)));
        ends.filter(|(value, _)| !value.is_nan())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (value, reach)| {
                (low.min(value - reach), high.max(value + reach))
            })
    }
}

/// A frame with axes and layers, the first ones below the later ones.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) horizontal: Horizontal<'a>,
    /// First and last value of the horizontal axis.
    pub(crate) from_to: (f64, f64),
    /// Name of the vertical axis.
    pub(crate) vertical: &'a str,
    /// Lowest and highest value; the layers' own if none.
    pub(crate) limits: Option<(f64, f64)>,
    pub(crate) layers: Vec<Layer<'a>>,
}

impl Chart<'_> {
    /// The lowest and highest values of all layers, with a margin.
    pub(crate) fn span(&self) -> (f64, f64) {
        let spans = self.layers.iter().map(Layer::span);
        let (low, high) =
            spans.fold((f64::INFINITY, f64::NEG_INFINITY), |span, (low, high)| (span.0.min(low), span.1.max(high)));
        let margin = 0.06 * (high - low);
        (low - margin, high + margin)
    }

    /// Draws the frame, of width and height `size`, with its upper left corner at `(x, y)`; numbers and names of the axes are
    /// left of it ([`LEFT`]) and below ([`AXIS`]).
    pub(crate) fn draw(&self, canvas: &Canvas<'_>, (x, y): (i32, i32), size: (i32, i32)) -> Drawn {
        let (low, high) = self.limits.unwrap_or_else(|| self.span());
        let area = canvas.clone().shrink((x - LEFT, y), ((size.0 + LEFT) as u32, (size.1 + TICKS) as u32));
        let mut chart = ChartBuilder::on(&area)
            .y_label_area_size(LEFT)
            .x_label_area_size(TICKS)
            .build_cartesian_2d(self.from_to.0..self.from_to.1, low..high)?;
        let step = round_step(high - low);
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels((size.0 / 170) as usize)
            .x_label_formatter(&|value| match self.horizontal {
                Horizontal::Days(first) => (first + value.round() as i32).format("%-d %b"),
                Horizontal::Numbers(_) => format!("{value:.0}"),
            })
            .y_labels((size.1 / 60) as usize)
            .y_label_formatter(&|value| number(*value, step))
            .label_style(font(SMALL))
            .draw()?;
        for layer in &self.layers {
            let colour = layer.colour;
            let points = || layer.points.iter().copied().filter(|(_, value)| !value.is_nan());
            for run in layer.runs() {
                if let Style::Estimate(_) = &layer.style {
                    let edge = |sign: f64| {
                        move |index| {
                            let (x, mean) = layer.points[index];
                            (x, (mean + sign * layer.reach(index)).clamp(low, high))
                        }
                    };
                    let outline: Vec<_> = run.clone().map(edge(1.0)).chain(run.clone().rev().map(edge(-1.0))).collect();
                    chart.draw_series([Polygon::new(outline, colour.mix(0.22))])?;
                }
                let width = match &layer.style {
                    Style::Line(width) => *width,
                    Style::Estimate(_) => 4,
                    _ => continue,
                };
                chart.draw_series([PathElement::new(&layer.points[run], colour.stroke_width(width))])?;
            }
            match layer.style {
                Style::Dots(size) => {
                    chart.draw_series(points().map(|point| Circle::new(point, size, colour.filled())))?;
                }
                Style::Rings(size) => {
                    chart.draw_series(points().map(|point| Circle::new(point, size, colour.stroke_width(3))))?;
                }
                Style::Marks => {
                    let line = |(x, _): &(f64, f64)| PathElement::new([(*x, low), (*x, high)], colour.stroke_width(3));
                    chart.draw_series(layer.points.iter().map(line))?;
                }
                Style::Line(_) | Style::Estimate(_) => {}
            }
        }
        upright(canvas, self.vertical, (x - 84, y + size.1 / 2))?;
        if let Horizontal::Numbers(name) = self.horizontal {
            text(canvas, name, (x + size.0 / 2, y + size.1 + TICKS + 18), SMALL, HPos::Center)?;
        }
        Ok(())
    }

    /// Says what is what, in a line from `(x, y)` on, after a title.
    pub(crate) fn legend(&self, canvas: &Canvas<'_>, title: &str, (mut x, y): (i32, i32)) -> Drawn {
        if !title.is_empty() {
            text(canvas, title, (x, y), MEDIUM, HPos::Left)?;
            x += width_of(canvas, title, MEDIUM)? + 50;
        }
        for layer in self.layers.iter().filter(|layer| !layer.name.is_empty()) {
            let colour = layer.colour;
            let line = |width| PathElement::new([(x, y), (x + 46, y)], colour.stroke_width(width));
            match layer.style {
                Style::Line(width) => canvas.draw(&line(width))?,
                Style::Estimate(_) => {
                    canvas.draw(&Rectangle::new([(x, y - 13), (x + 46, y + 13)], colour.mix(0.22).filled()))?;
                    canvas.draw(&line(4))?;
                }
                Style::Dots(size) => canvas.draw(&Circle::new((x + 32, y), size, colour.filled()))?,
                Style::Rings(size) => canvas.draw(&Circle::new((x + 32, y), size, colour.stroke_width(3)))?,
                Style::Marks => {
                    canvas.draw(&PathElement::new([(x + 32, y - 16), (x + 32, y + 16)], colour.stroke_width(3)))?;
                }
            }
            text(canvas, layer.name, (x + 58, y), SMALL, HPos::Left)?;
            x += 58 + width_of(canvas, layer.name, SMALL)? + 40;
        }
        Ok(())
    }
}
