//! The master key: its sources, its refusals, and its change.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use keywheel::journal::Role;
use keywheel::settings::MasterKeySource;
use keywheel::store::master_key::change::{self, ChangeFault};
use keywheel::store::master_key::{self, MasterKeyFault};
use keywheel::store::{Keys, SqliteStore, Store, StoreFault};
use secrecy::ExposeSecret;

use crate::fixture::{Bench, child, folder_of_child, key, key_path, secret, store_path};

/// Every value opens, by a process that has just started and finished what was begun.
async fn everything_opens(folder: &Path) {
    let store = SqliteStore::open(&store_path(folder)).unwrap();
    let source = MasterKeySource::File(key_path(folder));
    let keys = Keys::open(source.clone(), &store).await.unwrap();
    for (journal, value) in store.journals().await.unwrap().iter().zip(["v1", "v2"]) {
        let key_id = journal.secrets[0].key_id;
        let opened = keys.value(&store, journal.id, key_id).await.unwrap();
        assert_eq!(opened.unwrap().expose_secret(), value);
    }
    assert!(!folder.join("master.key.new").exists());
    let alone = master_key::load_any(&source).unwrap();
    assert_eq!(alone.fingerprint(), store.fingerprint().await.unwrap());
}

async fn two_connections() -> Bench {
    let bench = Bench::new();
    bench.adopt("a", 1, "v1").await;
    bench.adopt("b", 2, "v2").await;
    bench
}

#[tokio::test]
async fn d4_the_master_key_is_changed() {
    let bench = two_connections().await;
    let before = bench.store.fingerprint().await.unwrap();
    let path = key_path(bench.path());
    assert_eq!(change::change(&bench.store, &path).await.unwrap(), 2);
    assert_ne!(bench.store.fingerprint().await.unwrap(), before);
    everything_opens(bench.path()).await;
}

#[tokio::test]
async fn d4_killed_at_each_step_of_a_change_everything_still_opens() {
    let mut kills = 0;
    loop {
        let bench = two_connections().await;
        let status = child("master_key::child_changes_the_master_key", bench.path())
            .env("KEYWHEEL_CRASH_AT", (kills + 1).to_string())
            .status()
            .unwrap();
        everything_opens(bench.path()).await;
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "a failure of the child's own");
        kills += 1;
        // And it can be changed as if nothing had been.
        let path = key_path(bench.path());
        change::change(&bench.store, &path).await.unwrap();
        everything_opens(bench.path()).await;
    }
    assert!(kills >= 6, "ended only {kills} times");
}

#[tokio::test]
#[ignore = "run by d4_killed_at_each_step_of_a_change_everything_still_opens"]
async fn child_changes_the_master_key() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = SqliteStore::open(&store_path(&folder)).unwrap();
    change::change(&store, &key_path(&folder)).await.unwrap();
}

#[tokio::test]
async fn d4_before_a_killed_change_is_finished_both_ends_of_it_open() {
    let bench = two_connections().await;
    let status = child("master_key::child_changes_the_master_key", bench.path())
        .env("KEYWHEEL_CRASH_AT", "4")
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9));
    assert!(bench.path().join("master.key.new").exists());
    // Re-sealed, and not yet moved: whoever may only read finds the new one.
    let fingerprint = bench.store.fingerprint().await.unwrap();
    assert_ne!(fingerprint, bench.keys.current().fingerprint());
    let loaded = master_key::load(&bench.source(), fingerprint).unwrap();
    assert_eq!(loaded.fingerprint(), fingerprint);
}

#[tokio::test]
async fn d4_a_running_daemon_follows_a_change() {
    let daemon = two_connections().await;
    let id = daemon.journal("a").await.id;
    let lease = daemon.lease(id, 1).await;
    let sealed_before = daemon.keep(id, secret(9, Role::Pending), "new");
    let other_process = SqliteStore::open(&store_path(daemon.path())).unwrap();
    let path = key_path(daemon.path());
    change::change(&other_process, &path).await.unwrap();

    let commit = |change| daemon.store.commit(&lease, vec![change]);
    let fault = commit(sealed_before).await.unwrap_err();
    assert_eq!(fault, StoreFault::Resealed);
    let value = daemon.keys.value(&daemon.store, id, key(1)).await;
    assert_eq!(value.unwrap().unwrap().expose_secret(), "v1");
    daemon.keys.reload(&daemon.store).await.unwrap();
    let sealed_again = daemon.keep(id, secret(9, Role::Pending), "new");
    commit(sealed_again).await.unwrap();
}

