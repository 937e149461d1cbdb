//! Replacing a file in one step: whoever reads it sees the old content or the new, never a part,
//! and neither a crash nor a power cut leaves anything else.
//!
//! Everything is done relative to the open folder, so that nobody can put another one in its
//! place meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use uuid::Uuid;
use zeroize::Zeroizing;

/// More than a file of settings ever has; a wrong path is more likely.
pub(super) const LARGEST: u64 = 16 << 20;

/// A folder in which a file is to be replaced.
#[derive(Debug)]
pub(super) struct Folder(File);

/// A folder in which no other Keywheel replaces anything while this lives.
#[derive(Debug)]
pub(super) struct LockedFolder(Folder);

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Existing {
    handle: File,
    metadata: Metadata,
    /// What it holds.
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Why there is something under the name that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it is a symbolic link")]
    Link,
    #[error("it is no regular file")]
    NotRegular,
    #[error("it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a file was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    /// Someone else wrote it meanwhile.
    #[error("it was changed meanwhile")]
    Changed,
    /// The new file can't be given to whom it is to belong to.
    #[error("{0}")]
    Ownership(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Who may do what with the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits.
    pub(super) mode: u32,
    /// `None`: as the system gives it to a new file.
    pub(super) owner: Option<u32>,
    /// `None`: as the system gives it to a new file.
    pub(super) group: Option<u32>,
}

impl Folder {
    /// Opens it; links on the way to it are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = File::open(path)?;
        if folder.metadata()?.is_dir() {
            Ok(Self(folder))
        } else {
            Err(Errno::NOTDIR.into())
        }
    }

    /// The lock is on the folder itself, so nothing is left behind in it; `None`: someone else
    /// holds it. No dead process does.
    pub(super) fn try_lock(self) -> io::Result<Option<LockedFolder>> {
        match self.0.try_lock() {
            Ok(()) => Ok(Some(LockedFolder(self))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file called `name`; `None` where there is none. No link is followed.
    pub(super) fn read(&self, name: &OsStr) -> Result<Option<Existing>, ReadError> {
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut handle = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(ReadError::Link),
            Err(Errno::NXIO) => return Err(ReadError::NotRegular),
            Err(errno) => return Err(ReadError::Io(errno.into())),
        };
        let metadata = handle.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::NotRegular);
        }
        if metadata.len() > LARGEST {
            return Err(ReadError::TooLarge);
        }
        // Room for all of it at once: a buffer that grows leaves copies of the secret behind.
        let room = usize::try_from(metadata.len()).unwrap_or_default() + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        (&mut handle).take(LARGEST).read_to_end(&mut bytes)?;
        Ok(Some(Existing {
            handle,
            metadata,
            bytes,
        }))
    }

    /// Whether everybody may write into it.
    pub(super) fn is_open_to_all(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.mode() & 0o002 != 0)
    }

    /// Finds out whether [`LockedFolder::replace`] would be allowed, by means of a file without a
    /// name, which nobody sees.
    pub(super) fn probe(&self, attributes: Attributes) -> Result<(), ReplaceError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, ".", flags, PRIVATE) {
            Ok(nameless) => attributes.give_to(&File::from(nameless)),
            // Some file systems have no nameless files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let access = Access::WRITE_OK | Access::EXEC_OK;
                let allowed = rustix::fs::accessat(&self.0, ".", access, AtFlags::EACCESS);
                Ok(allowed.map_err(io::Error::from)?)
            }
            Err(errno) => Err(ReplaceError::Io(errno.into())),
        }
    }
}

impl LockedFolder {
    /// To read in.
    pub(super) fn folder(&self) -> &Folder {
        &self.0
    }

    /// Puts a file with these bytes in the place of `existing`; durable once the folder has been
    /// released.
    pub(super) fn replace(
        &self,
        name: &OsStr,
        existing: Option<&Existing>,
        bytes: &[u8],
        attributes: Attributes,
    ) -> Result<(), ReplaceError> {
        self.remove_leftovers()?;
        let temporary = Temporary::create(self)?;
        (&temporary.handle).write_all(bytes)?;
        attributes.give_to(&temporary.handle)?;
        if let Some(existing) = existing {
            copy_access_list(&existing.handle, &temporary.handle, attributes)?;
        }
        temporary.handle.sync_all()?;
        if self.stamp(name)? != existing.map(|existing| Stamp::of(&existing.metadata)) {
            return Err(ReplaceError::Changed);
        }
        Ok(temporary.rename(name)?)
    }

    /// Lets others in, and makes durable what was replaced: nobody waits for the disk with the
    /// lock held, and those who sync a folder at the same moment share the way there.
    pub(super) fn release(self) -> io::Result<Folder> {
        self.0.0.unlock()?;
        self.0.0.sync_all()?;
        Ok(self.0)
    }

    /// Temporary files of runs that were killed; the lock says that no one still writes them.
    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if Temporary::is_name(name) {
                // One that belongs to someone else stays, and harms nobody.
                rustix::fs::unlinkat(&self.0.0, name, AtFlags::empty()).ok();
            }
        }
        Ok(())
    }

    fn stamp(&self, name: &OsStr) -> io::Result<Option<Stamp>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0.0, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Stamp::of(&File::from(handle).metadata()?))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Existing {
    /// Makes durable what a former run wrote before it was cut off.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Permission bits; a secret needs neither set-user-ID nor the like.
    pub(super) fn mode(&self) -> u32 {
        self.metadata.permissions().mode() & 0o777
    }

    /// The number of its owner.
    pub(super) fn owner(&self) -> u32 {
        self.metadata.uid()
    }

    /// The number of its group.
    pub(super) fn group(&self) -> u32 {
        self.metadata.gid()
    }

    /// Whether nothing would have to be changed about it.
    pub(super) fn has(&self, attributes: Attributes) -> bool {
        self.mode() == attributes.mode
            && attributes.owner.is_none_or(|owner| owner == self.owner())
            && attributes.group.is_none_or(|group| group == self.group())
    }
}

