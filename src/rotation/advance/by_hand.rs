//! What a person asks for beside a rotation: revoke, deliver, roll back.

mod proof;
mod revoke;
mod roll_back;

use std::time::Duration;

use super::{Engine, Order, Stop};
use crate::connection::ConnectionName;
use crate::journal::Delivery;
use crate::rotation::trouble::AdvanceFault;
use crate::store::Change;

pub use revoke::Which;

fn refused(code: &'static str, message: impl Into<String>) -> AdvanceFault {
    AdvanceFault::Refused {
        code,
        message: message.into(),
        person: false,
    }
}

impl Engine {
    /// Hands the current secret out again, to one destination or to all.
    pub async fn deliver(
        &self,
        name: &ConnectionName,
        to: Option<&str>,
        patience: Duration,
    ) -> Result<Stop, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Stop::Busy);
        };
        let journal = pass.journal().await?;
        let Some(current) = journal.current() else {
            return Err(refused(
                "no-current-secret",
                format!("{name} has no current secret"),
            ));
        };
        let wanted: Vec<Change> = pass
            .want_everywhere(&journal, current.generation)
            .into_iter()
            .filter_map(|change| match change {
                Change::Delivery(delivery) if to.is_none_or(|to| to == delivery.destination) => {
                    Some(Change::Delivery(Delivery {
                        holds: 0,
                        ..delivery
                    }))
                }
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Err(match to {
                Some(to) => refused(
                    "no-such-destination",
                    format!("{name} has no destination {to}"),
                ),
                None => refused("no-destination", format!("{name} has no destination")),
            });
        }
        let event = pass.event("deliver-asked");
        pass.commit([wanted, vec![Change::Record(event)]].concat())
            .await?;
        pass.run(Order::resume(patience)).await
    }
}
