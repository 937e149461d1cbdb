//! Reconciling a connection with Entra: what somebody else has changed is found, told, and healed
//! where a promise allows it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::Instrument;

use super::sign_in::NO_USABLE_SECRET;
use super::{Engine, Pass, Stop, span};
use crate::clock::whole_seconds;
use crate::connection::ConnectionName;
use crate::entra::{FaultKind, Password, Token};
use crate::journal::{Absence, Journal, Reconciliation, Role, Secret};
use crate::rotation::drift::{Drift, drift, reconciliation};
use crate::rotation::plan::{ABSENT_READS, Terms, YOUNG, is_absent, read_absent};
use crate::rotation::trouble::{AdvanceFault, Halt, Trouble};
use crate::store::Change;

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciled {
    /// Both agree, or what differed is told and dealt with.
    Done(Vec<Drift>),
    /// Somebody works on it, or a new secret is on its way: it is compared another time.
    Later,
    /// Entra could not be asked; what it said.
    Unread {
        /// Stable, for scripts.
        code: String,
        /// For people.
        message: String,
    },
}

impl Engine {
    /// Compares one connection with Entra.
    ///
    /// A current secret that is gone makes the next rotation due at once, whatever the window; and
    /// where a previous one still signs in, that one is current again and is delivered (D5).
    ///
    /// # Errors
    ///
    /// Where the journal itself, or the master key, is the trouble.
    pub async fn reconcile(&self, name: &ConnectionName) -> Result<Reconciled, AdvanceFault> {
        self.reconcile_pass(name).instrument(span(name)).await
    }

