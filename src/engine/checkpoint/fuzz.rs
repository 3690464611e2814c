//! Checkpoints of anybody's making, for `fuzz/`.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ndarray::Array4;

use super::frames::FrameWriter;
use super::{Owner, StateFile};
use crate::describe::{Instrument, Kernel, Prior, Process};
use crate::engine::Fusion;
use crate::engine::compress::compress;
use crate::engine::tile::TileState;
use crate::error::Result;
use crate::geometry::{Crs, Date, Grid};
use crate::source::MemorySource;
use crate::storage::{Disk, Folder};

/// Loads the record `header` and the frames, which are compressed first, into the states of windows and of cells.
pub(crate) fn fuzz(path: &Path, header: &[u8], frames: &[&[u8]]) {
    static FUSIONS: OnceLock<Vec<Fusion>> = OnceLock::new();
    let fusions = FUSIONS.get_or_init(|| [Kernel::Exponential, Kernel::None].into_iter().flat_map(fusion).collect());
    let write = || -> std::io::Result<()> {
        let mut file = Vec::new();
        let mut writer = FrameWriter::with_header(&mut file, &compress(header, 1)?)?;
        frames.iter().try_for_each(|frame| writer.write(&compress(frame, size_of::<f64>())?))?;
        writer.finish()?;
        fs::write(path, file)
    };
    if write().is_err() {
        return;
    }
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    let folder: Arc<dyn Folder> = Arc::new(Disk::new(folder));
    let file = StateFile { tile: (0, 0), date: Date::from_days(0), folder, name: name.into_owned() };
    let _ = (file.check(), file.record(), file.shown());
    let owner = Owner { series: String::new(), generation: 1, tile: (0, 0) };
    for fusion in fusions {
        let _ = file.light(&fusion.settings, &owner);
        for (_, tile) in fusion.tiles() {
            if let Ok(mut state) = TileState::first(fusion, tile)
                && let Ok(record) = file.load(fusion, &mut state)
            {
                state.resume_after(fusion, record.date, record.summary);
            }
        }
    }
}

/// Of few cells, dates and states.
fn fusion(kernel: Kernel) -> Result<Fusion> {
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (2, 2))?;
    let dates = vec![Date::from_days(1), Date::from_days(3)];
    let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], Array4::from_elem((2, 1, 2, 2), 0.3))?;
    Fusion::builder(grid)
        .bands(["red"])
        .window(2, 0)
        .lag(1)
        .process(Process::new(kernel, 100.0, 1e-4))
        .prior(Prior::new(0.3, 0.01))
        .instrument(Instrument::new("fine", source).noise_variance(1e-4))
        .threads(1)
        .build()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::checkpoint::Record;
    use crate::engine::summary::Summary;
    use crate::engine::tile::States;

    /// The bytes before compression of what a fresh tile's checkpoint holds.
    fn seed(fusion: &Fusion) -> Vec<u8> {
        let record = Record {
            owner: Owner { series: String::new(), generation: 1, tile: (0, 0) },
            settings: crate::series::Settings::default(),
            date: Date::from_days(0),
            steps: Vec::new(),
            ended: false,
            written: 0,
            summary: Summary::default(),
            failed: Vec::new(),
            full: true,
            light: None,
        };
        let (_, tile) = fusion.tiles().next().unwrap();
        let tile = TileState::first(fusion, tile).unwrap();
        let mut parts = vec![serde_json::to_vec(&record).unwrap()];
        match &tile.states {
            States::Windows(windows) => parts.extend(windows.iter().map(|window| window.snapshot().unwrap())),
            States::Cells(cells) => {
                parts.push(cells.dates());
                parts.extend(cells.strips().iter().map(|strip| strip.snapshot().unwrap()));
            }
        }
        parts[1..].iter_mut().for_each(|frame| *frame = crate::engine::checkpoint::decompress(frame, 8).unwrap());
        parts.join(&b"\n==\n"[..])
    }

    #[test]
    fn seeds_are_checkpoints_of_this_version() {
        for (name, kernel) in [("windows", Kernel::Exponential), ("cells", Kernel::None)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/checkpoint").join(name);
            let seed = seed(&fusion(kernel).unwrap());
            if std::env::var_os("RASTERFUSE_WRITE_SEEDS").is_some() {
                fs::write(&path, &seed).unwrap();
            }
            assert!(fs::read(&path).unwrap() == seed, "{name}: write it again with RASTERFUSE_WRITE_SEEDS=1");
        }
    }
}
