//! A service, an application and a consumer in memory, that live by what `plan` says while calls
//! fail, answers are lost and the process dies between any two commits.

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::connection::Overlap;
use keywheel::entra::KeyId;
use keywheel::journal::{
    Absence, AttemptName, ConnectionId, Delivery, Failure, InstanceId, Journal, Origin, Outcome,
    Removal, Retry, Role, Rotation, RotationId, Secret, State,
};
use keywheel::rotation::abandoned;
use keywheel::rotation::plan::{
    Ask, Next, Step, Terms, YOUNG, is_absent, is_urgent, plan, read_absent,
};
use proptest::prelude::*;
use ulid::Ulid;

use crate::{DAY, declared, key, start, terms};

/// How the next call, and what is committed after it, goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// Refused: nothing was done, and that is known.
    Refused,
    /// No answer, and nothing was done.
    LostBefore,
    /// No answer, and it was done.
    LostAfter,
    /// The process dies before the call.
    DiesBefore,
    /// The process dies after the call and before the commit.
    DiesAfter,
}

impl Luck {
    fn takes_effect(self) -> bool {
        matches!(self, Self::Good | Self::LostAfter | Self::DiesAfter)
    }

    fn dies(self) -> bool {
        matches!(self, Self::DiesBefore | Self::DiesAfter)
    }
}

fn any_luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        4 => Just(Luck::Good),
        1 => Just(Luck::Refused),
        1 => Just(Luck::LostBefore),
        1 => Just(Luck::LostAfter),
        1 => Just(Luck::DiesBefore),
        1 => Just(Luck::DiesAfter),
    ]
}

struct Model {
    journal: Journal,
    terms: Terms,
    now: DateTime<Utc>,
    /// What is on the application, by Key ID and name.
    listed: Vec<(KeyId, Option<AttemptName>)>,
    /// What the consumer's file holds.
    consumer: KeyId,
    made: u128,
    /// The rotation that began last.
    latest: RotationId,
    jam: Jam,
}

/// What fails until it is mended.
#[derive(Debug, Clone, Copy, Default)]
struct Jam {
    proofs: bool,
    removals: bool,
}

const FOREIGN: u128 = 99;

impl Model {
    fn new(overlap: Overlap) -> Self {
        let first = Secret {
            key_id: key(1),
            role: Role::Current,
            origin: Origin::Adopted,
            generation: 1,
            hint: "abc".into(),
            starts_at: Some(start()),
            expires_at: Some(start() + DAY * 67),
            attempt: None,
            refused: None,
        };
        Self {
            journal: Journal {
                id: ConnectionId(1),
                declared: declared(),
                object_id: None,
                paused: false,
                removed_at: None,
                anchor: start().date_naive(),
                due_at: start() + DAY,
                next_action_at: None,
                planned_at: None,
                mutated_at: None,
                secrets: vec![first],
                rotations: Vec::new(),
                deliveries: Vec::new(),
                removals: Vec::new(),
                watches: Vec::new(),
            },
            terms: terms(overlap),
            now: start(),
            listed: vec![(key(1), None), (key(FOREIGN), None)],
            consumer: key(1),
            made: 1000,
            latest: RotationId(Ulid(0)),
            jam: Jam::default(),
        }
    }

    fn fresh(&mut self) -> u128 {
        self.made += 1;
        self.made
    }

    fn is_listed(&self, key_id: KeyId) -> bool {
        self.listed.iter().any(|(listed, _)| *listed == key_id)
    }

    fn rotation(&mut self, id: RotationId) -> &mut Rotation {
        self.journal
            .rotations
            .iter_mut()
            .find(|it| it.id == id)
            .unwrap()
    }

    fn after(&self, retry: &Retry) -> Retry {
        let failure = Failure {
            at: self.now,
            code: "x".into(),
            message: "x".into(),
            remedy: None,
            permanent: false,
        };
        retry.after(failure, None, false)
    }

    fn fail(&mut self, id: RotationId) {
        let before = self.rotation(id).retry.clone();
        self.rotation(id).retry = self.after(&before);
    }

