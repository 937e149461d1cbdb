//! Where journals and sealed secrets are kept: the trait, and SQLite behind it.

pub mod keys;
pub mod lock;
pub mod master_key;
pub mod notices;
pub mod seal;
pub mod sqlite;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};

use crate::connection::{ConnectionName, Declared};
use crate::entra::{ClientId, KeyId, ObjectId, TenantId};
use crate::journal::{
    AttemptName, ConnectionId, Delivery, Event, InstanceId, Journal, Reconciliation, Removal,
    Rotation, RotationId, Secret, Watch,
};

pub use keys::{KeyFault, Keys};
pub use lock::Held;
pub use master_key::MasterKeyFault;
use notices::{Attempted, Noted, Noteworthy, Outbox};
pub use seal::{Column, MasterKey, SealFault};
pub use sqlite::SqliteStore;

/// No channel waits for longer; what lies further ahead was written by a clock that was wrong.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// A secret value as it is kept: sealed with AES-256-GCM-SIV, bound to connection and Key ID.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Of the master key that it was sealed with; each commit checks it against the store's.
    pub fingerprint: Fingerprint,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sealed({} bytes, {})",
            self.bytes.len(),
            self.fingerprint
        )
    }
}

/// Tells one master key from another without revealing anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is written in one transaction, all or nothing.
///
/// Values that are written whole replace what was there under the same key.
#[derive(Debug, Clone)]
pub enum Change {
    /// What the user declared; its name may change nothing else.
    Declare(Declared),
    /// The application was found.
    Found(ObjectId),
    /// Rotations and revocations are held, or go on.
    Pause(bool),
    /// The connection was removed, or restored.
    Remove(Option<DateTime<Utc>>),
    /// When the next rotation is due, and the date it was counted from.
    Schedule {
        /// See [`Journal::anchor`].
        anchor: NaiveDate,
        /// See [`Journal::due_at`].
        due_at: DateTime<Utc>,
    },
    /// When `advance` has something to do next.
    NextAction {
        /// See [`Journal::next_action_at`].
        at: Option<DateTime<Utc>>,
        /// See [`Journal::planned_at`].
        planned_at: DateTime<Utc>,
    },
    /// An `add` or `remove` goes to the application.
    Mutated(DateTime<Utc>),
    /// A secret with its value.
    Keep(Secret, Sealed),
    /// A secret whose role, origin, generation or dates changed; or one whose value nobody holds.
    Secret(Secret),
    /// It is gone from Entra: its value is wiped, its Key ID is kept as a record.
    Gone(KeyId),
    /// A rotation's record; one in a final state leaves the journal.
    Rotation(Rotation),
    /// How a destination stands.
    Delivery(Delivery),
    /// A destination that is no longer declared.
    ForgetDelivery(String),
    /// A Key ID that is to go.
    Removal(Removal),
    /// Nothing is left to remove.
    RemovalDone(KeyId),
    /// A name to look for.
    Watch(Watch),
    /// It is looked for no longer.
    WatchDone(AttemptName),
    /// When it was compared with Entra, and what was found; `None` leaves what was found before.
    Reconciled(DateTime<Utc>, Option<Reconciliation>),
    /// A line of `history`.
    Record(Event),
}

/// A new connection, adopted in one transaction.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// What the user declared.
    pub declared: Declared,
    /// The application; `None` where the checks were postponed.
    pub object_id: Option<ObjectId>,
    /// Its current secret, and the sealing of its value, which needs the row's ID.
    pub secret: Secret,
    /// See [`Journal::anchor`].
    pub anchor: NaiveDate,
    /// See [`Journal::due_at`].
    pub due_at: DateTime<Utc>,
    /// See [`Journal::next_action_at`].
    pub next_action_at: Option<DateTime<Utc>>,
    /// See [`Journal::planned_at`].
    pub planned_at: DateTime<Utc>,
    /// The lines of `history`.
    pub events: Vec<Event>,
}

