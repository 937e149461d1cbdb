//! The operating system's file locks: no dead process holds one, and two tasks of one process
//! exclude each other like two processes do (P5).

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::entra::{ClientId, TenantId};

/// The folder of a store's lock files. They are empty, and are never deleted: a lock on a deleted
/// file excludes nobody who comes later.
#[derive(Debug, Clone)]
pub struct Locks {
    folder: PathBuf,
}

impl Locks {
    /// The locks in `folder`, which is made when the first is asked for.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The lock on one application; `None`: somebody else holds it.
    ///
    /// # Errors
    ///
    /// Where its file can't be made or opened.
    pub fn try_application(&self, tenant: TenantId, client: ClientId) -> io::Result<Option<Held>> {
        self.try_lock(&format!("{tenant}.{client}.lock"))
    }

    /// The lock on the master key; `None`: somebody else is changing it.
    ///
    /// # Errors
    ///
    /// Where its file can't be made or opened.
    pub fn try_master_key(&self) -> io::Result<Option<Held>> {
        self.try_lock("master-key.lock")
    }

    /// The lock of the service; `None`: another process is the service.
    ///
    /// # Errors
    ///
    /// Where its file can't be made or opened.
    pub fn try_service(&self) -> io::Result<Option<Held>> {
        self.try_lock("service.lock")
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Held>> {
        let file = match self.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.folder)?;
                self.open(name)?
            }
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => {
                let held = Held(file);
                Ok(excludes(&held)?.then_some(held))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed())
            .open(self.folder.join(name))
    }
}

/// An operating system's file lock. It is let go of when its last owner is dropped: the lease, or
/// a commit that nobody waits for any more.
#[derive(Debug)]
pub struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file would not do: a child that was just forked still has it open (G2).
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock is let go of late");
        }
    }
}

/// Whether a held lock still keeps others out: it does not once somebody has deleted its file.
///
/// # Errors
///
/// Where the file can't be looked at.
pub fn excludes(held: &Held) -> io::Result<bool> {
    Ok(held.0.metadata()?.nlink() > 0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn client(n: u128) -> ClientId {
        ClientId(Uuid::from_u128(n))
    }

    #[test]
    fn p5_one_holder_at_a_time_within_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path().join("locks"));
        let held = locks.try_application(TENANT, client(1)).unwrap();
        assert!(held.is_some());
        assert!(locks.try_application(TENANT, client(1)).unwrap().is_none());
        assert!(locks.try_application(TENANT, client(2)).unwrap().is_some());
        drop(held);
        assert!(locks.try_application(TENANT, client(1)).unwrap().is_some());
    }

    #[test]
    fn p5_a_lock_whose_file_was_deleted_excludes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path().join("locks"));
        let held = locks.try_master_key().unwrap().unwrap();
        assert!(excludes(&held).unwrap());
        std::fs::remove_dir_all(folder.path().join("locks")).unwrap();
        assert!(!excludes(&held).unwrap());
    }

    #[test]
    fn a_link_in_the_place_of_a_lock_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join("master-key.lock")).unwrap();
        let locks = Locks::new(folder.path().to_owned());
        assert!(locks.try_master_key().is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
