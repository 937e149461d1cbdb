//! Taking over a secret that somebody made: everything is checked before the first change.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::advance::Engine;
use super::timetable::Timetable;
use super::trouble::{AdvanceFault, Halt, Trouble};
use crate::connection::{ConnectionName, Declared, Policy};
use crate::destination::{self, Place};
use crate::entra::{
    AppRef, Application, Fault, FaultKind, KeyId, MayWrite, ObjectId, Operation, Password, Token,
};
use crate::journal::{AttemptName, ConnectionId, Event, InstanceId, Journal, Origin, Role, Secret};
use crate::settings::IdentityKind;
use crate::store::Adoption;

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

/// What the checks found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) object_id: ObjectId,
    pub(super) password: Password,
    pub(super) worked_out: bool,
    pub(super) listed: Vec<KeyId>,
    pub(super) notes: Vec<String>,
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
                &candidate.secret,
                candidate.key_id,
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
        let due_at = self
            .write_adoption(candidate, &policy, object_id, secret)
            .await?;
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
        };
        let due_at = self.write_adoption(candidate, policy, None, secret).await?;
        let notes = vec![
            "nothing was checked; it is, just before the first change, and until then the Key ID \
             is not ours"
                .to_owned(),
        ];
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
    ) -> Result<DateTime<Utc>, AdoptFault> {
        let now = self.clock.now();
        let timetable = Timetable::new(&candidate.declared.name, policy);
        let (anchor, due_at) = match (candidate.rotate_now, candidate.next_rotation_at) {
            (true, _) => (timetable.date(now), crate::clock::whole_seconds(now)),
            (false, Some(at)) => (timetable.anchor_before(at), crate::clock::whole_seconds(at)),
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
        let keys = self.keys.clone();
        let (key_id, value) = (secret.key_id, candidate.secret);
        let adoption = Adoption {
            declared: candidate.declared,
            object_id,
            secret,
            anchor,
            due_at,
            next_action_at: Some(due_at),
            event,
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

    /// Whether `secret` is what it is said to be; makes no call that changes anything.
    pub(super) async fn examine(
        &self,
        declared: &Declared,
        policy: &Policy,
        secret: &SecretString,
        key_id: Option<KeyId>,
    ) -> Result<Findings, Halt> {
        let application_ref = AppRef {
            cloud: policy.cloud.clone(),
            tenant_id: declared.tenant_id,
            client_id: declared.client_id,
        };
        for spec in &declared.destinations {
            destination::open(spec)?.check().await?;
        }
        let signed_in = self.entra.prove(&application_ref, secret).await;
        match signed_in {
            Ok(_) => {}
            // Another identity can still rotate it.
            Err(fault)
                if policy.identity != "self" && matches!(fault.kind, FaultKind::SecretExpired) => {}
            // It is not young: a refusal is no propagation.
            Err(fault) => {
                self.explain_unknown(declared, policy, &fault).await?;
                return Err(Trouble::from(Fault {
                    during: Operation::Token,
                    ..fault
                })
                .into());
            }
        }
        let token = if policy.identity == "self" {
            self.entra.token(&application_ref, secret).await?
        } else {
            self.sign_in_as(&policy.identity).await?
        };
        let application = self.application_of(declared, &token).await?;
        let (password, worked_out) = self
            .password_of(declared, &token, &application, secret, key_id)
            .await?;
        if let Some(trouble) = other_instance(
            &application,
            &self.instances,
            |other| other == password.key_id,
            self.clock.now(),
        ) {
            return Err(trouble.into());
        }
        let notes = self.may_write(&token, &application).await?;
        Ok(Findings {
            object_id: application.object_id,
            worked_out,
            listed: application
                .passwords
                .iter()
                .map(|password| password.key_id)
                .collect(),
            password,
            notes,
        })
    }

    /// An application that is unknown where one signs in may be found under its object ID (B11).
    async fn explain_unknown(
        &self,
        declared: &Declared,
        policy: &Policy,
        fault: &Fault,
    ) -> Result<(), Halt> {
        let unknown = matches!(fault.kind, FaultKind::ApplicationUnknown { .. });
        if unknown && policy.identity != "self" {
            let token = self.sign_in_as(&policy.identity).await?;
            self.application_of(declared, &token).await?;
        }
        Ok(())
    }

    async fn may_write(
        &self,
        token: &Token,
        application: &Application,
    ) -> Result<Vec<String>, Halt> {
        let (code, message) = match self.entra.may_write(token, application).await? {
            MayWrite::Yes => return Ok(Vec::new()),
            MayWrite::Unknown => {
                return Ok(vec![
                    "whether the identity may write to the application could not be found out"
                        .to_owned(),
                ]);
            }
            MayWrite::NoPermission => (
                "no-permission",
                "the identity has no permission to change the secrets of applications",
            ),
            MayWrite::NotOwner => (
                "not-owner",
                "the identity may change the secrets of applications that it owns, and does not \
                 own this one",
            ),
        };
        Err(Trouble::rule(
            code,
            message,
            "grant the application permission Application.ReadWrite.OwnedBy with admin consent, \
             and make its service principal an owner of the application",
        )
        .into())
    }

    async fn application_of(
        &self,
        declared: &Declared,
        token: &Token,
    ) -> Result<Application, Halt> {
        let client_id = declared.client_id;
        for pause in BRIEF_RETRIES {
            if let Some(answer) = self.entra.find_application(token, client_id).await? {
                return Ok(answer.value);
            }
            // The classic: the object ID was pasted for the client ID (B11).
            let as_object = ObjectId(client_id.0);
            if let Ok(answer) = self.entra.application(token, as_object).await {
                let meant = answer.value.client_id;
                return Err(Trouble::rule(
                    "object-id-given",
                    format!("{client_id} is the object ID of an application, not its client ID"),
                    format!("give --client-id {meant}"),
                )
                .into());
            }
            self.clock.sleep(pause).await;
        }
        Err(Trouble::rule(
            "no-such-application",
            format!("no application with client ID {client_id} is found in this tenant"),
            "compare the client ID and the tenant ID with the application's overview page",
        )
        .into())
    }

    /// The credential that the value belongs to, and whether it was worked out.
    async fn password_of(
        &self,
        declared: &Declared,
        token: &Token,
        application: &Application,
        secret: &SecretString,
        key_id: Option<KeyId>,
    ) -> Result<(Password, bool), Halt> {
        let hint = hint_of(secret);
        if let Some(key_id) = key_id {
            let Some(password) = application.password(key_id) else {
                return Err(self.not_on_it(declared, token, key_id).await?.into());
            };
            return match &password.hint {
                Some(listed) if *listed != hint => Err(Trouble::rule(
                    "hint-differs",
                    format!(
                        "the secret given is not the one of Key ID {key_id}: its hint differs \
                         from the one that Entra lists"
                    ),
                    "compare the Key ID; give the value of the secret, not its ID",
                )
                .into()),
                _ => Ok((password.clone(), false)),
            };
        }
        let fits: Vec<&Password> = application
            .passwords
            .iter()
            .filter(|password| password.hint.as_deref() == Some(hint.as_str()))
            .collect();
        match fits.as_slice() {
            [only] => Ok(((*only).clone(), true)),
            [] => Err(Trouble::rule(
                "no-key-fits",
                "no secret on the application has the hint of the one given; it may sit on the \
                 service principal, where Keywheel does not rotate",
                "make a secret on the application (App registrations), or give its --key-id",
            )
            .into()),
            several => {
                let listed: Vec<String> = several
                    .iter()
                    .map(|password| password.key_id.to_string())
                    .collect();
                Err(Trouble::rule(
                    "several-keys-fit",
                    format!("several secrets fit the hint: {}", listed.join(", ")),
                    "say which one with --key-id",
                )
                .into())
            }
        }
    }

    async fn not_on_it(
        &self,
        declared: &Declared,
        token: &Token,
        key_id: KeyId,
    ) -> Result<Trouble, Halt> {
        let client_id = declared.client_id;
        if self
            .entra
            .service_principal_holds(token, client_id, key_id)
            .await
            .unwrap_or(false)
        {
            return Ok(Trouble::rule(
                "secret-on-service-principal",
                format!("Key ID {key_id} sits on the service principal, not on the application"),
                "make a secret on the application (App registrations) and adopt that one",
            ));
        }
        Ok(Trouble::rule(
            "key-not-on-application",
            format!("Key ID {key_id} is not on the application"),
            "compare it with Certificates & secrets of the application; leave --key-id out to have \
             it worked out",
        ))
    }

    /// C7, and the rule for an application that an identity signs in with.
    ///
    /// `own` is the connection that is looked at, whatever its name is to be.
    pub(super) async fn check_places(
        &self,
        declared: &Declared,
        own: Option<ConnectionId>,
    ) -> Result<(), AdoptFault> {
        let mine = places(declared)?;
        for journal in self.store.journals().await? {
            let is_own = journal.declared.name == declared.name || Some(journal.id) == own;
            if journal.removed_at.is_some() || is_own {
                continue;
            }
            for place in places(&journal.declared).unwrap_or_default() {
                if mine.iter().any(|own| own.overlaps(&place)) {
                    return Err(place_taken(&place, &journal).into());
                }
            }
        }
        for identity in &self.settings.identities {
            let IdentityKind::ClientSecret {
                client_id,
                secret_file,
                tenant_id,
                ..
            } = &identity.kind;
            let same = *client_id == declared.client_id && *tenant_id == declared.tenant_id;
            let delivers = declared.destinations.iter().any(|spec| match spec {
                crate::connection::DestinationSpec::File(file) => file.path == *secret_file,
            });
            if same && !delivers {
                return Err(Halt::from(Trouble::rule(
                    "identity-would-be-cut-off",
                    format!(
                        "identity {} signs in with this application, so its secret_file must be \
                         among the destinations",
                        identity.name
                    ),
                    format!("add --to-file {}", secret_file.display()),
                ))
                .into());
            }
        }
        Ok(())
    }
}

/// An application that was just created is unknown to some replicas for seconds (B4): how long
/// after each look, the last of which gives up.
const BRIEF_RETRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::ZERO,
];

/// Said when a connection signs in with its own secret.
const SELF_NOTE: &str = "with the identity `self`, whoever holds a copy of this secret can make \
                         more of them; an identity of its own that owns the application avoids that";

fn places(declared: &Declared) -> Result<Vec<Place>, AdoptFault> {
    declared
        .destinations
        .iter()
        .map(|spec| Ok(destination::open(spec).map_err(Halt::from)?.place()))
        .collect()
}

fn place_taken(place: &Place, journal: &Journal) -> Halt {
    Trouble::rule(
        "place-taken",
        format!(
            "connection {} already delivers to {}",
            journal.name(),
            place.0
        ),
        "two secrets would overwrite each other there: choose another place",
    )
    .into()
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
    }
}

/// A live key that another instance made; two of them would revoke each other's secrets (P5).
pub(super) fn other_instance(
    application: &Application,
    instances: &[InstanceId],
    is_ours: impl Fn(KeyId) -> bool,
    now: DateTime<Utc>,
) -> Option<Trouble> {
    let other = application.passwords.iter().find_map(|password| {
        let name: AttemptName = password.display_name.as_ref()?.raw().parse().ok()?;
        let alive = password.ends_at.is_none_or(|at| at > now);
        let theirs = !instances.contains(&name.instance) && !is_ours(password.key_id);
        (alive && theirs).then_some((name.instance, password.key_id))
    });
    other.map(|(instance, key_id)| {
        Trouble::rule(
            "other-instance",
            format!("Key ID {key_id} was made by another instance of Keywheel, {instance}"),
            "remove the connection there, and that secret in the portal once nothing uses it",
        )
    })
}
