//! Window states on disk, one file per tile and date, from which runs resume and append.
//!
//! A file holds a record (JSON: progress of the tile, settings, statistics) and, in a full checkpoint, the states of
//! its windows or of strips of its independent cells, each as a zstd frame with a checksum. A light checkpoint is a
//! raster of the tile's own cells.

mod frames;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
mod fuzz;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use ndarray::Array3;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Fusion;
use super::carried::Carried;
use super::cells::RowStrip;
use super::compress::{compress, damaged, decompress};
use super::summary::Summary;
use super::tile::{States, TileState};
use super::window::{PartState, WindowState};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::series::Settings;
use frames::{read_frame, read_frames, read_header, write_frame, write_frames, write_header};

#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use fuzz::fuzz;

/// A date that a tile has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PassedStep {
    pub(super) date: Date,
    pub(super) output: bool,
    pub(super) instruments: Vec<usize>,
    /// For instruments with group offsets: the group of the acquisition in each layer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) groups: BTreeMap<usize, Vec<Option<String>>>,
}

/// Progress of a tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Settings of the series.
    pub(super) settings: Settings,
    /// Observations up to this date have been assimilated.
    pub(super) date: Date,
    /// The steps up to this date.
    pub(super) steps: Vec<PassedStep>,
    /// Whether the series ended here: results that waited for the lag have been output.
    pub(super) ended: bool,
    /// Number of dates of the output axis, from its start, whose blocks are on disk.
    pub(super) written: usize,
    pub(super) summary: Summary,
    /// Failed windows, or failed cells of the tile.
    pub(super) failed: Vec<usize>,
    /// Whether the states follow.
    pub(super) full: bool,
    /// The date of the light state that belongs to this record.
    pub(super) light: Option<Date>,
}

/// Own cells of a tile on a date.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LightState {
    pub(super) date: Date,
    /// Means, then the lower triangle of the covariance row by row. **Shape** (p + p (p + 1) / 2, y, x). NaN where a
    /// window failed.
    pub(super) values: Array3<f64>,
}

#[derive(Serialize, Deserialize)]
struct LightHeader {
    settings: Settings,
    date: Date,
    shape: (usize, usize, usize),
}

/// The folder that holds the checkpoints of a series, next to its store.
#[derive(Clone, Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
}

/// The file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateFile {
    pub(super) date: Date,
    pub(super) path: PathBuf,
}

/// The checkpoints of a series, by tile, the newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct StateList {
    pub(super) records: BTreeMap<(usize, usize), Vec<StateFile>>,
    pub(super) lights: BTreeMap<(usize, usize), Vec<StateFile>>,
}

const STATE: &str = "state";
const LIGHT: &str = "light";

impl StateFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What there is.
    pub(super) fn list(&self) -> Result<StateList> {
        let mut list = StateList::default();
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(list),
            entries => entries.map_err(|error| failed(&self.path, error))?,
        };
        for entry in entries {
            let path = entry.map_err(|error| failed(&self.path, error))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some((tile, date, kind)) = parse_name(&name) else { continue };
            let files = if kind == STATE { &mut list.records } else { &mut list.lights };
            files.entry(tile).or_default().push(StateFile { date, path });
        }
        for files in list.records.values_mut().chain(list.lights.values_mut()) {
            files.sort_by_key(|file| std::cmp::Reverse(file.date));
        }
        Ok(list)
    }

    /// The light state of a tile on a date.
    pub(super) fn light(&self, tile: (usize, usize), date: Date) -> StateFile {
        StateFile { date, path: self.file(tile, date, LIGHT) }
    }

    fn file(&self, (row, col): (usize, usize), date: Date, kind: &str) -> PathBuf {
        self.path.join(format!("tile-{row}-{col}.{date}.{kind}"))
    }

    /// Removes every checkpoint of a series that no longer exists.
    pub(super) fn clear(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|extension| extension == STATE || extension == LIGHT) {
                fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    /// Removes the folder.
    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(|error| failed(&self.path, error))
    }

    /// Removes the lock of a tile, which no process holds.
    pub(super) fn unlock(&self, (row, col): (usize, usize)) -> Result<()> {
        let path = self.path.join(format!("tile-{row}-{col}.lock"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }

    /// Writes the record of a tile and, if the record requires it, the states.
    pub(super) fn save(&self, fusion: &Fusion, record: &Record, tile: &TileState) -> Result<StateFile> {
        let path = self.file(tile.tile.index, record.date, STATE);
        replace(&path, |file| {
            write_header(file, record)?;
            if !record.full {
                return Ok(());
            }
            match &tile.states {
                States::Windows(windows) => write_frames(file, fusion, windows, WindowState::snapshot),
                States::Cells(cells) => {
                    write_frame(file, &cells.dates())?;
                    write_frames(file, fusion, cells.strips(), RowStrip::snapshot)
                }
            }
        })?;
        Ok(StateFile { date: record.date, path })
    }

    pub(super) fn save_light(&self, settings: &Settings, tile: (usize, usize), light: &LightState) -> Result<()> {
        replace(&self.file(tile, light.date, LIGHT), |file| {
            write_header(
                file,
                &LightHeader { settings: settings.clone(), date: light.date, shape: light.values.dim() },
            )?;
            // One layer at a time, so that memory stays bounded.
            for layer in light.values.outer_iter() {
                let bytes: Vec<u8> = layer.iter().flat_map(|value| value.to_le_bytes()).collect();
                write_frame(file, &compress(&bytes, size_of::<f64>())?)?;
            }
            Ok(())
        })
    }
}

impl StateFile {
    /// Removes the file.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.path, error)),
            _ => Ok(()),
        }
    }

    pub(super) fn record(&self) -> Result<Record> {
        self.open().map(|(_, record)| record)
    }

    fn open<H: DeserializeOwned>(&self) -> Result<(BufReader<File>, H)> {
        let open = || {
            let mut file = BufReader::new(File::open(&self.path)?);
            let header = read_header(&mut file)?;
            Ok((file, header))
        };
        open().map_err(|error| failed(&self.path, error))
    }

    /// Restores the windows of a tile.
    pub(super) fn load(&self, fusion: &Fusion, tile: &mut TileState) -> Result<Record> {
        let (mut file, record): (_, Record) = self.open()?;
        tile.set_failed(&record.failed);
        if record.full {
            let mut load = || -> io::Result<()> {
                match &mut tile.states {
                    States::Windows(windows) => read_frames(&mut file, fusion, windows, WindowState::restore)?,
                    States::Cells(cells) => {
                        cells.restore_dates(&read_frame(&mut file)?)?;
                        read_frames(&mut file, fusion, cells.strips_mut(), RowStrip::restore)?;
                    }
                }
                if file.read(&mut [0])? > 0 { Err(damaged("it holds more than its states")) } else { Ok(()) }
            };
            load().map_err(|error| failed(&self.path, error))?;
        }
        Ok(record)
    }

    pub(super) fn light(&self, settings: &Settings) -> Result<LightState> {
        let (mut file, header): (_, LightHeader) = self.open()?;
        let mut load = || -> io::Result<LightState> {
            let mut values = Vec::new();
            for _ in 0..header.shape.0 {
                let bytes = decompress(&read_frame(&mut file)?, size_of::<f64>())?;
                values.extend(bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default())));
            }
            let values = Array3::from_shape_vec(header.shape, values).map_err(|_| damaged("its shape is wrong"))?;
            if header.settings != *settings {
                return Err(damaged("it belongs to a series of other settings"));
            }
            Ok(LightState { date: header.date, values })
        };
        load().map_err(|error| failed(&self.path, error))
    }
}

