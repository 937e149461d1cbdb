//! What a user declares: a connection, its schedule, and where its secret goes.

pub mod field;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use chrono::NaiveTime;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::clock::Span;
use crate::entra::{ClientId, TenantId};
use crate::schedule::{Hours, Rule, Weekdays, Window};

pub use crate::schedule::{Blackout, time_of_day};

/// The name of a connection: 1 to 64 letters, digits, dots, hyphens and underscores, the first a
/// letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionName(String);

/// A text that can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is not a name for a {what}: use 1 to 64 letters, digits, dots, hyphens and underscores, \
     the first a letter or digit"
)]
pub struct NotAName {
    what: &'static str,
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

impl ConnectionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConnectionName {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<Self, NotAName> {
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAName { what: "connection" })
        }
    }
}

impl TryFrom<String> for ConnectionName {
    type Error = NotAName;
    fn try_from(text: String) -> Result<Self, NotAName> {
        text.parse()
    }
}

impl From<ConnectionName> for String {
    fn from(name: ConnectionName) -> Self {
        name.0
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long the previous secret stays valid after every required destination has the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Overlap {
    /// A fixed time; zero is none.
    For(Span),
    /// Until just before the next rotation adds its secret.
    NextRotation,
}

impl FromStr for Overlap {
    type Err = crate::clock::SpanError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "next-rotation" {
            Ok(Self::NextRotation)
        } else {
            text.parse().map(Self::For)
        }
    }
}

impl TryFrom<String> for Overlap {
    type Error = crate::clock::SpanError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Overlap> for String {
    fn from(overlap: Overlap) -> Self {
        overlap.to_string()
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(span) => span.fmt(f),
            Self::NextRotation => f.write_str("next-rotation"),
        }
    }
}

/// What to do when the application holds as many secrets as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLimit {
    /// Stop and ask: nothing is revoked early.
    #[default]
    Block,
    /// Revoke a previous secret of ours before its overlap is over.
    RevokePrevious,
}

/// A connection as it was declared: what is `None` follows the settings' `[defaults]`.
///
/// It is what `apply` reads, what `export` prints and what the store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Unique in one store.
    pub name: ConnectionName,
    /// The directory of the application. Immutable once adopted.
    pub tenant_id: TenantId,
    /// The application. Immutable once adopted.
    pub client_id: ClientId,
    /// The cloud, by name; `public` where it is not given. Immutable once adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Who signs in to Graph: `self` or a named identity of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Days between two rotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_days: Option<u32>,
    /// The local time of day of a rotation.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time_of_day::option"
    )]
    pub rotate_at: Option<NaiveTime>,
    /// The IANA zone of `rotate_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Tz>,
    /// Life of a new secret in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<u32>,
    /// See [`Overlap`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// The guard: rotate at the latest this long before the secret expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Span>,
    /// A stable spread, at most this long, added to each due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// The weekdays on which a scheduled rotation may start, such as `["mon-thu"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Weekdays>,
    /// The hours in which a scheduled rotation may start, such as `"09:00-16:00"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Dates on which no scheduled rotation starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blackouts: Option<Vec<Blackout>>,
    /// See [`OnLimit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_limit: Option<OnLimit>,
    /// Consumers fetch the secret themselves with `keywheel secret`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// Free text that groups connections.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where the secret goes.
    #[serde(default, rename = "destination", skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationSpec>,
}

/// One place that a new secret is delivered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DestinationSpec {
    /// A file on this host.
    File(FileSpec),
}

impl DestinationSpec {
    /// Unique within its connection.
    pub fn name(&self) -> &str {
        match self {
            Self::File(file) => &file.name,
        }
    }

    /// Whether the old secret stays valid until this destination has the new one.
    pub fn required(&self) -> bool {
        match self {
            Self::File(file) => file.required,
        }
    }

    /// The kind as `kind = "…"` spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde calls"
)]
fn is_true(value: &bool) -> bool {
    *value
}

/// A file on this host, and what to run once it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Unique within its connection.
    pub name: String,
    /// `false`: the old secret may be revoked although this file does not have the new one.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub required: bool,
    /// Absolute, or relative to the folder of the file that declares it (made absolute there).
    pub path: PathBuf,
    /// What the file looks like.
    #[serde(default, skip_serializing_if = "is_raw")]
    pub format: FileFormat,
    /// `dotenv`: the variable; `json`: the key, or a JSON pointer such as `/azure/secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `template`: the text, with `{{ secret }}`, `{{ tenant_id }}`, `{{ client_id }}`,
    /// `{{ key_id }}`, `{{ expires_at }}` and `{{ connection }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Octal, such as `"0640"`; a new file gets 0600, an existing one keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// User name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Program and arguments, run without a shell after the file is written; it must exit 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<String>,
    /// How long `reload` may take; 30 s where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_timeout: Option<Span>,
    /// Variables that `reload` gets beside `PATH`; children start with an empty environment (P6).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reload_env: BTreeMap<String, String>,
}

impl FileSpec {
    /// Whether both would write the same place: the same file, unless each keeps a key of its own
    /// in one of the same format.
    pub fn clashes(&self, other: &Self) -> bool {
        let shared = matches!(self.format, FileFormat::Dotenv | FileFormat::Json)
            && self.format == other.format
            && self.key != other.key;
        self.path == other.path && !shared
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde calls"
)]
fn is_raw(format: &FileFormat) -> bool {
    *format == FileFormat::Raw
}

/// How a secret stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// The value and nothing else, no line break.
    #[default]
    Raw,
    /// `KEY=value` in a file that others also write.
    Dotenv,
    /// One key of a JSON file that others also write.
    Json,
    /// A text of the user's with the secret in it.
    Template,
}

/// A connection with the settings' defaults filled in: what the engine works by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The cloud's name.
    pub cloud: String,
    /// `self` or the name of an identity.
    pub identity: String,
    /// Days between two rotations, at least 1.
    pub interval_days: u32,
    /// The local time of day.
    pub rotate_at: NaiveTime,
    /// The zone of `rotate_at`.
    pub timezone: Tz,
    /// Life of a new secret in days.
    pub lifetime_days: u32,
    /// See [`Overlap`].
    pub overlap: Overlap,
    /// The guard before expiry, before it is cut to a third of the secret's life.
    pub renew_before: Span,
    /// The stable spread.
    pub jitter: Span,
    /// Allowed weekdays.
    pub only: Weekdays,
    /// Allowed hours.
    pub hours: Option<Hours>,
    /// Forbidden dates.
    pub blackouts: Vec<Blackout>,
    /// See [`OnLimit`].
    pub on_limit: OnLimit,
}

impl Policy {
    /// The part of it that decides when the connection rotates.
    pub fn rule(&self) -> Rule {
        Rule {
            interval_days: self.interval_days,
            rotate_at: self.rotate_at,
            timezone: self.timezone,
            renew_before: self.renew_before,
            jitter: self.jitter,
            window: Window {
                only: self.only,
                hours: self.hours,
                blackouts: self.blackouts.clone(),
            },
        }
    }
}
