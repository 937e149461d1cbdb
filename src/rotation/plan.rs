//! What comes next for one connection (pure).
//!
//! A connection may have several things under way at once: one rotation before `promoted`, older
//! ones that wait out their overlap, deliveries that are retried each on its own, Key IDs that are
//! to go, names that are looked for. Each is asked in turn; the first that can act, acts.

mod begin;
mod retire;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::connection::{Overlap, Policy};
use crate::entra::KeyId;
use crate::journal::{
    Absence, AttemptName, Journal, Outcome, Retry, Role, Rotation, RotationId, State, Trigger,
    Watch,
};
use crate::schedule;
use crate::settings::{GraphSettings, Verification};

/// What a plan is made by, beside the journal and the time.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The connection's own rules.
    pub policy: Policy,
    /// How a new secret is proved.
    pub verification: Verification,
    /// How Graph is called.
    pub graph: GraphSettings,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// What is due by itself, and nothing else.
    Due,
    /// The same, but no window and no blackout holds it.
    DueNow,
    /// A rotation by hand, now, with this overlap.
    Rotate(Option<Overlap>),
    /// What is under way is carried on; nothing new is started.
    Resume,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// This, now.
    Do(Step),
    /// Nothing until then.
    Wait {
        /// When to ask again.
        until: DateTime<Utc>,
        /// What for.
        what: WaitFor,
    },
    /// It is due, but a person must say where its secret goes.
    NoDestination,
    /// Nothing, until somebody changes something.
    Rest,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitFor {
    /// The next try after a failure.
    Retry,
    /// The next read that shows whether something is reliably absent.
    Absence,
    /// The time between two changes of one application.
    Spacing,
    /// The end of an overlap.
    Overlap,
    /// The next rotation.
    Due,
    /// The next look for a name of unknown outcome.
    Watch,
}

/// One thing that `advance` does, and writes down.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Commits a new rotation and makes its first attempt.
    Begin {
        /// Why.
        trigger: Trigger,
        /// What its overlap will be.
        overlap: Overlap,
    },
    /// Makes another attempt, under a new name.
    Attempt(RotationId),
    /// Reads the application for the name of an attempt whose outcome is unknown.
    Look(RotationId),
    /// Signs in with the new secret until that has worked N times in a row.
    Prove(RotationId),
    /// Makes the new secret current.
    Promote(RotationId),
    /// Decides that the pending secret will never be used.
    Abandon(RotationId),
    /// Hands the current secret to one destination.
    Deliver(String),
    /// The journal alone moves on.
    Enter(RotationId, State),
    /// P2's last look, and the first call that removes the old secret.
    Revoke(RotationId),
    /// Calls `removePassword`.
    Remove(KeyId),
    /// Reads whether a removed Key ID is still listed.
    Confirm(KeyId),
    /// Reads the application for a name that may still show up.
    Watch(AttemptName),
}

/// A pending secret is not abandoned while the current one has less than this left.
const KEEP_PENDING: Duration = Duration::from_secs(24 * 3600);

/// A watched name is looked for again within this time.
pub const LATEST_LOOK: Duration = Duration::from_secs(86_400);

/// A pending secret is not abandoned before so many passes in a row have not proved it: a clock that
/// is set forward makes no day of them.
const REFUSED: u32 = 3;

/// So many reads in a row must agree that something is absent.
pub const ABSENT_READS: u32 = 3;

/// A key younger than this may be unknown to the replica that a removal or a read went to.
pub const YOUNG: Duration = Duration::from_secs(15 * 60);

/// What comes next for the connection of `journal` at `now`.
pub fn plan(journal: &Journal, terms: &Terms, now: DateTime<Utc>, ask: Ask) -> Next {
    if journal.removed_at.is_some() {
        return Next::Rest;
    }
    let view = View {
        journal,
        terms,
        now,
    };
    let mut next = Next::Rest;
    for candidate in view.candidates(ask) {
        next = sooner(next, candidate);
        if matches!(next, Next::Do(_)) {
            break;
        }
    }
    next
}

/// Whether the current secret is in its last days, or already over.
pub fn is_urgent(journal: &Journal, now: DateTime<Utc>) -> bool {
    journal
        .current()
        .and_then(|secret| secret.expires_at)
        .is_some_and(|expires_at| schedule::urgent(now, expires_at))
}

