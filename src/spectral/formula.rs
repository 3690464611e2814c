//! Functions of bands, and their uncertainty to first order.
//!
//! An expression becomes steps in postfix order. Each step carries the value and its derivatives by the bands along
//! (forward differentiation), so that one pass gives both, and every divisor with its own standard deviation.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::pairs::pair;
use parse::Token;

/// What a quantity that must not be zero is compared with: so many of its own standard deviations.
const FROM_ZERO: f64 = 3.0;

/// A function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sqrt,
    Exp,
    Ln,
    Log10,
    Tanh,
}

impl Function {
    const ALL: [(&'static str, Self); 5] =
        [("sqrt", Self::Sqrt), ("exp", Self::Exp), ("ln", Self::Ln), ("log10", Self::Log10), ("tanh", Self::Tanh)];

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(own, _)| *own == name).map(|(_, function)| *function);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is no function; there are {}, and multiplication is written with *", names.join(", "))
        })
    }

    /// Value and derivative.
    fn of(self, x: f64) -> (f64, f64) {
        match self {
            Self::Sqrt => (x.sqrt(), 0.5 / x.sqrt()),
            Self::Exp => (x.exp(), x.exp()),
            Self::Ln => (x.ln(), x.recip()),
            Self::Log10 => (x.log10(), (x * std::f64::consts::LN_10).recip()),
            Self::Tanh => (x.tanh(), 1.0 - x.tanh() * x.tanh()),
        }
    }

    /// Whether its derivative has no bound at zero.
    fn is_singular(self) -> bool {
        matches!(self, Self::Sqrt | Self::Ln | Self::Log10)
    }
}

/// A step of an evaluation, in postfix order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Number(f64),
    /// By position among the formula's own bands.
    Band(usize),
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Apply(Function),
}

/// A function of bands.
#[derive(Clone, Debug)]
pub(crate) struct Formula {
    steps: Vec<Step>,
    /// The bands in it, by position among all bands, in order.
    bands: Vec<usize>,
    /// Most values that are held at once.
    depth: usize,
}

impl Formula {
    /// Reads an expression of the bands of these names. The error says what is wrong with it.
    pub(crate) fn new(text: &str, names: &[String]) -> Result<Self, String> {
        let tokens = parse::tokens(text)?;
        let position = |name: &String| {
            let unknown = || format!("{name:?} is no band; the bands are {names:?}");
            names.iter().position(|own| own == name).ok_or_else(unknown)
        };
        let steps = tokens.iter().map(|token| match token {
            Token::Step(step) => Ok(*step),
            Token::Band(name) => position(name).map(Step::Band),
            Token::Function(name) => Function::named(name).map(Step::Apply),
        });
        let mut steps: Vec<Step> = steps.collect::<Result<_, String>>()?;
        let used = steps.iter().filter_map(|step| if let Step::Band(band) = step { Some(*band) } else { None });
        let bands: Vec<usize> = used.collect::<BTreeSet<_>>().into_iter().collect();
        if bands.is_empty() {
            return Err(format!("holds no band; the bands are {names:?}"));
        }
        let (mut held, mut depth) = (0_usize, 0);
        for step in &mut steps {
            match step {
                Step::Band(band) => {
                    *band = bands.partition_point(|own| own < band);
                    held += 1;
                }
                Step::Number(_) => held += 1,
                Step::Negate | Step::Apply(_) => {}
                Step::Add | Step::Subtract | Step::Multiply | Step::Divide | Step::Power => {
                    held = held.saturating_sub(1);
                }
            }
            depth = depth.max(held);
        }
        Ok(Self { steps, bands, depth })
    }

    /// The bands in it, by position among all bands, in order.
    pub(crate) fn bands(&self) -> &[usize] {
        &self.bands
    }