/// What went wrong with the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// It is not there.
    #[error("there is no store at {path}; run `keywheel init` first")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// It can't be read: damaged, or no database.
    #[error("the store at {path} is damaged or no database of Keywheel's: {detail}")]
    Damaged {
        /// Where.
        path: String,
        /// SQLite's words.
        detail: String,
    },
    /// It is there already, and is not written over.
    #[error("there is a store at {path} already")]
    Exists {
        /// Where.
        path: String,
    },
    /// Others than its owner can read or write it.
    #[error("{path} has mode {mode:04o}, and others can read it; run `chmod {remedy:04o} {path}`")]
    Exposed {
        /// Which file.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        remedy: u32,
    },
    /// A newer Keywheel wrote it.
    #[error(
        "the store at {path} has schema {found}, this Keywheel knows {known}; use the newer one"
    )]
    Newer {
        /// Where.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process holds it for longer than it should.
    #[error("the store is locked by another process; try again")]
    Busy,
    /// The disk is full, read-only or failing. Whether the write took effect is open: the store is
    /// reopened by the next call, and is to be read before anything is decided.
    #[error("the store can't be written: {detail}")]
    Io {
        /// The system's words.
        detail: String,
    },
    /// A name or an application is already there.
    #[error("{what} is already kept as connection {name}")]
    Taken {
        /// Which.
        what: String,
        /// By whom.
        name: String,
    },
    /// The master key was changed while the value was being sealed: seal it again.
    #[error("the master key was changed by another process")]
    Resealed,
    /// The lock that a write relies on is no longer held.
    #[error("the lock on the application was lost")]
    Stale,
    /// A change of what can't change once a connection is adopted.
    #[error("tenant, client ID and cloud of connection {name} can't be changed; add another one")]
    Immutable {
        /// Which connection.
        name: String,
    },
    /// A change that contradicts what is there: a fault of Keywheel's own.
    #[error("the store refuses a change that contradicts what it holds: {detail}")]
    Refused {
        /// What contradicts what.
        detail: String,
    },
    /// A value that the master key should open, and does not; nothing was changed.
    #[error("the value of secret {key_id} does not open with the master key of its store")]
    Unopened {
        /// Which secret.
        key_id: KeyId,
    },
}

/// The right to change one application's record, held as long as this lives (P5).
///
/// On one host it is the operating system's file lock, which no dead process holds.
#[derive(Debug)]
pub struct Lease {
    /// The connection that it is for.
    pub connection: ConnectionId,
    /// Grows with each holder; a database of several nodes refuses writes of an older one.
    pub epoch: u64,
    /// Dropping it lets go. `None` where the database itself holds the lock; the store of one host
    /// refuses writes without it.
    pub held: Option<Arc<Held>>,
}

/// The right to change the master key, held as long as this lives.
#[derive(Debug)]
pub struct MasterKeyLease {
    /// Dropping it lets go.
    pub held: Option<Held>,
}

/// The right to be the one service of a store, held as long as this lives (P5).
#[derive(Debug)]
pub struct ServiceLease {
    /// Dropping it lets go.
    pub held: Option<Held>,
}

/// A connection that has something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub name: ConnectionName,
    /// Whose tenant is called for it.
    pub tenant_id: TenantId,
    /// When its current secret expires; `None`: never, or there is none.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How many are read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The most of all.
    pub altogether: usize,
    /// The most of one tenant.
    pub of_one_tenant: usize,
}

impl Share {
    /// Whatever there is.
    pub const ALL: Self = Self {
        altogether: usize::MAX,
        of_one_tenant: usize::MAX,
    };
}

/// One `addPassword` call that was ever intended: it outlives its rotation and its connection, so
/// that a secret found under its name years later is still known for ours (K2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its name.
    pub name: AttemptName,
    /// For which connection.
    pub connection: ConnectionId,
    /// In which rotation.
    pub rotation: RotationId,
    /// The application that it was made on. A connection may be removed, and its application
    /// adopted again as another one.
    pub application: (TenantId, ClientId),
    /// The secret that it made, as far as is known.
    pub key_id: Option<KeyId>,
    /// Whether that was handed out: consumers may use it, whoever removed the connection.
    pub handed_out: bool,
}

/// Who asks the store what happened.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    /// Of one connection.
    pub connection: Option<ConnectionName>,
    /// From this time.
    pub since: Option<DateTime<Utc>>,
    /// To just before this time.
    pub until: Option<DateTime<Utc>>,
}

/// What stands at the end of `history` up to some line: it covers all lines before it too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// Before the first line.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

impl FromStr for ChainHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the 64 hexadecimal digits that `history --verify` printed".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// What following the chain of `history` has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryChain {
    /// So many lines follow one another as they were written.
    pub lines: u64,
    /// At the last of them.
    pub head: ChainHash,
    /// The first that does not follow; `None`: all do.
    pub broken: Option<BrokenLine>,
    /// Whether the head that was noted is among them; `None`: none was given.
    pub holds_noted: Option<bool>,
}

/// A line of `history` that is not what was written, or does not follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLine {
    /// Its number.
    pub ordinal: i64,
    /// When it says it was written.
    pub at: Option<DateTime<Utc>>,
}

