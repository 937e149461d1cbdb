//! What a request asks for, read once; and what is noted about each call.

use std::borrow::Cow;

use axum::http::{HeaderMap, Method, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

use super::odata::{self, Filter, Query, Unsupported};
use super::tenant::{Holder, PasswordRequest};
use crate::entra::{ClientId, KeyId, ObjectId};

/// The kinds of calls, as faults and the call log tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A token is asked for.
    Token,
    /// A discovery document of the sign-in service.
    Discovery,
    /// One page of applications, filtered or not.
    ListApplications,
    /// One application.
    GetApplication,
    /// The owners of an application.
    ListOwners,
    /// One page of service principals, filtered or not.
    ListServicePrincipals,
    /// One service principal.
    GetServicePrincipal,
    /// A secret is added, to an application or a service principal.
    AddPassword,
    /// A secret is removed, from an application or a service principal.
    RemovePassword,
    /// Anything else.
    Other,
}

/// One call, as the log keeps it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts up from 1 over the sandbox's life.
    pub number: u64,
    /// What was asked for.
    pub kind: Kind,
    /// The application that is read, changed or signed in; `None` where the call is about several
    /// or none.
    pub client_id: Option<ClientId>,
    /// The application whose token came with the call.
    pub caller: Option<ClientId>,
    /// When it arrived, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// Set by the sandbox, also in the answer.
    pub request_id: Uuid,
    /// Set by the caller.
    pub client_request_id: Option<String>,
    /// The status of the answer; `None` until it is given, and where the line was dropped.
    pub status: Option<u16>,
    /// Each TCP connection that is accepted has a number, from 1 up.
    pub connection: u64,
    /// Whether it is the first call on its connection.
    pub new_connection: bool,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Operation {
    Token {
        tenant: String,
        form: TokenForm,
    },
    Discovery {
        tenant: String,
    },
    SigningKeys,
    /// Subscriptions or tenants of the resource manager: what `az login` looks for.
    ResourceManager,
    Graph(GraphOperation),
    Unknown,
}

/// What is asked of Microsoft Graph.
#[derive(Debug)]
pub(super) enum GraphOperation {
    List(Holder, Result<Query, Unsupported>),
    Get(Holder, Reference, Result<Query, Unsupported>),
    Owners(Reference),
    Add(Holder, Reference, Result<PasswordRequest, BadBody>),
    Remove(Holder, Reference, Result<KeyId, BadBody>),
    Unknown(String),
}

/// How a path names an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Object(ObjectId),
    Client(ClientId),
    Malformed(String),
}

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

