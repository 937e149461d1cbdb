//! Whether a secret that is to be relied on signs in, as far as that can be told now.

use std::time::Duration;

use super::super::Pass;
use super::super::revoke::is_young;
use crate::entra::{Class, FaultKind};
use crate::journal::{Journal, Secret};
use crate::rotation::plan::YOUNG;
use crate::rotation::trouble::{AdvanceFault, Halt, Trouble};

/// What came of trying it.
pub(super) enum Proof {
    /// It signs in.
    Works,
    /// It does not, and will not.
    Refused(Trouble),
    /// It did not, and may at another try.
    Unsure(Trouble),
}

impl Pass<'_> {
    /// Tries a stored secret. Replicas may not know one that is young, or was in use a moment ago:
    /// it is proved as a new one, for as long as `patience` lasts (A2).
    pub(super) async fn proof(
        &self,
        journal: &Journal,
        secret: &Secret,
        patience: Duration,
    ) -> Result<Proof, AdvanceFault> {
        let terms = self.engine.terms(journal)?;
        let proved = if self.is_recent(journal, secret) {
            let now = self.now();
            let until = now + patience.min(terms.verification.timeout.0);
            self.prove_until(journal, &terms, secret.key_id, now, until)
                .await
        } else {
            match self.stored(journal, secret.key_id).await {
                Ok(value) => self.prove_once(journal, &terms, &value).await,
                Err(halt) => Err(halt),
            }
        };
        match proved {
            Ok(()) => Ok(Proof::Works),
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) if self.is_final(journal, secret, &trouble) => {
                Ok(Proof::Refused(*trouble))
            }
            Err(Halt::Trouble(trouble)) => Ok(Proof::Unsure(*trouble)),
        }
    }

    /// What is said where it can't be told.
    pub(super) fn not_proved(&self, secret: &Secret, trouble: &Trouble) -> AdvanceFault {
        let refused = matches!(trouble, Trouble::Entra(fault)
            if fault.class() == Class::Propagation);
        let why = if refused {
            "is not everywhere known yet"
        } else {
            "could not be tried"
        };
        AdvanceFault::NotYet {
            code: "not-proved-yet",
            message: format!("Key ID {} of {} {why}: {trouble}", secret.key_id, self.name),
            remedy: "nothing was changed; try again in a minute",
        }
    }

    fn is_recent(&self, journal: &Journal, secret: &Secret) -> bool {
        let now = self.now();
        let mut rotations = journal.rotations.iter();
        let replaced = rotations.any(|rotation| {
            rotation.state.old_key() == Some(secret.key_id) && now < rotation.started_at + YOUNG
        });
        replaced || is_young(secret, now)
    }

    /// Whether a refusal is what it says: of an established secret, or of one that has expired.
    fn is_final(&self, journal: &Journal, secret: &Secret, trouble: &Trouble) -> bool {
        let Trouble::Entra(fault) = trouble else {
            return false;
        };
        match fault.kind {
            FaultKind::SecretExpired if secret.expires_at.is_some_and(|at| at <= self.now()) => {
                true
            }
            _ => match fault.class() {
                Class::Permanent => true,
                Class::Propagation => !self.is_recent(journal, secret),
                _ => false,
            },
        }
    }
}
