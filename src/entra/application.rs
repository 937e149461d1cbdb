//! An application and its secrets, read from what Graph sends: with care, since other tools write
//! to applications too.

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::date;
use super::fault::{FaultKind, Nonsense};
use super::id::{ClientId, KeyId, ObjectId};
use super::wire::Received;
use crate::text::{Untrusted, code_word, harmless, without_secrets};

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
            hint: self.hint.as_deref().map(first_three),
            display_name: self.display_name.map(Untrusted::new),
            starts_at: self.start_date_time.as_deref().and_then(date::graph),
            ends_at: self.end_date_time.as_deref().and_then(date::graph),
        })
    }
}

/// No more of a secret is ever kept in the clear, whatever a server calls its hint.
fn first_three(text: &str) -> String {
    harmless(text, text.len()).chars().take(3).collect()
}

pub(super) fn application(received: &Received) -> Result<Application, Nonsense> {
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

pub(super) fn passwords(received: &Received) -> Result<Vec<Password>, Nonsense> {
    let holder: Holder = received.json()?;
    listed(holder.password_credentials)
}

/// A list that is missing is not an empty one (P7).
fn listed(credentials: Option<Vec<Credential>>) -> Result<Vec<Password>, Nonsense> {
    let credentials = credentials.ok_or(Nonsense::Lacks("passwordCredentials"))?;
    credentials.into_iter().map(Credential::password).collect()
}

pub(super) fn minted(received: &Received) -> Result<Minted, Nonsense> {
    let mut credential: Credential = received.json()?;
    let secret = credential.secret_text.take();
    let secret = secret
        .filter(|secret| !secret.expose_secret().is_empty())
        .ok_or(Nonsense::Lacks("secretText"))?;
    let made = credential.password()?;
    Ok(Minted {
        key_id: made.key_id,
        hint: made
            .hint
            .filter(|hint| !hint.is_empty())
            .unwrap_or_else(|| first_three(secret.expose_secret())),
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

pub(super) fn refusal(received: &Received) -> FaultKind {
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
            code: code_word(code),
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
