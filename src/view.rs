//! A connection as `connection show`, `connection list`, `status` and the service's page show it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::seconds;
use crate::connection::{ConnectionName, time_of_day};
use crate::entra::{ClientId, KeyId, ObjectId, TenantId};
use crate::journal::{Delivery, Failure, Journal, Origin, Role};
use crate::rotation::plan::Terms;
use crate::rotation::standing::{Health, standing};
use crate::settings::{PolicyFaults, Settings};

/// The fields of `connection show` with `-o json`; none is renamed.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionView {
    /// Its name.
    pub name: ConnectionName,
    /// Its directory.
    pub tenant_id: TenantId,
    /// Its application.
    pub client_id: ClientId,
    /// Null until the application has been found.
    pub object_id: Option<ObjectId>,
    /// By name.
    pub cloud: String,
    /// By name.
    pub identity: String,
    /// Days.
    pub interval_days: u32,
    /// `HH:MM`.
    pub rotate_at: String,
    /// IANA.
    pub timezone: String,
    /// Days.
    pub lifetime_days: u32,
    /// A duration, or `next-rotation`.
    pub overlap: String,
    /// Rotations and revocations are held.
    pub paused: bool,
    /// Consumers ask for it.
    pub pull: bool,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// The secret to use; null after it was revoked with an outage accepted.
    pub current: Option<CurrentView>,
    /// Those before it that still work.
    pub previous: Vec<PreviousView>,
    /// By the schedule.
    #[serde(serialize_with = "seconds::serialize")]
    pub next_rotation_at: DateTime<Utc>,
    /// `idle`, or the state of the rotation under way.
    pub state: &'static str,
    /// How it is.
    pub health: Health,
    /// When the last secret that consumers hold expires.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub safe_until: Option<DateTime<Utc>>,
    /// What comes next.
    pub next_action: Option<ActionView>,
    /// Where the secret goes.
    pub destinations: Vec<DestinationView>,
    /// The newest failure that is not over.
    pub last_error: Option<FailureView>,
    /// What people are told of the next action where more is known of it.
    #[serde(skip)]
    pub at_work: Option<String>,
    /// When the current secret was made; `None`: it was adopted. For metrics alone.
    #[serde(skip)]
    pub rotated_at: Option<DateTime<Utc>>,
    /// How many secrets are to go and have not gone. For metrics alone.
    #[serde(skip)]
    pub removals: usize,
}

impl ConnectionView {
    /// What is said where `safe_until` has no date.
    pub fn without_end(&self) -> &'static str {
        match &self.current {
            Some(current) if !current.checked => current.without_date(),
            _ => "no end",
        }
    }
}

/// The current secret.
#[derive(Debug, Clone, Serialize)]
pub struct CurrentView {
    /// Its Key ID.
    pub key_id: KeyId,
    /// Its first three characters.
    pub hint: String,
    /// Null: never, or not known yet.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether Entra has been asked about it.
    #[serde(skip)]
    pub checked: bool,
}

impl CurrentView {
    /// What is said where there is no date.
    pub fn without_date(&self) -> &'static str {
        if self.checked {
            "never"
        } else {
            "unknown until it is checked"
        }
    }
}

/// A previous secret.
#[derive(Debug, Clone, Serialize)]
pub struct PreviousView {
    /// Its Key ID.
    pub key_id: KeyId,
    /// Null: never.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Null: not decided yet, or just before the next rotation.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub revoke_at: Option<DateTime<Utc>>,
}

/// What comes next.
#[derive(Debug, Clone, Serialize)]
pub struct ActionView {
    /// When.
    #[serde(serialize_with = "seconds::serialize")]
    pub at: DateTime<Utc>,
    /// What.
    pub what: &'static str,
}

/// A destination.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// `delivered`, `pending`, `retrying`, or `unknown` before the first delivery.
    pub state: &'static str,
    /// Failures in a row.
    pub attempts: u32,
    /// When it is tried again.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why it did not take the secret.
    pub last_error: Option<FailureView>,
}

