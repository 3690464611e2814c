//! A small HTTP server on this machine, which waits, fails and breaks off as it is told.
#![allow(dead_code)] // every test file is a crate of its own and uses a part

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// In place of the first byte of a range that is counted from the end.
const FROM_END: usize = usize::MAX;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// First and last byte, where a range is asked for.
    pub(crate) range: Option<(usize, usize)>,
    /// How often this was asked for, with this one.
    pub(crate) times: usize,
}

impl Request {
    /// Whether it asks for pixels, behind the first bytes of a file.
    pub(crate) fn is_late(&self) -> bool {
        self.range.is_some_and(|(first, _)| first > 0 && first != FROM_END)
    }
}

/// What the server does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Whole,
    Status(u16),
    /// Half of the bytes, then it hangs up.
    Broken,
    Wait(Duration),
    /// A text in place of a file.
    Body(String),
}

struct Shared {
    folder: PathBuf,
    wait: Duration,
    rule: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    log: Mutex<Vec<Request>>,
    counts: Mutex<HashMap<String, usize>>,
    now: AtomicUsize,
    most: AtomicUsize,
    stopped: AtomicBool,
}

/// Serves the files of a folder until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Every answer comes after `wait`.
    pub(crate) fn new(
        folder: &Path,
        wait: Duration,
        rule: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            wait,
            rule: Box::new(rule),
            log: Mutex::default(),
            counts: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// The address of a file.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// The most requests that waited for an answer at a time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        // Or else small answers wait for acknowledgements.
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = self.request(&mut reader) {
            let waiting = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(waiting, Ordering::SeqCst);
            thread::sleep(self.wait);
            let answer = (self.rule)(&request);
            if let Answer::Wait(time) = answer {
                thread::sleep(time);
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            if self.answer(&mut stream, &request, answer).is_none() {
                return;
            }
        }
    }

    fn request(&self, reader: &mut impl BufRead) -> Option<Request> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut range = None;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some((first, last)) = header.strip_prefix("range: bytes=").and_then(|range| range.split_once('-')) {
                range = Some(match first {
                    "" => (FROM_END, last.parse().ok()?),
                    first => (first.parse().ok()?, last.parse().unwrap_or(usize::MAX)),
                });
            }
        }
        let mut counts = self.counts.lock().unwrap();
        let times = counts.entry(format!("{path} {:?}", range.map(|(first, _)| first))).or_default();
        *times += 1;
        let request = Request { method, path, range, times: *times };
        self.log.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// `None` where it hangs up.
    fn answer(&self, stream: &mut TcpStream, request: &Request, answer: Answer) -> Option<()> {
        let name = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let path = self.folder.join(name);
        let body = if path.is_dir() { Some(index(&path, name)) } else { fs::read(&path).ok() };
        let body = match &answer {
            Answer::Body(text) => Some(text.clone().into_bytes()),
            _ => body,
        };
        let status = match answer {
            Answer::Status(status) => Some(status),
            _ if body.is_none() => Some(404),
            _ => None,
        };
        if let Some(status) = status {
            return write!(stream, "HTTP/1.1 {status} no\r\nContent-Length: 2\r\n\r\nno").ok();
        }
        let body = body?;
        let (first, last) = match request.range {
            Some((FROM_END, length)) => (body.len().saturating_sub(length), body.len() - 1),
            range => range.unwrap_or((0, body.len() - 1)),
        };
        let (first, last) = (first.min(body.len()), last.min(body.len().saturating_sub(1)));
        let part = &body[first..(last + 1).max(first)];
        let head = match request.range {
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
            Some(_) => {
                format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {first}-{last}/{}\r\n", body.len())
            }
        };
        let head = format!("{head}Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", part.len());
        stream.write_all(head.as_bytes()).ok()?;
        if request.method == "HEAD" {
            return Some(());
        }
        if matches!(answer, Answer::Broken) {
            let _ = stream.write_all(&part[..part.len() / 2]);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return None;
        }
        stream.write_all(part).ok()
    }
}

/// A page that lists a folder, as common servers write it.
fn index(folder: &Path, name: &str) -> Vec<u8> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            entry.file_name().to_string_lossy().into_owned() + if entry.path().is_dir() { "/" } else { "" }
        })
        .collect();
    names.sort();
    let line = |name: &String| format!("<li><a href=\"{name}\">{name}</a></li>\n");
    let lines = names.iter().map(line).collect::<Vec<_>>().concat();
    let title = format!("Index of /{}", name.trim_end_matches('/'));
    format!("<html>\n<head>\n<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<ul>\n{lines}</ul>\n</body>\n</html>\n").into_bytes()
}
