//! `keywheel.toml`: parsed and checked whole before anything happens.

pub mod declare;
mod diagnostic;
mod fields;
mod notify;
mod policy;
mod read;
mod reader;
mod service;
mod source;
mod template;

use std::path::{Path, PathBuf};

use chrono::NaiveTime;
use chrono_tz::Tz;

use crate::clock::Span;
use crate::connection::{Blackout, OnLimit, Overlap};
use crate::entra::{ClientId, TenantId};
use crate::schedule::{Hours, Weekdays};

pub use diagnostic::{Fault, Place, SettingsFaults, Text, Written};
pub use notify::{Address, Encryption, MailSpec, NotifyEvent, NotifyKind, NotifySpec, hook_url};
pub use policy::{PolicyFault, PolicyFaults};
pub use service::{Listen, ServiceSettings};
pub use template::{host_timezone, template};

/// The clouds that are built in; the first one is meant where none is named.
pub const CLOUDS: [&str; 4] = ["public", "usgov", "dod", "china"];

/// The identity that is built in: the connection's own secret.
pub const SELF: &str = "self";

/// The settings, with every path absolute and every default filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file that they were read from.
    pub file: PathBuf,
    /// The database.
    pub store_path: PathBuf,
    /// Where the master key comes from.
    pub master_key: MasterKeySource,
    /// For connections that do not say.
    pub defaults: Defaults,
    /// How a new secret is proved.
    pub verification: Verification,
    /// How Graph is called.
    pub graph: GraphSettings,
    /// How the service runs.
    pub service: ServiceSettings,
    /// Clouds beside the built-in ones.
    pub clouds: Vec<CloudSpec>,
    /// Identities beside the built-in `self`.
    pub identities: Vec<IdentitySpec>,
    /// Who is told what happens.
    pub channels: Vec<NotifySpec>,
}

impl Settings {
    /// Reads and checks the whole file; every fault is in the error, not only the first.
    ///
    /// A file that others can read or write is refused.
    pub fn load(path: &Path) -> Result<Self, SettingsFaults> {
        let missing = "run `keywheel init` to make one, or name another with --config";
        let source = source::Source::read(path, source::Access::OwnersAlone, missing)?;
        read::settings(&source)
    }

    /// The identity of this name; `None` for [`SELF`].
    pub fn identity(&self, name: &str) -> Option<&IdentitySpec> {
        self.identities
            .iter()
            .find(|identity| identity.name == name)
    }

    /// Of the settings and built in.
    pub fn cloud_names(&self) -> impl Iterator<Item = &str> {
        let own = self.clouds.iter().map(|cloud| cloud.name.as_str());
        CLOUDS.into_iter().chain(own)
    }
}

/// Where the 32 bytes of the master key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A variable of the environment, for trying things out.
    Env(String),
}

/// `[defaults]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `self` or the name of an identity.
    pub identity: String,
    /// Days between two rotations.
    pub interval_days: u32,
    /// The local time of day.
    pub rotate_at: NaiveTime,
    /// The zone of `rotate_at`.
    pub timezone: Tz,
    /// `None`: the smaller of seven days and half the interval.
    pub overlap: Option<Overlap>,
    /// `None`: the smaller of 2 × interval + 7 and interval + 90 days.
    pub lifetime_days: Option<u32>,
    /// The guard before expiry.
    pub renew_before: Span,
    /// The stable spread.
    pub jitter: Span,
    /// Allowed weekdays.
    pub only: Weekdays,
    /// Allowed hours.
    pub hours: Option<Hours>,
    /// Forbidden dates.
    pub blackouts: Vec<Blackout>,
    /// When the application is full.
    pub on_limit: OnLimit,
}

/// `[verification]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Fresh tokens in a row that prove a secret.
    pub successes: u32,
    /// Between two of them.
    pub spacing: Span,
    /// How long one pass may take.
    pub timeout: Span,
    /// A secret unproved for this long is abandoned.
    pub give_up: Span,
}

/// `[graph]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphSettings {
    /// Between two changes of one application.
    pub mutation_spacing: Span,
    /// How long absent reads must go on before something counts as absent.
    pub absence_window: Span,
    /// For one request, from connecting to the last byte.
    pub request_timeout: Span,
}

/// `[[cloud]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudSpec {
    /// How connections refer to it.
    pub name: String,
    /// Base address of the token endpoint.
    pub login: String,
    /// Base address of Graph.
    pub graph: String,
    /// The only certificate authority that is trusted for this cloud; the host's where not given.
    pub ca_file: Option<PathBuf>,
}

/// `[[identity]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySpec {
    /// How connections refer to it.
    pub name: String,
    /// How it signs in.
    pub kind: IdentityKind,
}

/// The kinds of identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityKind {
    /// Another application that owns this one, with a secret of its own.
    ClientSecret {
        /// Its directory.
        tenant_id: TenantId,
        /// Its client ID.
        client_id: ClientId,
        /// Read anew for each token.
        secret_file: PathBuf,
        /// The name of its cloud.
        cloud: String,
    },
}
