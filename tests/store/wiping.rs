//! Where values are, and where they are not.

use std::fs;
use std::path::Path;

use keywheel::journal::Role;
use keywheel::store::{Change, Sealed, Store};

use crate::fixture::{Bench, at, key, secret};

const CANARY: &str = "Xy~8Q-canary.canary_canary=+&%$'\"\\ value";

/// The files below `folder` that hold `bytes`.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|window| window == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

async fn sealed(bench: &Bench, id: keywheel::journal::ConnectionId, n: u128) -> Option<Sealed> {
    bench.store.sealed(id, key(n)).await.unwrap()
}

#[tokio::test]
async fn p6_i1_a_value_is_in_no_file_of_the_state_folder() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, CANARY).await;
    let lease = bench.lease(id, 1).await;
    let keep = bench.keep(id, secret(2, Role::Pending), CANARY);
    bench.store.commit(&lease, vec![keep]).await.unwrap();
    assert!(bench.path().join("state/keywheel.db-wal").exists());
    assert_eq!(holding(bench.path(), CANARY.as_bytes()), [""; 0]);
    // The search does find what is there.
    let stored = sealed(&bench, id, 2).await.unwrap();
    assert_eq!(holding(bench.path(), &stored.bytes).len(), 1);
    let bench = bench.reopened();
    assert_eq!(holding(bench.path(), CANARY.as_bytes()), [""; 0]);
}

#[tokio::test]
async fn p6_a_wiped_value_leaves_nothing_behind() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, CANARY).await;
    let lease = bench.lease(id, 1).await;
    let stored = sealed(&bench, id, 1).await.unwrap();
    let gone = vec![Change::Gone(key(1))];
    bench.store.commit(&lease, gone).await.unwrap();
    assert_eq!(sealed(&bench, id, 1).await, None);
    let bench = bench.reopened();
    // The row that is written in its place covers some of it, and must not be all that does.
    for part in stored.bytes.windows(8) {
        assert_eq!(holding(bench.path(), part), [""; 0]);
    }
    assert!(bench.journal("crm").await.secrets.is_empty());
}

#[tokio::test]
async fn values_of_removed_connections_are_purged_and_their_key_ids_stay() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, CANARY).await;
    bench.adopt("erp", 2, CANARY).await;
    let stored = sealed(&bench, id, 1).await.unwrap();
    let lease = bench.lease(id, 1).await;
    let remove = vec![Change::Remove(Some(at(10)))];
    bench.store.commit(&lease, remove).await.unwrap();
    assert_eq!(bench.store.purge_removed(at(10)).await.unwrap(), 0);
    assert!(sealed(&bench, id, 1).await.is_some());
    assert_eq!(bench.store.purge_removed(at(11)).await.unwrap(), 1);
    assert_eq!(sealed(&bench, id, 1).await, None);
    assert_eq!(bench.journal("crm").await.secrets[0].key_id, key(1));
    // At once, the write-ahead log included.
    assert_eq!(holding(bench.path(), &stored.bytes), [""; 0]);
    let other = bench.journal("erp").await.id;
    assert!(sealed(&bench, other, 2).await.is_some());
}

#[tokio::test]
async fn a_secret_that_is_listed_again_is_ours_again() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    let doomed = secret(1, Role::Doomed);
    let changes = vec![Change::Gone(key(1)), Change::Secret(doomed.clone())];
    bench.store.commit(&lease, changes).await.unwrap();
    assert_eq!(bench.journal("crm").await.secrets, [doomed]);
    assert_eq!(sealed(&bench, id, 1).await, None);
}
