//! Writing: what each change does to the rows. All of it runs inside the writer's transaction.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Params, ToSql};

use crate::connection::Declared;
use crate::entra::{ClientId, KeyId, TenantId};
use crate::journal::{ConnectionId, Event, Outcome, Role, Rotation, Secret, State, Watch};
use crate::store::{Adoption, Change, Fingerprint, Sealed, StoreFault};

use super::chain::{self, Line};
use super::database::Trouble;
use super::rows::{self, milliseconds, record};

/// What re-seals one value; `None`: it does not open.
pub(super) type Reseal = dyn FnMut(ConnectionId, KeyId, &Sealed) -> Option<Sealed> + Send;

/// One change of one connection.
pub(super) fn apply(db: &Connection, id: ConnectionId, change: &Change) -> Result<(), Trouble> {
    match change {
        Change::Declare(declared) => declare(db, id, declared),
        Change::Found(object_id) => set(db, id, "object_id", &object_id.to_string()),
        Change::Pause(paused) => set(db, id, "paused", paused),
        Change::Remove(at) => remove(db, id, *at),
        Change::Schedule { anchor, due_at } => {
            set(db, id, "anchor", &anchor.to_string())?;
            set(db, id, "due_at", &milliseconds(*due_at))
        }
        Change::NextAction { at, planned_at } => {
            set(db, id, "next_action_at", &at.map(milliseconds))?;
            set(db, id, "planned_at", &milliseconds(*planned_at))
        }
        Change::Mutated(at) => set(db, id, "mutated_at", &milliseconds(*at)),
        Change::Keep(secret, sealed) => keep(db, id, secret, sealed),
        Change::Secret(secret) => put_secret(db, id, secret),
        Change::Gone(key_id) => execute(
            db,
            "UPDATE secret SET gone = 1, value = NULL, fingerprint = NULL
             WHERE connection = ?1 AND key_id = ?2",
            (id.0, key_id.to_string()),
        ),
        Change::Rotation(rotation) => put_rotation(db, id, rotation),
        Change::Delivery(delivery) => execute(
            db,
            "INSERT INTO delivery (connection, destination, record) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET record = excluded.record",
            (id.0, &delivery.destination, record(delivery)?),
        ),
        Change::ForgetDelivery(destination) => execute(
            db,
            "DELETE FROM delivery WHERE connection = ?1 AND destination = ?2",
            (id.0, destination),
        ),
        Change::Removal(removal) => execute(
            db,
            "INSERT INTO removal (connection, key_id, record) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET record = excluded.record",
            (id.0, removal.key_id.to_string(), record(removal)?),
        ),
        Change::RemovalDone(key_id) => execute(
            db,
            "DELETE FROM removal WHERE connection = ?1 AND key_id = ?2",
            (id.0, key_id.to_string()),
        ),
        Change::Watch(watch) => execute(
            db,
            "INSERT INTO watch (connection, attempt, record) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET record = excluded.record",
            (id.0, watch.attempt.to_string(), record(watch)?),
        ),
        Change::WatchDone(attempt) => execute(
            db,
            "DELETE FROM watch WHERE connection = ?1 AND attempt = ?2",
            (id.0, attempt.to_string()),
        ),
        Change::Reconciled(at, found) => {
            set(db, id, "reconciled_at", &milliseconds(*at))?;
            match found {
                Some(found) => set(db, id, "reconciliation", &record(found)?),
                None => Ok(()),
            }
        }
        Change::Record(event) => put_event(db, Some(id), event),
    }
}

/// A new connection with its secret.
pub(super) fn adopt(
    db: &Connection,
    adoption: &Adoption,
    seal: impl FnOnce(ConnectionId) -> Sealed,
) -> Result<ConnectionId, Trouble> {
    let declared = &adoption.declared;
    refuse_taken(db, None, declared)?;
    execute(
        db,
        "INSERT INTO connection (name, tenant_id, client_id, cloud, object_id, anchor, due_at,
                                 next_action_at, planned_at, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            declared.name.as_str(),
            declared.tenant_id.to_string(),
            declared.client_id.to_string(),
            cloud(declared),
            adoption.object_id.map(|id| id.to_string()),
            adoption.anchor.to_string(),
            milliseconds(adoption.due_at),
            adoption.next_action_at.map(milliseconds),
            milliseconds(adoption.planned_at),
            record(declared)?,
        ),
    )?;
    let id = ConnectionId(db.last_insert_rowid());
    keep(db, id, &adoption.secret, &seal(id))?;
    watch_on(db, id, adoption)?;
    for event in &adoption.events {
        put_event(db, Some(id), event)?;
    }
    Ok(id)
}

