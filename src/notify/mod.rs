//! Who is told what happens: what stands, what is told of it, and the channels.
//!
//! | file | what it holds |
//! |---|---|
//! | `concern` | what is wrong with a connection (pure) |
//! | `ladder` | what is told of it, and when again (pure) |
//! | `message` | the words |
//! | `channel` | what a channel is, and what can be wrong with one |
//! | `webhook`, `slack`, `teams`, `mail` | the channels |
//! | `http` | what those over HTTP have in common |
//!
//! What is told is worked out from `history` and from the journals, never from what happens to run:
//! so it makes no difference who rotated, and a process that dies in between loses nothing. What is
//! to be sent, and that it was told, is written in one transaction; what was sent is deleted after
//! the channel has said yes. So each message arrives at least once.

mod channel;
pub mod concern;
mod http;
pub mod ladder;
mod mail;
mod message;
pub mod slack;
pub mod teams;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::journal::{Event, Journal};
use crate::settings::{NotifyKind, NotifySpec};
use crate::store::notices::{Attempted, Lookout, NewNotice, Noted, Notice, Subject};
use crate::store::{LONGEST_BACKOFF, Store, StoreFault};

pub use channel::{Channel, ChannelFault, TIMEOUT};
pub use concern::Situation;
pub use mail::MailChannel;
pub use message::Message;
pub use slack::Slack;
pub use teams::Teams;
pub use webhook::Webhook;

/// So many lines and connections are looked at in one transaction.
const BATCH: usize = 200;

/// So many messages are sent to a channel before it is somebody else's turn.
const AT_ONCE: usize = 20;

/// So many of the newest are kept for each channel: more than anybody reads, and no more than some
/// megabytes.
pub const KEPT: usize = 1000;

/// The wait after the first failure of a channel; doubled by each one that follows.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// What the journal alone does not say, said by whoever knows the rules of rotating.
pub trait Judge: Send + Sync {
    /// How the connection of `journal` stands.
    fn situation(&self, journal: &Journal) -> Situation;
}

/// Works out what is to be told, and sends it.
pub struct Notifier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lines: Vec<(NotifySpec, Arc<dyn Channel>)>,
}

