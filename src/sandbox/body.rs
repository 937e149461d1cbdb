//! The bodies of requests, read once.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::Deserialize;

use super::tenant::PasswordRequest;
use crate::entra::KeyId;

/// A body that Graph refuses; the text is Graph's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBody {
    #[error("Empty Payload. JSON content expected.")]
    Empty,
    #[error(
        "Unable to read JSON request payload. Please ensure Content-Type header is set and payload \
         is of valid JSON format."
    )]
    NotJson,
    #[error("Invalid value specified for property '{0}' of resource 'PasswordCredential'.")]
    Value(&'static str),
}

/// The form that a token is asked for with.
#[derive(Debug, Default)]
pub(super) struct TokenForm {
    pub(super) grant_type: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) secret: Option<SecretString>,
    pub(super) scope: Option<String>,
}

impl TokenForm {
    /// Reads a form; the credentials of HTTP Basic win over those in it.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = || Some(value.clone().into_owned()).filter(|value| !value.is_empty());
            match name.as_ref() {
                "grant_type" => form.grant_type = value(),
                "client_id" => form.client_id = value(),
                "client_secret" => form.secret = value().map(Into::into),
                "scope" => form.scope = value(),
                _ => {}
            }
        }
        if let Some((client_id, secret)) = basic(headers) {
            form.client_id = Some(client_id);
            form.secret = Some(secret);
        }
        form
    }
}

/// Client ID and secret from HTTP Basic, both form-encoded before they were joined (RFC 6749).
fn basic(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = decoded.split_once(':')?;
    let plain = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced)
            .decode_utf8()
            .map(Cow::into_owned)
    };
    Some((plain(client_id).ok()?, plain(secret).ok()?.into()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddBody {
    password_credential: Option<CredentialBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialBody {
    display_name: Option<String>,
    start_date_time: Option<String>,
    end_date_time: Option<String>,
}

/// Reads the body of an `addPassword`.
pub(super) fn password_request(body: &[u8]) -> Result<PasswordRequest, BadBody> {
    let body: AddBody = json(body)?;
    let Some(asked) = body.password_credential else {
        return Ok(PasswordRequest::default());
    };
    let request = PasswordRequest {
        display_name: asked.display_name,
        start: date("startDateTime", asked.start_date_time.as_deref())?,
        end: date("endDateTime", asked.end_date_time.as_deref())?,
    };
    match (request.start, request.end) {
        (Some(start), Some(end)) if end <= start => Err(BadBody::Value("endDateTime")),
        _ => Ok(request),
    }
}

fn date(property: &'static str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, BadBody> {
    text.map(DateTime::parse_from_rfc3339)
        .transpose()
        .map(|at| at.map(|at| at.to_utc()))
        .map_err(|_| BadBody::Value(property))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoveBody {
    key_id: String,
}

/// Reads the body of a `removePassword`.
pub(super) fn key_to_remove(body: &[u8]) -> Result<KeyId, BadBody> {
    let body: RemoveBody = json(body)?;
    body.key_id.parse().map_err(|_| BadBody::Value("keyId"))
}

fn json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, BadBody> {
    if body.trim_ascii().is_empty() {
        return Err(BadBody::Empty);
    }
    serde_json::from_slice(body).map_err(|_| BadBody::NotJson)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const ID: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

    #[test]
    fn an_add_without_any_wish_is_legal() {
        for body in [
            "{}",
            "{\"passwordCredential\":null}",
            "{\"passwordCredential\":{\"keyId\":\"x\"}}",
        ] {
            assert_eq!(
                password_request(body.as_bytes()),
                Ok(PasswordRequest::default()),
                "{body}"
            );
        }
        assert_eq!(password_request(b" "), Err(BadBody::Empty));
        assert_eq!(password_request(b"{"), Err(BadBody::NotJson));
        let dates = br#"{"passwordCredential":{"startDateTime":"2026-01-02T00:00:00Z","endDateTime":"2026-01-01T00:00:00Z"}}"#;
        assert_eq!(password_request(dates), Err(BadBody::Value("endDateTime")));
    }

    #[test]
    fn a_secret_with_hard_characters_arrives_in_the_form_and_in_basic() {
        let secret = "a~._-=+&% $'\"\\";
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let form = TokenForm::read(
            &HeaderMap::new(),
            format!("client_secret={encoded}").as_bytes(),
        );
        assert_eq!(form.secret.unwrap().expose_secret(), secret);

        let mut headers = HeaderMap::new();
        let basic = BASE64_STANDARD.encode(format!("{ID}:{encoded}"));
        headers.insert(
            header::AUTHORIZATION,
            format!("Basic {basic}").parse().unwrap(),
        );
        let form = TokenForm::read(&headers, b"grant_type=client_credentials");
        assert_eq!(form.secret.unwrap().expose_secret(), secret);
        assert_eq!(form.client_id.as_deref(), Some(ID));
    }
}
