//! A secret becomes current: what is written with it, and when the next rotation is due.

use chrono::{DateTime, Utc};

use super::Pass;
use crate::journal::{Delivery, Journal, Retry, Role, Rotation, Secret, State, Trigger};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
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
        let (anchor, due_at) = self.next_due(journal, terms, &rotation, &new);
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
        let timetable = crate::rotation::timetable::Timetable::new(&self.name, &terms.policy);
        let anchor = journal.anchor;
        let at = timetable.due_at(anchor, self.now(), secret.starts_at, secret.expires_at);
        Change::Schedule {
            anchor,
            due_at: at.min(journal.due_at),
        }
    }

    fn next_due(
        &self,
        journal: &Journal,
        terms: &Terms,
        rotation: &Rotation,
        new: &Secret,
    ) -> (chrono::NaiveDate, DateTime<Utc>) {
        let timetable = crate::rotation::timetable::Timetable::new(&self.name, &terms.policy);
        let anchor = match rotation.trigger {
            Trigger::Manual => timetable.date(rotation.started_at),
            Trigger::Due(at) => timetable.anchor_of(journal.anchor, at),
        };
        (
            anchor,
            timetable.due_at(anchor, self.now(), new.starts_at, new.expires_at),
        )
    }
}

/// Abandoned rotations, once a newer secret is current.
pub(super) fn nothing_follows(journal: &Journal) -> impl Iterator<Item = Change> {
    let abandoned = journal
        .rotations
        .iter()
        .filter(|it| it.state == State::Abandoned);
    abandoned.map(|it| Change::Rotation(abandoned::over(it)))
}
