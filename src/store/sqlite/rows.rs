//! Reading: from rows to the types of the journal.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{ConnectionName, Declared};
use crate::entra::KeyId;
use crate::journal::{
    AttemptName, ConnectionId, Event, InstanceId, Journal, Outcome, Reconciliation, Rotation,
    RotationId, State, Watch,
};
use crate::store::{Attempt, Due, Fingerprint, HistoryFilter, Sealed, Share};

use super::database::Trouble;

/// An instant as columns hold it.
pub(super) fn milliseconds(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

/// A journal type as `record` holds it.
pub(super) fn record<T: Serialize>(value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The store's own ID, then those of its former lives.
pub(super) fn instances(connection: &Connection) -> Result<Vec<InstanceId>, Trouble> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM instance ORDER BY ordinal DESC")?;
    let ids = statement.query_map([], |row| parsed(row, 0, ulid).map(InstanceId))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Of the master key that everything is sealed with.
pub(super) fn fingerprint(connection: &Connection) -> Result<Fingerprint, Trouble> {
    let mut statement = connection.prepare_cached("SELECT fingerprint FROM store")?;
    Ok(statement.query_row([], |row| row.get(0).map(Fingerprint))?)
}

/// The connection of this name: the one that is kept, else the one that was removed last.
pub(super) fn journal(
    connection: &Connection,
    name: &ConnectionName,
) -> Result<Option<Journal>, Trouble> {
    let transaction = connection.unchecked_transaction()?;
    let row = transaction
        .prepare_cached(&format!("{JOURNAL} {OF_NAME}"))?
        .query_row([name.as_str()], bare_journal)
        .optional()?;
    row.map(|journal| with_records(&transaction, journal))
        .transpose()
}

/// The connection of this row, removed ones included.
pub(super) fn journal_of(connection: &Connection, id: ConnectionId) -> Result<Journal, Trouble> {
    let journal = connection
        .prepare_cached(&format!("{JOURNAL} WHERE id = ?1"))?
        .query_row([id.0], bare_journal)?;
    with_records(connection, journal)
}

/// The rotation of a connection that was started last, ended or not.
pub(super) fn latest_rotation(
    connection: &Connection,
    id: ConnectionId,
) -> Result<Option<Rotation>, Trouble> {
    let rotation = connection
        .prepare_cached(LATEST_ROTATION)?
        .query_row([id.0], |row| json(row, 0))
        .optional()?;
    Ok(rotation)
}

/// All connections by name; of one name, the one that is kept comes first.
pub(super) fn journals(connection: &Connection) -> Result<Vec<Journal>, Trouble> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(&format!(
        "{JOURNAL} ORDER BY name, removed_at IS NOT NULL, removed_at DESC, id DESC"
    ))?;
    statement
        .query_map([], bare_journal)?
        .map(|journal| with_records(&transaction, journal?))
        .collect()
}

/// Connections that are kept, by name, those behind `after`.
pub(super) fn journals_after(
    connection: &Connection,
    after: Option<&ConnectionName>,
    at_most: usize,
) -> Result<Vec<Journal>, Trouble> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(&format!(
        "{JOURNAL} WHERE removed_at IS NULL AND name > ?1 ORDER BY name LIMIT ?2"
    ))?;
    // No name is empty.
    let after = after.map_or("", ConnectionName::as_str);
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    statement
        .query_map((after, at_most), bare_journal)?
        .map(|journal| with_records(&transaction, journal?))
        .collect()
}

/// A plan that lies so far in the future was made by a clock that was wrong: one that is
/// synchronised is not set back by more.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// Whose `next_action_at` has come, or was planned by a clock that was ahead.
pub(super) fn due(
    connection: &Connection,
    now: DateTime<Utc>,
    at_most: Share,
) -> Result<Vec<Due>, Trouble> {
    let mut statement = connection.prepare_cached(DUE)?;
    let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
    let params = (
        milliseconds(now),
        milliseconds(now + AHEAD),
        number(at_most.altogether),
        number(at_most.of_one_tenant),
    );
    let due = statement.query_map(params, |row| {
        Ok(Due {
            name: parsed(row, 0, str::parse)?,
            tenant_id: parsed(row, 1, str::parse)?,
            expires_at: instant(row, 2)?,
        })
    })?;
    Ok(due.collect::<Result<_, _>>()?)
}

/// Who has not been compared with Entra since `before`.
pub(super) fn unreconciled(
    connection: &Connection,
    before: DateTime<Utc>,
    at_most: usize,
) -> Result<Vec<ConnectionName>, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM connection WHERE removed_at IS NULL AND reconciled_at < ?1
         ORDER BY reconciled_at LIMIT ?2",
    )?;
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let names = statement.query_map((milliseconds(before), at_most), |row| {
        parsed(row, 0, str::parse)
    })?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What the last comparison of a connection found.
