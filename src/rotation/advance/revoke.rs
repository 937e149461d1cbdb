//! From *overlapping* to *completed*, and the removal of every Key ID that is to go.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Pass;
use super::deliver::OVERWRITTEN;
use super::write::{rotation, waits_for};
use crate::connection::DestinationSpec;
use crate::entra::{Answer, Application, FaultKind, KeyId, ObjectId, Token};
use crate::journal::{
    Absence, AttemptName, Delivery, Failure, Journal, Origin, Outcome, Removal, Retry, Role,
    Rotation, RotationId, Secret, State, Watch,
};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::{ABSENT_READS, Terms, YOUNG, is_absent, is_urgent};
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

/// A name of unknown outcome is looked for this long (P4),
const WATCH_FOR: Duration = Duration::from_secs(7 * 86_400);

/// and this often: the older it gets, the less likely it is to show up.
const WATCH_STEPS: [(Duration, Duration); 3] = [
    (Duration::from_secs(3_600), Duration::from_secs(600)),
    (Duration::from_secs(86_400), Duration::from_secs(4 * 3_600)),
    (WATCH_FOR, Duration::from_secs(86_400)),
];

/// The code of a key that is listed long after it was removed.
const STILL_LISTED: &str = "still-listed";

impl Pass<'_> {
    /// P2's last look, and the first call that removes the old secret.
    pub(super) async fn revoke(
        &self,
        journal: &Journal,
        terms: &Terms,
        id: RotationId,
    ) -> Result<(), Halt> {
        let mut rotation = rotation(journal, id)?.clone();
        let State::Overlapping {
            new,
            old,
            revoke_at,
        } = *rotation.state.effective()
        else {
            return Ok(());
        };
        let lost = self.overwritten(journal).await?;
        let mut changes = self.deliver_anew(journal, Some(id), &lost);
        if lost.iter().any(|(spec, _)| spec.required()) {
            rotation.state = State::Delivering { new, old };
            changes.push(Change::Rotation(rotation));
            return Ok(self.commit(changes).await?);
        }
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        let (token, object_id) = self.last_look(journal, terms, revoke_at).await?;
        rotation.state = State::Revoking { new, old };
        rotation.retry = Retry::default();
        let mut removal = self.removal(old);
        let mut event = self.event("revoking");
        event.rotation_id = Some(id);
        event.key_id = Some(old);
        self.commit(vec![
            Change::Rotation(rotation),
            Change::Removal(removal.clone()),
            Change::Mutated(self.now()),
            Change::Record(event),
        ])
        .await?;
        if let Err(Halt::Trouble(trouble)) = self.call(&token, object_id, &mut removal).await {
            let journal = self.journal().await?;
            let subject = super::fail::Subject::Removal(old);
            return Ok(self.journal_trouble(&journal, subject, &trouble).await?);
        }
        Ok(self.commit(vec![Change::Removal(removal)]).await?)
    }

    /// Immediately before a revocation: the current key is listed, fresh tokens prove it again,
    /// and `revoke_at` has passed by the local clock and by the server's.
    async fn last_look(
        &self,
        journal: &Journal,
        terms: &Terms,
        revoke_at: Option<DateTime<Utc>>,
    ) -> Result<(Token, ObjectId), Halt> {
        let Some(current) = journal.current() else {
            return Err(no_current().into());
        };
        let token = self.sign_in(journal, terms).await?;
        let answer = self.read_listing(journal, terms, &token, current).await?;
        if let Some(revoke_at) = revoke_at
            && answer.date.is_none_or(|date| date < revoke_at)
        {
            return Err(Trouble::passing_rule(
                "clock-differs",
                "by the server's clock the overlap is not over yet",
                "compare this host's clock with a time server",
            )
            .into());
        }
        self.require_plausible_clock(answer.date)?;
        self.prove_secret(journal, terms, current.key_id, self.now())
            .await?;
        Ok((token, answer.value.object_id))
    }

    /// A read that lists the current secret. One that does not proves nothing; several in a row
    /// over the absence window do.
    async fn read_listing(
        &self,
        journal: &Journal,
        terms: &Terms,
        token: &Token,
        current: &Secret,
    ) -> Result<Answer<Application>, Halt> {
        let window = terms.graph.absence_window.0;
        let mut absence = Absence::default();
        loop {
            let answer = self.read(journal, token).await?;
            if lists(&answer.value, current.key_id) {
                return Ok(answer);
            }
            absence = absence.read_absent(self.now());
            if is_absent(&absence, window) {
                return Err(vanished(current, self.now()).into());
            }
            self.engine.clock.sleep(window / ABSENT_READS).await;
        }
    }

    /// Something else wrote over these destinations: they get the current secret again, each on
    /// its backoff.
    fn deliver_anew(
        &self,
        journal: &Journal,
        id: Option<RotationId>,
        lost: &[(&DestinationSpec, &Delivery)],
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (_, delivery) in lost {
            let failure = Failure {
                at: self.now(),
                code: OVERWRITTEN.into(),
                message: format!(
                    "destination {} no longer holds the secret that was delivered to it",
                    delivery.destination
                ),
                remedy: Some("find out what else writes there, and stop it".into()),
                permanent: false,
            };
            let mut event = self.event(OVERWRITTEN);
            event.rotation_id = id;
            changes.push(Change::Record(event));
            changes.push(Change::Delivery(Delivery {
                holds: 0,
                retry: delivery
                    .retry
                    .after(failure, None, is_urgent(journal, self.now())),
                ..(*delivery).clone()
            }));
        }
        changes
    }

    /// Calls `removePassword`.
    pub(super) async fn remove(
        &self,
        journal: &Journal,
        terms: &Terms,
        key_id: KeyId,
    ) -> Result<(), Halt> {
        let mut removal = removal(journal, key_id)?;
        let Some(secret) = journal.secret(key_id) else {
            return Ok(());
        };
        if secret.origin == Origin::Unchecked || secret.role == Role::Current {
            return Err(not_ours(key_id).into());
        }
        let (token, object_id) = if secret.role == Role::Previous {
            // P2 holds for every call: a day may have passed since the one that failed.
            let lost = self.overwritten(journal).await?;
            if !lost.is_empty() {
                let waiting = journal.rotations.iter().find(|r| waits_for(r, key_id));
                let changes = self.deliver_anew(journal, waiting.map(|r| r.id), &lost);
                self.commit(changes).await?;
                if lost.iter().any(|(spec, _)| spec.required()) {
                    return Ok(()); // the plan delivers first, and comes back
                }
            }
            self.last_look(journal, terms, None).await?
        } else {
            let token = self.sign_in(journal, terms).await?;
            match journal.object_id {
                Some(object_id) => (token, object_id),
                None => {
                    let application = self.read(journal, &token).await?.value;
                    (token, application.object_id)
                }
            }
        };
        self.commit(vec![Change::Mutated(self.now())]).await?;
        self.call(&token, object_id, &mut removal).await?;
        let mut changes = vec![Change::Removal(removal.clone())];
        if removal.retry.failures == 0 {
            changes.extend(unblocked(journal, key_id));
        }
        Ok(self.commit(changes).await?)
    }

    async fn call(
        &self,
        token: &Token,
        object_id: ObjectId,
        removal: &mut Removal,
    ) -> Result<(), Halt> {
        self.tell(&Moment::Removing {
            key_id: removal.key_id,
        });
        let removed = self
            .engine
            .entra
            .remove_password(token, object_id, removal.key_id)
            .await;
        match self.answered(removed) {
            Ok(_) => removal.acknowledged = true,
            // "Not there" may be a replica that lags: only reads tell (E2).
            Err(fault)
                if matches!(
                    fault.kind,
                    FaultKind::CredentialMissing | FaultKind::ApplicationMissing
                ) => {}
            Err(fault) => return Err(fault.into()),
        }
        removal.called_at = Some(self.now());
        removal.absence = Absence::default();
        removal.retry = answered(&removal.retry);
        Ok(())
    }

    /// Reads whether a removed Key ID is still listed.
    pub(super) async fn confirm(
        &self,
        journal: &Journal,
        terms: &Terms,
        key_id: KeyId,
    ) -> Result<(), Halt> {
        let mut removal = removal(journal, key_id)?;
        let token = self.sign_in(journal, terms).await?;
        let application = self.read(journal, &token).await?.value;
        let now = self.now();
        if lists(&application, key_id) {
            return self.still_listed(removal).await;
        }
        removal.absence = removal.absence.read_absent(now);
        removal.retry = Retry::default();
        // No answer but "not found", and replicas may not know the key yet. One that was minted is
        // looked for by its name from here on; one that was adopted has none that tells.
        let secret = journal.secret(key_id);
        let nameless = secret.filter(|secret| secret.attempt.is_none());
        let unknown = !removal.acknowledged && nameless.is_some_and(|it| is_young(it, now));
        if unknown || !is_absent(&removal.absence, terms.graph.absence_window.0) {
            return Ok(self.commit(vec![Change::Removal(removal)]).await?);
        }
        let latest = self.engine.store.latest_rotation(journal.id).await?;
        let changes = self.gone(journal, &removal, latest.map(|it| it.id));
        self.commit(changes).await?;
        self.tell(&Moment::Gone { key_id });
        Ok(())
    }

    /// E4: a replica that lags at first; later an alarm, and another call.
    async fn still_listed(&self, mut removal: Removal) -> Result<(), Halt> {
        let now = self.now();
        let patient = removal.called_at.is_some_and(|at| now < at + YOUNG);
        if patient {
            removal.absence = Absence::read_present(now);
            removal.retry = answered(&removal.retry);
            return Ok(self.commit(vec![Change::Removal(removal)]).await?);
        }
        let key_id = removal.key_id;
        removal.called_at = None;
        removal.absence = Absence::default();
        self.commit(vec![Change::Removal(removal)]).await?;
        let journal = self.journal().await?;
        let trouble = Trouble::passing_rule(
            STILL_LISTED,
            format!("Key ID {key_id} was removed and is still listed"),
            "nothing: it is removed again; if this lasts, remove it in the portal",
        );
        Ok(self
            .journal_trouble(&journal, super::fail::Subject::Removal(key_id), &trouble)
            .await?)
    }

    /// What is written once a Key ID is reliably absent.
    fn gone(
        &self,
        journal: &Journal,
        removal: &Removal,
        latest: Option<RotationId>,
    ) -> Vec<Change> {
        let key_id = removal.key_id;
        let now = self.now();
        let mut event = self.event("gone");
        event.key_id = Some(key_id);
        let mut changes = vec![Change::Gone(key_id), Change::RemovalDone(key_id)];
        if let Some(rotation) = journal.rotations.iter().find(|r| waits_for(r, key_id)) {
            event.rotation_id = Some(rotation.id);
            let ended = match rotation.state.effective() {
                State::Abandoning { .. } => {
                    abandoned::ended(journal, rotation, latest == Some(rotation.id), now)
                }
                _ => vec![without(rotation, key_id)],
            };
            changes.extend(ended.into_iter().map(Change::Rotation));
        }
        // Nobody has said 204, and the key is so young that every read may have been answered by
        // a replica that did not know it yet: its name is looked for further.
        let secret = journal.secret(key_id);
        let young = secret.is_none_or(|secret| is_young(secret, now));
        if let Some(attempt) = secret.and_then(|secret| secret.attempt)
            && !removal.acknowledged
            && young
        {
            let watch = Watch::new(attempt, now, now);
            changes.push(Change::Watch(look_later(&watch, now)));
        }
        changes.push(Change::Record(event));
        changes
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

    /// Open overlaps end now; P2's last look still comes first.
    pub(super) fn end_overlaps(&self, journal: &Journal) -> Vec<Change> {
        let now = crate::clock::whole_seconds(self.now());
        let open = journal
            .rotations
            .iter()
            .filter(|r| matches!(r.state.effective(), State::Overlapping { .. }));
        open.map(|r| Change::Rotation(super::by_hand::hurried(r.clone(), now)))
            .collect()
    }
}

