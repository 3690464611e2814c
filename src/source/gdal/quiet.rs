//! A guard that stops GDAL from printing errors to stderr.

use std::marker::PhantomData;

/// Stops GDAL from printing to stderr on this thread while the guard lives. Errors are still returned as values.
///
/// The global handler of the library is shared by every thread of the embedding program, so this handler is pushed on
/// the stack of the thread. Not `Send`: it must be dropped on the thread that created it.
pub(super) struct QuietErrors(PhantomData<*const ()>);

impl QuietErrors {
    #[allow(unsafe_code)]
    pub(super) fn new() -> Self {
        // SAFETY: pushes onto a stack that is local to this thread; the handler is a static C function without state.
        unsafe { gdal_sys::CPLPushErrorHandler(Some(gdal_sys::CPLQuietErrorHandler)) };
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
