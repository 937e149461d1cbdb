//! A connection as it is shown, for commands: what is lacking becomes a complaint.

use chrono::{DateTime, Utc};

use super::exit::{Complaint, Exit};
use super::output::instant;
use crate::destination;
use crate::journal::{Journal, Retry, State};
use crate::rotation::plan::Terms;
use crate::rotation::standing::{is_blocked, open_retries};
use crate::settings::{PolicyFaults, Settings};

pub use crate::view::{ConnectionView, DestinationView, FailureView};

/// What a connection is planned by.
pub fn terms(settings: &Settings, journal: &Journal) -> Result<Terms, Complaint> {
    crate::view::terms(settings, journal).map_err(|faults| lacking(journal, &faults))
}

/// How a connection looks at `now`.
pub fn view(
    settings: &Settings,
    journal: &Journal,
    now: DateTime<Utc>,
) -> Result<ConnectionView, Complaint> {
    crate::view::view(settings, journal, now).map_err(|faults| lacking(journal, &faults))
}

fn lacking(journal: &Journal, faults: &PolicyFaults) -> Complaint {
    Complaint::usage(
        "settings",
        format!("connection {}: {faults}", journal.name()),
    )
}

/// The journal without a failure that is over: a rotation that was blocked by destinations which by
/// now can be written. With it what is over, in words.
pub async fn as_it_is(mut journal: Journal) -> (Journal, Option<String>) {
    let Some(id) = journal.unpromoted().map(|rotation| rotation.id) else {
        return (journal, None);
    };
    let name = journal.name().clone();
    let Some(rotation) = journal.rotations.iter_mut().find(|it| it.id == id) else {
        return (journal, None);
    };
    let failure = match &rotation.retry.last {
        Some(failure) if destination::is_code(&failure.code) => failure,
        _ => return (journal, None),
    };
    for spec in &journal.declared.destinations {
        if spec.required() && !destination::obstacles(spec).await.is_empty() {
            return (journal, None);
        }
    }
    let over = format!(
        "{name}: {}: it was so at {}, and is mended; `keywheel rotate {name}` goes on with its \
         rotation",
        failure.message,
        instant(failure.at)
    );
    rotation.retry = Retry::default();
    if let State::Blocked { interrupted, .. } = &rotation.state {
        rotation.state = interrupted.as_ref().clone();
    }
    (journal, Some(over))
}

/// How a run that worked on this connection ended for it.
pub fn exit(journal: &Journal) -> Exit {
    if is_blocked(journal) {
        Exit::PersonMustAct
    } else if open_retries(journal).next().is_some() {
        Exit::RetryScheduled
    } else {
        Exit::Done
    }
}
