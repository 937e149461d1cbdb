//! Where Entra and the store disagree (pure).

use chrono::{DateTime, Utc};

use crate::entra::{KeyId, Password};
use crate::journal::{Journal, Reconciliation, Role, Secret};

/// One disagreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The current secret is not on the application.
    CurrentGone {
        /// Which.
        key_id: KeyId,
    },
    /// A secret of ours ends at another time than it did.
    EndChanged {
        /// Which.
        key_id: KeyId,
        /// When it ends now; `None`: never.
        ends_at: Option<DateTime<Utc>>,
    },
    /// Somebody else made a secret since the last comparison.
    ForeignAppeared {
        /// Which.
        key_id: KeyId,
    },
}

impl Drift {
    /// The word that `history` has for it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::CurrentGone { .. } => "drift-current-gone",
            Self::EndChanged { .. } => "drift-end-changed",
            Self::ForeignAppeared { .. } => "drift-foreign-appeared",
        }
    }

    /// The secret that it is about.
    pub fn key_id(&self) -> KeyId {
        match self {
            Self::CurrentGone { key_id }
            | Self::EndChanged { key_id, .. }
            | Self::ForeignAppeared { key_id } => *key_id,
        }
    }
}

/// What differs between the journal and the secrets that are listed. `before` is what the last
/// comparison found; the first one takes every foreign secret for known.
pub fn drift(
    journal: &Journal,
    listed: &[Password],
    before: Option<&Reconciliation>,
) -> Vec<Drift> {
    let mut drift = Vec::new();
    let is_listed = |secret: &Secret| listed.iter().any(|it| it.key_id == secret.key_id);
    if let Some(current) = journal.current()
        && !is_listed(current)
    {
        drift.push(Drift::CurrentGone {
            key_id: current.key_id,
        });
    }
    for password in listed {
        let ours = journal.secret(password.key_id);
        if let Some(secret) = ours
            && matches!(secret.role, Role::Current | Role::Previous)
            && secret.expires_at != password.ends_at
        {
            drift.push(Drift::EndChanged {
                key_id: secret.key_id,
                ends_at: password.ends_at,
            });
        }
        let seen = before.is_none_or(|before| before.foreign.contains(&password.key_id));
        if ours.is_none() && !seen {
            drift.push(Drift::ForeignAppeared {
                key_id: password.key_id,
            });
        }
    }
    drift
}

/// What is to be remembered of a comparison.
pub fn reconciliation(journal: &Journal, listed: &[Password]) -> Reconciliation {
    let foreign = listed.iter().map(|password| password.key_id);
    Reconciliation {
        foreign: foreign
            .filter(|key_id| journal.secret(*key_id).is_none())
            .collect(),
    }
}