/// The rotation after the Key ID that it waited for is gone.
fn without(rotation: &Rotation, key_id: KeyId) -> Rotation {
    let state = match rotation.state.effective() {
        State::Revoking { new, old } => State::Completed {
            new: *new,
            old: *old,
        },
        State::Intended {
            attempt,
            outcome: Outcome::Orphaned { key_id: orphan },
        } if *orphan == key_id => State::Intended {
            attempt: *attempt,
            outcome: Outcome::NotMade,
        },
        state => state.clone(),
    };
    Rotation {
        state,
        ..rotation.clone()
    }
}

/// When a watched name is looked for next.
fn look_later(watch: &Watch, now: DateTime<Utc>) -> Watch {
    let age = (now - watch.since).to_std().unwrap_or_default();
    let step = WATCH_STEPS
        .iter()
        .find(|(until, _)| age < *until)
        .unwrap_or(&WATCH_STEPS[2]);
    Watch {
        next_look: now + step.1,
        retry: Retry::default(),
        ..*watch
    }
}

fn removal(journal: &Journal, key_id: KeyId) -> Result<Removal, Halt> {
    journal
        .removals
        .iter()
        .find(|removal| removal.key_id == key_id)
        .cloned()
        .ok_or_else(|| not_ours(key_id).into())
}

