//! A further field of the process, checked.

use super::numbers::{ranges, transitions};
use crate::describe::{Field, Kernel, Key};
use crate::error::{Error, Result};

/// Cells of a coarse field's blocks per side at most.
const LARGEST_BLOCK: usize = 1 << 12;

impl FieldModel {
    /// Checks the parameters of `p` components on cells of `cell_size`; `at` is the key of the field.
    ///
    /// # Errors
    /// [`Error::Number`] and [`Error::Setting`] by key.
    pub(crate) fn new(described: &Field, p: usize, cell_size: (f64, f64), at: &Key) -> Result<Self> {
        let key = |name: &str| at.name(name);
        let kernel = described.kernel;
        let range = ranges(kernel, described.range.as_ref(), p, &key("range"))?;
        let variance = described.variance.expand_positive(p, &key("variance"), "component")?;
        let phi = transitions(&described.phi, p, &key("phi"), "component")?;
        let kept =
            |(variance, phi): (&f64, &f64)| if *phi < 1.0 { variance / ((1.0 - phi) * (1.0 + phi)) } else { 0.0 };
        let prior = match &described.prior_variance {
            None => variance.iter().zip(&phi).map(kept).collect(),
            Some(prior) => prior.expand_positive(p, &key("prior_variance"), "component")?,
        };
        let block = match (described.block, kernel) {
            (Some(cells), _) if !(1..=LARGEST_BLOCK).contains(&cells) => {
                return Err(Error::setting(key("block"), format!("{cells} cells; give 1 to {LARGEST_BLOCK}")));
            }
            (Some(cells), Kernel::None) if cells > 1 => {
                let problem = "a field of independent cells has no blocks; leave `block` out, or choose a kernel";
                return Err(Error::setting(key("block"), problem));
            }
            (Some(cells), _) => cells,
            (None, Kernel::None) => 1,
            (None, kernel) => {
                let parts = if kernel == Kernel::Exponential { 8.0 } else { 4.0 };
                let shortest = range.iter().copied().fold(f64::INFINITY, f64::min);
                let cells = shortest / parts / cell_size.0.max(cell_size.1);
                cells.clamp(1.0, LARGEST_BLOCK as f64) as usize
            }
        };
        let components = (0..p).map(|j| FieldComponent {
            kernel,
            range: range[j],
            transition: phi[j],
            variance: variance[j],
            prior: prior[j],
            correlation: None,
        });
        Ok(Self { components: components.collect(), block })
    }
}

impl FieldModel {
    /// Whether its states correlate as those of another field do.
    pub(crate) fn correlates_as(&self, other: &Self) -> bool {
        let shape = |component: &FieldComponent| (component.kernel, component.range);
        self.block == other.block && self.components.iter().map(shape).eq(other.components.iter().map(shape))
    }
}

/// A further field, checked.
#[derive(Clone, Debug)]
pub(crate) struct FieldModel {
    pub(crate) components: Vec<FieldComponent>,
    /// Cells per side of its blocks.
    pub(crate) block: usize,
}

/// One component's part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FieldComponent {
    pub(crate) kernel: Kernel,
    /// ℓ in CRS units.
    pub(crate) range: f64,
    /// φ per day.
    pub(crate) transition: f64,
    /// σ² in u²/day.
    pub(crate) variance: f64,
    /// Before the first day, in u².
    pub(crate) prior: f64,
    /// Index into the process's correlations, of fields without blocks.
    pub(crate) correlation: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_priors_follow_range_and_memory() {
        let field = Field::new(Kernel::Matern32, [1200.0, 2000.0], [3.0, 0.75]).phi([1.0, 0.5]);
        let model = FieldModel::new(&field, 2, (30.0, 25.0), &"f".into()).unwrap();
        assert_eq!(model.block, 10);
        assert_eq!((model.components[0].prior, model.components[1].prior), (0.0, 1.0));
        for (range, block) in [(1200.0, 5), (100.0, 1)] {
            let rough = Field::new(Kernel::Exponential, range, 1.0);
            assert_eq!(FieldModel::new(&rough, 1, (30.0, 30.0), &"f".into()).unwrap().block, block);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |field: Field, key: &str| {
            let message = FieldModel::new(&field, 2, (30.0, 30.0), &"process.field".into()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("process.field.{key}")), "{message}");
        };
        let field = || Field::new(Kernel::Matern52, 300.0, 1.0);
        check(Field::new(Kernel::Matern52, 0.0, 1.0), "range");
        check(Field::new(Kernel::Matern52, 300.0, [1.0, -1.0]), "variance");
        check(field().phi(0.0), "phi");
        check(field().prior_variance(0.0), "prior_variance");
        check(field().block(0), "block");
        check(Field::new(Kernel::None, 0.0, 1.0).block(2), "block");
    }
}
