//! Notifications: what may be worth telling, and the queue of what is to be sent.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use crate::journal::ConnectionId;
use crate::store::StoreFault;
use crate::store::notices::{
    Attempted, Line, NewNotice, Noted, Noteworthy, Notice, Outbox, Read, Subject,
};

use super::changes::execute;
use super::database::Trouble;
use super::rows::{self, milliseconds};

pub(super) const NEW_LINES: &str = "SELECT ordinal, connection, record FROM event
                                    WHERE ordinal > ?1 ORDER BY ordinal LIMIT ?2";

pub(super) const LOOKS: &str = "SELECT connection FROM lookout WHERE look_at <= ?1
                                ORDER BY look_at LIMIT ?2";

pub(super) const WAITING: &str = "SELECT ordinal, refusals, record FROM notice
                                  WHERE channel = ?1 AND next_attempt_at <= ?2
                                  ORDER BY next_attempt_at, ordinal LIMIT ?3";

/// Begins to watch, or ends it. What happened before it began is not told; how each connection
/// stands is looked at anew.
pub(super) fn watch(db: &Connection, on: bool) -> Result<(), Trouble> {
    let changed = db
        .prepare_cached("UPDATE notice_cursor SET watching = ?1 WHERE watching <> ?1")?
        .execute([on])?;
    if changed == 0 || !on {
        return Ok(());
    }
    execute(
        db,
        "UPDATE notice_cursor SET ordinal = (SELECT coalesce(max(ordinal), 0) FROM event)",
        [],
    )?;
    execute(
        db,
        "INSERT INTO lookout (connection, look_at, alerts)
         SELECT id, 0, '[]' FROM connection WHERE removed_at IS NULL
         ON CONFLICT DO UPDATE SET look_at = 0, alerts = '[]'",
        [],
    )
}

