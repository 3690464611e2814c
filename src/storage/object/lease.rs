//! Locks in an object store: leases, which their holders renew and others take over when they have not been renewed.
//!
//! No clocks are compared. A lease names how long it holds; who waits for it watches the object, and takes it over when it
//! has not changed for that long. Its holder stops writing when so much time has passed since it began the last renewal
//! that succeeded, which is earlier. Every change is conditional on the version that was seen, so one of two wins.
//!
//! A lease that is held by one alone is the object of that name. Leases that are shared are objects beside it, each with
//! one writer: whoever takes either kind puts its own object first and looks for the other kind then, so that of two
//! at once at least one sees the other.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};
use tokio::sync::Mutex;

use super::client::Client;
use super::renewal::{LeaseState, Note, look};
use crate::machine::random;
use crate::storage::{Guard, Hold};

/// Longest pause between looks at a lease of somebody else.
const LOOK: Duration = Duration::from_secs(1);

/// A lease that this process holds.
#[derive(Debug)]
pub(super) struct Lease {
    client: Arc<Client>,
    state: Arc<LeaseState>,
    shared: bool,
}

/// How a lease of somebody else ended, as far as it did.
enum Watched {
    /// Its holder is at work.
    Alive,
    /// Nobody holds it, or its holder has not been heard of for so long.
    Over(Option<UpdateVersion>),
}

impl Lease {
    /// Takes a lease; `None` where somebody else holds it. Finding out takes a renewal of a holder who is at work, and as
    /// long as the lease holds where it died.
    pub(super) fn take(client: &Arc<Client>, key: &Path, hold: Hold) -> io::Result<Option<Self>> {
        let id = format!("{:016x}", random());
        if hold == Hold::Shared {
            let own = Path::parse(format!("{key}.shared.{id}")).map_err(io::Error::other)?;
            let lease = Self::put(client, (own, id), PutMode::Create, true)?;
            let Some(lease) = lease else { return Ok(None) };
            // Released by dropping it.
            return Ok(close(client, key)?.then_some(lease));
        }
        let lease = loop {
            let found = client.run({
                let key = key.clone();
                |store| async move { look(&*store, &key).await }
            })?;
            let mode = match found {
                None => PutMode::Create,
                Some(found) => match watch(client, key, found)? {
                    Watched::Alive if hold == Hold::Waiting => continue,
                    Watched::Alive => return Ok(None),
                    Watched::Over(Some(version)) => PutMode::Update(version),
                    Watched::Over(None) => PutMode::Create,
                },
            };
            let fresh = matches!(mode, PutMode::Create);
            if let Some(lease) = Self::put(client, (key.clone(), id.clone()), mode, false)? {
                if fresh {
                    refuse_unconditional(client, key)?;
                }
                break lease;
            }
        };
        for shared in shared_with(client, key)? {
            if !close(client, &shared)? {
                return Ok(None);
            }
            client.run(|store| async move { store.delete(&shared).await })?;
        }
        Ok(Some(lease))
    }

    /// Puts the object of a lease under a condition; `None` where it does not hold.
    fn put(client: &Arc<Client>, (key, id): (Path, String), mode: PutMode, shared: bool) -> io::Result<Option<Self>> {
        let lease = client.lease;
        let note = Note { holder: Some(id.clone()), beat: 0, milliseconds: lease.as_millis() as u64 };
        let begun = Instant::now();
        let version = match client.put(&key, note.bytes(), mode) {
            Ok(put) => UpdateVersion::from(put),
            // The answer to a put that succeeded may have been lost.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let of = key.clone();
                match client.run(|store| async move { look(&*store, &of).await })? {
                    Some((held, version)) if held == note => version,
                    _ => return Ok(None),
                }
            }
            Err(error) => return Err(client.error(error)),
        };
        let state = LeaseState {
            key,
            id,
            renewed: StdMutex::new(begun),
            lost: AtomicBool::new(false),
            version: Mutex::new(Some((version, 0))),
        };
        let state = Arc::new(state);
        client.depend_on(&state);
        let renewed = Arc::clone(&state);
        client.spawn(|store| renewed.renew(store, lease));
        Ok(Some(Self { client: Arc::clone(client), state, shared }))
    }
}

/// Watches a lease until it ends or its holder is heard of.
fn watch(client: &Client, key: &Path, (note, version): (Note, UpdateVersion)) -> io::Result<Watched> {
    if note.holder.is_none() {
        return Ok(Watched::Over(Some(version)));
    }
    let expires = Duration::from_millis(note.milliseconds);
    tracing::info!("{key} is held: waiting up to {} s to see whether its holder is at work", expires.as_secs_f64());
    let seen = Instant::now();
    loop {
        sleep((expires / 10).min(LOOK));
        let of = key.clone();
        match client.run(|store| async move { look(&*store, &of).await })? {
            None => return Ok(Watched::Over(None)),
            Some((now, version)) if now.holder.is_none() => return Ok(Watched::Over(Some(version))),
            Some((now, _)) if now != note => return Ok(Watched::Alive),
            Some((_, version)) if seen.elapsed() > expires => {
                tracing::warn!("{key}: its holder has not been heard of for {} s; taken over", expires.as_secs_f64());
                return Ok(Watched::Over(Some(version)));
            }
            Some(_) => {}
        }
    }
}

