//! A hyperspectral instrument on three dates and a multispectral one every third day, fused into daily spectra of 30 m:
//!
//! ```text
//! cargo run --release --example hyperspectral
//! cargo run --release --example hyperspectral -- --out figure.png --seed 3
//! ```
//!
//! The images are generated, so the truth is known. A few spectral components are found in the hyperspectral images; both
//! instruments observe these, each through its own bands. The output holds components with their covariance, from which every
//! wavelength follows with its standard deviation. Printed are the error at all wavelengths, also where the multispectral instrument has
//! no band, against that of the last hyperspectral image, and how often the 90 % interval holds the truth.

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod picture;
mod twin;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ndarray::{Array4, s};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Missing, Prior, Process};
use rasterfuse::sink::MemorySink;
use rasterfuse::spectral::{BandScale, SpectralBasis, SpectralPca};
use rasterfuse::{Fusion, Result};

use common::command::{run, say};
use judge::Verdict;
use picture::Figure;
use twin::{HYPERSPECTRAL_NOISE, MULTISPECTRAL_NOISE, RANGE, Seen, Twin};

/// Generate spectra, fuse two instruments that see them, and compare with the truth.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the figure goes.
    #[arg(long, default_value = "hyperspectral.png")]
    out: PathBuf,
    /// Another seed makes another scene.
    #[arg(long, default_value_t = 4)]
    seed: u64,
}

fn main() -> ExitCode {
    run(hyperspectral)
}

fn hyperspectral(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let twin = Twin::generate(&mut rng)?;
    let hyper = twin.hyperspectral(&mut rng)?;
    let multi = twin.multispectral(&twin::response()?, &mut rng)?;
    say!("generated in {:.1} s", started.elapsed().as_secs_f64());

    // One pass over the images; noise is told from signal.
    let pca = SpectralPca::builder(twin.wavelengths_nm.clone())
        .scale(BandScale::Noise(vec![HYPERSPECTRAL_NOISE]))
        .explained(0.9999)
        .fit(&hyper.source()?)?;
    let shares: Vec<String> = pca.explained().map(|share| format!("{:.2} %", 100.0 * share)).collect();
    say!("{} wavelengths, {} components: {}\n", twin.bands().len(), shares.len(), shares.join(", "));

    let fusion = describe(&twin, &hyper, &multi, &pca)?;
    let mut sink = MemorySink::new();
    say!("{}\n", fusion.run(&mut sink)?);
    let (mean, cov) = sink.into_arrays()?;

    let fused = Spectra { basis: pca.basis(), mean, cov };
    say!("{}\n", Verdict::new(&twin, &hyper, &fused));
    Figure { twin: &twin, hyper: &hyper, multi: &multi, fused: &fused }.draw(&arguments.out)?;
    say!("figure    {}", arguments.out.display());
    say!("total     {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Both instruments, and the components that they observe.
fn describe(twin: &Twin, hyper: &Seen, multi: &Seen, pca: &SpectralPca) -> Result<Fusion> {
    let change = daily_change(hyper, pca.basis());
    Fusion::builder(twin.target.clone())
        .bands(twin.bands())
        .basis(pca.basis().clone())
        .space(OutputSpace::Components)
        .window(4, 4)
        // Single cells change a little by themselves, which pixels of several cells cannot tell; and components change together, which the
        // model does not know: windows learn from the images how much more variance it takes.
        .process(Process::new(Kernel::Exponential, RANGE, change).nugget(0.1).inflate(true))
        // Scores are about the mean spectrum, and their variance is known from the images.
        .prior(Prior::new(0.0, pca.variances().to_vec()).correlated())
        .instrument(
            // Its bands have the names of the target's, so it needs no response.
            Instrument::new("hyperspectral", hyper.source()?)
                .footprint(Footprint::Uniform)
                .missing(Missing::Pixel)
                .noise_variance(HYPERSPECTRAL_NOISE),
        )
        .instrument(
            Instrument::new("multispectral", multi.source()?)
                .response(twin::response()?)
                .missing(Missing::Pixel)
                .noise_variance(MULTISPECTRAL_NOISE),
        )
        .build()
}

/// Variance of the change per day of each component: the mean square of the difference of a pixel's scores between two images, over the
/// days between.
fn daily_change(hyper: &Seen, basis: &SpectralBasis) -> Vec<f64> {
    let mut sums = vec![0.0; basis.components()];
    let mut count = 0.0;
    let (_, _, rows, cols) = hyper.values.dim();
    for (earlier, dates) in hyper.dates.windows(2).enumerate() {
        let days = f64::from(dates[1].days_since(dates[0]));
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let spectrum = |time: usize| hyper.values.slice(s![time, .., row, col]);
            let change = &spectrum(earlier + 1) - &spectrum(earlier);
            if change.iter().all(|value| !value.is_nan()) {
                // The columns of the basis are orthonormal.
                let scores = basis.matrix().t().dot(&change);
                sums.iter_mut().zip(&scores).for_each(|(sum, score)| *sum += score * score / days);
                count += 1.0;
            }
        }
    }
    sums.iter().map(|sum| sum / count).collect()
}

/// Fused components, from which spectra follow.
#[derive(Debug)]
struct Spectra<'a> {
    basis: &'a SpectralBasis,
    /// **Shape** (time, component, y, x).
    mean: Array4<f64>,
    /// Lower triangles of covariances, row by row. **Shape** (time, pair, y, x).
    cov: Array4<f64>,
}

impl Spectra<'_> {
    /// Mean and standard deviation at every wavelength.
    fn at(&self, time: usize, (row, col): (usize, usize)) -> (Vec<f64>, Vec<f64>) {
        let of = |series: &Array4<f64>| series.slice(s![time, .., row, col]).to_vec();
        let (mean, cov) = (of(&self.mean), of(&self.cov));
        (0..self.basis.wavelengths()).map(|band| self.basis.band(band, &mean, &cov)).unzip()
    }
}