/// What may be worth telling at `now`; no more than `at_most` of each.
pub(super) fn noteworthy(
    db: &Connection,
    now: DateTime<Utc>,
    at_most: usize,
) -> Result<Noteworthy, Trouble> {
    let transaction = db.unchecked_transaction()?;
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let from = cursor(&transaction)?;
    let mut to = from;
    let mut lines = Vec::new();
    let mut statement = transaction.prepare_cached(NEW_LINES)?;
    let mut found = statement.query((from, limit))?;
    while let Some(row) = found.next()? {
        to = row.get(0)?;
        lines.push(Line {
            connection: row.get::<_, Option<i64>>(1)?.map(ConnectionId),
            event: rows::json(row, 2)?,
        });
    }
    let mut looks = transaction.prepare_cached(LOOKS)?;
    let looks = looks
        .query_map((milliseconds(now), limit), |row| {
            row.get(0).map(ConnectionId)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let more = lines.len() >= at_most || looks.len() >= at_most;
    let about: BTreeSet<ConnectionId> = lines
        .iter()
        .filter_map(|line| line.connection)
        .chain(looks)
        .collect();
    let subjects = about
        .into_iter()
        .map(|id| subject(&transaction, id))
        .collect::<Result<_, Trouble>>()?;
    Ok(Noteworthy {
        lines,
        subjects,
        read: Read { from, to },
        more,
    })
}

/// Writes what was found worth telling, unless somebody else has done so meanwhile.
pub(super) fn note(db: &Connection, noted: &Noted) -> Result<(), Trouble> {
    if cursor(db)? != noted.read.from {
        return Err(Trouble::Fault(StoreFault::Stale));
    }
    execute(db, "UPDATE notice_cursor SET ordinal = ?1", [noted.read.to])?;
    for lookout in &noted.lookouts {
        execute(
            db,
            "INSERT INTO lookout (connection, look_at, alerts) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET look_at = excluded.look_at, alerts = excluded.alerts",
            (
                lookout.connection.0,
                lookout.look_at.map(milliseconds),
                &lookout.alerts,
            ),
        )?;
    }
    let mut channels = BTreeSet::new();
    for NewNotice { channel, record } in &noted.notices {
        execute(
            db,
            "INSERT INTO notice (channel, next_attempt_at, record) VALUES (?1, 0, ?2)",
            (channel, record),
        )?;
        channels.insert(channel.as_str());
    }
    channels
        .into_iter()
        .try_for_each(|channel| trim(db, channel, noted.keep))
}

/// What waits for one channel at `now`.
pub(super) fn outbox(
    db: &Connection,
    channel: &str,
    now: DateTime<Utc>,
    at_most: usize,
) -> Result<Outbox, Trouble> {
    let waiting: i64 = db
        .prepare_cached("SELECT count(*) FROM notice WHERE channel = ?1")?
        .query_row([channel], |row| row.get(0))?;
    let mut outbox = Outbox {
        waiting: u64::try_from(waiting).unwrap_or(0),
        ..Outbox::default()
    };
    let state = db
        .prepare_cached(
            "SELECT failures, next_attempt_at, dropped, last_fault FROM notice_channel
             WHERE name = ?1",
        )?
        .query_row([channel], |row| {
            Ok((
                row.get(0)?,
                rows::instant(row, 1)?,
                row.get::<_, i64>(2)?,
                row.get(3)?,
            ))
        })
        .optional()?;
    if let Some((failures, not_before, dropped, last_fault)) = state {
        outbox.failures = failures;
        outbox.dropped = u64::try_from(dropped).unwrap_or(0);
        outbox.last_fault = last_fault;
        if not_before.is_some_and(|at| at > now && at <= now + super::super::LONGEST_BACKOFF) {
            return Ok(outbox);
        }
    }
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(WAITING)?;
    let notices = statement.query_map((channel, milliseconds(now), limit), |row| {
        Ok(Notice {
            ordinal: row.get(0)?,
            refusals: row.get(1)?,
            record: row.get(2)?,
        })
    })?;
    outbox.notices = notices.collect::<Result<_, _>>()?;
    Ok(outbox)
}

/// Writes what came of sending.
pub(super) fn attempted(
    db: &Connection,
    channel: &str,
    attempted: &Attempted,
) -> Result<(), Trouble> {
    execute(
        db,
        "INSERT INTO notice_channel (name) VALUES (?1) ON CONFLICT DO NOTHING",
        [channel],
    )?;
    match attempted {
        Attempted::Sent { ordinal, dropped } => {
            execute(db, "DELETE FROM notice WHERE ordinal = ?1", [ordinal])?;
            execute(
                db,
                "UPDATE notice_channel SET failures = 0, next_attempt_at = 0, last_fault = NULL,
                                           dropped = max(0, dropped - ?2)
                 WHERE name = ?1",
                (channel, i64::try_from(*dropped).unwrap_or(i64::MAX)),
            )
        }
        Attempted::Refused {
            ordinal,
            next_attempt_at,
            fault,
        } => {
            execute(
                db,
                "UPDATE notice SET refusals = refusals + 1, next_attempt_at = ?2
                 WHERE ordinal = ?1",
                (ordinal, milliseconds(*next_attempt_at)),
            )?;
            execute(
                db,
                "UPDATE notice_channel SET last_fault = ?2 WHERE name = ?1",
                (channel, fault),
            )
        }
        Attempted::Failed {
            failures,
            next_attempt_at,
            fault,
        } => execute(
            db,
            "UPDATE notice_channel SET failures = ?2, next_attempt_at = ?3, last_fault = ?4
             WHERE name = ?1",
            (channel, failures, milliseconds(*next_attempt_at), fault),
        ),
    }
}

fn cursor(db: &Connection) -> Result<i64, Trouble> {
    let mut statement = db.prepare_cached("SELECT ordinal FROM notice_cursor")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn subject(db: &Connection, id: ConnectionId) -> Result<Subject, Trouble> {
    let alerts = db
        .prepare_cached("SELECT alerts FROM lookout WHERE connection = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(Subject {
        journal: rows::journal_of(db, id)?,
        alerts,
    })
}

/// Only the newest are kept: a channel that is down for months must not fill the disk.
fn trim(db: &Connection, channel: &str, keep: usize) -> Result<(), Trouble> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let dropped = db
        .prepare_cached(
            "DELETE FROM notice WHERE channel = ?1 AND ordinal <= (
                 SELECT ordinal FROM notice WHERE channel = ?1
                 ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((channel, keep))?;
    if dropped == 0 {
        return Ok(());
    }
    execute(
        db,
        "INSERT INTO notice_channel (name, dropped) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET dropped = dropped + excluded.dropped",
        (channel, i64::try_from(dropped).unwrap_or(i64::MAX)),
    )
}
