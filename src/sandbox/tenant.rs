//! The directory: tenants, their applications and secrets. A model in memory, without a network.

use std::collections::HashMap;

use chrono::{DateTime, Months, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::graph_error::GraphError;
use super::quota::Quota;
use super::replica::{Arrival, Replicas, View};
use super::rules::{Audience, ManagementPolicy, Permission, Rules};
use super::sign_in_error::SignInError;
use crate::entra::{ClientId, KeyId, ObjectId, TenantId};

/// Who owns an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An application's service principal, by its object ID.
    ServicePrincipal(ObjectId),
    /// A person.
    User {
        /// The object ID.
        id: ObjectId,
        /// The name.
        display_name: String,
        /// The sign-in name.
        user_principal_name: String,
    },
}

/// The object that a secret is on: both sign in the same client ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Application,
    ServicePrincipal,
}

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) display_name: String,
    pub(super) domain: String,
    pub(super) policies: Vec<ManagementPolicy>,
    pub(super) throttled_until: Option<DateTime<Utc>>,
    /// Places in [`Directory::applications`], oldest first.
    pub(super) applications: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Application {
    pub(super) tenant_id: TenantId,
    pub(super) client_id: ClientId,
    pub(super) object_id: ObjectId,
    pub(super) service_principal_id: ObjectId,
    pub(super) display_name: String,
    pub(super) audience: Audience,
    pub(super) permission: Permission,
    pub(super) owners: Vec<Owner>,
    pub(super) policies: Vec<ManagementPolicy>,
    pub(super) disabled: bool,
    pub(super) created: Arrival,
    pub(super) deleted: Option<Arrival>,
    pub(super) changed_at: Option<DateTime<Utc>>,
    pub(super) passwords: Vec<Password>,
    pub(super) service_principal_passwords: Vec<Password>,
}

impl Application {
    pub(super) fn seen(&self, view: View, now: DateTime<Utc>) -> bool {
        self.created.reached(view, now)
            && !self
                .deleted
                .as_ref()
                .is_some_and(|gone| gone.reached(view, now))
    }

    pub(super) fn passwords(&self, holder: Holder) -> &[Password] {
        match holder {
            Holder::Application => &self.passwords,
            Holder::ServicePrincipal => &self.service_principal_passwords,
        }
    }

    pub(super) fn passwords_mut(&mut self, holder: Holder) -> &mut Vec<Password> {
        match holder {
            Holder::Application => &mut self.passwords,
            Holder::ServicePrincipal => &mut self.service_principal_passwords,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Password {
    pub(super) key_id: KeyId,
    pub(super) value: SecretString,
    pub(super) display_name: Option<String>,
    pub(super) custom_key_identifier: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) end: Option<DateTime<Utc>>,
    pub(super) added: Arrival,
    pub(super) removed: Option<Arrival>,
}

impl Password {
    pub(super) fn seen(&self, view: View, now: DateTime<Utc>) -> bool {
        self.added.reached(view, now)
            && !self
                .removed
                .as_ref()
                .is_some_and(|gone| gone.reached(view, now))
    }

    fn valid(&self, now: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now < end)
    }
}

/// What an `addPassword` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PasswordRequest {
    pub(super) display_name: Option<String>,
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) end: Option<DateTime<Utc>>,
}

/// A GUID as Entra draws them.
pub(super) fn guid(rng: &mut fastrand::Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid()
}

/// The whole directory of a sandbox.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) rules: Rules,
    pub(super) replicas: Replicas,
    pub(super) quota: Quota,
    pub(super) rng: fastrand::Rng,
    pub(super) tenants: HashMap<TenantId, Tenant>,
    pub(super) applications: Vec<Application>,
    by_client: HashMap<ClientId, usize>,
    by_object: HashMap<ObjectId, (usize, Holder)>,
}

impl Directory {
    pub(super) fn new(rules: Rules, replicas: Replicas, rng: fastrand::Rng) -> Self {
        Self {
            rules,
            replicas,
            quota: Quota::default(),
            rng,
            tenants: HashMap::new(),
            applications: Vec::new(),
            by_client: HashMap::new(),
            by_object: HashMap::new(),
        }
    }

    pub(super) fn guid(&mut self) -> Uuid {
        guid(&mut self.rng)
    }

    /// 40 characters as Entra's secrets have them: `xxx8Q~` and 34 more.
    pub(super) fn secret_value(&mut self) -> SecretString {
        let alphabet: Vec<char> = self.rules.alphabet.chars().collect();
        let mut value = String::with_capacity(40);
        value.extend((0..3).map(|_| self.rng.alphanumeric()));
        value.push_str("8Q~");
        value.extend((0..34).filter_map(|_| self.rng.choice(alphabet.iter().copied())));
        value.into()
    }

    pub(super) fn insert(&mut self, application: Application) {
        let place = self.applications.len();
        self.by_client.insert(application.client_id, place);
        self.by_object
            .insert(application.object_id, (place, Holder::Application));
        self.by_object.insert(
            application.service_principal_id,
            (place, Holder::ServicePrincipal),
        );
        if let Some(tenant) = self.tenants.get_mut(&application.tenant_id) {
            tenant.applications.push(place);
        }
        self.applications.push(application);
    }

    pub(super) fn place_of_client(&self, client_id: ClientId) -> Option<usize> {
        self.by_client.get(&client_id).copied()
    }

    pub(super) fn place_of_object(&self, object_id: ObjectId) -> Option<(usize, Holder)> {
        self.by_object.get(&object_id).copied()
    }

