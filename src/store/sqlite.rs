//! The store of one host: a SQLite database, and the operating system's file locks beside it.

mod backup;
mod chain;
mod changes;
mod database;
mod notices;
mod rows;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ulid::Ulid;

use crate::connection::{ConnectionName, Declared};
use crate::entra::{ClientId, KeyId, TenantId};
use crate::journal::{
    AttemptName, ConnectionId, Event, InstanceId, Journal, Reconciliation, Rotation,
};

use super::lock::{self, Locks};
use super::notices::{Attempted, Noted, Noteworthy, Outbox};
use super::seal;
use super::{
    Adoption, Attempt, ChainHash, Change, Due, Fingerprint, HistoryChain, HistoryFilter, Lease,
    MasterKeyLease, Sealed, ServiceLease, Share, Store, StoreFault,
};

use writer::Writer;

/// A store in one SQLite database. Dropping it waits for what is being written.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    locks: Locks,
}

impl SqliteStore {
    /// Opens the store at `path`; its locks are files in `locks` beside it. Nothing is made where
    /// there is none.
    ///
    /// # Errors
    ///
    /// Where it is missing, damaged, from a newer version, locked, or open to other users.
    pub fn open(path: &Path) -> Result<Self, StoreFault> {
        // The thread may outlive a change of the working folder; and whoever comes by another way,
        // such as a link, must find the same locks.
        let path = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreFault::Missing {
                path: path.display().to_string(),
            },
            _ => unusable(path, &error),
        })?;
        let connection = database::open(&path)?;
        let locks = Locks::new(database::folder_of(&path).join("locks"));
        let writer =
            Writer::start(path.clone(), connection).map_err(|error| unusable(&path, &error))?;
        Ok(Self { writer, locks })
    }

    /// Opens the store at `path` for commands that only look, where [`SqliteStore::open`] can't
    /// because its disk is full or read-only.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`], and where not even reading is possible.
    pub fn open_to_look(path: &Path) -> Result<Self, StoreFault> {
        let path = path
            .canonicalize()
            .map_err(|error| unusable(path, &error))?;
        let connection = database::open_to_look(&path)?;
        let locks = Locks::new(database::folder_of(&path).join("locks"));
        let writer =
            Writer::start(path.clone(), connection).map_err(|error| unusable(&path, &error))?;
        Ok(Self { writer, locks })
    }

    /// Makes an empty store at `path` (0600, its folder 0700 where that is missing), to be sealed
    /// with the master key of this fingerprint, and gives it its instance. It is there whole or
    /// not at all.
    ///
    /// # Errors
    ///
    /// Where there is one already, or the disk refuses.
    pub fn create(path: &Path, fingerprint: Fingerprint) -> Result<InstanceId, StoreFault> {
        let instance = new_instance()?;
        database::create(path, fingerprint, instance)?;
        Ok(instance)
    }

    /// Copies the store at `from` to a new file at `to` (0600), as it stands at one moment; its
    /// values stay sealed, and the master key is not in it. Others may go on working with the
    /// store. Returns its length in bytes. It blocks.
    ///
    /// # Errors
    ///
    /// Where the store can't be read, or `to` is there already or can't be written.
    pub fn backup(from: &Path, to: &Path) -> Result<u64, StoreFault> {
        backup::write(from, to)
    }

    /// Makes a store at `to` from a backup, as a new instance that knows the keys of the former
    /// one for its own: every connection is paused, and nothing is done by itself until a person
    /// resumes it. `event` is the first line of the new life; `fits` says whether the master key at
    /// hand has the backup's fingerprint. Returns how many connections it keeps. It blocks.
    ///
    /// # Errors
    ///
    /// Where the backup is none, the key does not fit, or something is at `to` already.
    pub fn restore<E: From<StoreFault>>(
        from: &Path,
        to: &Path,
        event: &Event,
        fits: impl FnOnce(Fingerprint) -> Result<(), E>,
    ) -> Result<usize, E> {
        backup::restore(from, to, new_instance()?, event, fits)
    }

    /// Moves what the write-ahead log holds into the database and empties it, so that wiped and
    /// re-sealed values do not stay in it. What is in the way of that is no fault: they are
    /// sealed, and the next checkpoint does it.
    async fn empty_log(&self) {
        let emptied = self
            .writer
            .read(|db| {
                let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
                Ok(db.query_row(checkpoint, [], |_| Ok(()))?)
            })
            .await;
        if let Err(fault) = emptied {
            tracing::warn!(%fault, "the write-ahead log was not emptied");
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn instances(&self) -> Result<Vec<InstanceId>, StoreFault> {
        self.writer.read(rows::instances).await
    }

    async fn fingerprint(&self) -> Result<Fingerprint, StoreFault> {
        self.writer.read(rows::fingerprint).await
    }

    async fn journal(&self, name: &ConnectionName) -> Result<Option<Journal>, StoreFault> {
        let name = name.clone();
        self.writer.read(move |db| rows::journal(db, &name)).await
    }

    async fn journals(&self) -> Result<Vec<Journal>, StoreFault> {
        self.writer.read(rows::journals).await
    }

    async fn declarations(&self) -> Result<Vec<(ConnectionId, Declared)>, StoreFault> {
        self.writer.read(rows::declarations).await
    }

    async fn journals_after(
        &self,
        after: Option<&ConnectionName>,
        at_most: usize,
    ) -> Result<Vec<Journal>, StoreFault> {
        let after = after.cloned();
        self.writer
            .read(move |db| rows::journals_after(db, after.as_ref(), at_most))
            .await
    }

    async fn latest_rotation(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<Rotation>, StoreFault> {
        self.writer
            .read(move |db| rows::latest_rotation(db, connection))
            .await
    }

    async fn due(&self, now: DateTime<Utc>, at_most: Share) -> Result<Vec<Due>, StoreFault> {
        self.writer
            .read(move |db| rows::due(db, now, at_most))
            .await
    }

    async fn next_action_at(&self) -> Result<Option<DateTime<Utc>>, StoreFault> {
        self.writer.read(rows::next_action_at).await
    }

    async fn count(&self) -> Result<usize, StoreFault> {
        self.writer.read(rows::count).await
    }

    async fn unreconciled(
        &self,
        before: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Vec<ConnectionName>, StoreFault> {
        self.writer
            .read(move |db| rows::unreconciled(db, before, at_most))
            .await
    }

    async fn reconciliation(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<Reconciliation>, StoreFault> {
        self.writer
            .read(move |db| rows::reconciliation(db, connection))
            .await
    }

    async fn try_lock(
        &self,
        connection: ConnectionId,
        (tenant, client): (TenantId, ClientId),
    ) -> Result<Option<Lease>, StoreFault> {
        let held = self.locks.try_application(tenant, client);
        let held = held.map_err(|error| lock_fault(&error))?;
        Ok(held.map(|lock| Lease {
            connection,
            // On one host the operating system's lock is enough: none outlives its holder, so no
            // late write of an older one can arrive.
            epoch: 0,
            held: Some(Arc::new(lock)),
        }))
    }

    async fn try_lock_service(&self) -> Result<Option<ServiceLease>, StoreFault> {
        let held = self.locks.try_service();
        let held = held.map_err(|error| lock_fault(&error))?;
        Ok(held.map(|lock| ServiceLease { held: Some(lock) }))
    }

    async fn try_lock_master_key(&self) -> Result<Option<MasterKeyLease>, StoreFault> {
        let held = self.locks.try_master_key();
        let held = held.map_err(|error| lock_fault(&error))?;
        Ok(held.map(|lock| MasterKeyLease { held: Some(lock) }))
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreFault> {
        let lock = lease.held.clone().ok_or(StoreFault::Stale)?;
        if !lock::excludes(&lock).map_err(|error| lock_fault(&error))? {
            return Err(StoreFault::Stale);
        }
        let id = lease.connection;
        let written = self.writer.write(move |db| {
            for change in &changes {
                changes::apply(db, id, change)?;
            }
            // A caller that stops waiting drops its lease; the lock outlives the commit (P5).
            Ok(lock)
        });
        written.await.map(drop)
    }

    async fn adopt(
        &self,
        adoption: Adoption,
        seal: Box<dyn FnOnce(ConnectionId) -> Sealed + Send>,
    ) -> Result<ConnectionId, StoreFault> {
        self.writer
            .write(move |db| changes::adopt(db, &adoption, seal))
            .await
    }

    async fn sealed(
        &self,
        connection: ConnectionId,
        key_id: KeyId,
    ) -> Result<Option<Sealed>, StoreFault> {
        self.writer
            .read(move |db| rows::sealed(db, connection, key_id))
            .await
    }

    async fn record(&self, event: Event) -> Result<(), StoreFault> {
        self.writer
            .write(move |db| changes::add_event(db, &event))
            .await
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Event>, StoreFault> {
        self.writer.read(move |db| rows::history(db, &filter)).await
    }

    async fn follow_history(&self, noted: Option<ChainHash>) -> Result<HistoryChain, StoreFault> {
        self.writer.read(move |db| chain::follow(db, noted)).await
    }

    async fn history_head(&self) -> Result<ChainHash, StoreFault> {
        self.writer.read(chain::head).await
    }

    async fn attempt(&self, name: AttemptName) -> Result<Option<Attempt>, StoreFault> {
        self.writer.read(move |db| rows::attempt(db, name)).await
    }

    async fn purge_removed(&self, before: DateTime<Utc>) -> Result<usize, StoreFault> {
        let purged = self
            .writer
            .write(move |db| changes::purge_removed(db, before))
            .await?;
        if purged > 0 {
            self.empty_log().await;
        }
        Ok(purged)
    }

    async fn reseal(
        &self,
        to: Fingerprint,
        mut reseal: Box<
            dyn for<'a> FnMut(ConnectionId, KeyId, &'a Sealed) -> Option<Sealed> + Send,
        >,
    ) -> Result<usize, StoreFault> {
        let resealed = self
            .writer
            .write(move |db| changes::reseal(db, to, &mut *reseal))
            .await?;
        self.empty_log().await;
        Ok(resealed)
    }

    async fn watch(&self, on: bool) -> Result<(), StoreFault> {
        self.writer.write(move |db| notices::watch(db, on)).await
    }

    async fn noteworthy(
        &self,
        now: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Noteworthy, StoreFault> {
        self.writer
            .read(move |db| notices::noteworthy(db, now, at_most))
            .await
    }

    async fn note(&self, noted: Noted) -> Result<(), StoreFault> {
        self.writer.write(move |db| notices::note(db, &noted)).await
    }

    async fn outbox(
        &self,
        channel: &str,
        now: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Outbox, StoreFault> {
        let channel = channel.to_owned();
        self.writer
            .read(move |db| notices::outbox(db, &channel, now, at_most))
            .await
    }

    async fn attempted(&self, channel: &str, attempted: Attempted) -> Result<(), StoreFault> {
        let channel = channel.to_owned();
        self.writer
            .write(move |db| notices::attempted(db, &channel, &attempted))
            .await
    }
}

fn new_instance() -> Result<InstanceId, StoreFault> {
    let mut id = [0; 16];
    seal::randomize(&mut id).map_err(|error| StoreFault::Io {
        detail: format!("the system gives no randomness: {error}"),
    })?;
    Ok(InstanceId(Ulid(u128::from_be_bytes(id))))
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreFault {
    StoreFault::Io {
        detail: format!("{}: {error}", path.display()),
    }
}

fn lock_fault(error: &std::io::Error) -> StoreFault {
    StoreFault::Io {
        detail: format!("no lock can be had beside it: {error}"),
    }
}