    /// Something is planned and done, or time passes.
    fn step(&mut self, ask: Ask, luck: Luck) {
        match plan(&self.journal, &self.terms, self.now, ask) {
            Next::Do(step) => self.perform(step, luck),
            Next::Wait { until, .. } => {
                assert!(until > self.now);
                self.now = until;
            }
            Next::Rest | Next::NoDestination => self.now += DAY,
        }
    }

    fn perform(&mut self, step: Step, luck: Luck) {
        match step {
            Step::Begin { trigger, overlap } => {
                let id = RotationId(Ulid(self.fresh()));
                self.latest = id;
                let (state, started_at) = (State::Abandoned, self.now);
                let retry = Retry::default();
                let begun = Rotation {
                    id,
                    trigger,
                    started_at,
                    overlap,
                    state,
                    retry,
                };
                self.journal.rotations.push(begun);
                self.add(id, luck);
            }
            Step::Attempt(id) => self.add(id, luck),
            Step::Look(id) => self.look(id, luck),
            Step::Prove(id) if self.jam.proofs => self.fail(id),
            Step::Remove(key_id) if self.jam.removals => self.fail_removal(key_id),
            Step::Prove(id) => match luck {
                Luck::Good => self.enter_from(id, |new, _| State::Verified { new }),
                luck if luck.dies() => {}
                _ => self.fail(id),
            },
            Step::Promote(id) if !luck.dies() => self.promote(id),
            Step::Abandon(id) if !luck.dies() => self.abandon(id),
            Step::Deliver(name) => self.deliver(&name, luck),
            Step::Enter(id, state) if !luck.dies() => {
                let rotation = self.rotation(id);
                rotation.state = state;
                rotation.retry = Retry::default();
            }
            Step::Revoke(id) => self.revoke(id, luck),
            Step::Remove(key_id) => self.remove(key_id, luck),
            Step::Confirm(key_id) if luck == Luck::Good => self.confirm(key_id),
            Step::Confirm(key_id) if !luck.dies() => self.fail_removal(key_id),
            _ => {}
        }
    }

    fn add(&mut self, id: RotationId, luck: Luck) {
        let attempt = AttemptName {
            instance: InstanceId(Ulid(1)),
            attempt: Ulid(self.fresh()),
        };
        // P4, at the moment of the call: no outcome is unknown, and nothing else is pending. One
        // that began beside a removal goes on beside it.
        let begins = self.rotation(id).state == State::Abandoned;
        for rotation in &self.journal.rotations {
            let open = match rotation.state.effective() {
                State::Intended { outcome, .. } => matches!(outcome, Outcome::Unknown { .. }),
                State::Abandoning { new } => begins && !self.is_jammed(*new),
                state => state.may_be_promoted(),
            };
            assert!(!open, "P4: {:?}", rotation.state);
        }
        let absence = Absence::default();
        self.rotation(id).state = State::Intended {
            attempt,
            outcome: Outcome::Unknown { absence },
        };
        self.journal.mutated_at = Some(self.now);
        let new = key(self.fresh());
        if luck.takes_effect() {
            self.listed.push((new, Some(attempt)));
        }
        match luck {
            Luck::Good => {
                self.journal.secrets.push(Secret {
                    key_id: new,
                    role: Role::Pending,
                    origin: Origin::Minted,
                    generation: 0,
                    hint: "abc".into(),
                    starts_at: Some(self.now),
                    expires_at: Some(self.now + DAY * 67),
                    attempt: Some(attempt),
                    refused: None,
                });
                let minted_at = self.now;
                self.rotation(id).state = State::Minted { new, minted_at };
                self.rotation(id).retry = Retry::default();
            }
            Luck::Refused => {
                self.rotation(id).state = State::Intended {
                    attempt,
                    outcome: Outcome::NotMade,
                };
                self.fail(id);
            }
            Luck::LostBefore | Luck::LostAfter => self.fail(id),
            Luck::DiesBefore | Luck::DiesAfter => {}
        }
    }

