//! From *minted* to *abandoning*.

use super::Pass;
use crate::journal::{Journal, Role, Rotation, Secret, State};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::trouble::Halt;
use crate::store::Change;

impl Pass<'_> {
    /// Decides that the pending secret will never be used; from here there is no way back.
    pub(super) async fn abandon(
        &self,
        journal: &Journal,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let pending = rotation
            .state
            .new_key()
            .and_then(|key_id| journal.secret(key_id));
        let Some(pending) = pending.filter(|secret| secret.role == Role::Pending) else {
            return Ok(());
        };
        let key_id = pending.key_id;
        let doomed = Secret {
            role: Role::Doomed,
            ..pending.clone()
        };
        rotation.state = State::Abandoning { new: key_id };
        let reason = abandoned::reason(rotation.retry.last.as_ref(), self.now());
        rotation.retry = abandoned::under_way(reason);
        let mut event = self.event("abandoning");
        event.rotation_id = Some(rotation.id);
        event.key_id = Some(key_id);
        self.commit(vec![
            Change::Secret(doomed),
            Change::Rotation(rotation),
            Change::Removal(self.removal(key_id)),
            Change::Record(event),
        ])
        .await?;
        self.tell(&Moment::Abandoned { key_id });
        Ok(())
    }
}