pub(super) fn reconciliation(
    connection: &Connection,
    id: ConnectionId,
) -> Result<Option<Reconciliation>, Trouble> {
    let found: Option<Option<String>> = connection
        .prepare_cached("SELECT reconciliation FROM connection WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    let found = found.flatten();
    Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The earliest `next_action_at`.
pub(super) fn next_action_at(connection: &Connection) -> Result<Option<DateTime<Utc>>, Trouble> {
    let mut statement = connection
        .prepare_cached("SELECT min(next_action_at) FROM connection WHERE removed_at IS NULL")?;
    Ok(statement.query_row([], |row| instant(row, 0))?)
}

/// How many connections are kept.
pub(super) fn count(connection: &Connection) -> Result<usize, Trouble> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM connection WHERE removed_at IS NULL")?;
    let count: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The sealed value of a secret.
pub(super) fn sealed(
    connection: &Connection,
    id: ConnectionId,
    key_id: KeyId,
) -> Result<Option<Sealed>, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT value, fingerprint FROM secret
         WHERE connection = ?1 AND key_id = ?2 AND value IS NOT NULL",
    )?;
    let sealed = statement.query_row((id.0, key_id.to_string()), |row| {
        Ok(Sealed {
            bytes: row.get(0)?,
            fingerprint: Fingerprint(row.get(1)?),
        })
    });
    Ok(sealed.optional()?)
}

/// Where sealed values are.
pub(super) fn sealed_places(
    connection: &Connection,
) -> Result<Vec<(ConnectionId, KeyId)>, Trouble> {
    let mut statement = connection
        .prepare_cached("SELECT connection, key_id FROM secret WHERE value IS NOT NULL")?;
    let places = statement.query_map([], |row| {
        Ok((ConnectionId(row.get(0)?), parsed(row, 1, str::parse)?))
    })?;
    Ok(places.collect::<Result<_, _>>()?)
}

/// What the user declared.
pub(super) fn declared(connection: &Connection, id: ConnectionId) -> Result<Declared, Trouble> {
    let mut statement = connection.prepare_cached("SELECT record FROM connection WHERE id = ?1")?;
    Ok(statement.query_row([id.0], |row| json(row, 0))?)
}

/// What was declared of every connection that is kept, by name.
pub(super) fn declarations(
    connection: &Connection,
) -> Result<Vec<(ConnectionId, Declared)>, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT id, record FROM connection WHERE removed_at IS NULL ORDER BY name",
    )?;
    let declared = statement.query_map([], |row| Ok((ConnectionId(row.get(0)?), json(row, 1)?)))?;
    Ok(declared.collect::<Result<_, _>>()?)
}

/// The call of this name.
pub(super) fn attempt(
    connection: &Connection,
    name: AttemptName,
) -> Result<Option<Attempt>, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT connection, rotation, tenant_id, client_id, key_id,
                EXISTS (SELECT 1 FROM secret
                        WHERE secret.connection = attempt.connection
                          AND secret.key_id = attempt.key_id
                          AND role IN ('current', 'previous') AND gone = 0)
         FROM attempt JOIN connection ON connection.id = attempt.connection
         WHERE attempt.name = ?1",
    )?;
    let attempt = statement.query_row([name.to_string()], |row| {
        Ok(Attempt {
            name,
            connection: ConnectionId(row.get(0)?),
            rotation: parsed(row, 1, ulid).map(RotationId)?,
            application: (parsed(row, 2, str::parse)?, parsed(row, 3, str::parse)?),
            key_id: optional(row, 4, str::parse)?,
            handed_out: row.get(5)?,
        })
    });
    Ok(attempt.optional()?)
}

/// Names whose outcome no connection of an application has found out: watched, or of a rotation
/// that stood at its call when its connection was removed.
pub(super) fn open_names(
    connection: &Connection,
    tenant: &str,
    client: &str,
) -> Result<Vec<AttemptName>, Trouble> {
    let of_application = "connection IN (SELECT id FROM connection
                                         WHERE tenant_id = ?1 AND client_id = ?2)";
    let watches: Vec<Watch> = records(
        connection,
        &format!("SELECT record FROM watch WHERE {of_application}"),
        (tenant, client),
    )?;
    let rotations: Vec<Rotation> = records(
        connection,
        &format!("SELECT record FROM rotation WHERE ended = 0 AND {of_application}"),
        (tenant, client),
    )?;
    let unknown = rotations
        .iter()
        .filter_map(|rotation| match rotation.state.effective() {
            State::Intended {
                attempt,
                outcome: Outcome::Unknown { .. },
            } => Some(*attempt),
            _ => None,
        });
    let watched = watches.iter().map(|watch| watch.attempt);
    Ok(watched.chain(unknown).collect())
}