impl Attributes {
    /// The owner first: until then nobody new may read it.
    fn give_to(self, file: &File) -> Result<(), ReplaceError> {
        let found = file.metadata()?;
        let owner = self.owner.filter(|&owner| owner != found.uid());
        let group = self.group.filter(|&group| group != found.gid());
        if owner.is_some() || group.is_some() {
            let (owner, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
            rustix::fs::fchown(file, owner, group)
                .map_err(|errno| ReplaceError::Ownership(errno.into()))?;
        }
        let mode = Mode::from_raw_mode(self.mode);
        Ok(rustix::fs::fchmod(file, mode).map_err(io::Error::from)?)
    }
}

/// `rw-------`
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Tells one state of a file from the next.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that is gone again unless it is renamed.
struct Temporary<'a> {
    folder: &'a LockedFolder,
    name: OsString,
    handle: File,
    renamed: bool,
}

impl<'a> Temporary<'a> {
    const PREFIX: &'static [u8] = b".keywheel-";
    const SUFFIX: &'static [u8] = b".tmp";

    fn create(folder: &'a LockedFolder) -> io::Result<Self> {
        let name = OsString::from(format!(".keywheel-{}.tmp", Uuid::new_v4().simple()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&folder.0.0, &name, flags, PRIVATE)?;
        Ok(Self {
            folder,
            name,
            handle: File::from(handle),
            renamed: false,
        })
    }

    fn is_name(name: &OsStr) -> bool {
        name.as_bytes()
            .strip_prefix(Self::PREFIX)
            .and_then(|rest| rest.strip_suffix(Self::SUFFIX))
            .is_some_and(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit))
    }

    fn rename(mut self, name: &OsStr) -> io::Result<()> {
        let folder = &self.folder.0.0;
        rustix::fs::renameat(folder, &self.name, folder, name)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let folder = &self.folder.0.0;
            rustix::fs::unlinkat(folder, &self.name, AtFlags::empty()).ok();
        }
    }
}

/// A consumer that was let in by an access control list stays in.
fn copy_access_list(from: &File, to: &File, attributes: Attributes) -> Result<(), ReplaceError> {
    const ACCESS_LIST: &str = "system.posix_acl_access";
    // The most that an extended attribute can have.
    let mut list = vec![0; 64 << 10];
    match rustix::fs::fgetxattr(from, ACCESS_LIST, list.as_mut_slice()) {
        Ok(length) => {
            list.truncate(length);
            rustix::fs::fsetxattr(to, ACCESS_LIST, &list, XattrFlags::empty())
                .map_err(|errno| ReplaceError::Ownership(errno.into()))?;
            // The list brought the old mode with it.
            attributes.give_to(to)
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(ReplaceError::Ownership(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Attributes = Attributes {
        mode: 0o640,
        owner: None,
        group: None,
    };

    fn locked(path: &Path) -> LockedFolder {
        Folder::open(path).unwrap().try_lock().unwrap().unwrap()
    }

    #[test]
    fn h6_what_someone_else_wrote_meanwhile_is_not_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let (path, name) = (temp.path().join("app"), OsStr::new("app"));
        let folder = locked(temp.path());
        let replace = |existing: Option<&Existing>| folder.replace(name, existing, b"new", PLAIN);

        std::fs::write(&path, "theirs").unwrap();
        assert!(matches!(replace(None), Err(ReplaceError::Changed)));
        let existing = folder.folder().read(name).unwrap();
        std::fs::write(&path, "theirs, longer").unwrap();
        let replaced = replace(existing.as_ref());
        assert!(matches!(replaced, Err(ReplaceError::Changed)));
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs, longer");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);

        let existing = folder.folder().read(name).unwrap();
        replace(existing.as_ref()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn d3_a_folder_has_one_writer() {
        let temp = tempfile::tempdir().unwrap();
        let held = locked(temp.path());
        let second = || Folder::open(temp.path()).unwrap().try_lock().unwrap();
        assert!(second().is_none());
        drop(held);
        assert!(second().is_some());
    }

    #[test]
    fn d3_an_access_control_list_is_kept() {
        const NAME: &str = "system.posix_acl_access";
        // Version 2; owner rw, user 1234 r, group none, mask r, others none.
        let entry = |tag: u16, mode: u16, id: u32| {
            [
                &tag.to_le_bytes()[..],
                &mode.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        };
        let list = [
            2u32.to_le_bytes().to_vec(),
            entry(1, 6, u32::MAX),
            entry(2, 4, 1234),
            entry(4, 0, u32::MAX),
            entry(16, 4, u32::MAX),
            entry(32, 0, u32::MAX),
        ]
        .concat();
        let temp = tempfile::tempdir().unwrap();
        let (path, name) = (temp.path().join("app"), OsStr::new("app"));
        std::fs::write(&path, "old").unwrap();
        let set = rustix::fs::setxattr(&path, NAME, &list, XattrFlags::empty());
        if set == Err(Errno::OPNOTSUPP) {
            return;
        }
        set.unwrap();
        let folder = locked(temp.path());
        let existing = folder.folder().read(name).unwrap();
        let replaced = folder.replace(name, existing.as_ref(), b"new", PLAIN);
        replaced.unwrap();
        let mut kept = vec![0; list.len() + 1];
        let length = rustix::fs::getxattr(&path, NAME, kept.as_mut_slice()).unwrap();
        assert_eq!(kept[..length], list);
    }
}
