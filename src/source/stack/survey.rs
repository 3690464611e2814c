//! Survey of a stack at opening: the header of every file, and its location.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use regex::Regex;

use super::agree::{HeaderLog, Refused, path_in};
use super::doubts::doubts;
use super::granule::Granule;
use super::layout::StackLayout;
use super::location::{StackLocation, refined};
use super::placement::{Placement, Placements};
use super::settle::{move_all, settle, tell_far};
use super::steps::OffsetSteps;
use super::views::Views;
use super::{GranuleFault, GranuleFile, LocatedGranule, StackBuilder};
use crate::error::{Error, Result, shown};
use crate::geometry::{Date, Grid};
use crate::source::gdal::{Aligned, Pool, RasterHeader, Reach};
use crate::source::same_crs;

/// Largest number of parts, per side, into which a pixel is cut.
const FINEST: f64 = 1000.0;

/// Properties of the first sound granule, which all others must match.
struct Reference {
    layout: StackLayout,
    /// The lattice of the stack: cells of its size from some corner.
    lattice: Grid,
    files: Vec<PathBuf>,
    bands: Vec<Vec<String>>,
    /// Whether the bands of the first file have names of their own.
    named: bool,
    /// (width, height) of the pixels of each file; on another grid, of the first granule that reaches it.
    cell_sizes: Vec<(f64, f64)>,
    /// Whether a granule reaches the other grid.
    reaches: bool,
    locations: Vec<StackLocation>,
    date: Date,
    block_shape: Option<(usize, usize)>,
}

/// State of the survey while headers are read.
#[derive(Default)]
struct SurveyState {
    reference: Option<Reference>,
    /// Candidate grids of the view, where files are read on another grid.
    aligned: Option<Aligned>,
    /// Header of the file that needs most memory while it is open.
    largest: Option<RasterHeader>,
    /// What part of the target the files reach.
    reach: Option<Reach>,
    /// What the headers say.
    log: HeaderLog,
}

/// The file at fault and what is wrong with it.
fn fault_of(error: &Error, granule: &Path) -> (PathBuf, String) {
    match error {
        Error::Open { path, problem, .. } | Error::Inconsistent { path, problem, .. } => {
            (path.clone(), problem.clone())
        }
        other => (granule.to_path_buf(), other.to_string()),
    }
}

fn fault_in(granule: &Path, path: PathBuf, problem: String) -> GranuleFault {
    GranuleFault { granule: granule.to_path_buf(), path, problem }
}

/// The files of a granule where they were found to lie.
fn granule_files(granule: &Granule, surveyed: Vec<Placement>, placements: &mut Placements) -> Box<[GranuleFile]> {
    let promised = granule.promised.iter().cloned().chain(std::iter::repeat(None));
    let file = |((path, promised), placement): ((&PathBuf, _), Placement)| GranuleFile {
        path: path.as_path().into(),
        promised,
        placement: placements.shared(placement),
        traits: OnceLock::new(),
    };
    granule.all_files().zip(promised).zip(surveyed).map(file).collect()
}

impl Granule {
    /// Its own offset, or the one that its path selects.
    fn offset_by(&self, steps: Option<(&OffsetSteps, &Regex)>) -> Result<Option<f64>> {
        match (self.offset, steps) {
            (None, Some((steps, regex))) => steps.offset_of(self.name(), regex).map(Some),
            (own, _) => Ok(own),
        }
    }
}

/// Whether none of a granule's files reaches the other grid on which they are read.
fn is_far(files: &[Placement]) -> bool {
    files.iter().all(|file| file.native.is_none())
}

/// Result of the survey.
pub(super) struct Survey {
    pub(super) layout: StackLayout,
    pub(super) grid: Grid,
    pub(super) views: Option<Views>,
    pub(super) parts: Vec<LocatedGranule>,
    pub(super) block_shape: Option<(usize, usize)>,
    pub(super) open_file_bytes: u64,
    /// Share of the target that files reach, where there is one.
    pub(super) coverage: Option<f64>,
    pub(super) warnings: Vec<String>,
}

