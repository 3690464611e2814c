//! One inner window of the benchmark scene: 4 × 4 cells of 30 m with a halo of 4, four spectral components, 125 days, an
//! imaging spectrometer of 212 bands and 60 m on 4 dates, two multispectral instruments of 7 and 11 bands on 29 and 50.
//!
//! The truth walks as the model says; clouds are smooth patches that leave on average 49, 30 and 58 % of the pixels.

use std::f64::consts::TAU;
use std::sync::Arc;

use nalgebra::DMatrix;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, StandardNormal};
use rasterfuse::filter::{
    BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, Real, State, Workspace,
};

pub(crate) const CELL: f64 = 30.0;
pub(crate) const COMPONENTS: usize = 4;
pub(crate) const DAYS: usize = 125;
/// Process variances per day.
pub(crate) const VARIANCES: [f64; COMPONENTS] = [0.128, 0.033, 0.007, 0.0026];
const RANGE: f64 = 200.0;
const NUGGET: f64 = 1e-6;
/// Random Fourier features of the truth.
const FEATURES: usize = 192;

/// An instrument: what its bands see, and its pixels over the window.
struct Sensor {
    bands: BandModel,
    design: DMatrix<f64>,
    noise_sd: f64,
    dates: usize,
    clear: f64,
    pixels: Vec<Pixel>,
}

#[derive(Clone)]
struct Pixel {
    centre: (f64, f64),
    states: Vec<u32>,
    weights: Vec<f64>,
}

/// What an instrument sees on a day: by pixel, all bands or nothing.
struct Acquisition {
    sensor: usize,
    values: Vec<Option<Vec<f64>>>,
}

/// The window and everything observed of it.
pub(crate) struct Twin {
    /// Own cells, halo.
    pub(crate) cells: Vec<(f64, f64)>,
    pub(crate) own: usize,
    sensors: Vec<Sensor>,
    days: Vec<Vec<Acquisition>>,
}

impl Twin {
    /// A window of `size` own cells a side with `halo` cells around.
    pub(crate) fn new(size: usize, halo: usize) -> Self {
        let side = size + 2 * halo;
        let inside = |k: usize| k >= halo && k < halo + size;
        let all = || (0..side * side).map(|k| (k / side, k % side));
        let own = all().filter(|&(r, c)| inside(r) && inside(c));
        let halo_cells = all().filter(|&(r, c)| !(inside(r) && inside(c)));
        let cells: Vec<(usize, usize)> = own.chain(halo_cells).collect();
        let sensors = sensors(&cells, side);
        let centres: Vec<_> = cells.iter().map(|&(r, c)| ((c as f64 + 0.5) * CELL, -(r as f64 + 0.5) * CELL)).collect();
        let days = simulate(&centres, &sensors);
        Self { cells: centres, own: size * size, sensors, days }
    }

    /// Spatial states × components.
    pub(crate) fn n(&self) -> usize {
        self.cells.len() * COMPONENTS
    }

    /// Pseudo-observations of each day that has any.
    pub(crate) fn ranks(&self) -> Vec<usize> {
        let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
        let mut rank = |day: usize| {
            self.observe(day, &mut observations, &mut cache);
            observations.len()
        };
        (0..DAYS).map(&mut rank).filter(|&rank| rank > 0).collect()
    }

    pub(crate) fn dynamics(&self) -> Dynamics {
        let correlation = Arc::new(BlockCov::dense(self.cells.len(), |i, j| {
            let (a, b) = (self.cells[i], self.cells[j]);
            (-(a.0 - b.0).hypot(a.1 - b.1) / RANGE).exp() + if i == j { NUGGET } else { 0.0 }
        }));
        let block = |&variance: &f64| ProcessBlock {
            len: self.cells.len(),
            transition: 1.0,
            variance,
            correlation: Arc::clone(&correlation),
        };
        Dynamics::new(VARIANCES.iter().map(block).collect())
    }

