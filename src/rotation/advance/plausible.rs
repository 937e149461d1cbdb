//! Whether this host's clock can be believed (F11).

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::Pass;
use crate::rotation::trouble::{Halt, Trouble};

/// A clock that is further off than this is wrong: one that is synchronised is off by less than a
/// second, an answer is on its way for half a minute at most, and Kerberos draws the same line.
const PLAUSIBLE: Duration = Duration::from_secs(5 * 60);

impl Pass<'_> {
    /// Refuses a change of the application while the clock is at odds with the server's, of which
    /// `answered_at` is the latest word. The ends of secrets and overlaps are told by it.
    pub(super) fn require_plausible_clock(
        &self,
        answered_at: Option<DateTime<Utc>>,
    ) -> Result<(), Halt> {
        let now = self.now();
        match answered_at {
            Some(date)
                if (now - date).abs() > TimeDelta::from_std(PLAUSIBLE).unwrap_or_default() =>
            {
                Err(implausible(now, date).into())
            }
            // Without a date there is nothing that speaks against the clock.
            _ => Ok(()),
        }
    }
}

fn implausible(now: DateTime<Utc>, date: DateTime<Utc>) -> Trouble {
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Trouble::passing_rule(
        "clock-implausible",
        format!(
            "this host's clock says {}, and the server's {}: no secret is added or revoked by it",
            shown(now),
            shown(date)
        ),
        "set the clock: check NTP, for example with `chronyc tracking` or `timedatectl`",
    )
}
