//! Whether the stored secrets sign in, and are still where they were. Nothing is changed by it.

use super::advance::Engine;
use super::plan::YOUNG;
use super::trouble::{AdvanceFault, Halt};
use crate::connection::ConnectionName;
use crate::entra::{AppRef, Application, Class, Fault, KeyId, Operation};
use crate::journal::{Journal, Role, Secret};

/// How one stored secret was found.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Which.
    pub key_id: KeyId,
    /// What it is to the consumers.
    pub role: Role,
    /// Whether a fresh token was issued for it.
    pub signs_in: Verdict,
    /// Whether the application lists its Key ID.
    pub listed: Verdict,
}

/// The answer to a question that can't always be asked.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is so.
    Yes,
    /// It is not so.
    No(Finding),
    /// It can't be told.
    Unknown(Finding),
}

/// Why a verdict is no yes, in words that are safe to show.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Stable, for scripts.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Engine {
    /// Tries the current secret and every previous one, each with one fresh token.
    pub async fn verify(&self, name: &ConnectionName) -> Result<Vec<Verified>, AdvanceFault> {
        let journal = self.journal(name).await?;
        let terms = self.terms(&journal)?;
        let application = AppRef {
            cloud: terms.policy.cloud.clone(),
            tenant_id: journal.declared.tenant_id,
            client_id: journal.declared.client_id,
        };
        let listing = self
            .listing(&journal, &application, &terms.policy.identity)
            .await?;
        let mut verified = Vec::new();
        for secret in in_use(&journal) {
            verified.push(Verified {
                key_id: secret.key_id,
                role: secret.role,
                signs_in: self.signs_in(&journal, &application, secret).await?,
                listed: listed(&listing, secret.key_id),
            });
        }
        Ok(verified)
    }

    async fn signs_in(
        &self,
        journal: &Journal,
        application: &AppRef,
        secret: &Secret,
    ) -> Result<Verdict, AdvanceFault> {
        let Some(value) = self.value(journal, secret.key_id).await? else {
            return Ok(Verdict::Unknown(Finding {
                code: "no-value".into(),
                message: "its value is not kept".into(),
                remedy: None,
            }));
        };
        Ok(match self.entra.prove(application, &value).await {
            Ok(_) => Verdict::Yes,
            Err(fault) => {
                let fault = self.judged(fault, secret);
                match fault.class() {
                    Class::Permanent => Verdict::No(Finding::of(&fault)),
                    _ => Verdict::Unknown(Finding::of(&fault)),
                }
            }
        })
    }

    /// Of a young secret a refusal tells nothing: a replica may lag.
    fn judged(&self, fault: Fault, secret: &Secret) -> Fault {
        let now = self.clock.now();
        let young = secret.starts_at.is_some_and(|at| now < at + YOUNG);
        let during = if young {
            Operation::Prove
        } else {
            Operation::Token
        };
        Fault { during, ..fault }
    }

    /// The application as the connection's identity reads it, or why it could not.
    async fn listing(
        &self,
        journal: &Journal,
        application: &AppRef,
        identity: &str,
    ) -> Result<Result<Application, Finding>, AdvanceFault> {
        match self.look_up(journal, application, identity).await {
            Ok(Some(found)) => Ok(Ok(found)),
            Ok(None) => Ok(Err(Finding {
                code: "no-such-application".into(),
                message: "the application is not found in its tenant".into(),
                remedy: None,
            })),
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) => {
                let failure = trouble.failure(self.clock.now(), &crate::journal::Retry::default());
                Ok(Err(Finding {
                    code: failure.code,
                    message: failure.message,
                    remedy: failure.remedy,
                }))
            }
        }
    }

    async fn look_up(
        &self,
        journal: &Journal,
        application: &AppRef,
        identity: &str,
    ) -> Result<Option<Application>, Halt> {
        let token = if identity == "self" {
            let mut refusal = None;
            let mut token = None;
            for secret in in_use(journal) {
                let Some(value) = self.value(journal, secret.key_id).await? else {
                    continue;
                };
                match self.entra.token(application, &value).await {
                    Ok(issued) => {
                        token = Some(issued);
                        break;
                    }
                    Err(fault) => refusal = refusal.or(Some(fault)),
                }
            }
            match (token, refusal) {
                (Some(token), _) => token,
                (None, Some(fault)) => return Err(fault.into()),
                (None, None) => return Ok(None),
            }
        } else {
            self.sign_in_as(identity).await?
        };
        let found = self
            .entra
            .find_application(&token, application.client_id)
            .await?;
        Ok(found.map(|answer| answer.value))
    }
}

/// Those that consumers may hold, the current one first.
fn in_use(journal: &Journal) -> impl Iterator<Item = &Secret> {
    let of = |role: Role| {
        journal
            .secrets
            .iter()
            .filter(move |secret| secret.role == role)
    };
    of(Role::Current).chain(of(Role::Previous))
}

fn listed(listing: &Result<Application, Finding>, key_id: KeyId) -> Verdict {
    match listing {
        Ok(application) if application.password(key_id).is_some() => Verdict::Yes,
        Ok(_) => Verdict::No(Finding {
            code: "key-not-on-application".into(),
            message: format!("Key ID {key_id} is no longer on the application"),
            remedy: Some(
                "somebody has deleted it: make another in the portal and give it with `keywheel \
                 connection edit NAME --secret-file FILE`"
                    .into(),
            ),
        }),
        Err(finding) => Verdict::Unknown(finding.clone()),
    }
}

impl Finding {
    fn of(fault: &Fault) -> Self {
        Self {
            code: fault.code(),
            message: fault.to_string(),
            remedy: fault.remedy(),
        }
    }
}
