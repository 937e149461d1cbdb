//! How a pass signs in to Graph, and reads the application.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use secrecy::SecretString;

use super::{Engine, Pass};
use crate::clock::Clock;
use crate::entra::{
    Answer, AppRef, Application, Class, Fault, FaultKind, KeyId, Operation, Password, Token,
};
use crate::journal::{AttemptName, Journal, Origin, Removal, Role, Secret};
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Terms, YOUNG};
use crate::rotation::trouble::{Halt, Trouble};
use crate::settings::IdentityKind;
use crate::store::{Change, StoreFault};

/// The code of what is said where no stored secret signs in.
pub(super) const NO_USABLE_SECRET: &str = "no-usable-secret";

/// A token is not used in its last minutes: a call with it must not outlive it.
const SPARE: Duration = Duration::from_secs(5 * 60);

/// Access tokens for Graph, shared by all connections of one process.
///
/// They are never used to prove a secret: a cached token proves nothing.
#[derive(Debug, Default)]
pub struct Tokens {
    by_signer: Mutex<HashMap<Signer, Token>>,
}

/// Who a token was issued to, and by which secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Signer {
    /// The application itself, with this secret.
    Itself(KeyId),
    /// An identity of the settings, for calling this cloud and tenant.
    Identity(String, String),
}

impl Tokens {
    fn usable(&self, signer: &Signer, clock: &dyn Clock) -> Option<Token> {
        let tokens = self
            .by_signer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        tokens
            .get(signer)
            .filter(|token| token.expires_at > clock.now() + SPARE)
            .cloned()
    }

    fn keep(&self, signer: Signer, token: &Token) {
        let mut tokens = self
            .by_signer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        tokens.insert(signer, token.clone());
    }

    /// Graph refused one: all are fetched anew.
    pub(super) fn forget(&self) {
        self.by_signer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clear();
    }
}

impl Engine {
    /// A token for calling Graph, as an identity of the settings.
    pub(crate) async fn sign_in_as(&self, name: &str) -> Result<Token, Halt> {
        let identity = self
            .settings
            .identities
            .iter()
            .find(|known| known.name == name);
        let Some(identity) = identity else {
            return Err(Trouble::rule(
                "no-such-identity",
                format!("the settings have no identity named {name}"),
                "add it as [[identity]], or choose another with `connection edit`",
            )
            .into());
        };
        let IdentityKind::ClientSecret {
            tenant_id,
            client_id,
            secret_file,
            cloud,
        } = &identity.kind;
        let signer = Signer::Identity(name.to_owned(), format!("{cloud}/{tenant_id}"));
        if let Some(token) = self.tokens.usable(&signer, &*self.clock) {
            return Ok(token);
        }
        // Read anew for each token: the file may be a destination of a rotation.
        let secret = crate::secret_file::read(secret_file).map_err(|fault| {
            Trouble::passing_rule(
                "secret-file",
                fault.to_string(),
                format!("put the secret of identity {name} there, readable by Keywheel alone"),
            )
        })?;
        let application = AppRef {
            cloud: cloud.clone(),
            tenant_id: *tenant_id,
            client_id: *client_id,
        };
        // The file may have been written a moment ago, with a secret that this replica does not
        // know yet: a refusal of it says as little as while it was proved.
        let token = self
            .entra
            .token(&application, &secret)
            .await
            .map_err(|fault| Fault {
                during: Operation::Prove,
                ..fault
            })?;
        self.tokens.keep(signer, &token);
        Ok(token)
    }
}