    async fn reconcile_pass(&self, name: &ConnectionName) -> Result<Reconciled, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Reconciled::Later);
        };
        // Whatever comes of it: one that can't be compared must not keep the others waiting.
        pass.remember(None).await?;
        let journal = pass.journal().await?;
        // What is being made is not listed everywhere yet; and what is paused is a person's.
        let unready = journal.unpromoted().is_some() || journal.object_id.is_none();
        let young = journal
            .current()
            .is_some_and(|it| is_young(it, self.clock.now()));
        if unready || young || journal.paused || journal.removed_at.is_some() {
            return Ok(Reconciled::Later);
        }
        let terms = self.terms(&journal)?;
        match pass.compare(&journal, &terms).await {
            Ok((found, way_back)) => {
                drop(pass);
                if way_back {
                    self.fall_back(name).await?;
                }
                Ok(Reconciled::Done(found))
            }
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) => pass.unread(&journal, &trouble).await,
        }
    }

    /// The previous secret is current again, where one still signs in.
    async fn fall_back(&self, name: &ConnectionName) -> Result<(), AdvanceFault> {
        match self.rollback(name, Duration::ZERO).await {
            Ok(Stop::Busy) => {
                tracing::warn!("another process works on it; its next rotation is due at once")
            }
            Ok(_) => tracing::warn!("the previous secret is current again"),
            // The next rotation, due at once, is what is left to do.
            Err(AdvanceFault::Refused { message, .. }) => tracing::warn!("{message}"),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}

impl Pass<'_> {
    /// Reads the application, and writes down what differs; says too whether the current secret is
    /// gone while a previous one is still listed.
    async fn compare(&self, journal: &Journal, terms: &Terms) -> Result<(Vec<Drift>, bool), Halt> {
        let token = self.sign_in(journal, terms).await?;
        let before = self.engine.store.reconciliation(journal.id).await?;
        let listed = self.list_reliably(journal, terms, &token).await?;
        // Reading may have found a name that was looked for: it is ours now.
        let journal = self.journal().await?;
        let mut found = drift(&journal, &listed, before.as_ref());
        if let Some(current) = journal.current()
            && found
                .iter()
                .any(|it| matches!(it, Drift::CurrentGone { .. }))
            && self.still_signs_in(&journal, terms, current).await?
        {
            // Only a fresh token proves a secret; what lists it lags, or is another application (A4).
            found.retain(|it| !matches!(it, Drift::CurrentGone { .. }));
        }
        let changes = self.drifted(&journal, terms, &found);
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        self.remember(Some(reconciliation(&journal, &listed)))
            .await?;
        let gone = found
            .iter()
            .any(|it| matches!(it, Drift::CurrentGone { .. }));
        let way_back = journal.secrets.iter().any(|it| {
            it.role == Role::Previous && listed.iter().any(|other| other.key_id == it.key_id)
        });
        Ok((found, gone && way_back))
    }

    /// A definite refusal says no; anything else than that and a token says nothing.
    async fn still_signs_in(
        &self,
        journal: &Journal,
        terms: &Terms,
        current: &Secret,
    ) -> Result<bool, Halt> {
        let value = self.stored(journal, current.key_id).await?;
        match self.prove_once(journal, terms, &value).await {
            Ok(()) => Ok(true),
            Err(halt) if is_refusal(&halt) => Ok(false),
            Err(halt) => Err(halt),
        }
    }

    /// What is listed; where the current secret is not, only after several reads over the absence
    /// window: one proves nothing (A7).
    async fn list_reliably(
        &self,
        journal: &Journal,
        terms: &Terms,
        token: &Token,
    ) -> Result<Vec<Password>, Halt> {
        let window = terms.graph.absence_window.0;
        let mut absence = Absence::default();
        loop {
            let listed = self.read(journal, token).await?.value.passwords;
            let current = journal.current();
            if current.is_none_or(|current| listed.iter().any(|it| it.key_id == current.key_id)) {
                return Ok(listed);
            }
            absence = read_absent(absence, window, self.now());
            if is_absent(&absence, window) {
                return Ok(listed);
            }
            self.pause(window / ABSENT_READS).await?;
        }
    }

    fn drifted(&self, journal: &Journal, terms: &Terms, found: &[Drift]) -> Vec<Change> {
        let now = self.now();
        let mut changes = Vec::new();
        for drift in found {
            let key_id = drift.key_id();
            if is_known(drift, journal, now) {
                continue;
            }
            let mut event = self.event(drift.action());
            event.key_id = Some(key_id);
            tracing::warn!(%key_id, "{}", drift.action());
            changes.push(Change::Record(event));
            match (drift, journal.secret(key_id)) {
                (Drift::CurrentGone { .. }, Some(secret)) => {
                    // It has ended, whatever its date said: windows and backoff yield (P8).
                    changes.push(Change::Secret(Secret {
                        expires_at: Some(secret.expires_at.map_or(now, |at| at.min(now))),
                        ..secret.clone()
                    }));
                    changes.push(due_at_once(journal, now));
                }
                (Drift::EndChanged { ends_at, .. }, Some(secret)) => {
                    let secret = Secret {
                        expires_at: *ends_at,
                        ..secret.clone()
                    };
                    if secret.role == Role::Current {
                        changes.push(self.due_with(journal, terms, &secret));
                    }
                    changes.push(Change::Secret(secret));
                }
                _ => {}
            }
        }
        changes
    }

    /// What could not be read is told. Where no secret signs in any more, a rotation is due, which
    /// says what a person must do; whatever else is in the way says nothing about the secrets.
    async fn unread(
        &self,
        journal: &Journal,
        trouble: &Trouble,
    ) -> Result<Reconciled, AdvanceFault> {
        let failure = trouble.failure(self.now(), &crate::journal::Retry::default());
        let mut event = self.event("reconcile-failed");
        event.result.clone_from(&failure.code);
        event.client_request_id = trouble.client_request_id();
        tracing::warn!(code = %failure.code, "it could not be compared: {}", failure.message);
        let mut changes = vec![Change::Record(event)];
        if failure.code == NO_USABLE_SECRET {
            changes.push(due_at_once(journal, self.now()));
        }
        self.commit(changes).await?;
        Ok(Reconciled::Unread {
            code: failure.code,
            message: failure.message,
        })
    }

    /// When it was compared, and what was found; `None` leaves what the last one found.
    async fn remember(&self, found: Option<Reconciliation>) -> Result<(), AdvanceFault> {
        let change = Change::Reconciled(self.now(), found);
        // Not a step of the pass: nothing is to be done because of it.
        Ok(self.engine.store.commit(&self.lease, vec![change]).await?)
    }
}

/// The next rotation is due now, or since when it has been.
fn due_at_once(journal: &Journal, now: DateTime<Utc>) -> Change {
    Change::Schedule {
        anchor: journal.anchor,
        due_at: journal.due_at.min(whole_seconds(now)),
    }
}

/// Whether it was found before: it is told once.
fn is_known(drift: &Drift, journal: &Journal, now: DateTime<Utc>) -> bool {
    let ended = journal
        .secret(drift.key_id())
        .and_then(|secret| secret.expires_at)
        .is_some_and(|at| at <= now);
    matches!(drift, Drift::CurrentGone { .. }) && ended
}

fn is_young(secret: &Secret, now: DateTime<Utc>) -> bool {
    secret.starts_at.is_some_and(|at| now < at + YOUNG)
}

fn is_refusal(halt: &Halt) -> bool {
    let Halt::Trouble(trouble) = halt else {
        return false;
    };
    matches!(
        &**trouble,
        Trouble::Entra(fault)
            if matches!(fault.kind, FaultKind::SecretRefused | FaultKind::SecretExpired)
    )
}
