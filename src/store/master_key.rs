//! The master key: where it comes from, how it is made, and (in [`change`]) how it is changed.

pub mod change;
mod remedy;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::settings::MasterKeySource;

use super::Fingerprint;
use super::seal::{MASTER_KEY_LEN, MasterKey, randomize};

/// Where systemd puts a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Longer than any form of a key; a file beyond it is not read to its end.
const LONGEST: u64 = 4096;

/// The 32 bytes, wiped when they are dropped.
type KeyBytes = Zeroizing<[u8; MASTER_KEY_LEN]>;

/// Why there is no master key to work with. Its text never holds any of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyFault {
    /// It is not there.
    #[error("there is no master key in {place}")]
    Missing {
        /// Where it was looked for.
        place: String,
    },
    /// It is there already, and is not written over.
    #[error("there is a master key in {place} already")]
    Exists {
        /// Where.
        place: String,
    },
    /// Others than its owner can read or write it.
    #[error(
        "{path} has mode {mode:04o}; the master key must be its owner's alone: run `chmod 0600 {path}`"
    )]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else can write it.
    #[error("{path} belongs to user {owner}; run `chown {user} {path}`")]
    ForeignOwner {
        /// The file.
        path: String,
        /// Whose it is, as a number.
        owner: u32,
        /// Who runs this, as a number.
        user: u32,
    },
    /// A folder, a link, a pipe, …
    #[error("{path} is not a regular file; put the master key into one, not behind a link")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// It does not have 32 bytes.
    #[error(
        "the master key in {place} is not 32 bytes, written as one line of base64 or as 64 \
         hexadecimal digits"
    )]
    Malformed {
        /// Where.
        place: String,
    },
    /// The store was sealed with another one.
    #[error(
        "the master key in {place} belongs to another store: its fingerprint is {found}, the \
         store has {store}"
    )]
    WrongStore {
        /// Where.
        place: String,
        /// The key's fingerprint.
        found: Fingerprint,
        /// The store's fingerprint.
        store: Fingerprint,
    },
    /// It can't be read or written.
    #[error("the master key in {place} can't be used: {detail}")]
    Io {
        /// Where.
        place: String,
        /// The system's words.
        detail: String,
    },
}

/// The key that the store was sealed with. For a file, that is the one in it or, while a change is
/// under way, the one beside it.
///
/// # Errors
///
/// Where there is none, where it is unsafe to use, or where none fits.
pub fn load(source: &MasterKeySource, store: Fingerprint) -> Result<MasterKey, MasterKeyFault> {
    let fitting = |place: String, key: MasterKey| match key.fingerprint() {
        found if found == store => Ok(key),
        found => Err(MasterKeyFault::WrongStore {
            place,
            found,
            store,
        }),
    };
    match source {
        MasterKeySource::File(path) => {
            let of = |path: &Path| read(path).and_then(|key| fitting(shown(path), key));
            // The third look is for a change that ended between the first two.
            of(path).or_else(|fault| of(&beside(path)).or_else(|_| of(path)).map_err(|_| fault))
        }
        MasterKeySource::Credential(name) => {
            let place = format!("the systemd credential {name}");
            fitting(place.clone(), read_credential(name, place)?)
        }
        MasterKeySource::Env(name) => {
            let place = format!("the environment variable {name}");
            fitting(place.clone(), read_env(name, place)?)
        }
    }
}

/// The key of a store that is to be made, whatever its fingerprint.
///
/// # Errors
///
/// Where there is none, or where it is unsafe to use.
pub fn load_any(source: &MasterKeySource) -> Result<MasterKey, MasterKeyFault> {
    match source {
        MasterKeySource::File(path) => read(path),
        MasterKeySource::Credential(name) => {
            read_credential(name, format!("the systemd credential {name}"))
        }
        MasterKeySource::Env(name) => read_env(name, format!("the environment variable {name}")),
    }
}

/// Makes a new random key in a file of mode 0600, there whole and synced, or not at all.
///
/// # Errors
///
/// Where there is one already, or the disk refuses.
pub fn create(path: &Path) -> Result<MasterKey, MasterKeyFault> {
    let bytes = random(path)?;
    write(path, &bytes, Existing::Refuse)?;
    Ok(MasterKey::new(&bytes))
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refuse,
    Replace,
}

fn random(path: &Path) -> Result<KeyBytes, MasterKeyFault> {
    let mut bytes = Zeroizing::new([0; MASTER_KEY_LEN]);
    randomize(bytes.as_mut_slice()).map_err(|error| MasterKeyFault::Io {
        place: shown(path),
        detail: format!("the system gives no randomness: {error}"),
    })?;
    Ok(bytes)
}

