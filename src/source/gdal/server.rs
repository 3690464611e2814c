//! Reads through GDAL from servers: options of requests, what failed and whether it is worth another try.

use std::ffi::CString;
use std::marker::PhantomData;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::address::{gdal_name, is_remote};
use super::name::container;
use super::quiet::{answer, forget_answer};
use crate::error::{Error, Result, masked};
use crate::source::Remote;

/// Memory of GDAL's cache of what servers sent, which all files of the process share, unless
/// `CPL_VSIL_CURL_CACHE_SIZE` says otherwise.
const CACHE_BYTES: u64 = 16 << 20;

/// Longest time until a server accepts a connection, in seconds.
const CONNECT_SECONDS: f64 = 10.0;

/// The option by which files beside a raster are looked for.
const BESIDE: &str = "GDAL_DISABLE_READDIR_ON_OPEN";

/// How often a file whose bytes broke off is read once more, at most.
const MOST_AGAIN: u32 = 2;

/// Options of GDAL for requests, on this thread while the guard lives. Not `Send`: it must be dropped on its thread.
pub(super) struct Requests {
    /// Options that were set, each with its value on this thread before.
    before: Vec<(&'static str, String)>,
    thread: PhantomData<*const ()>,
}

impl Requests {
    /// Those for a file; `None` for one of this machine.
    pub(super) fn of(path: &Path, remote: &Remote) -> Option<Self> {
        is_remote(path).then(|| Self::new(remote))
    }

    pub(super) fn new(remote: &Remote) -> Self {
        let mut requests = Self { before: Vec::new(), thread: PhantomData };
        let timeout = remote.timeout_seconds.unwrap_or(60.0);
        requests.set("GDAL_HTTP_TIMEOUT", remote.timeout_seconds.is_some(), &whole_seconds(timeout));
        requests.set("GDAL_HTTP_CONNECTTIMEOUT", false, &whole_seconds(timeout.min(CONNECT_SECONDS)));
        requests.set("GDAL_HTTP_MAX_RETRY", remote.retries.is_some(), &remote.retries.unwrap_or(4).to_string());
        let pause = remote.retry_seconds.unwrap_or(1.0);
        requests.set("GDAL_HTTP_RETRY_DELAY", remote.retry_seconds.is_some(), &format!("{pause}"));
        // A signed address is signed for GET alone.
        requests.set("CPL_VSIL_CURL_USE_HEAD", false, "NO");
        // Nothing is looked for beside a file: each try would be a request, and could open what nobody named.
        let listing = std::env::var_os(BESIDE).is_some();
        requests.set(BESIDE, !listing, "EMPTY_DIR");
        requests
    }

    /// Sets an option, where it is `given` or neither environment nor application have set it.
    pub(super) fn set(&mut self, key: &'static str, given: bool, value: &str) {
        let held = |text: gdal::errors::Result<String>| text.unwrap_or_default();
        if !given && !held(gdal::config::get_config_option(key, "")).is_empty() {
            return;
        }
        let before = held(gdal::config::get_thread_local_config_option(key, ""));
        match gdal::config::set_thread_local_config_option(key, value) {
            Ok(()) => self.before.push((key, before)),
            Err(error) => tracing::warn!(%error, "cannot set GDAL's option {key}"),
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for (key, before) in &self.before {
            let restored = if before.is_empty() {
                gdal::config::clear_thread_local_config_option(key)
            } else {
                gdal::config::set_thread_local_config_option(key, before)
            };
            if let Err(error) = restored {
                tracing::warn!(%error, "cannot restore GDAL's option {key}");
            }
        }
    }
}

/// GDAL 3.6 takes whole seconds alone.
fn whole_seconds(seconds: f64) -> String {
    format!("{:.0}", seconds.ceil())
}

/// Reads what may come from servers, `files` among it, and reads it once more where it broke off on the way.
///
/// GDAL repeats requests that a server refuses for the moment. What it does not notice is an answer that is shorter
/// than it was to be, and a connection that is lost: there its cache of the file is forgotten and all is read anew.
pub(in crate::source) fn persistently<'a, T>(
    remote: &Remote,
    files: impl Iterator<Item = &'a Path> + Clone,
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    if !files.clone().any(is_remote) {
        return read();
    }
    let mut again = remote.retries.unwrap_or(MOST_AGAIN).min(MOST_AGAIN);
    let mut pause = remote.retry_seconds.unwrap_or(1.0);
    loop {
        forget_answer();
        let error = match read() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // Whoever asks next is to hear from the server, and not what it said before.
        files.clone().filter(|path| is_remote(path)).for_each(forget);
        if again == 0 || !may_pass(&error) {
            return Err(error);
        }
        tracing::warn!("read again in {pause} s: {error}");
        thread::sleep(Duration::from_secs_f64(pause));
        (again, pause) = (again - 1, 2.0 * pause);
    }
}

/// Whether another try may succeed: what a library reported, unless a server has said why, or was asked often enough.
fn may_pass(error: &Error) -> bool {
    let reported = match error {
        Error::Open { source, problem, .. } | Error::Read { source, problem, .. } => {
            source.is_some() && !problem.contains("HTTP status") && !problem.contains("drivers = ")
        }
        _ => false,
    };
    reported && answer().is_none_or(|answer| status_in(&answer).is_none() && !answer.contains("Retrying"))
}

/// Makes GDAL forget what it holds of a file.
#[allow(unsafe_code)]
pub(in crate::source) fn forget(path: &Path) {
    let name = container(&gdal_name(path));
    if let Ok(name) = CString::new(name.to_string_lossy().as_bytes()) {
        // SAFETY: the text ends in null and lives until the call returns.
        unsafe { gdal_sys::VSICurlPartialClearCache(name.as_ptr()) };
    }
}

/// A message of GDAL about a file on a server, without what opens its door.
pub(super) fn plain(message: &str) -> String {
    masked(&message.replace("/vsicurl/", ""))
}

/// What a server answered where a file on it could not be read, in HTTP's terms, and what to do; `None` where GDAL's
/// message is all that is known.
pub(super) fn answered(path: &Path, message: &str) -> Option<String> {
    let answer = answer().unwrap_or_default();
    let message = plain(message);
    let says = |what: &str| answer.contains(what) || message.contains(what);
    if let Some(status) = status_in(&answer).or_else(|| status_in(&message)) {
        return Some(format!("the server answered with HTTP status {status}; {}", remedy(path, status)));
    }
    if says("HTTP error code: 0") || says("timed out") {
        return Some(
            "the server did not answer in time; check that it can be reached, or give a longer run.remote.timeout_seconds \
             or more run.remote.retries"
                .into(),
        );
    }
    if let Some(error) = answer.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0)) {
        let what = answer.split_once("<Message>").and_then(|(_, rest)| Some(rest.split_once("</Message>")?.0));
        return Some(format!("the server answered {error} ({}); {}", what.unwrap_or_default(), remedy(path, 403)));
    }
    if says("Range downloading not supported") {
        return Some("its server gives whole files only, and no ranges of them; copy the file to this machine".into());
    }
    says("CURL error").then(|| format!("{message}; check the server's name, and the network"))
}

