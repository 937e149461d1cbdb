//! What follows a rotation that was abandoned (pure): it backs off, and another one is intended.
//!
//! An abandoned rotation that another is to follow stays in the journal, beside that other one,
//! until one is promoted. Its `retry` is the ladder: how many were abandoned in a row, when the
//! next one begins, and why.

use chrono::{DateTime, Utc};

use super::plan::is_urgent;
use crate::journal::{Failure, Journal, Retry, Rotation, State, Trigger};

/// Why a rotation is given up whose new secret was last refused like this.
pub fn reason(last: Option<&Failure>, now: DateTime<Utc>) -> Failure {
    let refusal = last.filter(|failure| !failure.permanent);
    Failure {
        at: now,
        code: refusal.map_or_else(|| "abandoned".into(), |failure| failure.code.clone()),
        message: match refusal {
            Some(failure) => format!(
                "the new secret did not sign in and is given up: {}",
                failure.message
            ),
            None => "the new secret was given up".into(),
        },
        remedy: Some("nothing: another one is made; the current secret was not touched".into()),
        permanent: false,
    }
}

/// A rotation whose new secret is being removed because of `reason`.
pub fn under_way(reason: Failure) -> Retry {
    Retry {
        failures: 1,
        not_before: None,
        last: Some(reason),
    }
}

/// `rotation` once its new secret is gone, and with it earlier ones that it takes the place of.
///
/// None follows one that is not the latest any more, nor one whose need is over.
pub fn ended(
    journal: &Journal,
    rotation: &Rotation,
    is_latest: bool,
    now: DateTime<Utc>,
) -> Vec<Rotation> {
    let earlier: Vec<&Rotation> = journal
        .rotations
        .iter()
        .filter(|it| it.id != rotation.id && it.state == State::Abandoned)
        .collect();
    let needed = match rotation.trigger {
        Trigger::Manual => true,
        Trigger::Due(at) => at <= now,
    };
    let retry = if is_latest && needed {
        let before = Retry {
            failures: earlier
                .iter()
                .map(|it| it.retry.failures)
                .max()
                .unwrap_or(0),
            ..Retry::default()
        };
        let reason = Failure {
            at: now,
            ..rotation
                .retry
                .last
                .clone()
                .unwrap_or_else(|| reason(None, now))
        };
        before.after(reason, None, is_urgent(journal, now))
    } else {
        Retry::default()
    };
    let mut changed = vec![Rotation {
        state: State::Abandoned,
        retry,
        ..rotation.clone()
    }];
    if is_latest {
        changed.extend(earlier.into_iter().map(over));
    }
    changed
}

/// None follows it any more: what it was for has been done.
pub fn over(rotation: &Rotation) -> Rotation {
    Rotation {
        retry: Retry::default(),
        ..rotation.clone()
    }
}
