//! From what was declared to what the engine works by: defaults filled in, combinations checked.

use std::fmt;
use std::path::PathBuf;

use super::{CLOUDS, IdentityKind, SELF, Settings};
use crate::clock::Span;
use crate::connection::{
    ConnectionName, Declared, DestinationSpec, FileFormat, Overlap, Policy, field,
};
use crate::schedule;
use crate::text::printable;
use crate::wording::{hint, quoted};

/// Why a connection can't work by these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// No cloud has this name.
    #[error("there is no cloud {}{hint}", quoted(name))]
    UnknownCloud {
        /// As it was given.
        name: String,
        /// The nearest name.
        hint: String,
    },
    /// No identity has this name.
    #[error("there is no identity {}{hint}", quoted(name))]
    UnknownIdentity {
        /// As it was given.
        name: String,
        /// The nearest name.
        hint: String,
    },
    /// The identity signs in to another cloud.
    #[error(
        "identity {identity} signs in to cloud {its}, the connection is in cloud {cloud}; \
         use an identity of that cloud"
    )]
    OtherCloud {
        /// Whose cloud it is.
        identity: String,
        /// The identity's cloud.
        its: String,
        /// The connection's.
        cloud: String,
    },
    /// The days are out of bounds.
    #[error("{what} = {days} is out of bounds: use {least} to {most}")]
    OutOfBounds {
        /// The field.
        what: &'static str,
        /// As it was given.
        days: u32,
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// Previous secrets would pile up.
    #[error(
        "an overlap of {overlap} is longer than the interval of {interval_days} days; \
         shorten it, or write next-rotation"
    )]
    OverlapTooLong {
        /// As it was given.
        overlap: Span,
        /// What it is compared with.
        interval_days: u32,
    },
    /// The secret would expire before the next one has replaced it (F10).
    #[error(
        "a lifetime of {lifetime_days} days is too short for an interval of {interval_days} days \
         and an overlap of {overlap}; set lifetime_days to {least} or more"
    )]
    LifetimeTooShort {
        /// As it was given, or worked out.
        lifetime_days: u32,
        /// What it must cover.
        interval_days: u32,
        /// What it must cover besides.
        overlap: Span,
        /// The shortest that does.
        least: u32,
    },
    /// It rotates the secret that an identity signs in with, and the identity would not get it.
    #[error(
        "identity {identity} signs in with this application, so the connection must deliver to {}; \
         add a file destination of format raw with that path",
        printable(&secret_file.to_string_lossy())
    )]
    IdentityLeftOut {
        /// Who signs in with the application.
        identity: String,
        /// What it reads.
        secret_file: PathBuf,
    },
}

impl PolicyFault {
    /// The fields that it is about, the one to blame first.
    pub fn fields(&self) -> &'static [&'static str] {
        match self {
            Self::UnknownCloud { .. } => &["cloud"],
            Self::UnknownIdentity { .. } => &["identity"],
            Self::OtherCloud { .. } => &["identity", "cloud"],
            Self::OutOfBounds { what, .. } if *what == "lifetime_days" => &["lifetime_days"],
            Self::OutOfBounds { .. } => &["interval_days"],
            Self::OverlapTooLong { .. } => &["overlap", "interval_days"],
            Self::LifetimeTooShort { .. } => &["lifetime_days", "overlap", "interval_days"],
            Self::IdentityLeftOut { .. } => &["client_id"],
        }
    }
}

/// All that is wrong with one connection; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyFaults {
    /// Which connection.
    pub connection: ConnectionName,
    /// What is wrong.
    pub faults: Vec<PolicyFault>,
}