impl StackBuilder {
    /// Reads every header. With `lenient`, the fault of a granule is recorded with it, as long as one granule is
    /// sound.
    pub(super) fn survey(&self, granules: Vec<Granule>) -> Result<Survey> {
        let mut found = SurveyState {
            aligned: self.onto.as_ref().map(|(target, _)| Aligned::new(target).keeping(self.lines)),
            reach: match (&self.onto, &self.covering) {
                (Some((target, _)), _) => Some(Reach::new(target, true)),
                (None, target) => target.as_ref().map(|target| Reach::new(target, false)),
            },
            ..SurveyState::default()
        };
        let mut first_error = None;
        let mut parts = Vec::with_capacity(granules.len());
        let steps = self.offset_steps.as_ref().filter(|_| self.calibration.offset.is_none());
        let steps = steps.map(|steps| Ok::<_, Error>((steps, steps.compile()?))).transpose()?;
        let (mut far, mut placements) = (Vec::new(), Placements::default());
        for (granule, headers) in self.with_headers(granules)? {
            let offset = || granule.offset_by(steps.as_ref().map(|(steps, regex)| (*steps, regex)));
            let surveyed = headers.and_then(|headers| self.survey_one((&granule, headers), parts.len(), &mut found));
            let surveyed = surveyed.and_then(|surveyed| Ok((surveyed, offset()?)));
            if let Ok((files, _)) = &surveyed
                && found.aligned.is_some()
                && is_far(files)
            {
                far.push((granule.date, granule.name().to_path_buf()));
                continue;
            }
            let (sound, fault) = match (surveyed, granule.fault.clone()) {
                (_, Some(fault)) => (None, Some(fault)),
                (Ok(sound), None) => (Some(sound), None),
                (Err(error), None) if self.lenient => {
                    let fault = fault_of(&error, granule.name());
                    first_error.get_or_insert(error);
                    (None, Some(fault))
                }
                (Err(error), None) => return Err(error),
            };
            let (surveyed, offset) = sound.unwrap_or_default();
            let files = granule_files(&granule, surveyed, &mut placements);
            let fault = fault.map(|(path, problem)| Box::new(fault_in(granule.name(), path, problem)));
            parts.push(LocatedGranule { date: granule.date, files, offset, fault });
        }
        let SurveyState { reference, aligned, largest, reach, mut log } = found;
        let (Some(reference), Some(largest)) = (reference, largest) else {
            return Err(first_error.unwrap_or_else(|| Error::NoFiles {
                key: "files".into(),
                pattern: self.origin(),
                problem: "give at least one".into(),
            }));
        };
        let settled = match &aligned {
            Some(_) => None,
            None => Some(self.settled(&reference, &mut log, &mut parts, &mut far)?),
        };
        let given_offset = self.calibration.offset.is_some() || steps.is_some();
        let differences = log.differences(
            (&reference.layout, &parts),
            (&reference.bands[0], reference.named),
            (&self.calibration, given_offset),
            self.headers,
        );
        self.refuse(differences.refused, &mut parts)?;
        let (mut warnings, open_file_bytes) = (differences.told, largest.open_bytes);
        warnings.extend(doubts(&log, (&reference.layout, &parts), &self.quality));
        let coverage = reach.map(|reach| reach.share(aligned.is_some()));
        tell_far(&far, parts.len());
        let (Some(aligned), Some((_, resampling))) = (aligned, &self.onto) else {
            let Reference { layout, block_shape, lattice, .. } = reference;
            let grid = settled.unwrap_or(lattice);
            return Ok(Survey { layout, grid, views: None, parts, block_shape, open_file_bytes, coverage, warnings });
        };
        let view = aligned
            .view(*resampling)?
            .nodata(self.calibration.nodata.clone())
            .opened_by(self.drivers.clone())
            .assuming(self.crs.clone());
        let (grid, open_file_bytes) = (view.grid().clone(), view.open_bytes(&largest));
        let entire =
            StackLocation::new(&grid, &grid).map_err(|problem| Error::Grid { what: self.origin(), problem })?;
        move_all(&mut parts, |_| entire);
        let views = Some(Views::new(view, &reference.layout, &self.quality, &reference.cell_sizes)?);
        let block_shape = views.as_ref().map(|views| views.data.block_shape());
        Ok(Survey { layout: reference.layout, grid, views, parts, block_shape, open_file_bytes, coverage, warnings })
    }

