//! The locks between processes.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use keywheel::store::{Change, SqliteStore, Store, StoreFault};

use crate::fixture::{Bench, application, child, folder_of_child, store_path};

#[tokio::test]
async fn g2_a_lock_is_free_at_once_when_its_holder_is_killed() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let mut holder = child("locks::child_holds_a_lock", bench.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));
    let lock = || bench.store.try_lock(id, application(1));
    assert!(lock().await.unwrap().is_none());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(lock().await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "run by g2_a_lock_is_free_at_once_when_its_holder_is_killed"]
#[expect(clippy::print_stdout, reason = "how a child tells its parent")]
async fn child_holds_a_lock() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = SqliteStore::open(&store_path(&folder)).unwrap();
    let id = store.journals().await.unwrap()[0].id;
    let lease = store.try_lock(id, application(1)).await.unwrap();
    assert!(lease.is_some());
    println!("held");
    let _ = std::io::stdin().read(&mut [0]);
}

#[tokio::test]
async fn p5_whoever_comes_through_a_link_finds_the_same_locks() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let _lease = bench.lease(id, 1).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("keywheel.db");
    std::os::unix::fs::symlink(store_path(bench.path()), &link).unwrap();
    let other = SqliteStore::open(&link).unwrap();
    assert!(other.try_lock(id, application(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn p5_a_commit_under_a_lost_lock_is_refused() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    std::fs::remove_dir_all(bench.path().join("state/locks")).unwrap();
    let fault = bench.store.commit(&lease, vec![Change::Pause(true)]);
    assert_eq!(fault.await.unwrap_err(), StoreFault::Stale);
    assert!(!bench.journal("crm").await.paused);
}
