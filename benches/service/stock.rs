//! A store with many connections, written straight into its database.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use keywheel::store::{SqliteStore, master_key};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// A folder with settings, key and store.
pub struct Stock {
    folder: TempDir,
}

impl Stock {
    /// `count` connections of a thousand tenants, each with a current secret, due within a month
    /// and compared a moment ago.
    pub fn new(count: usize) -> Self {
        let stock = Self::bare("listen = \"off\"");
        let mut database = Connection::open(stock.store()).expect("the store");
        let transaction = database.transaction().expect("a transaction");
        fill(&transaction, count).expect("the rows are written");
        transaction.commit().expect("they are durable");
        stock
    }

    /// No connections yet.
    pub fn bare(service: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let stock = Self { folder };
        std::fs::write(stock.config(), format!("[service]\n{service}\n")).expect("the settings");
        std::fs::set_permissions(stock.config(), PermissionsExt::from_mode(0o640))
            .expect("its mode");
        let key = master_key::create(&stock.path("master.key")).expect("a key");
        SqliteStore::create(&stock.store(), key.fingerprint()).expect("a store");
        stock
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.path("state/keywheel.db")
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.path("keywheel.toml")
    }
}

fn fill(database: &Connection, count: usize) -> rusqlite::Result<()> {
    let now = Utc::now();
    let mut connection = database.prepare(
        "INSERT INTO connection (name, tenant_id, client_id, cloud, object_id, anchor, due_at,
                                 next_action_at, record, reconciled_at)
         VALUES (?1, ?2, ?3, 'public', ?4, ?5, ?6, ?6, ?7, ?8)",
    )?;
    let mut secret = database.prepare(
        "INSERT INTO secret (connection, key_id, role, expires_at, value, fingerprint, record)
         VALUES (?1, ?2, 'current', ?3, ?4, (SELECT fingerprint FROM store), ?5)",
    )?;
    for n in 0..count {
        let name = format!("connection-{n}");
        let tenant = Uuid::from_u128(1 + n as u128 % 1000);
        let client = Uuid::from_u128(1_000_000 + n as u128);
        let key = Uuid::from_u128(1 << 64 | n as u128);
        let due_at = now + TimeDelta::hours(1) + TimeDelta::seconds((n as i64 * 7919) % 2_592_000);
        let expires_at = due_at + TimeDelta::days(30);
        let declared = json!({
            "name": name, "tenant_id": tenant, "client_id": client, "interval_days": 30,
            "timezone": "Europe/Berlin", "rotate_at": "10:00",
            "destination": [{"kind": "file", "name": "file", "path": format!("/srv/{name}.secret")}],
        });
        connection.execute((
            &name,
            tenant.to_string(),
            client.to_string(),
            client.to_string(),
            now.date_naive().to_string(),
            due_at.timestamp_millis(),
            declared.to_string(),
            now.timestamp_millis(),
        ))?;
        let row = database.last_insert_rowid();
        let record = json!({
            "key_id": key, "role": "current", "origin": "minted", "generation": 1, "hint": "abc",
            "starts_at": now, "expires_at": expires_at, "attempt": null,
        });
        secret.execute((
            row,
            key.to_string(),
            expires_at.timestamp_millis(),
            vec![0_u8; 68],
            record.to_string(),
        ))?;
    }
    Ok(())
}