    /// The grid of the parts on one lattice. Parts that do not reach the target decide nothing.
    fn settled(
        &self,
        reference: &Reference,
        log: &mut HeaderLog,
        parts: &mut Vec<LocatedGranule>,
        far: &mut Vec<(Date, PathBuf)>,
    ) -> Result<Grid> {
        let held = (&reference.lattice, reference.layout.data_files);
        let (grid, kept) = settle(held, self.covering.as_ref().filter(|_| self.mosaic), parts, far)?;
        log.keep(&kept);
        Ok(grid)
    }

    /// The names by which the bands of a file are known: its own, or what they are said to observe.
    fn names_of(&self, header: &RasterHeader) -> Vec<String> {
        let nameless = header.bands.iter().all(String::is_empty);
        let said = self
            .observed
            .as_ref()
            .filter(|names| nameless && names.len() == header.bands.len() && names.iter().all(|name| !name.is_empty()));
        said.unwrap_or(&header.bands).clone()
    }

    /// Refuses files whose headers differ from the others: their dates, where the stack is lenient.
    fn refuse(&self, refused: Vec<Refused>, parts: &mut [LocatedGranule]) -> Result<()> {
        for Refused { granule, file, problem } in refused {
            let part = &mut parts[granule];
            let path = path_in(part, file).to_path_buf();
            if !self.lenient {
                return Err(Error::Inconsistent { path, date: part.date, problem });
            }
            let fault = Box::new(fault_in(part.name(), path, problem));
            part.files = Box::default();
            part.fault.get_or_insert(fault);
        }
        Ok(())
    }

    /// How the files of granule number `index` lie on the lattice of the reference.
    fn survey_one(
        &self,
        (granule, headers): (&Granule, Vec<RasterHeader>),
        index: usize,
        found: &mut SurveyState,
    ) -> Result<Vec<Placement>> {
        let paths: Vec<&PathBuf> = granule.all_files().collect();
        let known = match &mut found.reference {
            Some(known) => known,
            reference => reference.insert(self.reference(granule, &headers)?),
        };
        let largest = headers.iter().max_by_key(|header| header.open_bytes);
        found.largest = found.largest.iter().chain(largest).max_by_key(|header| header.open_bytes).cloned();
        if paths.len() != known.layout.files {
            let (found, expected) = (paths.len(), known.layout.files);
            return Err(Error::Inconsistent {
                path: granule.name().to_path_buf(),
                date: granule.date,
                problem: format!(
                    "{found} files, but {expected} in the first acquisition of the stack ({})",
                    known.reference_name(0)
                ),
            });
        }
        let mut surveyed = Vec::with_capacity(paths.len());
        for (file, (path, header)) in paths.iter().zip(&headers).enumerate() {
            let order = band_order(known, file, path, granule.date, header)?;
            let (is_data, what) = (file < known.layout.data_files, shown(path));
            let (location, native) = match &mut found.aligned {
                None => (self.location(known, file, path, granule.date, header)?, None),
                // The location is known once all headers are read.
                Some(aligned) => (known.locations[0], if is_data { aligned.add(&what, header)? } else { None }),
            };
            if let Some(reach) = found.reach.as_mut().filter(|_| is_data)
                && let Err(error) = reach.add(&what, &header.grid)
            {
                if found.aligned.is_some() {
                    return Err(error);
                }
                // That files in another CRS must be reprojected is said where the instrument is known.
                found.reach = None;
            }
            surveyed.push(Placement { location, native, order: order.map(Vec::into_boxed_slice) });
        }
        if found.aligned.is_some() && is_far(&surveyed) {
            return Ok(surveyed);
        }
        if !known.reaches {
            known.cell_sizes = headers.iter().map(|header| header.grid.cell_size()).collect();
            known.reaches = true;
        }
        for (file, (header, own)) in headers.iter().zip(&surveyed).enumerate() {
            found.log.add(index, file, header, own.order.as_deref());
        }
        Ok(surveyed)
    }

