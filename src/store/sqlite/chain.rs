//! The chain of `history`: what makes it noticed when a line is changed or taken out.
//!
//! Whoever can write the database can also make the whole chain anew. That is noticed by a head
//! that was noted elsewhere: the service writes it to its log each day.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::store::{BrokenLine, ChainHash, HistoryChain};

use super::database::Trouble;
use super::rows::instant;

/// Part of what is hashed; another way of chaining gets another one.
const LABEL: &[u8] = b"keywheel history 1\0";

/// What a line is hashed as.
pub(super) struct Line<'a> {
    pub(super) at: i64,
    pub(super) connection: Option<i64>,
    pub(super) record: &'a str,
}

/// The hash of the last line; of none, where there is none.
pub(super) fn head(db: &Connection) -> Result<ChainHash, Trouble> {
    let head = db
        .prepare_cached("SELECT hash FROM event ORDER BY ordinal DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, Option<[u8; 32]>>(0))
        .optional()?;
    // A hash that somebody took out is found when the chain is followed; the work goes on.
    Ok(head.flatten().map_or(ChainHash::NONE, ChainHash))
}

/// The hash of `line`, which comes after the one of this hash.
pub(super) fn next(before: ChainHash, line: &Line<'_>) -> ChainHash {
    let mut hash = Context::new(&SHA256);
    hash.update(LABEL);
    hash.update(&before.0);
    hash.update(&line.at.to_be_bytes());
    // Row numbers begin at 1.
    hash.update(&line.connection.unwrap_or(0).to_be_bytes());
    hash.update(line.record.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    ChainHash(bytes)
}

/// Gives every line of an older schema its hash.
pub(super) fn begin(db: &Connection) -> Result<(), Trouble> {
    let mut lines =
        db.prepare("SELECT ordinal, at, connection, record FROM event ORDER BY ordinal")?;
    let mut update = db.prepare("UPDATE event SET hash = ?2 WHERE ordinal = ?1")?;
    let mut rows = lines.query([])?;
    let mut before = ChainHash::NONE;
    while let Some(row) = rows.next()? {
        before = next(before, &line(row)?);
        update.execute((row.get::<_, i64>(0)?, before.0))?;
    }
    Ok(())
}

/// Follows the chain from its first line; `noted` is a head that somebody wrote down.
pub(super) fn follow(db: &Connection, noted: Option<ChainHash>) -> Result<HistoryChain, Trouble> {
    let mut lines =
        db.prepare("SELECT ordinal, at, connection, record, hash FROM event ORDER BY ordinal")?;
    let mut rows = lines.query([])?;
    let mut chain = HistoryChain {
        lines: 0,
        head: ChainHash::NONE,
        broken: None,
        holds_noted: noted.map(|noted| noted == ChainHash::NONE),
    };
    while let Some(row) = rows.next()? {
        let expected = next(chain.head, &line(row)?);
        if row.get::<_, Option<[u8; 32]>>(4)? != Some(expected.0) {
            chain.broken = Some(BrokenLine {
                ordinal: row.get(0)?,
                at: instant(row, 1)?,
            });
            break;
        }
        chain.lines += 1;
        chain.head = expected;
        if noted == Some(expected) {
            chain.holds_noted = Some(true);
        }
    }
    Ok(chain)
}

fn line<'a>(row: &'a Row<'_>) -> rusqlite::Result<Line<'a>> {
    Ok(Line {
        at: row.get(1)?,
        connection: row.get(2)?,
        record: row.get_ref(3)?.as_str()?,
    })
}
