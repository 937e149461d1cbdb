//! What a person changes about a connection: edit, pause, resume, remove, restore. Nothing in here
//! changes anything in Entra.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::order::{cleared_deliveries, cleared_removals, cleared_watches};
use super::{Engine, Pass};
use crate::connection::{ConnectionName, Declared, DestinationSpec};
use crate::destination;
use crate::entra::{ClientId, KeyId, TenantId};
use crate::journal::{AttemptName, Delivery, Event, Journal, Outcome, Retry, Role, State};
use crate::rotation::adopt::AdoptFault;
use crate::rotation::plan::Terms;
use crate::rotation::timetable::Timetable;
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::settings::CLOUDS;
use crate::store::{Change, StoreFault};

/// How long the sealed values of a removed connection are kept.
pub const KEPT_AFTER_REMOVAL: Duration = Duration::from_secs(30 * 86_400);

/// What an edit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// When the next rotation is due now.
    pub due_at: DateTime<Utc>,
    /// Destinations that do not have the current secret, and get it with the next rotation.
    pub later: Vec<String>,
    /// Destinations that get it at once: a secret that they may need is about to go.
    pub at_once: Vec<String>,
}

/// What a removal leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Secrets of ours that stay on the application.
    pub stay: Vec<KeyId>,
    /// Those of them that were to go, and are not known to be gone.
    pub unremoved: Vec<KeyId>,
    /// Those of them that were made and never used.
    pub unused: Vec<KeyId>,
    /// Display names that nobody looks for any more: each may be that of a secret whose value
    /// nobody holds.
    pub unknown: Vec<AttemptName>,
    /// Until when it can be restored.
    pub until: DateTime<Utc>,
}

/// Each takes the application's lock; `None`: another process is at work on it.
impl Engine {
    /// Replaces what was declared; `None` also where that is no longer `before`.
    ///
    /// The retry ladder starts anew. Where the schedule is another one, the next due time is
    /// worked out again, from the same date.
    pub async fn edit(
        &self,
        before: &Declared,
        declared: Declared,
    ) -> Result<Option<Edited>, AdoptFault> {
        let name = &before.name;
        let Some(mut pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.kept().await?;
        if journal.declared != *before {
            return Ok(None);
        }
        if application(&declared) != application(&journal.declared) {
            return Err(AdvanceFault::from(StoreFault::Immutable {
                name: name.to_string(),
            })
            .into());
        }
        let policy = self.policy_of(&declared)?;
        self.check_places(&declared, Some(journal.id)).await?;
        let (kept, new) = compared(&journal.declared, &declared);
        for spec in &new {
            let opened = destination::open(spec).map_err(Halt::from)?;
            opened.check().await.map_err(Halt::from)?;
        }
        let due_at = match self.terms(&journal) {
            Ok(old) if old.policy.rule() == policy.rule() => journal.due_at,
            // Another schedule; or the old one can't be told any more.
            _ => due_again(
                &journal,
                &Timetable::new(&declared.name, &policy),
                self.clock.now(),
            ),
        };
        let edited = Edited {
            due_at,
            later: names(new.iter().filter(|_| !is_awaited(&journal))),
            at_once: names(new.iter().filter(|_| is_awaited(&journal))),
        };
        let mut changes = vec![
            Change::Declare(declared.clone()),
            Change::Schedule {
                anchor: journal.anchor,
                due_at,
            },
        ];
        changes.extend(forgotten(&journal, &kept));
        changes.extend(pass.cleared(&journal, &kept));
        if is_awaited(&journal) {
            changes.extend(wanted(&journal, &new));
        }
        changes.push(Change::Record(pass.event("edited")));
        pass.commit(changes).await?;
        pass.name = declared.name;
        pass.look_ahead().await?;
        Ok(Some(edited))
    }

    /// Holds rotations and revocations; deliveries and alarms go on.
    pub async fn pause(&self, name: &ConnectionName) -> Result<Option<()>, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        pass.kept().await?;
        pass.commit(vec![
            Change::Pause(true),
            Change::Record(pass.event("paused")),
        ])
        .await?;
        pass.look_ahead().await.map(Some)
    }

