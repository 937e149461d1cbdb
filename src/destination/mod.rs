//! Places that a new secret is delivered to: the trait, and a file for each kind.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::connection::ConnectionName;
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

/// Where a destination writes: two of the same place would overwrite each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place(pub String);

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

/// A place that a new secret is delivered to.
#[async_trait]
pub trait Destination: Send + Sync + fmt::Debug {
    /// For finding two that write to the same one.
    fn place(&self) -> Place;

    /// Finds out, without changing anything there, whether it can be written (C9).
    async fn check(&self) -> Result<(), DestinationFault>;

    /// Hands the secret over and reads it back; `Ok` means that it was taken, its reload command
    /// included. Doing it again is harmless.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), DestinationFault>;

    /// Whether it holds this secret; `None` where that can't be read.
    async fn holds(&self, parcel: &Parcel) -> Result<Option<bool>, DestinationFault>;
}
/// stub
pub fn open(_: &crate::connection::DestinationSpec) -> Result<Box<dyn Destination>, DestinationFault> {
    Err(DestinationFault { code: "x", message: String::new(), remedy: String::new() })
}
