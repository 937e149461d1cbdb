//! Whether this host's clock can be believed (F11).

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Pass;
use crate::entra::KeyId;
use crate::journal::Journal;
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{Halt, Trouble};

/// A clock that is further off than this is wrong: one that is synchronised is off by less than a
/// second, an answer is on its way for half a minute at most, and Kerberos draws the same line.
const PLAUSIBLE: Duration = Duration::from_secs(5 * 60);

/// What a server has said of the time, and when that was by this clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    date: DateTime<Utc>,
    heard_at: DateTime<Utc>,
}

impl Pass<'_> {
    /// Remembers the date of an answer that has just arrived.
    pub(super) fn hear(&self, date: Option<DateTime<Utc>>) {
        if let Some(date) = date {
            let heard_at = self.now();
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Told { date, heard_at });
        }
    }

    /// The time that overlaps and intervals are counted from: this clock's where the server agrees
    /// with it, else the server's. Where this pass has heard no server lately, one is asked, by a
    /// proof of `key_id`.
    pub(super) async fn true_time(
        &self,
        journal: &Journal,
        terms: &Terms,
        key_id: KeyId,
    ) -> Result<DateTime<Utc>, Halt> {
        if self.told_time().is_none() {
            let value = self.stored(journal, key_id).await?;
            self.prove_once(journal, terms, &value).await?;
        }
        let now = self.now();
        // Without a date there is nothing that speaks against the clock.
        let told = self.told_time().unwrap_or(now);
        Ok(if is_plausible(now, told) { now } else { told })
    }

    /// The server's time now; `None` too where this clock may have been set since it was heard.
    fn told_time(&self) -> Option<DateTime<Utc>> {
        let told = (*self.told.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = (self.now() - told.heard_at).to_std().ok()?;
        (since <= PLAUSIBLE).then(|| told.date + since)
    }

    /// Refuses a change of the application while the clock is at odds with the server's, of which
    /// `answered_at` is the latest word. The ends of secrets and overlaps are told by it.
    pub(super) fn require_plausible_clock(
        &self,
        answered_at: Option<DateTime<Utc>>,
    ) -> Result<(), Halt> {
        let now = self.now();
        match answered_at {
            Some(date) if !is_plausible(now, date) => Err(implausible(now, date).into()),
            // Without a date there is nothing that speaks against the clock.
            _ => Ok(()),
        }
    }
}

fn is_plausible(now: DateTime<Utc>, date: DateTime<Utc>) -> bool {
    (now - date)
        .abs()
        .to_std()
        .is_ok_and(|off| off <= PLAUSIBLE)
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
