//! What goes wrong with Entra, classified once, where it arrives.

mod message;

use std::time::Duration;

use uuid::Uuid;

use super::id::{ClientId, TenantId};

/// A call that did not do what it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// On which kind of call.
    pub during: Operation,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The ID that the call was sent with, for Microsoft's support; `None`: nothing was sent.
    pub client_request_id: Option<String>,
}

/// The kinds of calls: what a failure means depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A token to call Graph with.
    Token,
    /// A token that shows that a secret works.
    Prove,
    /// Something is read from Graph.
    Read,
    /// `addPassword`
    Add,
    /// `removePassword`
    Remove,
}

/// What went wrong. Text from Entra in it is bounded and harmless, and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection: the request was not sent.
    Unreachable {
        /// The host.
        host: String,
        /// Why: DNS, TCP or TLS.
        detail: String,
    },
    /// The settings name no such cloud: nothing was sent.
    CloudUnknown {
        /// What was asked for.
        cloud: String,
    },
    /// Sent, and no whole answer: a time-out or a dead line.
    Interrupted {
        /// Which of them.
        detail: String,
    },
    /// 5xx or 408.
    ServerError,
    /// The tenant has to wait: by a 429, now or a moment ago.
    Throttled {
        /// How long from now.
        wait: Duration,
    },
    /// `Directory_ConcurrencyViolation` in any status, or 409.
    Concurrency,
    /// AADSTS7000215: not a secret of this application, or not yet.
    SecretRefused,
    /// AADSTS7000222: expired, or not valid yet.
    SecretExpired,
    /// AADSTS700016: no such application in the tenant, or not yet.
    ApplicationUnknown {
        /// The application.
        client_id: ClientId,
        /// The tenant.
        tenant_id: TenantId,
    },
    /// AADSTS90002 or AADSTS900023: no such tenant in this cloud.
    TenantUnknown {
        /// The tenant.
        tenant_id: TenantId,
        /// Where it was looked for.
        cloud: String,
    },
    /// AADSTS7000112.
    ApplicationDisabled,
    /// AADSTS53003.
    ConditionalAccess,
    /// Another refusal of the token endpoint.
    OtherSignIn {
        /// `AADSTS…`, or OAuth's word.
        code: String,
    },
    /// 401 by Graph.
    TokenRejected,
    /// 403 `Authorization_RequestDenied`.
    Forbidden,
    /// 404: no such application, or not on the replica that was asked.
    ApplicationMissing,
    /// No password credential of this Key ID: gone, or not yet on the replica that was asked.
    CredentialMissing,
    /// `TooManyAppPasswords`: two, for applications open to personal accounts.
    TooManyPasswords,
    /// `Directory_ResourceSizeExceeded`.
    SizeExceeded,
    /// `CredentialInvalidLifetimeAsPerAppPolicy`.
    LifetimePolicy {
        /// Which policy, where it was said.
        policy_id: Option<Uuid>,
    },
    /// `CredentialTypeNotAllowedAsPerAppPolicy`.
    PasswordsForbidden {
        /// Which policy, where it was said.
        policy_id: Option<Uuid>,
    },
    /// An answer that Entra does not give: a captive portal, a proxy, or a broken one.
    Nonsense(Nonsense),
    /// A refusal (4xx) with a code that Keywheel does not know.
    Unknown {
        /// Graph's code.
        code: String,
        /// Graph's message.
        message: String,
    },
}

/// Why an answer makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// HTML, plain text, or JSON that was cut short.
    #[error("the answer is not the JSON that was expected; is a proxy or portal in between?")]
    NotJson,
    /// More than any answer has.
    #[error("the answer is larger than any that Entra gives")]
    TooLarge,
    /// A redirect would carry the secret or the token elsewhere.
    #[error("the answer redirects to another address; redirects are never followed")]
    Redirect,
    /// A field without which it is of no use.
    #[error("the answer lacks `{0}`")]
    Lacks(&'static str),
    /// Somebody else's answer.
    #[error("the answer is about another object than the one that was asked for")]
    Mismatch,
}

