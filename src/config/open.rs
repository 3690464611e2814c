//! Opens what a description names: the target's grid, the files of instruments, rasters, a basis, a seasonal mean.

use std::path::Path;
use std::sync::Arc;

use super::keys::{Reproject, SourceKeys};
use super::stack::{self, described_stack};
use super::{Described, FusionConfig, cubes, day};
use crate::describe::{
    AcquisitionGroups, Basis, BasisFiles, Description, Footprint, Groups, Instrument, MeanFunction, OutputDates,
    PriorField, Raster, Response, ResponseKeys, Structure, Target,
};
use crate::engine::{Fusion, FusionBuilder, OnError, Shard};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid};
use crate::model::shared_bands;
use crate::preset::{Preset, PresetBand, response_of};
use crate::series::{ExistingSeries, FusionSink, Settings};
use crate::sink::{FusedSeries, SeasonalStore, ZarrFormat, ZarrSink};
use crate::source::gdal::is_address;
use crate::source::{Granule, RasterSource, RasterStack, Resampling};
use crate::spectral::{SpectralBasis, SpectralResponse};
use crate::storage::Place;

/// Which files count, and how they were read before.
#[derive(Debug, Default)]
struct Opening<'a> {
    /// First and last day, where they are given.
    period: (Option<Date>, Option<Date>),
    /// The settings of the series that is continued.
    settings: Option<&'a Settings>,
}

/// What a description says of one instrument's files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstrumentSource {
    /// The files, opened (headers only).
    pub source: Arc<dyn RasterSource>,
    /// Noise variance in u², one or one per band of the files, where it is given or known.
    pub noise_variance: Option<Vec<f64>>,
    /// Centre of each band of the files in nm: of its `response`, or the target's `wavelengths_nm` when there are as
    /// many.
    pub wavelengths_nm: Option<Vec<f64>>,
}

impl FusionConfig {
    /// Opens the inputs (headers only), checks everything and plans the run.
    ///
    /// # Errors
    /// Those of [`FusionBuilder::build`] and [`StackBuilder::open`](crate::source::StackBuilder::open).
    pub fn build(&self) -> Result<Fusion> {
        self.build_for(None)
    }