impl DestinationView {
    /// Its state as people are told it.
    pub fn in_words(&self) -> &'static str {
        match self.state {
            "unknown" => "nothing delivered yet",
            state => state,
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct FailureView {
    /// When.
    #[serde(serialize_with = "seconds::serialize")]
    pub at: DateTime<Utc>,
    /// Stable, for scripts.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            at: failure.at,
            code: failure.code.clone(),
            message: failure.message.clone(),
            remedy: failure.remedy.clone(),
        }
    }
}

/// What a connection is planned by.
///
/// # Errors
///
/// What the settings lack for it.
pub fn terms(settings: &Settings, journal: &Journal) -> Result<Terms, PolicyFaults> {
    Ok(Terms {
        policy: settings.policy(&journal.declared)?,
        verification: settings.verification,
        graph: settings.graph,
    })
}

/// How a connection looks at `now`.
///
/// # Errors
///
/// What the settings lack for it.
pub fn view(
    settings: &Settings,
    journal: &Journal,
    now: DateTime<Utc>,
) -> Result<ConnectionView, PolicyFaults> {
    let terms = terms(settings, journal)?;
    let standing = standing(journal, &terms, now);
    let declared = &journal.declared;
    let policy = terms.policy;
    Ok(ConnectionView {
        name: declared.name.clone(),
        tenant_id: declared.tenant_id,
        client_id: declared.client_id,
        object_id: journal.object_id,
        cloud: policy.cloud,
        identity: policy.identity,
        interval_days: policy.interval_days,
        rotate_at: policy.rotate_at.format(time_of_day::FORMAT).to_string(),
        timezone: policy.timezone.to_string(),
        lifetime_days: policy.lifetime_days,
        overlap: policy.overlap.to_string(),
        paused: journal.paused,
        pull: declared.pull,
        labels: declared.labels.clone(),
        current: journal.current().map(|secret| CurrentView {
            key_id: secret.key_id,
            hint: secret.hint.clone(),
            expires_at: secret.expires_at,
            checked: secret.origin != Origin::Unchecked,
        }),
        previous: previous(journal),
        next_rotation_at: journal.due_at,
        state: standing.state,
        health: standing.health,
        safe_until: standing.safe_until,
        next_action: standing.next_action.map(|next| ActionView {
            at: next.at,
            what: next.what,
        }),
        destinations: destinations(journal),
        last_error: standing.last_error.as_ref().map(FailureView::from),
        at_work: None,
        rotated_at: journal
            .current()
            .filter(|secret| secret.origin == Origin::Minted)
            .and_then(|secret| secret.starts_at),
        removals: journal.removals.len(),
    })
}

fn previous(journal: &Journal) -> Vec<PreviousView> {
    let revoke_at = |key_id: KeyId| {
        let retiring = journal
            .rotations
            .iter()
            .find(|r| r.state.old_key() == Some(key_id));
        match retiring.map(|rotation| rotation.state.effective()) {
            Some(crate::journal::State::Overlapping { revoke_at, .. }) => *revoke_at,
            _ => None,
        }
    };
    let secrets = journal
        .secrets
        .iter()
        .filter(|secret| secret.role == Role::Previous);
    secrets
        .map(|secret| PreviousView {
            key_id: secret.key_id,
            expires_at: secret.expires_at,
            revoke_at: revoke_at(secret.key_id),
        })
        .collect()
}

fn destinations(journal: &Journal) -> Vec<DestinationView> {
    let declared = journal.declared.destinations.iter();
    declared
        .map(|spec| {
            let known = journal
                .deliveries
                .iter()
                .find(|d| d.destination == spec.name());
            let retry = known.map(|delivery| &delivery.retry);
            DestinationView {
                name: spec.name().to_owned(),
                kind: spec.kind(),
                state: delivery_state(known),
                attempts: retry.map_or(0, |retry| retry.failures),
                next_attempt_at: retry.and_then(|retry| retry.not_before),
                last_error: retry
                    .and_then(|retry| retry.last.as_ref())
                    .map(FailureView::from),
            }
        })
        .collect()
}

fn delivery_state(delivery: Option<&Delivery>) -> &'static str {
    match delivery {
        Some(delivery) if delivery.wants > 0 && delivery.holds >= delivery.wants => "delivered",
        Some(delivery) if delivery.retry.failures > 0 => "retrying",
        Some(delivery) if delivery.wants > 0 => "pending",
        _ => "unknown",
    }
}
