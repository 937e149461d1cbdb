//! What is told, in words: the same for every channel, harmless before any of them sees it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::concern::{Concern, instant};
use super::ladder::{Alert, Saying};
use crate::clock::whole_seconds;
use crate::connection::ConnectionName;
use crate::entra::{ClientId, KeyId, TenantId};
use crate::journal::{Event, Journal, RotationId};
use crate::settings::NotifyEvent;
use crate::text::harmless;

/// The longest text of a message, in characters: what says more is in the log.
const LONGEST: usize = 1000;

/// One message. It is the body of a webhook as it stands: none of its fields is renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same each time that it is sent, and on each channel: a receiver can drop what it has.
    pub id: Ulid,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What it is about.
    pub event: NotifyEvent,
    /// How often it was told before; 0: for the first time.
    pub reminder: u32,
    /// Which connection; `null`: none.
    pub connection: Option<ConnectionName>,
    /// Its tenant.
    pub tenant_id: Option<TenantId>,
    /// Its application.
    pub client_id: Option<ClientId>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Why: a stable code.
    pub cause: String,
    /// In one line.
    pub title: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when it is so.
    pub since: Option<DateTime<Utc>>,
    /// When consumers are cut off if nothing happens.
    pub ends_at: Option<DateTime<Utc>>,
    /// In which rotation.
    pub rotation_id: Option<RotationId>,
    /// About which secret.
    pub key_id: Option<KeyId>,
    /// So many older messages were dropped before this one, as the channel took none for too long.
    pub dropped: u64,
}

impl Message {
    /// What `notify test` sends.
    pub fn test(now: DateTime<Utc>) -> Self {
        Self {
            title: "Keywheel: a test message".into(),
            message: "`keywheel notify test` was called, and this channel works.".into(),
            remedy: "nothing".into(),
            cause: "test".into(),
            ..Self::empty(NotifyEvent::Test, now)
        }
    }

    /// What is said of a connection.
    pub(super) fn saying(journal: &Journal, saying: &Saying, now: DateTime<Utc>) -> Self {
        match saying {
            Saying::First(concern) => Self::concern(journal, concern, now),
            Saying::Reminder {
                concern,
                since,
                count,
                others,
            } => {
                let message = Self::concern(journal, concern, now);
                let others = others
                    .iter()
                    .map(|it| format!("; {}: {}", it.cause, it.message));
                let others: String = others.collect();
                Self {
                    reminder: *count,
                    since: Some(whole_seconds(*since)),
                    title: harmless(&format!("still: {}", message.title), LONGEST),
                    message: harmless(&format!("{}{others}", message.message), LONGEST),
                    ..message
                }
            }
            Saying::Recovery(over) => Self::recovery(journal, over, now),
        }
    }

    /// What a line of `history` is worth telling; `None`: nothing.
    pub(super) fn line(journal: &Journal, event: &Event, now: DateTime<Utc>) -> Option<Self> {
        let name = journal.name();
        let key_id = event
            .key_id
            .map_or_else(String::new, |id| format!(" (Key ID {id})"));
        let (kind, title, message, remedy) = match event.action.as_str() {
            "promoted" => (
                NotifyEvent::Rotated,
                format!("{name} was rotated"),
                format!("a new secret{key_id} is current"),
                "nothing: it is delivered, and the old one is revoked after the overlap".to_owned(),
            ),
            "orphan-found" => (
                NotifyEvent::Orphan,
                format!("an orphan of {name} was found"),
                format!(
                    "a secret that Keywheel made{key_id} is on the application, and nobody holds \
                     its value; the answer that carried it was lost"
                ),
                format!(
                    "nothing: it is removed by its Key ID; `keywheel history {name}` says when it \
                     is gone"
                ),
            ),
            drift if drift.starts_with("drift-") => (
                NotifyEvent::Drift,
                format!("{name}: Entra and the store disagree"),
                format!("{}{key_id}: {}", drift.replace('-', " "), event.result),
                format!(
                    "`keywheel status {name}` and `keywheel verify {name}` say how it stands; find \
                     out who changed it"
                ),
            ),
            _ => return None,
        };
        Some(Self {
            cause: harmless(&event.action, LONGEST),
            title: harmless(&title, LONGEST),
            message: harmless(&message, LONGEST),
            remedy,
            since: Some(event.at),
            rotation_id: event.rotation_id,
            key_id: event.key_id,
            ..Self::about(journal, kind, now)
        })
    }