    fn location(
        &self,
        known: &Reference,
        file: usize,
        path: &Path,
        date: Date,
        header: &RasterHeader,
    ) -> Result<StackLocation> {
        let differs = |problem: String| known.differs(file, path, date, &problem);
        let (found, expected) = (header.grid.crs(), known.lattice.crs());
        if !same_crs(found, expected) {
            let difference = found.difference(expected);
            let difference = if difference.is_empty() { difference } else { format!(" ({difference})") };
            return Err(differs(format!(
                "CRS {found}, but {expected}{difference} in the first file of the stack; give reproject = \"nearest\" (or \
                 \"bilinear\"), warp it first, or make an instrument of each CRS"
            )));
        }
        let location = StackLocation::new(&known.lattice, &header.grid).map_err(|problem| {
            differs(format!("{problem} in the first file of the stack; give reproject = \"nearest\" (or \"bilinear\"), or warp all files to one lattice"))
        })?;
        if file < known.layout.data_files && location.is_finer() {
            let ((w, _), (cell, _)) = (header.grid.cell_size(), known.lattice.cell_size());
            return Err(differs(format!(
                "cells of {w} are finer than those of the stack, {cell}; give resolution = {w}, or average the file first, for \
                 example with gdalwarp -tr {cell} {cell} -r average"
            )));
        }
        if self.resolution.is_none() && file < known.layout.data_files && !location.is_same() {
            let ((w, _), (cell, _)) = (header.grid.cell_size(), known.lattice.cell_size());
            return Err(differs(format!(
                "cells of {w} are coarser than those of the stack, {cell}; give resolution = {cell} to repeat its pixels, or make an \
                 instrument of each cell size"
            )));
        }
        if !self.mosaic && file < known.layout.data_files && location != known.locations[file] {
            return Err(differs(format!(
                "grid of {}, but {} in the first file of the stack; warp or crop all files to one grid, or give mosaic = true if \
                 each covers a part of it",
                header.grid, known.lattice
            )));
        }
        Ok(location)
    }

