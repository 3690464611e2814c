//! Reads a region of one date: granules that meet it are masked and mosaicked.

use std::ops::Range;

use ndarray::{Array3, Axis, s};

use super::layout::Plane;
use super::views::Flags;
use super::{GranuleFile, LocatedGranule, RasterStack};
use crate::error::{Error, Result, shown};
use crate::geometry::PixelRegion;
use crate::source::gdal::{OpenRaster, ReadFailure, Valid, View, persistently};
use crate::source::losses::EVERYTHING;
use crate::source::quality::Tables;
use crate::source::{Calibration, Losses, Quality};

/// Which rules hide values.
#[derive(Clone, Copy, Debug)]
struct Rules {
    quality: bool,
    range: bool,
}

impl Rules {
    const ALL: Self = Self { quality: true, range: true };

    /// The range of values that counts. Without the rule it hides nothing, nor are numbers refused that it hides with it.
    fn valid_range(self, given: Option<(f64, f64)>) -> Option<(f64, f64)> {
        given.map(|range| if self.range { range } else { EVERYTHING })
    }
}

/// Values of a region and, where the product has uncertainty, their noise variances; **shape** (band, y, x).
pub(super) struct RegionValues {
    pub(super) values: Array3<f64>,
    pub(super) noise: Option<Array3<f64>>,
}

impl RegionValues {
    fn missing(stack: &RasterStack, bands: usize, region: &PixelRegion) -> Self {
        let nothing = || Array3::from_elem((bands, region.rows.len(), region.cols.len()), f64::NAN);
        Self { values: nothing(), noise: (!stack.layout.uncertainty.is_empty()).then(nothing) }
    }

    /// Fills missing values from the block that a granule gives for `part`.
    fn fill(&mut self, region: &PixelRegion, part: &PixelRegion, block: &Self) {
        let within = |range: &Range<usize>, start: usize| range.start - start..range.end - start;
        let rows = within(&part.rows, region.rows.start);
        let cols = within(&part.cols, region.cols.start);
        let window = s![.., rows, cols];
        let mut values = self.values.slice_mut(window);
        if let (Some(noise), Some(new)) = (&mut self.noise, &block.noise) {
            ndarray::Zip::from(noise.slice_mut(window)).and(&values).and(new).for_each(|noise, held, new| {
                if held.is_nan() {
                    *noise = *new;
                }
            });
        }
        values.zip_mut_with(&block.values, |held, new| {
            if held.is_nan() {
                *held = *new;
            }
        });
    }

    /// Whether no value of a part is missing.
    fn is_complete(&self, region: &PixelRegion, part: &PixelRegion) -> bool {
        let rows = part.rows.start - region.rows.start..part.rows.end - region.rows.start;
        let cols = part.cols.start - region.cols.start..part.cols.end - region.cols.start;
        self.values.slice(s![.., rows, cols]).iter().all(|value| !value.is_nan())
    }
}

impl RasterStack {
    /// Reads bands of date number `date` inside `region`. The first granule with a valid value of a pixel and band
    /// provides it.
    pub(super) fn read_mosaic(&self, date: usize, bands: &[usize], region: &PixelRegion) -> Result<RegionValues> {
        self.read_by(Rules::ALL, date, bands, region)
    }

    /// What became of the values of a band on date number `date` inside `region`.
    pub(super) fn losses_of(&self, date: usize, band: usize, region: &PixelRegion) -> Result<Losses> {
        let left = |rules: Rules| {
            let block = self.read_by(rules, date, &[band], region)?;
            Ok(block.values.iter().filter(|value| !value.is_nan()).count() as u64)
        };
        let stored = left(Rules { quality: false, range: false })?;
        let visible = left(Rules { range: false, ..Rules::ALL })?;
        let valid = left(Rules::ALL)?;
        let mut reached = vec![false; region.len()];
        for part in &self.parts[self.first_part[date]..self.first_part[date + 1]] {
            let shared = part.cells(self.layout.data_files).intersection(region);
            for row in shared.rows.clone() {
                let first = (row - region.rows.start) * region.cols.len() + shared.cols.start - region.cols.start;
                reached[first..first + shared.cols.len()].fill(true);
            }
        }
        let reached = reached.iter().filter(|reached| **reached).count() as u64;
        Ok(Losses {
            place: region.len() as u64 - reached,
            nodata: reached.saturating_sub(stored),
            quality: stored.saturating_sub(visible),
            range: visible.saturating_sub(valid),
            left: valid,
            ..Losses::default()
        })
    }

