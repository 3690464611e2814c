//! A series that is being written: its arrays, their chunks, and the metadata that reveal them.

use std::sync::Arc;

use ndarray::ArrayView3;
use serde::Serialize;
use serde_json::{Map, Value};
use zarrs::array::Array;

use super::arrays::{open_array, store_chunk};
use super::ledger::{self, Ledger};
use super::metadata::Documents;
use super::overviews::{Level, Sums};
use super::packing::{Lost, Numbers, pack};
use super::store::AtomicStore;
use super::{TIME_CHUNK, ZarrFormat, ZarrSink};
use crate::describe::{Encoding, OutputSpace};
use crate::error::{Error, Result};
use crate::series::{FusedBlock, Report, SeriesIdentity, SeriesLayout, StoredReport, digest};

/// A series that has been started.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) layout: SeriesLayout,
    /// Chunks, hidden until the metadata include them.
    pub(super) chunks: Arc<AtomicStore>,
    /// Coordinates and metadata, which readers see.
    visible: Arc<AtomicStore>,
    documents: Documents,
    mean: Array<AtomicStore>,
    uncertainty: Array<AtomicStore>,
    /// Means and standard deviations of offsets.
    offsets: Option<(Array<AtomicStore>, Array<AtomicStore>)>,
    /// Coarser versions of the series.
    overviews: Vec<Overview>,
    /// What is recorded of chunks.
    pub(super) ledger: Ledger,
    /// Values that the type of the store cannot hold.
    pub(super) lost: Lost,
    pub(super) committed: usize,
    /// Number of dates at the end of the last completed run.
    pub(super) finished: usize,
}

/// A coarser version of a series.
#[derive(Debug)]
struct Overview {
    level: Level,
    documents: Documents,
    mean: Array<AtomicStore>,
    uncertainty: Array<AtomicStore>,
}

impl Series {
    /// The series in memory; nothing has been written yet.
    pub(super) fn open(sink: &ZarrSink, layout: &SeriesLayout, committed: usize) -> Result<Self> {
        let folder = sink.place.folder()?;
        let dates_per_object = layout.encoding.dates_per_object;
        if dates_per_object > 1 && sink.format == ZarrFormat::V2 {
            let problem = format!("{dates_per_object}, but Zarr v2 has no shards; write Zarr v3");
            return Err(Error::setting("output.dates_per_object", problem));
        }
        let chunks = AtomicStore::sharded(Arc::clone(&folder), dates_per_object, layout.dates.len());
        let (chunks, visible) = (Arc::new(chunks), Arc::new(AtomicStore::visible(folder, ledger::FOLDER)));
        let documents = Documents::new(layout, sink.format);
        let of = |documents: &Documents, name: &str| open_array(&chunks, &documents.path(name), documents.chunks(name));
        let open = |name: &str| of(&documents, name);
        let (mean, uncertainty) = (open("mean")?, open(documents.uncertainty())?);
        let offsets = if layout.offsets.is_empty() { None } else { Some((open("offset")?, open("offset_sd")?)) };
        let coarse = |(level, documents): (Level, Documents)| {
            let (mean, uncertainty) = (of(&documents, "mean")?, of(&documents, documents.uncertainty())?);
            Ok(Overview { level, documents, mean, uncertainty })
        };
        let overviews = Documents::overviews(layout, sink.format)?;
        let overviews = overviews.into_iter().map(coarse).collect::<Result<_>>()?;
        let ledger = Ledger::new(Arc::clone(&chunks), &layout.identity.id, documents.tiled().len());
        let (layout, lost) = (layout.clone(), Lost::default());
        Ok(Self {
            layout,
            chunks,
            visible,
            documents,
            mean,
            uncertainty,
            offsets,
            overviews,
            ledger,
            lost,
            committed,
            finished: 0,
        })
    }

