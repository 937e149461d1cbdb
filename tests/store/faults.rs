//! A store that is missing, damaged, newer, open to others, or on a full disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keywheel::store::{HistoryFilter, SqliteStore, Store, StoreFault};

use crate::fixture::{Bench, child, event, folder_of_child, store_path};

fn opening(folder: &Path) -> StoreFault {
    SqliteStore::open(&store_path(folder)).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn d6_a_missing_store_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let fault = opening(folder.path());
    assert!(matches!(fault, StoreFault::Missing { .. }), "{fault}");
    assert!(fault.to_string().contains("keywheel init"), "{fault}");
    assert!(!store_path(folder.path()).exists());
}

#[tokio::test]
async fn a_store_is_not_made_over_another() {
    let bench = Bench::new();
    bench.adopt("crm", 1, "v").await;
    let fingerprint = bench.keys.current().fingerprint();
    let fault = SqliteStore::create(&store_path(bench.path()), fingerprint).unwrap_err();
    assert!(matches!(fault, StoreFault::Exists { .. }), "{fault}");
    assert_eq!(bench.reopened().journal("crm").await.secrets.len(), 1);
}

#[test]
fn a_store_half_made_by_a_killed_init_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_path(folder.path());
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(path.with_extension("db.draft"), "half").unwrap();
    fs::write(path.with_extension("db.draft-wal"), "half").unwrap();
    SqliteStore::create(&path, keywheel::store::Fingerprint([1; 16])).unwrap();
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn d6_a_damaged_store_is_said_and_left_alone() {
    let bench = Bench::new();
    bench.adopt("crm", 1, "v").await;
    let folder = bench.folder;
    drop(bench.store);
    let path = store_path(folder.path());
    let whole = fs::read(&path).unwrap();
    let half_page = whole[..5_000].to_vec();
    for damaged in [Vec::new(), b"no database at all".repeat(500), half_page] {
        fs::write(&path, &damaged).unwrap();
        let fault = match SqliteStore::open(&path) {
            Err(fault) => fault,
            Ok(store) => store.journals().await.unwrap_err(),
        };
        assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    fs::write(&path, &whole).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.journals().await.unwrap().len(), 1);
}

#[test]
fn d6_another_programs_database_and_a_newer_one_are_refused() {
    let bench = Bench::new();
    drop(bench.store);
    let path = store_path(bench.folder.path());
    let set = |pragma, value: i64| {
        let database = rusqlite::Connection::open(&path).unwrap();
        database.pragma_update(None, pragma, value).unwrap();
    };
    set("user_version", 99);
    let fault = opening(bench.folder.path());
    assert!(
        matches!(fault, StoreFault::Newer { found: 99, .. }),
        "{fault}"
    );
    set("application_id", 1);
    let fault = opening(bench.folder.path());
    assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");
}

#[tokio::test]
async fn p6_a_store_that_others_can_read_is_refused() {
    let bench = Bench::new();
    bench.adopt("crm", 1, "v").await;
    let id = bench.journal("crm").await.id;
    let _lease = bench.lease(id, 1).await;
    let state = bench.path().join("state");
    assert_eq!((mode(&state), mode(&state.join("locks"))), (0o700, 0o700));
    let files = ["keywheel.db", "keywheel.db-wal", "keywheel.db-shm"];
    for file in files.map(|file| state.join(file)) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for lock in fs::read_dir(state.join("locks")).unwrap() {
        assert_eq!(mode(&lock.unwrap().path()), 0o600);
    }
    let path = store_path(bench.path());
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let fault = opening(bench.path());
    assert!(matches!(fault, StoreFault::Exposed { mode: 0o640, .. }));
    let remedy = format!("chmod 0600 {}", path.display());
    assert!(fault.to_string().contains(&remedy), "{fault}");
}

/// The kernel refuses to let the files grow: what a full disk looks like to SQLite.
#[tokio::test]
async fn d1_after_a_failed_write_everything_acknowledged_is_there() {
    let bench = Bench::new();
    let limited = child("faults::child_fills_the_disk", bench.path());
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh"])
        .arg(limited.get_program())
        .args(limited.get_args())
        .env(crate::fixture::FOLDER, bench.path())
        .status()
        .unwrap();
    assert!(status.success());
    let bench = bench.reopened();
    let event = event("after", None);
    bench.store.record(event.clone()).await.unwrap();
    let all = bench.store.history(HistoryFilter::default()).await.unwrap();
    assert!(all.len() > 2);
    assert_eq!(all.last(), Some(&event));
}

#[tokio::test]
#[ignore = "run by d1_after_a_failed_write_everything_acknowledged_is_there"]
async fn child_fills_the_disk() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = SqliteStore::open(&store_path(&folder)).unwrap();
    let mut acknowledged = 0;
    let fault = loop {
        let mut event = event("filling", None);
        event.result = "x".repeat(8_000);
        match store.record(event).await {
            Ok(()) => acknowledged += 1,
            Err(fault) => break fault,
        }
        assert!(acknowledged < 1_000, "the limit does not hold");
    };
    assert!(matches!(fault, StoreFault::Io { .. }), "{fault}");
    let all = store.history(HistoryFilter::default()).await.unwrap();
    assert_eq!(all.len(), acknowledged);
}