    fn read_by(&self, rules: Rules, date: usize, bands: &[usize], region: &PixelRegion) -> Result<RegionValues> {
        let read_part = |index: usize, region: &PixelRegion| {
            let files = self.parts[index].files.iter().map(|file| &*file.path);
            persistently(self.drivers.remote(), files, || self.read_part(rules, index, bands, region))
        };
        let of_date = self.first_part[date]..self.first_part[date + 1];
        if let Some((part, fault)) =
            self.parts[of_date.clone()].iter().find_map(|part| Some((part, part.fault.as_ref()?)))
        {
            let (path, date, problem) = (fault.path.clone(), Some(part.date), fault.problem.clone());
            return Err(Error::Open { path, date, problem, source: None });
        }
        let meeting = |index: &usize| {
            let shared = self.parts[*index].cells(self.layout.data_files).intersection(region);
            (!shared.is_empty()).then_some((*index, shared))
        };
        let mut meeting = of_date.filter_map(|index| meeting(&index)).peekable();
        let Some((index, shared)) = meeting.next() else { return Ok(RegionValues::missing(self, bands.len(), region)) };
        if shared == *region && meeting.peek().is_none() {
            return read_part(index, region);
        }
        let mut block = RegionValues::missing(self, bands.len(), region);
        block.fill(region, &shared, &read_part(index, &shared)?);
        for (index, shared) in meeting {
            if !block.is_complete(region, &shared) {
                block.fill(region, &shared, &read_part(index, &shared)?);
            }
        }
        Ok(block)
    }

    /// The masks of the quality rules for `bands`: one mask of all bands where a rule applies to all, and one for
    /// each band.
    fn hidden(&self, reader: &GranuleReader<'_>, bands: &[usize]) -> Result<Vec<QualityMask>> {
        let mut masks: Vec<QualityMask> = Vec::new();
        for (index, ((rule, tables), planes)) in self.quality.iter().zip(&self.layout.quality).enumerate() {
            let wanted: Vec<(Range<usize>, Plane)> = match planes.as_slice() {
                [only] => vec![(0..bands.len(), *only)],
                each => bands.iter().enumerate().map(|(k, &band)| (k..k + 1, each[band])).collect(),
            };
            for (planes, plane) in wanted {
                let cells = reader.hidden(index, (rule, tables), plane)?;
                match masks.iter_mut().find(|mask| mask.planes == planes) {
                    Some(mask) => mask.add(&cells),
                    None => masks.push(QualityMask { planes, cells }),
                }
            }
        }
        Ok(masks)
    }

    /// Reads bands of one granule inside `region` of the stack, which the granule meets.
    fn read_part(&self, rules: Rules, index: usize, bands: &[usize], region: &PixelRegion) -> Result<RegionValues> {
        let reader = GranuleReader { stack: self, rules, part: &self.parts[index], index, region };
        let hidden = if rules.quality { self.hidden(&reader, bands)? } else { Vec::new() };
        if hidden.iter().any(|mask| mask.planes.len() == bands.len() && mask.cells.iter().all(|hidden| *hidden)) {
            return Ok(RegionValues::missing(self, bands.len(), region));
        }
        let mut calibration = self.parts[index].calibration(&self.calibration);
        calibration.valid_range = rules.valid_range(calibration.valid_range);
        let planes: Vec<Plane> = bands.iter().map(|&band| self.layout.bands[band]).collect();
        let mut block = RegionValues { values: reader.planes(&planes, bands, &calibration)?, noise: None };
        for mask in &hidden {
            for plane in mask.planes.clone() {
                let mut plane = block.values.index_axis_mut(Axis(0), plane);
                let Some(values) = plane.as_slice_mut() else { continue };
                for (value, hidden) in values.iter_mut().zip(&mask.cells) {
                    *value = if *hidden { f64::NAN } else { *value };
                }
            }
        }
        if let Some(rule) = &self.uncertainty {
            let planes: Vec<Plane> = bands.iter().map(|&band| self.layout.uncertainty[band]).collect();
            let mut noise = reader.planes(&planes, bands, &rule.calibration())?;
            if let Some(values) = noise.as_slice_mut() {
                rule.to_variances(values);
            }
            block.noise = Some(noise);
        }
        Ok(block)
    }
}

