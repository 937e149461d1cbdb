//! From *overlapping* to *revoking*: P2's last look.

use chrono::{DateTime, Utc};

use super::Pass;
use super::deliver::OVERWRITTEN;
use crate::connection::DestinationSpec;
use crate::entra::{Answer, Application, KeyId, ObjectId, Token};
use crate::journal::{
    Absence, Delivery, Failure, Journal, Retry, Rotation, RotationId, Secret, State,
};
use crate::rotation::plan::{ABSENT_READS, Terms, YOUNG, is_absent, is_urgent, read_absent};
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

impl Pass<'_> {
    /// P2's last look, and the first call that removes the old secret.
    pub(super) async fn revoke(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let State::Overlapping {
            new,
            old,
            revoke_at,
        } = *rotation.state.effective()
        else {
            return Ok(());
        };
        let lost = self.overwritten(journal).await?;
        let mut changes = self.deliver_anew(journal, Some(rotation.id), &lost);
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
        event.rotation_id = Some(rotation.id);
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
    pub(super) async fn last_look(
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
            absence = read_absent(absence, window, self.now());
            if is_absent(&absence, window) {
                return Err(vanished(current, self.now()).into());
            }
            self.pause(window / ABSENT_READS).await?;
        }
    }

    /// Something else wrote over these destinations: they get the current secret again, each on
    /// its backoff.
    pub(super) fn deliver_anew(
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

    /// Open overlaps end now; P2's last look still comes first.
    pub(super) fn end_overlaps(&self, journal: &Journal) -> Vec<Change> {
        let now = crate::clock::whole_seconds(self.now());
        let open = journal
            .rotations
            .iter()
            .filter(|r| matches!(r.state.effective(), State::Overlapping { .. }));
        open.map(|r| Change::Rotation(super::order::hurried(r.clone(), now)))
            .collect()
    }
}

pub(super) fn lists(application: &Application, key_id: KeyId) -> bool {
    application
        .passwords
        .iter()
        .any(|password| password.key_id == key_id)
}

fn no_current() -> Trouble {
    Trouble::rule(
        "no-current-secret",
        "there is no current secret, so nothing is revoked",
        "give the secret in use with `keywheel connection edit NAME --secret-file FILE`",
    )
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
pub(super) fn is_young(secret: &Secret, now: DateTime<Utc>) -> bool {
    // The oldest secrets have no start.
    secret.starts_at.is_some_and(|at| now < at + YOUNG)
}
