//! Names of files on servers: `https://`, `s3://`, `gs://`, `az://`, and GDAL's own (`/vsicurl/`, `/vsis3/`, ...).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::Subdataset;

/// Schemes of addresses, and GDAL's file systems for them.
const SCHEMES: [(&str, &str); 6] = [
    ("https://", "/vsicurl/https://"),
    ("http://", "/vsicurl/http://"),
    ("s3://", "/vsis3/"),
    ("gs://", "/vsigs/"),
    ("az://", "/vsiaz/"),
    ("azure://", "/vsiaz/"),
];

/// GDAL's file systems that ask a server, also inside of others: `/vsizip/vsicurl/...`.
const SERVERS: [&str; 9] =
    ["vsicurl", "vsis3", "vsigs", "vsiaz", "vsiadls", "vsioss", "vsiswift", "vsihdfs", "vsiwebhdfs"];

/// Whether a name is an address or one of GDAL's file systems, and no path of the machine: it is not relative to a
/// folder, and is listed by GDAL.
pub(crate) fn is_address(name: &str) -> bool {
    name.starts_with("/vsi") || scheme_of(name).is_some()
}

/// Whether reading a file asks a server.
pub(in crate::source) fn is_remote(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let file = Subdataset::parse(&text).map_or_else(|| text.to_string(), |name| name.container.display().to_string());
    let known = |scheme: &str| SCHEMES.iter().any(|(name, _)| *name == scheme);
    let served = || file.split(['/', '?', '{', '}']).any(|part| SERVERS.contains(&part.trim_end_matches("_streaming")));
    scheme_of(&file).is_some_and(known) || (file.starts_with("/vsi") && served())
}

/// The name by which GDAL knows a file.
pub(super) fn gdal_name(path: &Path) -> Cow<'_, Path> {
    let text = path.to_string_lossy();
    if let Some(mut name) = Subdataset::parse(&text) {
        name.container = gdal_name(&name.container).into_owned();
        return Cow::Owned(format!("{}{}{}", name.prefix, name.container.display(), name.suffix).into());
    }
    let found = SCHEMES.iter().find_map(|(scheme, system)| Some((system, text.strip_prefix(scheme)?)));
    match found {
        Some((system, rest)) => Cow::Owned(PathBuf::from(format!("{system}{rest}"))),
        None => Cow::Borrowed(path),
    }
}

/// The problem of an address that nothing here can read.
pub(super) fn unreadable(path: &Path) -> Option<String> {
    let text = path.to_string_lossy();
    let scheme = scheme_of(&text).filter(|scheme| SCHEMES.iter().all(|(name, _)| name != scheme))?;
    Some(format!(
        "addresses that begin with {scheme} are not known; give https://, s3://, gs:// or az://, or the name of one of GDAL's file \
         systems (/vsi...)"
    ))
}

/// The scheme of an address, with its `://`.
fn scheme_of(text: &str) -> Option<&str> {
    let end = text.find("://").filter(|end| *end > 1)?;
    let plain = text[..end].chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    plain.then_some(&text[..end + "://".len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names_of_gdal_and_paths_stay() {
        for (given, name, remote) in [
            ("https://h.org/a.tif?s=1", "/vsicurl/https://h.org/a.tif?s=1", true),
            ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif", true),
            ("gs://bucket/b.tif", "/vsigs/bucket/b.tif", true),
            ("az://container/b.tif", "/vsiaz/container/b.tif", true),
            ("NETCDF:\"s3://b/x.nc\":red", "NETCDF:\"/vsis3/b/x.nc\":red", true),
            ("/vsizip/vsicurl/https://h/a.zip/b.tif", "/vsizip/vsicurl/https://h/a.zip/b.tif", true),
            ("/vsizip/{/vsis3/b/a.zip}/b.tif", "/vsizip/{/vsis3/b/a.zip}/b.tif", true),
            ("/vsizip/a.zip/b.tif", "/vsizip/a.zip/b.tif", false),
            ("folder/vsis3/a.tif", "folder/vsis3/a.tif", false),
        ] {
            let path = Path::new(given);
            assert_eq!((gdal_name(path).as_ref(), is_remote(path)), (Path::new(name), remote), "{given}");
        }
        assert!(is_address("/vsizip/a.zip/b.tif") && !is_address("C://a.tif") && !is_address("a/b.tif"));
        assert!(unreadable(Path::new("ftp://h/a.tif")).is_some_and(|problem| problem.contains("ftp://")));
        assert_eq!(unreadable(Path::new("s3://b/a.tif")), None);
    }
}
