//! What a person sees while a rotation goes on: on standard error, and on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use anstyle::AnsiColor;

use super::output::{instant, style};
use crate::connection::ConnectionName;
use crate::rotation::observe::{Moment, Observer};
use crate::rotation::plan::WaitFor;

/// Tells each step of a few connections, or counts many.
#[derive(Debug)]
pub struct Progress {
    /// More than a screen shows: only the count.
    counts: bool,
    shown: bool,
    total: usize,
    done: Mutex<usize>,
}

impl Progress {
    /// For so many connections.
    pub fn new(total: usize) -> Self {
        Self {
            counts: total > 8,
            shown: std::io::stderr().is_terminal(),
            total,
            done: Mutex::new(0),
        }
    }

    /// Says at the start what takes long, where no step is shown.
    pub fn begins(&self, what: &str, takes: &str) {
        if !self.shown {
            let _ = writeln!(anstream::stderr(), "{what}: takes about {takes}");
        }
    }

    /// One connection more has been dealt with.
    pub fn one_done(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        if self.shown && self.counts {
            let end = if *done == self.total { '\n' } else { '\r' };
            let _ = write!(anstream::stderr(), "{done} of {} done{end}", self.total);
        }
    }
}

impl Observer for Progress {
    fn observe(&self, connection: &ConnectionName, moment: &Moment<'_>) {
        if self.shown && !self.counts {
            tell(connection, moment);
        }
    }
}

/// One line on standard error.
pub fn tell(connection: &ConnectionName, moment: &Moment<'_>) {
    let bold = style(colour(moment));
    let name = format!("{:<12}", connection.as_str());
    let _ = writeln!(anstream::stderr(), "{bold}{name}{bold:#} {}", words(moment));
}

fn colour(moment: &Moment<'_>) -> AnsiColor {
    match moment {
        Moment::Failed { .. } | Moment::Orphaned { .. } | Moment::Abandoned { .. } => {
            AnsiColor::Yellow
        }
        Moment::Waiting { .. } | Moment::NotYet => AnsiColor::Blue,
        _ => AnsiColor::Green,
    }
}

fn words(moment: &Moment<'_>) -> String {
    match moment {
        Moment::Intended { attempt, .. } => {
            format!("intended: the name {attempt} is journalled, before any call")
        }
        Moment::Minted { key_id } => format!("minted: {key_id} is sealed and committed"),
        Moment::Proved { in_a_row, needed } => {
            format!("proved: a fresh token, {in_a_row} of {needed} in a row")
        }
        Moment::NotYet => "not everywhere known yet: counting anew".to_owned(),
        Moment::Promoted { key_id } => format!("promoted: {key_id} is current"),
        Moment::Delivered { destination } => format!("delivered: {destination} holds it"),
        Moment::Overlapping {
            revoke_at: Some(at),
        } => {
            format!("overlapping: the old secret works until {}", instant(*at))
        }
        Moment::Overlapping { revoke_at: None } => {
            "overlapping: the old secret works until the next rotation".to_owned()
        }
        Moment::Orphaned { key_id } => {
            format!("found by its name: {key_id}, whose value nobody has; it is removed")
        }
        Moment::NothingMade => "reliably absent: the lost call made nothing".to_owned(),
        Moment::Abandoned { key_id } => format!("abandoned: {key_id} will never be used"),
        Moment::Removing { key_id } => format!("removing {key_id}, by its Key ID"),
        Moment::Gone { key_id } => format!("gone: {key_id} is reliably absent"),
        Moment::Failed { failure, retry_at } => {
            let again = retry_at.map(|at| format!("; again at {}", instant(at)));
            format!("{}{}", failure.message, again.unwrap_or_default())
        }
        Moment::Waiting { until, what } => {
            format!("waiting until {} {}", instant(*until), purpose(*what))
        }
    }
}

fn purpose(what: WaitFor) -> &'static str {
    match what {
        WaitFor::Retry => "to try again",
        WaitFor::Absence => "to read once more whether it is absent",
        WaitFor::Spacing => "between two changes of one application",
        WaitFor::Overlap => "for the end of the overlap",
        WaitFor::Due => "for the next rotation",
        WaitFor::Watch => "to look for a name once more",
    }
}
