//! The database file: making it, opening it, and what SQLite's errors mean.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags};

use crate::journal::InstanceId;
use crate::store::{Fingerprint, StoreFault};

use super::chain;

/// In the header of the file: what tells a store from any other database.
const APPLICATION_ID: i64 = 0x6b77_686c;

/// The n-th of them leads to schema n + 1; none is ever changed once it has been released.
const SCHEMA: &[&str] = &[
    include_str!("../schema/0001.sql"),
    include_str!("../schema/0002.sql"),
    include_str!("../schema/0003.sql"),
    include_str!("../schema/0004.sql"),
    include_str!("../schema/0005.sql"),
];

/// The schema from which on `history` is a chain.
const CHAINED: usize = 3;

/// How long another process is waited for: its longest transaction re-seals everything.
const BUSY: Duration = Duration::from_secs(5);

/// With less the write-ahead log and its index can't be made.
const LITTLE_ROOM: u64 = 64 * 1024;

/// More statements than the store has, so that each is compiled once for a connection.
const STATEMENTS: usize = 64;

/// `FULL`: a commit that has returned survives a power cut (P1). `secure_delete`: a wiped value is
/// overwritten in its page; the write-ahead log may hold it a while longer, sealed. `temp_store`:
/// nothing is written anywhere else.
const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
";

/// What a piece of work on the database may fail of.
#[derive(Debug)]
pub(super) enum Trouble {
    Sql(rusqlite::Error),
    Fault(StoreFault),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreFault> for Trouble {
    fn from(fault: StoreFault) -> Self {
        Self::Fault(fault)
    }
}

impl Trouble {
    /// The same in the words of the trait.
    pub(super) fn at(self, path: &Path) -> StoreFault {
        let error = match self {
            Self::Fault(fault) => return fault,
            Self::Sql(error) => error,
        };
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreFault::Busy,
            Some(ErrorCode::ConstraintViolation) => StoreFault::Refused { detail },
            Some(
                ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationAborted
                | ErrorCode::OperationInterrupted,
            ) => StoreFault::Io {
                detail: io_detail(path, &detail),
            },
            // A file that is no database, a page that is none, a row that reads as nothing.
            _ => StoreFault::Damaged {
                path: path.display().to_string(),
                detail,
            },
        }
    }
}

/// Opens the store at `path` and reads it once. It never makes one.
pub(super) fn open(path: &Path) -> Result<Connection, StoreFault> {
    refuse_exposed(path)?;
    let opened = || {
        let mut connection = connect(path)?;
        // Before anything is set: another program's file is left as it is.
        let version = version(&connection, path)?;
        connection.execute_batch(PRAGMAS)?;
        if version < SCHEMA.len() {
            migrate(&mut connection, path)?;
        }
        Ok(connection)
    };
    opened().map_err(|trouble: Trouble| trouble.at(path))
}

/// Opens the store at `path` to look only, where its disk lets nothing be written.
pub(super) fn open_to_look(path: &Path) -> Result<Connection, StoreFault> {
    refuse_exposed(path)?;
    let opened = || {
        let connection = connect_to_look(path)?;
        let found = version(&connection, path)?;
        if found < SCHEMA.len() {
            let path = path.display().to_string();
            let detail = "an older Keywheel wrote it, and it can't be brought up to date now";
            return Err(Trouble::Fault(StoreFault::Io {
                detail: format!("{path}: {detail}"),
            }));
        }
        Ok(connection)
    };
    opened().map_err(|trouble: Trouble| trouble.at(path))
}

/// SQLite can't read without the files beside the database. Where they can't be made, and the
/// write-ahead log holds nothing, the database alone is all there is: nobody else can write either.
fn connect_to_look(path: &Path) -> Result<Connection, Trouble> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, read_only)?;
    connection.busy_timeout(BUSY)?;
    let reads = connection.query_row("PRAGMA user_version", [], |_| Ok(()));
    let log = with_suffix(path, "-wal").metadata();
    if reads.is_ok() || log.is_ok_and(|log| log.len() > 0) {
        return Ok(connection);
    }
    let text = path.to_str();
    let text = text.ok_or_else(|| rusqlite::Error::InvalidPath(path.into()))?;
    let escaped = text
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let flags = read_only | OpenFlags::SQLITE_OPEN_URI;
    let uri = format!("file:{escaped}?immutable=1");
    Ok(Connection::open_with_flags(uri, flags)?)
}