    /// Whether another attempt may stand beside the removal of this key (P8).
    fn is_jammed(&self, key_id: KeyId) -> bool {
        let failing = |it: &Removal| it.key_id == key_id && it.retry.failures >= 3;
        let removals = &self.journal.removals;
        is_urgent(&self.journal, self.now) && removals.iter().any(failing)
    }

    fn look(&mut self, id: RotationId, luck: Luck) {
        let State::Intended {
            attempt,
            outcome: Outcome::Unknown { absence },
        } = self.rotation(id).state.clone()
        else {
            panic!("nothing to look for")
        };
        if luck != Luck::Good {
            return if luck.dies() {
            } else {
                self.fail(id)
            };
        }
        let found = self
            .listed
            .iter()
            .find(|(_, name)| *name == Some(attempt))
            .map(|it| it.0);
        let outcome = match found {
            Some(key_id) => {
                self.doom(key_id, attempt);
                Outcome::Orphaned { key_id }
            }
            None => {
                let absence = read_absent(absence, self.terms.graph.absence_window.0, self.now);
                match is_absent(&absence, self.terms.graph.absence_window.0) {
                    true => Outcome::NotMade,
                    false => Outcome::Unknown { absence },
                }
            }
        };
        self.rotation(id).state = State::Intended { attempt, outcome };
    }

    fn doom(&mut self, key_id: KeyId, attempt: AttemptName) {
        self.journal.secrets.push(Secret {
            key_id,
            role: Role::Doomed,
            origin: Origin::Minted,
            generation: 0,
            hint: "abc".into(),
            starts_at: Some(self.now),
            expires_at: Some(self.now + DAY * 67),
            attempt: Some(attempt),
            refused: None,
        });
        self.ask_removal(key_id);
    }

    fn ask_removal(&mut self, key_id: KeyId) {
        self.journal.removals.push(Removal {
            key_id,
            asked_at: self.now,
            called_at: None,
            acknowledged: false,
            absence: Absence::default(),
            retry: Retry::default(),
        });
    }

    fn enter_from(&mut self, id: RotationId, state: impl Fn(KeyId, Option<KeyId>) -> State) {
        let rotation = self.rotation(id);
        let (new, old) = (rotation.state.new_key().unwrap(), rotation.state.old_key());
        rotation.state = state(new, old);
        rotation.retry = Retry::default();
    }

    fn promote(&mut self, id: RotationId) {
        let old = self.journal.current().unwrap().clone();
        let generation = old.generation + 1;
        let new = self.rotation(id).state.new_key().unwrap();
        for secret in &mut self.journal.secrets {
            if secret.key_id == old.key_id {
                secret.role = Role::Previous;
            } else if secret.key_id == new {
                secret.role = Role::Current;
                secret.generation = generation;
            }
        }
        let old = old.key_id;
        self.enter_from(id, |new, _| State::Promoted { new, old });
        for name in ["a", "b"] {
            let known = self
                .journal
                .deliveries
                .iter()
                .position(|it| it.destination == name);
            let holds = known.map_or(0, |at| self.journal.deliveries.remove(at).holds);
            self.journal.deliveries.push(Delivery {
                destination: name.into(),
                wants: generation,
                holds,
                taken_at: None,
                retry: Retry::default(),
            });
        }
        self.journal.due_at = self.now + DAY * 30;
        let newer = |it: &Rotation| it.state != State::Abandoned;
        self.journal.rotations.retain(newer);
    }

    fn abandon(&mut self, id: RotationId) {
        self.enter_from(id, |new, _| State::Abandoning { new });
        let new = self.rotation(id).state.new_key().unwrap();
        let secret = self
            .journal
            .secrets
            .iter_mut()
            .find(|it| it.key_id == new)
            .unwrap();
        secret.role = Role::Doomed;
        self.ask_removal(new);
    }

