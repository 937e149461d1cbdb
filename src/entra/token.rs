//! Signing in: tokens for Graph, and proofs that a secret works.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::cloud::{Cloud, below};
use super::endpoint::Connection;
use super::fault::{Fault, FaultKind, Nonsense, Operation};
use super::id::{ClientId, TenantId};
use super::wire::{Call, Entra, Received};
use crate::text::code_word;

/// An application, as far as signing in as it needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppRef {
    /// The name of its cloud.
    pub cloud: String,
    /// Its directory.
    pub tenant_id: TenantId,
    /// The application.
    pub client_id: ClientId,
}

/// An access token for Graph.
#[derive(Debug, Clone)]
pub struct Token {
    pub(super) value: SecretString,
    /// By this host's clock.
    pub expires_at: DateTime<Utc>,
    /// By this host's clock.
    pub obtained_at: DateTime<Utc>,
    /// The cloud that it is for.
    pub cloud: String,
    /// The tenant that it is for.
    pub tenant_id: TenantId,
    /// The application that it was issued to.
    pub caller: ClientId,
}

/// The token endpoint has just accepted a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The server's own time, from the `Date` header.
    pub date: Option<DateTime<Utc>>,
}

/// Where `expires_in` is missing; real tokens live for an hour or more.
const SHORT_LIFE: Duration = Duration::from_secs(5 * 60);

/// Longer than any token lives; a larger number is broken.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

impl Entra {
    /// A token to call Graph with, over a pooled connection. None is kept here.
    ///
    /// Refusals of the secret are permanent in it: it is an established one.
    pub async fn token(&self, app: &AppRef, secret: &SecretString) -> Result<Token, Fault> {
        let received = self
            .sign_in(app, secret, Operation::Token, Connection::Pooled)
            .await?;
        let obtained_at = self.now();
        let granted = granted(&received)?;
        Ok(Token {
            expires_at: obtained_at + granted.life(),
            value: granted.access_token,
            obtained_at,
            cloud: app.cloud.clone(),
            tenant_id: app.tenant_id,
            caller: app.client_id,
        })
    }

    /// One proof that `secret` works: a token over a new TCP connection, thrown away at once.
    ///
    /// A connection that is kept leads to the replica that answered before, and proves nothing.
    pub async fn prove(&self, app: &AppRef, secret: &SecretString) -> Result<Proof, Fault> {
        let received = self
            .sign_in(app, secret, Operation::Prove, Connection::New)
            .await?;
        granted(&received)?;
        Ok(Proof {
            date: received.date(),
        })
    }

    async fn sign_in(
        &self,
        app: &AppRef,
        secret: &SecretString,
        during: Operation,
        connection: Connection,
    ) -> Result<Received, Fault> {
        let endpoint = self.endpoint(&app.cloud, during)?;
        let cloud = &endpoint.cloud;
        let tenant = app.tenant_id;
        let path = [&tenant.to_string(), "oauth2", "v2.0", "token"];
        let url = below(&cloud.login, &path);
        let client_id = app.client_id.to_string();
        let scope = cloud.scope();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &client_id),
            ("scope", &scope),
            ("client_secret", secret.expose_secret()),
        ];
        let call = Call { during, tenant };
        let received = self
            .send(call, endpoint, connection, |client| {
                client.post(url).form(&form)
            })
            .await?;
        if received.status().is_success() {
            Ok(received)
        } else {
            Err(refused(app, cloud, &received))
        }
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Granted {
    fn life(&self) -> Duration {
        // A number; managed identities write it as a string.
        let seconds = self.expires_in.as_ref().and_then(|value| match value {
            serde_json::Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        });
        seconds.map_or(SHORT_LIFE, |n| Duration::from_secs(n).min(LONGEST_LIFE))
    }
}

fn granted(received: &Received) -> Result<Granted, Fault> {
    let granted: Granted = received.json().map_err(|it| received.nonsense(it))?;
    let token = granted.access_token.expose_secret();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(received.nonsense(Nonsense::Lacks("access_token")));
    }
    Ok(granted)
}

/// The body of a refusal, as OAuth and Entra define it.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
    #[serde(default)]
    error_description: String,
}

impl Refusal {
    /// The number after `AADSTS`; `error_codes` is optional, the description begins with it.
    fn codes(&self) -> Vec<u64> {
        if !self.error_codes.is_empty() {
            return self.error_codes.clone();
        }
        let described = self.error_description.strip_prefix("AADSTS");
        let digits = described.and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next());
        digits.and_then(|it| it.parse().ok()).into_iter().collect()
    }
}

fn refused(app: &AppRef, cloud: &Cloud, received: &Received) -> Fault {
    if received.is_server_error() {
        return received.fault(FaultKind::ServerError);
    }
    let refusal: Refusal = match received.json() {
        Ok(refusal) => refusal,
        Err(nonsense) => return received.nonsense(nonsense),
    };
    let codes = refusal.codes();
    let known = codes.iter().find_map(|code| known(app, cloud, *code));
    // The description is not repeated: what was sent with it was the secret (P6).
    let kind = known.unwrap_or_else(|| match codes.first() {
        _ if refusal.error == "temporarily_unavailable" => FaultKind::ServerError,
        Some(code) => FaultKind::OtherSignIn {
            code: format!("AADSTS{code}"),
        },
        None => FaultKind::OtherSignIn {
            code: code_word(&refusal.error),
        },
    });
    received.fault(kind)
}

/// The codes that Keywheel acts on, from Microsoft's list of AADSTS error codes.
fn known(app: &AppRef, cloud: &Cloud, code: u64) -> Option<FaultKind> {
    let tenant_id = app.tenant_id;
    Some(match code {
        7_000_215 => FaultKind::SecretRefused,
        7_000_222 => FaultKind::SecretExpired,
        700_016 => FaultKind::ApplicationUnknown {
            client_id: app.client_id,
            tenant_id,
        },
        90_002 | 900_023 => FaultKind::TenantUnknown {
            tenant_id,
            cloud: cloud.name.clone(),
        },
        7_000_112 => FaultKind::ApplicationDisabled,
        53_003 => FaultKind::ConditionalAccess,
        _ => return None,
    })
}
