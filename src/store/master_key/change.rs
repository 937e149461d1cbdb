//! Changing the master key, so that being killed at any point leaves a store that opens.
//!
//! 1. The new key is written beside the old one, and synced.
//! 2. One transaction re-seals every value and sets the store's fingerprint.
//! 3. The new key is moved over the old one.
//!
//! At any point the store's fingerprint says which of the two is in use, and that one is on disk.

use std::fs;
use std::path::Path;

use crate::crash;
use crate::store::seal::{Column, MasterKey};
use crate::store::{Fingerprint, Store, StoreFault};

use super::{Existing, MasterKeyFault, beside, random, read, shown, sync_folder, unusable, write};

/// Why the master key was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// One of the keys.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// Another process is at it.
    #[error("another process is changing the master key")]
    Busy,
}

/// Gives the store a new random master key in the file `path`, and says how many values it has
/// re-sealed.
///
/// # Errors
///
/// The former key is then still the store's, unless the fault is [`StoreFault::Io`]: which of the
/// two it is then is found out by the next [`finish`].
pub async fn change(store: &dyn Store, path: &Path) -> Result<usize, ChangeFault> {
    let lease = store.try_lock_master_key().await?;
    let lease = lease.ok_or(ChangeFault::Busy)?;
    if beside(path).try_exists().unwrap_or(true) {
        settle(store, path).await?;
    }
    let old = fitting(path, store.fingerprint().await?)?;
    let bytes = random(path)?;
    let new = MasterKey::new(&bytes);
    crash::point("before the new master key is written");
    write(&beside(path), &bytes, Existing::Replace)?;
    crash::point("after the new master key is written");
    let resealed = reseal(store, old, MasterKey::new(&bytes)).await?;
    take_over(path)?;
    tracing::info!(fingerprint = %new.fingerprint(), resealed, "the master key was changed");
    drop(lease);
    Ok(resealed)
}

/// Ends a change that was killed; does nothing where there is none, or another process is at it.
///
/// # Errors
///
/// Whatever is in the way. The store opens nevertheless: [`super::load`] looks at both keys.
pub async fn finish(store: &dyn Store, path: &Path) -> Result<(), ChangeFault> {
    if !beside(path).try_exists().unwrap_or(true) {
        return Ok(());
    }
    match store.try_lock_master_key().await? {
        Some(_lease) => settle(store, path).await,
        None => Ok(()),
    }
}

/// Re-seals everything from one key to another, for keys that Keywheel can't write: a systemd
/// credential, a variable of the environment.
///
/// # Errors
///
/// Where a value does not open with `old`, nothing is changed.
pub async fn reseal(
    store: &dyn Store,
    old: MasterKey,
    new: MasterKey,
) -> Result<usize, StoreFault> {
    let to = new.fingerprint();
    let reseal = move |connection, key_id, sealed: &_| {
        let value = old.open(connection, key_id, Column::Value, sealed).ok()?;
        let resealed = new.seal(connection, key_id, Column::Value, &value);
        // What can't be read back is not worth the old one.
        new.open(connection, key_id, Column::Value, &resealed)
            .ok()?;
        Some(resealed)
    };
    store.reseal(to, Box::new(reseal)).await
}

/// Keeps the key whose fingerprint the store has, and drops the other. Under the lock.
async fn settle(store: &dyn Store, path: &Path) -> Result<(), ChangeFault> {
    let store_has = store.fingerprint().await?;
    // What is read may not have been synced by the process that was killed, or be followed in the
    // log by what a failed sync left there. A write of our own puts an end to both, before a key
    // is dropped that a power cut could make the right one again.
    store
        .reseal(store_has, Box::new(|_, _, sealed| Some(sealed.clone())))
        .await?;
    if fitting(&beside(path), store_has).is_ok() {
        return Ok(take_over(path)?);
    }
    fitting(path, store_has)?;
    let new = beside(path);
    fs::remove_file(&new).map_err(|error| unusable(&new, &error))?;
    Ok(sync_folder(path)?)
}

/// Moves the new key over the old one.
fn take_over(path: &Path) -> Result<(), MasterKeyFault> {
    crash::point("before the new master key takes over");
    fs::rename(beside(path), path).map_err(|error| unusable(path, &error))?;
    crash::point("after the new master key took over");
    sync_folder(path)
}

fn fitting(path: &Path, store: Fingerprint) -> Result<MasterKey, MasterKeyFault> {
    let key = read(path)?;
    if key.fingerprint() == store {
        return Ok(key);
    }
    Err(MasterKeyFault::WrongStore {
        place: shown(path),
        found: key.fingerprint(),
        store,
    })
}
