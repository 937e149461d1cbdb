//! The token endpoint, and the tokens that it issues.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::body::TokenForm;
use super::graph_error::GraphError;
use super::rules::Permission;
use super::sign_in_error::SignInError;
use super::tenant::{Application, Directory};
use super::wire::{Answer, SIGN_IN_CONTENT_TYPE, to_json};
use crate::entra::{ClientId, ObjectId, TenantId};

/// Who calls Graph, as its token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) tenant_id: TenantId,
    pub(super) client_id: ClientId,
    pub(super) service_principal_id: ObjectId,
    /// As it was when the token was issued: new consent needs a new token.
    pub(super) permission: Permission,
}

/// Signs and reads tokens, with a key that no other sandbox has.
pub(super) struct Tokens {
    key: hmac::Key,
}

/// The system gave no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gave no random bytes for the key that signs tokens")]
pub struct NoRandomness;

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256","kid":"sandbox"}"#;

impl Tokens {
    pub(super) fn new() -> Result<Self, NoRandomness> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(|key| Self { key })
            .map_err(|_| NoRandomness)
    }

    fn issue(&self, claims: &Claims) -> String {
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(HEADER);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(to_json(claims), &mut token);
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }

    /// Reads the token of a call to Graph at `base`.
    pub(super) fn caller(
        &self,
        headers: &HeaderMap,
        base: &str,
        now: DateTime<Utc>,
    ) -> Result<Caller, GraphError> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(GraphError::TokenMissing)?;
        let claims = self.verify(token.trim()).ok_or(GraphError::TokenInvalid)?;
        if claims.exp <= now.timestamp() {
            return Err(GraphError::TokenExpired);
        }
        let audience = claims.aud.trim_end_matches('/');
        if audience != base && !GRAPH_AUDIENCES.contains(&audience) {
            return Err(GraphError::TokenAudience);
        }
        Ok(Caller {
            tenant_id: claims.tid,
            client_id: claims.appid,
            service_principal_id: claims.oid,
            permission: Permission::from_roles(&claims.roles),
        })
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let (_, payload) = signed.split_once('.')?;
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// Graph as the clouds call it, and its application ID; a token for one of them is good here too.
const GRAPH_AUDIENCES: [&str; 5] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "00000003-0000-0000-c000-000000000000",
];

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    app_displayname: String,
    appid: ClientId,
    appidacr: String,
    idtyp: String,
    oid: ObjectId,
    #[serde(default)]
    roles: Vec<String>,
    sub: ObjectId,
    tid: TenantId,
    uti: Uuid,
    ver: String,
}

/// A request for a token that was found in order; only the secret is left to look at.
struct Checked {
    tenant_id: TenantId,
    client_id: ClientId,
    resource: String,
}

/// A request for a token.
pub(super) struct Request<'a> {
    /// As the path names it.
    pub(super) tenant: &'a str,
    pub(super) form: &'a TokenForm,
    /// `https://host:port`, as the caller addressed it.
    pub(super) base: &'a str,
    pub(super) now: DateTime<Utc>,
    pub(super) request_id: Uuid,
}

/// Answers a request for a token.
pub(super) fn answer(
    tokens: &Tokens,
    directory: &mut Directory,
    request: &Request<'_>,
) -> Result<Answer, SignInError> {
    let (form, now) = (request.form, request.now);
    let view = directory.replicas.for_token();
    let asked = check(directory, request.tenant, form)?;
    let known = directory
        .application(asked.client_id)
        .filter(|application| application.tenant_id == asked.tenant_id)
        .filter(|application| application.seen(view, now));
    let Some(application) = known else {
        return Err(unknown_application(directory, asked.tenant_id, form));
    };
    if application.disabled {
        return Err(SignInError::DisabledApplication(asked.client_id));
    }
    let secret = form.secret.as_ref().ok_or(SignInError::MissingSecret)?;
    let application = directory.sign_in(asked.client_id, secret, view, now)?;

    let lifetime = directory.rules.token_lifetime;
    let claims = claims(application, asked.resource, request, lifetime);
    let issued = Issued {
        token_type: "Bearer",
        expires_in: lifetime.as_secs(),
        ext_expires_in: lifetime.as_secs(),
        access_token: tokens.issue(&claims),
    };
    Ok(Answer::text(
        StatusCode::OK,
        SIGN_IN_CONTENT_TYPE,
        to_json(&issued),
    ))
}

