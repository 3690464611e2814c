//! The connection to a server, whose runtime is its own: callers need none, and may have one.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload, PutResult, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::renewal::LeaseState;
use crate::storage::access::Access;

/// Threads that wait for the server.
const THREADS: usize = 2;

/// Attempts to put an object while a lease holds.
const ATTEMPTS: u32 = 3;

/// Pause between looks at a lease that could not be renewed.
const LOOK: Duration = Duration::from_millis(100);

/// A bucket, and the leases that this process holds in it.
pub(in crate::storage) struct Client {
    store: Arc<dyn ObjectStore>,
    /// The same for what is put and renewed: single attempts are short beside a lease, so that none arrives after it.
    puts: Arc<dyn ObjectStore>,
    runtime: Option<Runtime>,
    leases: Mutex<Vec<Weak<LeaseState>>>,
    retry: Duration,
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
        let connect = |retry| connect((scheme, url), &access.settings, retry);
        Self::with(connect(access.retry)?, connect(access.lease / ATTEMPTS)?, access)
    }

    /// A client of a store that is open.
    fn with(store: Arc<dyn ObjectStore>, puts: Arc<dyn ObjectStore>, access: &Access) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREADS).thread_name("rasterfuse-objects").enable_all().build()?;
        let (retry, lease) = (access.retry, access.lease);
        Ok(Self { store, puts, runtime: Some(runtime), leases: Mutex::default(), retry, lease })
    }

    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn ObjectStore>, lease: Duration) -> Self {
        let retry = Duration::from_secs(5);
        Self::with(Arc::clone(&store), store, &Access { retry, lease, ..Access::default() }).unwrap()
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
        Ok(self.request(request)?)
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
            if !failed || begun.elapsed() + pause > self.retry {
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
                if begun.elapsed() > self.retry {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("the lease {} could not be renewed: the server does not answer", lease.key),
                    ));
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}

/// A bucket by its URL, whose requests are repeated for so long.
fn connect(
    (scheme, url): (&str, &str),
    settings: &[(String, String)],
    retry: Duration,
) -> io::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: 1000, retry_timeout: retry, ..RetryConfig::default() };
    Ok(match scheme {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
            for (name, value) in settings {
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
            for (name, value) in settings {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            Arc::new(builder.build()?)
        }
        _ => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
            for (name, value) in settings {
                builder = builder.with_config(name.to_lowercase().parse()?, value);
            }
            Arc::new(builder.build()?)
        }
    })
}
