use crate::store::Share;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::journal::Actor;

use super::database::Trouble;
use super::*;

fn store() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keywheel.db");
    SqliteStore::create(&path, Fingerprint([1; 16])).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    (folder, store)
}

fn event(text: &str) -> Event {
    Event {
        at: DateTime::UNIX_EPOCH,
        actor: Actor {
            user: "root".into(),
            sudo_user: None,
            host: "h1".into(),
        },
        action: text.into(),
        connection: None,
        rotation_id: None,
        key_id: None,
        result: "ok".into(),
        client_request_id: None,
    }
}

async fn actions(store: &SqliteStore) -> Vec<String> {
    let history = store.history(HistoryFilter::default()).await.unwrap();
    history.into_iter().map(|event| event.action).collect()
}

/// Runs `set` on the connection of the store's thread; a reopened one does not have it any more.
async fn tune(store: &SqliteStore, set: fn(&rusqlite::Connection) -> rusqlite::Result<()>) {
    let tuned = store.writer.read(move |db| Ok(set(db)?)).await;
    tuned.unwrap();
}

#[tokio::test]
async fn d1_disk_full_is_said_and_the_store_goes_on_when_there_is_room() {
    let (_folder, store) = store();
    store.record(event("before")).await.unwrap();
    tune(&store, |db| db.pragma_update(None, "max_page_count", 1)).await;
    let fault = store.record(event(&"x".repeat(9_000))).await.unwrap_err();
    assert!(matches!(fault, StoreFault::Io { .. }), "{fault}");
    assert_eq!(actions(&store).await, ["before"]);
    store.record(event("after")).await.unwrap();
    assert_eq!(actions(&store).await, ["before", "after"]);
}

#[tokio::test]
async fn d1_a_read_only_store_is_said_and_still_read() {
    let (_folder, store) = store();
    store.record(event("before")).await.unwrap();
    tune(&store, |db| db.pragma_update(None, "query_only", true)).await;
    let fault = store.record(event("lost")).await.unwrap_err();
    assert!(matches!(fault, StoreFault::Io { .. }), "{fault}");
    assert_eq!(actions(&store).await, ["before"]);
}

#[tokio::test]
async fn d6_a_store_locked_by_another_process_is_said_and_nothing_is_lost() {
    let (folder, store) = store();
    tune(&store, |db| db.busy_timeout(Duration::from_millis(5))).await;
    let other = rusqlite::Connection::open(folder.path().join("keywheel.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let fault = store.record(event("early")).await.unwrap_err();
    assert_eq!(fault, StoreFault::Busy);
    assert_eq!(actions(&store).await, [""; 0]);
    other.execute_batch("ROLLBACK").unwrap();
    store.record(event("late")).await.unwrap();
    assert_eq!(actions(&store).await, ["late"]);
}

/// Stops the store's thread, so that what is asked meanwhile makes one group.
async fn while_stopped<T>(store: &SqliteStore, asked: impl Future<Output = T>) -> T {
    let (go, wait) = mpsc::channel::<()>();
    let stopped = store.writer.read(move |_| Ok(wait.recv().is_err()));
    let (_, answer, _) = tokio::join!(biased; stopped, asked, async move { drop(go) });
    answer
}

#[tokio::test]
async fn in_a_group_one_failure_fails_no_other() {
    let (_folder, store) = store();
    let refused = store.writer.write(|db| {
        changes::add_event(db, &event("undone"))?;
        Err::<(), _>(Trouble::Fault(StoreFault::Stale))
    });
    let asked = async {
        tokio::join!(biased; store.record(event("one")), refused, store.record(event("two")))
    };
    let (one, refused, two) = while_stopped(&store, asked).await;
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(refused, Err(StoreFault::Stale));
    assert_eq!(actions(&store).await, ["one", "two"]);
}

#[tokio::test]
async fn what_waits_is_committed_together() {
    let (folder, store) = store();
    let count = |db: &rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0))
    };
    let other = rusqlite::Connection::open(folder.path().join("keywheel.db")).unwrap();
    let look = store
        .writer
        .write(move |db| Ok((count(db)?, count(&other)?)));
    let asked = async { tokio::join!(biased; store.record(event("one")), look) };
    let (one, look) = while_stopped(&store, asked).await;
    assert_eq!(one, Ok(()));
    assert_eq!(look, Ok((1, 0)), "seen from within, and from outside");
}

#[tokio::test]
async fn g8_a_panic_in_one_call_stops_no_other() {
    let (_folder, store) = store();
    let panicked = store.writer.write(|db| {
        changes::add_event(db, &event("undone"))?;
        Ok("on purpose".parse::<i64>().unwrap())
    });
    let fault = panicked.await.unwrap_err();
    assert!(matches!(fault, StoreFault::Io { .. }), "{fault}");
    store.record(event("after")).await.unwrap();
    assert_eq!(actions(&store).await, ["after"]);
}

