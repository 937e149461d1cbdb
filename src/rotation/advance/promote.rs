//! A secret becomes current: what is written with it, and when the next rotation is due.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::Pass;
use crate::connection::ConnectionName;
use crate::journal::{Delivery, Journal, Retry, Role, Rotation, Secret, State, Trigger};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
use crate::rotation::timetable::Timetable;
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

impl Pass<'_> {
    /// Makes the new secret current: one transaction, in which the next due time is set too.
    pub(super) async fn promote(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let pending = rotation
            .state
            .new_key()
            .and_then(|key_id| journal.secret(key_id));
        let (Some(pending), Some(current)) = (pending, journal.current()) else {
            return Err(Trouble::rule(
                "no-current-secret",
                "there is no current secret that the new one could follow",
                "give the secret in use with `keywheel connection edit NAME --secret-file FILE`",
            )
            .into());
        };
        let new = Secret {
            role: Role::Current,
            generation: current.generation + 1,
            ..pending.clone()
        };
        let old = Secret {
            role: Role::Previous,
            ..current.clone()
        };
        let now = self.true_time(journal, terms, new.key_id).await?;
        let (anchor, due_at) = next_due(&self.name, journal, terms, &rotation, &new, now);
        rotation.state = State::Promoted {
            new: new.key_id,
            old: old.key_id,
        };
        rotation.retry = Retry::default();
        let mut event = self.event("promoted");
        event.rotation_id = Some(rotation.id);
        event.key_id = Some(new.key_id);
        let key_id = new.key_id;
        let mut changes = self.want_everywhere(journal, new.generation);
        changes.extend(nothing_follows(journal));
        changes.extend([
            Change::Secret(old),
            Change::Secret(new),
            Change::Rotation(rotation),
            Change::Schedule { anchor, due_at },
            Change::Record(event),
        ]);
        self.commit(changes).await?;
        self.tell(&Moment::Promoted { key_id });
        Ok(())
    }

    /// Every destination is to have this generation, its backoff begun anew.
    pub(super) fn want_everywhere(&self, journal: &Journal, generation: u32) -> Vec<Change> {
        let wanted = journal.declared.destinations.iter().map(|destination| {
            let known = journal.delivery(destination.name());
            Change::Delivery(Delivery {
                destination: destination.name().to_owned(),
                wants: generation,
                holds: known.map_or(0, |delivery| delivery.holds),
                taken_at: known.and_then(|delivery| delivery.taken_at),
                retry: Retry::default(),
            })
        });
        wanted.collect()
    }

    /// The next due time where an older or a foreign-made secret becomes current: what was due
    /// stays due, and its own end may bring that forward (P8).
    pub(super) fn due_with(&self, journal: &Journal, terms: &Terms, secret: &Secret) -> Change {
        let timetable = Timetable::new(&self.name, &terms.policy);
        let anchor = journal.anchor;
        let at = timetable.due_at(anchor, self.now(), secret.starts_at, secret.expires_at);
        Change::Schedule {
            anchor,
            due_at: at.min(journal.due_at),
        }
    }
}

/// The next due time after `rotation`, and the date that it counts from.
fn next_due(
    name: &ConnectionName,
    journal: &Journal,
    terms: &Terms,
    rotation: &Rotation,
    new: &Secret,
    now: DateTime<Utc>,
) -> (NaiveDate, DateTime<Utc>) {
    let timetable = Timetable::new(name, &terms.policy);
    let anchor = match rotation.trigger {
        Trigger::Manual => {
            let interval = TimeDelta::days(terms.policy.interval_days.into());
            timetable.date(asked_at(rotation, new, now, interval))
        }
        Trigger::Due(at) => timetable.anchor_of(journal.anchor, at),
    };
    let due_at = timetable.due_at(anchor, now, new.starts_at, new.expires_at);
    (anchor, due_at)
}

/// When a rotation was asked for by hand, as far as that can be believed: a clock that was fast, or
/// slow by more than an interval, gives way to the server's date of the secret (F7).
fn asked_at(
    rotation: &Rotation,
    new: &Secret,
    now: DateTime<Utc>,
    interval: TimeDelta,
) -> DateTime<Utc> {
    let believed = |at: &DateTime<Utc>| *at <= now && now - *at < interval;
    let dates = [Some(rotation.started_at), new.starts_at];
    dates.into_iter().flatten().find(believed).unwrap_or(now)
}

/// Abandoned rotations, once a newer secret is current.
pub(super) fn nothing_follows(journal: &Journal) -> impl Iterator<Item = Change> {
    let abandoned = journal
        .rotations
        .iter()
        .filter(|it| it.state == State::Abandoned);
    abandoned.map(|it| Change::Rotation(abandoned::over(it)))
}
