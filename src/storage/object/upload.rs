//! Writing an object: in one request, or in parts that appear together at its end.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutPayload};

use super::client::Client;

/// Bytes of a part; servers take up to 10 000 parts of an object.
const PART: usize = 16 << 20;

/// An object that is being written.
pub(super) struct Upload<'a> {
    client: &'a Arc<Client>,
    key: Path,
    buffer: Vec<u8>,
    /// Once there is more than one part.
    parts: Option<Box<dyn MultipartUpload>>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(client: &'a Arc<Client>, key: Path) -> Self {
        Self { client, key, buffer: Vec::new(), parts: None }
    }

    /// Sends what is in the buffer as a part.
    fn send(&mut self) -> io::Result<()> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let key = self.key.clone();
                self.client.run(|store| async move { store.put_multipart(&key).await })?
            }
        };
        let part = parts.put_part(PutPayload::from(mem::take(&mut self.buffer)));
        self.parts = Some(parts);
        self.client.run(|_| part)
    }

    /// Makes the object appear.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.parts.is_none() {
            let put = self.client.put(&self.key, mem::take(&mut self.buffer), PutMode::Overwrite);
            return put.map(drop).map_err(|error| self.client.error(error));
        }
        let sent = if self.buffer.is_empty() { Ok(()) } else { self.send() };
        let Some(mut parts) = self.parts.take() else { return sent };
        // Completed or forgotten by one task: nothing is left half sent.
        self.client.run(|_| async move {
            let done = match sent {
                Ok(()) => parts.complete().await.map(drop),
                Err(error) => Err(object_store::Error::Generic { store: "object store", source: Box::new(error) }),
            };
            if done.is_err() {
                // The first error is the one to report.
                let _ = parts.abort().await;
            }
            done
        })
    }

    /// Forgets what was sent. What cannot be forgotten is invisible, and removed by a rule of the bucket.
    pub(super) fn abort(mut self) {
        if let Some(mut parts) = self.parts.take() {
            let forgotten = self.client.run(|_| async move { parts.abort().await });
            if let Err(error) = forgotten {
                tracing::warn!("{}: parts of an unfinished upload stay on the server: {error}", self.key);
            }
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= PART {
            self.send()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
