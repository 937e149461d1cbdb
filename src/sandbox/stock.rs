//! What a tenant is stocked with: applications and secrets, as a test orders them.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::replica::Arrival;
use super::rules::{Audience, ManagementPolicy, Permission};
use super::tenant::{Application, Directory, Owner, Password};
use crate::entra::{ClientId, KeyId, ObjectId, TenantId};

/// An application to be created; start from [`NewApplication::new`].
#[derive(Debug, Clone)]
pub struct NewApplication {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Any text, hostile ones too.
    pub display_name: String,
    /// What it may do in Graph.
    pub permission: Permission,
    /// Whether its own service principal is among its owners.
    pub owns_itself: bool,
    /// Further owners.
    pub owners: Vec<Owner>,
    /// Who may sign in to it.
    pub audience: Audience,
    /// Policies beside those of the tenant.
    pub policies: Vec<ManagementPolicy>,
    /// Switched off by an administrator.
    pub disabled: bool,
    /// Just created: replicas learn of it after their lag. Otherwise it is as old as the tenant.
    pub fresh: bool,
    /// Its secrets.
    pub passwords: Vec<NewPassword>,
    /// The secrets of its service principal.
    pub service_principal_passwords: Vec<NewPassword>,
}

impl NewApplication {
    /// An application without permissions, owners or secrets.
    pub fn new(tenant_id: TenantId, display_name: &str) -> Self {
        Self {
            tenant_id,
            display_name: display_name.to_owned(),
            permission: Permission::None,
            owns_itself: false,
            owners: Vec::new(),
            audience: Audience::default(),
            policies: Vec::new(),
            disabled: false,
            fresh: false,
            passwords: Vec::new(),
            service_principal_passwords: Vec::new(),
        }
    }

    /// One that can rotate itself: it owns itself, has `Application.ReadWrite.OwnedBy`, and one
    /// secret that ends at `end`.
    pub fn rotating_itself(tenant_id: TenantId, display_name: &str, end: DateTime<Utc>) -> Self {
        Self {
            permission: Permission::ReadWriteOwnedBy,
            owns_itself: true,
            passwords: vec![NewPassword::until(end)],
            ..Self::new(tenant_id, display_name)
        }
    }
}

/// A secret to be put on an application as if it had long been there; what is `None` is missing
/// on the line too, as with the oldest secrets, but for the value and the Key ID, which are drawn.
#[derive(Debug, Clone, Default)]
pub struct NewPassword {
    /// The value.
    pub value: Option<SecretString>,
    /// The Key ID.
    pub key_id: Option<KeyId>,
    /// The name.
    pub display_name: Option<String>,
    /// Old secrets keep their description here.
    pub custom_key_identifier: Option<String>,
    /// From when on it is valid.
    pub start: Option<DateTime<Utc>>,
    /// Until when.
    pub end: Option<DateTime<Utc>>,
    /// Without the first three characters of the value, as the oldest secrets are.
    pub without_hint: bool,
}

impl NewPassword {
    /// A secret that ends at `end`, with a drawn value.
    pub fn until(end: DateTime<Utc>) -> Self {
        Self {
            end: Some(end),
            ..Self::default()
        }
    }
}

/// A secret as the primary knows it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its Key ID.
    pub key_id: KeyId,
    /// Its value.
    pub value: SecretString,
    /// Its name.
    pub display_name: Option<String>,
    /// The first three characters of the value.
    pub hint: Option<String>,
    /// From when on it is valid.
    pub start: Option<DateTime<Utc>>,
    /// Until when.
    pub end: Option<DateTime<Utc>>,
    /// When it was added.
    pub added_at: DateTime<Utc>,
}

/// An application that was created.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// What consumers sign in with.
    pub client_id: ClientId,
    /// The application object.
    pub object_id: ObjectId,
    /// Its service principal.
    pub service_principal_id: ObjectId,
    /// Its secrets, in the order in which they were given.
    pub keys: Vec<Key>,
}

pub(super) fn key(password: &Password) -> Key {
    Key {
        key_id: password.key_id,
        value: password.value.clone(),
        display_name: password.display_name.clone(),
        hint: password.hint.clone(),
        start: password.start,
        end: password.end,
        added_at: password.added.written(),
    }
}

pub(super) fn create(
    directory: &mut Directory,
    new: NewApplication,
    now: DateTime<Utc>,
) -> Application {
    let service_principal_id = ObjectId(directory.guid());
    let mut owners = new.owners;
    if new.owns_itself {
        owners.push(Owner::ServicePrincipal(service_principal_id));
    }
    let mut passwords = |new: Vec<NewPassword>| {
        let all = new.into_iter();
        all.map(|new| password(directory, new, now)).collect()
    };
    let (own, of_service_principal) = (
        passwords(new.passwords),
        passwords(new.service_principal_passwords),
    );
    Application {
        tenant_id: new.tenant_id,
        client_id: ClientId(directory.guid()),
        object_id: ObjectId(directory.guid()),
        service_principal_id,
        display_name: new.display_name,
        audience: new.audience,
        permission: new.permission,
        owners,
        policies: new.policies,
        disabled: new.disabled,
        created: match new.fresh {
            true => directory.replicas.write(now),
            false => Arrival::everywhere(now),
        },
        deleted: None,
        changed_at: None,
        passwords: own,
        service_principal_passwords: of_service_principal,
    }
}

pub(super) fn password(
    directory: &mut Directory,
    new: NewPassword,
    now: DateTime<Utc>,
) -> Password {
    let value = new.value.unwrap_or_else(|| directory.secret_value());
    let hint: String = value.expose_secret().chars().take(3).collect();
    Password {
        key_id: new.key_id.unwrap_or_else(|| KeyId(directory.guid())),
        hint: (!new.without_hint).then_some(hint),
        value,
        display_name: new.display_name,
        custom_key_identifier: new.custom_key_identifier,
        start: new.start,
        end: new.end,
        added: Arrival::everywhere(now),
        removed: None,
    }
}