    /// Goes on after a pause; what failed or is blocked may be tried again at once.
    pub async fn resume(&self, name: &ConnectionName) -> Result<Option<()>, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.kept().await?;
        let mut changes = pass.cleared(&journal, &journal.declared.destinations);
        changes.extend([Change::Pause(false), Change::Record(pass.event("resumed"))]);
        pass.commit(changes).await?;
        pass.look_ahead().await.map(Some)
    }

    /// Forgets a connection, for good after 30 days. Its secrets stay in Entra.
    ///
    /// One that is blocked may go, or whoever has lost the application could never be rid of it;
    /// what was not finished is said.
    pub async fn remove(&self, name: &ConnectionName) -> Result<Option<Removed>, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.kept().await?;
        if let Some(moving) = journal.rotations.iter().find(|r| is_moving(&r.state)) {
            return Err(AdvanceFault::Refused {
                code: "rotation-under-way",
                message: format!(
                    "a rotation of {name} stands at {}; let it end first, with `keywheel rotate \
                     {name}`",
                    moving.state.name()
                ),
                person: true,
            });
        }
        let now = crate::clock::whole_seconds(self.clock.now());
        let removed = Removed {
            stay: journal.secrets.iter().map(|secret| secret.key_id).collect(),
            unremoved: journal.removals.iter().map(|it| it.key_id).collect(),
            unused: unused(&journal),
            unknown: unknown_names(&journal),
            until: now + KEPT_AFTER_REMOVAL,
        };
        let mut changes = vec![
            Change::Remove(Some(now)),
            pass.next_action(None),
            Change::Record(pass.event("removed")),
        ];
        changes.extend(pass.left_behind(&removed));
        pass.commit(changes).await?;
        Ok(Some(removed))
    }

    /// Brings back a removed connection, as long as its values are kept.
    pub async fn restore(&self, name: &ConnectionName) -> Result<Option<()>, AdoptFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.journal().await?;
        let refused = |code, message: String| AdvanceFault::Refused {
            code,
            message,
            person: false,
        };
        let Some(removed_at) = journal.removed_at else {
            let message = format!("connection {name} is not removed");
            return Err(refused("not-removed", message).into());
        };
        let over = self.clock.now() >= removed_at + KEPT_AFTER_REMOVAL;
        let wiped = match journal.current() {
            Some(current) => self.value(&journal, current.key_id).await?.is_none(),
            None => false,
        };
        if over || wiped {
            let message = format!(
                "connection {name} was removed on {}, and its secrets are no longer kept; adopt \
                 it anew",
                removed_at.date_naive()
            );
            return Err(refused("restore-too-late", message).into());
        }
        self.policy_of(&journal.declared)?;
        self.check_places(&journal.declared, Some(journal.id))
            .await?;
        pass.commit(vec![
            Change::Remove(None),
            Change::Record(pass.event("restored")),
        ])
        .await?;
        pass.look_ahead().await?;
        Ok(Some(()))
    }

    /// Makes the checks that `--no-check` postponed; harmless where they have been made.
    pub async fn complete(&self, name: &ConnectionName) -> Result<Option<()>, AdoptFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.kept().await?;
        let terms = self.terms(&journal)?;
        pass.complete_adoption(&journal, &terms).await?;
        Ok(Some(()))
    }
}

impl Pass<'_> {
    /// The journal, read inside the lock, of a connection that was not removed.
    async fn kept(&self) -> Result<Journal, AdvanceFault> {
        let journal = self.journal().await?;
        if journal.removed_at.is_some() {
            return Err(AdvanceFault::Unknown {
                name: self.name.clone(),
                similar: None,
            });
        }
        Ok(journal)
    }

    /// When `advance` is to be called next, as things stand now.
    async fn look_ahead(&self) -> Result<(), AdvanceFault> {
        let journal = self.journal().await?;
        let terms: Terms = self.engine.terms(&journal)?;
        self.write_next_action(&journal, &terms).await
    }

    /// A line of `history` for each thing that was to go and is left to the application (P7).
    fn left_behind(&self, removed: &Removed) -> Vec<Change> {
        let keys = removed.unremoved.iter().map(|key_id| Event {
            key_id: Some(*key_id),
            ..self.event("removal-given-up")
        });
        let unused = removed.unused.iter().map(|key_id| Event {
            key_id: Some(*key_id),
            ..self.event("unused-secret-left")
        });
        let names = removed.unknown.iter().map(|name| Event {
            result: name.to_string(),
            ..self.event("name-given-up")
        });
        keys.chain(unused)
            .chain(names)
            .map(Change::Record)
            .collect()
    }

    /// Every ladder from its start, but for what a server dictated; `NextAction` now, so that a
    /// process that is killed before it is worked out leaves no change unseen.
    fn cleared(&self, journal: &Journal, destinations: &[DestinationSpec]) -> Vec<Change> {
        let rotations = journal
            .rotations
            .iter()
            .filter(|rotation| rotation.retry != Retry::default())
            .map(|rotation| {
                let mut rotation = rotation.clone();
                rotation.retry = rotation.retry.cleared();
                Change::Rotation(rotation)
            });
        let is_declared = |change: &Change| match change {
            Change::Delivery(delivery) => destinations
                .iter()
                .any(|spec| spec.name() == delivery.destination),
            _ => true,
        };
        rotations
            .chain(cleared_deliveries(journal).filter(is_declared))
            .chain(cleared_removals(journal))
            .chain(cleared_watches(journal))
            .chain([self.something_to_do()])
            .collect()
    }
}