#[derive(Serialize)]
struct Issued {
    token_type: &'static str,
    expires_in: u64,
    ext_expires_in: u64,
    access_token: String,
}

fn check(directory: &Directory, tenant: &str, form: &TokenForm) -> Result<Checked, SignInError> {
    let tenant_id = directory.tenant(tenant)?;
    let required = |value: &'static str| SignInError::MissingParameter(value);
    let grant_type = form.grant_type.as_deref().ok_or(required("grant_type"))?;
    if grant_type != "client_credentials" {
        return Err(SignInError::UnsupportedGrant(grant_type.to_owned()));
    }
    let client_id = form.client_id.as_deref().ok_or(required("client_id"))?;
    let client_id = client_id
        .parse()
        .map_err(|_| unknown_application(directory, tenant_id, form))?;
    let scope = form.scope.as_deref().ok_or(required("scope"))?;
    Ok(Checked {
        tenant_id,
        client_id,
        resource: resource(scope)?,
    })
}

/// The resource of a scope. Azure's own tools send `https://graph.microsoft.com//.default`, for a
/// resource that ends in a slash.
fn resource(scope: &str) -> Result<String, SignInError> {
    let resource = scope
        .trim()
        .strip_suffix("/.default")
        .ok_or_else(|| SignInError::ScopeNotDefault(scope.to_owned()))?;
    if resource.is_empty() || resource.contains(char::is_whitespace) {
        return Err(SignInError::InvalidScope(scope.to_owned()));
    }
    Ok(resource.to_owned())
}

fn unknown_application(
    directory: &Directory,
    tenant_id: TenantId,
    form: &TokenForm,
) -> SignInError {
    let tenant = directory.tenants.get(&tenant_id);
    SignInError::UnknownApplication {
        application: form.client_id.clone().unwrap_or_default(),
        tenant: tenant.map_or_else(
            || tenant_id.to_string(),
            |tenant| tenant.display_name.clone(),
        ),
    }
}

fn claims(
    application: &Application,
    aud: String,
    request: &Request<'_>,
    lifetime: Duration,
) -> Claims {
    let now = request.now;
    let lifetime = TimeDelta::from_std(lifetime).unwrap_or_default();
    let roles = match application.permission {
        Permission::None => Vec::new(),
        permission => vec![permission.name().to_owned()],
    };
    Claims {
        aud,
        iss: format!("{}/{}/v2.0", request.base, application.tenant_id),
        iat: now.timestamp(),
        nbf: now.timestamp(),
        exp: (now + lifetime).timestamp(),
        app_displayname: application.display_name.clone(),
        appid: application.client_id,
        appidacr: "1".to_owned(),
        idtyp: "app".to_owned(),
        oid: application.service_principal_id,
        roles,
        sub: application.service_principal_id,
        tid: application.tenant_id,
        uti: request.request_id,
        ver: "1.0".to_owned(),
    }
}

/// The discovery document of a tenant.
pub(super) fn discovery(
    directory: &Directory,
    tenant: &str,
    base: &str,
) -> Result<Answer, SignInError> {
    let tenant_id = directory.tenant(tenant)?;
    let document = serde_json::json!({
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/{tenant_id}/v2.0"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
    });
    Ok(Answer::text(
        StatusCode::OK,
        SIGN_IN_CONTENT_TYPE,
        document.to_string(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_with_a_double_slash_is_accepted() {
        assert_eq!(
            resource("https://graph.microsoft.com//.default").as_deref(),
            Ok("https://graph.microsoft.com/")
        );
        assert!(matches!(
            resource("User.Read"),
            Err(SignInError::ScopeNotDefault(_))
        ));
        assert!(matches!(
            resource("/.default"),
            Err(SignInError::InvalidScope(_))
        ));
    }
}
