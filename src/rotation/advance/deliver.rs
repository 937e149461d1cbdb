//! Handing the current secret to the destinations, each on its own.

use secrecy::SecretString;

use super::Pass;
use crate::destination::{self, Parcel};
use crate::journal::{Delivery, Journal, Retry, Secret};
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
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
        let known = journal
            .deliveries
            .iter()
            .find(|delivery| delivery.destination == name);
        let value = self.stored(journal, current.key_id).await?;
        if known.is_some_and(|delivery| delivery.retry.failures > 0) {
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
            retry: Retry::default(),
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

    /// Whether every destination can be written, found out before anything is changed (C9).
    pub(super) async fn check_destinations(&self, journal: &Journal) -> Result<(), Halt> {
        for spec in &journal.declared.destinations {
            destination::open(spec)?.check().await?;
        }
        Ok(())
    }

    /// Destinations that can be read and do not hold the current secret any more (H6).
    pub(super) async fn overwritten(&self, journal: &Journal) -> Result<Vec<String>, Halt> {
        let Some(current) = journal.current() else {
            return Ok(Vec::new());
        };
        let value = self.stored(journal, current.key_id).await?;
        let mut lost = Vec::new();
        for spec in &journal.declared.destinations {
            let destination = destination::open(spec)?;
            let parcel = parcel(journal, current, value.clone());
            if destination.holds(&parcel).await? == Some(false) {
                lost.push(spec.name().to_owned());
            }
        }
        Ok(lost)
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
