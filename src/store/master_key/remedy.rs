//! What a person can do about a master key that is not there or does not fit.

use super::{Fingerprint, MasterKeyFault};
use crate::settings::MasterKeySource;

impl MasterKeyFault {
    /// What to do about it, where the fault itself does not say. `store` is the fingerprint that
    /// the key must have; `None`: a store is yet to be made.
    ///
    /// A new key for a store that there is would lose every secret in it: none is suggested.
    pub fn remedy(&self, source: &MasterKeySource, store: Option<Fingerprint>) -> Option<String> {
        match (self, store) {
            (
                Self::Missing { .. } | Self::Malformed { .. } | Self::WrongStore { .. },
                Some(store),
            ) => Some(format!(
                "{}; it has the fingerprint {store}, and no other key opens the secrets",
                put_back(source)
            )),
            (Self::Missing { .. } | Self::Malformed { .. }, None) => Some(make(source)),
            (Self::Io { .. }, _) => Some(
                "the user that runs Keywheel must be able to read it, and the disk must be sound"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn put_back(source: &MasterKeySource) -> String {
    match source {
        MasterKeySource::File(path) => format!(
            "put the copy of this store's key back to {} with mode 0600, or name where it is with \
             `file` under [master_key]",
            path.display()
        ),
        MasterKeySource::Credential(name) => format!(
            "the unit that runs this must have LoadCredentialEncrypted={name} (or LoadCredential=), \
             with the copy of this store's key in it"
        ),
        MasterKeySource::Env(name) => {
            format!("set {name} to the copy of this store's key, as base64 or hexadecimal digits")
        }
    }
}

/// Keywheel itself makes only those in files.
fn make(source: &MasterKeySource) -> String {
    match source {
        MasterKeySource::File(path) => format!(
            "move {} away, and `keywheel init` makes one",
            path.display()
        ),
        MasterKeySource::Credential(name) => format!(
            "for a new store, make one with `head -c 32 /dev/urandom | base64`, keep a copy of it, \
             encrypt it with `systemd-creds encrypt --name={name}`, and run this in a unit with \
             LoadCredentialEncrypted={name}"
        ),
        MasterKeySource::Env(name) => format!(
            "for a new store, make one with `head -c 32 /dev/urandom | base64`, keep a copy of it, \
             and set {name} to it"
        ),
    }
}
