//! Prepares README and `docs/` for rustdoc, where a page lies elsewhere: links between pages lead to the modules of `guide`, pictures are
//! put into the page, and links to other files of the repository become their text.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=docs");
    println!("cargo::rerun-if-changed=README.md");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("README.md"), page(Path::new("README.md"), "guide/")?)?;
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "md")) else { continue };
        let (to, up) = if name == "README.md" { ("guide.md".as_ref(), "") } else { (name, "../") };
        fs::write(out.join(to), page(&path, up)?)?;
    }
    Ok(())
}

/// The text of a page from whose place in rustdoc's output `up` leads to the index of the guide.
fn page(path: &Path, up: &str) -> io::Result<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        fenced ^= line.trim_start().starts_with("```");
        lines.push(if fenced { line.to_owned() } else { links(line, path, up)? });
    }
    Ok(lines.join("\n"))
}

fn links(line: &str, page: &Path, up: &str) -> io::Result<String> {
    let mut done = String::new();
    let mut rest = line;
    while let Some((before, target, after)) = next_link(rest) {
        let (name, anchor) =
            target.split_once('#').map_or((target, String::new()), |(name, id)| (name, format!("#{id}")));
        let to = normal(&page.with_file_name(name));
        let (text, start) = before.rfind('[').map_or((before, before.len()), |start| (&before[start + 1..], start));
        rest = after;
        if target.contains("://") || name.is_empty() {
            _ = write!(done, "{before}]({target})");
        } else if to.extension().is_some_and(|end| end == "md") && to.starts_with("docs") {
            let module = to.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let place = if module == "README" { "index.html".into() } else { format!("{module}/index.html") };
            _ = write!(done, "{before}]({up}{place}{anchor})");
        } else if to.as_os_str() == "README.md" {
            _ = write!(done, "{before}](../{up}index.html{anchor})");
        } else if before[..start].ends_with('!') {
            _ = write!(done, "{before}](data:image/png;base64,{})", base64(&fs::read(&to)?));
        } else {
            _ = write!(done, "{}{text}", &before[..start]);
        }
    }
    Ok(done + rest)
}

/// What is before `](target)`, the target, and what is behind it.
fn next_link(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("](")?;
    let (target, after) = rest.split_once(')')?;
    Some((before, target, after))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => _ = normal.pop(),
            part => normal.push(part),
        }
        normal
    })
}

/// The bytes as base64, in which pages hold pictures.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, k| bits << 8 | three.get(k).copied().map_or(0, u32::from));
        for k in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * k) & 63) as usize]);
            text.push(if k > three.len() { '=' } else { digit });
        }
    }
    text
}
