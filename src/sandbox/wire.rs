//! What goes over the line: answers, and the error bodies of Entra as they were recorded.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::entra::{ClientId, KeyId};

/// An answer, complete but for the headers that every answer of the service carries.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those of every answer; one of these replaces the usual one of its name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Payload,
}

/// The body of an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// None.
    Empty,
    /// A text, whole.
    Text(String),
    /// One that never ends.
    Endless,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Payload::Empty,
        }
    }

    /// An answer with a body of any kind.
    pub fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self::empty(status).with_body(content_type, Payload::Text(body))
    }

    /// A JSON answer, such as Graph's errors are.
    pub fn json(status: StatusCode, body: String) -> Self {
        Self::text(status, "application/json", body)
    }

    /// An answer of OData.
    pub(super) fn odata(body: String) -> Self {
        const CONTENT_TYPE: &str = "application/json;odata.metadata=minimal;\
             odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
        Self::text(StatusCode::OK, CONTENT_TYPE, body).with(
            HeaderName::from_static("odata-version"),
            HeaderValue::from_static("4.0"),
        )
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn with_body(self, content_type: &'static str, body: Payload) -> Self {
        let mut answer = self.with(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer.body = body;
        answer
    }
}

/// What one request is known by: goes into headers and error bodies.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    /// The time that the sandbox tells, which a test may have set askew.
    pub(super) at: DateTime<Utc>,
    pub(super) request_id: Uuid,
    /// The caller's `client-request-id`, else the request ID.
    pub(super) correlation_id: String,
}

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
            Self::NoSuchSegment(_) => "BadRequest",
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

/// An error of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// No secret of the application has this value, as far as this replica knows.
    #[error(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client \
         secret value, not the client secret ID, for a secret added to app '{0}'."
    )]
    InvalidSecret(ClientId),
    /// The secret's time is over, or has not come.
    #[error(
        "The provided client secret keys for app '{0}' are expired. Visit the Azure portal to \
         create new keys for your app: https://aka.ms/NewClientSecret, or consider using \
         certificate credentials for added security: https://aka.ms/certCreds."
    )]
    ExpiredSecret(ClientId),
    /// Neither a secret nor an assertion was sent.
    #[error(
        "The request body must contain the following parameter: 'client_assertion' or \
         'client_secret'."
    )]
    MissingSecret,
    /// The application is not in the tenant, as far as this replica knows.
    #[error(
        "Application with identifier '{application}' was not found in the directory '{tenant}'. \
         This can happen if the application has not been installed by the administrator of the \
         tenant or consented to by any user in the tenant. You may have sent your authentication \
         request to the wrong tenant."
    )]
    UnknownApplication {
        /// As the caller gave it.
        application: String,
        /// The tenant's name.
        tenant: String,
    },
    /// An administrator has switched the application off.
    #[error("Application '{0}' is disabled.")]
    DisabledApplication(ClientId),
    /// No such tenant.
    #[error(
        "Tenant '{0}' not found. Check to make sure you have the correct tenant ID and are signing \
         into the correct cloud. Check with your subscription administrator, this may happen if \
         there are no active subscriptions for the tenant."
    )]
    UnknownTenant(String),
    /// Neither a GUID nor a domain.
    #[error(
        "Specified tenant identifier '{0}' is neither a valid DNS name, nor a valid external domain."
    )]
    MalformedTenant(String),
    /// A field of the form is missing.
    #[error("The request body must contain the following parameter: '{0}'.")]
    MissingParameter(&'static str),
    /// Only client credentials are served here.
    #[error("The app requested an unsupported grant type '{0}'.")]
    UnsupportedGrant(String),
    /// Nothing that could be a scope.
    #[error(
        "The provided request must include a 'scope' input parameter. The provided value for the \
         input parameter 'scope' is not valid. The scope {0} is not valid."
    )]
    InvalidScope(String),
    /// A scope that does not end in `/.default`.
    #[error(
        "The provided value for scope {0} is not valid. Client credential flows must have a scope \
         value with /.default suffixed to the resource identifier (application ID URI)."
    )]
    ScopeNotDefault(String),
}

impl SignInError {
    /// The number after `AADSTS`.
    pub fn code(&self) -> u32 {
        match self {
            Self::InvalidSecret(_) => 7_000_215,
            Self::ExpiredSecret(_) => 7_000_222,
            Self::MissingSecret => 7_000_218,
            Self::UnknownApplication { .. } => 700_016,
            Self::DisabledApplication(_) => 7_000_112,
            Self::UnknownTenant(_) => 90_002,
            Self::MalformedTenant(_) => 900_023,
            Self::MissingParameter(_) => 900_144,
            Self::UnsupportedGrant(_) => 70_003,
            Self::InvalidScope(_) => 70_011,
            Self::ScopeNotDefault(_) => 1_002_012,
        }
    }

