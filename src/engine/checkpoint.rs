//! Window states on disk, one file per tile and date, from which runs resume and append.
//!
//! A file holds a record (JSON: progress of the tile, settings, statistics) and, in a full checkpoint, the states of
//! its windows or of strips of its independent cells, each as a zstd frame. A light checkpoint is a
//! raster of the tile's own cells.

mod folder;
mod frames;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
mod fuzz;
mod shown;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
use crate::series::{SeriesIdentity, Settings};
use crate::storage::{Folder, Replacing, Writer};
use folder::{LIGHT, STATE};
pub(super) use folder::{StateFolder, StateList};
use frames::{FrameReader, FrameWriter};
pub(super) use shown::Shown;

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

/// Which series, copy of it and tile a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Id of the series.
    pub(super) series: String,
    /// Its generation when the file was written.
    pub(super) generation: u64,
    /// (row, column).
    pub(super) tile: (usize, usize),
}

/// Where the checkpoints of a series are kept.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    pub(super) folder: StateFolder,
    pub(super) identity: SeriesIdentity,
}

impl Keeping {
    pub(super) fn owner(&self, tile: (usize, usize)) -> Owner {
        Owner { series: self.identity.id.clone(), generation: self.identity.generation, tile }
    }
}

/// Progress of a tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) owner: Owner,
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

/// The part of a record that says to which light state it refers.
#[derive(Deserialize)]
struct Reference {
    owner: Owner,
    date: Date,
    light: Option<Date>,
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
    owner: Owner,
    settings: Settings,
    date: Date,
    shape: (usize, usize, usize),
}

/// The file of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    pub(super) tile: (usize, usize),
    pub(super) date: Date,
    folder: Arc<dyn Folder>,
    name: String,
}

impl StateFolder {
    /// Writes the record of a tile and, if the record requires it, the states.
    pub(super) fn save(&self, fusion: &Fusion, record: &Record, tile: &TileState) -> Result<StateFile> {
        let file = self.file(tile.tile.index, record.date, STATE);
        file.save(&mut |file| {
            let mut frames = FrameWriter::new(file, record)?;
            match &tile.states {
                _ if !record.full => {}
                States::Windows(windows) => frames.write_all(fusion, windows, WindowState::snapshot)?,
                States::Cells(cells) => {
                    frames.write(&cells.dates())?;
                    frames.write_all(fusion, cells.strips(), RowStrip::snapshot)?;
                }
            }
            frames.finish()
        })?;
        Ok(file)
    }

    pub(super) fn save_light(&self, settings: &Settings, owner: &Owner, light: &LightState) -> Result<()> {
        self.file(owner.tile, light.date, LIGHT).save(&mut |file| {
            let (owner, settings) = (owner.clone(), settings.clone());
            let header = LightHeader { owner, settings, date: light.date, shape: light.values.dim() };
            let mut frames = FrameWriter::new(file, &header)?;
            // One layer at a time, so that memory stays bounded.
            for layer in light.values.outer_iter() {
                let bytes: Vec<u8> = layer.iter().flat_map(|value| value.to_le_bytes()).collect();
                frames.write(&compress(&bytes, size_of::<f64>())?)?;
            }
            frames.finish()
        })
    }
}