/// Cells of a region that quality hides, in some planes of a block.
struct QualityMask {
    planes: Range<usize>,
    cells: Vec<bool>,
}

impl QualityMask {
    fn add(&mut self, other: &[bool]) {
        self.cells.iter_mut().zip(other).for_each(|(hidden, other)| *hidden |= other);
    }
}

/// Reads the files of one granule inside a region of the stack.
struct GranuleReader<'a> {
    stack: &'a RasterStack,
    rules: Rules,
    part: &'a LocatedGranule,
    index: usize,
    region: &'a PixelRegion,
}

impl GranuleReader<'_> {
    /// Calls a function with the open file, which comes from the pool or is opened. With `flags`, a view uses the
    /// resampling of flags.
    fn with_raster<T>(
        &self,
        file: usize,
        (flags, view): (bool, Option<&View>),
        read: impl FnOnce(&OpenRaster) -> Result<T>,
    ) -> Result<T> {
        let kind = match (view, flags, self.rules.range) {
            (Some(_), true, _) => 1,
            (Some(_), false, false) => 2,
            _ => 0,
        };
        let number = (self.index * self.stack.layout.files + file) * 3 + kind;
        let GranuleFile { path, promised, traits, placement } = &self.part.files[file];
        let raster = match (self.stack.pool.take(number), view) {
            (Some(raster), _) => raster,
            (None, None) => {
                let known = (traits, &self.stack.traits);
                let raster = OpenRaster::open(path, self.part.date, &self.stack.drivers, known)?;
                if let Some(problem) = promised.as_ref().and_then(|promised| raster.breaks(promised)) {
                    let (path, date) = (path.to_path_buf(), self.part.date);
                    return Err(Error::Inconsistent { path, date, problem });
                }
                raster
            }
            (None, Some(view)) => {
                let own = &self.part.files[file];
                let data = self.stack.layout.bands.iter().filter(|plane| plane.file == file && !flags);
                let bands: Vec<usize> = data.map(|plane| own.band(plane.band)).collect();
                let mut calibration = self.part.calibration(&self.stack.calibration);
                calibration.valid_range = self.rules.valid_range(calibration.valid_range);
                let valid = Valid { calibration: &calibration, bands: &bands };
                let view = (view, placement.native.filter(|_| !flags));
                OpenRaster::open_view(path, self.part.date, view, None, Some(valid))?
            }
        };
        let result = read(&raster)?;
        self.stack.extremes.note_in(raster.take_extreme(), self.part.date, path);
        self.stack.pool.put_back(number, raster);
        Ok(result)
    }

    /// Reads planes, **shape** (plane, y, x). `bands` are those of the stack and appear in messages only.
    fn planes(&self, planes: &[Plane], bands: &[usize], calibration: &Calibration) -> Result<Array3<f64>> {
        let shape = (planes.len(), self.region.rows.len(), self.region.cols.len());
        if let Some(values) = self.planes_in_order(planes, bands, calibration)?
            && let Ok(values) = Array3::from_shape_vec(shape, values)
        {
            return Ok(values);
        }
        let mut values = Array3::zeros(shape);
        self.planes_by_file(planes, bands, calibration, &mut values)?;
        Ok(values)
    }

    /// The view on which data files are opened.
    fn data_view(&self) -> Option<&View> {
        self.stack.views.as_ref().map(|views| &views.data)
    }

    /// Reads planes one after another. `None` where pixels are not cells, where the region extends beyond a file, or
    /// where blocks that hold several bands would be decoded once for each band.
    fn planes_in_order(
        &self,
        planes: &[Plane],
        bands: &[usize],
        calibration: &Calibration,
    ) -> Result<Option<Vec<f64>>> {
        let mut values = Vec::with_capacity(planes.len() * self.region.len());
        let mut next = 0;
        for run in planes.chunk_by(|a, b| a.file == b.file) {
            let file = run[0].file;
            let location = &self.part.files[file].placement.location;
            let window = location.window(self.region, 0);
            if !location.is_same() || window.shape() != self.region.shape() {
                return Ok(None);
            }
            let read = self.with_raster(file, (false, self.data_view()), |raster| {
                if !raster.reads_at_once(run.len(), &window) {
                    return Ok(false);
                }
                for (plane, &band) in run.iter().zip(&bands[next..]) {
                    let name = &self.stack.layout.names[band];
                    let own = self.part.files[file].band(plane.band);
                    let read = raster.append(own, &window, calibration, &mut values);
                    read.map_err(|failure| self.failed(file, &window, name.clone(), failure))?;
                }
                Ok(true)
            })?;
            if !read {
                return Ok(None);
            }
            next += run.len();
        }
        Ok(Some(values))
    }

    /// Reads planes into the layers of `out`, file by file.
    fn planes_by_file(
        &self,
        planes: &[Plane],
        bands: &[usize],
        calibration: &Calibration,
        out: &mut Array3<f64>,
    ) -> Result<()> {
        let Some(out) = out.as_slice_mut() else { return Ok(()) };
        let mut layers: Vec<Option<&mut [f64]>> = match self.region.len() {
            0 => return Ok(()),
            len => out.chunks_exact_mut(len).map(Some).collect(),
        };
        for file in 0..self.stack.layout.files {
            let mine: Vec<usize> = (0..planes.len()).filter(|&k| planes[k].file == file).collect();
            if mine.is_empty() {
                continue;
            }
            let positions: Vec<usize> = mine.iter().map(|&k| self.part.files[file].band(planes[k].band)).collect();
            let mut targets: Vec<&mut [f64]> = mine.iter().filter_map(|&k| layers[k].take()).collect();
            let name = |position: usize| {
                let at = positions.iter().position(|held| *held == position).map(|at| bands[mine[at]]);
                at.map_or_else(String::new, |band| self.stack.layout.names[band].clone())
            };
            self.with_raster(file, (false, self.data_view()), |raster| {
                let location = &self.part.files[file].placement.location;
                let window = location.window(self.region, 0);
                let failed = |failure: ReadFailure| self.failed(file, &window, name(failure.band), failure);
                if location.is_same() && window.shape() == self.region.shape() {
                    return raster.read(&positions, &window, calibration, &mut targets).map_err(failed);
                }
                let mut own = vec![0.0; window.len() * positions.len()];
                if !window.is_empty() {
                    let mut own: Vec<&mut [f64]> = own.chunks_exact_mut(window.len()).collect();
                    raster.read(&positions, &window, calibration, &mut own).map_err(failed)?;
                }
                for (k, target) in targets.iter_mut().enumerate() {
                    let values = &own[k * window.len()..(k + 1) * window.len()];
                    location.spread(
                        &window,
                        values,
                        self.region,
                        f64::NAN,
                        |a, _| a,
                        |cell, value| target[cell] = value,
                    );
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The cells of the region that a quality rule hides.
    fn hidden(&self, index: usize, (rule, tables): (&Quality, &Tables), plane: Plane) -> Result<Vec<bool>> {
        let (view, location) = match &self.stack.views {
            None => (None, self.part.files[plane.file].placement.location),
            Some(views) => {
                let Flags { view, location, .. } = &views.flags()[index];
                (Some(view), *location)
            }
        };
        let window = location.window(self.region, rule.margin());
        if window.is_empty() {
            return Ok(vec![true; self.region.len()]);
        }
        let codes = self.with_raster(plane.file, (true, view), |raster| {
            raster
                .codes(self.part.files[plane.file].band(plane.band), &window, rule)
                .map_err(|failure| self.failed(plane.file, &window, "quality".into(), failure))
        })?;
        let own = rule.hidden(&codes, window.cols.len(), tables).map_err(|problem| Error::Read {
            origin: shown(&self.part.files[plane.file].path),
            date: self.part.date,
            band: "quality".into(),
            rows: window.rows.clone(),
            cols: window.cols.clone(),
            problem,
            source: None,
        })?;
        // No margin, and the region lies inside the raster.
        if location.is_same() && window == location.window(self.region, 0) && window.shape() == self.region.shape() {
            return Ok(own);
        }
        let mut hidden = vec![true; self.region.len()];
        location.spread(&window, &own, self.region, true, |a, b| a | b, |cell, value| hidden[cell] = value);
        Ok(hidden)
    }

    fn failed(&self, file: usize, window: &PixelRegion, band: String, failure: ReadFailure) -> Error {
        Error::Read {
            origin: shown(&self.part.files[file].path),
            date: self.part.date,
            band,
            rows: window.rows.clone(),
            cols: window.cols.clone(),
            problem: failure.problem(&self.part.files[file].path, "replace it, or take it out of `files`"),
            source: failure.into_source(),
        }
    }
}
