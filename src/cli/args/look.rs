//! Flags of the commands that change nothing.

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use clap::Args;

use super::whole;
use crate::connection::{ConnectionName, field, time_of_day};
use crate::store::ChainHash;

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
    #[arg(long, value_name = "N", requires_all = ["rotate_at", "timezone", "from"], value_parser = whole(field::INTERVAL_DAYS))]
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
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole(1..=10_000_u16))]
    pub count: u16,
}
