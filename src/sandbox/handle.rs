//! What a test does with a sandbox beside calling it: set it up, meddle, and ask for the truth.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::call::{Call, Kind};
use super::fault::Fault;
use super::front::{Stage, lock};
use super::replica::{Arrival, Replication, View};
use super::rules::{ManagementPolicy, Permission, Rules};
use super::stock::{Key, NewApplication, NewPassword, Registered, create, key, password};
use super::tenant::{Application, Holder, Owner, Password, Tenant};
use super::{Hook, Sandbox};
use crate::entra::{ClientId, KeyId, TenantId};

/// Who would accept a secret right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignIn {
    /// The primary: what is true and will be seen everywhere.
    pub primary: bool,
    /// Every replica.
    pub everywhere: bool,
    /// At least one replica.
    pub anywhere: bool,
}

/// Setting up.
impl Sandbox {
    /// Makes a tenant.
    pub fn add_tenant(&self, display_name: &str) -> TenantId {
        let mut directory = lock(&self.state.directory);
        let tenant_id = TenantId(directory.guid());
        let mut domain: String = display_name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        domain.push_str(".onmicrosoft.com");
        let tenant = Tenant {
            display_name: display_name.to_owned(),
            domain,
            policies: Vec::new(),
            throttled_until: None,
            applications: Vec::new(),
        };
        directory.tenants.insert(tenant_id, tenant);
        tenant_id
    }

    /// Makes an application and its service principal.
    pub fn add_application(&self, new: NewApplication) -> Registered {
        let now = self.state.clock.now();
        let mut directory = lock(&self.state.directory);
        let application = create(&mut directory, new, now);
        let registered = Registered {
            tenant_id: application.tenant_id,
            client_id: application.client_id,
            object_id: application.object_id,
            service_principal_id: application.service_principal_id,
            keys: application.passwords.iter().map(key).collect(),
        };
        directory.insert(application);
        registered
    }

    /// Changes what an application may do; tokens that it already has stay as they are.
    pub fn set_permission(&self, client_id: ClientId, permission: Permission) {
        self.change(client_id, |application| application.permission = permission);
    }

    /// Changes who owns an application.
    pub fn set_owners(&self, client_id: ClientId, owners: Vec<Owner>) {
        self.change(client_id, |application| application.owners = owners);
    }

    /// Switches an application off or on.
    pub fn set_disabled(&self, client_id: ClientId, disabled: bool) {
        self.change(client_id, |application| application.disabled = disabled);
    }

    /// Changes the policies of an application.
    pub fn set_policies(&self, client_id: ClientId, policies: Vec<ManagementPolicy>) {
        self.change(client_id, |application| application.policies = policies);
    }

    /// Changes the policies of a whole tenant.
    pub fn set_tenant_policies(&self, tenant_id: TenantId, policies: Vec<ManagementPolicy>) {
        if let Some(tenant) = lock(&self.state.directory).tenants.get_mut(&tenant_id) {
            tenant.policies = policies;
        }
    }

    /// Changes limits and quirks.
    pub fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut lock(&self.state.directory).rules);
    }

    /// Changes the lags of what is written from now on, and who answers.
    pub fn set_replication(&self, replication: Replication) {
        lock(&self.state.directory).replicas.plan = replication;
    }

    /// Changes the real time that each request takes longer.
    pub fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.state.latency.store(micros, Ordering::Relaxed);
    }

    /// Changes how far the sandbox's dates are ahead of its clock.
    pub fn set_date_offset(&self, offset: TimeDelta) {
        let offset = offset.num_milliseconds();
        self.state.date_offset.store(offset, Ordering::Relaxed);
    }

    /// Has Graph answer every call to the tenant with 429 until then.
    pub fn throttle(&self, tenant_id: TenantId, until: DateTime<Utc>) {
        if let Some(tenant) = lock(&self.state.directory).tenants.get_mut(&tenant_id) {
            tenant.throttled_until = Some(until);
        }
    }

    fn change(&self, client_id: ClientId, change: impl FnOnce(&mut Application)) {
        if let Some(application) = lock(&self.state.directory).application_mut(client_id) {
            change(application);
        }
    }
}

