//! What a request asks for, read from its method, path and query.

use axum::http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::body::{BadBody, TokenForm, key_to_remove, password_request};
use super::call::Kind;
use super::odata::{self, Filter, Query, Unsupported};
use super::tenant::{Holder, PasswordRequest};
use crate::entra::{ClientId, KeyId, ObjectId};

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

#[cfg(test)]
mod tests {
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
}
