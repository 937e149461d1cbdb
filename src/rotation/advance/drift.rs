//! D5: Entra no longer accepts what the store calls current, and another stored secret still works.

use chrono::{DateTime, Utc};

use super::Pass;
use crate::connection::ConnectionName;
use crate::entra::{Class, Fault};
use crate::journal::{Event, Failure, Journal, Secret};
use crate::rotation::trouble::Halt;
use crate::store::Change;

/// The current secret is refused for good.
const DRIFT: &str = "drift-current-refused";

impl Pass<'_> {
    /// `works` was signed in with, after `refusal` of a likelier one: whether that was the current
    /// secret is written down, once, and once when it works again.
    pub(super) async fn note_drift(
        &self,
        journal: &Journal,
        works: &Secret,
        refusal: Option<Fault>,
    ) -> Result<(), Halt> {
        let Some(current) = journal.current() else {
            return Ok(());
        };
        let (refused, event) = match refusal {
            None if works.key_id == current.key_id => (None, self.event("drift-over")),
            Some(fault) if fault.class() == Class::Permanent => {
                let failure = drifted(&self.name, current, works, &fault, self.now());
                let result = fault.code();
                let client_request_id = fault.client_request_id;
                let event = Event {
                    result,
                    client_request_id,
                    ..self.event(DRIFT)
                };
                (Some(failure), event)
            }
            _ => return Ok(()),
        };
        // It is said once.
        if refused.is_some() == current.refused.is_some() {
            return Ok(());
        }
        if let Some(failure) = &refused {
            tracing::warn!(connection = %self.name, code = DRIFT, "{}", failure.message);
        }
        let event = Event {
            key_id: Some(current.key_id),
            ..event
        };
        let secret = Secret {
            refused,
            ..current.clone()
        };
        let changes = vec![Change::Secret(secret), Change::Record(event)];
        Ok(self.commit(changes).await?)
    }
}

/// What is shown of a connection until the current secret works, or is replaced.
fn drifted(
    name: &ConnectionName,
    current: &Secret,
    works: &Secret,
    fault: &Fault,
    now: DateTime<Utc>,
) -> Failure {
    Failure {
        at: now,
        code: DRIFT.into(),
        message: format!(
            "the current secret, Key ID {}, no longer signs in ({fault}); Key ID {} still does",
            current.key_id, works.key_id
        ),
        remedy: Some(format!(
            "somebody may have deleted it: make a new one with `keywheel rotate {name}`, or the \
             previous one current again with `keywheel rollback {name}`"
        )),
        permanent: true,
    }
}