/// Names that an earlier connection of the same application left open are looked for further: what
/// shows up under one is ours, and its value nobody's (P4).
fn watch_on(db: &Connection, id: ConnectionId, adoption: &Adoption) -> Result<(), Trouble> {
    let (tenant, client) = (
        adoption.declared.tenant_id.to_string(),
        adoption.declared.client_id.to_string(),
    );
    let planned_at = adoption.planned_at;
    for name in rows::open_names(db, &tenant, &client)? {
        let watch = Watch::new(name, planned_at, planned_at);
        apply(db, id, &Change::Watch(watch))?;
        let at = Some(planned_at);
        apply(db, id, &Change::NextAction { at, planned_at })?;
    }
    Ok(())
}

/// A line of `history`, with the connection that has the event's name now, if any.
pub(super) fn add_event(db: &Connection, event: &Event) -> Result<(), Trouble> {
    let id = match &event.connection {
        None => None,
        Some(name) => db
            .prepare_cached(
                "SELECT id FROM connection WHERE name = ?1
                 ORDER BY removed_at IS NOT NULL, removed_at DESC, id DESC LIMIT 1",
            )?
            .query_row([name.as_str()], |row| row.get(0).map(ConnectionId))
            .optional()?,
    };
    put_event(db, id, event)
}

/// Wipes the values of connections that were removed before this time.
pub(super) fn purge_removed(db: &Connection, before: DateTime<Utc>) -> Result<usize, Trouble> {
    let mut statement = db.prepare_cached(
        "UPDATE secret SET value = NULL, fingerprint = NULL
         WHERE value IS NOT NULL
           AND connection IN (SELECT id FROM connection WHERE removed_at < ?1)",
    )?;
    Ok(statement.execute([milliseconds(before)])?)
}

/// Replaces every sealed value and the fingerprint, and says how many values there are.
pub(super) fn reseal(
    db: &Connection,
    to: Fingerprint,
    reseal: &mut Reseal,
) -> Result<usize, Trouble> {
    let places = rows::sealed_places(db)?;
    for (id, key_id) in &places {
        let unopened = || StoreFault::Unopened { key_id: *key_id };
        let old = rows::sealed(db, *id, *key_id)?.ok_or_else(unopened)?;
        let new = reseal(*id, *key_id, &old)
            .filter(|new| new.fingerprint == to)
            .ok_or_else(unopened)?;
        put_value(db, *id, *key_id, &new)?;
    }
    execute(db, "UPDATE store SET fingerprint = ?1", [to.0])?;
    Ok(places.len())
}

fn declare(db: &Connection, id: ConnectionId, declared: &Declared) -> Result<(), Trouble> {
    refuse_taken(db, Some(id), declared)?;
    let changed = db
        .prepare_cached(
            "UPDATE connection SET name = ?2, record = ?3
             WHERE id = ?1 AND tenant_id = ?4 AND client_id = ?5 AND cloud = ?6",
        )?
        .execute((
            id.0,
            declared.name.as_str(),
            record(declared)?,
            declared.tenant_id.to_string(),
            declared.client_id.to_string(),
            cloud(declared),
        ))?;
    if changed == 0 {
        return Err(Trouble::Fault(StoreFault::Immutable {
            name: declared.name.to_string(),
        }));
    }
    Ok(())
}

fn remove(db: &Connection, id: ConnectionId, at: Option<DateTime<Utc>>) -> Result<(), Trouble> {
    if at.is_none() {
        // Its name or its application may have been given to another one meanwhile.
        refuse_taken(db, Some(id), &rows::declared(db, id)?)?;
    }
    set(db, id, "removed_at", &at.map(milliseconds))
}

/// C7: one connection for a name, and one for an application, among those that are kept.
fn refuse_taken(
    db: &Connection,
    id: Option<ConnectionId>,
    declared: &Declared,
) -> Result<(), Trouble> {
    let TenantId(tenant) = declared.tenant_id;
    let ClientId(client) = declared.client_id;
    let holder = db
        .prepare_cached(
            "SELECT name FROM connection
             WHERE removed_at IS NULL AND id IS NOT ?1
               AND (name = ?2 OR tenant_id = ?3 AND client_id = ?4)
             ORDER BY name = ?2 DESC LIMIT 1",
        )?
        .query_row(
            (
                id.map(|id| id.0),
                declared.name.as_str(),
                tenant.to_string(),
                client.to_string(),
            ),
            |row| row.get::<_, String>(0),
        )
        .optional()?;
    match holder {
        None => Ok(()),
        Some(name) if name == declared.name.as_str() => Err(taken("that name".into(), name)),
        Some(name) => Err(taken(
            format!("application {client} of tenant {tenant}"),
            name,
        )),
    }
}

