//! What the store keeps for notifications: records that it does not look into.

use chrono::{DateTime, Utc};

use crate::journal::{ConnectionId, Event, Journal};

/// What may be worth telling, as it stands at one moment.
#[derive(Debug, Clone, Default)]
pub struct Noteworthy {
    /// Lines of `history` that were not read before, oldest first.
    pub lines: Vec<Line>,
    /// The connections that these lines are about, and those whose time has come.
    pub subjects: Vec<Subject>,
    /// The end of `history` as it was read before, and now; what is noted goes on from there.
    pub read: Read,
    /// Whether there is more.
    pub more: bool,
}

/// How far `history` has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Read {
    /// To this line before.
    pub from: i64,
    /// To this line now.
    pub to: i64,
}

/// A line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose it is; `None`: the whole store's.
    pub connection: Option<ConnectionId>,
    /// What happened.
    pub event: Event,
}

/// A connection, and what has been told about it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// As it stands; removed ones are read too.
    pub journal: Journal,
    /// The record of its open alerts; `None`: it was never looked at.
    pub alerts: Option<String>,
}

/// What is written in one transaction: nothing is told twice, and nothing is left out.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    /// As it was read.
    pub read: Read,
    /// How the connections stand now.
    pub lookouts: Vec<Lookout>,
    /// What is to be sent.
    pub notices: Vec<NewNotice>,
    /// So many of the newest are kept for each channel.
    pub keep: usize,
}

/// How a connection stands in what has been told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookout {
    /// Which.
    pub connection: ConnectionId,
    /// When to look again though nothing happens; `None`: never.
    pub look_at: Option<DateTime<Utc>>,
    /// The record of its open alerts.
    pub alerts: String,
}

/// A message for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// The channel's name.
    pub channel: String,
    /// The message.
    pub record: String,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its place in the queue.
    pub ordinal: i64,
    /// How often the channel took others, and not this one.
    pub refusals: u32,
    /// The message.
    pub record: String,
}

/// What waits for one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbox {
    /// Whose time has come, oldest first; none while the channel itself has to wait.
    pub notices: Vec<Notice>,
    /// How many wait altogether.
    pub waiting: u64,
    /// How often in a row the channel has failed.
    pub failures: u32,
    /// How many were dropped since one was last sent.
    pub dropped: u64,
    /// What was wrong the last time.
    pub last_fault: Option<String>,
}

/// What came of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    /// It was taken, and with it how many were dropped before it.
    Sent {
        /// Which.
        ordinal: i64,
        /// As many as the message told.
        dropped: u64,
    },
    /// The channel does not take this one.
    Refused {
        /// Which.
        ordinal: i64,
        /// When it is tried again.
        next_attempt_at: DateTime<Utc>,
        /// Why.
        fault: String,
    },
    /// The channel takes nothing at present.
    Failed {
        /// How often in a row.
        failures: u32,
        /// When it is tried again.
        next_attempt_at: DateTime<Utc>,
        /// Why.
        fault: String,
    },
}
