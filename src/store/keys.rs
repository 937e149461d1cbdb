//! The master key that a running process holds, and what it opens with it.

use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;

use crate::entra::KeyId;
use crate::journal::ConnectionId;
use crate::settings::MasterKeySource;

use super::master_key::{self, MasterKeyFault, change};
use super::seal::{Column, MasterKey, SealFault};
use super::{Fingerprint, Sealed, Store, StoreFault};

/// Why a value can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The master key.
    #[error("{fault}")]
    MasterKey {
        /// What is wrong with it.
        fault: MasterKeyFault,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// The value.
    #[error("the value of secret {key_id} does not open: {fault}")]
    Value {
        /// Which secret.
        key_id: KeyId,
        /// Why.
        fault: SealFault,
    },
}

impl KeyFault {
    /// With its remedy: the key from `source` must have the fingerprint `store`, or any where a
    /// store is yet to be made.
    pub fn master_key(
        fault: MasterKeyFault,
        source: &MasterKeySource,
        store: Option<Fingerprint>,
    ) -> Self {
        let remedy = fault.remedy(source, store);
        Self::MasterKey { fault, remedy }
    }
}

/// The master key of a store, read again when another process has changed it.
#[derive(Debug)]
pub struct Keys {
    source: MasterKeySource,
    held: RwLock<Arc<MasterKey>>,
}

impl Keys {
    /// Ends a change of the master key that was killed, then loads the one that fits.
    ///
    /// # Errors
    ///
    /// Where no key fits, or the store can't be read.
    pub async fn open(source: MasterKeySource, store: &dyn Store) -> Result<Self, KeyFault> {
        if let MasterKeySource::File(path) = &source
            && let Err(fault) = change::finish(store, path).await
        {
            // A service often may not write where its key is. Everything opens all the same.
            tracing::warn!(%fault, "a change of the master key was begun and can't be finished");
        }
        let key = load(&source, store).await?;
        Ok(Self::holding(source, key))
    }

    /// Loads the key that has this fingerprint.
    ///
    /// # Errors
    ///
    /// Where no key fits.
    pub fn load(source: MasterKeySource, store: Fingerprint) -> Result<Self, MasterKeyFault> {
        let key = master_key::load(&source, store)?;
        Ok(Self::holding(source, key))
    }

    /// The key that is held; it seals and opens.
    pub fn current(&self) -> Arc<MasterKey> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }

    /// Reads the key again: after [`StoreFault::Resealed`], and for a value sealed with another.
    ///
    /// # Errors
    ///
    /// Where no key fits, or the store can't be read; the former one stays held.
    pub async fn reload(&self, store: &dyn Store) -> Result<Arc<MasterKey>, KeyFault> {
        let key = Arc::new(load(&self.source, store).await?);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&key);
        Ok(key)
    }

    /// Seals a value for its place, with the key that is held.
    pub fn seal(&self, connection: ConnectionId, key_id: KeyId, value: &SecretString) -> Sealed {
        self.current()
            .seal(connection, key_id, Column::Value, value)
    }

    /// The value of a secret; `None`: nobody holds it.
    ///
    /// # Errors
    ///
    /// Where it does not open, or the store or a new key can't be read.
    pub async fn value(
        &self,
        store: &dyn Store,
        connection: ConnectionId,
        key_id: KeyId,
    ) -> Result<Option<SecretString>, KeyFault> {
        let Some(sealed) = store.sealed(connection, key_id).await? else {
            return Ok(None);
        };
        let opened = match self.opened(connection, key_id, &sealed) {
            Err(SealFault::OtherKey { .. }) => {
                self.reload(store).await?;
                // It may have been re-sealed between the two reads.
                let Some(sealed) = store.sealed(connection, key_id).await? else {
                    return Ok(None);
                };
                self.opened(connection, key_id, &sealed)
            }
            opened => opened,
        };
        opened
            .map(Some)
            .map_err(|fault| KeyFault::Value { key_id, fault })
    }

    fn opened(
        &self,
        connection: ConnectionId,
        key_id: KeyId,
        sealed: &Sealed,
    ) -> Result<SecretString, SealFault> {
        self.current()
            .open(connection, key_id, Column::Value, sealed)
    }

    fn holding(source: MasterKeySource, key: MasterKey) -> Self {
        Self {
            source,
            held: RwLock::new(Arc::new(key)),
        }
    }
}

/// A change that ends between the two reads is met by reading both once more.
async fn load(source: &MasterKeySource, store: &dyn Store) -> Result<MasterKey, KeyFault> {
    let named = |fault, store| KeyFault::master_key(fault, source, Some(store));
    let fingerprint = store.fingerprint().await?;
    match master_key::load(source, fingerprint) {
        Ok(key) => Ok(key),
        Err(fault) => match store.fingerprint().await? {
            same if same == fingerprint => Err(named(fault, same)),
            other => master_key::load(source, other).map_err(|fault| named(fault, other)),
        },
    }
}