/// Tile, date and kind of `tile-0-3.2020-04-09.state`.
fn parse_name(name: &str) -> Option<((usize, usize), Date, &str)> {
    let mut parts = name.split('.');
    let (tile, date, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let (row, col) = tile.strip_prefix("tile-")?.split_once('-')?;
    let known = parts.next().is_none() && [STATE, LIGHT].contains(&kind);
    known.then_some(((row.parse().ok()?, col.parse().ok()?), date.parse().ok()?, kind))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: error.to_string(), source: Some(Box::new(error)) }
}

/// Writes a temporary file next to the target and renames it. The contents are on disk before the rename.
fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    // One temporary name for each tile, so that a file left by a killed run is overwritten.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!("{}.partial", name.split('.').next().unwrap_or_default()));
    let replace = || {
        let mut file = BufWriter::new(File::create(&temporary)?);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    replace().map_err(|error| {
        // The disk may be full: no partial file must remain. The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        let problem = format!("cannot write the checkpoint: {error}; what was written before can be resumed");
        Error::Store { path: path.to_path_buf(), problem, source: Some(Box::new(error)) }
    })
}

impl WindowState {
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![u8::from(self.widened)];
        if !self.failed {
            for part in &self.parts {
                part.append_snapshot(&mut bytes);
            }
        }
        compress(&bytes, size_of::<f64>())
    }

    fn restore(&mut self, frame: &[u8]) -> io::Result<()> {
        let bytes = decompress(frame, size_of::<f64>())?;
        let (&widened, mut rest) = bytes.split_first().ok_or_else(|| damaged("a window is empty"))?;
        self.widened = widened != 0;
        if !self.failed {
            for part in &mut self.parts {
                rest = part.restore_snapshot(rest).ok_or_else(|| damaged("a window has another shape"))?;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(damaged("a window has another shape")) }
    }
}

impl PartState {
    fn append_snapshot(&self, target: &mut Vec<u8>) {
        target.push(u8::from(matches!(self.state, Carried::Double(_))));
        target.extend_from_slice(&self.date.days_since_epoch().to_le_bytes());
        match &self.state {
            Carried::Double(state) => state.append_snapshot(target),
            Carried::Single(state) => state.append_snapshot(target),
        }
        self.inflation.append_snapshot(target);
        self.scale.iter().for_each(|scale| scale.append_snapshot(target));
    }

    /// Returns the bytes that follow the part's own.
    fn restore_snapshot<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (&double, bytes) = bytes.split_first()?;
        let (days, bytes) = bytes.split_first_chunk()?;
        self.set_date(Date::from_days(i32::from_le_bytes(*days)));
        if let (1, Carried::Single(state)) = (double, &self.state) {
            // The part had already left float32 when the snapshot was taken.
            self.state = Carried::Double(state.cast());
        }
        let bytes = match &mut self.state {
            Carried::Double(state) => state.restore_snapshot(bytes),
            Carried::Single(state) => state.restore_snapshot(bytes),
        };
        let bytes = self.inflation.restore_snapshot(bytes.ok()?, &mut self.dynamics)?;
        match &mut self.scale {
            Some(scale) => scale.restore_snapshot(bytes),
            None => Some(bytes),
        }
    }
}
