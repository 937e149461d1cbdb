//! Whether a token may write to an application: found out without writing.
//!
//! Graph asks for the application permission `Application.ReadWrite.All`, or for
//! `Application.ReadWrite.OwnedBy` and ownership of the application (reference of
//! `application: addPassword`). Access tokens are opaque to clients by contract, so what can't be
//! read in one is "unknown", never a "no".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use serde::Deserialize;
use uuid::Uuid;

use super::application::Application;
use super::fault::{Fault, Nonsense};
use super::token::Token;
use super::wire::{Entra, Received};

/// Whether an identity may add and remove passwords of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayWrite {
    /// It may.
    Yes,
    /// It lacks the permission or its consent.
    NoPermission,
    /// It may write to applications that it owns, and does not own this one.
    NotOwner,
    /// The token does not say.
    Unknown,
}

#[derive(Debug, Default, Deserialize)]
struct Claims {
    #[serde(default)]
    roles: Vec<String>,
    oid: Option<Uuid>,
}

#[derive(Debug, Deserialize)]
struct Owners {
    value: Vec<Owner>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    id: Uuid,
}

impl Entra {
    /// Whether `token` may write to `application`; makes no call that changes anything.
    pub async fn may_write(
        &self,
        token: &Token,
        application: &Application,
    ) -> Result<MayWrite, Fault> {
        let Some(claims) = claims(token) else {
            return Ok(MayWrite::Unknown);
        };
        let has = |role: &str| claims.roles.iter().any(|held| held == role);
        if has("Application.ReadWrite.All") || has("Directory.ReadWrite.All") {
            return Ok(MayWrite::Yes);
        }
        if !has("Application.ReadWrite.OwnedBy") {
            return Ok(MayWrite::NoPermission);
        }
        let id = application.object_id.to_string();
        let path = ["applications", &id, "owners"];
        let owners = self.read(token, &path, "id", owners).await?.value;
        Ok(match claims.oid {
            Some(oid) if owners.contains(&oid) => MayWrite::Yes,
            Some(_) => MayWrite::NotOwner,
            None => MayWrite::Unknown,
        })
    }
}

fn owners(received: &Received) -> Result<Vec<Uuid>, Nonsense> {
    let owners: Owners = received.json()?;
    Ok(owners.value.into_iter().map(|owner| owner.id).collect())
}

fn claims(token: &Token) -> Option<Claims> {
    let payload = token.value.expose_secret().split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn token(payload: &str) -> Token {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        Token {
            value: format!("e30.{payload}.c2ln").into(),
            expires_at: DateTime::UNIX_EPOCH,
            obtained_at: DateTime::UNIX_EPOCH,
            cloud: "public".into(),
            tenant_id: "6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap(),
            caller: "6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap(),
        }
    }

    #[test]
    fn b5_what_a_token_does_not_say_is_unknown() {
        assert!(claims(&token("no JSON")).is_none());
        assert!(claims(&token("{}")).unwrap().roles.is_empty());
        let said = claims(&token(r#"{"roles":["Application.ReadWrite.OwnedBy"]}"#)).unwrap();
        assert_eq!(said.roles, ["Application.ReadWrite.OwnedBy"]);
    }
}
