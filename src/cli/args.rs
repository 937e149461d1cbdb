//! Every command and flag. Names are relied on by scripts: none is renamed.

mod change;
mod connection;
mod look;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::context::DEFAULT_CONFIG;
use super::output::Form;
use crate::clock::Span;
use crate::connection::field;
use crate::wording::quoted;

pub use change::{Deliver, MasterKey, Orphans, Revoke, Rollback, Rotate};
pub use connection::{Add, Apply, ConnectionCommand, Edit, Fields};
pub use look::{History, Schedule, SecretArgs, Status, Verify};

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
  3 a retry is scheduled   5 another process is rotating it   6 a person must act";

const RUN_EXAMPLES: &str = "\
Examples:
  systemctl enable --now keywheel                 as a service, which this is meant for
  keywheel run --config ./keywheel.toml           in the foreground; Ctrl-C ends it
  kill -HUP PID                                   read the settings again

It logs to the journal where systemd started it, else to standard error; KEYWHEEL_LOG_FORMAT is text,
json or journal, KEYWHEEL_LOG a filter such as keywheel=debug.";

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
#[command(next_help_heading = "Global options")]
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
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    pub listen: SocketAddr,
    /// The certificate (PEM); without it plain HTTP, on loopback addresses alone
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// How many applications
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole(0..=100_000_usize))]
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

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not an address; write one such as 127.0.0.1:8443 or [::1]:8443",
            quoted(text)
        )
    })
}

/// Reads a whole number in `range`, for clap, whose own words for a wrong one are no sentence.
fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!(
                "{} is not a whole number from {} to {}",
                quoted(text),
                range.start(),
                range.end()
            )
        })
    }
}
