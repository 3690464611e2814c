use std::marker::PhantomData;

/// Keeps GDAL from printing to stderr on this thread while it lives; errors still reach us as values.
///
/// The library's global handler would be shared by every thread of the embedding program, so the handler is pushed on
/// the thread's own stack. Not `Send`: it must be dropped where it was made.
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