/// Writes beside, syncs, and moves into place; then the folder is synced as well.
fn write(path: &Path, bytes: &KeyBytes, existing: Existing) -> Result<(), MasterKeyFault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => MasterKeyFault::Exists { place: shown(path) },
        _ => unusable(path, &error),
    };
    let mut line = Zeroizing::new(BASE64.encode(bytes));
    line.push('\n');
    // Such a file has mode 0600 from the start.
    let mut file = tempfile::Builder::new()
        .prefix(".master-key.")
        .tempfile_in(folder_of(path))
        .map_err(fault)?;
    file.write_all(line.as_bytes()).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    match existing {
        Existing::Refuse => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    }
    .map_err(|error| fault(error.error))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), MasterKeyFault> {
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unusable(path, &error))
}

fn read(path: &Path) -> Result<MasterKey, MasterKeyFault> {
    let file = open(path, shown(path))?;
    let metadata = file.metadata().map_err(|error| unusable(path, &error))?;
    let mode = metadata.mode() & 0o7777;
    if !matches!(mode, 0o600 | 0o400) {
        return Err(MasterKeyFault::Exposed {
            path: shown(path),
            mode,
        });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(MasterKeyFault::ForeignOwner {
            path: shown(path),
            owner: metadata.uid(),
            user,
        });
    }
    read_key(file, shown(path))
}

/// systemd itself sees to it that only the service can read a credential; with an access list it
/// shows as mode 0440.
fn read_credential(name: &str, place: String) -> Result<MasterKey, MasterKeyFault> {
    let missing = || MasterKeyFault::Missing {
        place: place.clone(),
    };
    let folder = std::env::var_os(CREDENTIALS).ok_or_else(|| MasterKeyFault::Missing {
        place: format!("{place}: systemd has set no ${CREDENTIALS}"),
    })?;
    let plain = Path::new(name).file_name() == Some(name.as_ref());
    if !plain {
        return Err(missing());
    }
    let file = open(&Path::new(&folder).join(name), place.clone())?;
    read_key(file, place)
}

fn read_env(name: &str, place: String) -> Result<MasterKey, MasterKeyFault> {
    // One that is set to nothing is as good as none.
    let text = std::env::var(name).map(Zeroizing::new);
    let Some(text) = text.ok().filter(|text| !text.trim().is_empty()) else {
        return Err(MasterKeyFault::Missing { place });
    };
    match decoded(text.as_bytes()) {
        Some(bytes) => Ok(MasterKey::new(&bytes)),
        None => Err(MasterKeyFault::Malformed { place }),
    }
}

/// Opens a regular file and nothing else; a pipe in its place must not hold us up.
fn open(path: &Path, place: String) -> Result<File, MasterKeyFault> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let not_a_file = || MasterKeyFault::NotAFile { path: shown(path) };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => MasterKeyFault::Missing { place },
            // What O_NOFOLLOW says of a link.
            Some(Errno::LOOP) => not_a_file(),
            _ => unusable(path, &error),
        })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(not_a_file()),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn read_key(file: File, place: String) -> Result<MasterKey, MasterKeyFault> {
    // Room from the start: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    let read = file.take(LONGEST).read_to_end(&mut text);
    read.map_err(|error| MasterKeyFault::Io {
        place: place.clone(),
        detail: error.to_string(),
    })?;
    let bytes = match <[u8; MASTER_KEY_LEN]>::try_from(text.as_slice()) {
        Ok(raw) => Some(Zeroizing::new(raw)),
        Err(_) => decoded(&text),
    };
    match bytes {
        Some(bytes) => Ok(MasterKey::new(&bytes)),
        None => Err(MasterKeyFault::Malformed { place }),
    }
}

/// One line of base64, or 64 hexadecimal digits.
fn decoded(text: &[u8]) -> Option<KeyBytes> {
    let text = text.trim_ascii();
    let mut bytes = Zeroizing::new([0; MASTER_KEY_LEN]);
    if text.len() == 2 * MASTER_KEY_LEN {
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |n: usize| char::from(digits[n]).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        return Some(bytes);
    }
    // base64 asks for room in whole groups of three.
    let mut buffer = Zeroizing::new([0; MASTER_KEY_LEN + 1]);
    let length = BASE64.decode_slice(text, buffer.as_mut_slice()).ok()?;
    bytes.copy_from_slice(&buffer[..MASTER_KEY_LEN]);
    (length == MASTER_KEY_LEN).then_some(bytes)
}

/// Where the new key waits while it is changed.
fn beside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".new");
    path.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn unusable(path: &Path, error: &io::Error) -> MasterKeyFault {
    MasterKeyFault::Io {
        place: shown(path),
        detail: error.to_string(),
    }
}