    /// Value and standard deviation where its [bands](Self::bands) have this `mean` and `cov`, the lower triangle of
    /// their covariance row by row: `f(m)` and `√(gᵀ Σ g)` with the derivatives `g` of `f` at `m`.
    ///
    /// NaN, both, where a quantity at which `f` has no derivative at zero is within [`FROM_ZERO`] of its own standard
    /// deviations of zero, and where either is not a number of float32, which stores hold.
    pub(crate) fn evaluate(&self, mean: &[f64], cov: &[f64], stack: &mut Stack) -> (f64, f64) {
        let n = 1 + self.bands.len();
        stack.0.clear();
        stack.0.resize(self.depth * n, 0.0);
        let mut top = 0;
        for step in &self.steps {
            if let Step::Number(_) | Step::Band(_) = step {
                let held = &mut stack.0[top * n..(top + 1) * n];
                held.fill(0.0);
                match *step {
                    Step::Band(band) => (held[0], held[1 + band]) = (mean[band], 1.0),
                    Step::Number(value) => held[0] = value,
                    _ => {}
                }
                top += 1;
                continue;
            }
            let (below, last) = stack.0[..top * n].split_at_mut((top - 1) * n);
            let fine = match *step {
                Step::Negate => {
                    last.iter_mut().for_each(|value| *value = -*value);
                    true
                }
                Step::Apply(function) => apply(function, last, cov),
                step => {
                    top -= 1;
                    combine(step, &mut below[(top - 1) * n..], last, cov)
                }
            };
            if !fine {
                return (f64::NAN, f64::NAN);
            }
        }
        let (value, sd) = (stack.0[0], variance(&stack.0[1..n], cov).sqrt());
        let fits = |value: f64| value.abs() <= f64::from(f32::MAX);
        if fits(value) && fits(sd) { (value, sd) } else { (f64::NAN, f64::NAN) }
    }
}

/// Scratch memory of an evaluation: values that are held, each followed by its derivatives.
#[derive(Debug, Default)]
pub(crate) struct Stack(Vec<f64>);

/// Applies a function to a value with derivatives. False where it has none at the value.
fn apply(function: Function, x: &mut [f64], cov: &[f64]) -> bool {
    if function.is_singular() && is_near_zero(x, cov) {
        return false;
    }
    let (value, derivative) = function.of(x[0]);
    x[0] = value;
    x[1..].iter_mut().for_each(|dx| *dx *= derivative);
    true
}

/// Makes `a` what a step makes of `a` and `b`, each a value with derivatives. False where it has none.
fn combine(step: Step, a: &mut [f64], b: &[f64], cov: &[f64]) -> bool {
    let (x, y) = (a[0], b[0]);
    // The value and its derivatives by x and by y.
    let (value, by_x, by_y) = match step {
        Step::Add => (x + y, 1.0, 1.0),
        Step::Subtract => (x - y, 1.0, -1.0),
        Step::Multiply => (x * y, y, x),
        Step::Divide if is_near_zero(b, cov) => return false,
        Step::Divide => (x / y, y.recip(), -x / (y * y)),
        _ => {
            let constant = b[1..].iter().all(|db| *db == 0.0);
            let whole = constant && y >= 0.0 && y.fract() == 0.0;
            if !whole && is_near_zero(a, cov) {
                return false;
            }
            let by_x = if y == 0.0 { 0.0 } else { y * x.powf(y - 1.0) };
            // The logarithm of a negative number would make NaN of a power that is one of x alone.
            (x.powf(y), by_x, if constant { 0.0 } else { x.powf(y) * x.ln() })
        }
    };
    a[0] = value;
    a[1..].iter_mut().zip(&b[1..]).for_each(|(da, db)| *da = by_x * *da + by_y * db);
    true
}

/// Whether a value with derivatives is nearer to zero than [`FROM_ZERO`] of its standard deviations.
fn is_near_zero(x: &[f64], cov: &[f64]) -> bool {
    x[0] * x[0] < FROM_ZERO * FROM_ZERO * variance(&x[1..], cov)
}

/// The variance of what has these derivatives.
fn variance(derivatives: &[f64], cov: &[f64]) -> f64 {
    let mut variance = 0.0;
    for (j, by_j) in derivatives.iter().enumerate() {
        let before: f64 = derivatives[..j].iter().enumerate().map(|(l, by_l)| by_l * cov[pair(j, l)]).sum();
        variance += by_j * (2.0 * before + by_j * cov[pair(j, j)]);
    }
    // Rounding may make it negative; `max` would turn NaN into zero.
    if variance < 0.0 { 0.0 } else { variance }
}
