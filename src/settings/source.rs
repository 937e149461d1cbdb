//! The files that settings are read from and point to.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::diagnostic::SettingsFaults;
use crate::text::printable;

/// Longer files are none of ours: ten thousand connections take about 5 MB.
const LARGEST: u64 = 64 << 20;

/// What others may do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// For settings: nothing. Its group may read it, for that is how administrators and a service
    /// get a file that root keeps; and it belongs to root or to whoever runs this.
    OwnersAlone,
    /// For what `apply` reads: read it, from a checkout of a repository say. It says where secrets
    /// go and which commands run, so they may not write it.
    NotOthersWrite,
}

/// A file as it was read.
pub(super) struct Source {
    /// Absolute.
    pub(super) file: PathBuf,
    /// Its folder, where relative paths start.
    pub(super) folder: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Reads a settings file or an `apply` file; `missing` is the remedy where there is none.
    pub(super) fn read(path: &Path, access: Access, missing: &str) -> Result<Self, SettingsFaults> {
        let fault = |message: String| SettingsFaults::whole(path, message);
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => fault(format!("there is no such file; {missing}")),
            _ => fault(format!("it can't be read: {error}")),
        };
        let file = std::path::absolute(path).map_err(unread)?;
        let opened = File::open(&file).map_err(unread)?;
        let metadata = opened.metadata().map_err(unread)?;
        if metadata.is_dir() {
            return Err(fault("it is a folder; a file is expected".into()));
        }
        // A pipe, such as <(…) of a shell, has an owner and nobody else at its other end.
        if metadata.is_file() {
            access.check(path, &metadata).map_err(fault)?;
        }
        let mut bytes = Vec::new();
        opened
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(unread)?;
        if bytes.len() as u64 > LARGEST {
            return Err(fault(format!("it is larger than {} MiB", LARGEST >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let message = "this is no UTF-8; save the file as UTF-8".to_owned();
            SettingsFaults::at(path, &text, vec![(valid..valid + 1, message)])
        })?;
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { file, folder, text })
    }
}

impl Access {
    fn check(self, path: &Path, metadata: &Metadata) -> Result<(), String> {
        let (mode, path) = (mode(metadata), shell_word(path));
        let exposed = |how, remedy| {
            format!("others can {how} it (mode {mode:04o}); run: chmod {remedy} {path}")
        };
        let user = rustix::process::geteuid().as_raw();
        let owner = metadata.uid();
        match self {
            Self::NotOthersWrite if mode & 0o022 != 0 => Err(exposed("write", "go-w")),
            Self::NotOthersWrite => Ok(()),
            Self::OwnersAlone if mode & 0o022 != 0 => Err(exposed("write", "640")),
            Self::OwnersAlone if mode & 0o007 != 0 => Err(exposed("read", "640")),
            Self::OwnersAlone if owner != user && owner != 0 => Err(format!(
                "it belongs to user {owner}; run: chown {user} {path}"
            )),
            Self::OwnersAlone => Ok(()),
        }
    }
}

/// `text` as a path, relative ones from `folder`.
pub(super) fn path(folder: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is expected here, not an empty text".into());
    }
    if text.contains(char::is_control) {
        return Err("this path holds a control character".into());
    }
    let path = std::path::absolute(folder.join(text));
    path.map_err(|error| format!("this path is none: {error}"))
}

/// Checks that `file` is a file that can be read.
pub(super) fn check_readable(file: &Path) -> Result<(), String> {
    let shown = printable(&file.to_string_lossy());
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {shown}"),
        _ => format!("{shown} can't be read: {error}"),
    };
    let metadata = File::open(file)
        .and_then(|opened| opened.metadata())
        .map_err(unread)?;
    if metadata.is_dir() {
        return Err(format!("{shown} is a folder; a file is expected"));
    }
    Ok(())
}

/// Checks that `file` can be read, and by its owner and group alone; its group may not write it.
///
/// The group is let in because that is how a service gets a file that root keeps.
pub(super) fn check_private(file: &Path) -> Result<(), String> {
    check_readable(file)?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if mode(&metadata) & 0o027 != 0 {
        return Err(format!(
            "others can get at the secret in {} (mode {:04o}); run: chmod g-w,o-rwx {}",
            printable(&file.to_string_lossy()),
            mode(&metadata),
            shell_word(file)
        ));
    }
    Ok(())
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// `path` as one word of a shell.
fn shell_word(path: &Path) -> String {
    let text = printable(&path.to_string_lossy());
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
