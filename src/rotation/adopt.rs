//! Taking over a secret that somebody made: everything is checked before the first change.

mod examine;
mod places;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::advance::Engine;
use super::timetable::Timetable;
use super::trouble::{AdvanceFault, Halt, Trouble};
use crate::connection::{ConnectionName, Declared, Policy};
use crate::entra::{KeyId, ObjectId, Password};
use crate::journal::{AttemptName, ConnectionId, Event, Origin, Role, Secret};
use crate::store::Adoption;

pub(super) use examine::{Given, other_instance};

/// What a person gives to be adopted.
#[derive(Debug)]
pub struct Candidate {
    /// The connection.
    pub declared: Declared,
    /// The value in use.
    pub secret: SecretString,
    /// Its Key ID; worked out by the hint where only one fits.
    pub key_id: Option<KeyId>,
    /// When the first rotation is to happen; by the schedule, counted from today, where not given.
    pub next_rotation_at: Option<DateTime<Utc>>,
    /// Rotate at once.
    pub rotate_now: bool,
    /// `false`: the checks are postponed to just before the first change.
    pub check: bool,
    /// Adopt it although another instance made it: a person says that nobody there needs it.
    pub take_over: bool,
}

/// What was adopted.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The Key ID that is ours now.
    pub key_id: KeyId,
    /// It was not given, and worked out.
    pub worked_out: bool,
    /// When the first rotation is due.
    pub due_at: DateTime<Utc>,
    /// Secrets on the application that are not ours, and never touched.
    pub foreign: Vec<KeyId>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why something was not adopted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdoptFault {
    /// A check failed.
    #[error("{message}")]
    Check {
        /// Stable, for scripts.
        code: String,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: Option<String>,
        /// Whether it may pass at another try.
        passing: bool,
    },
    /// The store, the keys or the settings.
    #[error(transparent)]
    Engine(#[from] AdvanceFault),
}

impl From<Halt> for AdoptFault {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Fatal(fault) => Self::Engine(fault),
            Halt::Trouble(trouble) => {
                let retry = crate::journal::Retry::default();
                let failure = trouble.failure(DateTime::UNIX_EPOCH, &retry);
                Self::Check {
                    code: failure.code,
                    message: failure.message,
                    remedy: failure.remedy,
                    passing: !failure.permanent,
                }
            }
        }
    }
}

impl From<crate::store::StoreFault> for AdoptFault {
    fn from(fault: crate::store::StoreFault) -> Self {
        Self::Engine(fault.into())
    }
}

impl Engine {
    /// Checks everything, then writes the connection and its secret in one transaction.
    pub async fn adopt(&self, candidate: Candidate) -> Result<Adopted, AdoptFault> {
        let policy = self.policy_of(&candidate.declared)?;
        self.check_places(&candidate.declared, None).await?;
        let now = self.clock.now();
        if !candidate.check {
            return self.adopt_unchecked(candidate, &policy).await;
        }
        let findings = self
            .examine(
                &candidate.declared,
                &policy,
                Given {
                    secret: &candidate.secret,
                    key_id: candidate.key_id,
                    known: &[],
                    take_over: candidate.take_over,
                },
            )
            .await?;
        let expired = findings.password.ends_at.is_some_and(|at| at <= now);
        if expired && !(candidate.rotate_now && policy.identity != "self") {
            return Err(Halt::from(secret_expired(&candidate.declared.name)).into());
        }
        let secret = current_of(&findings.password, &candidate.secret, Origin::Adopted);
        let foreign = findings
            .listed
            .iter()
            .copied()
            .filter(|key_id| *key_id != secret.key_id)
            .collect();
        let mut notes = findings.notes;
        if policy.identity == "self" {
            notes.push(SELF_NOTE.to_owned());
        }
        let key_id = secret.key_id;
        let object_id = Some(findings.object_id);
        let wanted = candidate.next_rotation_at.filter(|_| !candidate.rotate_now);
        let due_at = self
            .write_adoption(candidate, &policy, object_id, secret, findings.taken_over)
            .await?;
        notes.extend(wanted.and_then(|wanted| moved(wanted, due_at)));
        Ok(Adopted {
            key_id,
            worked_out: findings.worked_out,
            due_at,
            foreign,
            notes,
        })
    }

