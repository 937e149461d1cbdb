//! The checks: whether a secret is what it is said to be, and may be rotated. They change nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::hint_of;
use crate::connection::{Declared, Policy};
use crate::destination;
use crate::entra::{
    AppRef, Application, Fault, FaultKind, KeyId, MayWrite, ObjectId, Operation, Password, Token,
};
use crate::journal::{AttemptName, InstanceId, Origin, Secret};
use crate::rotation::advance::Engine;
use crate::rotation::trouble::{Halt, Trouble};

/// An application that was just created is unknown to some replicas for seconds (B4): how long
/// after each look, the last of which gives up.
const BRIEF_RETRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::ZERO,
];

/// What is to be checked.
#[derive(Debug)]
pub(in crate::rotation) struct Given<'a> {
    pub(in crate::rotation) secret: &'a SecretString,
    pub(in crate::rotation) key_id: Option<KeyId>,
    /// Those that the connection has already.
    pub(in crate::rotation) known: &'a [Secret],
    /// A person says that no other instance needs it any more.
    pub(in crate::rotation) take_over: bool,
}

impl Given<'_> {
    fn is_ours(&self, key_id: KeyId) -> bool {
        let checked = |known: &&Secret| known.origin != Origin::Unchecked;
        let mut known = self.known.iter().filter(checked);
        known.any(|known| known.key_id == key_id)
    }
}

/// What the checks found.
#[derive(Debug)]
pub(in crate::rotation) struct Findings {
    pub(in crate::rotation) object_id: ObjectId,
    pub(in crate::rotation) password: Password,
    pub(in crate::rotation) worked_out: bool,
    pub(in crate::rotation) listed: Vec<KeyId>,
    pub(in crate::rotation) notes: Vec<String>,
    /// The name that another instance gave it, where it is taken over.
    pub(in crate::rotation) taken_over: Option<AttemptName>,
}

impl Engine {
    /// Whether the secret is what it is said to be; makes no call that changes anything.
    pub(in crate::rotation) async fn examine(
        &self,
        declared: &Declared,
        policy: &Policy,
        given: Given<'_>,
    ) -> Result<Findings, Halt> {
        let (secret, key_id) = (given.secret, given.key_id);
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
        let now = self.clock.now();
        let theirs = made_elsewhere(&password, &self.instances, now)
            .filter(|_| !given.is_ours(password.key_id));
        if let Some(name) = theirs.filter(|_| !given.take_over) {
            return Err(in_use_elsewhere(password.key_id, name.instance).into());
        }
        let ours = |key_id| key_id == password.key_id || given.is_ours(key_id);
        if let Some(trouble) = other_instance(&application, &self.instances, ours, now) {
            return Err(trouble.into());
        }
        let mut notes = self.may_write(&token, &application).await?;
        notes.extend(theirs.map(|name| {
            format!(
                "Key ID {} was made by another instance of Keywheel, {}, and is taken over: it \
                 is revoked from here, whatever still uses it there",
                password.key_id, name.instance
            )
        }));
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
            taken_over: theirs,
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
}

/// The name that another instance gave to a secret that is alive.
fn made_elsewhere(
    password: &Password,
    instances: &[InstanceId],
    now: DateTime<Utc>,
) -> Option<AttemptName> {
    let name: AttemptName = password.display_name.as_ref()?.raw().parse().ok()?;
    let alive = password.ends_at.is_none_or(|at| at > now);
    (alive && !instances.contains(&name.instance)).then_some(name)
}

/// Whoever adopts it may revoke it, and the consumers of the other instance hold it (P2, P5).
fn in_use_elsewhere(key_id: KeyId, instance: InstanceId) -> Trouble {
    Trouble::rule(
        "other-instance",
        format!(
            "the secret given, Key ID {key_id}, was made by another instance of Keywheel, \
             {instance}"
        ),
        "remove the connection there first; where that is done, or that store is lost, give \
         --take-over (`take_over = true` for `apply`)",
    )
}

/// A live key that another instance made; two of them would revoke each other's secrets (P5).
pub(in crate::rotation) fn other_instance(
    application: &Application,
    instances: &[InstanceId],
    is_ours: impl Fn(KeyId) -> bool,
    now: DateTime<Utc>,
) -> Option<Trouble> {
    let other = application.passwords.iter().find_map(|password| {
        let name = made_elsewhere(password, instances, now)?;
        (!is_ours(password.key_id)).then_some((name.instance, password.key_id))
    });
    other.map(|(instance, key_id)| {
        Trouble::rule(
            "other-instance",
            format!("Key ID {key_id} was made by another instance of Keywheel, {instance}"),
            "remove the connection there, and that secret in the portal once nothing uses it",
        )
    })
}
