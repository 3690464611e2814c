//! What programs rely on beside values: types that cross threads, and print.
#![allow(missing_docs)]

use std::fmt::{Debug, Display};

use rasterfuse::describe::{Features, Field, Instrument, Numbers, OffsetLayer, Prior, Process};
use rasterfuse::engine::{FusionBuilder, InstrumentPlan, Job, Plan, Progress, Shard, TileTime, TimeEstimate};
use rasterfuse::estimate::{Candidate, Choice, Estimation, EstimationResult, Fit};
use rasterfuse::geometry::{Crs, Date, DateRange, Grid, PixelRegion};
use rasterfuse::model::{SeasonalBuilder, SeasonalFit};
use rasterfuse::seasonal::SeasonalMean;
use rasterfuse::series::{FusedBlock, Report, Scores, SeriesLayout, Settings};
use rasterfuse::sink::{JudgedSink, MemorySink};
use rasterfuse::source::{Calibration, MemorySource, RasterSource, Slice};
use rasterfuse::spectral::{SpectralBasis, SpectralPca, SpectralResponse};
use rasterfuse::validate::{Validation, ValidationReport};
use rasterfuse::{Error, Fusion, Key};

fn crosses_threads<T: Send + Sync + Debug>() {}
fn cheap<T: Clone + Send + Sync + Debug>() {}
fn moves<T: Send + Debug>() {}
fn debugs<T: Debug>() {}
fn prints<T: Display>() {}
fn serialises<T: serde::Serialize>() {}

#[test]
fn main_types_cross_threads() {
    crosses_threads::<Fusion>();
    crosses_threads::<Error>();
    crosses_threads::<Estimation>();
    crosses_threads::<SeasonalFit>();
    crosses_threads::<MemorySink>();
    crosses_threads::<JudgedSink<MemorySink>>();
    crosses_threads::<Box<dyn RasterSource>>();
    moves::<TileTime<'_>>();
    debugs::<Job<'_>>();
}

#[cfg(feature = "zarr")]
#[test]
fn stores_and_cubes_cross_threads() {
    use rasterfuse::sink::{FusedSeries, SeasonalStore, ZarrSink};
    crosses_threads::<ZarrSink>();
    crosses_threads::<FusedSeries>();
    crosses_threads::<SeasonalStore>();
    crosses_threads::<rasterfuse::source::ZarrCube>();
}

#[cfg(feature = "gdal")]
#[test]
fn rasters_cross_threads() {
    crosses_threads::<rasterfuse::source::RasterStack>();
    crosses_threads::<rasterfuse::source::RasterSeries>();
    cheap::<rasterfuse::source::StackBuilder>();
}

#[test]
fn descriptions_and_results_are_values() {
    cheap::<FusionBuilder>();
    cheap::<Instrument>();
    cheap::<(Process, Prior, Field, Features, OffsetLayer)>();
    cheap::<(SeasonalBuilder, SeasonalMean, SpectralBasis, SpectralPca, SpectralResponse)>();
    cheap::<(Candidate, Fit, EstimationResult, Choice, Validation, ValidationReport)>();
    cheap::<(Plan, Report, Scores, Progress, Settings, SeriesLayout, FusedBlock, Slice)>();
    cheap::<(Grid, Crs, Date, DateRange, PixelRegion, Calibration, MemorySource)>();
}

#[test]
fn what_a_person_would_print_prints_and_what_a_program_would_read_serialises() {
    prints::<Error>();
    prints::<Plan>();
    prints::<InstrumentPlan>();
    prints::<Report>();
    prints::<Scores>();
    prints::<Progress>();
    prints::<TimeEstimate>();
    prints::<ValidationReport>();
    prints::<Fit>();
    prints::<Grid>();
    prints::<Crs>();
    prints::<Date>();
    prints::<DateRange>();
    prints::<Shard>();
    prints::<Numbers>();
    prints::<Key>();
    serialises::<Plan>();
    serialises::<Report>();
    serialises::<Progress>();
    serialises::<TimeEstimate>();
    serialises::<ValidationReport>();
}