impl Pass<'_> {
    /// The application in its tenant and cloud.
    pub(super) fn application(&self, journal: &Journal, terms: &Terms) -> AppRef {
        AppRef {
            cloud: terms.policy.cloud.clone(),
            tenant_id: journal.declared.tenant_id,
            client_id: journal.declared.client_id,
        }
    }

    /// A token for calling Graph, as the connection's identity.
    pub(super) async fn sign_in(&self, journal: &Journal, terms: &Terms) -> Result<Token, Halt> {
        if terms.policy.identity == "self" {
            self.sign_in_as_itself(journal, terms).await
        } else {
            self.engine.sign_in_as(&terms.policy.identity).await
        }
    }

    /// With whichever stored secret works, the current one first.
    async fn sign_in_as_itself(&self, journal: &Journal, terms: &Terms) -> Result<Token, Halt> {
        let application = self.application(journal, terms);
        let mut first_refusal: Option<Fault> = None;
        for secret in by_likelihood(journal) {
            let signer = Signer::Itself(secret.key_id);
            if let Some(token) = self.engine.tokens.usable(&signer, &*self.engine.clock) {
                return Ok(token);
            }
            let Some(value) = self.value(journal, secret.key_id).await? else {
                continue;
            };
            match self.engine.entra.token(&application, &value).await {
                Ok(token) => {
                    self.engine.tokens.keep(signer, &token);
                    self.note_drift(journal, secret, first_refusal).await?;
                    return Ok(token);
                }
                // Only this says something about the secret; anything else is the same for all.
                Err(fault)
                    if matches!(
                        fault.kind,
                        FaultKind::SecretRefused | FaultKind::SecretExpired
                    ) =>
                {
                    first_refusal.get_or_insert(self.judged(fault, secret));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(match first_refusal {
            // It may be accepted yet.
            Some(fault) if fault.class() != Class::Permanent => fault.into(),
            refusal => self.none_signs_in(refusal.as_ref()).into(),
        })
    }

    fn none_signs_in(&self, refusal: Option<&Fault>) -> Trouble {
        let name = &self.name;
        let why = refusal.map_or_else(String::new, |fault| format!(": {fault}"));
        Trouble::rule(
            NO_USABLE_SECRET,
            format!("no stored secret of {name} is left that signs in{why}"),
            format!(
                "somebody may have deleted it in the portal: make another one there, and give it \
                 with `keywheel connection edit {name} --secret-file FILE`"
            ),
        )
    }

    /// A young secret that is refused may have met a replica that lags: only lasting repetition
    /// makes that permanent.
    fn judged(&self, fault: Fault, secret: &Secret) -> Fault {
        let young = secret.starts_at.is_some_and(|at| self.now() < at + YOUNG);
        if young {
            Fault {
                during: Operation::Prove,
                ..fault
            }
        } else {
            fault
        }
    }

    /// The value of a stored secret; `None`: nobody holds it.
    pub(super) async fn value(
        &self,
        journal: &Journal,
        key_id: KeyId,
    ) -> Result<Option<SecretString>, Halt> {
        Ok(self.engine.value(journal, key_id).await?)
    }

    /// Reads the application, and makes clean-ups of watched names that have shown up in it.
    pub(super) async fn read(
        &self,
        journal: &Journal,
        token: &Token,
    ) -> Result<Answer<Application>, Halt> {
        let Some(object_id) = journal.object_id else {
            return Err(Trouble::passing_rule(
                "not-adopted",
                "the application has not been looked up yet",
                "run `keywheel verify NAME`",
            )
            .into());
        };
        let answer = self.answered(self.engine.entra.application(token, object_id).await)?;
        self.hear(answer.date);
        let mut changes = Vec::new();
        for watch in &journal.watches {
            if let Some(orphan) = self.find(journal, &answer.value, watch.attempt).await? {
                changes.extend(self.orphaned(journal, orphan, watch.attempt));
                changes.push(Change::WatchDone(watch.attempt));
            }
        }
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        Ok(answer)
    }

    /// The password credential that an attempt of ours made.
    pub(super) async fn find<'p>(
        &self,
        journal: &Journal,
        application: &'p Application,
        attempt: AttemptName,
    ) -> Result<Option<&'p Password>, StoreFault> {
        let name = attempt.to_string();
        for password in &application.passwords {
            let named = password.display_name.as_ref();
            if named.is_some_and(|it| it.raw() == name)
                && self.made(journal, attempt, password.key_id).await?
            {
                return Ok(Some(password));
            }
        }
        Ok(None)
    }

    /// What Graph answered; a token that it refused is not used again.
    pub(super) fn answered<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        answer.inspect_err(|fault| {
            if fault.kind == FaultKind::TokenRejected {
                self.engine.tokens.forget();
            }
        })
    }

    /// What is written when a name of lost outcome is found: its value is nobody's, so it goes.
    pub(super) fn orphaned(
        &self,
        journal: &Journal,
        password: &Password,
        attempt: AttemptName,
    ) -> Vec<Change> {
        if journal.secret(password.key_id).is_some() {
            return Vec::new();
        }
        self.tell(&Moment::Orphaned {
            key_id: password.key_id,
        });
        let secret = Secret {
            key_id: password.key_id,
            role: Role::Doomed,
            origin: Origin::Minted,
            generation: 0,
            hint: password.hint.clone().unwrap_or_default(),
            starts_at: password.starts_at,
            expires_at: password.ends_at,
            attempt: Some(attempt),
            refused: None,
        };
        let mut event = self.event("orphan-found");
        event.key_id = Some(password.key_id);
        vec![
            Change::Secret(secret),
            Change::Removal(self.removal(password.key_id)),
            Change::Record(event),
        ]
    }

    /// A Key ID that is to go from now on.
    pub(super) fn removal(&self, key_id: KeyId) -> Removal {
        Removal {
            key_id,
            asked_at: self.now(),
            called_at: None,
            acknowledged: false,
            absence: crate::journal::Absence::default(),
            retry: crate::journal::Retry::default(),
        }
    }
}

/// Stored secrets in the order in which they are likely to sign in.
fn by_likelihood(journal: &Journal) -> Vec<&Secret> {
    let rank = |secret: &Secret| match secret.role {
        Role::Current => 0,
        Role::Previous => 1,
        Role::Pending => 2,
        Role::Doomed => 3,
    };
    let mut secrets: Vec<&Secret> = journal.secrets.iter().collect();
    secrets.sort_by_key(|secret| (rank(secret), std::cmp::Reverse(secret.generation)));
    secrets
}