    /// The status that the endpoint answers it with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidSecret(_)
            | Self::ExpiredSecret(_)
            | Self::MissingSecret
            | Self::DisabledApplication(_) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error(&self) -> &'static str {
        match self {
            Self::InvalidSecret(_) | Self::ExpiredSecret(_) | Self::MissingSecret => {
                "invalid_client"
            }
            Self::UnknownApplication { .. } | Self::DisabledApplication(_) => "unauthorized_client",
            Self::UnknownTenant(_) | Self::MalformedTenant(_) | Self::MissingParameter(_) => {
                "invalid_request"
            }
            Self::UnsupportedGrant(_) => "unsupported_grant_type",
            Self::InvalidScope(_) | Self::ScopeNotDefault(_) => "invalid_scope",
        }
    }

    pub(super) fn answer(&self, stamp: &Stamp) -> Answer {
        let (code, trace, correlation) = (self.code(), stamp.request_id, &stamp.correlation_id);
        let timestamp = stamp.at.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let body = SignInBody {
            error: self.error(),
            error_description: format!(
                "AADSTS{code}: {self} Trace ID: {trace} Correlation ID: {correlation} \
                 Timestamp: {timestamp}"
            ),
            error_codes: [code],
            timestamp,
            trace_id: trace,
            correlation_id: correlation,
            error_uri: format!("https://login.microsoftonline.com/error?code={code}"),
        };
        Answer::text(self.status(), SIGN_IN_CONTENT_TYPE, to_json(&body))
    }
}

pub(super) const SIGN_IN_CONTENT_TYPE: &str = "application/json; charset=utf-8";

#[derive(Serialize)]
struct SignInBody<'a> {
    error: &'static str,
    error_description: String,
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: Uuid,
    correlation_id: &'a str,
    error_uri: String,
}

/// JSON of a value whose serialisation can't fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A date as HTTP writes it.
pub(super) fn http_date(at: DateTime<Utc>) -> HeaderValue {
    HeaderValue::try_from(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            at: DateTime::from_timestamp(1_699_256_869, 0).unwrap(),
            request_id: Uuid::from_u128(1),
            correlation_id: "mine".into(),
        }
    }

    fn body(answer: Answer) -> String {
        match answer.body {
            Payload::Text(text) => text,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_sign_in_error_reads_as_recorded() {
        let id = "a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4".parse().unwrap();
        let answer = SignInError::InvalidSecret(id).answer(&stamp());
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            body(answer),
            "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client \
             secret provided. Ensure the secret being sent in the request is the client secret \
             value, not the client secret ID, for a secret added to app \
             'a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4'. Trace ID: \
             00000000-0000-0000-0000-000000000001 Correlation ID: mine Timestamp: 2023-11-06 \
             07:47:49Z\",\"error_codes\":[7000215],\"timestamp\":\"2023-11-06 07:47:49Z\",\
             \"trace_id\":\"00000000-0000-0000-0000-000000000001\",\"correlation_id\":\"mine\",\
             \"error_uri\":\"https://login.microsoftonline.com/error?code=7000215\"}"
        );
    }

    #[test]
    fn a_graph_error_reads_as_recorded() {
        let error = GraphError::TooManyPasswords {
            would_be: 3,
            most: 2,
        };
        assert_eq!(
            body(error.answer(&stamp())),
            "{\"error\":{\"code\":\"TooManyAppPasswords\",\"message\":\"Not allowed to add 3 \
             passwords. You can only add a maximum of 2 passwords.\",\"details\":[{\"code\":\
             \"TooManyAppPasswords\",\"message\":\"Not allowed to add 3 passwords. You can only \
             add a maximum of 2 passwords.\",\"target\":\"passwordCredentials\"}],\"innerError\":\
             {\"date\":\"2023-11-06T07:47:49\",\"request-id\":\
             \"00000000-0000-0000-0000-000000000001\",\"client-request-id\":\"mine\"}}}"
        );
    }

    #[test]
    fn a_date_is_written_as_http_does() {
        assert_eq!(http_date(stamp().at), "Mon, 06 Nov 2023 07:47:49 GMT");
    }
}
