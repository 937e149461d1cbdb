//! A consistent, sealed copy of a store, and the way back from one. Neither needs the master key.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::journal::{Event, InstanceId};
use crate::store::{Fingerprint, StoreFault};

use super::changes;
use super::database::{self, Trouble};
use super::rows;

/// Copies the store at `from` to a new file at `to` (0600), as it stands at one moment, while
/// others go on reading and writing it. Returns its length in bytes.
pub(super) fn write(from: &Path, to: &Path) -> Result<u64, StoreFault> {
    let connection = database::open(from)?;
    let draft = Draft::new(to)?;
    // One read transaction for all of it, unlike SQLite's backup interface, which begins anew with
    // each write of another process.
    connection
        .execute("VACUUM INTO ?1", [draft.shown()])
        .map_err(|error| Trouble::from(error).at(&draft.path))?;
    refuse_broken(&draft.path, to)?;
    draft.keep()?;
    Ok(to.metadata().map_err(|error| unusable(to, &error))?.len())
}

/// Makes a store at `to` from the backup at `from`: a life of its own as `instance`, every
/// connection paused and nothing done by itself until a person resumes it. `fits` says whether
/// the master key at hand has the fingerprint of the backup.
pub(super) fn restore<E: From<StoreFault>>(
    from: &Path,
    to: &Path,
    instance: InstanceId,
    event: &Event,
    fits: impl FnOnce(Fingerprint) -> Result<(), E>,
) -> Result<usize, E> {
    refuse_remains(to)?;
    let folder = database::folder_of(to);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(folder, &error))?;
    database::refuse_exposed(from)?;
    let draft = Draft::new(to)?;
    std::fs::copy(from, &draft.path).map_err(|error| unusable(from, &error))?;
    // `copy` brings the mode of the backup along; an archive often makes it wider.
    draft.make_private()?;
    refuse_broken(&draft.path, from)?;
    let mut connection = database::open(&draft.path)?;
    let at = |trouble: Trouble| trouble.at(&draft.path);
    fits(rows::fingerprint(&connection).map_err(at)?)?;
    let connections = begin_anew(&mut connection, instance, event).map_err(at)?;
    connection
        .close()
        .map_err(|(_, error)| Trouble::from(error).at(&draft.path))?;
    draft.keep()?;
    Ok(connections)
}

fn begin_anew(
    connection: &mut Connection,
    instance: InstanceId,
    event: &Event,
) -> Result<usize, Trouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO instance (id) VALUES (?1)",
        [instance.to_string()],
    )?;
    let paused = transaction.execute(
        "UPDATE connection SET paused = 1, next_action_at = NULL, planned_at = NULL
         WHERE removed_at IS NULL",
        [],
    )?;
    // What was still to be told then is told by the store that it was copied from.
    transaction.execute("DELETE FROM notice", [])?;
    super::notices::watch(&transaction, false)?;
    changes::add_event(&transaction, event)?;
    transaction.commit()?;
    // One file, with nothing beside it, until it is opened in its place.
    connection.execute_batch("PRAGMA journal_mode = DELETE")?;
    Ok(paused)
}

/// What another store has left would be taken for a part of the new one.
fn refuse_remains(to: &Path) -> Result<(), StoreFault> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = database::with_suffix(to, suffix);
        if path.symlink_metadata().is_ok() {
            return Err(StoreFault::Exists {
                path: path.display().to_string(),
            });
        }
    }
    Ok(())
}

/// A page that was torn on its way is found now, not in a year. `shown` is what a person knows the
/// file as.
fn refuse_broken(path: &Path, shown: &Path) -> Result<(), StoreFault> {
    let checked = || {
        let connection = database::connect(path)?;
        database::version(&connection, shown)?;
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(found)
    };
    match checked().map_err(|trouble: Trouble| trouble.at(shown))? {
        found if found == "ok" => Ok(()),
        detail => Err(StoreFault::Damaged {
            path: shown.display().to_string(),
            detail,
        }),
    }
}

/// A file beside its place, which it takes whole or not at all.
struct Draft {
    path: PathBuf,
    place: PathBuf,
}

impl Draft {
    fn new(place: &Path) -> Result<Self, StoreFault> {
        if place.symlink_metadata().is_ok() {
            return Err(StoreFault::Exists {
                path: place.display().to_string(),
            });
        }
        let draft = Self {
            path: database::with_suffix(place, ".draft"),
            place: place.to_owned(),
        };
        database::discard(&draft.path).map_err(|error| unusable(&draft.path, &error))?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft.path)
            .map_err(|error| unusable(&draft.path, &error))?;
        Ok(draft)
    }

    fn shown(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    fn make_private(&self) -> Result<(), StoreFault> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&self.path, private).map_err(|error| unusable(&self.path, &error))
    }

    fn keep(self) -> Result<(), StoreFault> {
        let kept = File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| database::rename_new(&self.path, &self.place))
            .and_then(|()| File::open(database::folder_of(&self.place))?.sync_all());
        kept.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreFault::Exists {
                path: self.place.display().to_string(),
            },
            _ => unusable(&self.place, &error),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What was kept is no longer here; the rest is of no use to anybody.
        let _ = database::discard(&self.path);
    }
}

fn unusable(path: &Path, error: &io::Error) -> StoreFault {
    StoreFault::Io {
        detail: format!("{}: {error}", path.display()),
    }
}
