//! Secrets that others made: only ever listed (P3).

use super::Engine;
use super::orphans::OrphansFault;
use crate::connection::ConnectionName;
use crate::entra::Password;

impl Engine {
    /// The secrets on the application of a connection that are not ours; `None`: another process
    /// is rotating it, and a secret whose answer is just arriving would look like one.
    pub async fn foreign(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<Vec<Password>>, OrphansFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.journal().await?;
        let mut foreign = Vec::new();
        for password in pass.listed(&journal).await? {
            let attempt = password.display_name.as_ref();
            let attempt = attempt.and_then(|name| name.raw().parse().ok());
            let ours = match attempt {
                _ if journal.secret(password.key_id).is_some() => true,
                Some(attempt) => pass.made(&journal, attempt, password.key_id).await?,
                None => false,
            };
            if !ours {
                foreign.push(password);
            }
        }
        Ok(Some(foreign))
    }
}