    /// As [`build`](Self::build), for one of several processes that share the run, so that there are tiles for each.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_for(&self, shard: Option<Shard>) -> Result<Fusion> {
        self.builder()?.shards(shard.map_or(1, Shard::count)).build()
    }

    /// The description with its inputs opened (headers only), to be changed or validated before it is built.
    ///
    /// # Errors
    /// As [`build`](Self::build), as far as files and keys are concerned.
    pub fn builder(&self) -> Result<FusionBuilder> {
        self.naming(self.refuse_free())?;
        // Files of other days decide nothing, so they are not opened.
        let period = (self.description.time.start, self.description.time.end);
        let sink = self.sink()?;
        let existing = sink.existing()?;
        let settings = existing.as_ref().map(|existing| &existing.settings);
        let mut description = self.naming(self.open_as(&Opening { period, settings }))?;
        if let Some(existing) = &existing {
            continue_series(&mut description, &sink, existing)?;
        }
        Ok(FusionBuilder::described(description, self.run.clone(), self.file.clone()))
    }

    /// Refuses a description that leaves something to be estimated.
    fn refuse_free(&self) -> Result<()> {
        let free = self.description.free();
        match free.split_first() {
            None => Ok(()),
            Some((key, others)) => Err(Error::Unestimated { file: None, key: key.clone(), others: others.to_vec() }),
        }
    }

    /// The sink for the file's `[output]`.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown `zarr_format`.
    pub fn sink(&self) -> Result<ZarrSink> {
        let output = &self.description.output;
        let refuse = |key: &str, problem: String| self.naming(Err(Error::setting(key, problem)));
        if output.store.as_os_str().is_empty() {
            return refuse("output.store", "empty; name the folder of the store".into());
        }
        let format = match output.zarr_format {
            None | Some(3) => ZarrFormat::V3,
            Some(2) => ZarrFormat::V2,
            Some(other) => return refuse("output.zarr_format", format!("{other}; give 3 or 2")),
        };
        self.naming(self.run.storage.check())?;
        let place = Place::from(&output.store).within(&self.folder).options(self.run.storage);
        Ok(ZarrSink::create(place).format(format))
    }

    /// The description with its inputs opened (headers only), those outside its period too.
    pub(super) fn open(&self) -> Result<Description> {
        self.open_as(&Opening::default())
    }

    /// The description with its inputs opened (headers only), as far as they count.
    fn open_as(&self, opening: &Opening<'_>) -> Result<Description> {
        let mut description = self.description.clone();
        if description.instrument.is_empty() {
            return Err(Error::setting("instrument", "empty; describe at least one [[instrument]]"));
        }
        let grid = self.target()?;
        description.target.bands = self.bands()?;
        if let Some(basis) = self.basis()? {
            description.basis = Some(Basis::Open(Arc::new(basis)));
        }
        for (instrument, keys) in description.instrument.iter_mut().zip(&self.sources) {
            *instrument = self.instrument_of((instrument, keys), &grid, opening)?;
        }
        description.target.grid = Some(grid);
        if let Some(seasonal) = &mut description.seasonal
            && let MeanFunction::Path(path) = &seasonal.mean
        {
            let opened = SeasonalStore::open(self.folder.join(path));
            seasonal.mean =
                MeanFunction::Open(opened.map_err(|error| Error::setting("seasonal.mean", error.to_string()))?);
        }
        if let Some(prior) = description.prior.given_mut() {
            for (key, field) in [("prior.mean", &mut prior.mean), ("prior.variance", &mut prior.variance)] {
                if let PriorField::Raster(raster) = field {
                    *raster = self.raster(key, raster)?;
                }
            }
        }
        let features = description.process.given_mut().and_then(|process| process.features.as_mut());
        if let Some(raster) = features.and_then(|features| features.raster.as_mut()) {
            *raster = self.raster("process.features.raster", raster)?;
        }
        let variation = description.process.given_mut().and_then(|process| process.variation.as_mut());
        if let Some(variation) = variation.and_then(Structure::given_mut) {
            variation.map = self.raster("process.variation.map", &variation.map)?;
        }
        Ok(description)
    }

    /// Names of the target bands; wavelengths name themselves. None where those that all instruments observe are meant.
    pub(super) fn bands(&self) -> Result<Option<Vec<String>>> {
        let Target { bands, wavelengths_nm, .. } = &self.description.target;
        match (bands, wavelengths_nm) {
            (Some(bands), _) if bands.is_empty() => {
                let problem =
                    "empty; list the names of the output bands, or leave it out where all instruments observe the same";
                Err(Error::setting("target.bands", problem))
            }
            (Some(bands), _) => Ok(Some(bands.clone())),
            (None, Some(wavelengths)) => {
                Ok(Some(wavelengths.iter().map(|wavelength| format!("{wavelength} nm")).collect()))
            }
            (None, None) => Ok(None),
        }
    }

    /// The same, with those that all of some instruments observe in the place of none.
    pub(super) fn bands_of(&self, instruments: &[Instrument]) -> Result<Vec<String>> {
        self.bands()?.map_or_else(|| shared_bands(instruments), Ok)
    }

    /// The spectral basis.
    pub(super) fn basis(&self) -> Result<Option<SpectralBasis>> {
        let key = "target.wavelengths_nm";
        match (&self.description.basis, &self.description.target.wavelengths_nm) {
            (Some(Basis::Files(BasisFiles { mean, matrix })), Some(wavelengths)) => {
                let path = |path: &Path| self.folder.join(path);
                SpectralBasis::read(path(mean), path(matrix), wavelengths.clone()).map(Some)
            }
            (Some(_), None) => {
                Err(Error::setting(key, "not given; list the wavelengths in nm that the [basis] is made on"))
            }
            (None, Some(_)) => Err(Error::setting(key, "wavelengths are those of a [basis], and there is none")),
            (None, None) | (Some(Basis::Open(_)), _) => Ok(None),
        }
    }

    /// A raster of which one date is read, opened.
    pub(super) fn raster(&self, key: &str, raster: &Raster) -> Result<Raster> {
        let Some(named) = raster.path() else { return Ok(raster.clone()) };
        let path = stack::placed(&self.folder, named);
        if !is_address(&path.to_string_lossy()) && !path.exists() {
            return Err(Error::setting(key, format!("there is no raster {}", path.display())));
        }
        // A raster without date: any will do.
        let stack =
            RasterStack::from_granules([Granule::new(Date::from_days(0), [path])]).remote(self.run.remote).open();
        Ok(raster.clone().opened(stack.map_err(|error| error.of_input(key))?))
    }

    /// An instrument with its files opened, and what follows from them where the description does not say it.
    pub(super) fn instrument(&self, described: Described<'_>, target: &Grid) -> Result<Instrument> {
        self.instrument_of(described, target, &Opening::default())
    }

    /// The same with the files that count alone.
    fn instrument_of(
        &self,
        (described, keys): Described<'_>,
        target: &Grid,
        opening: &Opening<'_>,
    ) -> Result<Instrument> {
        self.open_instrument((described, keys), target, opening).map_err(|error| error.of_instrument(&described.name))
    }

    fn open_instrument(
        &self,
        (described, keys): Described<'_>,
        target: &Grid,
        opening: &Opening<'_>,
    ) -> Result<Instrument> {
        let spectral = self.description.basis.is_some();
        let preset = keys.preset.as_deref().map(Preset::find).transpose()?;
        // With a basis every band observes all of the spectrum.
        let target_bands = self.description.target.bands.as_deref().filter(|_| !spectral);
        let bands = preset.map(|preset| stack::preset_bands(preset, (described, keys), target_bands)).transpose()?;
        let bands: Vec<&PresetBand> = bands.unwrap_or_default();
        let lenient = self.run.on_error == OnError::Skip;
        // A composite counts on the last day of its window, its pixels on their days.
        let window = described.composite.as_ref().map_or(0, |composite| composite.days);
        let window = window.max(keys.day.as_ref().map_or(0, |rule| day::longest(rule, preset)));
        let (start, end) = opening.period;
        let start = start.map(|start| start + -i32::try_from(window).unwrap_or(i32::MAX / 4));
        // Files that have gone must not change what the others are.
        let lines = opening.settings.and_then(|settings| settings.get(&described.key().name("lines").to_string()));
        let lines = lines.and_then(|text| text.parse().ok());
        let open =
            |keys: &SourceKeys, preset: Option<&Preset>, bands: &[&PresetBand]| -> Result<Arc<dyn RasterSource>> {
                if let Some(cube) = cubes::open(keys, &self.folder, target, self.run.remote)? {
                    return Ok(cube);
                }
                let stack = described_stack((described, keys), preset, bands, &self.folder, target)?;
                let stack = stack.lenient(lenient).remote(self.run.remote).period(start, end).lines(lines);
                Ok(Arc::new(stack.open()?))
            };
        let mut source = open(keys, preset, &bands)?;
        if let Some(rule) = &keys.day {
            source = day::by_day(source, rule, (described, keys), preset, |keys, preset| open(keys, preset, &[]))?;
        }
        let mut instrument = described.clone();
        instrument.response = match &described.response {
            Some(Response::Described(keys)) => Some(Response::Open(self.response(keys)?)),
            None if spectral => response_of(bands.iter().copied()).map(Response::Open),
            given => given.clone(),
        };
        if instrument.noise_variance.is_none() {
            instrument.noise_variance = Preset::noise_variance(&bands).map(Into::into);
        }
        // Reprojected pixels are whole numbers of cells.
        if instrument.footprint.is_none() && keys.reproject.is_some() && target.lattice_offset(source.grid()).is_none()
        {
            instrument.footprint = Some(Footprint::Uniform);
        }
        let layers = instrument.offset_layer.as_mut().and_then(Structure::given_mut);
        for layer in layers.into_iter().flatten() {
            if let Some(groups) = &layer.group {
                layer.group = Some(Groups::Open(self.groups(groups, source.as_ref())?));
            }
        }
        instrument.source = Some(source);
        Ok(instrument)
    }

    /// The response of an instrument's bands.
    fn response(&self, keys: &ResponseKeys) -> Result<SpectralResponse> {
        match keys {
            ResponseKeys { centre_nm: Some(centres), fwhm_nm: Some(widths), table: None } => {
                SpectralResponse::gaussian(centres.clone(), widths.clone())
            }
            ResponseKeys { centre_nm: None, fwhm_nm: None, table: Some(table) } => {
                SpectralResponse::from_csv(self.folder.join(table))
            }
            _ => Err(Error::setting("response", "give either `centre_nm` and `fwhm_nm`, or `table`")),
        }
    }

    /// The groups of an instrument's acquisitions.
    fn groups(&self, groups: &Groups, source: &dyn RasterSource) -> Result<AcquisitionGroups> {
        match groups {
            Groups::Pattern(pattern) => AcquisitionGroups::from_paths(source, pattern),
            Groups::Table(table) => AcquisitionGroups::from_csv(self.folder.join(table)),
            Groups::Open(groups) => Ok(groups.clone()),
        }
        .map_err(|error| error.under_key("offset_layer.group"))
    }

    /// The instrument of this name, and where its files are.
    fn described(&self, name: &str) -> Result<Described<'_>> {
        let instruments = &self.description.instrument;
        let mut described = instruments.iter().zip(&self.sources);
        described.find(|(instrument, _)| instrument.name == name).ok_or_else(|| {
            let names: Vec<&str> = instruments.iter().map(|instrument| instrument.name.as_str()).collect();
            Error::setting("instrument", format!("none is called {name:?}; there are {names:?}"))
        })
    }

    /// Opens the files of the instrument `name` as a run would, whatever else the description lacks: the files of its
    /// `[basis]` need not be there yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such instrument, and those of
    /// [`StackBuilder::open`](crate::source::StackBuilder::open).
    pub fn source(&self, name: &str) -> Result<InstrumentSource> {
        self.naming(self.source_of(name))
    }

    fn source_of(&self, name: &str) -> Result<InstrumentSource> {
        let instrument = self.instrument(self.described(name)?, &self.target()?)?;
        let source = Arc::clone(instrument.opened()?);
        let centres = match instrument.response {
            Some(Response::Open(SpectralResponse::Gaussian { centre_nm, .. })) => Some(centre_nm),
            _ => None,
        };
        let target = || {
            let held = self.description.target.wavelengths_nm.clone();
            held.filter(|held| held.len() == source.bands().len())
        };
        let wavelengths_nm = centres.or_else(target);
        Ok(InstrumentSource {
            source,
            noise_variance: instrument.noise_variance.and_then(|noise| noise.fixed()),
            wavelengths_nm,
        })
    }

    /// The instruments of these names, or all whose pixels are cells of the target, opened.
    pub(super) fn instruments_with_cells(&self, names: &[String], target: &Grid) -> Result<Vec<Instrument>> {
        for name in names {
            self.described(name)?;
        }
        let described = self.description.instrument.iter().zip(&self.sources);
        let wanted = described.filter(|(instrument, _)| names.is_empty() || names.contains(&instrument.name));
        let opened = wanted.map(|described| self.instrument(described, target)).collect::<Result<Vec<_>>>()?;
        Ok(opened.into_iter().filter(|opened| !names.is_empty() || opened.observes_cells(target)).collect())
    }
}

/// Takes what a store that is there already decides where the description leaves it open: its tiles, whatever memory there
/// is now, and its first day and dates, whatever files are still there.
fn continue_series(description: &mut Description, sink: &ZarrSink, existing: &ExistingSeries) -> Result<()> {
    if description.output.tile.is_none() {
        description.output.tile = sink.tile_shape()?.map(Into::into);
    }
    description.time.began = existing.settings.get("time.start").and_then(|text| text.parse().ok());
    if description.time.output == OutputDates::Observed && existing.visible > 0 {
        description.time.held = FusedSeries::open(sink.place())?.dates().to_vec();
    }
    Ok(())
}

impl From<Reproject> for Resampling {
    fn from(reproject: Reproject) -> Self {
        match reproject {
            Reproject::Nearest => Self::Nearest,
            Reproject::Bilinear => Self::Bilinear,
            Reproject::Cubic => Self::Cubic,
            Reproject::Average => Self::Average,
        }
    }
}