    fn concern(journal: &Journal, concern: &Concern, now: DateTime<Utc>) -> Self {
        let name = journal.name();
        let title = match concern.kind {
            super::concern::Kind::Failing => format!("{name} is failing: {}", concern.cause),
            super::concern::Kind::Blocked => format!("{name} is blocked: {}", concern.cause),
            super::concern::Kind::Overdue => format!("{name} is overdue"),
            super::concern::Kind::Expiring => match concern.ends_at {
                Some(end) => format!("a secret of {name} expires at {}", instant(end)),
                None => format!("a secret of {name} expires"),
            },
        };
        Self {
            cause: harmless(&concern.cause, LONGEST),
            title: harmless(&title, LONGEST),
            message: harmless(&concern.message, LONGEST),
            remedy: harmless(&concern.remedy, LONGEST),
            since: Some(whole_seconds(concern.since)),
            ends_at: concern.ends_at.map(whole_seconds),
            ..Self::about(journal, concern.kind.event(), now)
        }
    }

    fn recovery(journal: &Journal, over: &[Alert], now: DateTime<Utc>) -> Self {
        let name = journal.name();
        let causes: Vec<&str> = over.iter().map(|alert| alert.cause.as_str()).collect();
        let first = over.iter().map(|alert| alert.since).min();
        Self {
            cause: harmless(causes.first().unwrap_or(&""), LONGEST),
            title: format!("{name} has recovered"),
            message: harmless(&format!("over: {}", causes.join(", ")), LONGEST),
            remedy: "nothing".into(),
            since: first.map(whole_seconds),
            ..Self::about(journal, NotifyEvent::Recovered, now)
        }
    }

    fn about(journal: &Journal, event: NotifyEvent, now: DateTime<Utc>) -> Self {
        let declared = &journal.declared;
        let labels = declared.labels.iter();
        let shown = labels.map(|(key, value)| (key.clone(), harmless(value, LONGEST)));
        Self {
            connection: Some(declared.name.clone()),
            tenant_id: Some(declared.tenant_id),
            client_id: Some(declared.client_id),
            labels: shown.collect(),
            ..Self::empty(event, now)
        }
    }

    fn empty(event: NotifyEvent, now: DateTime<Utc>) -> Self {
        Self {
            id: Ulid::from_datetime(now.into()),
            at: whole_seconds(now),
            event,
            reminder: 0,
            connection: None,
            tenant_id: None,
            client_id: None,
            labels: BTreeMap::new(),
            cause: String::new(),
            title: String::new(),
            message: String::new(),
            remedy: String::new(),
            since: None,
            ends_at: None,
            rotation_id: None,
            key_id: None,
            dropped: 0,
        }
    }

    /// What a person reads beside title, message and remedy: a name and a value each.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("Event", self.event.to_string())];
        let mut add = |name, value: Option<String>| facts.extend(value.map(|it| (name, it)));
        add(
            "Connection",
            self.connection.as_ref().map(ToString::to_string),
        );
        add("Tenant", self.tenant_id.map(|id| id.to_string()));
        add("Application", self.client_id.map(|id| id.to_string()));
        add("Since", self.since.map(instant));
        add("Cut off at", self.ends_at.map(instant));
        add("Key ID", self.key_id.map(|id| id.to_string()));
        add(
            "Reminder",
            (self.reminder > 0).then(|| self.reminder.to_string()),
        );
        let dropped = self.dropped;
        add(
            "Dropped",
            (dropped > 0).then(|| format!("{dropped} older messages to this channel")),
        );
        add("Message ID", Some(self.id.to_string()));
        facts
    }
}