/// Whether this destination is to get the current secret.
pub fn lacks_current(journal: &Journal, destination: &str) -> bool {
    let Some(current) = journal.current() else {
        return false;
    };
    let delivery = journal.delivery(destination);
    let mut secrets = journal.secrets.iter();
    // One that was declared while an older secret still lives must get the current one too: the
    // older one is not revoked before that (P2).
    let wants = if secrets.any(|secret| secret.role == Role::Previous) {
        current.generation
    } else {
        delivery.map_or(0, |delivery| delivery.wants)
    };
    delivery.map_or(0, |delivery| delivery.holds) < wants
}

/// Whether the pending secret of `rotation` has been refused for so long that it is abandoned.
pub fn gives_up(journal: &Journal, rotation: &Rotation, terms: &Terms, now: DateTime<Utc>) -> bool {
    let State::Minted { minted_at, .. } = rotation.state.effective() else {
        return false;
    };
    // The clock may have been wrong when it was minted: the server's date counts as well.
    let secret = rotation.state.new_key().and_then(|key| journal.secret(key));
    let since = [Some(*minted_at), secret.and_then(|secret| secret.starts_at)];
    let since = since.into_iter().flatten().filter(|at| *at <= now).max();
    let over = since.is_some_and(|since| now >= since + terms.verification.give_up.0);
    let tried = rotation.retry.failures >= REFUSED;
    let spare = journal
        .current()
        .is_some_and(|secret| secret.expires_at.is_none_or(|at| at > now + KEEP_PENDING));
    over && tried && spare
}

/// Whether `reads` show by now that something is reliably absent.
pub fn is_absent(absence: &Absence, window: Duration) -> bool {
    match (absence.since, absence.last) {
        (Some(since), Some(last)) => absence.reads >= ABSENT_READS && last >= since + window,
        _ => false,
    }
}

/// `absence` after one more read that did not list it.
pub fn read_absent(absence: Absence, window: Duration, now: DateTime<Utc>) -> Absence {
    absence.read_absent(now, window / (ABSENT_READS - 1))
}

fn sooner(a: Next, b: Next) -> Next {
    match (&a, &b) {
        (Next::Do(_), _) => a,
        (_, Next::Do(_)) => b,
        (Next::NoDestination, _) => a,
        (_, Next::NoDestination) => b,
        (Next::Wait { until: at_a, .. }, Next::Wait { until: at_b, .. }) => {
            if at_b < at_a {
                b
            } else {
                a
            }
        }
        (Next::Rest, _) => b,
        (_, Next::Rest) => a,
    }
}

struct View<'a> {
    journal: &'a Journal,
    terms: &'a Terms,
    now: DateTime<Utc>,
}

