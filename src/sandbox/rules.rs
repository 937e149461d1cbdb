//! What administrators decide: permissions, audiences, policies; and the limits of a sandbox.

use std::time::Duration;

use uuid::Uuid;

use crate::entra::WriteLimits;

/// What the administrator has consented to for an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permission {
    /// Nothing.
    #[default]
    None,
    /// `Application.Read.All`.
    ReadAll,
    /// `Application.ReadWrite.OwnedBy`: may change the applications that it owns.
    ReadWriteOwnedBy,
    /// `Application.ReadWrite.All`.
    ReadWriteAll,
}

impl Permission {
    /// As Entra spells it; `None` is empty.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::ReadAll => "Application.Read.All",
            Self::ReadWriteOwnedBy => "Application.ReadWrite.OwnedBy",
            Self::ReadWriteAll => "Application.ReadWrite.All",
        }
    }

    pub(super) fn from_roles(roles: &[String]) -> Self {
        [Self::ReadWriteAll, Self::ReadWriteOwnedBy, Self::ReadAll]
            .into_iter()
            .find(|permission| roles.iter().any(|role| role == permission.name()))
            .unwrap_or_default()
    }
}

/// Who may sign in to an application: `signInAudience`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// The tenant's own users.
    #[default]
    MyOrganisation,
    /// Those of any tenant.
    AnyOrganisation,
    /// Those of any tenant, and personal accounts.
    AnyOrganisationAndPersonal,
    /// Personal accounts.
    Personal,
}

impl Audience {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MyOrganisation => "AzureADMyOrg",
            Self::AnyOrganisation => "AzureADMultipleOrgs",
            Self::AnyOrganisationAndPersonal => "AzureADandPersonalMicrosoftAccount",
            Self::Personal => "PersonalMicrosoftAccount",
        }
    }

    pub(super) fn most_passwords(self) -> Option<usize> {
        matches!(self, Self::AnyOrganisationAndPersonal | Self::Personal).then_some(2)
    }
}

/// An app management policy of a tenant, assigned to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagementPolicy {
    /// Secrets may not live longer.
    Lifetime {
        /// The policy's ID.
        id: Uuid,
        /// The longest life.
        longest: Duration,
    },
    /// No secrets at all.
    NoPasswords {
        /// The policy's ID.
        id: Uuid,
    },
}

/// How the sandbox is set up to behave beyond what is always so.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long an access token is valid.
    pub token_lifetime: Duration,
    /// More secrets than this on one object are refused with `Directory_ResourceSizeExceeded`.
    pub most_passwords: usize,
    /// The characters that new secrets are made of after their first six.
    pub alphabet: String,
    /// A change that follows another of the same application sooner than this is refused with
    /// `Directory_ConcurrencyViolation`.
    pub mutation_gap: Duration,
    /// `removePassword` asks a replica too: a key that has not got there is "not found".
    pub young_keys_unknown: bool,
    /// How many writes are taken; more are refused with 429. Without limits where not given.
    pub write_limits: Option<WriteLimits>,
    /// Whether `Application.ReadWrite.OwnedBy` may list applications that it does not own.
    pub owned_by_lists_all: bool,
}

impl Rules {
    /// The characters of Entra's own secrets.
    pub const USUAL_ALPHABET: &str =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789~._-";
    /// Characters that break careless quoting and encoding.
    pub const NASTY_ALPHABET: &str = "Aa0~._-=+&%$'\"\\ #?/:;@!<>|`{}[]()*^,";
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(3_599),
            most_passwords: 600,
            alphabet: Self::USUAL_ALPHABET.to_owned(),
            mutation_gap: Duration::ZERO,
            young_keys_unknown: false,
            write_limits: None,
            owned_by_lists_all: true,
        }
    }
}