/// What happened, oldest first. A connection is asked for by the name that it has now; where no
/// connection has it, by the name that was written down.
pub(super) fn history(
    connection: &Connection,
    filter: &HistoryFilter,
) -> Result<Vec<Event>, Trouble> {
    let name = filter.connection.as_ref().map(ConnectionName::as_str);
    let since = filter.since.map_or(i64::MIN, milliseconds);
    let until = filter.until.map_or(i64::MAX, milliseconds);
    records(
        connection,
        "SELECT record FROM event
         WHERE at >= ?2 AND at < ?3
           AND (?1 IS NULL
                OR connection IN (SELECT id FROM connection WHERE name = ?1)
                OR connection IS NULL AND record ->> 'connection' = ?1)
         ORDER BY at, ordinal",
        (name, since, until),
    )
}

pub(super) const JOURNAL: &str = "SELECT id, record, object_id, paused, removed_at, anchor, due_at,
                                         next_action_at, planned_at, mutated_at FROM connection";

/// Both halves of the union have an index of their own, which an `OR` would not use.
/// Of each tenant no more than its share: one that answers nothing keeps no other from being read.
pub(super) const DUE: &str = "SELECT name, tenant_id, expires_at
     FROM (SELECT *, row_number() OVER (PARTITION BY tenant_id
                                        ORDER BY expires_at NULLS LAST, next_action_at, name)
                     AS turn
           FROM (SELECT name, tenant_id, next_action_at,
                        (SELECT min(expires_at) FROM secret
                         WHERE secret.connection = connection.id AND role = 'current' AND gone = 0)
                        AS expires_at
                 FROM connection
                 WHERE id IN (SELECT id FROM connection
                              WHERE removed_at IS NULL AND next_action_at <= ?1
                              UNION ALL
                              SELECT id FROM connection
                              WHERE removed_at IS NULL AND planned_at > ?2)))
     WHERE turn <= ?4
     ORDER BY expires_at NULLS LAST, next_action_at, name
     LIMIT ?3";

pub(super) const OF_NAME: &str = "WHERE name = ?1
                                  ORDER BY removed_at IS NOT NULL, removed_at DESC, id DESC
                                  LIMIT 1";

/// In the order in which they were written: a clock that was set back orders them otherwise.
pub(super) const OPEN_ROTATIONS: &str = "SELECT record FROM rotation
                                         WHERE connection = ?1 AND ended = 0
                                         ORDER BY rowid";

pub(super) const LATEST_ROTATION: &str = "SELECT record FROM rotation WHERE connection = ?1
                                          ORDER BY rowid DESC LIMIT 1";

fn bare_journal(row: &Row<'_>) -> rusqlite::Result<Journal> {
    Ok(Journal {
        id: ConnectionId(row.get(0)?),
        declared: json(row, 1)?,
        object_id: optional(row, 2, str::parse)?,
        paused: row.get(3)?,
        removed_at: instant(row, 4)?,
        anchor: parsed(row, 5, str::parse::<NaiveDate>)?,
        due_at: instant(row, 6)?.ok_or(rusqlite::Error::InvalidQuery)?,
        next_action_at: instant(row, 7)?,
        planned_at: instant(row, 8)?,
        mutated_at: instant(row, 9)?,
        secrets: Vec::new(),
        rotations: Vec::new(),
        deliveries: Vec::new(),
        removals: Vec::new(),
        watches: Vec::new(),
    })
}

fn with_records(connection: &Connection, journal: Journal) -> Result<Journal, Trouble> {
    let id = [journal.id.0];
    Ok(Journal {
        secrets: records(
            connection,
            "SELECT record FROM secret WHERE connection = ?1 AND gone = 0 ORDER BY rowid",
            id,
        )?,
        rotations: records(connection, OPEN_ROTATIONS, id)?,
        deliveries: records(
            connection,
            "SELECT record FROM delivery WHERE connection = ?1 ORDER BY rowid",
            id,
        )?,
        removals: records(
            connection,
            "SELECT record FROM removal WHERE connection = ?1 ORDER BY rowid",
            id,
        )?,
        watches: records(
            connection,
            "SELECT record FROM watch WHERE connection = ?1 ORDER BY rowid",
            id,
        )?,
        ..journal
    })
}

fn records<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<T>, Trouble> {
    let mut statement = connection.prepare_cached(sql)?;
    let records = statement.query_map(params, |row| json(row, 0))?;
    Ok(records.collect::<Result<_, _>>()?)
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    parsed(row, column, |text| serde_json::from_str(text))
}

pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let Some(at) = row.get::<_, Option<i64>>(column)? else {
        return Ok(None);
    };
    DateTime::from_timestamp_millis(at)
        .map(Some)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, at))
}

fn optional<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, column, parse).map(Some),
    }
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    parse(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

fn ulid(text: &str) -> Result<ulid::Ulid, ulid::DecodeError> {
    ulid::Ulid::from_string(text)
}
