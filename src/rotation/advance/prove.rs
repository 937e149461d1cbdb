//! From *minted* to *verified*: fresh tokens in a row, each over a new connection.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::Pass;
use crate::entra::{Class, Fault, KeyId};
use crate::journal::{Journal, Retry, Rotation, State};
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

/// After a refusal it is not tried again at once, whatever the spacing of successes.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// The longer a secret has been refused, the rarer it is tried: a day of it is about 150 calls, and
/// what begins to work is noticed a twentieth of that time later at most.
const RARER: u32 = 20;

impl Pass<'_> {
    /// Signs in with the new secret until that has worked N times in a row, for one pass.
    pub(super) async fn prove(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let State::Minted { new, minted_at } = *rotation.state.effective() else {
            return Ok(());
        };
        self.prove_secret(journal, terms, new, minted_at)
            .await
            .map_err(unproved)?;
        rotation.state = State::Verified { new };
        rotation.retry = Retry::default();
        let mut event = self.event("verified");
        event.rotation_id = Some(rotation.id);
        event.key_id = Some(new);
        Ok(self
            .commit(vec![Change::Rotation(rotation), Change::Record(event)])
            .await?)
    }

    /// N fresh tokens in a row, within `verification.timeout`; the last refusal otherwise. `since`
    /// is when the secret was first tried.
    pub(super) async fn prove_secret(
        &self,
        journal: &Journal,
        terms: &Terms,
        key_id: KeyId,
        since: DateTime<Utc>,
    ) -> Result<(), Halt> {
        let until = self.now() + terms.verification.timeout.0;
        self.prove_until(journal, terms, key_id, since, until).await
    }

    /// The same, until `until`.
    pub(super) async fn prove_until(
        &self,
        journal: &Journal,
        terms: &Terms,
        key_id: KeyId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<(), Halt> {
        let secret = self.stored(journal, key_id).await?;
        let application = self.application(journal, terms);
        let needed = terms.verification.successes;
        let spacing = terms.verification.spacing.0;
        let mut in_a_row = 0;
        loop {
            let pause = match self.engine.entra.prove(&application, &secret).await {
                Ok(proof) => {
                    self.hear(proof.date);
                    in_a_row += 1;
                    self.tell(&Moment::Proved { in_a_row, needed });
                    if in_a_row >= needed {
                        self.note_proved(key_id);
                        return Ok(());
                    }
                    spacing
                }
                Err(fault) => {
                    // One refusal by one replica begins the count anew (A2).
                    in_a_row = 0;
                    let refused_for = (self.now() - since).to_std().unwrap_or_default();
                    let pause = pause_after(&fault, spacing.max(refused_for / RARER));
                    match pause {
                        Some(pause) if self.now() + pause < until => {
                            self.tell(&Moment::NotYet);
                            pause
                        }
                        _ => return Err(fault.into()),
                    }
                }
            };
            self.pause(pause).await?;
        }
    }

    fn note_proved(&self, key_id: KeyId) {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(key_id);
    }

    /// Whether this pass has just proved the secret.
    pub(super) fn has_proved(&self, key_id: KeyId) -> bool {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) == Some(key_id)
    }

    /// The value of a secret that a step can't do without.
    pub(super) async fn stored(
        &self,
        journal: &Journal,
        key_id: KeyId,
    ) -> Result<SecretString, Halt> {
        match self.value(journal, key_id).await? {
            Some(value) => Ok(value),
            None => Err(Trouble::rule(
                "no-value",
                format!("the store holds no value for Key ID {key_id}"),
                "give the secret in use with `keywheel connection edit NAME --secret-file FILE`",
            )
            .into()),
        }
    }

    /// One fresh token: what is handed out still signs in.
    pub(super) async fn prove_once(
        &self,
        journal: &Journal,
        terms: &Terms,
        secret: &SecretString,
    ) -> Result<(), Halt> {
        let application = self.application(journal, terms);
        match self.engine.entra.prove(&application, secret).await {
            Ok(proof) => {
                self.hear(proof.date);
                Ok(())
            }
            Err(fault) => Err(Trouble::from(fault).into()),
        }
    }
}

/// A refusal of a new secret says that it is slow, not that it is bad.
fn unproved(halt: Halt) -> Halt {
    match halt {
        Halt::Trouble(trouble) => match *trouble {
            Trouble::Entra(fault) => Trouble::Unproved(fault).into(),
            trouble => trouble.into(),
        },
        fatal => fatal,
    }
}

/// How long until the next proof of the same pass; `None`: the pass is over.
fn pause_after(fault: &Fault, spacing: Duration) -> Option<Duration> {
    match fault.class() {
        Class::Throttled { wait } => Some(wait),
        Class::Permanent => None,
        _ => Some(spacing.max(AFTER_REFUSAL)),
    }
}