impl View<'_> {
    /// In the order of what matters most to the consumers. Lazy: a later one is asked only where
    /// no earlier one acts.
    fn candidates(&self, ask: Ask) -> impl Iterator<Item = Next> {
        let journal = self.journal;
        let destinations = &journal.declared.destinations;
        let deliveries = destinations.iter().map(|spec| self.deliver(spec.name()));
        let rotations = journal
            .rotations
            .iter()
            .map(move |rotation| self.carry_on(rotation, ask));
        let begin = std::iter::once_with(move || self.begin(ask));
        let removals = journal.removals.iter().map(|removal| self.remove(removal));
        let watches = journal.watches.iter().map(|watch| self.watch(watch));
        deliveries
            .chain(rotations)
            .chain(begin)
            .chain(removals)
            .chain(watches)
    }

    /// `step` from `at` on.
    fn at(&self, at: DateTime<Utc>, what: WaitFor, step: Step) -> Next {
        if at <= self.now {
            Next::Do(step)
        } else {
            Next::Wait { until: at, what }
        }
    }

    /// `step` when its backoff is over.
    fn after_retry(&self, retry: &Retry, step: Step) -> Next {
        match retry.holds_at(self.now) {
            Some(until) => Next::Wait {
                until,
                what: WaitFor::Retry,
            },
            None => Next::Do(step),
        }
    }

    /// A step that changes the application: when its backoff and the spacing are over.
    fn mutation(&self, retry: &Retry, step: Step) -> Next {
        let spaced = self
            .journal
            .mutated_at
            // What lies in the future was written by a clock that was wrong.
            .filter(|at| *at <= self.now)
            .map(|at| at + self.terms.graph.mutation_spacing.0);
        match (self.after_retry(retry, step), spaced) {
            (Next::Do(step), Some(at)) => self.at(at, WaitFor::Spacing, step),
            (next, _) => next,
        }
    }

    fn deliver(&self, destination: &str) -> Next {
        if !lacks_current(self.journal, destination) {
            return Next::Rest;
        }
        let step = Step::Deliver(destination.to_owned());
        match self.journal.delivery(destination) {
            Some(delivery) => self.after_retry(&delivery.retry, step),
            None => Next::Do(step),
        }
    }

    /// The next step of a rotation that is under way.
    fn carry_on(&self, rotation: &Rotation, ask: Ask) -> Next {
        let state = rotation.state.effective();
        // Deliveries and what follows from them go on while a connection is paused; changes of
        // the application do not.
        let held = self.journal.paused;
        match state {
            State::Promoted { .. } | State::Delivering { .. } => self.settle(rotation),
            State::Overlapping { revoke_at, .. } if !held => {
                self.overlap(rotation, *revoke_at, ask)
            }
            _ if held => Next::Rest,
            State::Intended { outcome, .. } => self.intended(rotation, outcome),
            State::Minted { .. } => self.minted(rotation),
            State::Verified { .. } => self.after_retry(&rotation.retry, Step::Promote(rotation.id)),
            // What these wait for is among the removals.
            State::Abandoning { .. } | State::Revoking { .. } => Next::Rest,
            _ => Next::Rest,
        }
    }

    fn intended(&self, rotation: &Rotation, outcome: &Outcome) -> Next {
        match outcome {
            // Until it is known what became of the last call, there is no other (P4).
            Outcome::Unknown { absence } => match self.next_read(absence) {
                Some(until) => Next::Wait {
                    until,
                    what: WaitFor::Absence,
                },
                None => self.after_retry(&rotation.retry, Step::Look(rotation.id)),
            },
            // A clock that was fast began it: nothing was made, and the schedule decides again.
            Outcome::NotMade if rotation.trigger.is_due_after(self.now) => {
                Next::Do(Step::Enter(rotation.id, State::Abandoned))
            }
            Outcome::NotMade => self.mutation(&rotation.retry, Step::Attempt(rotation.id)),
            // Its removal comes first; then it counts as not made.
            Outcome::Orphaned { key_id } if self.holds_up(*key_id) => Next::Rest,
            Outcome::Orphaned { .. } => self.mutation(&rotation.retry, Step::Attempt(rotation.id)),
        }
    }

    fn minted(&self, rotation: &Rotation) -> Next {
        if gives_up(self.journal, rotation, self.terms, self.now) {
            return Next::Do(Step::Abandon(rotation.id));
        }
        self.after_retry(&rotation.retry, Step::Prove(rotation.id))
    }

    /// From `promoted` or `delivering` on, as far as the destinations are.
    fn settle(&self, rotation: &Rotation) -> Next {
        let (Some(new), Some(old)) = (rotation.state.new_key(), rotation.state.old_key()) else {
            return Next::Rest;
        };
        if self.all_hold(new) {
            let revoke_at = match rotation.overlap {
                Overlap::For(span) => Some(crate::clock::whole_seconds(self.now + span.0)),
                Overlap::NextRotation => None,
            };
            let state = State::Overlapping {
                new,
                old,
                revoke_at,
            };
            return self.after_retry(&rotation.retry, Step::Enter(rotation.id, state));
        }
        match rotation.state {
            State::Promoted { .. } => {
                Next::Do(Step::Enter(rotation.id, State::Delivering { new, old }))
            }
            _ => Next::Rest,
        }
    }

    /// Whether every required destination holds the secret `key_id` or a newer one; where that is
    /// gone already, the current one.
    fn all_hold(&self, key_id: KeyId) -> bool {
        let secret = self.journal.secret(key_id);
        let Some(secret) = secret.or_else(|| self.journal.current()) else {
            return false;
        };
        self.journal
            .declared
            .destinations
            .iter()
            .filter(|d| d.required())
            .all(|destination| {
                self.journal
                    .delivery(destination.name())
                    .is_some_and(|delivery| delivery.holds >= secret.generation)
            })
    }

    fn watch(&self, watch: &Watch) -> Next {
        let held = watch.retry.holds_at(self.now);
        // No look is put off for longer: further ahead was written by a clock that was wrong.
        let next_look = Some(watch.next_look).filter(|at| *at <= self.now + LATEST_LOOK);
        let next_look = next_look.unwrap_or(self.now);
        let at = held.map_or(next_look, |until| until.max(next_look));
        self.at(at, WaitFor::Watch, Step::Watch(watch.attempt))
    }

    /// When the next absent read counts; `None`: now.
    fn next_read(&self, absence: &Absence) -> Option<DateTime<Utc>> {
        let apart = self.terms.graph.absence_window.0 / ABSENT_READS;
        absence
            .last
            .filter(|last| *last <= self.now)
            .map(|last| last + apart)
            .filter(|at| *at > self.now)
    }
}