    fn deliver(&mut self, name: &str, luck: Luck) {
        let current = self.journal.current().unwrap().clone();
        if name == "a" && luck.takes_effect() {
            self.consumer = current.key_id;
        }
        let at = self
            .journal
            .deliveries
            .iter()
            .position(|it| it.destination == name)
            .unwrap();
        if luck == Luck::Good {
            self.journal.deliveries[at].holds = current.generation;
            self.journal.deliveries[at].retry = Retry::default();
        } else if !luck.dies() {
            let retry = self.after(&self.journal.deliveries[at].retry);
            self.journal.deliveries[at].retry = retry;
        }
    }

    fn revoke(&mut self, id: RotationId, luck: Luck) {
        let old = self.rotation(id).state.old_key().unwrap();
        assert_ne!(self.consumer, old, "P2: the consumer still uses it");
        if luck == Luck::Refused {
            return self.fail(id); // the last look failed
        }
        self.enter_from(id, |new, old| State::Revoking {
            new,
            old: old.unwrap(),
        });
        self.ask_removal(old);
        self.remove(old, luck);
    }

    fn remove(&mut self, key_id: KeyId, luck: Luck) {
        let secret = self.journal.secret(key_id).unwrap();
        assert_ne!(secret.role, Role::Current, "P3");
        self.journal.mutated_at = Some(self.now);
        if luck.takes_effect() {
            self.listed.retain(|(listed, _)| *listed != key_id);
        }
        if luck == Luck::Good {
            let now = self.now;
            let removal = self.removal(key_id);
            removal.called_at = Some(now);
            removal.acknowledged = true;
            removal.retry = Retry::default();
        } else if !luck.dies() {
            self.fail_removal(key_id);
        }
    }

    fn removal(&mut self, key_id: KeyId) -> &mut Removal {
        self.journal
            .removals
            .iter_mut()
            .find(|it| it.key_id == key_id)
            .unwrap()
    }

    fn fail_removal(&mut self, key_id: KeyId) {
        let before = self.removal(key_id).retry.clone();
        self.removal(key_id).retry = self.after(&before);
    }

    fn confirm(&mut self, key_id: KeyId) {
        let (now, window) = (self.now, self.terms.graph.absence_window.0);
        let listed = self.is_listed(key_id);
        let removal = self.removal(key_id);
        if listed {
            removal.absence = Absence::read_present(now);
            if removal.called_at.is_some_and(|at| now >= at + YOUNG) {
                removal.called_at = None;
            }
            return;
        }
        removal.absence = read_absent(removal.absence, window, now);
        if !is_absent(&removal.absence, window) {
            return;
        }
        self.journal.removals.retain(|it| it.key_id != key_id);
        self.journal.secrets.retain(|it| it.key_id != key_id);
        self.end_abandoned(key_id);
        for rotation in &mut self.journal.rotations {
            rotation.state = match rotation.state.clone() {
                State::Revoking { new, old } if old == key_id => State::Completed { new, old },
                State::Intended {
                    attempt,
                    outcome: Outcome::Orphaned { key_id: orphan },
                } if orphan == key_id => State::Intended {
                    attempt,
                    outcome: Outcome::NotMade,
                },
                state => state,
            };
        }
        self.journal.rotations.retain(|it| !it.is_over());
    }

    /// The rotation that waited for this key to be abandoned, and what follows it.
    fn end_abandoned(&mut self, key_id: KeyId) {
        let waits = |it: &&Rotation| *it.state.effective() == State::Abandoning { new: key_id };
        let Some(rotation) = self.journal.rotations.iter().find(waits) else {
            return;
        };
        let is_latest = rotation.id == self.latest;
        for ended in abandoned::ended(&self.journal, rotation, is_latest, self.now) {
            let id = ended.id;
            *self.rotation(id) = ended;
        }
    }

