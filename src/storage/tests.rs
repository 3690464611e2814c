//! Every storage keeps the same promises: one suite of files and locks.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Disk, Folder, Hold, Place, Presence, Replacing};

fn put(folder: &dyn Folder, name: &str, bytes: &[u8]) {
    for how in [Replacing::default(), Replacing { durable: true, scratch: Some("scratch") }] {
        folder.replace(name, how, &mut |file| file.write_all(bytes)).unwrap();
    }
}

/// The suite, of a folder that is not there yet.
fn conforms(folder: &dyn Folder) {
    assert_eq!(folder.presence().unwrap(), Presence::Nothing);
    assert_eq!((folder.read("a").unwrap(), folder.has("a").unwrap()), (None, false));
    assert!(folder.names("").unwrap().is_empty() && folder.open("a").unwrap().is_none());
    folder.make().unwrap();
    files(folder);
    locks(folder);
    for name in ["a", "deep/b", "deep/down/c", "marker"] {
        assert!(folder.remove(name).unwrap(), "{name}");
        assert!(!folder.has(name).unwrap());
    }
    folder.sync(&["deep/b".into()]).unwrap();
}

fn files(folder: &dyn Folder) {
    put(folder, "a", b"0123456789");
    put(folder, "deep/b", b"");
    put(folder, "deep/down/c", b"first");
    put(folder, "deep/down/c", b"second, longer");
    assert_eq!(folder.presence().unwrap(), Presence::Filled);
    assert_eq!(folder.read("deep/down/c").unwrap().unwrap(), b"second, longer");
    let range = |range| folder.read_range("a", range).unwrap().unwrap();
    assert_eq!((range(2..5), range(8..20)), (b"234".to_vec(), b"89".to_vec()));
    assert!(range(10..12).is_empty() && range(30..40).is_empty() && range(4..4).is_empty());
    assert_eq!(folder.read_range("none", 0..1).unwrap(), None);
    let names = ["a", "deep/b", "none", "deep/down/c"].map(str::to_owned);
    assert_eq!(folder.sizes(&names).unwrap(), [Some(10), Some(0), None, Some(14)]);
    let mut read = Vec::new();
    folder.open("a").unwrap().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, b"0123456789");
    let listed = |within: &str| {
        let mut names = folder.names(within).unwrap();
        names.retain(|name| !["deep", "scratch", "down"].contains(&name.as_str()));
        names.sort();
        names
    };
    assert_eq!(
        (listed(""), listed("deep"), listed("deep/down")),
        (vec!["a".into()], vec!["b".into()], vec!["c".into()])
    );
    assert!(listed("dee").is_empty(), "a folder is no beginning of a name");
    // What fails leaves the file as it was.
    let failed = folder.replace("a", Replacing::default(), &mut |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("full"))
    });
    assert_eq!((failed.unwrap_err().to_string(), range(0..99)), ("full".into(), b"0123456789".to_vec()));
    assert!(folder.create("marker", b"one").unwrap() && !folder.create("marker", b"two").unwrap());
    assert_eq!(folder.read("marker").unwrap().unwrap(), b"one");
    // The folder beside it is another one.
    let beside = folder.beside(".state");
    assert_eq!(beside.presence().unwrap(), Presence::Nothing);
    put(&*beside, "a", b"beside");
    assert_eq!(range(0..3), b"012");
    assert!(beside.path().to_string_lossy().ends_with(".state"));
    beside.remove("a").unwrap();
}

fn locks(folder: &dyn Folder) {
    let take = |name: &str, hold| folder.lock(name, hold).unwrap();
    let first = take("run.lock", Hold::Exclusive).unwrap();
    assert!(take("run.lock", Hold::Exclusive).is_none() && take("run.lock", Hold::Shared).is_none());
    let other = take("other.lock", Hold::Exclusive).unwrap();
    drop(first);
    let shared = [take("run.lock", Hold::Shared).unwrap(), take("run.lock", Hold::Shared).unwrap()];
    assert!(take("run.lock", Hold::Exclusive).is_none());
    drop(shared);
    drop((take("run.lock", Hold::Exclusive).unwrap(), other));
    let held = take("begin.lock", Hold::Waiting).unwrap();
    let released = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let waited = take("begin.lock", Hold::Waiting);
            assert!(waited.is_some() && released.load(Ordering::SeqCst));
        });
        std::thread::sleep(Duration::from_millis(300));
        released.store(true, Ordering::SeqCst);
        drop(held);
    });
}

#[test]
fn a_disk_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path().join("new/store"));
    conforms(&disk);
    assert!(!disk.dissolve().unwrap(), "locks and scratch folders are there");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(Disk::new(folder.path().join("file")).presence().unwrap(), Presence::File);
    assert_eq!(Disk::new(folder.path().join("file/below")).presence().unwrap(), Presence::Nothing);
}

#[test]
fn memory_conforms() {
    let folder = Place::memory().folder().unwrap();
    conforms(&*folder);
    assert!(folder.dissolve().unwrap());
}

#[test]
fn places_are_paths_or_urls() {
    let within = |name: &str| Place::from(name).within(Path::new("/data")).name().to_path_buf();
    assert_eq!(within("fused.zarr"), Path::new("/data/fused.zarr"));
    assert_eq!(within("memory:a"), Path::new("memory:a"));
    assert_eq!(within("s3://bucket/fused.zarr"), Path::new("s3://bucket/fused.zarr"));
    assert_eq!(within("./memory:"), Path::new("/data/./memory:"));
    assert!(!Place::from("a://b/c").name().as_os_str().is_empty());
    let named = [Place::from("memory:same"), Place::from("memory:same")].map(|place| place.folder().unwrap());
    put(&*named[0], "a", b"1");
    assert_eq!(named[1].read("a").unwrap().unwrap(), b"1");
    let _: Arc<dyn Folder> = Place::from("memory:same").reading().unwrap();
}

#[cfg(feature = "object-store")]
mod objects {
    use super::*;
    use crate::storage::object::ObjectFolder;

    #[test]
    fn objects_conform() {
        conforms(&ObjectFolder::in_memory(Duration::from_millis(600)));
    }
}
