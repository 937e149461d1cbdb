//! A file on this host.

mod fault;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::fault::FileFault;
pub(super) use self::fault::needs_a_person;
use super::atomic::{Attributes, Existing, Folder, LockedFolder, ReadError, ReplaceError};
use super::format::{Format, FormatFault};
use super::reload::{Reload, ReloadFault};
use super::{Destination, DestinationFault, Obstacle, Parcel, Place};
use crate::connection::FileSpec;

/// How often the lock is tried, and how long is waited in between: ten seconds altogether.
const LOCK_TRIES: u32 = 500;
const LOCK_SPACING: Duration = Duration::from_millis(20);
/// How often a file is read anew that others change at the same moment.
const CHANGED_TRIES: u32 = 5;

/// A file that holds the secret, and the command that makes its consumer read it.
#[derive(Debug)]
pub(super) struct FileDestination {
    target: Arc<Target>,
    reload: Option<Arc<Reload>>,
}

/// What is written, where, and for whom.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
    format: Format,
    mode: Option<u32>,
    owner: Option<String>,
    group: Option<String>,
}

/// How a try to write ended.
enum Written {
    /// The file holds the secret, durably.
    Done,
    /// Another Keywheel writes in the folder.
    Locked,
}

impl FileDestination {
    /// Reads what was declared.
    pub(super) fn open(spec: &FileSpec) -> Result<Self, DestinationFault> {
        Ok(Self {
            target: Arc::new(Target::parse(spec)?),
            reload: Reload::parse(spec)?.map(Arc::new),
        })
    }

    /// Work on files may take long, and must not hold up others.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Target) -> Result<T, FileFault> + Send + 'static,
    ) -> Result<T, FileFault> {
        let target = Arc::clone(&self.target);
        tokio::task::spawn_blocking(move || work(&target))
            .await
            .unwrap_or_else(|_| Err(self.target.fault_interrupted()))
    }

    async fn write(&self, parcel: &Parcel) -> Result<(), FileFault> {
        let mut tries = tokio::time::interval(LOCK_SPACING);
        for _ in 0..LOCK_TRIES {
            let parcel = parcel.clone();
            match self.blocking(move |target| target.write(&parcel)).await? {
                Written::Done => return Ok(()),
                Written::Locked => {
                    tries.tick().await;
                }
            }
        }
        Err(FileFault::Locked {
            folder: self.target.folder.clone(),
        })
    }
}

#[async_trait]
impl Destination for FileDestination {
    fn place(&self) -> Place {
        self.target.place()
    }

