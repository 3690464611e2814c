//! The connection to a server, whose runtime is its own: callers need none, and may have one.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::renewal::LeaseState;
use crate::storage::options::{Access, StorageOptions, seconds};

/// Threads that wait for the server.
const THREADS: usize = 2;

/// Attempts to put an object while a lease holds.
const ATTEMPTS: u32 = 3;

/// Longest time of connecting.
const CONNECTING: Duration = Duration::from_secs(5);

/// Shortest pause before a request is repeated, in seconds.
const SHORTEST_PAUSE: f64 = 0.001;

/// Pause between looks at a lease that could not be renewed.
const LOOK: Duration = Duration::from_millis(100);

/// A bucket, and the leases that this process holds in it.
pub(in crate::storage) struct Client {
    store: Arc<dyn ObjectStore>,
    /// The same for what is put and renewed: single attempts are short beside a lease, so that none arrives after it.
    puts: Arc<dyn ObjectStore>,
    runtime: Option<Runtime>,
    leases: Mutex<Vec<Weak<LeaseState>>>,
    options: StorageOptions,
    /// Whether its times are those of inputs, `run.remote`.
    reads_inputs: bool,
    /// Whether ranges can be counted from the end.
    pub(super) reads_ends: bool,
    /// How long a lease holds without being renewed.
    pub(super) lease: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.store)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed where the last user is asynchronous itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Connects to the bucket of a URL; settings and credentials are those of the environment, unless given.
    pub(super) fn new(scheme: &str, url: &str, access: &Access) -> io::Result<Self> {
        let options = &access.options;
        let connect = |times| connect((scheme, url), access, times);
        let puts = (options.timeout().min(options.lease()), options.retry().min(options.lease() / ATTEMPTS));
        let mut client = Self::with(connect((options.timeout(), options.retry()))?, connect(puts)?, access.options)?;
        client.reads_inputs = access.pause.is_some();
        client.reads_ends = !scheme.starts_with("az") && !scheme.starts_with("abfs");
        Ok(client)
    }

    /// A client of a store that is open.
    fn with(store: Arc<dyn ObjectStore>, puts: Arc<dyn ObjectStore>, options: StorageOptions) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREADS).thread_name("rasterfuse-objects").enable_all().build()?;
        let leases = Mutex::default();
        Ok(Self {
            store,
            puts,
            runtime: Some(runtime),
            leases,
            options,
            reads_inputs: false,
            reads_ends: true,
            lease: options.lease(),
        })
    }

    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn ObjectStore>, lease: Duration) -> Self {
        let lease_seconds = lease.as_secs_f64();
        let options = StorageOptions { retry_seconds: 5.0, lease_seconds, ..StorageOptions::default() };
        Self::with(Arc::clone(&store), store, options).unwrap()
    }

    /// Runs a request and waits for it, on threads of the client: also for callers within a runtime.
    pub(super) fn request<T, F>(&self, request: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> object_store::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let gone = || object_store::Error::Generic { store: "object store", source: "its threads have ended".into() };
        let (sender, receiver) = mpsc::channel();
        let future = request(Arc::clone(&self.store));
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move {
            // Nobody waits any longer where the caller has ended.
            let _ = sender.send(future.await);
        });
        receiver.recv().map_err(|_| gone())?
    }

    /// The same, with the error of a file.
    pub(super) fn run<T, F>(&self, request: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        self.request(request).map_err(|error| self.error(error))
    }

    /// The error of a file: where the server failed, with the keys that say how long it is waited for.
    pub(super) fn error(&self, error: object_store::Error) -> io::Error {
        if !matches!(error, object_store::Error::Generic { .. }) {
            return error.into();
        }
        let StorageOptions { timeout_seconds, retry_seconds, retries, .. } = self.options;
        let (times, keys) = if self.reads_inputs {
            (format!("up to {retries} times"), "timeout_seconds and retries of run.remote")
        } else {
            (format!("for up to {retry_seconds} s"), "timeout_seconds and retry_seconds of run.storage")
        };
        io::Error::other(format!("{error} (a request was given {timeout_seconds} s and repeated {times}: {keys})"))
    }

    /// Puts an object: again and again while the server fails, as long as the leases hold. Who puts under a condition must
    /// expect that it fails because an earlier attempt has arrived.
    pub(super) fn put(&self, key: &Path, bytes: Vec<u8>, mode: PutMode) -> object_store::Result<PutResult> {
        let (begun, payload) = (Instant::now(), PutPayload::from(bytes));
        let mut pause = LOOK;
        loop {
            let (store, key, payload) = (Arc::clone(&self.puts), key.clone(), payload.clone());
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            let put = self.request(|_| async move { store.put_opts(&key, payload, options).await });
            let failed = matches!(put, Err(object_store::Error::Generic { .. }));
            if !failed || begun.elapsed() + pause > self.options.retry() {
                return put;
            }
            std::thread::sleep(pause);
            pause *= 2;
            self.check()
                .map_err(|error| object_store::Error::Generic { store: "object store", source: Box::new(error) })?;
        }
    }

    /// Runs a task beside all requests.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(Arc<dyn ObjectStore>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task(Arc::clone(&self.puts)));
        }
    }

    /// Remembers a lease on which all that is written from now on depends.
    pub(super) fn depend_on(&self, lease: &Arc<LeaseState>) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|lease| lease.strong_count() > 0);
        leases.push(Arc::downgrade(lease));
    }

    /// Refuses to write where a lease was lost; waits while it cannot be told.
    pub(super) fn check(&self) -> io::Result<()> {
        let leases: Vec<Arc<LeaseState>> = {
            let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
            leases.iter().filter_map(Weak::upgrade).collect()
        };
        let begun = Instant::now();
        for lease in leases {
            while !lease.holds(self.lease)? {
                if begun.elapsed() > self.options.retry() {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!(
                            "the lease {} could not be renewed for {} s (run.storage.retry_seconds): the server does not \
                             answer",
                            lease.key, self.options.retry_seconds
                        ),
                    ));
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}

/// A bucket by its URL, with the longest times of a request and of its repetitions.
fn connect(
    (scheme, url): (&str, &str),
    access: &Access,
    (timeout, retry): (Duration, Duration),
) -> io::Result<Arc<dyn ObjectStore>> {
    let max_retries = access.options.retries as usize;
    let mut backoff = BackoffConfig::default();
    if let Some(pause) = access.pause.map(|pause| seconds(pause.max(SHORTEST_PAUSE))) {
        backoff.max_backoff = backoff.max_backoff.max(pause);
        backoff.init_backoff = pause;
    }
    let retry = RetryConfig { backoff, max_retries, retry_timeout: retry };
    let connecting = ("connect_timeout".to_owned(), format!("{}ms", timeout.min(CONNECTING).as_millis()));
    let timeout = ("timeout".to_owned(), format!("{}ms", timeout.as_millis()));
    // Settings by name may say otherwise.
    let settings = [connecting, timeout];
    let settings = settings.iter().chain(&access.settings);
    Ok(match scheme {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
            for (name, value) in settings.clone() {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            // An endpoint without TLS was asked for by its URL.
            if builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|at| at.starts_with("http://")) {
                builder = builder.with_allow_http(true);
            }
            Arc::new(builder.build()?)
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry);
            for (name, value) in settings.clone() {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            Arc::new(builder.build()?)
        }
        "http" | "https" => {
            let end = url.find("://").map_or(0, |at| at + "://".len());
            let host = url[end..].find('/').map_or(url, |at| &url[..end + at]);
            let mut builder = HttpBuilder::new().with_url(host).with_retry(retry);
            if scheme == "http" {
                builder = builder.with_config(ClientConfigKey::AllowHttp, "true");
            }
            for (name, value) in settings.clone() {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            Arc::new(builder.build()?)
        }
        _ => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
            for (name, value) in settings.clone() {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            Arc::new(builder.build()?)
        }
    })
}
