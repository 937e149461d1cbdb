//! Sealing: AES-256-GCM-SIV, each value bound to the place that it is kept in.

use std::{fmt, io};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::entra::KeyId;
use crate::journal::ConnectionId;

use super::{Fingerprint, Sealed};

/// Part of what each value is bound to; another way of sealing gets another one.
const LABEL: &[u8] = b"keywheel sealed value 1\0";

/// What the fingerprint is the MAC of: a key is never used on this text for anything else.
const FINGERPRINT_LABEL: &[u8] = b"keywheel master key fingerprint 1";

/// The length of a master key in bytes.
pub const MASTER_KEY_LEN: usize = 32;

/// The key that every value of a store is sealed with. Its bytes are wiped when it is dropped.
pub struct MasterKey {
    key: LessSafeKey,
    fingerprint: Fingerprint,
}

/// Where a value stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The value of a secret.
    Value,
}

/// Why a value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// It was sealed with another key.
    #[error("the value was sealed with master key {sealed}, not with {held}")]
    OtherKey {
        /// The key that it was sealed with.
        sealed: Fingerprint,
        /// The key that was tried.
        held: Fingerprint,
    },
    /// Its bytes were changed, or it was sealed for another connection, secret or column.
    #[error("the sealed value was changed, or belongs to another row")]
    Forged,
}

impl MasterKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; MASTER_KEY_LEN]) -> Self {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), FINGERPRINT_LABEL);
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&mac.as_ref()[..16]);
        #[expect(
            clippy::expect_used,
            reason = "fails for another length only, and the type has that length"
        )]
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes).expect("32 bytes make a key");
        Self {
            key: LessSafeKey::new(key),
            fingerprint: Fingerprint(fingerprint),
        }
    }

    /// What tells it from others.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Seals `value` for this place and no other.
    pub fn seal(
        &self,
        connection: ConnectionId,
        key_id: KeyId,
        column: Column,
        value: &SecretString,
    ) -> Sealed {
        let value = value.expose_secret().as_bytes();
        let nonce = random_nonce();
        // Room for all of it from the start: growing would leave a copy of the value behind.
        let mut bytes = Vec::with_capacity(NONCE_LEN + value.len() + AES_256_GCM_SIV.tag_len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(value);
        #[expect(
            clippy::expect_used,
            reason = "fails for values beyond 64 GiB only; the value is still in the caller's hands"
        )]
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place(connection, key_id, column)),
                &mut bytes[NONCE_LEN..],
            )
            .expect("a value of ordinary length is sealed");
        bytes.extend_from_slice(tag.as_ref());
        Sealed {
            fingerprint: self.fingerprint,
            bytes,
        }
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    ///
    /// Where another key is needed, or the bytes are not those that were sealed for this place.
    pub fn open(
        &self,
        connection: ConnectionId,
        key_id: KeyId,
        column: Column,
        sealed: &Sealed,
    ) -> Result<SecretString, SealFault> {
        if sealed.fingerprint != self.fingerprint {
            return Err(SealFault::OtherKey {
                sealed: sealed.fingerprint,
                held: self.fingerprint,
            });
        }
        let (nonce, ciphertext) = sealed
            .bytes
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealFault::Forged)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let value = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place(connection, key_id, column)),
                &mut buffer,
            )
            .map_err(|_| SealFault::Forged)?;
        std::str::from_utf8(value)
            .map(SecretString::from)
            .map_err(|_| SealFault::Forged)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint)
    }
}

/// Fills `bytes` with the kernel's randomness.
///
/// aws-lc's own generator takes 24 to 40 ms to start, as much as a whole rotation may.
pub(super) fn randomize(bytes: &mut [u8]) -> io::Result<()> {
    // The kernel gives up to 256 bytes at once; nothing here is longer than a key.
    match retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty()))? {
        length if length == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// GCM-SIV forgives a nonce that comes twice: it then tells no more than whether the same value
/// was sealed twice for the same place. So that no randomness is a reason to lose a value (P1).
fn random_nonce() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    if randomize(&mut nonce).is_err() {
        tracing::warn!("the system gives no randomness; sealing goes on without");
    }
    nonce
}

/// The additional data. All parts but the last have a fixed length, so that no two places are
/// spelled alike.
fn place(connection: ConnectionId, key_id: KeyId, column: Column) -> Vec<u8> {
    let column: &[u8] = match column {
        Column::Value => b"secret.value",
    };
    [
        LABEL,
        &connection.0.to_be_bytes(),
        key_id.0.as_bytes(),
        column,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const HERE: ConnectionId = ConnectionId(1);

    fn key(n: u128) -> KeyId {
        KeyId(Uuid::from_u128(n))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place(value in ".{0,200}", connection: i64, n: u128) {
            let master = MasterKey::new(&[7; 32]);
            let place = ConnectionId(connection);
            let sealed = master.seal(place, key(n), Column::Value, &value.clone().into());
            let opened = master.open(place, key(n), Column::Value, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), value);
        }
    }

    #[test]
    fn p6_a_swapped_row_does_not_open() {
        let master = MasterKey::new(&[7; 32]);
        let sealed = master.seal(HERE, key(1), Column::Value, &"abc".into());
        let open = |connection, key_id| master.open(connection, key_id, Column::Value, &sealed);
        assert!(open(HERE, key(1)).is_ok());
        assert_eq!(open(HERE, key(2)).unwrap_err(), SealFault::Forged);
        assert_eq!(
            open(ConnectionId(2), key(1)).unwrap_err(),
            SealFault::Forged
        );
    }

    #[test]
    fn p6_a_changed_byte_anywhere_does_not_open() {
        let master = MasterKey::new(&[7; 32]);
        let sealed = master.seal(HERE, key(1), Column::Value, &"abc".into());
        for n in 0..sealed.bytes.len() {
            let mut forged = sealed.clone();
            forged.bytes[n] ^= 1;
            let opened = master.open(HERE, key(1), Column::Value, &forged);
            assert_eq!(opened.unwrap_err(), SealFault::Forged, "byte {n}");
        }
        let cut = Sealed {
            bytes: sealed.bytes[..5].to_vec(),
            ..sealed
        };
        assert!(master.open(HERE, key(1), Column::Value, &cut).is_err());
    }

    #[test]
    fn d4_another_key_is_named_not_guessed() {
        let (one, two) = (MasterKey::new(&[1; 32]), MasterKey::new(&[2; 32]));
        assert_ne!(one.fingerprint(), two.fingerprint());
        let sealed = one.seal(HERE, key(1), Column::Value, &"abc".into());
        assert_eq!(
            two.open(HERE, key(1), Column::Value, &sealed).unwrap_err(),
            SealFault::OtherKey {
                sealed: one.fingerprint(),
                held: two.fingerprint()
            }
        );
    }

    #[test]
    fn sealing_twice_shows_nothing_alike() {
        let master = MasterKey::new(&[7; 32]);
        let seal = || {
            master
                .seal(HERE, key(1), Column::Value, &"abc".into())
                .bytes
        };
        assert_ne!(seal(), seal());
    }

    #[test]
    fn p6_a_master_key_is_not_printed() {
        let shown = format!("{:?}", MasterKey::new(b"canary-canary-canary-canary-cana"));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
