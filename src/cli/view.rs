//! A connection as it is shown, for commands: what is lacking becomes a complaint.

use chrono::{DateTime, Utc};

use super::exit::{Complaint, Exit};
use crate::journal::Journal;
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