/// The store, as the engine sees it. One writer at a time; every write is durable when it returns,
/// and a read sees all that was asked to be written before it.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Which store this is; the first is its own ID, the rest are former ones whose keys are ours.
    async fn instances(&self) -> Result<Vec<InstanceId>, StoreFault>;

    /// Of the master key that everything is sealed with.
    async fn fingerprint(&self) -> Result<Fingerprint, StoreFault>;

    /// One connection, removed ones included.
    async fn journal(&self, name: &ConnectionName) -> Result<Option<Journal>, StoreFault>;

    /// All connections by name, removed ones included.
    async fn journals(&self) -> Result<Vec<Journal>, StoreFault>;

    /// What was declared of every connection that is kept, by name: far less than its journal.
    async fn declarations(&self) -> Result<Vec<(ConnectionId, Declared)>, StoreFault>;

    /// Connections that are kept, by name, those behind `after`; no more than `at_most`.
    async fn journals_after(
        &self,
        after: Option<&ConnectionName>,
        at_most: usize,
    ) -> Result<Vec<Journal>, StoreFault>;

    /// The newest rotation of a connection, ended or not.
    async fn latest_rotation(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<Rotation>, StoreFault>;

    /// Whose `next_action_at` has come, or was written by a clock that was ahead of `now`; those
    /// whose secrets expire first first, and no more than `at_most`.
    async fn due(&self, now: DateTime<Utc>, at_most: Share) -> Result<Vec<Due>, StoreFault>;

    /// The earliest `next_action_at`; `None`: nothing is to be done by itself.
    async fn next_action_at(&self) -> Result<Option<DateTime<Utc>>, StoreFault>;

    /// How many connections are kept.
    async fn count(&self) -> Result<usize, StoreFault>;

    /// Who has not been compared with Entra since `before`, those that wait longest first; no more
    /// than `at_most`.
    async fn unreconciled(
        &self,
        before: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Vec<ConnectionName>, StoreFault>;

    /// What the last comparison of a connection found; `None`: there was none.
    async fn reconciliation(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<Reconciliation>, StoreFault>;

    /// The lock on one application; `None`: another process or task holds it.
    async fn try_lock(
        &self,
        connection: ConnectionId,
        application: (TenantId, ClientId),
    ) -> Result<Option<Lease>, StoreFault>;

    /// The right to be the service of this store; `None`: another process is.
    async fn try_lock_service(&self) -> Result<Option<ServiceLease>, StoreFault>;

    /// The lock on the master key; `None`: another process is changing it.
    async fn try_lock_master_key(&self) -> Result<Option<MasterKeyLease>, StoreFault>;

    /// Writes all of `changes` or none. Where the caller stops waiting, they are still written, and
    /// the lock is held until they are. A connection's own instants are kept to the millisecond,
    /// rounded down; those of its records as they are.
    async fn commit(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreFault>;

    /// A new connection; `seal` is called with its row inside the transaction.
    async fn adopt(
        &self,
        adoption: Adoption,
        seal: Box<dyn FnOnce(ConnectionId) -> Sealed + Send>,
    ) -> Result<ConnectionId, StoreFault>;

    /// The sealed value of a secret; `None`: nobody holds it.
    async fn sealed(
        &self,
        connection: ConnectionId,
        key_id: KeyId,
    ) -> Result<Option<Sealed>, StoreFault>;

    /// A line of `history` that belongs to no other change.
    async fn record(&self, event: Event) -> Result<(), StoreFault>;

    /// What happened, oldest first.
    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Event>, StoreFault>;

    /// Whether `history` is as it was written; `noted` is a head that somebody wrote down.
    async fn follow_history(&self, noted: Option<ChainHash>) -> Result<HistoryChain, StoreFault>;

    /// What stands at the end of `history` now.
    async fn history_head(&self) -> Result<ChainHash, StoreFault>;

    /// The call of this name, if it was ever ours.
    async fn attempt(&self, name: AttemptName) -> Result<Option<Attempt>, StoreFault>;

    /// Wipes the values of connections that were removed before this time, and says how many; Key
    /// IDs, attempts and history stay.
    async fn purge_removed(&self, before: DateTime<Utc>) -> Result<usize, StoreFault>;

    /// Replaces every sealed value by what `reseal` makes of it, and the fingerprint, in one
    /// transaction; where it makes nothing of one of them, nothing is changed.
    async fn reseal(
        &self,
        to: Fingerprint,
        reseal: Box<dyn for<'a> FnMut(ConnectionId, KeyId, &'a Sealed) -> Option<Sealed> + Send>,
    ) -> Result<usize, StoreFault>;

    /// Begins to keep what may be worth telling, or ends it. What happened before is not told; how
    /// each connection stands is.
    async fn watch(&self, on: bool) -> Result<(), StoreFault>;

    /// What may be worth telling at `now`; no more than `at_most` lines and as many connections.
    async fn noteworthy(
        &self,
        now: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Noteworthy, StoreFault>;

    /// Queues what is told, and writes down that it is, all or nothing. [`StoreFault::Stale`]:
    /// somebody else has done so since it was read.
    async fn note(&self, noted: Noted) -> Result<(), StoreFault>;

    /// What waits for one channel at `now`; no more than `at_most`.
    async fn outbox(
        &self,
        channel: &str,
        now: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Outbox, StoreFault>;

    /// What came of sending to a channel.
    async fn attempted(&self, channel: &str, attempted: Attempted) -> Result<(), StoreFault>;
}
