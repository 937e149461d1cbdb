//! Microsoft Graph: reading an application, adding and removing its secrets.

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use uuid::Uuid;

use super::cloud::below;
use super::fault::{Fault, FaultKind, Nonsense, Operation};
use super::id::{ClientId, KeyId, ObjectId};
use super::token::{Token, word};
use super::wire::{Call, Connection, Entra, Received};
use super::{Answer, date};
use crate::text::{Untrusted, harmless, without_secrets};

/// An application registration, as far as Keywheel looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// What Graph addresses it by.
    pub object_id: ObjectId,
    /// What consumers sign in with.
    pub client_id: ClientId,
    /// Its name.
    pub display_name: Untrusted,
    /// Open to personal accounts: it holds two secrets at most.
    pub personal: bool,
    /// Every secret, expired ones included.
    pub passwords: Vec<Password>,
}

impl Application {
    /// The secret of this Key ID.
    pub fn password(&self, key_id: KeyId) -> Option<&Password> {
        self.passwords
            .iter()
            .find(|password| password.key_id == key_id)
    }
}

/// A secret on an application: Graph shows its value only once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// What it is removed by.
    pub key_id: KeyId,
    /// The first three characters of its value.
    pub hint: Option<String>,
    /// Its name; old ones have none.
    pub display_name: Option<Untrusted>,
    /// `None`: not said.
    pub starts_at: Option<DateTime<Utc>>,
    /// `None`: never, or not said.
    pub ends_at: Option<DateTime<Utc>>,
}

/// A secret that was just made; the dates and the name are the server's, not what was asked for.
#[derive(Debug, Clone)]
pub struct Minted {
    /// What it is removed by.
    pub key_id: KeyId,
    /// Its value: nobody will tell it again.
    pub secret: SecretString,
    /// The first three characters of its value.
    pub hint: String,
    /// Its name.
    pub display_name: Option<Untrusted>,
    /// `None`: not said.
    pub starts_at: Option<DateTime<Utc>>,
    /// `None`: not said.
    pub ends_at: Option<DateTime<Utc>>,
}

const FIELDS: &str = "id,appId,displayName,signInAudience,passwordCredentials";

impl Entra {
    /// The application of this client ID; `None`: the replica that was asked does not know it.
    ///
    /// It is addressed by its key and not by a filter, which costs twice as much and takes the
    /// right to list applications.
    pub async fn find_application(
        &self,
        token: &Token,
        client_id: ClientId,
    ) -> Result<Option<Answer<Application>>, Fault> {
        let path = [&*by_client_id("applications", client_id)];
        let found = self.read(token, &path, FIELDS, application).await;
        match found {
            Ok(found) if found.value.client_id != client_id => Err(mismatch(found)),
            Err(fault) if fault.kind == FaultKind::ApplicationMissing => Ok(None),
            found => found.map(Some),
        }
    }

    /// The application of this object ID.
    pub async fn application(
        &self,
        token: &Token,
        object_id: ObjectId,
    ) -> Result<Answer<Application>, Fault> {
        let path = ["applications", &object_id.to_string()];
        match self.read(token, &path, FIELDS, application).await {
            Ok(found) if found.value.object_id != object_id => Err(mismatch(found)),
            found => found,
        }
    }

