//! A store in a temporary folder, and what is put into it.

use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, NaiveDate, Utc};
use keywheel::connection::Declared;
use keywheel::entra::{ClientId, KeyId, TenantId};
use keywheel::journal::{
    Actor, AttemptName, ConnectionId, Event, InstanceId, Journal, Origin, Role, Rotation,
    RotationId, Secret, State, Trigger,
};
use keywheel::settings::MasterKeySource;
use keywheel::store::{
    Adoption, Change, Column, Keys, Lease, SqliteStore, Store, StoreFault, master_key,
};
use tempfile::TempDir;
use ulid::Ulid;
use uuid::Uuid;

/// Tells a child, started by [`child`], which folder it works in.
pub(crate) const FOLDER: &str = "KEYWHEEL_TEST_FOLDER";

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) store: SqliteStore,
    pub(crate) keys: Keys,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = master_key::create(&key_path(folder.path())).unwrap();
        SqliteStore::create(&store_path(folder.path()), key.fingerprint()).unwrap();
        let store = SqliteStore::open(&store_path(folder.path())).unwrap();
        let source = MasterKeySource::File(key_path(folder.path()));
        let keys = Keys::load(source, key.fingerprint()).unwrap();
        Self {
            folder,
            store,
            keys,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn source(&self) -> MasterKeySource {
        MasterKeySource::File(key_path(self.path()))
    }

    /// Ends the process that uses the store, as it were, and starts the next.
    pub(crate) fn reopened(self) -> Self {
        drop(self.store);
        Self {
            store: SqliteStore::open(&store_path(self.folder.path())).unwrap(),
            ..self
        }
    }

    pub(crate) async fn adopt(&self, name: &str, n: u128, value: &str) -> ConnectionId {
        let adopted = self.try_adopt(adoption(name, n), value).await;
        adopted.unwrap()
    }

    pub(crate) async fn try_adopt(
        &self,
        adoption: Adoption,
        value: &str,
    ) -> Result<ConnectionId, StoreFault> {
        let (master, value) = (self.keys.current(), value.into());
        let key_id = adoption.secret.key_id;
        let seal = move |id| master.seal(id, key_id, Column::Value, &value);
        self.store.adopt(adoption, Box::new(seal)).await
    }

    pub(crate) async fn lease(&self, id: ConnectionId, n: u128) -> Lease {
        let locked = self.store.try_lock(id, application(n)).await.unwrap();
        locked.unwrap()
    }

    pub(crate) async fn journal(&self, name: &str) -> Journal {
        let journal = self.store.journal(&name.parse().unwrap()).await.unwrap();
        journal.unwrap()
    }

    /// The change that keeps `value` as this secret's.
    pub(crate) fn keep(&self, id: ConnectionId, secret: Secret, value: &str) -> Change {
        let sealed = self.keys.seal(id, secret.key_id, &value.into());
        Change::Keep(secret, sealed)
    }
}

pub(crate) fn store_path(folder: &Path) -> PathBuf {
    folder.join("state/keywheel.db")
}

pub(crate) fn key_path(folder: &Path) -> PathBuf {
    folder.join("master.key")
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

pub(crate) fn key(n: u128) -> KeyId {
    KeyId(Uuid::from_u128(n))
}

pub(crate) fn attempt(n: u128) -> AttemptName {
    AttemptName {
        instance: InstanceId(Ulid(1)),
        attempt: Ulid(n),
    }
}

pub(crate) fn application(n: u128) -> (TenantId, ClientId) {
    (TenantId(Uuid::from_u128(1)), ClientId(Uuid::from_u128(n)))
}

pub(crate) fn declared(name: &str, n: u128) -> Declared {
    let (tenant_id, client_id) = application(n);
    serde_json::from_value(serde_json::json!({
        "name": name, "tenant_id": tenant_id, "client_id": client_id, "interval_days": 30,
        "timezone": "Europe/Berlin", "rotate_at": "10:00", "labels": { "team": "é" },
        "destination": [{ "kind": "file", "name": "app", "path": "/srv/app.secret" }],
    }))
    .unwrap()
}

pub(crate) fn secret(n: u128, role: Role) -> Secret {
    Secret {
        key_id: key(n),
        role,
        origin: Origin::Minted,
        generation: 1,
        hint: "abc".into(),
        starts_at: None,
        expires_at: Some(at(86_400)),
        attempt: None,
        refused: None,
    }
}

pub(crate) fn adoption(name: &str, n: u128) -> Adoption {
    Adoption {
        declared: declared(name, n),
        object_id: None,
        secret: secret(n, Role::Current),
        anchor: NaiveDate::from_ymd_opt(2026, 11, 20).unwrap(),
        due_at: at(3_600),
        next_action_at: Some(at(3_600)),
        planned_at: at(0),
        events: vec![event("adopted", Some(name))],
    }
}

pub(crate) fn event(action: &str, connection: Option<&str>) -> Event {
    Event {
        at: at(0),
        actor: Actor {
            user: "root".into(),
            sudo_user: Some("anna".into()),
            host: "h1".into(),
        },
        action: action.into(),
        connection: connection.map(|name| name.parse().unwrap()),
        rotation_id: None,
        key_id: Some(key(7)),
        result: "ok".into(),
        client_request_id: None,
    }
}

pub(crate) fn rotation(n: u128, state: State) -> Rotation {
    Rotation {
        id: RotationId(Ulid(n)),
        trigger: Trigger::Manual,
        started_at: at(n.try_into().unwrap()),
        overlap: "7d".parse().unwrap(),
        state,
        retry: keywheel::journal::Retry::default(),
    }
}

/// Runs one ignored test of this file's binary as a process of its own.
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder);
    command
}

/// The folder that this process was started for; `None`: it was not started by [`child`].
pub(crate) fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}