/// Meddling: what others do to the directory meanwhile, and what goes wrong.
impl Sandbox {
    /// Puts a secret on an application, seen everywhere at once; `None` for an unknown application.
    pub fn add_key(&self, client_id: ClientId, new: NewPassword) -> Option<Key> {
        let now = self.state.clock.now();
        let mut directory = lock(&self.state.directory);
        let password = password(&mut directory, new, now);
        let added = key(&password);
        directory
            .application_mut(client_id)?
            .passwords
            .push(password);
        Some(added)
    }

    /// Removes a secret behind everybody's back, as an administrator would: replicas learn of it
    /// after their lag. Says whether it was there.
    pub fn delete_key(&self, client_id: ClientId, key_id: KeyId) -> bool {
        let now = self.state.clock.now();
        let mut directory = lock(&self.state.directory);
        let gone = directory.replicas.write(now);
        let Some(application) = directory.application_mut(client_id) else {
            return false;
        };
        let found = application
            .passwords
            .iter_mut()
            .find(|password| password.key_id == key_id && password.removed.is_none());
        match found {
            Some(password) => {
                password.removed = Some(gone);
                true
            }
            None => false,
        }
    }

    /// Moves the end of a secret, seen everywhere at once. Says whether it was there.
    pub fn set_end(&self, client_id: ClientId, key_id: KeyId, end: DateTime<Utc>) -> bool {
        let mut directory = lock(&self.state.directory);
        let passwords = directory
            .application_mut(client_id)
            .map(|application| &mut application.passwords);
        let mut passwords = passwords.into_iter().flatten();
        let found = passwords.find(|password| password.key_id == key_id);
        found.map(|password| password.end = Some(end)).is_some()
    }

    /// Deletes an application: replicas learn of it after their lag.
    pub fn delete_application(&self, client_id: ClientId) {
        let now = self.state.clock.now();
        let mut directory = lock(&self.state.directory);
        let gone = directory.replicas.write(now);
        if let Some(application) = directory.application_mut(client_id) {
            application.deleted = Some(gone);
        }
    }

    /// Lets everything that was written reach every replica now.
    pub fn settle(&self) {
        let settled = |arrival: &mut Arrival| *arrival = Arrival::everywhere(arrival.written());
        for application in &mut lock(&self.state.directory).applications {
            settled(&mut application.created);
            application.deleted.iter_mut().for_each(settled);
            for holder in [Holder::Application, Holder::ServicePrincipal] {
                for password in application.passwords_mut(holder) {
                    settled(&mut password.added);
                    password.removed.iter_mut().for_each(settled);
                }
            }
        }
    }

    /// Sets up a fault; it counts calls from now on.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).add(fault);
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        lock(&self.state.faults).clear();
    }

    /// Has `hook` called twice for each request, which waits for it; it replaces the last one.
    pub fn on_call<H, F>(&self, hook: H)
    where
        H: Fn(Stage, Call) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let hook: Hook = Arc::new(move |stage, call| Box::pin(hook(stage, call)));
        *lock(&self.state.hook) = Some(hook);
    }
}

/// Asking for the truth.
impl Sandbox {
    /// The secrets of an application on the primary, expired ones too, oldest first.
    pub fn keys(&self, client_id: ClientId) -> Vec<Key> {
        let now = self.state.clock.now();
        lock(&self.state.directory)
            .application(client_id)
            .map(|application| {
                let live = |password: &&Password| password.seen(View::Primary, now);
                application.passwords.iter().filter(live).map(key).collect()
            })
            .unwrap_or_default()
    }

    /// Who would accept this value for the application now.
    pub fn sign_in(&self, client_id: ClientId, value: &SecretString) -> SignIn {
        let now = self.state.clock.now();
        let directory = lock(&self.state.directory);
        let accepts = |view| {
            let application = directory.sign_in(client_id, value, view, now);
            application.is_ok_and(|application| application.seen(view, now))
        };
        SignIn {
            primary: accepts(View::Primary),
            everywhere: directory.replicas.token_views().all(accepts),
            anywhere: directory.replicas.token_views().any(accepts),
        }
    }

    /// The calls so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).calls.iter().cloned().collect()
    }

    /// The calls of one kind about one application.
    pub fn calls_of(&self, kind: Kind, client_id: ClientId) -> Vec<Call> {
        let calls = lock(&self.state.calls);
        let wanted = |call: &&Call| call.kind == kind && call.client_id == Some(client_id);
        calls.calls.iter().filter(wanted).cloned().collect()
    }

    /// Empties the call log.
    pub fn forget_calls(&self) {
        lock(&self.state.calls).calls.clear();
    }
}
