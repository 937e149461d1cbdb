//! The errors of the token endpoint, as they were recorded.

use axum::http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::wire::{Answer, SIGN_IN_CONTENT_TYPE, Stamp, to_json};
use crate::entra::ClientId;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_error_reads_as_recorded() {
        let id = "a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4".parse().unwrap();
        let answer = SignInError::InvalidSecret(id).answer(&Stamp::example());
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            answer.text_body(),
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
}