    /// Writes the chunks of a block and records them.
    pub(super) fn append(&self, block: &FusedBlock) -> Result<()> {
        let chunk = [block.time as u64, 0, block.tile.0 as u64, block.tile.1 as u64];
        let mut stamps = Vec::with_capacity(4);
        let mut write = |pair: Pair<'_>, (encoding, shape): (&Encoding, (usize, usize)), lost: &Lost| -> Result<()> {
            let Pair { arrays, values } = pair;
            let packed =
                pack(values, shape, encoding, lost).map_err(|(k, value)| self.too_large(arrays[k], block, value))?;
            let store = |array: &Array<AtomicStore>, values: Numbers| {
                let key = array.chunk_key(&chunk);
                values.store(array, &chunk).map_err(|error| self.chunks.error(key.as_str(), error))?;
                // A chunk of nothing but missing values is not stored.
                Ok(self.chunks.take_stamp(&key).unwrap_or_default())
            };
            let ([first, second], [one, other]) = (arrays, packed);
            // A server is waited for once, not twice.
            let (one, other) = rayon::join(|| store(first, one), || store(second, other));
            stamps.extend([one?, other?]);
            Ok(())
        };
        let SeriesLayout { tile_shape, encoding, .. } = &self.layout;
        let (mean, uncertainty) = (block.mean.view(), block.uncertainty.view());
        let fused = Pair { arrays: [&self.mean, &self.uncertainty], values: (mean, uncertainty) };
        write(fused, (encoding, *tile_shape), &self.lost)?;
        if let Some(((mean, sd), offsets)) = self.offsets.as_ref().zip(block.offsets.as_ref()) {
            let values = (offsets.mean.view(), offsets.sd.view());
            write(Pair { arrays: [mean, sd], values }, (&Encoding::float32(), *tile_shape), &self.lost)?;
        }
        let mut sums: Option<(Sums, Sums)> = None;
        for Overview { documents, mean: means, uncertainty: sds, .. } in &self.overviews {
            let finer = sums.unwrap_or_else(|| (Sums::of(mean), Sums::of(uncertainty)));
            let coarse = (finer.0.halved(), finer.1.halved());
            let averages = (coarse.0.averages(), coarse.1.averages());
            let pair = Pair { arrays: [means, sds], values: (averages.0.view(), averages.1.view()) };
            // Values out of range were counted where they are not averaged.
            write(pair, (encoding, documents.layout().tile_shape), &Lost::default())?;
            sums = Some(coarse);
        }
        self.ledger.set(block.tile, block.time, &stamps)
    }

    fn too_large(&self, array: &Array<AtomicStore>, block: &FusedBlock, value: f64) -> Error {
        Error::Store {
            path: self.chunks.folder().path_of(array.path().as_str().trim_start_matches('/')),
            problem: format!(
                "{value:e} on {} is beyond float32; check the inputs' scale and hide absurd values with valid_range",
                block.date
            ),
            source: None,
        }
    }

    /// Of dates that could become visible, those whose objects will not be written again: otherwise every few seconds an
    /// object would be written that holds one more date. The last dates of the series always.
    pub(super) fn by_whole_objects(&self, dates: usize) -> usize {
        if dates >= self.layout.dates.len() {
            dates
        } else {
            dates - dates % self.layout.encoding.dates_per_object.max(1)
        }
    }

    /// Waits until chunks and their records are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        // What records name must be there before them.
        self.chunks.write_shards()?;
        self.ledger.flush()?;
        self.chunks.sync()
    }

    /// Writes the `time` values of all planned dates; the shape reveals the committed ones. Values that readers see
    /// are never removed.
    pub(super) fn write_times(&self) -> Result<()> {
        let dates = &self.layout.dates;
        for documents in self.all_documents() {
            let time = open_array(&self.visible, &documents.path("time"), documents.array("time", dates.len()))?;
            for (chunk, dates) in dates.chunks(TIME_CHUNK).enumerate() {
                let mut days = vec![i64::MIN; TIME_CHUNK];
                days.iter_mut().zip(dates).for_each(|(day, date)| *day = i64::from(date.days_since_epoch()));
                store_chunk(&self.visible, &time, &[chunk as u64], days)?;
            }
        }
        Ok(())
    }

    /// Publishes the committed dates: first the overviews, then the shapes of the arrays, then that of `time`, then the
    /// group with all metadata consolidated; each file is replaced atomically. A reader of the consolidated metadata sees
    /// the old number of dates or the new one. A reader that opens single arrays may, between two steps, find arrays of
    /// different lengths.
    pub(super) fn write_metadata(&self, report: Option<&Report>) -> Result<()> {
        let dates = &self.layout.dates[..self.committed];
        for Overview { documents, .. } in &self.overviews {
            documents.write_grown(&self.visible, dates.len())?;
            documents.write_overview(&self.visible, dates.len())?;
        }
        self.documents.write_grown(&self.visible, dates.len())?;
        let mut run = Map::new();
        let SeriesIdentity { id, generation, replaying } = &self.layout.identity;
        run.insert("series_id".into(), id.as_str().into());
        run.insert("series_generation".into(), (*generation).into());
        if *replaying {
            run.insert("series_replaying".into(), true.into());
        }
        run.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        run.insert("dates_planned".into(), self.layout.dates.len().into());
        run.insert("end".into(), self.layout.dates.last().map(ToString::to_string).into());
        run.insert("dates_digest".into(), digest(&self.layout.dates).into());
        run.insert("lag".into(), self.layout.lag.into());
        run.insert("bands".into(), self.layout.bands.clone().into());
        if !self.layout.indices.is_empty() {
            let indices = self.layout.indices.iter().map(|index| (index.name.clone(), index.expression.clone().into()));
            run.insert("indices".into(), Value::Object(indices.collect()));
        }
        run.insert("space".into(), self.layout.space.to_string().into());
        run.insert("dates_committed".into(), self.committed.into());
        run.insert("dates_settled".into(), self.layout.settled(self.committed).into());
        run.insert("dates_finished".into(), self.finished.into());
        let settings = self.layout.settings.iter().map(|(key, value)| (key.to_owned(), value.into()));
        run.insert("settings".into(), Value::Object(settings.collect()));
        let run = Run { keys: run, report: report.map(StoredReport) };
        let overviews: Vec<(Level, &Documents)> =
            self.overviews.iter().map(|coarse| (coarse.level, &coarse.documents)).collect();
        self.documents.write_group(&self.visible, &run, (dates.len(), &overviews))
    }

    /// The documents of the series and of its overviews.
    fn all_documents(&self) -> impl Iterator<Item = &Documents> {
        std::iter::once(&self.documents).chain(self.overviews.iter().map(|coarse| &coarse.documents))
    }

    /// Writes bands, their basis, x, y and the grid mapping, which do not change when the series grows.
    pub(super) fn write_coordinates(&self) -> Result<()> {
        if !self.overviews.is_empty() {
            self.documents.write_group_of_overviews(&self.visible)?;
        }
        self.all_documents().try_for_each(|documents| write_coordinates(&self.visible, documents))
    }
}

