//! A guard that stops GDAL from printing errors to stderr, and keeps what they say of servers.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

thread_local! {
    /// The last message on this thread that speaks of a server's answer.
    static ANSWER: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Object stores, as messages for developers name them, which `CPL_DEBUG` asks for.
pub(super) const STORES: &str = "S3,GS,AZURE,OSS,SWIFT";

/// Beginnings of messages that speak of a server's answer.
const ANSWERS: [&str; 4] = ["HTTP error code", "HTTP response code", "CURL error", "Range downloading not supported"];

/// Stops GDAL from printing to stderr on this thread while the guard lives. Errors are still returned as values.
///
/// The global handler of the library is shared by every thread of the embedding program, so this handler is pushed on
/// the stack of the thread. Not `Send`: it must be dropped on the thread that created it.
pub(crate) struct QuietErrors(PhantomData<*const ()>);

impl QuietErrors {
    #[allow(unsafe_code)]
    pub(crate) fn new() -> Self {
        // SAFETY: pushes onto a stack that is local to this thread; the handler is a static function without state of its
        // own.
        unsafe { gdal_sys::CPLPushErrorHandler(Some(keep)) };
        Self(PhantomData)
    }
}

impl Drop for QuietErrors {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the type is not Send, so this thread's stack holds the handler that `new` pushed, and guards drop in
        // reverse order of creation.
        unsafe { gdal_sys::CPLPopErrorHandler() };
    }
}

/// What was last said of a server's answer on this thread.
pub(super) fn answer() -> Option<String> {
    ANSWER.with(|answer| answer.try_borrow().ok()?.clone())
}

/// Forgets what was said of a server's answer on this thread.
pub(super) fn forget_answer() {
    ANSWER.with(RefCell::take);
}

/// Whether a message for developers is what an object store answered in place of a list: GDAL then gives the list as far
/// as it got, and no error. What it says by itself under the same names begins with a verb.
fn is_broken_list(text: &str) -> bool {
    const VERBS: [&str; 9] =
        ["Switch", "Using", "Got", "Getting", "Fetch", "Renew", "Refresh", "Credential", "Cannot find"];
    let said = STORES.split(',').find_map(|store| text.strip_prefix(store)?.strip_prefix(": "));
    said.is_some_and(|said| !VERBS.iter().any(|verb| said.starts_with(verb)))
}

/// Prints nothing; keeps a message that speaks of a server's answer.
#[allow(unsafe_code)]
unsafe extern "C" fn keep(class: gdal_sys::CPLErr::Type, _: gdal_sys::CPLErrorNum, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: GDAL gives its handlers a text that ends in null and lives until they return.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    let answers = match class {
        gdal_sys::CPLErr::CE_Debug => is_broken_list(&text),
        _ => ANSWERS.iter().any(|start| text.starts_with(start)),
    };
    if answers {
        let _ = ANSWER.try_with(|answer| answer.try_borrow_mut().map(|mut answer| *answer = Some(text.into_owned())));
    }
}