    /// Whether the secret sits on the service principal, which Keywheel does not rotate, and not
    /// on the application. A tenant without that service principal answers no.
    pub async fn service_principal_holds(
        &self,
        token: &Token,
        client_id: ClientId,
        key_id: KeyId,
    ) -> Result<bool, Fault> {
        let path = [&*by_client_id("servicePrincipals", client_id)];
        let fields = "id,passwordCredentials";
        match self.read(token, &path, fields, passwords).await {
            Ok(found) => Ok(found.value.iter().any(|held| held.key_id == key_id)),
            Err(fault) if fault.kind == FaultKind::ApplicationMissing => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Adds a secret. This is not idempotent: see [`Fault::made_nothing`].
    ///
    /// `ends_at` is always sent: without it Entra gives two years, which policies forbid.
    pub async fn add_password(
        &self,
        token: &Token,
        object_id: ObjectId,
        name: &str,
        ends_at: DateTime<Utc>,
    ) -> Result<Answer<Minted>, Fault> {
        let ends_at = ends_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = json!({"passwordCredential": {"displayName": name, "endDateTime": ends_at}});
        let received = self
            .change(token, Operation::Add, object_id, "addPassword", &body)
            .await?;
        let minted = minted(&received).map_err(|it| received.nonsense(it))?;
        Ok(received.brought(minted))
    }

    /// Removes a secret by its Key ID. That Graph knows no such Key ID may mean that it is gone,
    /// or that it has not yet arrived at the replica that was asked.
    pub async fn remove_password(
        &self,
        token: &Token,
        object_id: ObjectId,
        key_id: KeyId,
    ) -> Result<Answer<()>, Fault> {
        let body = json!({"keyId": key_id});
        let received = self
            .change(token, Operation::Remove, object_id, "removePassword", &body)
            .await?;
        // A portal that answers 200 to everything has removed nothing.
        if received.status() != StatusCode::NO_CONTENT {
            return Err(received.nonsense(Nonsense::NotJson));
        }
        Ok(received.brought(()))
    }

    async fn change(
        &self,
        token: &Token,
        during: Operation,
        object_id: ObjectId,
        action: &str,
        body: &serde_json::Value,
    ) -> Result<Received, Fault> {
        let path = ["applications", &object_id.to_string(), action];
        self.graph(token, during, &path, |client, url| {
            client.post(url).json(body)
        })
        .await
    }

    async fn read<T>(
        &self,
        token: &Token,
        path: &[&str],
        fields: &str,
        parse: impl FnOnce(&Received) -> Result<T, Nonsense>,
    ) -> Result<Answer<T>, Fault> {
        let received = self
            .graph(token, Operation::Read, path, |client, url| {
                client.get(url).query(&[("$select", fields)])
            })
            .await?;
        let value = parse(&received).map_err(|it| received.nonsense(it))?;
        Ok(received.brought(value))
    }

    async fn graph(
        &self,
        token: &Token,
        during: Operation,
        path: &[&str],
        request: impl FnOnce(&Client, reqwest::Url) -> RequestBuilder,
    ) -> Result<Received, Fault> {
        let endpoint = self.endpoint(&token.cloud, during)?;
        let version = below(&endpoint.cloud.graph, &["v1.0"]);
        let url = below(&version, path);
        let tenant = token.tenant_id;
        let call = Call { during, tenant };
        let received = self
            .send(call, endpoint, Connection::Pooled, |client| {
                request(client, url).bearer_auth(token.value.expose_secret())
            })
            .await?;
        if received.status().is_success() {
            Ok(received)
        } else {
            Err(received.fault(refusal(&received)))
        }
    }
}

/// OData's address of an object by its alternate key.
fn by_client_id(collection: &str, client_id: ClientId) -> String {
    format!("{collection}(appId='{client_id}')")
}

fn mismatch<T>(answer: Answer<T>) -> Fault {
    Fault {
        kind: FaultKind::Nonsense(Nonsense::Mismatch),
        during: Operation::Read,
        status: Some(StatusCode::OK.as_u16()),
        client_request_id: Some(answer.client_request_id),
    }
}

/// What Graph sends for an application or a service principal, as far as it was asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<ObjectId>,
    #[serde(default, deserialize_with = "lenient")]
    app_id: Option<ClientId>,
    #[serde(default, deserialize_with = "lenient")]
    display_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    sign_in_audience: Option<String>,
    password_credentials: Option<Vec<Credential>>,
}

/// One entry of `passwordCredentials`. Other tools have written every field but the Key ID.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    #[serde(default, deserialize_with = "lenient")]
    key_id: Option<KeyId>,
    #[serde(default, deserialize_with = "lenient")]
    display_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    hint: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    start_date_time: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    end_date_time: Option<String>,
    #[serde(default)]
    secret_text: Option<SecretString>,
}

/// A value of another type than expected is as good as none.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

impl Credential {
    /// An entry without a Key ID makes the whole list useless: it might be the one that is
    /// looked for, and "not listed" must never be said of it.
    fn password(self) -> Result<Password, Nonsense> {
        Ok(Password {
            key_id: self.key_id.ok_or(Nonsense::Lacks("keyId"))?,
            hint: self.hint.map(|hint| harmless(&hint, 16)),
            display_name: self.display_name.map(Untrusted::new),
            starts_at: self.start_date_time.as_deref().and_then(date::graph),
            ends_at: self.end_date_time.as_deref().and_then(date::graph),
        })
    }
}

