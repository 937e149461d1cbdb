//! Flags of the commands that declare and manage connections.

use std::path::PathBuf;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use clap::{Args, Subcommand};

use super::whole;
use crate::connection::{ConnectionName, Overlap, field, time_of_day};
use crate::entra::{ClientId, KeyId, TenantId};

/// `connection …`
#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// Adopt the client secret of an application
    Add(Box<Add>),
    /// All connections
    List,
    /// One connection
    Show(Named),
    /// Change what was declared; `--secret-file` adopts another secret, with all checks
    Edit(Box<Edit>),
    /// Forget a connection; nothing is changed in Entra
    Remove(Named),
    /// Bring back a removed connection, for 30 days
    Restore(Named),
    /// Hold rotations and revocations; deliveries and alarms go on
    Pause(Named),
    /// Go on after a pause, and try again what is blocked
    Resume(Named),
    /// Print what `apply` reads
    Export {
        /// Only these
        #[arg(value_name = "NAME")]
        names: Vec<ConnectionName>,
    },
}

/// One connection, by name.
#[derive(Debug, Args)]
pub struct Named {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
}

/// What can be declared and edited alike.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Fields {
    /// Who signs in to Graph: `self`, or an [[identity]] of the settings
    #[arg(long, value_name = "NAME")]
    pub identity: Option<String>,
    /// Days between two rotations
    #[arg(long, value_name = "N", value_parser = whole(field::INTERVAL_DAYS))]
    pub interval_days: Option<u32>,
    /// The local time of day
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day::parse)]
    pub rotate_at: Option<NaiveTime>,
    /// The IANA zone of that time, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = field::timezone)]
    pub timezone: Option<Tz>,
    /// Life of a new secret in days
    #[arg(long, value_name = "N", value_parser = whole(field::LIFETIME_DAYS))]
    pub lifetime_days: Option<u32>,
    /// How long the previous secret stays valid: 7d, 0s, or next-rotation
    #[arg(long, value_name = "DURATION", value_parser = field::overlap)]
    pub overlap: Option<Overlap>,
    /// Group connections; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = field::label)]
    pub labels: Vec<(String, String)>,
    /// Consumers ask `keywheel secret`
    #[arg(long)]
    pub pull: bool,
    /// Deliver to this file
    #[arg(long, value_name = "PATH")]
    pub to_file: Option<PathBuf>,
    /// Its format
    #[arg(long, value_name = "FORMAT", requires = "to_file", value_parser = ["raw", "dotenv", "json", "template"])]
    pub to_file_format: Option<String>,
    /// dotenv: the variable; json: the key or JSON pointer
    #[arg(long, value_name = "KEY", requires = "to_file")]
    pub to_file_key: Option<String>,
    /// Its mode, such as 0640
    #[arg(long, value_name = "MODE", requires = "to_file")]
    pub to_file_mode: Option<String>,
    /// The program that is run once the file is written, without arguments; `apply` takes more
    #[arg(long, value_name = "PROGRAM", requires = "to_file")]
    pub reload: Option<String>,
}

/// `connection add`
#[derive(Debug, Args)]
pub struct Add {
    /// The connection's name
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
    /// The directory (tenant) ID
    #[arg(long, value_name = "ID")]
    pub tenant_id: TenantId,
    /// The application (client) ID
    #[arg(long, value_name = "ID")]
    pub client_id: ClientId,
    /// The Key ID of the secret ("Secret ID" in the portal); worked out where only one fits
    #[arg(long, value_name = "ID")]
    pub key_id: Option<KeyId>,
    /// public, usgov, dod, china, or a [[cloud]] of the settings
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
    /// The rest
    #[command(flatten)]
    pub fields: Fields,
    /// When the first rotation is to happen
    #[arg(long, value_name = "RFC3339", value_parser = field::instant)]
    pub next_rotation_at: Option<DateTime<Utc>>,
    /// Rotate as soon as it is adopted
    #[arg(long)]
    pub rotate_now: bool,
    /// Check nothing now, but just before the first change
    #[arg(long)]
    pub no_check: bool,
    /// Adopt a secret that another instance made; its store is lost, or no longer has the connection
    #[arg(long, conflicts_with = "no_check")]
    pub take_over: bool,
    /// Read the secret from here; otherwise from standard input, or a prompt
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// `connection edit`
#[derive(Debug, Args)]
pub struct Edit {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
    /// Another name for it
    #[arg(long, value_name = "NAME")]
    pub rename: Option<ConnectionName>,
    /// What can't be changed
    #[command(flatten)]
    pub fixed: Fixed,
    /// The rest
    #[command(flatten)]
    pub fields: Fields,
    /// Do not serve `keywheel secret` consumers any more
    #[arg(long, conflicts_with = "pull")]
    pub no_pull: bool,
    /// Take away a label; may be repeated
    #[arg(long = "remove-label", value_name = "KEY")]
    pub remove_labels: Vec<String>,
    /// Take away a destination; may be repeated
    #[arg(long = "remove-destination", value_name = "NAME")]
    pub remove_destinations: Vec<String>,
    /// Adopt the secret in this file, with all checks
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Its Key ID
    #[arg(long, value_name = "ID", requires = "secret_file")]
    pub key_id: Option<KeyId>,
    /// Adopt it although another instance made it; its store is lost, or no longer has the connection
    #[arg(long, requires = "secret_file")]
    pub take_over: bool,
}

impl Edit {
    /// Whether no flag says what is to be changed.
    pub fn is_empty(&self) -> bool {
        let lists = self.remove_labels.is_empty() && self.remove_destinations.is_empty();
        let rest = self.rename.is_none() && !self.no_pull && self.secret_file.is_none();
        lists && rest && self.fields == Fields::default()
    }
}

/// What a connection is adopted with for good: taken so that an edit can say so.
#[derive(Debug, Args)]
pub struct Fixed {
    /// The directory (tenant) ID
    #[arg(long, hide = true, value_name = "ID")]
    pub tenant_id: Option<String>,
    /// The application (client) ID
    #[arg(long, hide = true, value_name = "ID")]
    pub client_id: Option<String>,
    /// The cloud
    #[arg(long, hide = true, value_name = "NAME")]
    pub cloud: Option<String>,
}

impl Fixed {
    /// The name of the first that was given, as files spell it.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("tenant_id", &self.tenant_id),
            ("client_id", &self.client_id),
            ("cloud", &self.cloud),
        ]
        .into_iter()
        .find_map(|(field, value)| value.as_ref().map(|_| field))
    }
}

/// `apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// The file: [[connection]] with the flags' names in snake_case
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Remove connections that the file does not have
    #[arg(long)]
    pub prune: bool,
}