    /// The state before the first day, remembering the own cells for `lag` days.
    pub(crate) fn start(&self, lag: usize) -> State {
        let spatial = self.cells.len();
        let mut state = State::new(self.n());
        for (i, variance) in (0..self.n()).map(|i| (i, 10.0 * VARIANCES[i / spatial])) {
            state.cov.set(i, i, variance);
        }
        state.with_lags((0..COMPONENTS).map(|j| j * spatial..j * spatial + self.own).collect(), lag)
    }

    /// The pseudo-observations of a day.
    pub(crate) fn observe(&self, day: usize, observations: &mut Observations, cache: &mut CompressionCache) {
        let spatial = self.cells.len();
        observations.clear();
        for Acquisition { sensor, values } in &self.days[day] {
            observations.begin_group(*sensor);
            let bands = &self.sensors[*sensor].bands;
            for (pixel, values) in self.sensors[*sensor].pixels.iter().zip(values) {
                let Some(values) = values else { continue };
                let channel = |j: usize| Channel {
                    offset: j * spatial,
                    scale: 1.0,
                    states: &pixel.states,
                    weights: &pixel.weights,
                };
                observations.push_pixel(bands, channel, values, cache);
            }
        }
    }

    /// Filters the whole series, daily output included: means and variances of the own cells, at the lag if there is one.
    pub(crate) fn run<T: Real>(&self, dynamics: &Dynamics, state: &mut State<T>, scratch: &mut Scratch<T>) {
        let Scratch { observations, cache, workspace, output } = scratch;
        let (spatial, n) = (self.cells.len(), state.n());
        let mut waiting = 0;
        output.clear();
        for day in 0..DAYS {
            waiting += 1;
            self.observe(day, observations, cache);
            if !observations.is_empty() {
                state.predict(dynamics, f64::from(waiting));
                waiting = 0;
                state.update(observations, workspace).unwrap();
            }
            if state.lag() > 0 {
                state.predict(dynamics, f64::from(waiting));
                waiting = 0;
                if state.remembered() == state.lag() {
                    output.extend(state.lagged_at(0).unwrap().mean);
                }
                state.remember();
            } else {
                for i in (0..n).step_by(spatial).flat_map(|first| first..first + self.own) {
                    output.push(state.predicted_mean(dynamics, i, f64::from(waiting)));
                    output.push(state.predicted_cov(dynamics, i, i, f64::from(waiting)));
                }
            }
        }
    }
}

/// What a worker keeps from window to window.
#[derive(Debug)]
pub(crate) struct Scratch<T: Real> {
    observations: Observations,
    cache: CompressionCache,
    workspace: Workspace<T>,
    pub(crate) output: Vec<f64>,
}

impl<T: Real> Scratch<T> {
    pub(crate) fn new() -> Self {
        Self {
            observations: Observations::new(),
            cache: CompressionCache::new(),
            workspace: Workspace::new(),
            output: Vec::new(),
        }
    }
}

