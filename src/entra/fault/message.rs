//! What people read about a fault: one sentence that says what happened, and what can be done.

use std::fmt;

use uuid::Uuid;

use super::{Fault, FaultKind, Operation};

impl Fault {
    /// What a person can do about it, in one or two sentences.
    pub fn remedy(&self) -> Option<String> {
        use FaultKind as Kind;
        Some(match &self.kind {
            Kind::Unreachable { host, .. } => format!(
                "Check name resolution, the network, HTTPS_PROXY and the trusted certificate \
                 authorities for {host}."
            ),
            Kind::CloudUnknown { .. } => {
                "Use public, usgov, dod or china, or declare a [[cloud]] of that name.".to_owned()
            }
            Kind::SecretRefused => {
                "Make sure that the value of the secret was given, not its Secret ID, and that it \
                 belongs to this application; else adopt a new one with `connection edit NAME \
                 --secret-file FILE`."
                    .to_owned()
            }
            Kind::SecretExpired => {
                "Make a new secret in the portal and adopt it with `connection edit NAME \
                 --secret-file FILE`."
                    .to_owned()
            }
            Kind::ApplicationUnknown { .. } => {
                "Check the client ID (which is not the object ID) and the tenant ID; the \
                 application needs a service principal in this tenant."
                    .to_owned()
            }
            Kind::TenantUnknown { cloud, .. } => format!(
                "Check the tenant ID, and the cloud: tenants of US Government and China are not \
                 known to the public cloud, and the reverse. This was asked of \"{cloud}\"."
            ),
            Kind::ApplicationDisabled => {
                "Enable the application's sign-in under Enterprise applications.".to_owned()
            }
            Kind::ConditionalAccess => {
                "A Conditional Access policy for workload identities blocks this host: allow its \
                 address, or exclude the service principal."
                    .to_owned()
            }
            Kind::Forbidden => "Grant the signing application the application permission \
                 Application.ReadWrite.OwnedBy, give admin consent, and make its service principal \
                 an owner of this application (of itself, where it signs in as `self`)."
                .to_owned(),
            Kind::ApplicationMissing => {
                "Check that the application was not deleted; it can be restored for 30 days."
                    .to_owned()
            }
            Kind::TooManyPasswords => {
                "Applications open to personal accounts hold two secrets: remove one that nobody \
                 uses, or let Keywheel revoke the previous one early with on_limit = \
                 \"revoke-previous\"."
                    .to_owned()
            }
            Kind::SizeExceeded => {
                "Remove secrets, certificates or other entries that nobody uses from the \
                 application."
                    .to_owned()
            }
            Kind::LifetimePolicy { .. } => {
                "Set lifetime_days of the connection to what the policy allows, or have the policy \
                 changed."
                    .to_owned()
            }
            Kind::PasswordsForbidden { .. } => {
                "Have the application exempted from the policy, or let it sign in with a \
                 certificate or a federated identity instead."
                    .to_owned()
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.during, self.kind)?;
        match self.status {
            Some(status) => write!(f, " (HTTP {status})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "signing in",
            Self::Prove => "proving the secret",
            Self::Read => "reading the application",
            Self::Add => "adding a secret",
            Self::Remove => "removing a secret",
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { host, detail } => write!(f, "{host} can't be reached: {detail}"),
            Self::CloudUnknown { cloud } => write!(f, "there is no cloud \"{cloud}\""),
            Self::Interrupted { detail } => {
                write!(f, "no whole answer came to what was sent: {detail}")
            }
            Self::ServerError => f.write_str("the server failed"),
            Self::Throttled { wait } => {
                // Rounded up: trying earlier than told only prolongs it.
                let seconds = wait.as_millis().div_ceil(1000);
                write!(f, "the tenant has to wait for {seconds} s")
            }
            Self::Concurrency => f.write_str("another change of the tenant is under way"),
            Self::SecretRefused => f.write_str("the secret is not accepted (AADSTS7000215)"),
            Self::SecretExpired => f.write_str("the secret has expired (AADSTS7000222)"),
            Self::ApplicationUnknown {
                client_id,
                tenant_id,
            } => write!(
                f,
                "application {client_id} is not known in tenant {tenant_id} (AADSTS700016)"
            ),
            Self::TenantUnknown { tenant_id, cloud } => {
                write!(
                    f,
                    "tenant {tenant_id} is not known in the cloud \"{cloud}\""
                )
            }
            Self::ApplicationDisabled => f.write_str("the application is disabled"),
            Self::ConditionalAccess => f.write_str("a Conditional Access policy forbids it"),
            Self::OtherSignIn { code } => write!(f, "the token endpoint refused: {code}"),
            Self::TokenRejected => f.write_str("Graph does not accept the token"),
            Self::Forbidden => f.write_str(
                "not allowed: it takes Application.ReadWrite.OwnedBy with admin consent, and \
                 ownership of the application",
            ),
            Self::ApplicationMissing => f.write_str("the application is not there"),
            Self::CredentialMissing => f.write_str("the application has no secret of this Key ID"),
            Self::TooManyPasswords => {
                f.write_str("the application holds as many secrets as it may")
            }
            Self::SizeExceeded => f.write_str("the application is full"),
            Self::LifetimePolicy { policy_id } => {
                write!(f, "{} forbids so long a lifetime", Policy(*policy_id))
            }
            Self::PasswordsForbidden { policy_id } => {
                write!(f, "{} forbids client secrets", Policy(*policy_id))
            }
            Self::Nonsense(nonsense) => nonsense.fmt(f),
            Self::Unknown { code, message } => write!(f, "Graph refused: {code}: {message}"),
        }
    }
}

struct Policy(Option<Uuid>);

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "the app management policy {id}"),
            None => f.write_str("an app management policy"),
        }
    }
}