fn application(received: &Received) -> Result<Application, Nonsense> {
    let holder: Holder = received.json()?;
    let audience = holder.sign_in_audience.as_deref();
    Ok(Application {
        object_id: holder.id.ok_or(Nonsense::Lacks("id"))?,
        client_id: holder.app_id.ok_or(Nonsense::Lacks("appId"))?,
        personal: matches!(
            audience,
            Some("AzureADandPersonalMicrosoftAccount" | "PersonalMicrosoftAccount")
        ),
        passwords: listed(holder.password_credentials)?,
        display_name: Untrusted::new(holder.display_name.unwrap_or_default()),
    })
}

fn passwords(received: &Received) -> Result<Vec<Password>, Nonsense> {
    let holder: Holder = received.json()?;
    listed(holder.password_credentials)
}

/// A list that is missing is not an empty one (P7).
fn listed(credentials: Option<Vec<Credential>>) -> Result<Vec<Password>, Nonsense> {
    let credentials = credentials.ok_or(Nonsense::Lacks("passwordCredentials"))?;
    credentials.into_iter().map(Credential::password).collect()
}

fn minted(received: &Received) -> Result<Minted, Nonsense> {
    let mut credential: Credential = received.json()?;
    let secret = credential.secret_text.take();
    let secret = secret
        .filter(|secret| !secret.expose_secret().is_empty())
        .ok_or(Nonsense::Lacks("secretText"))?;
    let made = credential.password()?;
    let first_three = || secret.expose_secret().chars().take(3).collect();
    Ok(Minted {
        key_id: made.key_id,
        hint: made.hint.unwrap_or_else(first_three),
        display_name: made.display_name,
        starts_at: made.starts_at,
        ends_at: made.ends_at,
        secret,
    })
}

/// The body of a refusal, as OData defines it.
#[derive(Deserialize)]
struct Refusal {
    error: Detail,
}

#[derive(Deserialize)]
struct Detail {
    code: String,
    #[serde(default)]
    message: String,
}

fn refusal(received: &Received) -> FaultKind {
    let status = received.status();
    let refusal: Result<Refusal, Nonsense> = received.json();
    let detail = match refusal {
        Ok(Refusal { error }) => error,
        Err(_) if received.is_server_error() => return FaultKind::ServerError,
        Err(_) if status == StatusCode::UNAUTHORIZED => return FaultKind::TokenRejected,
        Err(nonsense) => return FaultKind::Nonsense(nonsense),
    };
    let (code, message) = (detail.code.as_str(), detail.message.as_str());
    match status {
        _ if code == "Directory_ConcurrencyViolation" => FaultKind::Concurrency,
        _ if received.is_server_error() => FaultKind::ServerError,
        StatusCode::UNAUTHORIZED => FaultKind::TokenRejected,
        // Also seen without that code, when a removal follows an addition at once.
        StatusCode::CONFLICT => FaultKind::Concurrency,
        _ => spelt_out(code, message),
    }
}

/// A refusal with a code: that text decides too is Graph's doing.
fn spelt_out(code: &str, message: &str) -> FaultKind {
    let policy_id = policy_id(message);
    match code {
        _ if message.contains("No password credential found with keyId") => {
            FaultKind::CredentialMissing
        }
        "Authorization_RequestDenied" => FaultKind::Forbidden,
        "Request_ResourceNotFound" => FaultKind::ApplicationMissing,
        "TooManyAppPasswords" => FaultKind::TooManyPasswords,
        "Directory_ResourceSizeExceeded" => FaultKind::SizeExceeded,
        _ if code.starts_with("CredentialInvalidLifetime") => {
            FaultKind::LifetimePolicy { policy_id }
        }
        _ if code.starts_with("CredentialTypeNotAllowed") => {
            FaultKind::PasswordsForbidden { policy_id }
        }
        _ => FaultKind::Unknown {
            code: word(code),
            message: without_secrets(message, 200),
        },
    }
}

/// `… as per assigned policy '538f1913-…'.`
fn policy_id(message: &str) -> Option<Uuid> {
    message
        .split(|c: char| !c.is_ascii_hexdigit() && c != '-')
        .filter(|word| word.len() == 36)
        .find_map(|word| Uuid::try_parse(word).ok())
}