impl Notifier {
    /// Tells by these channels.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        lines: Vec<(NotifySpec, Arc<dyn Channel>)>,
    ) -> Self {
        Self {
            store,
            clock,
            lines,
        }
    }

    /// Tells by the channels of the settings.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>, specs: &[NotifySpec]) -> Self {
        let lines = specs.iter().map(|spec| {
            let channel = open(&spec.kind, &clock, TIMEOUT);
            (spec.clone(), channel)
        });
        let lines = lines.collect();
        Self::new(store, clock, lines)
    }

    /// The names of the channels.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(spec, _)| spec.name.as_str())
    }

    /// Begins to take note of what happens; without a channel it ends.
    ///
    /// # Errors
    ///
    /// Where the store can't be written.
    pub async fn begin(&self) -> Result<(), StoreFault> {
        self.store.watch(!self.lines.is_empty()).await
    }

    /// Looks at what has happened, and at those whose time has come, and queues what is to be told
    /// of it. Returns whether there is more to look at.
    ///
    /// # Errors
    ///
    /// Where the store can't be read or written; nothing is lost, and nothing told twice.
    pub async fn look(&self, judge: &dyn Judge) -> Result<bool, StoreFault> {
        if self.lines.is_empty() {
            return Ok(false);
        }
        let found = self.store.noteworthy(self.clock.now(), BATCH).await?;
        if found.lines.is_empty() && found.subjects.is_empty() {
            return Ok(false);
        }
        let mut noted = Noted {
            read: found.read,
            keep: KEPT,
            ..Noted::default()
        };
        for line in &found.lines {
            let mut subjects = found.subjects.iter();
            let whose = subjects.find(|it| Some(it.journal.id) == line.connection);
            if let Some(subject) = whose {
                self.happened(&subject.journal, &line.event, &mut noted);
            }
        }
        for subject in &found.subjects {
            self.consider(subject, &judge.situation(&subject.journal), &mut noted);
        }
        self.store.note(noted).await?;
        Ok(found.more)
    }

    /// Sends what waits, all channels side by side, each by its own backoff.
    ///
    /// # Errors
    ///
    /// Where the store can't be read or written: what was sent may be sent again.
    pub async fn send_due(self: &Arc<Self>) -> Result<(), StoreFault> {
        let mut sending = JoinSet::new();
        for line in 0..self.lines.len() {
            let notifier = Arc::clone(self);
            sending.spawn(async move { notifier.send_to(line).await });
        }
        let mut first = Ok(());
        while let Some(sent) = sending.join_next().await {
            let sent = sent.unwrap_or_else(|error| {
                tracing::error!("a channel ended unexpectedly: {error}");
                Ok(())
            });
            first = first.and(sent);
        }
        first
    }

    /// Sends some of what waits for one channel, counted as [`Notifier::channels`] names them.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send_due`].
    pub async fn send_to(&self, line: usize) -> Result<(), StoreFault> {
        let Some((spec, channel)) = self.lines.get(line) else {
            return Ok(());
        };
        let name = spec.name.as_str();
        let outbox = self.store.outbox(name, self.clock.now(), AT_ONCE).await?;
        let mut dropped = outbox.dropped;
        for notice in outbox.notices {
            let sent = send(&**channel, &notice, dropped).await;
            let is_over = sent.as_ref().is_err_and(|fault| !fault.is_of_message());
            let attempted = self.attempted(name, &notice, outbox.failures, dropped, sent);
            if matches!(attempted, Attempted::Sent { .. }) {
                dropped = 0;
            }
            self.store.attempted(name, attempted).await?;
            if is_over {
                break;
            }
        }
        Ok(())
    }

    fn attempted(
        &self,
        channel: &str,
        notice: &Notice,
        failures: u32,
        dropped: u64,
        sent: Result<(), ChannelFault>,
    ) -> Attempted {
        let Err(fault) = sent else {
            if failures > 0 {
                tracing::info!(channel, "the channel takes messages again");
            }
            return Attempted::Sent {
                ordinal: notice.ordinal,
                dropped,
            };
        };
        let refused = fault.is_of_message();
        let count = if refused { notice.refusals } else { failures };
        let wait = wait_after(count.saturating_add(1), fault.wait());
        tracing::warn!(
            channel,
            refused,
            wait_s = wait.as_secs(),
            "a message stays queued: {fault}"
        );
        let next_attempt_at = self.clock.now() + wait;
        let fault = fault.to_string();
        if refused {
            Attempted::Refused {
                ordinal: notice.ordinal,
                next_attempt_at,
                fault,
            }
        } else {
            Attempted::Failed {
                failures: failures.saturating_add(1),
                next_attempt_at,
                fault,
            }
        }
    }

    /// What one line of `history` is worth telling.
    fn happened(&self, journal: &Journal, event: &Event, noted: &mut Noted) {
        if let Some(message) = Message::line(journal, event, self.clock.now()) {
            self.queue(journal, &message, noted);
        }
    }

    /// What stands, and what is over.
    fn consider(&self, subject: &Subject, situation: &Situation, noted: &mut Noted) {
        let (now, journal) = (self.clock.now(), &subject.journal);
        let alerts = alerts(subject);
        let told = if journal.removed_at.is_some() {
            // Whoever removed it knows: it is no recovery.
            ladder::Told::default()
        } else {
            ladder::tell(alerts, &concern::concerns(journal, situation, now), now)
        };
        for saying in &told.sayings {
            self.queue(journal, &Message::saying(journal, saying, now), noted);
        }
        let by_time = concern::look_at(journal, situation, now);
        noted.lookouts.push(Lookout {
            connection: journal.id,
            look_at: told.look_at.into_iter().chain(by_time).min(),
            alerts: serde_json::to_string(&told.alerts).unwrap_or_else(|_| "[]".into()),
        });
    }

    fn queue(&self, journal: &Journal, message: &Message, noted: &mut Noted) {
        let labels = &journal.declared.labels;
        let Ok(record) = serde_json::to_string(message) else {
            return;
        };
        for (spec, _) in &self.lines {
            if spec.wants(message.event, labels) {
                noted.notices.push(NewNotice {
                    channel: spec.name.clone(),
                    record: record.clone(),
                });
            }
        }
    }
}

/// The channel of this kind; one message takes no longer than `timeout`.
pub fn open(kind: &NotifyKind, clock: &Arc<dyn Clock>, timeout: Duration) -> Arc<dyn Channel> {
    match kind.clone() {
        NotifyKind::Webhook {
            address,
            secret_file,
            ca_file,
        } => {
            let clock = Arc::clone(clock);
            Arc::new(Webhook::new(address, secret_file, ca_file, clock, timeout))
        }
        NotifyKind::Slack { url_file, ca_file } => Arc::new(Slack::new(url_file, ca_file, timeout)),
        NotifyKind::Teams { url_file, ca_file } => Arc::new(Teams::new(url_file, ca_file, timeout)),
        NotifyKind::Mail(spec) => Arc::new(MailChannel::new(spec, timeout)),
    }
}

async fn send(channel: &dyn Channel, notice: &Notice, dropped: u64) -> Result<(), ChannelFault> {
    let message: Message =
        serde_json::from_str(&notice.record).map_err(|error| ChannelFault::Answered {
            status: 0,
            word: Some(format!("the queued message can't be read: {error}")),
            wait: None,
            of_message: true,
        })?;
    channel.send(&Message { dropped, ..message }).await
}

/// Alerts that can't be read are told anew: twice is better than never.
fn alerts(subject: &Subject) -> Vec<ladder::Alert> {
    let record = subject.alerts.as_deref().unwrap_or("[]");
    serde_json::from_str(record).unwrap_or_else(|error| {
        let connection = subject.journal.name();
        tracing::warn!(%connection, %error, "what was told of it can't be read");
        Vec::new()
    })
}

/// From ten seconds to an hour; a channel that says how long is believed within these.
fn wait_after(failures: u32, told: Option<Duration>) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.clamp(1, 16) - 1));
    doubled.max(told.unwrap_or_default()).min(LONGEST_BACKOFF)
}
