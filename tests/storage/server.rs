//! Stores in S3, tried with a server on this machine: `moto_server` of the Python package moto.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rasterfuse::storage::Place;

/// A server with an empty bucket, which ends with its value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server; `None`, and says so, where moto is not installed.
    pub(crate) fn start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = std::env::var("RASTERFUSE_MOTO_SERVER").unwrap_or_else(|_| "moto_server".into());
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(
                std::env::var_os("RASTERFUSE_REQUIRE_SHARED").is_none(),
                "{program} is missing: pip install 'moto[s3,server]'"
            );
            eprintln!("SKIPPED: {program} is missing, so stores in S3 are not tried: pip install 'moto[s3,server]'");
            return None;
        };
        let server = Self { child, address };
        let begun = Instant::now();
        while !server.answers() {
            assert!(begun.elapsed() < Duration::from_mins(2), "{program} does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// Whether the server has made the bucket.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(
                stream,
                "PUT /bucket HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                self.address
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    /// A store of this name, reached through `address`.
    pub(crate) fn place(name: &str, address: SocketAddr) -> Place {
        Place::from(format!("s3://bucket/deep/{name}.zarr"))
            .setting("aws_endpoint", format!("http://{address}"))
            .setting("aws_region", "us-east-1")
            .setting("aws_access_key_id", "test")
            .setting("aws_secret_access_key", "test")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a [`Proxy`] does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Passes it on.
    Pass,
    /// Refuses it with this status.
    Status(u16),
    /// Passes it on, and loses the answer.
    Lose,
    /// Ends the connection at once.
    Cut,
    /// Takes it, and never answers.
    Hang,
}

/// Stands before a server and fails as servers and networks do.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// A proxy of the server; `answer` decides about each request by its number, from 0.
    pub(crate) fn start(server: SocketAddr, answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                std::thread::spawn(move || {
                    let _ = pass(client, server, &*answer, &count);
                });
            }
        });
        Self { address }
    }
}

/// One request of a connection, which ends then.
fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    answer: &(dyn Fn(usize) -> Answer + Send + Sync),
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let head = loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 2;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    while request.len() < head + 2 + length {
        let read = client.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
    }
    let decided = answer(count.fetch_add(1, Ordering::SeqCst));
    match decided {
        Answer::Cut => return Ok(()),
        // Until the client has enough of it.
        Answer::Hang => return client.read_to_end(&mut buffer).map(drop),
        Answer::Status(status) => {
            return write!(client, "HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
        Answer::Pass | Answer::Lose => {}
    }
    request.splice(head..head, b"Connection: close\r\n".iter().copied());
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(&request)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    if decided == Answer::Lose { Ok(()) } else { client.write_all(&reply) }
}