/// By name: there is one folder of checkpoints.
impl PartialEq for StateFile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl StateFile {
    /// Where it is, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path_of(&self.name)
    }

    /// Writes it in place of one of the same name; it survives a power loss when this returns.
    fn save(&self, write: Writer<'_>) -> Result<()> {
        let saved = self.folder.replace(&self.name, Replacing { durable: true, scratch: None }, write);
        saved.map_err(|error| {
            let problem = format!("cannot write the checkpoint: {error}; what was written before can be resumed");
            Error::Store { path: self.path(), problem, source: Some(Box::new(error)) }
        })
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> Result<()> {
        self.folder.remove(&self.name).map(drop).map_err(|error| failed(&self.path(), error))
    }

    pub(super) fn record(&self) -> Result<Record> {
        let (_, record): (_, Record) = self.open()?;
        self.check_name(&record.owner, record.date)?;
        Ok(record)
    }

    /// The date of the light state that the record refers to. Nothing else of it is kept: it may be long.
    pub(super) fn refers_to(&self) -> Result<Option<Date>> {
        let (_, Reference { owner, date, light }) = self.open()?;
        self.check_name(&owner, date)?;
        Ok(light)
    }

    /// Refuses a file that has the name of another one.
    fn check_name(&self, owner: &Owner, date: Date) -> Result<()> {
        if (owner.tile, date) == (self.tile, self.date) {
            return Ok(());
        }
        let (row, col) = owner.tile;
        let problem = format!("it is that of tile [{row}, {col}] on {date}: it was renamed; give it its name back");
        Err(Error::ForeignState { path: self.path(), problem })
    }

    /// Refuses a file of another series than `id`, or of a later generation than that of the store.
    pub(super) fn check_series(&self, owner: &Owner, (id, generation): (&str, u64)) -> Result<()> {
        let refuse = |problem: String| Err(Error::ForeignState { path: self.path(), problem });
        if owner.series != id {
            return refuse(format!(
                "it belongs to another series ({}) than the store ({id}); put the state of this series back, or move the \
                 folder of checkpoints away",
                owner.series
            ));
        }
        if owner.generation > generation {
            return refuse(format!(
                "it is of generation {} of the series, the store of generation {generation}: the store was replaced by an \
                 older copy; put back the newer store, or the checkpoints of the older one",
                owner.generation
            ));
        }
        Ok(())
    }

    /// Refuses a file of which anything is damaged, without restoring it.
    pub(super) fn check(&self) -> Result<()> {
        self.reader().and_then(FrameReader::check).map_err(|error| failed(&self.path(), error))
    }

    fn reader(&self) -> io::Result<FrameReader<Box<dyn Read + Send>>> {
        let file = self.folder.open(&self.name)?;
        FrameReader::new(file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such file"))?)
    }

    fn open<H: DeserializeOwned>(&self) -> Result<(FrameReader<Box<dyn Read + Send>>, H)> {
        let open = || {
            let mut frames = self.reader()?;
            let header = frames.header()?;
            Ok((frames, header))
        };
        open().map_err(|error| failed(&self.path(), error))
    }

    /// Restores the windows of a tile.
    pub(super) fn load(&self, fusion: &Fusion, tile: &mut TileState) -> Result<Record> {
        let (mut frames, record): (_, Record) = self.open()?;
        tile.set_failed(&record.failed);
        let load = || -> io::Result<()> {
            match &mut tile.states {
                _ if !record.full => {}
                States::Windows(windows) => frames.read_all(fusion, windows, WindowState::restore)?,
                States::Cells(cells) => {
                    cells.restore_dates(&frames.read()?)?;
                    frames.read_all(fusion, cells.strips_mut(), RowStrip::restore)?;
                }
            }
            frames.finish()
        };
        load().map_err(|error| failed(&self.path(), error))?;
        Ok(record)
    }

    /// The light state, which must be one of the same series as `of`.
    pub(super) fn light(&self, settings: &Settings, of: &Owner) -> Result<LightState> {
        let (mut frames, header): (_, LightHeader) = self.open()?;
        self.check_name(&header.owner, header.date)?;
        self.check_series(&header.owner, (&of.series, of.generation))?;
        let load = || -> io::Result<LightState> {
            let mut values = Vec::new();
            for _ in 0..header.shape.0 {
                let bytes = decompress(&frames.read()?, size_of::<f64>())?;
                values.extend(bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default())));
            }
            frames.finish()?;
            let values = Array3::from_shape_vec(header.shape, values).map_err(|_| damaged("its shape is wrong"))?;
            if header.settings != *settings {
                return Err(damaged("it belongs to a series of other settings"));
            }
            Ok(LightState { date: header.date, values })
        };
        load().map_err(|error| failed(&self.path(), error))
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: error.to_string(), source: Some(Box::new(error)) }
}

impl WindowState {
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![u8::from(self.widened)];
        if !self.failed {
            for part in &self.parts {
                part.append_snapshot(&mut bytes);
            }
            self.refusals.append_snapshot(&mut bytes);
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
            rest = self.refusals.restore_snapshot(rest).ok_or_else(|| damaged("a window has another shape"))?;
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