/// What a caller can do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Transient,
    /// Try again after this time; it holds for the whole tenant.
    Throttled {
        /// From now.
        wait: Duration,
    },
    /// Somebody else changed the tenant: wait, read, then try again.
    Concurrency,
    /// Perhaps not yet known everywhere: lasting repetition decides.
    Propagation,
    /// It may have taken effect: read before anything else.
    Ambiguous,
    /// A person must act.
    Permanent,
}

impl Fault {
    /// What can be done about it.
    pub fn class(&self) -> Class {
        use FaultKind as Kind;
        let adding = self.during == Operation::Add;
        let proving = self.during == Operation::Prove;
        match self.kind {
            Kind::Throttled { wait } => Class::Throttled { wait },
            Kind::Concurrency => Class::Concurrency,
            Kind::Interrupted { .. } | Kind::ServerError | Kind::Nonsense(_) if adding => {
                Class::Ambiguous
            }
            // A token may have expired on the way; a fresh one is the cure. What nobody has seen
            // yet is tried again, and told in the meantime.
            Kind::Unreachable { .. }
            | Kind::Interrupted { .. }
            | Kind::ServerError
            | Kind::Nonsense(_)
            | Kind::TokenRejected
            | Kind::OtherSignIn { .. }
            | Kind::Unknown { .. } => Class::Transient,
            // Replicas of the token endpoint have been seen to say all three of a young secret.
            Kind::SecretRefused | Kind::SecretExpired | Kind::ApplicationUnknown { .. }
                if proving =>
            {
                Class::Propagation
            }
            Kind::ApplicationMissing | Kind::CredentialMissing => Class::Propagation,
            Kind::SecretRefused
            | Kind::SecretExpired
            | Kind::ApplicationUnknown { .. }
            | Kind::CloudUnknown { .. }
            | Kind::TenantUnknown { .. }
            | Kind::ApplicationDisabled
            | Kind::ConditionalAccess
            | Kind::Forbidden
            | Kind::TooManyPasswords
            | Kind::SizeExceeded
            | Kind::LifetimePolicy { .. }
            | Kind::PasswordsForbidden { .. } => Class::Permanent,
        }
    }

    /// After an `Add`: whether it is certain that it made no password (P4).
    ///
    /// Certain are only refusals that Graph itself spells out, and requests that were never sent.
    pub fn made_nothing(&self) -> bool {
        !matches!(
            self.kind,
            FaultKind::Interrupted { .. }
                | FaultKind::ServerError
                | FaultKind::Nonsense(_)
                | FaultKind::Concurrency
        )
    }

    /// A stable code: Entra's own where it gave one.
    pub fn code(&self) -> String {
        use FaultKind as Kind;
        match &self.kind {
            Kind::OtherSignIn { code } | Kind::Unknown { code, .. } => return code.clone(),
            Kind::Unreachable { .. } => "unreachable",
            Kind::CloudUnknown { .. } => "cloud-unknown",
            Kind::Interrupted { .. } => "interrupted",
            Kind::ServerError => "server-error",
            Kind::Throttled { .. } => "throttled",
            Kind::Concurrency => "Directory_ConcurrencyViolation",
            Kind::SecretRefused => "AADSTS7000215",
            Kind::SecretExpired => "AADSTS7000222",
            Kind::ApplicationUnknown { .. } => "AADSTS700016",
            Kind::TenantUnknown { .. } => "AADSTS90002",
            Kind::ApplicationDisabled => "AADSTS7000112",
            Kind::ConditionalAccess => "AADSTS53003",
            Kind::TokenRejected => "InvalidAuthenticationToken",
            Kind::Forbidden => "Authorization_RequestDenied",
            Kind::ApplicationMissing => "Request_ResourceNotFound",
            Kind::CredentialMissing => "credential-missing",
            Kind::TooManyPasswords => "TooManyAppPasswords",
            Kind::SizeExceeded => "Directory_ResourceSizeExceeded",
            Kind::LifetimePolicy { .. } => "CredentialInvalidLifetimeAsPerAppPolicy",
            Kind::PasswordsForbidden { .. } => "CredentialTypeNotAllowedAsPerAppPolicy",
            Kind::Nonsense(_) => "unexpected-answer",
        }
        .to_owned()
    }
}

impl std::error::Error for Fault {}
