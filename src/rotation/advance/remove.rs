//! The removal of a Key ID that is to go: called, and read until it is reliably absent.

use super::Pass;
use super::fail::Subject;
use super::look::look_later;
use super::revoke::{is_young, lists};
use super::write::waits_for;
use crate::entra::{FaultKind, KeyId, ObjectId, Token};
use crate::journal::{
    Absence, Journal, Origin, Outcome, Removal, Retry, Role, Rotation, RotationId, State, Watch,
};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Terms, YOUNG, is_absent, read_absent};
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

/// The code of a key that is listed long after it was removed.
const STILL_LISTED: &str = "still-listed";

impl Pass<'_> {
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

    pub(super) async fn call(
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
        removal.absence = read_absent(removal.absence, terms.graph.absence_window.0, now);
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
        // A call that lies in the future was made by a clock that was wrong.
        let patient = removal
            .called_at
            .is_some_and(|at| at <= now && now < at + YOUNG);
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
            .journal_trouble(&journal, Subject::Removal(key_id), &trouble)
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

fn removal(journal: &Journal, key_id: KeyId) -> Result<Removal, Halt> {
    journal
        .removals
        .iter()
        .find(|removal| removal.key_id == key_id)
        .cloned()
        .ok_or_else(|| not_ours(key_id).into())
}

fn not_ours(key_id: KeyId) -> Trouble {
    Trouble::rule(
        "not-ours",
        format!("Key ID {key_id} is not one that Keywheel may remove"),
        "remove it in the portal if it is to go",
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