    /// What must be so between any two steps.
    fn check(&self) {
        assert!(self.is_listed(self.consumer), "P2: the consumer is cut off");
        assert!(self.is_listed(key(FOREIGN)), "P3");
        let current = self.journal.current().unwrap();
        assert!(
            self.is_listed(current.key_id),
            "P1: the current secret is gone"
        );
        let held = |key_id: KeyId| {
            let secret = self.journal.secret(key_id);
            key_id == key(FOREIGN) || secret.is_some_and(|it| it.role != Role::Doomed)
        };
        let failing = |key_id: KeyId| {
            let mut removals = self.journal.removals.iter();
            removals.any(|it| it.key_id == key_id && it.retry.failures > 0)
        };
        let orphans = self
            .listed
            .iter()
            .filter(|(key_id, _)| !held(*key_id) && !failing(*key_id))
            .count();
        assert!(orphans <= 1, "P4: {:?}", self.listed);
        let pending = self
            .journal
            .secrets
            .iter()
            .filter(|it| it.role == Role::Pending)
            .count();
        assert!(pending <= 1, "P5");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn p1_to_p4_hold_at_every_step_and_it_converges_when_the_faults_stop(
        overlap in prop::sample::select(vec!["0s", "7d", "40d", "next-rotation"]),
        lucks in prop::collection::vec((any_luck(), prop::bool::weighted(0.02), 0_i64..40), 100..600),
        days_left in 2_i64..67,
        (proofs, removals) in any::<(bool, bool)>(),
        jammed in 0_usize..300,
    ) {
        let mut model = Model::new(overlap.parse().unwrap());
        model.journal.secrets[0].expires_at = Some(start() + TimeDelta::days(days_left));
        model.jam = Jam { proofs, removals };
        for (step, (luck, by_hand, seconds)) in lucks.into_iter().enumerate() {
            if step == jammed {
                model.jam = Jam::default();
            }
            model.step(if by_hand { Ask::Rotate(None) } else { Ask::Due }, luck);
            model.check();
            model.now += TimeDelta::seconds(seconds);
        }
        model.jam = Jam::default();
        // From here on all goes well: within four intervals and an overlap everything has ended.
        let calm = model.now + DAY * 45;
        while model.now < calm {
            // What was abandoned is followed by another; nothing else is begun.
            let follows = model.journal.abandoned().is_some();
            model.step(if follows { Ask::Due } else { Ask::Resume }, Luck::Good);
            model.check();
        }
        prop_assert!(model.journal.removals.is_empty());
        let current = model.journal.current().unwrap().key_id;
        prop_assert_eq!(model.consumer, current);
        let open = &model.journal.rotations;
        let waits = |it: &Rotation| matches!(it.state, State::Overlapping { revoke_at: None, .. });
        prop_assert!(open.iter().all(waits), "{:?}", open);
        // What is left: the current one, somebody else's, and one for each overlap that waits for
        // the next rotation.
        prop_assert_eq!(model.listed.len(), 2 + open.len(), "{:?}", model.journal);
    }
}

#[test]
fn p8_a_removal_that_keeps_failing_holds_up_no_rotation_near_the_end() {
    for by_hand in [false, true] {
        let mut model = Model::new("7d".parse().unwrap());
        let end = start() + TimeDelta::days(5);
        model.journal.secrets[0].expires_at = Some(end);
        if by_hand {
            model.step(Ask::Rotate(None), Luck::Good);
        }
        model.jam = Jam {
            proofs: true,
            removals: true,
        };
        let abandoning = |it: &Rotation| matches!(it.state, State::Abandoning { .. });
        while !model.journal.rotations.iter().any(abandoning) {
            model.step(Ask::Due, Luck::Good);
            model.check();
        }
        model.jam.proofs = false;
        while model.journal.current().unwrap().key_id == key(1) {
            model.step(Ask::Due, Luck::Good);
            model.check();
            assert!(model.now < end, "P8: by hand {by_hand}");
        }
        // The one that could not be removed goes on being removed beside it.
        assert_eq!(model.journal.removals.len(), 1);
        model.jam.removals = false;
        while !model.journal.removals.is_empty() {
            model.step(Ask::Due, Luck::Good);
            model.check();
        }
        assert!(!model.journal.rotations.iter().any(abandoning));
        assert!(
            model.journal.abandoned().is_none(),
            "what it was for is done"
        );
    }
}