    async fn obstacles(&self) -> Vec<Obstacle> {
        let target = self.blocking(|target| Ok(target.obstacles())).await;
        let mut found = target.unwrap_or_else(|fault| vec![obstacle("path", fault)]);
        if let Some(reload) = self.reload.clone() {
            let located = tokio::task::spawn_blocking(move || reload.locate().map(drop)).await;
            let located = located.unwrap_or(Err(ReloadFault::Interrupted));
            found.extend(located.err().map(|fault| obstacle("reload", fault)));
        }
        found
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<(), DestinationFault> {
        self.write(parcel).await?;
        match &self.reload {
            Some(reload) => Ok(reload.run(parcel, &self.target.path).await?),
            None => Ok(()),
        }
    }

    async fn holds(&self, parcel: &Parcel) -> Result<Option<bool>, DestinationFault> {
        let parcel = parcel.clone();
        let held = self.blocking(move |target| target.holds(&parcel)).await?;
        Ok(Some(held))
    }
}

impl Target {
    fn parse(spec: &FileSpec) -> Result<Self, FileFault> {
        let path = spec.path.clone();
        let declared = |what| FileFault::Declared {
            path: path.clone(),
            what,
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(declared("the path names no file"));
        };
        if !path.is_absolute() || spec.path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(declared("the path is not absolute"));
        }
        let mode = spec.mode.as_deref().map(|mode| {
            parse_mode(mode).ok_or_else(|| declared("`mode` is not octal, such as \"0640\""))
        });
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            format: Format::parse(spec).map_err(|fault| FileFault::Format {
                path: path.clone(),
                fault,
            })?,
            mode: mode.transpose()?,
            owner: spec.owner.clone(),
            group: spec.group.clone(),
            path,
        })
    }

    fn place(&self) -> Place {
        let canonical = self.path.canonicalize().or_else(|_| {
            let folder = self.folder.canonicalize()?;
            Ok::<_, std::io::Error>(folder.join(&self.name))
        });
        let path = canonical.unwrap_or_else(|_| self.path.clone());
        let path = path
            .to_string_lossy()
            .replace('%', "%25")
            .replace('#', "%23");
        match self.format.key() {
            Some(key) => Place(format!("{path}#{key}")),
            None => Place(path),
        }
    }

    /// All that can be found out without a trace.
    fn obstacles(&self) -> Vec<Obstacle> {
        let owner = self.owner.as_deref().map(user_number);
        let group = self.group.as_deref().map(group_number);
        let mut found: Vec<Obstacle> = [("owner", owner), ("group", group)]
            .into_iter()
            .filter_map(|(key, number)| Some(obstacle(key, number?.err()?)))
            .collect();
        match self.look() {
            Err(fault) => found.push(obstacle("path", fault)),
            // Whom a file can't be given to can't be tried either.
            Ok(_) if !found.is_empty() => {}
            Ok((folder, existing)) => {
                let attributes = self.attributes(existing.as_ref());
                let probed = attributes.and_then(|attributes| {
                    folder
                        .probe(attributes)
                        .map_err(|error| self.fault_replace(error))
                });
                found.extend(
                    probed
                        .err()
                        .map(|fault| obstacle(self.key_of(&fault), fault)),
                );
            }
        }
        found
    }

    /// The folder, and the file in it where there is one that may be replaced.
    fn look(&self) -> Result<(Folder, Option<Existing>), FileFault> {
        let folder = self.open_folder()?;
        let existing = self.read(&folder)?;
        self.refuse_strangers(&folder, existing.as_ref())?;
        self.format
            .check(existing.as_ref().map(|file| file.bytes.as_slice()))
            .map_err(|fault| self.fault_format(fault))?;
        Ok((folder, existing))
    }

    /// The key of the declaration that a fault of trying comes from.
    fn key_of(&self, fault: &FileFault) -> &'static str {
        match fault {
            FileFault::Ownership { .. } if self.owner.is_some() => "owner",
            FileFault::Ownership { .. } if self.group.is_some() => "group",
            _ => "path",
        }
    }

    fn holds(&self, parcel: &Parcel) -> Result<bool, FileFault> {
        let existing = match self.open_folder() {
            Ok(folder) => self.read(&folder)?,
            Err(FileFault::FolderMissing { .. }) => None,
            Err(fault) => return Err(fault),
        };
        Ok(existing.is_some_and(|file| self.format.holds(&file.bytes, parcel)))
    }

    /// Reads, changes and replaces the file inside the lock, then makes that durable and reads it
    /// back.
    fn write(&self, parcel: &Parcel) -> Result<Written, FileFault> {
        let folder = self.open_folder()?;
        let locked = folder.try_lock().map_err(|error| FileFault::NoLock {
            folder: self.folder.clone(),
            detail: error.to_string(),
        })?;
        let Some(folder) = locked else {
            return Ok(Written::Locked);
        };
        for _ in 0..CHANGED_TRIES {
            match self.write_once(&folder, parcel) {
                Ok(()) => {
                    let folder = folder
                        .release()
                        .map_err(|error| self.fault_replace(error.into()))?;
                    return self.read_back(&folder, parcel);
                }
                Err(FileFault::Changed { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(FileFault::Changed {
            path: self.path.clone(),
        })
    }

    fn write_once(&self, folder: &LockedFolder, parcel: &Parcel) -> Result<(), FileFault> {
        let existing = self.read(folder.folder())?;
        self.refuse_strangers(folder.folder(), existing.as_ref())?;
        let before = existing.as_ref().map(|file| file.bytes.as_slice());
        let after = self
            .format
            .render(before, parcel)
            .map_err(|fault| self.fault_format(fault))?;
        let attributes = self.attributes(existing.as_ref())?;
        let written = match &existing {
            Some(file) if *file.bytes == *after && file.has(attributes) => {
                file.sync().map_err(ReplaceError::Io)
            }
            _ => folder.replace(&self.name, existing.as_ref(), &after, attributes),
        };
        written.map_err(|error| self.fault_replace(error))
    }

    fn read_back(&self, folder: &Folder, parcel: &Parcel) -> Result<Written, FileFault> {
        match self.read(folder)? {
            Some(file) if self.format.holds(&file.bytes, parcel) => Ok(Written::Done),
            _ => Err(FileFault::ReadBack {
                path: self.path.clone(),
            }),
        }
    }

    fn open_folder(&self) -> Result<Folder, FileFault> {
        Folder::open(&self.folder).map_err(|error| FileFault::of_folder(&self.folder, &error))
    }

    fn read(&self, folder: &Folder) -> Result<Option<Existing>, FileFault> {
        folder.read(&self.name).map_err(|error| match error {
            ReadError::Link => FileFault::Link {
                path: self.path.clone(),
                target: self.path.canonicalize().ok(),
            },
            error => FileFault::Unreadable {
                path: self.path.clone(),
                detail: error.to_string(),
            },
        })
    }

    /// In a folder like /tmp anybody could have laid out a file of his own, to get the secret.
    fn refuse_strangers(
        &self,
        folder: &Folder,
        existing: Option<&Existing>,
    ) -> Result<(), FileFault> {
        let Some(file) = existing.filter(|_| self.owner.is_none()) else {
            return Ok(());
        };
        let known = [0, rustix::process::geteuid().as_raw()].contains(&file.owner());
        let open = || folder.is_open_to_all();
        if known || !open().map_err(|error| FileFault::of_folder(&self.folder, &error))? {
            return Ok(());
        }
        Err(FileFault::Stranger {
            path: self.path.clone(),
            owner: file.owner(),
        })
    }

    /// What was declared, else what the file has, else for the owner alone.
    fn attributes(&self, existing: Option<&Existing>) -> Result<Attributes, FileFault> {
        let owner = self.owner.as_deref().map(user_number).transpose()?;
        let group = self.group.as_deref().map(group_number).transpose()?;
        Ok(Attributes {
            mode: self.mode.or(existing.map(Existing::mode)).unwrap_or(0o600),
            owner: owner.or(existing.map(Existing::owner)),
            group: group.or(existing.map(Existing::group)),
        })
    }

    fn fault_format(&self, fault: FormatFault) -> FileFault {
        let path = self.path.clone();
        FileFault::Format { path, fault }
    }

    fn fault_replace(&self, error: ReplaceError) -> FileFault {
        let path = self.path.clone();
        match error {
            ReplaceError::Changed => FileFault::Changed { path },
            ReplaceError::Ownership(error) => FileFault::Ownership {
                path,
                detail: error.to_string(),
            },
            ReplaceError::Io(error) => FileFault::of_write(&path, &self.folder, &error),
        }
    }

    fn fault_interrupted(&self) -> FileFault {
        let path = self.path.clone();
        FileFault::Interrupted { path }
    }
}

/// `640` or `0640`: permission bits alone.
fn parse_mode(text: &str) -> Option<u32> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    (mode <= 0o777).then_some(mode)
}

fn user_number(name: &str) -> Result<u32, FileFault> {
    let found = || nix::unistd::User::from_name(name).ok().flatten();
    let number = name.parse().ok();
    number
        .or_else(|| found().map(|user| user.uid.as_raw()))
        .ok_or_else(|| FileFault::unknown("user", name, "/etc/passwd"))
}

fn group_number(name: &str) -> Result<u32, FileFault> {
    let found = || nix::unistd::Group::from_name(name).ok().flatten();
    let number = name.parse().ok();
    number
        .or_else(|| found().map(|group| group.gid.as_raw()))
        .ok_or_else(|| FileFault::unknown("group", name, "/etc/group"))
}

fn obstacle(key: &'static str, fault: impl Into<DestinationFault>) -> Obstacle {
    let fault = fault.into();
    Obstacle { key, fault }
}

#[cfg(test)]
pub(super) mod tests;
