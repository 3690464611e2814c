//! The pages of `docs/`, as in the repository. Tests compile their code. The module exists in the documentation only.
#![doc = include_str!(concat!(env!("OUT_DIR"), "/guide.md"))]

/// Declares a module that holds nothing but a page.
macro_rules! pages {
    ($($name:ident)*) => {
        $(
            #[doc = include_str!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

pages! {
    first_hour tour from_rust model choosing inputs toml store export spectra seasonal estimation validation ablations operations scale design measurements
    alternatives correctness_issues
}
