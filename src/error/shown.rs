//! Paths and addresses as messages show them: what opens a door is masked.

use std::path::Path;

/// What stands for what is masked.
const MASK: &str = "***";

/// A path, or an address without its credentials and query.
pub(crate) fn shown(path: &Path) -> String {
    masked(&path.display().to_string())
}

/// A text in which addresses have neither credentials nor queries, which may be signed.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, address) = rest.split_at(scheme + "://".len());
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let (address, after) = address.split_at(address.find(ends).unwrap_or(address.len()));
        out.push_str(&masked_address(address));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// An address after its scheme.
fn masked_address(address: &str) -> String {
    let (place, query) = address.split_once('?').map_or((address, None), |(place, query)| (place, Some(query)));
    let server = place.find('/').unwrap_or(place.len());
    let place = match place[..server].rfind('@') {
        Some(at) => format!("{MASK}{}", &place[at..]),
        None => place.to_owned(),
    };
    match query {
        // A wildcard of a pattern, and a question mark at the end of a sentence, hide nothing.
        Some(query) if query.contains('=') => format!("{place}?{MASK}"),
        Some(query) => format!("{place}?{query}"),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_queries_are_masked_and_nothing_else() {
        for (text, shown) in [
            ("https://u:p@h.org/a.tif?sig=x&se=1", "https://***@h.org/a.tif?***"),
            ("/vsicurl/https://h.org/a.tif?X-Amz-Signature=ab", "/vsicurl/https://h.org/a.tif?***"),
            ("a \"http://h/a?k=v\" and 'http://x@h/b' end", "a \"http://h/a?***\" and 'http://***@h/b' end"),
            ("NETCDF:\"https://h/a.nc?t=1\":red", "NETCDF:\"https://h/a.nc?***\":red"),
            ("s3://bucket/a@b/*_?.tif", "s3://bucket/a@b/*_?.tif"),
            ("folder/a?b=c.tif", "folder/a?b=c.tif"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