/// Ends the lease of a holder who has died, so that it cannot come back; `false` where it is at work.
fn close(client: &Client, key: &Path) -> io::Result<bool> {
    loop {
        let of = key.clone();
        let Some(found) = client.run(|store| async move { look(&*store, &of).await })? else { return Ok(true) };
        if found.0.holder.is_none() {
            return Ok(true);
        }
        let version = match watch(client, key, found)? {
            Watched::Alive => return Ok(false),
            Watched::Over(None) => return Ok(true),
            Watched::Over(Some(version)) => version,
        };
        match client.put(key, Note::default().bytes(), PutMode::Update(version)) {
            // Somebody else was faster.
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {}
            put => return put.map(|_| true).map_err(|error| client.error(error)),
        }
    }
}

/// The objects of leases that share one.
fn shared_with(client: &Client, key: &Path) -> io::Result<Vec<Path>> {
    let (folder, name) = key.as_ref().rsplit_once('/').unwrap_or(("", key.as_ref()));
    let folder = Path::parse(folder).map_err(io::Error::other)?;
    let list = client.run(|store| async move { store.list_with_delimiter(Some(&folder)).await })?;
    let start = format!("{name}.shared.");
    let shared = |key: &Path| key.filename().is_some_and(|name| name.starts_with(&start));
    Ok(list.objects.into_iter().map(|object| object.location).filter(shared).collect())
}

/// Refuses a server that puts an object although the condition does not hold: it would keep nobody apart.
fn refuse_unconditional(client: &Client, key: &Path) -> io::Result<()> {
    match client.put(key, Note::default().bytes(), PutMode::Create) {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(client.error(error)),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the server ignores the condition of a put (If-None-Match), so that it could not keep two runs apart; use one \
             that has conditional writes",
        )),
    }
}

impl Guard for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        let (state, shared) = (Arc::clone(&self.state), self.shared);
        let released = self.client.run(|store| async move {
            // Nothing is renewed from here on.
            let Some((version, beat)) = state.version.lock().await.take() else { return Ok(()) };
            if state.lost.load(Ordering::SeqCst) {
                return Ok(());
            }
            if shared {
                return store.delete(&state.key).await;
            }
            let note = Note { holder: None, beat, milliseconds: 0 };
            let options = PutOptions { mode: PutMode::Update(version), ..PutOptions::default() };
            store.put_opts(&state.key, PutPayload::from(note.bytes()), options).await.map(drop)
        });
        if let Err(error) = released {
            tracing::warn!("the lease {} could not be released, and ends by itself: {error}", self.state.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;

    const LEASE: Duration = Duration::from_millis(600);

    fn clients() -> (Arc<InMemory>, Arc<Client>, Arc<Client>) {
        let store = Arc::new(InMemory::new());
        let client = || Arc::new(Client::of(Arc::clone(&store) as Arc<dyn ObjectStore>, LEASE));
        let (a, b) = (client(), client());
        (store, a, b)
    }

    fn key() -> Path {
        Path::from("store.state/run.lock")
    }

    #[test]
    fn a_holder_who_is_at_work_keeps_its_lease() {
        let (_, a, b) = clients();
        let held = Lease::take(&a, &key(), Hold::Exclusive).unwrap().unwrap();
        sleep(3 * LEASE);
        assert!(Lease::take(&b, &key(), Hold::Exclusive).unwrap().is_none());
        assert!(Lease::take(&b, &key(), Hold::Shared).unwrap().is_none());
        a.check().unwrap();
        drop(held);
        let begun = Instant::now();
        let _next = Lease::take(&b, &key(), Hold::Exclusive).unwrap().unwrap();
        assert!(begun.elapsed() < LEASE / 2, "what was released is free at once");
    }

    #[test]
    fn a_holder_who_died_is_followed_when_its_lease_has_ended() {
        let (_, a, b) = clients();
        for hold in [Hold::Exclusive, Hold::Shared] {
            let dead = Note { holder: Some("dead".into()), beat: 7, milliseconds: LEASE.as_millis() as u64 };
            let left = if hold == Hold::Shared { Path::from("store.state/run.lock.shared.dead") } else { key() };
            a.put(&left, dead.bytes(), PutMode::Overwrite).unwrap();
            let begun = Instant::now();
            let lease = Lease::take(&b, &key(), Hold::Exclusive).unwrap().unwrap();
            assert!(begun.elapsed() >= LEASE);
            drop(lease);
        }
        // One who shares follows it as well, and it cannot come back.
        let dead = Note { holder: Some("dead".into()), beat: 7, milliseconds: LEASE.as_millis() as u64 };
        let version = a.put(&key(), dead.bytes(), PutMode::Overwrite).unwrap().into();
        let _shared = Lease::take(&b, &key(), Hold::Shared).unwrap().unwrap();
        let back = a.put(&key(), dead.bytes(), PutMode::Update(version));
        assert!(matches!(back, Err(Error::Precondition { .. })));
    }

    #[test]
    fn a_holder_whose_lease_was_taken_over_stops_writing() {
        let (_, a, b) = clients();
        let _held = Lease::take(&a, &key(), Hold::Exclusive).unwrap().unwrap();
        a.check().unwrap();
        // As somebody does who has not heard of it for too long.
        let other = Note { holder: Some("other".into()), beat: 0, milliseconds: LEASE.as_millis() as u64 };
        b.put(&key(), other.bytes(), PutMode::Overwrite).unwrap();
        sleep(LEASE);
        let refused = a.check().unwrap_err().to_string();
        assert!(refused.contains("taken over by another run") && refused.contains("run.lock"), "{refused}");
    }
}