#[tokio::test]
async fn what_is_no_longer_waited_for_is_still_written() {
    let (_folder, store) = store();
    let asked = async {
        let mut record = store.record(event("left"));
        assert!(poll_once(&mut record).await.is_pending());
    };
    while_stopped(&store, asked).await;
    assert_eq!(actions(&store).await, ["left"]);
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))
    })
    .await
}

#[tokio::test]
async fn p5_a_lock_outlives_a_commit_that_nobody_waits_for() {
    let (_folder, store) = store();
    let application = (TenantId(uuid::Uuid::nil()), ClientId(uuid::Uuid::nil()));
    let lock = || store.try_lock(ConnectionId(1), application);
    let asked = async {
        let lease = lock().await.unwrap().unwrap();
        let mut commit = store.commit(&lease, vec![Change::Record(event("left"))]);
        assert!(poll_once(&mut commit).await.is_pending());
        drop(commit);
        drop(lease);
        assert!(lock().await.unwrap().is_none());
    };
    while_stopped(&store, asked).await;
    store.instances().await.unwrap();
    assert!(lock().await.unwrap().is_some());
}

#[tokio::test]
async fn one_connection_is_read_without_the_others() {
    let (_folder, store) = store();
    let plans = store.writer.read(|db| {
        let of_name = format!("{} {}", rows::JOURNAL, rows::OF_NAME);
        let statements = [
            &of_name,
            rows::OPEN_ROTATIONS,
            rows::LATEST_ROTATION,
            rows::DUE,
        ];
        let plan = |sql: &str| -> rusqlite::Result<String> {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let ones = rusqlite::params_from_iter(vec![1; statement.parameter_count()]);
            let lines = statement.query_map(ones, |row| row.get::<_, String>("detail"))?;
            lines.collect()
        };
        let plans: rusqlite::Result<Vec<String>> = statements.into_iter().map(plan).collect();
        Ok(plans?)
    });
    for plan in plans.await.unwrap() {
        // What an inner query has found is gone through; no table is.
        let tables = plan.replace("SCAN (subquery", "");
        let searched = tables.contains("SEARCH") && !tables.contains("SCAN");
        assert!(searched, "{plan}");
    }
}

#[tokio::test]
async fn what_is_told_is_found_without_reading_all() {
    let (_folder, store) = store();
    let plans = store.writer.read(|db| {
        let plan = |sql: &str| -> rusqlite::Result<String> {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let count = statement.parameter_count();
            let lines = statement.query_map(rusqlite::params_from_iter(vec![1; count]), |row| {
                row.get::<_, String>("detail")
            })?;
            lines.collect()
        };
        let statements = [notices::NEW_LINES, notices::LOOKS, notices::WAITING];
        let plans: rusqlite::Result<Vec<String>> = statements.into_iter().map(plan).collect();
        Ok(plans?)
    });
    for plan in plans.await.unwrap() {
        let sorted = plan.contains("TEMP B-TREE");
        assert!(
            plan.contains("SEARCH") && !plan.contains("SCAN") && !sorted,
            "{plan}"
        );
    }
}

#[tokio::test]
async fn p8_a_plan_from_before_it_was_kept_when_it_was_made_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keywheel.db");
    SqliteStore::create(&path, Fingerprint([1; 16])).unwrap();
    let old = rusqlite::Connection::open(&path).unwrap();
    old.pragma_update(None, "foreign_keys", false).unwrap();
    let tables: Vec<String> = old
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .and_then(|mut names| names.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    for table in tables {
        old.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    old.execute_batch(include_str!("../schema/0001.sql"))
        .unwrap();
    let declared = "{\"name\": \"crm\", \"tenant_id\": \"6f9619ff-8b86-d011-b42d-00cf4fc964ff\",
                     \"client_id\": \"6f9619ff-8b86-d011-b42d-00cf4fc964fe\"}";
    old.execute(
        "INSERT INTO connection (name, tenant_id, client_id, cloud, anchor, due_at,
                                 next_action_at, record)
         VALUES ('crm', '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
                  '6f9619ff-8b86-d011-b42d-00cf4fc964fe', 'public', '2026-11-20', 5000, 5000, ?1)",
        [declared],
    )
    .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let journal = store.journal(&"crm".parse().unwrap()).await.unwrap();
    assert_eq!(journal.unwrap().planned_at, None);
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    assert!(store.due(at(4), Share::ALL).await.unwrap().is_empty());
    assert_eq!(store.due(at(5), Share::ALL).await.unwrap().len(), 1);
}
