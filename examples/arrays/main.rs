//! Arrays in, a derived product out, without files:
//!
//! ```text
//! cargo run --release --example arrays
//! cargo run --release --example arrays -- --out figure.png --seed 2
//! ```
//!
//! Two instruments see fields turn green in spring. Their arrays are fused by the lazy iterator [`Fusion::stream`], block by block, and
//! every block updates a product and is dropped: on which day has the NDVI of a cell passed 0.5, and with which probability? Only three
//! days per cell are kept, however long the series.
//!
//! Bands are fused with their uncertainty, so the probability needs no approximation beside the model's: `(nir - red) / (nir + red) > c`
//! is `(1 - c) nir - (1 + c) red > 0`, and that sum is Gaussian where the model holds. Each probability is that of a single day. That
//! the NDVI passed 0.5 for the *first* time by a day is another event, which the distribution of a single day does not give: the days
//! on which the probability reaches 5 and 95 % show how fast the passage becomes certain; they are not an interval for its day. The
//! scene is generated, so the result can be compared with the truth.

#[path = "../common/mod.rs"]
mod common;
mod picture;
mod spring;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ndarray::{Array2, Zip, s};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::series::FusedBlock;
use rasterfuse::{Fusion, Result};
use statrs::distribution::{ContinuousCDF, Normal};

use common::command::{run, say};
use common::score::Score;
use picture::{CellDay, Figure};
use spring::{BANDS, COARSE_NOISE, FINE_NOISE, Seen, Spring, THRESHOLD, first_day};

/// Generate a spring, fuse what two instruments see of it, and find the day on which each cell turned green.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the figure goes.
    #[arg(long, default_value = "arrays.png")]
    out: PathBuf,
    /// Another seed makes another scene.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    run(arrays)
}

fn arrays(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let spring = Spring::generate(&mut rng)?;
    let (fine, coarse) = (spring.fine(&mut rng), spring.coarse(&mut rng)?);
    let cell = spring.typical_cell();

    let fusion = describe(&spring, &fine, &coarse)?;
    let mut green = GreenUp::new(spring.target.shape());
    let mut series = Vec::new();
    let mut stream = fusion.stream();
    // The pipeline: a block comes when it has been fused, and goes when it has been used.
    for block in &mut stream {
        let block = block?;
        green.take(&block);
        series.extend(CellDay::of(&block, cell));
    }
    say!("{}\n", stream.report());

    let truth = spring.green_day();
    let last_clear = first_day(&fine.dates, spring.dates[0], |time, cell| spring::ndvi(fine.at(time, cell)));
    let [low, day, high] = &green.days;
    // Both are judged on the same cells.
    let judged = Zip::from(&truth)
        .and(day)
        .and(&last_clear)
        .map_collect(|truth, fused, clear| if fused.is_nan() || clear.is_nan() { f64::NAN } else { *truth });
    let count = judged.iter().filter(|day| !day.is_nan()).count();
    say!("first day with NDVI above {THRESHOLD}, against the truth: {count} cells, {} left out", judged.len() - count);
    say!("because the truth, the fused series or the clear images have no such day");
    say!("{:<34} {:>8} {:>8}", "", "RMSE", "bias");
    for (name, days) in [("fused, probability above 1/2", day), ("first clear fine image above", &last_clear)] {
        let score = Score::of(days, &judged);
        say!("{name:<34} {:>6.1} d {:>6.1} d", score.rmse(), score.bias());
    }
    let sure = || truth.indexed_iter().filter(|(cell, day)| !(high[*cell].is_nan() || day.is_nan()));
    let inside = sure().filter(|(cell, day)| (low[*cell]..=high[*cell]).contains(*day)).count();
    let (sure, width) = (sure().count(), green.mean_width());
    say!("the probability goes from 5 to 95 % in {width:.1} days on average, the true day among them for {inside} of");
    say!("{sure} cells; {} cells do not reach 95 %, or are never green", truth.len() - sure);
    say!("kept: {} kB for {} blocks\n", 3 * 8 * truth.len() / 1000, stream.report().blocks);

    let probable = |day: &CellDay| (day.days_since(&spring), green_probability(day.mean, day.sd));
    let probabilities = series.iter().map(probable).collect();
    Figure {
        spring: &spring,
        fine: &fine,
        coarse: &coarse,
        truth,
        judged,
        last_clear,
        green: &green,
        cell,
        series,
        probabilities,
    }
    .draw(&arguments.out)?;
    say!("figure    {}", arguments.out.display());
    say!("total     {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The fusion of two arrays.
fn describe(spring: &Spring, fine: &Seen, coarse: &Seen) -> Result<Fusion> {
    Fusion::builder(spring.target.clone())
        .bands(BANDS)
        // A result may wait for later days: here nobody is in a hurry.
        .lag(6)
        .process(Process::new(Kernel::Exponential, 300.0, spring::DAILY_CHANGE))
        .prior(Prior::new([0.12, 0.22], [1e-3, 2e-3]).correlated())
        .instrument(Instrument::new("fine", fine.source()?).noise_variance(FINE_NOISE))
        .instrument(
            Instrument::new("coarse", coarse.source()?).footprint(Footprint::Uniform).noise_variance(COARSE_NOISE),
        )
        .build()
}

/// The product: for each cell the first day on which its NDVI is above the threshold with a probability of 5, 50 and 95 %.
#[derive(Debug)]
struct GreenUp {
    /// Days since the first one; NaN where it has not come yet.
    days: [Array2<f64>; 3],
}

impl GreenUp {
    const PROBABILITIES: [f64; 3] = [0.05, 0.5, 0.95];

    fn new(shape: (usize, usize)) -> Self {
        Self { days: [(); 3].map(|()| Array2::from_elem(shape, f64::NAN)) }
    }

    /// Days from a probability of 5 % to one of 95 %; NaN where that has not come.
    fn width(&self) -> Array2<f64> {
        &self.days[2] - &self.days[0]
    }

    /// Its mean over the cells that have both.
    fn mean_width(&self) -> f64 {
        let known: Vec<f64> = self.width().into_iter().filter(|days| !days.is_nan()).collect();
        known.iter().sum::<f64>() / known.len() as f64
    }

    /// Adds a day of a tile; days of a tile come in order.
    fn take(&mut self, block: &FusedBlock) {
        let region = s![block.region.rows.clone(), block.region.cols.clone()];
        for (days, least) in self.days.iter_mut().zip(Self::PROBABILITIES) {
            for ((row, col), day) in days.slice_mut(region).indexed_iter_mut() {
                let of = |values: &ndarray::Array3<f64>| [values[(0, row, col)], values[(1, row, col)]];
                if day.is_nan() && green_probability(of(&block.mean), of(&block.uncertainty)) >= least {
                    *day = block.time as f64;
                }
            }
        }
    }
}

/// The probability that the NDVI is above the threshold, by the mean and standard deviation of red and nir. Bands are filtered apart, so
/// their errors are independent.
fn green_probability(mean: [f64; 2], sd: [f64; 2]) -> f64 {
    let (red, nir) = (1.0 + THRESHOLD, 1.0 - THRESHOLD);
    let margin = nir * mean[1] - red * mean[0];
    Normal::standard().cdf(margin / (nir * sd[1]).hypot(red * sd[0]))
}
