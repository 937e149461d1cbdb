//! The errors of Microsoft Graph, as they were recorded.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

use super::wire::{Answer, Stamp, to_json};
use crate::entra::KeyId;

/// An error of Microsoft Graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// No token.
    #[error("Access token is empty.")]
    TokenMissing,
    /// Its time is over.
    #[error("Lifetime validation failed, the token is expired.")]
    TokenExpired,
    /// Not issued by this sandbox, or altered.
    #[error("IDX14100: JWT is not well formed or its signature is invalid.")]
    TokenInvalid,
    /// Issued for another resource than Graph.
    #[error("Access token validation failure. Invalid audience.")]
    TokenAudience,
    /// The role or the ownership is missing.
    #[error("Insufficient privileges to complete the operation.")]
    Denied,
    /// Not there, or not yet on the replica that was asked.
    #[error(
        "Resource '{0}' does not exist or one of its queried reference-property objects are not \
         present."
    )]
    NotFound(String),
    /// No such path.
    #[error("Resource not found for the segment '{0}'.")]
    NoSuchSegment(String),
    /// `$select` names something else than a property.
    #[error("Could not find a property named '{name}' on type 'microsoft.graph.{of}'.")]
    NoSuchProperty {
        /// As the caller spelt it.
        name: String,
        /// The type of the objects.
        of: &'static str,
    },
    /// Applications that are open to personal accounts hold two secrets at most.
    #[error(
        "Not allowed to add {would_be} passwords. You can only add a maximum of {most} passwords."
    )]
    TooManyPasswords {
        /// How many there would be.
        would_be: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A policy limits the life of secrets.
    #[error("Credential lifetime exceeds the max value allowed as per assigned policy '{0}'.")]
    LifetimePolicy(Uuid),
    /// A policy forbids secrets.
    #[error("Credential type not allowed as per assigned policy '{0}'.")]
    TypePolicy(Uuid),
    /// The application object is full.
    #[error(
        "The size of the object has exceeded its limit. Please reduce the number of values and \
         retry your request."
    )]
    SizeExceeded,
    /// Removed, never there, or too young for the replica that was asked.
    #[error("No password credential found with keyId {0}.")]
    NoSuchKey(KeyId),
    /// Two changes came too close to each other.
    #[error(
        "Error due to concurrent requests being made to the tenant. Please wait briefly and retry."
    )]
    Concurrency,
    /// Too many requests.
    #[error("Too many requests.")]
    Throttled,
    /// A query that Graph does not support.
    #[error("{0}")]
    UnsupportedQuery(String),
    /// A request that makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Any other error.
    #[error("{message}")]
    Other {
        /// The status.
        status: StatusCode,
        /// `error.code`.
        code: Cow<'static, str>,
        /// `error.message`.
        message: String,
    },
}

impl GraphError {
    /// The status that Graph answers it with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TokenMissing | Self::TokenExpired | Self::TokenInvalid | Self::TokenAudience => {
                StatusCode::UNAUTHORIZED
            }
            Self::Denied | Self::SizeExceeded => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Concurrency => StatusCode::CONFLICT,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyPasswords { .. }
            | Self::LifetimePolicy(_)
            | Self::TypePolicy(_)
            | Self::NoSuchKey(_)
            | Self::NoSuchSegment(_)
            | Self::NoSuchProperty { .. }
            | Self::UnsupportedQuery(_)
            | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Other { status, .. } => *status,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::TokenMissing | Self::TokenExpired | Self::TokenInvalid | Self::TokenAudience => {
                "InvalidAuthenticationToken"
            }
            Self::Denied => "Authorization_RequestDenied",
            Self::NotFound(_) => "Request_ResourceNotFound",
            Self::NoSuchSegment(_) | Self::NoSuchProperty { .. } => "BadRequest",
            Self::TooManyPasswords { .. } => "TooManyAppPasswords",
            Self::LifetimePolicy(_) => "CredentialInvalidLifetimeAsPerAppPolicy",
            Self::TypePolicy(_) => "CredentialTypeNotAllowedAsPerAppPolicy",
            Self::SizeExceeded => "Directory_ResourceSizeExceeded",
            Self::NoSuchKey(_) | Self::BadRequest(_) => "Request_BadRequest",
            Self::Concurrency => "Directory_ConcurrencyViolation",
            Self::Throttled => "TooManyRequests",
            Self::UnsupportedQuery(_) => "Request_UnsupportedQuery",
            Self::Other { code, .. } => code,
        }
    }

    /// Code and target of the one entry of `details`, where Graph gives any.
    fn detail(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::TooManyPasswords { .. } => Some(("TooManyAppPasswords", "passwordCredentials")),
            Self::LifetimePolicy(_) => Some(("InvalidKeyEndDate", "EndDate")),
            _ => None,
        }
    }

    pub(super) fn answer(&self, stamp: &Stamp) -> Answer {
        let message = self.to_string();
        let body = GraphEnvelope {
            error: GraphBody {
                code: self.code(),
                details: self.detail().map(|(code, target)| {
                    [Detail {
                        code,
                        message: &message,
                        target,
                    }]
                }),
                message: &message,
                inner_error: InnerError {
                    date: stamp.at.format("%Y-%m-%dT%H:%M:%S").to_string(),
                    request_id: stamp.request_id,
                    client_request_id: &stamp.correlation_id,
                },
            },
        };
        let answer = Answer::json(self.status(), to_json(&body));
        if self.status() == StatusCode::UNAUTHORIZED {
            return answer.with(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(
                    "Bearer realm=\"\", client_id=\"00000003-0000-0000-c000-000000000000\"",
                ),
            );
        }
        answer
    }
}

#[derive(Serialize)]
struct GraphEnvelope<'a> {
    error: GraphBody<'a>,
}

#[derive(Serialize)]
struct GraphBody<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<[Detail<'a>; 1]>,
    #[serde(rename = "innerError")]
    inner_error: InnerError<'a>,
}

#[derive(Serialize)]
struct Detail<'a> {
    code: &'a str,
    message: &'a str,
    target: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct InnerError<'a> {
    date: String,
    request_id: Uuid,
    client_request_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_error_reads_as_recorded() {
        let error = GraphError::TooManyPasswords {
            would_be: 3,
            most: 2,
        };
        assert_eq!(
            error.answer(&Stamp::example()).text_body(),
            "{\"error\":{\"code\":\"TooManyAppPasswords\",\"message\":\"Not allowed to add 3 \
             passwords. You can only add a maximum of 2 passwords.\",\"details\":[{\"code\":\
             \"TooManyAppPasswords\",\"message\":\"Not allowed to add 3 passwords. You can only \
             add a maximum of 2 passwords.\",\"target\":\"passwordCredentials\"}],\"innerError\":\
             {\"date\":\"2023-11-06T07:47:49\",\"request-id\":\
             \"00000000-0000-0000-0000-000000000001\",\"client-request-id\":\"mine\"}}}"
        );
    }
}