/// The file, SQLite's words, and that the disk is full where it is: SQLite often does not say so.
fn io_detail(path: &Path, detail: &str) -> String {
    let folder = folder_of(path);
    let room = rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize);
    let full = detail.contains("full") || room < LITTLE_ROOM;
    let cause = if full {
        format!(
            "; no space is left on the file system of {}",
            folder.display()
        )
    } else {
        String::new()
    };
    format!("{}: {detail}{cause}", path.display())
}

/// Makes a store at `path`, whole or not at all.
pub(super) fn create(
    path: &Path,
    fingerprint: Fingerprint,
    instance: InstanceId,
) -> Result<(), StoreFault> {
    let io = |error: io::Error| StoreFault::Io {
        detail: format!("{}: {error}", path.display()),
    };
    let exists = || StoreFault::Exists {
        path: path.display().to_string(),
    };
    if path.try_exists().map_err(io)? {
        return Err(exists());
    }
    let folder = folder_of(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io)?;
    let draft = draft_of(path);
    discard(&draft).map_err(io)?;
    fill(&draft, fingerprint, instance).map_err(|trouble| trouble.at(&draft))?;
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    rename_new(&draft, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => io(error),
    })?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

/// Gives the file a name that must not be taken.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        CWD,
        from,
        CWD,
        to,
        RenameFlags::NOREPLACE,
    )?)
}

/// The folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

fn fill(draft: &Path, fingerprint: Fingerprint, instance: InstanceId) -> Result<(), Trouble> {
    // SQLite gives its own files (`-wal`, `-shm`) the mode of the database.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map_err(|error| StoreFault::Io {
            detail: format!("{}: {error}", draft.display()),
        })?;
    let mut connection = connect(draft)?;
    connection.execute_batch(PRAGMAS)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    apply_schema(&transaction, 0)?;
    transaction.execute(
        "INSERT INTO store (one, fingerprint) VALUES (1, ?1)",
        [fingerprint.0],
    )?;
    transaction.execute(
        "INSERT INTO instance (id) VALUES (?1)",
        [instance.to_string()],
    )?;
    transaction.commit()?;
    // The last to close also empties and removes the write-ahead log.
    connection.close().map_err(|(_, error)| error.into())
}

pub(super) fn connect(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Trouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it since.
    let version = version(&transaction, path)?;
    apply_schema(&transaction, version)?;
    transaction.commit()?;
    Ok(())
}

fn apply_schema(connection: &Connection, from: usize) -> Result<(), Trouble> {
    for schema in SCHEMA.iter().skip(from) {
        connection.execute_batch(schema)?;
    }
    if from < CHAINED {
        chain::begin(connection)?;
    }
    let version = i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX);
    connection.pragma_update(None, "user_version", version)?;
    Ok(())
}

/// The schema's version; an error where it is not ours or not known.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, Trouble> {
    let (application, found): (i64, i64) = connection.query_row(
        "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let path = path.display().to_string();
    if application != APPLICATION_ID {
        return Err(Trouble::Fault(StoreFault::Damaged {
            path,
            detail: "it is another program's database, or an empty one".into(),
        }));
    }
    match usize::try_from(found) {
        Ok(version) if version <= SCHEMA.len() => Ok(version),
        _ => Err(Trouble::Fault(StoreFault::Newer {
            path,
            found,
            known: i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX),
        })),
    }
}

pub(super) fn refuse_exposed(path: &Path) -> Result<(), StoreFault> {
    let metadata = path.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreFault::Missing {
            path: path.display().to_string(),
        },
        _ => StoreFault::Io {
            detail: format!("{}: {error}", path.display()),
        },
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreFault::Exposed {
            path: path.display().to_string(),
            mode,
            remedy: 0o600,
        });
    }
    Ok(())
}

fn draft_of(path: &Path) -> PathBuf {
    with_suffix(path, ".draft")
}

/// Removes what a `create` that was killed has left.
pub(super) fn discard(draft: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match std::fs::remove_file(with_suffix(draft, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