/// What can't change once a connection is adopted; both ways of naming the first cloud are one.
fn application(declared: &Declared) -> (TenantId, ClientId, &str) {
    let cloud = declared.cloud.as_deref();
    (
        declared.tenant_id,
        declared.client_id,
        cloud.unwrap_or(CLOUDS[0]),
    )
}

/// Destinations that are as they were, and those that are new or no longer the same: what such a
/// one holds is not known.
fn compared(before: &Declared, after: &Declared) -> (Vec<DestinationSpec>, Vec<DestinationSpec>) {
    let (kept, new) = after
        .destinations
        .iter()
        .cloned()
        .partition(|spec| before.destinations.contains(spec));
    (kept, new)
}

fn forgotten(journal: &Journal, kept: &[DestinationSpec]) -> Vec<Change> {
    let gone = journal
        .deliveries
        .iter()
        .filter(|delivery| !kept.iter().any(|spec| spec.name() == delivery.destination));
    gone.map(|delivery| Change::ForgetDelivery(delivery.destination.clone()))
        .collect()
}

/// Whether a previous secret waits for the destinations to have the current one (P2).
fn is_awaited(journal: &Journal) -> bool {
    let mut rotations = journal.rotations.iter();
    rotations.any(|rotation| rotation.state.old_key().is_some())
}

fn wanted(journal: &Journal, new: &[DestinationSpec]) -> Vec<Change> {
    let Some(current) = journal.current() else {
        return Vec::new();
    };
    let wants = |spec: &DestinationSpec| {
        Change::Delivery(Delivery {
            destination: spec.name().to_owned(),
            wants: current.generation,
            holds: 0,
            taken_at: None,
            retry: Retry::default(),
        })
    };
    new.iter().map(wants).collect()
}

fn names<'a>(specs: impl Iterator<Item = &'a DestinationSpec>) -> Vec<String> {
    specs.map(|spec| spec.name().to_owned()).collect()
}

/// The next due time by another schedule. What is overdue stays so, unless the new one says that
/// it is not (P8).
fn due_again(journal: &Journal, timetable: &Timetable, now: DateTime<Utc>) -> DateTime<Utc> {
    let from = if journal.due_at <= now {
        journal.due_at - Duration::from_secs(86_400)
    } else {
        now
    };
    let current = journal.current();
    timetable.due_at(
        journal.anchor,
        from,
        current.and_then(|secret| secret.starts_at),
        current.and_then(|secret| secret.expires_at),
    )
}

/// Secrets that were made for a rotation which did not come to `promoted`.
fn unused(journal: &Journal) -> Vec<KeyId> {
    let secrets = journal.secrets.iter();
    let pending = secrets.filter(|secret| secret.role == Role::Pending);
    pending.map(|secret| secret.key_id).collect()
}

/// Names of attempts of unknown outcome: of the rotation under way, and those looked for after it.
fn unknown_names(journal: &Journal) -> Vec<AttemptName> {
    let open = journal
        .rotations
        .iter()
        .filter_map(|rotation| match rotation.state.effective() {
            State::Intended {
                attempt,
                outcome: Outcome::Unknown { .. },
            } => Some(*attempt),
            _ => None,
        });
    let mut names: Vec<AttemptName> = open.collect();
    let watched = journal.watches.iter().map(|watch| watch.attempt);
    for name in watched {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether it is at work: not waiting for the end of its overlap, for one that follows it, or for
/// a person to act.
fn is_moving(state: &State) -> bool {
    !matches!(
        state,
        State::Overlapping { .. } | State::Abandoned | State::Blocked { .. }
    )
}
