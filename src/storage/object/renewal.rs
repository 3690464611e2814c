//! What keeps a lease: the object that says who holds it, and the task that renews it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// A lease is renewed so often while it holds.
const RENEWALS: u32 = 3;

/// What an object of a lease says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Who holds it; nobody once it was released.
    pub(super) holder: Option<String>,
    /// Grows with every renewal.
    pub(super) beat: u64,
    /// How long it holds without one.
    pub(super) milliseconds: u64,
}

impl Note {
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What the task that renews a lease and those who write know of it.
#[derive(Debug)]
pub(super) struct LeaseState {
    pub(super) key: Path,
    pub(super) id: String,
    /// When the last renewal that succeeded was begun.
    pub(super) renewed: StdMutex<Instant>,
    pub(super) lost: AtomicBool,
    /// What the object was put as last; `None` once it is released.
    pub(super) version: Mutex<Option<(UpdateVersion, u64)>>,
}

impl LeaseState {
    /// Whether it holds for a while yet; `false` while that cannot be told. What is begun then arrives before it ends.
    ///
    /// # Errors
    /// Somebody else has taken it.
    pub(super) fn holds(&self, lease: Duration) -> io::Result<bool> {
        if self.lost.load(Ordering::SeqCst) {
            let problem = format!(
                "the lease {} was taken over by another run, because this one had not renewed it for {} s; it goes on where this \
                 one ends",
                self.key,
                lease.as_secs_f64()
            );
            return Err(io::Error::other(problem));
        }
        Ok(self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < lease * 2 / 3)
    }

    /// Renews until it is released or lost.
    pub(super) async fn renew(self: Arc<Self>, store: Arc<dyn ObjectStore>, lease: Duration) {
        let pause = lease / RENEWALS;
        let mut next = pause;
        loop {
            tokio::time::sleep(next).await;
            let mut version = self.version.lock().await;
            let Some((seen, beat)) = version.clone() else { return };
            let begun = Instant::now();
            let note = Note { holder: Some(self.id.clone()), beat: beat + 1, milliseconds: lease.as_millis() as u64 };
            let mode = PutMode::Update(seen);
            let options = PutOptions { mode, ..PutOptions::default() };
            let put = store.put_opts(&self.key, PutPayload::from(note.bytes()), options).await;
            let put = match put {
                // The answer to a put that succeeded may have been lost.
                Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {
                    match look(&*store, &self.key).await {
                        Ok(Some((held, version))) if held == note => Ok(version),
                        Ok(_) => {
                            self.lost.store(true, Ordering::SeqCst);
                            return;
                        }
                        Err(error) => Err(error),
                    }
                }
                put => put.map(UpdateVersion::from),
            };
            match put {
                Ok(put) => {
                    *version = Some((put, beat + 1));
                    *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = begun;
                    next = pause;
                }
                Err(error) => {
                    tracing::warn!("the lease {} could not be renewed: {error}", self.key);
                    next = pause / RENEWALS;
                }
            }
        }
    }
}

/// What an object of a lease says, and its version.
pub(super) async fn look(store: &dyn ObjectStore, key: &Path) -> object_store::Result<Option<(Note, UpdateVersion)>> {
    let got = match store.get(key).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        got => got?,
    };
    let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
    let bytes = got.bytes().await?;
    let damaged = |error: serde_json::Error| Error::Generic { store: "object store", source: Box::new(error) };
    Ok(Some((serde_json::from_slice(&bytes).map_err(damaged)?, version)))
}