    pub(super) fn application(&self, client_id: ClientId) -> Option<&Application> {
        self.applications.get(self.place_of_client(client_id)?)
    }

    pub(super) fn application_mut(&mut self, client_id: ClientId) -> Option<&mut Application> {
        let place = self.place_of_client(client_id)?;
        self.applications.get_mut(place)
    }

    /// Finds a tenant by its ID or its domain.
    pub(super) fn tenant(&self, named: &str) -> Result<TenantId, SignInError> {
        if let Ok(id) = named.parse::<TenantId>() {
            return match self.tenants.contains_key(&id) {
                true => Ok(id),
                false => Err(SignInError::UnknownTenant(named.to_owned())),
            };
        }
        let by_domain = self
            .tenants
            .iter()
            .find(|(_, tenant)| tenant.domain.eq_ignore_ascii_case(named));
        match by_domain {
            Some((id, _)) => Ok(*id),
            None if named.contains('.') => Err(SignInError::UnknownTenant(named.to_owned())),
            None => Err(SignInError::MalformedTenant(named.to_owned())),
        }
    }

    /// Whether the value signs the application in, as one copy of the directory sees it.
    pub(super) fn sign_in(
        &self,
        client_id: ClientId,
        value: &SecretString,
        view: View,
        now: DateTime<Utc>,
    ) -> Result<&Application, SignInError> {
        let invalid = SignInError::InvalidSecret(client_id);
        let application = self.application(client_id).ok_or(invalid.clone())?;
        let mut found = application
            .passwords
            .iter()
            .chain(&application.service_principal_passwords)
            .filter(|password| password.seen(view, now))
            .filter(|password| password.value.expose_secret() == value.expose_secret())
            .peekable();
        if found.peek().is_none() {
            return Err(invalid);
        }
        if !found.any(|password| password.valid(now)) {
            return Err(SignInError::ExpiredSecret(client_id));
        }
        Ok(application)
    }

    pub(super) fn add_password(
        &mut self,
        (place, holder): (usize, Holder),
        request: PasswordRequest,
        now: DateTime<Utc>,
    ) -> Result<Password, GraphError> {
        let start = request.start.unwrap_or(now);
        let two_years = || start.checked_add_months(Months::new(24));
        let end = request.end.or_else(two_years).unwrap_or(start);
        self.check_limits(place, holder, start, end)?;
        self.check_gap(place, now)?;
        let value = self.secret_value();
        let password = Password {
            key_id: KeyId(self.guid()),
            hint: Some(value.expose_secret().chars().take(3).collect()),
            value,
            display_name: request.display_name,
            custom_key_identifier: None,
            start: Some(start),
            end: Some(end),
            added: self.replicas.write(now),
            removed: None,
        };
        let passwords = self.applications[place].passwords_mut(holder);
        // Those that every replica has forgotten can't be seen any more.
        passwords.retain(|password| {
            let gone = password.removed.as_ref();
            !gone.is_some_and(|gone| gone.reached_all(now))
        });
        passwords.push(password.clone());
        Ok(password)
    }

    pub(super) fn remove_password(
        &mut self,
        (place, holder): (usize, Holder),
        key_id: KeyId,
        now: DateTime<Utc>,
    ) -> Result<(), GraphError> {
        let view = match self.rules.young_keys_unknown {
            true => self.replicas.for_read(),
            false => View::Primary,
        };
        let found = self.applications[place]
            .passwords(holder)
            .iter()
            .position(|password| {
                password.key_id == key_id
                    && password.seen(View::Primary, now)
                    && password.seen(view, now)
            })
            .ok_or(GraphError::NoSuchKey(key_id))?;
        self.check_gap(place, now)?;
        let gone = self.replicas.write(now);
        self.applications[place].passwords_mut(holder)[found].removed = Some(gone);
        Ok(())
    }

    fn check_limits(
        &self,
        place: usize,
        holder: Holder,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<(), GraphError> {
        let application = &self.applications[place];
        let tenant_policies = self
            .tenants
            .get(&application.tenant_id)
            .map_or(&[][..], |tenant| &tenant.policies);
        for policy in application.policies.iter().chain(tenant_policies) {
            match policy {
                ManagementPolicy::NoPasswords { id } => return Err(GraphError::TypePolicy(*id)),
                ManagementPolicy::Lifetime { id, longest } => {
                    let longest = TimeDelta::from_std(*longest).unwrap_or(TimeDelta::MAX);
                    if end - start > longest {
                        return Err(GraphError::LifetimePolicy(*id));
                    }
                }
            }
        }
        let living = |password: &&Password| password.removed.is_none();
        let would_be = application.passwords(holder).iter().filter(living).count() + 1;
        match application.audience.most_passwords() {
            Some(most) if would_be > most => Err(GraphError::TooManyPasswords { would_be, most }),
            _ if would_be > self.rules.most_passwords => Err(GraphError::SizeExceeded),
            _ => Ok(()),
        }
    }

    fn check_gap(&mut self, place: usize, now: DateTime<Utc>) -> Result<(), GraphError> {
        let gap = TimeDelta::from_std(self.rules.mutation_gap).unwrap_or(TimeDelta::MAX);
        let application = &mut self.applications[place];
        if application.changed_at.is_some_and(|last| now - last < gap) {
            return Err(GraphError::Concurrency);
        }
        application.changed_at = Some(now);
        Ok(())
    }
}