    /// The properties of the stack, from its first granule.
    fn reference(&self, granule: &Granule, headers: &[RasterHeader]) -> Result<Reference> {
        let layout =
            StackLayout::new(granule, headers, self.source_bands.as_deref(), &self.quality, self.uncertainty.as_ref())?;
        let first = layout.bands.first().map_or(0, |plane| plane.file);
        let grid = &headers[first].grid;
        let size = grid.cell_size();
        let other = headers[..layout.data_files].iter().position(|header| {
            let (w, h) = header.grid.cell_size();
            (w / size.0 - 1.0).abs() > 1e-6 || (h / size.1 - 1.0).abs() > 1e-6
        });
        let lattice = match (self.resolution, other) {
            (None, _) if self.onto.is_some() => grid.clone(),
            (None, None) => grid.clone(),
            (None, Some(other)) => {
                let (w, smallest) = (headers[other].grid.cell_size().0, headers[other].grid.cell_size().0.min(size.0));
                return Err(Error::setting(
                    "resolution",
                    format!(
                        "not given, but {} has cells of {} and {} of {w}; give resolution = {smallest} to repeat the coarser \
                         pixels, or make an instrument of each cell size",
                        shown(&granule.files[first]),
                        size.0,
                        shown(&granule.files[other])
                    ),
                ));
            }
            (Some(resolution), _) if size.0.max(size.1) / resolution > FINEST => {
                let problem = format!(
                    "{resolution} cuts pixels of {} x {} into more than {FINEST} a side; give a larger one",
                    size.0, size.1
                );
                return Err(Error::setting("resolution", problem));
            }
            (Some(resolution), _) => {
                let cells = |size: f64| (size / resolution).round().max(1.0) as usize;
                refined(grid, (cells(size.1), cells(size.0)))?
            }
        };
        if let Some(resolution) = self.resolution
            && (lattice.cell_size().0 / resolution - 1.0).abs() > 1e-6
        {
            let path = shown(&granule.files[first]);
            return Err(Error::setting(
                "resolution",
                format!(
                    "{resolution} does not divide the cells of {} of {path}; give that or an integer fraction of it, or average the files \
                     first, for example with gdalwarp -r average",
                    size.0
                ),
            ));
        }
        let location = |(file, header): (usize, &RasterHeader)| {
            let path = granule.all_files().nth(file).cloned().unwrap_or_default();
            StackLocation::new(&lattice, &header.grid).map_err(|problem| Error::Inconsistent {
                path,
                date: granule.date,
                problem: format!("{problem}; warp it to that lattice"),
            })
        };
        let locations = if self.onto.is_some() {
            let entire = StackLocation::new(&lattice, &lattice);
            vec![entire.map_err(|problem| Error::Grid { what: shown(granule.name()), problem })?]
        } else {
            headers.iter().enumerate().map(location).collect::<Result<Vec<StackLocation>>>()?
        };
        let block_shape = headers[first].block_shape.map(|(rows, cols)| {
            let (up_rows, up_cols) = locations.get(first).map_or((1, 1), StackLocation::cells_per_pixel);
            (rows * up_rows, cols * up_cols)
        });
        Ok(Reference {
            layout,
            lattice,
            files: granule.all_files().cloned().collect(),
            bands: headers.iter().map(|header| self.names_of(header)).collect(),
            named: headers.first().is_some_and(|header| header.bands.iter().any(|name| !name.is_empty())),
            cell_sizes: headers.iter().map(|header| header.grid.cell_size()).collect(),
            reaches: false,
            locations,
            date: granule.date,
            block_shape,
        })
    }
}

impl Reference {
    fn differs(&self, file: usize, path: &Path, date: Date, problem: &str) -> Error {
        Error::Inconsistent {
            path: path.to_path_buf(),
            date,
            problem: format!("{problem} ({})", self.reference_name(file)),
        }
    }

    /// The file with which others are compared, for messages.
    fn reference_name(&self, file: usize) -> String {
        format!("{}, {}, {}", shown(&self.files[file]), self.layout.purpose(file), self.date)
    }
}

/// Refuses a file whose bands differ from those of the first acquisition. Where they have the same names in another
/// order, returns the position of each.
fn band_order(
    known: &Reference,
    file: usize,
    path: &Path,
    date: Date,
    header: &RasterHeader,
) -> Result<Option<Vec<usize>>> {
    let differs = |problem: String| known.differs(file, path, date, &problem);
    let expected = &known.bands[file];
    if header.bands.len() != expected.len() {
        let (found, expected) = (header.bands.len(), expected.len());
        return Err(differs(format!("{found} bands, but {expected} in the first file of the stack")));
    }
    let one_each = known.layout.data_files > 1 || file >= known.layout.data_files;
    let renamed = header.bands.iter().zip(expected).position(|(a, b)| !a.is_empty() && !b.is_empty() && a != b);
    let Some(band) = renamed.filter(|_| !one_each) else { return Ok(None) };
    let place = |name: &String| {
        let mut places = (0..header.bands.len()).filter(|&at| header.bands[at] == *name);
        places.next().filter(|_| places.next().is_none() && !name.is_empty())
    };
    let order: Option<Vec<usize>> = expected.iter().map(place).collect();
    if !known.named {
        return Ok(order);
    }
    order.map(Some).ok_or_else(|| {
        let (found, expected) = (&header.bands[band], &expected[band]);
        differs(format!("band {} is {found:?}, but {expected:?} in the first file of the stack", band + 1))
    })
}

/// Upper bound on the number of handles that are open while `readers` threads read a stack of these parts.
pub(super) fn most_open(parts: &[LocatedGranule], readers: usize) -> usize {
    parts.iter().map(|part| part.files.len().max(1)).sum::<usize>().min(Pool::most_open(readers))
}
