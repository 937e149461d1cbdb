//! Flags of the commands that change secrets.

use clap::{Args, Subcommand};

use crate::connection::{ConnectionName, Overlap, field};
use crate::entra::KeyId;

/// `rotate`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["names", "all", "due"]))]
pub struct Rotate {
    /// These connections
    #[arg(value_name = "NAME")]
    pub names: Vec<ConnectionName>,
    /// Every connection
    #[arg(long)]
    pub all: bool,
    /// All that is due, clean-ups included
    #[arg(long)]
    pub due: bool,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Ignore backoff, windows and blackouts; never a promise
    #[arg(long)]
    pub force: bool,
    /// How long the previous secret stays valid this time
    #[arg(long, value_name = "DURATION", conflicts_with = "revoke_now", value_parser = field::overlap)]
    pub overlap: Option<Overlap>,
    /// No overlap; open overlaps end too
    #[arg(long)]
    pub revoke_now: bool,
}

/// `revoke`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel revoke app                                    all previous secrets, before their time
  keywheel revoke app --key-id K                         this one
  keywheel revoke app --key-id K --accept-outage --yes   one that leaked, whoever still uses it")]
pub struct Revoke {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
    /// This secret, instead of all previous ones
    #[arg(long, value_name = "ID")]
    pub key_id: Option<KeyId>,
    /// Remove it although consumers may be cut off
    #[arg(long, requires = "key_id")]
    pub accept_outage: bool,
}

/// `deliver`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel deliver app              to all destinations, their reload commands included
  keywheel deliver app --to file    to one of them")]
pub struct Deliver {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
    /// Only to this destination
    #[arg(long, value_name = "DESTINATION")]
    pub to: Option<String>,
}

/// `rollback`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel rollback app    the new secret causes trouble, and the old one still works")]
pub struct Rollback {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
}

/// `orphans`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel orphans             reads every application
  keywheel orphans --remove    removes them, each by its Key ID")]
pub struct Orphans {
    /// Remove them
    #[arg(long)]
    pub remove: bool,
}

/// `master-key …`
#[derive(Debug, Subcommand)]
pub enum MasterKey {
    /// Make a new key and seal everything with it
    #[command(after_help = "\
Examples:
  keywheel master-key rotate    for a key in a file; whatever runs meanwhile goes on")]
    Rotate,
}
