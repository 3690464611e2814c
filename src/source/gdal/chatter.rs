//! What the HDF5 library writes to stderr by itself, which says why a file cannot be opened.

use std::path::Path;

/// Endings of files that HDF5 reads.
const ENDINGS: [&str; 5] = ["h5", "hdf5", "he5", "nc", "nc4"];

/// Calls a function that may make HDF5 write to stderr, and returns what HDF5 wrote, in a line, if anything. Whatever
/// others wrote meanwhile is passed on. Only for files that HDF5 reads.
pub(super) fn listening<T>(path: &Path, call: impl FnOnce() -> T) -> (T, Option<String>) {
    let spoken = path
        .extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| ENDINGS.iter().any(|known| end.eq_ignore_ascii_case(known)));
    if spoken { captured(call) } else { (call(), None) }
}

#[cfg(not(target_os = "linux"))]
fn captured<T>(call: impl FnOnce() -> T) -> (T, Option<String>) {
    (call(), None)
}

/// The stream of the process is one for all threads: one at a time listens to it.
#[cfg(target_os = "linux")]
fn captured<T>(call: impl FnOnce() -> T) -> (T, Option<String>) {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::sync::{Mutex, PoisonError};

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::stdio::{dup2_stderr, stderr};

    static LISTENING: Mutex<()> = Mutex::new(());
    let _alone = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = memfd_create("rasterfuse-hdf5", MemfdFlags::CLOEXEC).and_then(|file| {
        let own = Restored(rustix::io::fcntl_dupfd_cloexec(stderr(), 0)?);
        dup2_stderr(&file)?;
        Ok((File::from(file), own))
    });
    // Without a place to write to, lines go where they always went.
    let Ok((mut file, own)) = opened else { return (call(), None) };
    let result = call();
    drop(own);
    let mut bytes = Vec::new();
    if file.rewind().and_then(|()| file.read_to_end(&mut bytes)).is_err() {
        return (result, None);
    }
    let (said, others) = sorted(&String::from_utf8_lossy(&bytes));
    if !others.is_empty() {
        let _ = std::io::stderr().write_all(others.as_bytes());
    }
    (result, said)
}

/// The process's own stderr, which comes back when this is dropped, also where a call panics.
#[cfg(target_os = "linux")]
struct Restored(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Drop for Restored {
    fn drop(&mut self) {
        // A duplicate of an open descriptor can be put back; nothing could be written about it if not.
        let _ = rustix::stdio::dup2_stderr(&self.0);
    }
}

/// The innermost cause that HDF5 gives, and the lines of others.
#[cfg(any(target_os = "linux", test))]
fn sorted(text: &str) -> (Option<String>, String) {
    let (mut said, mut others, mut inside) = (None, String::new(), false);
    for line in text.split_inclusive('\n') {
        inside = line.starts_with("HDF5-DIAG") || inside && line.starts_with("  ");
        if !inside {
            others.push_str(line);
        } else if let Some((_, cause)) = line.trim().strip_prefix('#').and_then(|rest| rest.split_once("(): ")) {
            // Each names what it was called for: the last one is where it began.
            said = Some(format!("HDF5 says: {cause}"));
        }
    }
    (said, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_kept_and_lines_of_others_are_passed_on() {
        let text = "one\nHDF5-DIAG: Error detected in HDF5 (1.10.8) thread 1:\n  #000: H5F.c line 413 in H5Fopen(): unable to open \
                    file\n    major: File accessibility\n  #001: H5Fsuper.c line 626 in H5F__super_read(): truncated file: eof = \
                    5\n    minor: File has been truncated\ntwo\n";
        let (said, others) = sorted(text);
        assert_eq!(said.as_deref(), Some("HDF5 says: truncated file: eof = 5"));
        assert_eq!(others, "one\ntwo\n");
        assert_eq!(sorted("one\n"), (None, "one\n".into()));
    }
}