fn lists(application: &Application, key_id: KeyId) -> bool {
    application
        .passwords
        .iter()
        .any(|password| password.key_id == key_id)
}

fn not_ours(key_id: KeyId) -> Trouble {
    Trouble::rule(
        "not-ours",
        format!("Key ID {key_id} is not one that Keywheel may remove"),
        "remove it in the portal if it is to go",
    )
}

fn no_current() -> Trouble {
    Trouble::rule(
        "no-current-secret",
        "there is no current secret, so nothing is revoked",
        "give the secret in use with `keywheel connection edit NAME --secret-file FILE`",
    )
}

/// What is left of a ladder once Graph has answered: only a key that is listed all the same keeps
/// its place, so that calls for it become rare (E4).
fn answered(retry: &Retry) -> Retry {
    match &retry.last {
        Some(failure) if failure.code == STILL_LISTED => Retry {
            not_before: None,
            ..retry.clone()
        },
        _ => Retry::default(),
    }
}

/// The rotation that waits for this Key ID, blocked no longer.
fn unblocked(journal: &Journal, key_id: KeyId) -> Option<Change> {
    let rotation = journal.rotations.iter().find(|r| waits_for(r, key_id))?;
    let state = rotation.state.effective();
    let retry = match (state, &rotation.retry.last) {
        (State::Revoking { .. }, _) | (State::Abandoning { .. }, None) => Retry::default(),
        // Not what blocked it, but why it is abandoned.
        (State::Abandoning { .. }, Some(last)) if last.permanent => {
            abandoned::under_way(abandoned::reason(None, last.at))
        }
        (State::Abandoning { .. }, Some(_)) => rotation.retry.clone(),
        _ => return None,
    };
    Some(Change::Rotation(Rotation {
        state: state.clone(),
        retry,
        ..rotation.clone()
    }))
}

fn vanished(current: &Secret, now: DateTime<Utc>) -> Trouble {
    let key_id = current.key_id;
    let message = format!("the current secret, Key ID {key_id}, is not listed on the application");
    let remedy = "somebody may have deleted it: rotate by hand, or make the previous secret \
                  current again with `keywheel rollback NAME`; nothing was revoked";
    if is_young(current, now) {
        Trouble::passing_rule("current-key-not-listed", message, remedy)
    } else {
        Trouble::rule("current-key-vanished", message, remedy)
    }
}

/// Whether replicas may not know a secret yet.
fn is_young(secret: &Secret, now: DateTime<Utc>) -> bool {
    // The oldest secrets have no start.
    secret.starts_at.is_some_and(|at| now < at + YOUNG)
}