impl fmt::Display for PolicyFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: ", self.connection)?;
        for (n, fault) in self.faults.iter().enumerate() {
            let separator = if n > 0 { "; " } else { "" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl Settings {
    /// `declared` with the defaults filled in, or all that is wrong with it.
    pub fn policy(&self, declared: &Declared) -> Result<Policy, PolicyFaults> {
        let defaults = &self.defaults;
        let interval_days = declared.interval_days.unwrap_or(defaults.interval_days);
        let overlap = declared.overlap.or(defaults.overlap);
        let policy = Policy {
            cloud: declared
                .cloud
                .clone()
                .unwrap_or_else(|| CLOUDS[0].to_owned()),
            identity: declared
                .identity
                .clone()
                .unwrap_or_else(|| defaults.identity.clone()),
            interval_days,
            rotate_at: declared.rotate_at.unwrap_or(defaults.rotate_at),
            timezone: declared.timezone.unwrap_or(defaults.timezone),
            lifetime_days: declared
                .lifetime_days
                .or(defaults.lifetime_days)
                .unwrap_or_else(|| schedule::default_lifetime_days(interval_days)),
            overlap: overlap
                .unwrap_or_else(|| Overlap::For(schedule::default_overlap(interval_days))),
            renew_before: declared.renew_before.unwrap_or(defaults.renew_before),
            jitter: declared.jitter.unwrap_or(defaults.jitter),
            only: declared.only.unwrap_or(defaults.only),
            hours: declared.hours.or(defaults.hours),
            blackouts: declared
                .blackouts
                .clone()
                .unwrap_or_else(|| defaults.blackouts.clone()),
            on_limit: declared.on_limit.unwrap_or(defaults.on_limit),
        };
        let mut faults = self.wrong_names(&policy);
        faults.extend(wrong_length(
            policy.interval_days,
            policy.lifetime_days,
            policy.overlap,
        ));
        faults.extend(self.identity_left_out(declared));
        if faults.is_empty() {
            Ok(policy)
        } else {
            Err(PolicyFaults {
                connection: declared.name.clone(),
                faults,
            })
        }
    }

    fn wrong_names(&self, policy: &Policy) -> Vec<PolicyFault> {
        let cloud = self.unknown_cloud(&policy.cloud);
        let identity = self.unknown_identity(&policy.identity);
        let other = || {
            let identity = self.identity(&policy.identity)?;
            let IdentityKind::ClientSecret { cloud: its, .. } = &identity.kind;
            (*its != policy.cloud).then(|| PolicyFault::OtherCloud {
                identity: identity.name.clone(),
                its: its.clone(),
                cloud: policy.cloud.clone(),
            })
        };
        let other = if cloud.is_none() { other() } else { None };
        [cloud, identity, other].into_iter().flatten().collect()
    }

    pub(super) fn unknown_cloud(&self, name: &str) -> Option<PolicyFault> {
        unknown(name, self.cloud_names(), |name, hint| {
            PolicyFault::UnknownCloud { name, hint }
        })
    }

    pub(super) fn unknown_identity(&self, name: &str) -> Option<PolicyFault> {
        let names = self
            .identities
            .iter()
            .map(|identity| identity.name.as_str());
        unknown(name, names.chain([SELF]), |name, hint| {
            PolicyFault::UnknownIdentity { name, hint }
        })
    }

    fn identity_left_out(&self, declared: &Declared) -> Option<PolicyFault> {
        self.identities.iter().find_map(|identity| {
            let IdentityKind::ClientSecret {
                tenant_id,
                client_id,
                secret_file,
                ..
            } = &identity.kind;
            let same = (*tenant_id, *client_id) == (declared.tenant_id, declared.client_id);
            let delivered = declared.destinations.iter().any(|destination| {
                let DestinationSpec::File(file) = destination;
                file.path == *secret_file && file.format == FileFormat::Raw && file.required
            });
            (same && !delivered).then(|| PolicyFault::IdentityLeftOut {
                identity: identity.name.clone(),
                secret_file: secret_file.clone(),
            })
        })
    }
}

/// Whether interval, lifetime and overlap go together (F10).
pub(super) fn wrong_length(
    interval_days: u32,
    lifetime_days: u32,
    overlap: Overlap,
) -> Option<PolicyFault> {
    let bounds = [
        ("interval_days", interval_days, field::INTERVAL_DAYS),
        ("lifetime_days", lifetime_days, field::LIFETIME_DAYS),
    ];
    for (what, days, range) in bounds {
        if !range.contains(&days) {
            let (least, most) = range.into_inner();
            return Some(PolicyFault::OutOfBounds {
                what,
                days,
                least,
                most,
            });
        }
    }
    let overlap = match overlap {
        Overlap::For(overlap) => overlap,
        // A previous secret that expires during its overlap has done its work (E7): it must only
        // live as long as one with the usual overlap.
        Overlap::NextRotation => schedule::default_overlap(interval_days),
    };
    if overlap > Span::days(u64::from(interval_days)) {
        return Some(PolicyFault::OverlapTooLong {
            overlap,
            interval_days,
        });
    }
    (!schedule::fits(interval_days, lifetime_days, overlap)).then(|| {
        PolicyFault::LifetimeTooShort {
            lifetime_days,
            interval_days,
            overlap,
            least: schedule::least_lifetime_days(interval_days, overlap),
        }
    })
}

fn unknown<'a>(
    name: &str,
    names: impl Iterator<Item = &'a str>,
    fault: fn(String, String) -> PolicyFault,
) -> Option<PolicyFault> {
    let names: Vec<_> = names.collect();
    (!names.contains(&name)).then(|| fault(name.to_owned(), hint(name, names)))
}
