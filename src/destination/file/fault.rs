//! What can be wrong with a file, and what to do about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::destination::DestinationFault;
use crate::destination::format::FormatFault;
use crate::destination::plain;
use crate::wording::did_you_mean;

/// Why a file can't take, or did not take, the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileFault {
    /// Wrong already in the declaration.
    #[error("the file {} can't be a destination: {what}", plain::path(path))]
    Declared { path: PathBuf, what: &'static str },
    /// No folder is made: a wrong path is more likely.
    #[error("the folder {} does not exist", plain::path(folder))]
    FolderMissing { folder: PathBuf },
    #[error("the folder {} can't be opened: {detail}", plain::path(folder))]
    FolderUnreadable { folder: PathBuf, detail: String },
    /// Writing through it could end anywhere.
    #[error("{} is a symbolic link", plain::path(path))]
    Link {
        path: PathBuf,
        target: Option<PathBuf>,
    },
    #[error("{} can't be read: {detail}", plain::path(path))]
    Unreadable { path: PathBuf, detail: String },
    #[error(
        "{} belongs to user {owner}, in a folder that everybody may write to",
        plain::path(path)
    )]
    Stranger { path: PathBuf, owner: u32 },
    #[error(
        "another process has been writing in {} for too long",
        plain::path(folder)
    )]
    Locked { folder: PathBuf },
    #[error("the folder {} can't be locked: {detail}", plain::path(folder))]
    NoLock { folder: PathBuf, detail: String },
    #[error("{} can't be written: {detail}", plain::path(path))]
    Unwritable {
        path: PathBuf,
        folder: PathBuf,
        detail: String,
    },
    #[error("{} can't be written: there is no room for it", plain::path(path))]
    Full { path: PathBuf },
    #[error("{} can't be given its owner and group: {detail}", plain::path(path))]
    Ownership { path: PathBuf, detail: String },
    #[error("there is no {what} \"{}\" on this host{hint}", plain::one_line(name))]
    Unknown {
        what: &'static str,
        name: String,
        hint: String,
    },
    #[error("{}: {fault}", plain::path(path))]
    Format { path: PathBuf, fault: FormatFault },
    #[error("something else keeps writing {} at the same time", plain::path(path))]
    Changed { path: PathBuf },
    #[error("{} was written, but does not read back", plain::path(path))]
    ReadBack { path: PathBuf },
    /// The process is ending.
    #[error("work on {} was interrupted", plain::path(path))]
    Interrupted { path: PathBuf },
}

/// What no later try mends by itself; all else may be over by then.
const FOR_A_PERSON: [&str; 10] = [
    "file-folder-missing",
    "file-folder-unreadable",
    "file-format",
    "file-invalid",
    "file-is-a-link",
    "file-not-readable",
    "file-not-writable",
    "file-of-a-stranger",
    "file-owner-unknown",
    "file-ownership",
];

/// Whether a person must mend what has this code.
pub(in crate::destination) fn needs_a_person(code: &str) -> bool {
    FOR_A_PERSON.contains(&code)
}

impl FileFault {
    /// The folder could not be opened.
    pub(super) fn of_folder(folder: &Path, error: &io::Error) -> Self {
        let folder = folder.to_owned();
        match error.kind() {
            ErrorKind::NotFound => Self::FolderMissing { folder },
            _ => Self::FolderUnreadable {
                folder,
                detail: error.to_string(),
            },
        }
    }

    /// The new file could not be made.
    pub(super) fn of_write(path: &Path, folder: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Unwritable {
                path,
                folder: folder.to_owned(),
                detail: error.to_string(),
            },
        }
    }

    /// `list` names those that may have been meant.
    pub(super) fn unknown(what: &'static str, name: &str, list: &str) -> Self {
        let list = std::fs::read_to_string(list).unwrap_or_default();
        let known = list.lines().filter_map(|line| line.split(':').next());
        Self::Unknown {
            what,
            name: name.to_owned(),
            hint: did_you_mean(name, known),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Declared { .. } => "file-invalid",
            Self::FolderMissing { .. } => "file-folder-missing",
            Self::FolderUnreadable { .. } => "file-folder-unreadable",
            Self::Link { .. } => "file-is-a-link",
            Self::Unreadable { .. } => "file-not-readable",
            Self::Stranger { .. } => "file-of-a-stranger",
            Self::Locked { .. } => "file-locked",
            Self::NoLock { .. } => "file-lock-failed",
            Self::Unwritable { .. } => "file-not-writable",
            Self::Full { .. } => "file-disk-full",
            Self::Ownership { .. } => "file-ownership",
            Self::Unknown { .. } => "file-owner-unknown",
            Self::Format { .. } => "file-format",
            Self::Changed { .. } => "file-changed",
            Self::ReadBack { .. } => "file-read-back",
            Self::Interrupted { .. } => "file-interrupted",
        }
    }

    fn remedy(&self) -> String {
        let user = rustix::process::geteuid().as_raw();
        match self {
            Self::Declared { .. } => "mend the destination".to_owned(),
            Self::FolderMissing { .. } => "make the folder, or mend `path`".to_owned(),
            Self::FolderUnreadable { folder, .. } | Self::Unwritable { folder, .. } => format!(
                "let user {user} read and write {} (under systemd: `ReadWritePaths=`)",
                plain::path(folder)
            ),
            Self::Link {
                target: Some(target),
                ..
            } => format!("give {} as `path`", plain::path(target)),
            Self::Link { target: None, .. } => {
                "remove it, or give the path that it is to lead to".to_owned()
            }
            Self::Unreadable { .. } => {
                format!("give the path of a regular file that user {user} may read")
            }
            Self::Stranger { .. } => {
                "remove it, or give its `owner` if it is the right file".to_owned()
            }
            Self::Locked { .. } => "find out which process holds the folder's lock \
                (`lslocks`), and try again"
                .to_owned(),
            Self::NoLock { .. } => {
                "choose a folder on a file system of this host; some network file systems lock no \
                 folders"
                    .to_owned()
            }
            Self::Full { .. } => "free some space, or raise the quota".to_owned(),
            Self::Ownership { .. } => format!(
                "user {user} may not do that: give Keywheel CAP_CHOWN, or an `owner` and `group` \
                 that it is itself"
            ),
            Self::Unknown { what, .. } => format!("add the {what}, or give its number"),
            Self::Format { fault, .. } => fault.remedy().to_owned(),
            Self::Changed { .. } => "find out what writes it, and try again".to_owned(),
            Self::ReadBack { .. } => {
                "find out what else writes the file, then run `keywheel deliver`".to_owned()
            }
            Self::Interrupted { .. } => "run it again".to_owned(),
        }
    }
}

impl From<FileFault> for DestinationFault {
    fn from(fault: FileFault) -> Self {
        Self {
            code: fault.code(),
            message: fault.to_string(),
            remedy: fault.remedy(),
        }
    }
}