#[tokio::test]
async fn d4_an_unfinished_change_is_left_to_whoever_is_at_it() {
    let bench = two_connections().await;
    let _at_it = bench.store.try_lock_master_key().await.unwrap().unwrap();
    let new = bench.path().join("master.key.new");
    master_key::create(&new).unwrap();
    let path = key_path(bench.path());
    let fault = change::change(&bench.store, &path).await.unwrap_err();
    assert_eq!(fault, ChangeFault::Busy);
    Keys::open(bench.source(), &bench.store).await.unwrap();
    assert!(new.exists());
}

#[tokio::test]
async fn d4_with_the_wrong_key_nothing_opens_and_nothing_is_dropped() {
    let bench = two_connections().await;
    let (path, new) = (key_path(bench.path()), bench.path().join("master.key.new"));
    std::fs::remove_file(&path).unwrap();
    for place in [&path, &new] {
        master_key::create(place).unwrap();
    }
    let before = (std::fs::read(&path).unwrap(), std::fs::read(&new).unwrap());
    let fault = Keys::open(bench.source(), &bench.store).await.unwrap_err();
    assert!(fault.to_string().contains("another store"), "{fault}");
    assert!(change::change(&bench.store, &path).await.is_err());
    let after = (std::fs::read(&path).unwrap(), std::fs::read(&new).unwrap());
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_value_that_does_not_open_stops_the_whole_change() {
    let bench = two_connections().await;
    let before = bench.store.fingerprint().await.unwrap();
    let database = rusqlite::Connection::open(store_path(bench.path())).unwrap();
    let forge = "UPDATE secret SET value = zeroblob(40) WHERE connection = 2";
    assert_eq!(database.execute(forge, []).unwrap(), 1);
    let path = key_path(bench.path());
    let fault = change::change(&bench.store, &path).await.unwrap_err();
    assert!(
        matches!(fault, ChangeFault::Store(StoreFault::Unopened { key_id }) if key_id == key(2)),
        "{fault}"
    );
    assert_eq!(bench.store.fingerprint().await.unwrap(), before);
    let id = bench.journal("a").await.id;
    let value = bench.keys.value(&bench.store, id, key(1)).await.unwrap();
    assert_eq!(value.unwrap().expose_secret(), "v1");
}

#[tokio::test]
async fn p6_a_swapped_row_does_not_open() {
    let bench = two_connections().await;
    let database = rusqlite::Connection::open(store_path(bench.path())).unwrap();
    let swap = "UPDATE secret SET value = (SELECT value FROM secret WHERE connection = 2)
                WHERE connection = 1";
    assert_eq!(database.execute(swap, []).unwrap(), 1);
    let id = bench.journal("a").await.id;
    let opened = bench.keys.value(&bench.store, id, key(1)).await;
    assert!(opened.is_err());
}

#[test]
fn the_key_comes_from_a_systemd_credential_or_the_environment() {
    let bench = Bench::new();
    let text = std::fs::read_to_string(key_path(bench.path())).unwrap();
    let status = child("master_key::child_loads_the_key", bench.path())
        .env("CREDENTIALS_DIRECTORY", bench.path())
        .env("KEYWHEEL_TEST_KEY", text.trim())
        .env("KEYWHEEL_TEST_SHORT", "c2hvcnQ=")
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
#[ignore = "run by the_key_comes_from_a_systemd_credential_or_the_environment"]
async fn child_loads_the_key() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = SqliteStore::open(&store_path(&folder)).unwrap();
    let fingerprint = store.fingerprint().await.unwrap();
    let env = |name: &str| master_key::load(&MasterKeySource::Env(name.into()), fingerprint);
    let credential =
        |name: &str| master_key::load(&MasterKeySource::Credential(name.into()), fingerprint);
    env("KEYWHEEL_TEST_KEY").unwrap();
    credential("master.key").unwrap();
    assert!(matches!(
        env("KEYWHEEL_TEST_NOT_THERE").unwrap_err(),
        MasterKeyFault::Missing { .. }
    ));
    assert!(matches!(
        env("KEYWHEEL_TEST_SHORT").unwrap_err(),
        MasterKeyFault::Malformed { .. }
    ));
    for outside in [
        "other",
        "../master.key",
        "state/../master.key",
        "/etc/passwd",
    ] {
        let fault = credential(outside).unwrap_err();
        assert!(matches!(fault, MasterKeyFault::Missing { .. }), "{outside}");
    }
}
