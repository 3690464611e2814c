//! Lines on stderr.

/// Prints a line on stderr; nobody reading it is no reason to stop.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", crate::plain::Plain(format_args!($($text)*)));
    }};
}
pub(crate) use complain;