fn sensors(cells: &[(usize, usize)], side: usize) -> Vec<Sensor> {
    let waves = waves();
    let (mean, basis) = spectra(&waves);
    let spectrometer: Vec<(f64, f64)> = waves.iter().map(|&w| (w, 8.6)).collect();
    let l30 = [(443, 16), (482, 60), (561, 57), (655, 38), (865, 28), (1609, 85), (2201, 187)];
    let red_edge = [(704, 15), (740, 15), (783, 20), (833, 106), (865, 28)];
    let s30: Vec<(i32, i32)> = l30[..4].iter().chain(&red_edge).chain(&l30[5..]).copied().collect();
    let numbers = |bands: &[(i32, i32)]| -> Vec<(f64, f64)> {
        bands.iter().map(|&(centre, width)| (f64::from(centre), f64::from(width))).collect()
    };
    let gaussian = |w: f64, (centre, fwhm): (f64, f64)| (-0.5 * ((w - centre) / (fwhm / 2.354_820_045)).powi(2)).exp();
    let edge = |z: f64| 1.0 / (1.0 + (-z).exp());
    let boxed = |w: f64, (centre, width): (f64, f64)| {
        edge((w - centre + width / 2.0) / (0.05 * width)) * edge(-(w - centre - width / 2.0) / (0.05 * width))
    };
    let sensor =
        |bands: &[(f64, f64)], curve: &dyn Fn(f64, (f64, f64)) -> f64, noise: f64, dates, clear, pixel_cells: usize| {
            let mut response = DMatrix::from_fn(bands.len(), waves.len(), |b, w| curve(waves[w], bands[b]));
            response.row_iter_mut().for_each(|mut row| row /= row.sum());
            let design = &response * &basis;
            let offset = &response * &mean;
            let across = side.div_ceil(pixel_cells);
            let pixel = |k: usize| {
                let (row, col) = (k / across, k % across);
                let inside =
                    |&(_, &(r, c)): &(usize, &(usize, usize))| r / pixel_cells == row && c / pixel_cells == col;
                let states: Vec<u32> = cells.iter().enumerate().filter(inside).map(|(i, _)| i as u32).collect();
                let weights = vec![1.0 / states.len() as f64; states.len()];
                let width = pixel_cells as f64 * CELL;
                Pixel { centre: ((col as f64 + 0.5) * width, -(row as f64 + 0.5) * width), states, weights }
            };
            // In the order of the states, as the library does.
            let mut pixels: Vec<Pixel> = (0..across * across).map(pixel).collect();
            pixels.sort_by_key(|pixel| pixel.states[0]);
            Sensor {
                bands: BandModel::new(
                    design.transpose().as_slice().to_vec(),
                    vec![noise; bands.len()],
                    offset.as_slice().to_vec(),
                ),
                design,
                noise_sd: noise.sqrt(),
                dates,
                clear,
                pixels,
            }
        };
    vec![
        sensor(&spectrometer, &gaussian, 1e-6, 4, 0.4947, 2),
        sensor(&numbers(&l30), &boxed, 1e-5, 29, 0.2990, 1),
        sensor(&numbers(&s30), &boxed, 1e-5, 50, 0.5779, 1),
    ]
}

/// Wavelengths of the spectrometer without the water bands, nm.
fn waves() -> Vec<f64> {
    let all = (0..285).map(|k| 381.0 + 7.42 * f64::from(k));
    let bad = |w: f64| w < 420.0 || (1330.0..1490.0).contains(&w) || (1780.0..2030.0).contains(&w) || w > 2440.0;
    all.filter(|w| !bad(*w)).take(212).collect()
}

/// Mean spectrum and four basis spectra, smooth mixtures of snow, rock and vegetation.
fn spectra(waves: &[f64]) -> (nalgebra::DVector<f64>, DMatrix<f64>) {
    let (first, last) = (waves[0], waves[waves.len() - 1]);
    let at = |w: f64| {
        let x = (w - first) / (last - first);
        let step = 0.25 / (1.0 + (-(w - 715.0) / 18.0).exp());
        let vegetation = 0.05 + step * (-((w - 900.0) / 1100.0).powi(2)).exp();
        let rock = 0.12 + 0.18 * x - 0.1 * x * x;
        let snow = 0.85 / (1.0 + ((w - 1250.0) / 160.0).exp()) + 0.04;
        (x, vegetation, rock, snow)
    };
    let mean = waves.iter().map(|&w| {
        let (_, vegetation, rock, snow) = at(w);
        0.35 * snow + 0.35 * rock + 0.30 * vegetation
    });
    let raw = DMatrix::from_fn(waves.len(), COMPONENTS, |i, j| {
        let (x, vegetation, rock, snow) = at(waves[i]);
        match j {
            0 => snow - rock,
            1 => vegetation - rock,
            2 => (1.25 * TAU * x).cos() * (-x).exp(),
            _ => (2.1 * TAU * x + 0.4).sin(),
        }
    });
    let mut basis = raw.qr().q();
    for (mut row, &w) in basis.row_iter_mut().zip(waves) {
        row *= 0.15 + 0.15 * at(w).3;
    }
    (nalgebra::DVector::from_iterator(waves.len(), mean), basis)
}

