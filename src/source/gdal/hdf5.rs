//! What the HDF5 library says of its errors: it is kept as part of the error, in place of lines on stderr.
//!
//! HDF5 prints its errors by itself, on every thread. A thread that reads a file of HDF5 asks it to call a function
//! instead, for as long as it reads. Stderr stays as it is, whatever happens meanwhile.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::path::Path;

use super::name::container;

/// Endings of files that HDF5 reads.
const ENDINGS: [&str; 5] = ["h5", "hdf5", "he5", "nc", "nc4"];

thread_local! {
    /// Where the last error of HDF5 on this thread began.
    static CAUSE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether HDF5 may read a file, by its name: others do not need to listen.
pub(super) fn reads(path: &Path) -> bool {
    let container = container(path);
    let ending = container.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Keeps HDF5 from printing on this thread while it lives. Not `Send`: it ends on the thread that began it.
#[derive(Debug)]
pub(super) struct Listening {
    /// What HDF5 called before, where the library is there.
    before: Option<(Library, Handler)>,
    _thread: PhantomData<*const ()>,
}

impl Listening {
    pub(super) fn new() -> Self {
        CAUSE.with(RefCell::take);
        let before = Library::find().and_then(|library| Some((library, library.handler()?)));
        if let Some((library, _)) = &before {
            library.set(Handler { call: Some(keep), data: std::ptr::null_mut() });
        }
        Self { before, _thread: PhantomData }
    }

    /// Listens where HDF5 may read the file.
    pub(super) fn to(path: &Path) -> Option<Self> {
        reads(path).then(Self::new)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some((library, before)) = self.before.take() {
            library.set(before);
        }
    }
}

/// What HDF5 said since this thread last began to listen.
pub(super) fn said() -> Option<String> {
    CAUSE.with(|cause| cause.try_borrow().ok()?.clone())
}

/// An identifier of HDF5, since version 1.10.
type Id = i64;

/// The list of errors of a thread.
const OF_THREAD: Id = 0;

/// From where an error began outwards.
const UPWARD: c_int = 0;

/// A function that HDF5 calls when one of its own functions fails.
type OnError = unsafe extern "C" fn(Id, *mut c_void) -> c_int;

/// A function that HDF5 calls for each entry of a list of errors.
type OnEntry = unsafe extern "C" fn(c_uint, *const Entry, *mut c_void) -> c_int;

#[derive(Clone, Copy, Debug)]
struct Handler {
    call: Option<OnError>,
    data: *mut c_void,
}

/// An entry of a list of errors, as HDF5 lays it out.
#[repr(C)]
struct Entry {
    class: Id,
    major: Id,
    minor: Id,
    line: c_uint,
    function: *const c_char,
    file: *const c_char,
    text: *const c_char,
}

/// Functions of the HDF5 library that GDAL brought along.
#[derive(Clone, Copy, Debug)]
struct Library {
    get: unsafe extern "C" fn(Id, *mut Option<OnError>, *mut *mut c_void) -> c_int,
    set: unsafe extern "C" fn(Id, Option<OnError>, *mut c_void) -> c_int,
    walk: unsafe extern "C" fn(Id, c_int, OnEntry, *mut c_void) -> c_int,
}

impl Library {
    /// The library, where it is part of this process; otherwise nothing of it prints.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn find() -> Option<Self> {
        use std::sync::OnceLock;

        unsafe extern "C" {
            fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
        }

        static FOUND: OnceLock<Option<Library>> = OnceLock::new();
        // SAFETY: the null pointer stands for all libraries of the process, and the name ends in null.
        let find = |name: &CStr| unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) };
        let found = || {
            let names = [c"H5Eget_auto2", c"H5Eset_auto2", c"H5Ewalk2"].map(find);
            if names.iter().any(|function| function.is_null()) {
                return None;
            }
            // netCDF silences HDF5 when it begins, on the thread that it begins on. It begins now, before anyone listens.
            let begin = find(c"nc_initialize");
            let [get, set, walk] = names;
            // SAFETY: these are the functions of these names in HDF5 1.10 to 1.14 and in netCDF, whose signatures are those
            // written here.
            unsafe {
                if !begin.is_null() {
                    std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(begin)();
                }
                Some(Self {
                    get: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(Id, *mut Option<OnError>, *mut *mut c_void) -> c_int,
                    >(get),
                    set: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(Id, Option<OnError>, *mut c_void) -> c_int,
                    >(set),
                    walk: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(Id, c_int, OnEntry, *mut c_void) -> c_int,
                    >(walk),
                })
            }
        };
        *FOUND.get_or_init(found)
    }

    /// Elsewhere it prints as it always did.
    #[cfg(not(target_os = "linux"))]
    fn find() -> Option<Self> {
        None
    }

    #[allow(unsafe_code)]
    fn handler(self) -> Option<Handler> {
        let mut handler = Handler { call: None, data: std::ptr::null_mut() };
        // SAFETY: both places live until the call returns.
        let done = unsafe { (self.get)(OF_THREAD, &raw mut handler.call, &raw mut handler.data) };
        (done >= 0).then_some(handler)
    }

    #[allow(unsafe_code)]
    fn set(self, handler: Handler) {
        // SAFETY: the function is `keep`, or the one that HDF5 had, with its own data.
        unsafe { (self.set)(OF_THREAD, handler.call, handler.data) };
    }
}

/// Keeps where an error began. What netCDF only tries for, such as attributes that may be absent, is replaced by what
/// fails later.
#[allow(unsafe_code)]
unsafe extern "C" fn keep(list: Id, _: *mut c_void) -> c_int {
    if let Some(library) = Library::find() {
        // SAFETY: HDF5 calls this with a list of its own, whose entries live until the walk ends.
        unsafe { (library.walk)(list, UPWARD, keep_first, std::ptr::null_mut()) };
    }
    0
}

/// Keeps the first entry of a list.
#[allow(unsafe_code)]
unsafe extern "C" fn keep_first(number: c_uint, entry: *const Entry, _: *mut c_void) -> c_int {
    // SAFETY: HDF5 gives an entry whose text ends in null, or none.
    let text = unsafe {
        entry.as_ref().filter(|entry| number == 0 && !entry.text.is_null()).map(|entry| CStr::from_ptr(entry.text))
    };
    if let Some(text) = text {
        let text = format!("HDF5 says: {}", text.to_string_lossy());
        let _ = CAUSE.try_with(|cause| cause.try_borrow_mut().map(|mut cause| *cause = Some(text)));
    }
    0
}
