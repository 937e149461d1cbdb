//! Whether the destinations hold the current secret, where they can be read.

use super::exit::Complaint;
use crate::destination::{self, Parcel};
use crate::journal::Journal;
use crate::rotation::advance::Engine;

/// A destination that was looked at.
#[derive(Debug)]
pub struct Holding {
    /// Its name.
    pub destination: String,
    /// Null: it can't be read, or is not such as can be.
    pub holds: Option<bool>,
    /// Why it can't be read.
    pub problem: Option<String>,
}

/// Looks at every destination; nothing is changed there.
pub async fn holdings(engine: &Engine, journal: &Journal) -> Result<Vec<Holding>, Complaint> {
    let Some(current) = journal.current() else {
        return Ok(Vec::new());
    };
    let Some(secret) = engine.value(journal, current.key_id).await? else {
        return Ok(Vec::new());
    };
    let parcel = Parcel {
        secret,
        connection: journal.name().clone(),
        tenant_id: journal.declared.tenant_id,
        client_id: journal.declared.client_id,
        key_id: current.key_id,
        expires_at: current.expires_at,
    };
    let mut found = Vec::new();
    for spec in &journal.declared.destinations {
        let held = match destination::open(spec) {
            Ok(destination) => destination.holds(&parcel).await,
            Err(fault) => Err(fault),
        };
        found.push(Holding {
            destination: spec.name().to_owned(),
            holds: held.as_ref().ok().copied().flatten(),
            problem: held
                .err()
                .map(|fault| format!("{}; {}", fault.message, fault.remedy)),
        });
    }
    Ok(found)
}