/// Arrays of means and of their uncertainties, and the values of a chunk of each.
struct Pair<'a> {
    arrays: [&'a Array<AtomicStore>; 2],
    values: (ArrayView3<'a, f64>, ArrayView3<'a, f64>),
}

/// The attribute that describes the run.
#[derive(Serialize)]
struct Run<'a> {
    #[serde(flatten)]
    keys: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<StoredReport<'a>>,
}

/// Bands, their basis, x, y and the grid mapping, which do not change when the series grows.
fn write_coordinates(store: &Arc<AtomicStore>, documents: &Documents) -> Result<()> {
    let layout = documents.layout();
    let arrays = SingleChunkArrays { store, documents };
    arrays.write("y", layout.grid.y_centres())?;
    arrays.write("x", layout.grid.x_centres())?;
    documents.write_all_names(store)?;
    if let Some((basis, name)) = layout.basis.as_ref().zip(documents.wavelengths()) {
        let none = layout.indices.iter().map(|_| f64::NAN);
        arrays.write(name, basis.wavelengths_nm().iter().copied().chain(none).collect())?;
        if layout.space == OutputSpace::Components {
            arrays.write("basis", basis.matrix().iter().map(|value| *value as f32).collect())?;
            arrays.write("basis_mean", basis.mean().iter().map(|value| *value as f32).collect())?;
        }
    }
    arrays.write("spatial_ref", vec![0_i64])
}

/// Writes arrays that consist of one chunk.
struct SingleChunkArrays<'a> {
    store: &'a Arc<AtomicStore>,
    documents: &'a Documents,
}

impl SingleChunkArrays<'_> {
    fn write<T: zarrs::array::Element>(&self, name: &str, values: Vec<T>) -> Result<()> {
        let array = open_array(self.store, &self.documents.path(name), self.documents.array(name, 0))?;
        store_chunk(self.store, &array, &vec![0; array.dimensionality()], values)?;
        self.documents.write_array(self.store, name, 0)
    }
}
