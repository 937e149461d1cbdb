//! Secrets that Keywheel made and whose value nobody holds: listed, and swept only when asked.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Engine, Order, Pass, Stop};
use crate::connection::ConnectionName;
use crate::entra::{KeyId, Password};
use crate::journal::{AttemptName, Failure, Journal, Retry, Role};
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::{Change, StoreFault};

/// A secret of ours that is on the application and is of no use to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Which.
    pub key_id: KeyId,
    /// The attempt that made it: its display name.
    pub attempt: AttemptName,
    /// The server's own date.
    pub starts_at: Option<DateTime<Utc>>,
    /// The server's own date; `None`: it never expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why orphans could not be listed. That is never read as "there are none" (P7).
#[derive(Debug, thiserror::Error)]
pub enum OrphansFault {
    /// The application could not be read.
    #[error("{}", .0.message)]
    Unread(Box<Failure>),
    /// The store, the keys or the settings.
    #[error(transparent)]
    Engine(#[from] AdvanceFault),
}

impl From<StoreFault> for OrphansFault {
    fn from(fault: StoreFault) -> Self {
        Self::Engine(fault.into())
    }
}

impl Engine {
    /// The orphans on the application of a connection; `None`: another process is rotating it, and
    /// a secret whose answer is just arriving would look like one.
    pub async fn orphans(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<Vec<Orphan>>, OrphansFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.journal().await?;
        let found = pass.find_orphans(&journal).await?;
        Ok(Some(
            found
                .iter()
                .map(|(password, attempt)| orphan(password, *attempt))
                .collect(),
        ))
    }

    /// Removes the orphans on the application of a connection, each until it is reliably absent.
    pub async fn remove_orphans(
        &self,
        name: &ConnectionName,
        patience: Duration,
    ) -> Result<Stop, OrphansFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Stop::Busy);
        };
        let journal = pass.journal().await?;
        let found = pass.find_orphans(&journal).await?;
        // What `find_orphans` read may have made clean-ups of some of them already.
        let journal = pass.journal().await?;
        let changes: Vec<Change> = found
            .iter()
            .flat_map(|(password, attempt)| pass.orphaned(&journal, password, *attempt))
            .collect();
        if !changes.is_empty() {
            pass.commit([changes, vec![pass.something_to_do()]].concat())
                .await?;
        }
        let order = Order {
            clear_backoff: true,
            ..Order::resume(patience)
        };
        pass.prepare(order).await?;
        Ok(pass.run(order).await?)
    }
}

impl Pass<'_> {
    async fn find_orphans(
        &self,
        journal: &Journal,
    ) -> Result<Vec<(Password, AttemptName)>, OrphansFault> {
        let mut found = Vec::new();
        for password in self.listed(journal).await? {
            if let Some(attempt) = self.nobodys(journal, &password).await? {
                found.push((password, attempt));
            }
        }
        Ok(found)
    }

    /// Every secret on the application.
    pub(super) async fn listed(&self, journal: &Journal) -> Result<Vec<Password>, OrphansFault> {
        self.list(journal).await.map_err(|halt| match halt {
            Halt::Fatal(fault) => fault.into(),
            Halt::Trouble(trouble) => {
                let failure = trouble.failure(self.now(), &Retry::default());
                OrphansFault::Unread(Box::new(failure))
            }
        })
    }

    async fn list(&self, journal: &Journal) -> Result<Vec<Password>, Halt> {
        let terms = self.engine.terms(journal)?;
        let token = self.sign_in(journal, &terms).await?;
        Ok(self.read(journal, &token).await?.value.passwords)
    }

    /// The attempt of ours that made a secret whose value nobody holds; `None`: it is somebody
    /// else's, or in use.
    async fn nobodys(
        &self,
        journal: &Journal,
        password: &Password,
    ) -> Result<Option<AttemptName>, StoreFault> {
        let name = password.display_name.as_ref();
        let Some(attempt) = name.and_then(|it| it.raw().parse::<AttemptName>().ok()) else {
            return Ok(None);
        };
        let in_use = match journal.secret(password.key_id) {
            None => false,
            Some(secret) if secret.role == Role::Doomed => {
                let value = self.engine.store.sealed(journal.id, password.key_id);
                value.await?.is_some()
            }
            Some(_) => true,
        };
        if in_use || !self.made(journal, attempt, password.key_id).await? {
            return Ok(None);
        }
        Ok(Some(attempt))
    }

    /// Whether this attempt may have made this secret, for this connection or for one that had the
    /// same application before it and was removed. A name alone proves nothing: a person may have
    /// copied it from another secret in the portal (K2). What an earlier connection has handed out
    /// consumers may use: it is left alone.
    pub(super) async fn made(
        &self,
        journal: &Journal,
        attempt: AttemptName,
        key_id: KeyId,
    ) -> Result<bool, StoreFault> {
        let known = self.engine.store.attempt(attempt).await?;
        let declared = &journal.declared;
        Ok(known.is_some_and(|known| {
            let earlier =
                known.application == (declared.tenant_id, declared.client_id) && !known.handed_out;
            (known.connection == journal.id || earlier)
                && known.key_id.is_none_or(|made| made == key_id)
        }))
    }
}

fn orphan(password: &Password, attempt: AttemptName) -> Orphan {
    Orphan {
        key_id: password.key_id,
        attempt,
        starts_at: password.starts_at,
        expires_at: password.ends_at,
    }
}