impl Operation {
    /// Reads a request. What it does not understand is an operation too, and refused later.
    pub(super) fn read(
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match (method, segments.as_slice()) {
            (&Method::POST, [tenant, "oauth2", "v2.0", "token"]) => Self::Token {
                tenant: (*tenant).to_owned(),
                form: TokenForm::read(headers, body),
            },
            (&Method::GET, [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
                Self::Discovery {
                    tenant: (*tenant).to_owned(),
                }
            }
            (&Method::GET, [_, "discovery", "v2.0", "keys"]) => Self::SigningKeys,
            (&Method::GET, ["subscriptions" | "tenants"]) => Self::ResourceManager,
            (method, ["v1.0", rest @ ..]) => {
                Self::Graph(GraphOperation::read(method, rest, query, body))
            }
            _ => Self::Unknown,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        use GraphOperation as Graph;
        use Holder::{Application, ServicePrincipal};
        match self {
            Self::Token { .. } => Kind::Token,
            Self::Discovery { .. } | Self::SigningKeys => Kind::Discovery,
            Self::Graph(Graph::List(Application, _)) => Kind::ListApplications,
            Self::Graph(Graph::List(ServicePrincipal, _)) => Kind::ListServicePrincipals,
            Self::Graph(Graph::Get(Application, ..)) => Kind::GetApplication,
            Self::Graph(Graph::Get(ServicePrincipal, ..)) => Kind::GetServicePrincipal,
            Self::Graph(Graph::Owners(_)) => Kind::ListOwners,
            Self::Graph(Graph::Add(..)) => Kind::AddPassword,
            Self::Graph(Graph::Remove(..)) => Kind::RemovePassword,
            Self::Graph(Graph::Unknown(_)) | Self::ResourceManager | Self::Unknown => Kind::Other,
        }
    }

    /// How the request names the application that it is about.
    pub(super) fn subject(&self) -> Option<Reference> {
        use GraphOperation as Graph;
        match self {
            Self::Token { form, .. } => {
                let client_id = form.client_id.as_deref()?.parse().ok()?;
                Some(Reference::Client(client_id))
            }
            Self::Graph(Graph::List(_, Ok(query))) => match query.filter {
                Filter::Client(client_id) => Some(Reference::Client(client_id)),
                Filter::Object(object_id) => Some(Reference::Object(object_id)),
                _ => None,
            },
            Self::Graph(
                Graph::Get(_, reference, _)
                | Graph::Owners(reference)
                | Graph::Add(_, reference, _)
                | Graph::Remove(_, reference, _),
            ) => Some(reference.clone()),
            _ => None,
        }
    }
}

impl GraphOperation {
    fn read(method: &Method, segments: &[&str], query: &str, body: &[u8]) -> Self {
        let unknown = || Self::Unknown(segments.first().copied().unwrap_or_default().to_owned());
        let Some((holder, reference, rest)) = object(segments) else {
            return unknown();
        };
        // An action may be named with its namespace.
        let action = rest
            .first()
            .map(|name| name.trim_start_matches("microsoft.graph."));
        match (method, reference, action) {
            (&Method::GET, None, None) => Self::List(holder, Query::parse(query)),
            (&Method::GET, Some(reference), None) => {
                Self::Get(holder, reference, Query::parse(query))
            }
            (&Method::GET, Some(reference), Some("owners")) => Self::Owners(reference),
            (&Method::POST, Some(reference), Some("addPassword")) => {
                Self::Add(holder, reference, password_request(body))
            }
            (&Method::POST, Some(reference), Some("removePassword")) => {
                Self::Remove(holder, reference, key_to_remove(body))
            }
            _ => unknown(),
        }
    }
}

/// Splits `applications/{id}/…` and `applications(appId='…')/…` into collection, object and rest.
fn object<'a>(segments: &'a [&'a str]) -> Option<(Holder, Option<Reference>, &'a [&'a str])> {
    let (first, rest) = segments.split_first()?;
    let (collection, key) = match first.split_once('(') {
        Some((collection, key)) => (collection, Some(key)),
        None => (*first, None),
    };
    let holder = match collection {
        "applications" => Holder::Application,
        "servicePrincipals" => Holder::ServicePrincipal,
        _ => return None,
    };
    match (key, rest) {
        (Some(key), rest) => Some((holder, Some(alternate_key(key)), rest)),
        (None, []) => Some((holder, None, rest)),
        (None, [id, rest @ ..]) => {
            let reference = id.parse().map_or_else(
                |_| Reference::Malformed((*id).to_owned()),
                Reference::Object,
            );
            Some((holder, Some(reference), rest))
        }
    }
}

/// Reads what stands behind the opening parenthesis: `appId='…')`.
fn alternate_key(text: &str) -> Reference {
    text.strip_suffix(')')
        .and_then(|text| text.trim().strip_prefix("appId="))
        .and_then(|text| odata::literal(text.trim()))
        .and_then(|value| value.parse().ok())
        .map_or_else(|| Reference::Malformed(text.to_owned()), Reference::Client)
}

impl TokenForm {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
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

fn password_request(body: &[u8]) -> Result<PasswordRequest, BadBody> {
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

fn key_to_remove(body: &[u8]) -> Result<KeyId, BadBody> {
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

    fn graph(method: &Method, path: &str, body: &str) -> GraphOperation {
        match Operation::read(method, path, "", &HeaderMap::new(), body.as_bytes()) {
            Operation::Graph(operation) => operation,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn every_form_of_the_path_of_add_password_is_understood() {
        let by_object = Reference::Object(ID.parse().unwrap());
        let by_client = Reference::Client(ID.parse().unwrap());
        let paths = [
            (format!("/v1.0/applications/{ID}/addPassword"), &by_object),
            (
                format!("/v1.0/applications/{ID}/microsoft.graph.addPassword"),
                &by_object,
            ),
            (
                format!("/v1.0/applications(appId='{ID}')/addPassword"),
                &by_client,
            ),
            (
                format!("/v1.0/applications%28appId%3D%27{ID}%27%29/addPassword"),
                &by_client,
            ),
            (
                format!("/v1.0/servicePrincipals(appId='{ID}')/addPassword"),
                &by_client,
            ),
            (
                format!("/v1.0/servicePrincipals/{ID}/addPassword"),
                &by_object,
            ),
        ];
        for (path, expected) in paths {
            match graph(&Method::POST, &path, "{}") {
                GraphOperation::Add(_, reference, Ok(_)) => {
                    assert_eq!(reference, *expected, "{path}")
                }
                other => unreachable!("{path}: {other:?}"),
            }
        }
    }

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
