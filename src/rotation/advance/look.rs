//! Names of unknown outcome: looked for until it is known what became of them, and for seven days
//! after that (P4).

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Pass;
use crate::journal::{AttemptName, Journal, Outcome, Retry, Rotation, State, Watch};
use crate::rotation::observe::Moment;
use crate::rotation::plan::{LATEST_LOOK, Terms, is_absent, read_absent};
use crate::rotation::trouble::Halt;
use crate::store::Change;

/// After an answer was lost, its name is looked for again this soon, although an early look found
/// nothing.
const FIRST_LATE_LOOK: Duration = Duration::from_secs(10 * 60);

/// A name of unknown outcome is looked for this long (P4),
const WATCH_FOR: Duration = Duration::from_secs(7 * 86_400);

/// and this often: the older it gets, the less likely it is to show up.
const WATCH_STEPS: [(Duration, Duration); 3] = [
    (Duration::from_secs(3_600), Duration::from_secs(600)),
    (Duration::from_secs(86_400), Duration::from_secs(4 * 3_600)),
    (WATCH_FOR, LATEST_LOOK),
];

impl Pass<'_> {
    /// Reads the application for the name of an attempt whose outcome is unknown.
    pub(super) async fn look(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let State::Intended {
            attempt,
            outcome: Outcome::Unknown { absence },
        } = rotation.state.effective().clone()
        else {
            return Ok(());
        };
        if journal.object_id.is_none() {
            // It was never found, so nothing can have been added to it.
            rotation.state = State::Intended {
                attempt,
                outcome: Outcome::NotMade,
            };
            return Ok(self.commit(vec![Change::Rotation(rotation)]).await?);
        }
        let token = self.sign_in(journal, terms).await?;
        let application = self.read(journal, &token).await?.value;
        // `read` may have made a clean-up of it already.
        let journal = &self.journal().await?;
        let now = self.now();
        let mut changes = Vec::new();
        let outcome = if let Some(password) = self.find(journal, &application, attempt).await? {
            changes.extend(self.orphaned(journal, password, attempt));
            Outcome::Orphaned {
                key_id: password.key_id,
            }
        } else {
            let absence = read_absent(absence, terms.graph.absence_window.0, now);
            if is_absent(&absence, terms.graph.absence_window.0) {
                self.tell(&Moment::NothingMade);
                Outcome::NotMade
            } else {
                Outcome::Unknown { absence }
            }
        };
        let watched = journal.watches.iter().any(|it| it.attempt == attempt);
        if outcome == Outcome::NotMade && !watched {
            // Replicas can lag for longer than any window: the name is looked for further (P4).
            changes.push(self.watch_from_now(attempt));
        }
        rotation.state = State::Intended { attempt, outcome };
        changes.push(Change::Rotation(rotation));
        Ok(self.commit(changes).await?)
    }

    pub(super) fn watch_from_now(&self, attempt: AttemptName) -> Change {
        let now = self.now();
        Change::Watch(Watch::new(attempt, now, now + FIRST_LATE_LOOK))
    }

    /// Reads the application for a name that may still show up.
    pub(super) async fn watch(
        &self,
        journal: &Journal,
        terms: &Terms,
        attempt: AttemptName,
    ) -> Result<(), Halt> {
        let Some(watch) = journal
            .watches
            .iter()
            .find(|watch| watch.attempt == attempt)
        else {
            return Ok(());
        };
        let token = self.sign_in(journal, terms).await?;
        let application = self.read(journal, &token).await?.value;
        if self.find(journal, &application, attempt).await?.is_some() {
            return Ok(()); // `read` has made it a clean-up
        }
        let now = self.now();
        let change = if now >= watch.since + WATCH_FOR {
            Change::WatchDone(attempt)
        } else {
            Change::Watch(look_later(watch, now))
        };
        Ok(self.commit(vec![change]).await?)
    }
}

/// When a watched name is looked for next.
pub(super) fn look_later(watch: &Watch, now: DateTime<Utc>) -> Watch {
    // A name is not younger than now, whatever clock it was given by.
    let since = watch.since.min(now);
    let age = (now - since).to_std().unwrap_or_default();
    let step = WATCH_STEPS
        .iter()
        .find(|(until, _)| age < *until)
        .unwrap_or(&WATCH_STEPS[2]);
    Watch {
        since,
        next_look: now + step.1,
        retry: Retry::default(),
        ..*watch
    }
}