/// The status that a message of GDAL names.
fn status_in(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("HTTP error code").or_else(|| message.split_once("HTTP response code"))?;
    // Of a list: "HTTP response code on http://h:80/a/: 403".
    let rest = if rest.starts_with(" on ") { rest.rsplit_once(": ")?.1 } else { rest };
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|status| *status > 0)
}

/// What to do about a status.
fn remedy(path: &Path, status: u32) -> String {
    let text = path.to_string_lossy();
    let credentials = if text.contains("s3") && !text.contains("http") {
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or AWS_NO_SIGN_REQUEST=YES for a public bucket"
    } else if text.starts_with("gs://") || text.contains("vsigs") {
        "GOOGLE_APPLICATION_CREDENTIALS, or GS_NO_SIGN_REQUEST=YES for a public bucket"
    } else if text.starts_with("az") || text.contains("vsiaz") {
        "AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_NO_SIGN_REQUEST=YES"
    } else {
        "a signed address that has not expired, or GDAL_HTTP_HEADER_FILE or GDAL_HTTP_NETRC"
    };
    match status {
        401 | 403 => format!("it is there for others, or not at all: give credentials in the environment ({credentials})"),
        404 | 410 => "there is no such file: check its name, or leave it out".into(),
        429 | 500..=599 => {
            "it was asked again and again: try later, or give more run.remote.retries, a longer run.remote.retry_seconds or fewer \
             run.remote.reads"
                .into()
        }
        _ => "check the address".into(),
    }
}

/// Upper bound on the memory of GDAL's cache of what servers sent.
pub(in crate::source) fn server_cache_bytes() -> u64 {
    let set = gdal::config::get_config_option("CPL_VSIL_CURL_CACHE_SIZE", "").ok();
    set.and_then(|text| text.trim().parse().ok()).unwrap_or(CACHE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_what_to_do() {
        let path = Path::new("https://u:p@h/a.tif?sig=x");
        for (message, says) in [
            ("HTTP response code: 404", "HTTP status 404; there is no such file"),
            ("HTTP response code: 403", "a signed address"),
            ("HTTP response code on http://127.0.0.1:80/a/: 404", "HTTP status 404"),
            ("HTTP error code: 503 - http://h/a. Retrying again in 0.1 secs", "run.remote.retries"),
            (
                "CURL error: Operation timed out after 2001 milliseconds with 0 bytes received",
                "run.remote.timeout_seconds",
            ),
            ("CURL error: Could not resolve host: h", "check the server's name"),
        ] {
            let answered = answered(path, message).unwrap_or_default();
            assert!(answered.contains(says), "{message}: {answered}");
        }
        let bucket = answered(Path::new("s3://b/a.tif"), "HTTP response code: 403").unwrap_or_default();
        assert!(bucket.contains("AWS_NO_SIGN_REQUEST"), "{bucket}");
        assert_eq!(answered(path, "no raster"), None);
        assert_eq!(plain("`/vsicurl/https://h/a?sig=x' no raster"), "`https://h/a?***' no raster");
    }

    #[test]
    fn options_hold_on_this_thread_while_they_are_needed() {
        let of = |key: &str| gdal::config::get_config_option(key, "").unwrap();
        let before = of("GDAL_HTTP_RETRY_DELAY");
        let requests = Requests::new(&Remote::default().retry_seconds(0.25).timeout_seconds(0.5));
        assert_eq!((of("GDAL_HTTP_RETRY_DELAY").as_str(), of("GDAL_HTTP_TIMEOUT").as_str()), ("0.25", "1"));
        thread::spawn(move || {
            assert_eq!(gdal::config::get_config_option("GDAL_HTTP_RETRY_DELAY", "").unwrap(), before);
        })
        .join()
        .unwrap();
        drop(requests);
        assert_ne!(of("GDAL_HTTP_RETRY_DELAY"), "0.25");
    }
}