    async fn adopt_unchecked(
        &self,
        candidate: Candidate,
        policy: &Policy,
    ) -> Result<Adopted, AdoptFault> {
        let Some(key_id) = candidate.key_id else {
            return Err(Halt::from(Trouble::rule(
                "key-id-needed",
                "without the checks the Key ID can't be worked out",
                "give it with --key-id, or leave out --no-check",
            ))
            .into());
        };
        let secret = Secret {
            key_id,
            role: Role::Current,
            origin: Origin::Unchecked,
            generation: 1,
            hint: hint_of(&candidate.secret),
            starts_at: None,
            expires_at: None,
            attempt: None,
            refused: None,
        };
        let wanted = candidate.next_rotation_at.filter(|_| !candidate.rotate_now);
        let due_at = self
            .write_adoption(candidate, policy, None, secret, None)
            .await?;
        let mut notes = vec![
            "nothing was checked; it is, just before the first change, and until then the Key ID \
             is not ours"
                .to_owned(),
        ];
        notes.extend(wanted.and_then(|wanted| moved(wanted, due_at)));
        Ok(Adopted {
            key_id,
            worked_out: false,
            due_at,
            foreign: Vec::new(),
            notes,
        })
    }

    async fn write_adoption(
        &self,
        candidate: Candidate,
        policy: &Policy,
        object_id: Option<ObjectId>,
        secret: Secret,
        taken_over: Option<AttemptName>,
    ) -> Result<DateTime<Utc>, AdoptFault> {
        let now = self.clock.now();
        let timetable = Timetable::new(&candidate.declared.name, policy);
        let (anchor, due_at) = match (candidate.rotate_now, candidate.next_rotation_at) {
            (true, _) => (timetable.date(now), crate::clock::whole_seconds(now)),
            (false, Some(at)) => (
                timetable.anchor_before(at),
                timetable.opening_for(at, secret.starts_at, secret.expires_at),
            ),
            (false, None) => {
                let anchor = timetable.date(now);
                (
                    anchor,
                    timetable.due_at(anchor, now, secret.starts_at, secret.expires_at),
                )
            }
        };
        let event = Event {
            at: crate::clock::whole_seconds(now),
            actor: self.actor.clone(),
            action: "adopted".into(),
            connection: Some(candidate.declared.name.clone()),
            rotation_id: None,
            key_id: Some(secret.key_id),
            result: if candidate.check { "ok" } else { "unchecked" }.into(),
            client_request_id: None,
        };
        let taken = taken_over.map(|name| taken_over_event(&event, name));
        let keys = self.keys.clone();
        let (key_id, value) = (secret.key_id, candidate.secret);
        let adoption = Adoption {
            declared: candidate.declared,
            object_id,
            secret,
            anchor,
            due_at,
            next_action_at: Some(due_at),
            planned_at: now,
            events: taken.into_iter().chain([event]).collect(),
        };
        let seal = Box::new(move |id: ConnectionId| keys.seal(id, key_id, &value));
        self.store.adopt(adoption, seal).await?;
        Ok(due_at)
    }

    pub(super) fn policy_of(&self, declared: &Declared) -> Result<Policy, AdvanceFault> {
        self.settings
            .policy(declared)
            .map_err(|fault| AdvanceFault::Settings {
                connection: declared.name.clone(),
                message: fault.to_string(),
            })
    }
}

/// Said when a connection signs in with its own secret.
const SELF_NOTE: &str = "with the identity `self`, whoever holds a copy of this secret can make \
                         more of them; an identity of its own that owns the application avoids that";

/// The line of `history` beside that of an adoption: whose secret it was.
pub(super) fn taken_over_event(adopted: &Event, name: AttemptName) -> Event {
    Event {
        action: "taken-over".into(),
        result: name.to_string(),
        ..adopted.clone()
    }
}

pub(super) fn secret_expired(name: &ConnectionName) -> Trouble {
    Trouble::rule(
        "secret-expired",
        format!("the secret given for {name} has expired"),
        "adopt it with another identity than `self` and --rotate-now, or make a new one in the \
         portal",
    )
}

/// The first three characters, as Graph keeps them.
pub(super) fn hint_of(secret: &SecretString) -> String {
    secret.expose_secret().chars().take(3).collect()
}

pub(super) fn current_of(password: &Password, value: &SecretString, origin: Origin) -> Secret {
    Secret {
        key_id: password.key_id,
        role: Role::Current,
        origin,
        generation: 1,
        hint: password.hint.clone().unwrap_or_else(|| hint_of(value)),
        starts_at: password.starts_at,
        expires_at: password.ends_at,
        attempt: None,
        refused: None,
    }
}

/// That the rotation comes at another time than was asked for.
fn moved(wanted: DateTime<Utc>, due_at: DateTime<Utc>) -> Option<String> {
    (due_at > wanted).then(|| {
        format!(
            "{} lies outside of the window in which it may rotate: it does so at {}",
            crate::clock::instant(wanted),
            crate::clock::instant(due_at)
        )
    })
}