fn simulate(cells: &[(f64, f64)], sensors: &[Sensor]) -> Vec<Vec<Acquisition>> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut normal = move || -> f64 { rng.sample(StandardNormal) };
    let mut rng = StdRng::seed_from_u64(2);
    // Cauchy-distributed frequencies make an exponential correlation.
    let frequencies: Vec<(f64, f64)> = (0..FEATURES)
        .map(|_| {
            let scale = normal().abs().recip() / RANGE;
            (normal() * scale, normal() * scale)
        })
        .collect();
    let features: Vec<Vec<(f64, f64)>> =
        cells.iter().map(|&(x, y)| frequencies.iter().map(|&(u, v)| (x * u + y * v).sin_cos()).collect()).collect();
    let mut amplitudes: Vec<(f64, f64)> =
        (0..COMPONENTS * FEATURES).map(|_| (normal() * 11_f64.sqrt(), normal() * 11_f64.sqrt())).collect();
    // Dates and clear fractions of each instrument.
    let mut days: Vec<Vec<(usize, f64)>> = vec![Vec::new(); DAYS];
    for (k, sensor) in sensors.iter().enumerate() {
        let fractions = Beta::new(0.7 * sensor.clear, 0.7 * (1.0 - sensor.clear)).unwrap();
        let drawn: Vec<f64> = (0..sensor.dates).map(|_| rng.sample(fractions)).collect();
        let excess = drawn.iter().sum::<f64>() / drawn.len() as f64 - sensor.clear;
        for (day, fraction) in sample(&mut rng, DAYS, sensor.dates).into_iter().zip(drawn) {
            days[day].push((k, (fraction - excess).clamp(0.0, 1.0)));
        }
    }
    days.into_iter()
        .map(|acquisitions| {
            for (sine, cosine) in &mut amplitudes {
                *sine += normal();
                *cosine += normal();
            }
            let truth = DMatrix::from_fn(COMPONENTS, cells.len(), |j, i| {
                let waves = features[i].iter().zip(&amplitudes[j * FEATURES..]);
                let sum: f64 = waves.map(|((s, c), (a, b))| s * a + c * b).sum();
                sum * (VARIANCES[j] / FEATURES as f64).sqrt()
            });
            let acquisition = |(k, clear): (usize, f64)| {
                let sensor = &sensors[k];
                // A wave of cloud across the window: the pixels on its clear side are seen.
                let direction = normal() * TAU;
                let along = |pixel: &Pixel| pixel.centre.0 * direction.cos() + pixel.centre.1 * direction.sin();
                let mut order: Vec<usize> = (0..sensor.pixels.len()).collect();
                order.sort_by(|&a, &b| along(&sensor.pixels[a]).total_cmp(&along(&sensor.pixels[b])));
                let mut values = vec![None; sensor.pixels.len()];
                for &pixel in &order[..(clear * order.len() as f64).round() as usize] {
                    let Pixel { states, weights, .. } = &sensor.pixels[pixel];
                    let mut mixed = nalgebra::DVector::zeros(COMPONENTS);
                    for (&state, &weight) in states.iter().zip(weights) {
                        mixed += truth.column(state as usize) * weight;
                    }
                    let seen = &sensor.design * mixed;
                    let offsets = sensor.bands.offsets();
                    values[pixel] =
                        Some(seen.iter().zip(offsets).map(|(v, o)| v + o + sensor.noise_sd * normal()).collect());
                }
                Acquisition { sensor: k, values }
            };
            acquisitions.into_iter().map(acquisition).collect()
        })
        .collect()
}