fn taken(what: String, name: String) -> Trouble {
    Trouble::Fault(StoreFault::Taken { what, name })
}

fn keep(
    db: &Connection,
    id: ConnectionId,
    secret: &Secret,
    sealed: &Sealed,
) -> Result<(), Trouble> {
    // Inside the transaction: whoever changes the master key re-seals either before this value is
    // there, and then it is refused, or after.
    if sealed.fingerprint != rows::fingerprint(db)? {
        return Err(Trouble::Fault(StoreFault::Resealed));
    }
    put_secret(db, id, secret)?;
    put_value(db, id, secret.key_id, sealed)
}

/// The value stays as it is; a secret that was thought to be gone is there again.
fn put_secret(db: &Connection, id: ConnectionId, secret: &Secret) -> Result<(), Trouble> {
    execute(
        db,
        "INSERT INTO secret (connection, key_id, role, expires_at, record)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET role = excluded.role, expires_at = excluded.expires_at,
                                   gone = 0, record = excluded.record",
        (
            id.0,
            secret.key_id.to_string(),
            match secret.role {
                Role::Pending => "pending",
                Role::Current => "current",
                Role::Previous => "previous",
                Role::Doomed => "doomed",
            },
            secret.expires_at.map(milliseconds),
            record(secret)?,
        ),
    )
}

fn put_value(
    db: &Connection,
    id: ConnectionId,
    key_id: KeyId,
    sealed: &Sealed,
) -> Result<(), Trouble> {
    execute(
        db,
        "UPDATE secret SET value = ?3, fingerprint = ?4 WHERE connection = ?1 AND key_id = ?2",
        (
            id.0,
            key_id.to_string(),
            &sealed.bytes,
            sealed.fingerprint.0,
        ),
    )
}

fn put_rotation(db: &Connection, id: ConnectionId, rotation: &Rotation) -> Result<(), Trouble> {
    let rotation_id = rotation.id.to_string();
    execute(
        db,
        "INSERT INTO rotation (id, connection, started_at, state, unpromoted, ended, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, unpromoted = excluded.unpromoted,
                                        ended = excluded.ended, record = excluded.record",
        (
            &rotation_id,
            id.0,
            milliseconds(rotation.started_at),
            rotation.state.name(),
            rotation.state.effective().may_be_promoted(),
            rotation.is_over(),
            record(rotation)?,
        ),
    )?;
    match rotation.state.effective() {
        State::Intended { attempt, outcome } => {
            let key_id = match outcome {
                Outcome::Orphaned { key_id } => Some(key_id.to_string()),
                Outcome::Unknown { .. } | Outcome::NotMade => None,
            };
            execute(
                db,
                "INSERT INTO attempt (name, connection, rotation, key_id) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET key_id = coalesce(excluded.key_id, key_id)",
                (attempt.to_string(), id.0, rotation_id, key_id),
            )
        }
        State::Minted { new, .. } => execute(
            db,
            "UPDATE attempt SET key_id = ?2
             WHERE ordinal = (SELECT max(ordinal) FROM attempt WHERE rotation = ?1)",
            (rotation_id, new.to_string()),
        ),
        _ => Ok(()),
    }
}

fn put_event(db: &Connection, id: Option<ConnectionId>, event: &Event) -> Result<(), Trouble> {
    let record = record(event)?;
    let line = Line {
        at: milliseconds(event.at),
        connection: id.map(|id| id.0),
        record: &record,
    };
    let hash = chain::next(chain::head(db)?, &line);
    execute(
        db,
        "INSERT INTO event (at, connection, record, hash) VALUES (?1, ?2, ?3, ?4)",
        (line.at, line.connection, line.record, hash.0),
    )
}

/// Both ways of saying it name the same cloud.
fn cloud(declared: &Declared) -> &str {
    declared.cloud.as_deref().unwrap_or("public")
}

/// `column` is one of this file's own words.
fn set(db: &Connection, id: ConnectionId, column: &str, value: &dyn ToSql) -> Result<(), Trouble> {
    let sql = format!("UPDATE connection SET {column} = ?2 WHERE id = ?1");
    match db.prepare_cached(&sql)?.execute((id.0, value))? {
        0 => Err(Trouble::Fault(StoreFault::Refused {
            detail: format!("there is no connection {}", id.0),
        })),
        _ => Ok(()),
    }
}

pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<(), Trouble> {
    db.prepare_cached(sql)?.execute(params)?;
    Ok(())
}
