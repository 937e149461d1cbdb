//! Places that a new secret is delivered to: the trait, and a file for each kind.

mod atomic;
mod dotenv;
mod file;
mod format;
mod json;
mod plain;
mod reload;
mod template;

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::connection::{ConnectionName, DestinationSpec};
use crate::entra::{ClientId, KeyId, TenantId};

/// What is handed to a destination.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The value.
    pub secret: SecretString,
    /// Whose it is.
    pub connection: ConnectionName,
    /// The directory.
    pub tenant_id: TenantId,
    /// The application.
    pub client_id: ClientId,
    /// The credential.
    pub key_id: KeyId,
    /// When it expires; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The destination that was declared. Nothing is looked at yet but the declaration itself;
/// [`Destination::check`] does the rest.
pub fn open(spec: &DestinationSpec) -> Result<Box<dyn Destination>, DestinationFault> {
    match spec {
        DestinationSpec::File(spec) => Ok(Box::new(file::FileDestination::open(spec)?)),
    }
}

/// Where a destination writes: two of the same place would overwrite each other.
///
/// For a file its canonical path, and behind a `#` the key inside it; a `#` or `%` of the path
/// itself is written as in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place(pub String);

impl Place {
    /// Whether two destinations would overwrite each other, or one a part of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ((path, key), (other_path, other_key)) = (self.parts(), other.parts());
        let within = |outer: &str, inner: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == other_path
            && match (key, other_key) {
                (Some(a), Some(b)) => {
                    // A variable beside a JSON pointer: one of the formats is wrong.
                    within(a, b) || within(b, a) || a.starts_with('/') != b.starts_with('/')
                }
                _ => true,
            }
    }

    /// The file, and the key inside it.
    fn parts(&self) -> (&str, Option<&str>) {
        match self.0.split_once('#') {
            Some((path, key)) => (path, Some(key)),
            None => (&self.0, None),
        }
    }
}

/// What went wrong with a destination. Its text never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DestinationFault {
    /// Stable, for scripts: `file-not-writable`, `reload-failed`, …
    pub code: &'static str,
    /// What happened, and where.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Whether this is the code of a [`DestinationFault`].
pub fn is_code(code: &str) -> bool {
    code.starts_with("file-") || code.starts_with("reload-")
}

/// Whether a person must mend the [`DestinationFault`] of this code.
pub fn needs_a_person(code: &str) -> bool {
    file::needs_a_person(code)
}

/// What is in the way of a delivery before there was any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The key of the declaration that it comes from.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub fault: DestinationFault,
}

/// Everything that is in the way of delivering to `spec`; nothing is changed there (C9).
pub async fn obstacles(spec: &DestinationSpec) -> Vec<Obstacle> {
    match open(spec) {
        Ok(destination) => destination.obstacles().await,
        Err(fault) => {
            let key = if fault.code == "reload-invalid" {
                "reload"
            } else {
                "path"
            };
            vec![Obstacle { key, fault }]
        }
    }
}

/// A place that a new secret is delivered to.
#[async_trait]
pub trait Destination: Send + Sync + fmt::Debug {
    /// For finding two that write to the same one.
    fn place(&self) -> Place;

    /// Finds out, without changing anything there, all that keeps it from being written (C9).
    async fn obstacles(&self) -> Vec<Obstacle>;

    /// As [`Destination::obstacles`], for those whom one is enough.
    async fn check(&self) -> Result<(), DestinationFault> {
        let first = self.obstacles().await.into_iter().next();
        first.map_or(Ok(()), |obstacle| Err(obstacle.fault))
    }

    /// Hands the secret over and reads it back; `Ok` means that it was taken, its reload command
    /// included. Doing it again is harmless.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), DestinationFault>;

    /// Whether it holds this secret; `None` where that can't be read.
    async fn holds(&self, parcel: &Parcel) -> Result<Option<bool>, DestinationFault>;
}
