//! `history` can't be rewritten unnoticed.

use keywheel::store::{ChainHash, SqliteStore, Store};

use crate::fixture::{Bench, event, store_path};

async fn written() -> Bench {
    let bench = Bench::new();
    bench.adopt("crm", 1, "v").await;
    for action in ["minted", "verified", "promoted", "delivered"] {
        let event = event(action, Some("crm"));
        bench.store.record(event).await.unwrap();
    }
    bench
}

/// What somebody does who can write the database.
fn tamper(bench: &Bench, sql: &str) {
    let database = rusqlite::Connection::open(store_path(bench.path())).unwrap();
    assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn p7_a_line_that_is_changed_or_taken_out_is_noticed() {
    for (sql, intact) in [
        (
            "UPDATE event SET record = replace(record, 'promoted', 'nothing')",
            3,
        ),
        ("UPDATE event SET at = at + 1000 WHERE ordinal = 2", 1),
        ("UPDATE event SET connection = NULL WHERE ordinal = 5", 4),
        ("UPDATE event SET hash = NULL WHERE ordinal = 3", 2),
        ("DELETE FROM event WHERE ordinal = 1", 0),
        ("DELETE FROM event WHERE ordinal = 3", 2),
        ("UPDATE event SET ordinal = 9 WHERE ordinal = 2", 1),
    ] {
        let bench = written().await;
        tamper(&bench, sql);
        // What comes after it neither stops nor hides it.
        let next = event("revoked", Some("crm"));
        bench.store.record(next).await.unwrap();
        let chain = bench.store.follow_history(None).await.unwrap();
        assert!(chain.broken.is_some(), "{sql}");
        assert_eq!(chain.lines, intact, "{sql}");
    }
}

#[tokio::test]
async fn p7_a_history_that_was_cut_off_or_made_anew_lacks_the_head_that_was_noted() {
    let bench = written().await;
    let chain = bench.store.follow_history(None).await.unwrap();
    assert_eq!((chain.lines, &chain.broken), (5, &None));
    let next = event("revoked", Some("crm"));
    bench.store.record(next).await.unwrap();
    let later = bench.store.follow_history(Some(chain.head)).await.unwrap();
    assert_eq!((later.lines, later.holds_noted), (6, Some(true)));

    tamper(&bench, "DELETE FROM event WHERE ordinal > 4");
    let cut = bench.store.follow_history(Some(chain.head)).await.unwrap();
    assert_eq!((cut.broken, cut.holds_noted), (None, Some(false)));
}

#[tokio::test]
async fn a_store_from_before_the_chain_gets_it_when_it_is_opened() {
    let bench = written().await;
    let head = bench.store.follow_history(None).await.unwrap().head;
    let Bench { folder, store, .. } = bench;
    drop(store);
    let path = store_path(folder.path());
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "ALTER TABLE event DROP COLUMN hash;
             DROP TABLE notice_cursor; DROP TABLE lookout; DROP TABLE notice;
             DROP TABLE notice_channel;
             DROP INDEX connection_by_reconciled;
             ALTER TABLE connection DROP COLUMN reconciled_at;
             ALTER TABLE connection DROP COLUMN reconciliation;
             PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(database);
    let store = SqliteStore::open(&path).unwrap();
    let chain = store.follow_history(None).await.unwrap();
    assert_eq!((chain.lines, chain.head, chain.broken), (5, head, None));
}

#[test]
fn a_head_reads_back() {
    let head = ChainHash([0xa5; 32]);
    assert_eq!(head.to_string().parse::<ChainHash>().unwrap(), head);
    for wrong in ["", "a5", &"g".repeat(64), &"é".repeat(32)] {
        assert!(wrong.parse::<ChainHash>().is_err(), "{wrong}");
    }
}
