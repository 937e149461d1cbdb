//! Handing the current secret to the destinations, each on its own.

use secrecy::SecretString;

use super::Pass;
use crate::connection::DestinationSpec;
use crate::destination::{self, DestinationFault, Parcel};
use crate::journal::{Delivery, Journal, Retry, Secret};
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Terms, is_urgent};
use crate::rotation::trouble::Halt;
use crate::store::Change;

impl Pass<'_> {
    /// Hands the current secret to one destination, and writes down that it has it.
    pub(super) async fn deliver(
        &self,
        journal: &Journal,
        terms: &Terms,
        name: &str,
    ) -> Result<(), Halt> {
        let spec = journal
            .declared
            .destinations
            .iter()
            .find(|spec| spec.name() == name);
        let (Some(spec), Some(current)) = (spec, journal.current()) else {
            return Ok(());
        };
        let known = journal.delivery(name);
        let value = self.stored(journal, current.key_id).await?;
        let failed_before = known.is_some_and(|delivery| delivery.retry.failures > 0);
        if failed_before || !self.has_proved(current.key_id) {
            // Time has passed since it was proved: what no longer signs in is not handed out.
            self.prove_once(journal, terms, &value).await?;
        }
        let destination = destination::open(spec)?;
        destination
            .deliver(&parcel(journal, current, value))
            .await?;
        let delivery = Delivery {
            destination: name.to_owned(),
            wants: current.generation,
            holds: current.generation,
            taken_at: Some(self.now()),
            retry: known.map(after_delivery).unwrap_or_default(),
        };
        let mut event = self.event("delivered");
        event.key_id = Some(current.key_id);
        event.rotation_id = journal
            .rotations
            .iter()
            .rfind(|r| r.state.new_key() == Some(current.key_id))
            .map(|r| r.id);
        self.commit(vec![Change::Delivery(delivery), Change::Record(event)])
            .await?;
        self.tell(&Moment::Delivered { destination: name });
        Ok(())
    }

    /// Whether every required destination can be written, found out before anything is changed
    /// (C9). Near the end of the current secret those that can are not kept waiting (P8).
    pub(super) async fn check_destinations(&self, journal: &Journal) -> Result<(), Halt> {
        if is_urgent(journal, self.now()) {
            return Ok(());
        }
        for spec in journal
            .declared
            .destinations
            .iter()
            .filter(|d| d.required())
        {
            destination::open(spec)?.check().await?;
        }
        Ok(())
    }

    /// Destinations that took the current secret, can be read, and do not hold it any more (H6).
    pub(super) async fn overwritten<'j>(
        &self,
        journal: &'j Journal,
    ) -> Result<Vec<(&'j DestinationSpec, &'j Delivery)>, Halt> {
        let Some(current) = journal.current() else {
            return Ok(Vec::new());
        };
        let value = self.stored(journal, current.key_id).await?;
        let parcel = parcel(journal, current, value);
        let mut lost = Vec::new();
        for spec in &journal.declared.destinations {
            let delivery = journal.delivery(spec.name());
            let Some(delivery) = delivery.filter(|d| d.holds >= current.generation) else {
                continue;
            };
            match holds(spec, &parcel).await {
                Ok(Some(false)) => lost.push((spec, delivery)),
                Err(fault) if spec.required() => return Err(fault.into()),
                _ => {}
            }
        }
        Ok(lost)
    }
}

async fn holds(spec: &DestinationSpec, parcel: &Parcel) -> Result<Option<bool>, DestinationFault> {
    destination::open(spec)?.holds(parcel).await
}

/// The code of a destination that something else writes to.
pub(super) const OVERWRITTEN: &str = "destination-overwritten";

/// What is left of a ladder once the secret is taken: where something else keeps writing there,
/// the next time waits longer (H6).
fn after_delivery(delivery: &Delivery) -> Retry {
    match &delivery.retry.last {
        Some(failure) if failure.code == OVERWRITTEN => Retry {
            not_before: None,
            ..delivery.retry.clone()
        },
        _ => Retry::default(),
    }
}

fn parcel(journal: &Journal, secret: &Secret, value: SecretString) -> Parcel {
    Parcel {
        secret: value,
        connection: journal.name().clone(),
        tenant_id: journal.declared.tenant_id,
        client_id: journal.declared.client_id,
        key_id: secret.key_id,
        expires_at: secret.expires_at,
    }
}
