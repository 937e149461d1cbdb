//! Every command and flag. Names are relied on by scripts: none is renamed.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use clap::{ArgAction, Args, Parser, Subcommand};

use super::context::DEFAULT_CONFIG;
use super::output::Form;
use crate::clock::Span;
use crate::connection::{ConnectionName, Overlap, field, time_of_day};
use crate::entra::{ClientId, KeyId, TenantId};
use crate::store::ChainHash;

const EXAMPLES: &str = "\
Examples:
  keywheel demo                                   a guided run, nothing to set up
  keywheel init                                   settings, master key and database
  keywheel connection add app --tenant-id T --client-id C --to-file /etc/app/secret
  keywheel rotate app                             rotate one now
  keywheel rotate --due                           all that is due: for a timer
  keywheel status                                 how things stand

Exit codes:
  0 done, nothing to do, or in overlap   1 failed   2 usage or settings
  3 a retry is scheduled   4 the report's --fail-on was reached
  5 another process is rotating it   6 a person must act";

const RUN_EXAMPLES: &str = "\
Examples:
  systemctl enable --now keywheel                 as a service, which this is meant for
  keywheel run --config ./keywheel.toml           in the foreground; Ctrl-C ends it
  kill -HUP PID                                   read the settings again";

/// Rotates the client secrets of Microsoft Entra applications on a schedule, and never loses one.
#[derive(Debug, Parser)]
#[command(name = "keywheel", version, about, after_help = EXAMPLES, max_term_width = 100)]
#[command(
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The settings file
    #[arg(long, global = true, env = "KEYWHEEL_CONFIG", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The form of the data on standard output
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM"
    )]
    pub output: Form,
    /// Say more on standard error; up to three times
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Answer yes where a terminal would be asked
    #[arg(long, global = true)]
    pub yes: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make settings, state folder, master key and database; harmless when repeated
    Init(Init),
    /// Manage connections
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Adopt the client secret of an application: the same as `connection add`
    Adopt(Box<Add>),
    /// Make the connections as a file declares them
    Apply(Apply),
    /// Rotate, or carry on a rotation that is under way
    Rotate(Rotate),
    /// Remove secrets of ours at once; tokens that were issued live on until they expire
    Revoke(Revoke),
    /// Hand the current secret out again
    Deliver(Deliver),
    /// Make the previous secret current again while it lives, and deliver it
    Rollback(Rollback),
    /// Keep every connection on its schedule: the service
    #[command(after_help = RUN_EXAMPLES)]
    Run,
    /// How things stand
    Status(Status),
    /// What happened
    History(History),
    /// Does the secret sign in
    Verify(Verify),
    /// Print the current secret, for scripts; this is recorded
    Secret(SecretArgs),
    /// When it will rotate
    Schedule(Schedule),
    /// Secrets of ours whose value nobody holds
    Orphans(Orphans),
    /// The key that everything in the store is sealed with
    #[command(subcommand)]
    MasterKey(MasterKey),
    /// Who is told what happens
    #[command(subcommand)]
    Notify(Notify),
    /// Copy the store, sealed as it is, to a new file; the master key is not in it
    Backup(Backup),
    /// Make the store from a backup: a new instance, every connection paused
    Restore(Restore),
    /// An Entra tenant to try against
    Sandbox(Sandbox),
    /// A guided run against a sandbox in the process; nothing to set up
    Demo(Demo),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// The folder for the state, instead of the one beside the settings
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

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
#[derive(Debug, Clone, Default, Args)]
pub struct Fields {
    /// Who signs in to Graph: `self`, or an [[identity]] of the settings
    #[arg(long, value_name = "NAME")]
    pub identity: Option<String>,
    /// Days between two rotations
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub interval_days: Option<u32>,
    /// The local time of day
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day::parse)]
    pub rotate_at: Option<NaiveTime>,
    /// The IANA zone of that time, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = field::timezone)]
    pub timezone: Option<Tz>,
    /// Life of a new secret in days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36500))]
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

/// `status`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel status            a line for each connection
  keywheel status app        all about one
  keywheel status -o json    for scripts: the objects of `connection show`")]
pub struct Status {
    /// Only this connection
    #[arg(value_name = "NAME")]
    pub name: Option<ConnectionName>,
}

/// `history`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel history app
  keywheel history --since 2026-11-01T00:00:00Z -o json")]
pub struct History {
    /// Only of this connection
    #[arg(value_name = "NAME")]
    pub name: Option<ConnectionName>,
    /// From this time on
    #[arg(long, value_name = "RFC3339", value_parser = field::instant)]
    pub since: Option<DateTime<Utc>>,
    /// To just before this time
    #[arg(long, value_name = "RFC3339", value_parser = field::instant)]
    pub until: Option<DateTime<Utc>>,
    /// Show no lines; find out whether any was changed or taken out since it was written
    #[arg(long, conflicts_with_all = ["name", "since", "until"])]
    pub verify: bool,
    /// A head that an earlier --verify printed, or the service logged: it must still be there
    #[arg(long, value_name = "HASH", requires = "verify")]
    pub head: Option<ChainHash>,
}

/// `verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
}

/// `secret`
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// The connection
    #[arg(value_name = "NAME")]
    pub name: ConnectionName,
    /// Print it although standard output is a terminal
    #[arg(long)]
    pub reveal: bool,
}

/// `schedule`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keywheel schedule                   the next five rotations of each connection
  keywheel schedule app --count 12
  keywheel schedule --interval-days 30 --rotate-at 02:30 --timezone Europe/Berlin \\
      --from 2026-03-01T01:30:00Z     without settings: what would be")]
pub struct Schedule {
    /// Only of this connection
    #[arg(value_name = "NAME", conflicts_with_all = ["interval_days", "rotate_at", "timezone", "from"])]
    pub name: Option<ConnectionName>,
    /// Without settings: days between two rotations
    #[arg(long, value_name = "N", requires_all = ["rotate_at", "timezone", "from"], value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub interval_days: Option<u32>,
    /// Without settings: the local time of day
    #[arg(long, value_name = "HH:MM", requires = "interval_days", value_parser = time_of_day::parse)]
    pub rotate_at: Option<NaiveTime>,
    /// Without settings: the IANA zone
    #[arg(long, value_name = "ZONE", requires = "interval_days", value_parser = field::timezone)]
    pub timezone: Option<Tz>,
    /// Without settings: when the last one was due
    #[arg(long, value_name = "RFC3339", requires = "interval_days", value_parser = field::instant)]
    pub from: Option<DateTime<Utc>>,
    /// How many of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub count: u16,
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

/// `notify …`
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Send a test message through each channel, and say what came of it
    #[command(after_help = "\
Examples:
  keywheel notify test           each [[notify]] of the settings
  keywheel notify test mail      this one")]
    Test {
        /// Only this channel
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// `backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make; it must not be there yet
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// What `backup` made
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `sandbox`
#[derive(Debug, Args)]
pub struct Sandbox {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The certificate (PEM); without it plain HTTP, on loopback addresses alone
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// How many applications
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub apps: usize,
    /// The lag of every replica; a few seconds, now and then many, where it is not given
    #[arg(long, value_name = "DURATION", value_parser = field::span)]
    pub lag: Option<Span>,
    /// How much longer each answer takes
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = field::span)]
    pub latency: Span,
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}
