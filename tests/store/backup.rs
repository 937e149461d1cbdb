//! Backups: whole, sealed, and the way back from them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keywheel::settings::MasterKeySource;
use keywheel::store::{
    Change, Fingerprint, HistoryFilter, KeyFault, Keys, SqliteStore, Store, StoreFault, master_key,
};
use secrecy::ExposeSecret;

use crate::fixture::{Bench, event, key_path, store_path};

/// Fits whatever the backup has.
fn any(_: Fingerprint) -> Result<(), StoreFault> {
    Ok(())
}

fn backed_up(bench: &Bench) -> PathBuf {
    let file = bench.path().join("backup");
    SqliteStore::backup(&store_path(bench.path()), &file).unwrap();
    file
}

fn restored(backup: &Path, folder: &Path) -> Result<SqliteStore, StoreFault> {
    let path = store_path(folder);
    SqliteStore::restore(backup, &path, &event("restored", None), any)?;
    SqliteStore::open(&path)
}

#[tokio::test]
async fn d5_a_restored_store_is_a_new_instance_and_every_connection_is_paused() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "the value").await;
    bench.adopt("erp", 2, "another").await;
    let former = bench.store.instances().await.unwrap();
    let backup = backed_up(&bench);
    // What happens later is not in it.
    bench.adopt("late", 3, "v").await;

    let elsewhere = tempfile::tempdir().unwrap();
    let store = restored(&backup, elsewhere.path()).unwrap();
    let instances = store.instances().await.unwrap();
    assert_eq!(instances[1..], former, "former keys are still ours");
    assert_ne!(instances[0], former[0]);
    let journals = store.journals().await.unwrap();
    assert_eq!(journals.len(), 2);
    for journal in &journals {
        assert!(journal.paused && journal.next_action_at.is_none());
    }
    assert!(
        store
            .due(crate::fixture::at(1_000_000), keywheel::store::Share::ALL)
            .await
            .unwrap()
            .is_empty()
    );
    let source = MasterKeySource::File(key_path(bench.path()));
    let keys = Keys::open(source, &store).await.unwrap();
    let key_id = journals[0].secrets[0].key_id;
    let value = keys.value(&store, id, key_id).await.unwrap().unwrap();
    assert_eq!(value.expose_secret(), "the value");
    let history = store.history(HistoryFilter::default()).await.unwrap();
    assert_eq!(history.last().unwrap().action, "restored");
    let chain = store.follow_history(None).await.unwrap();
    assert_eq!((chain.broken, chain.lines), (None, 3));
}

#[tokio::test]
async fn p6_a_backup_is_private_sealed_and_without_the_key() {
    let bench = Bench::new();
    let value = "xyz8Q~a-very-telling-value";
    bench.adopt("crm", 1, value).await;
    let key = fs::read(key_path(bench.path())).unwrap();
    let file = backed_up(&bench);
    let bytes = fs::read(&file).unwrap();
    assert_eq!(
        file.metadata().unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|it| it == needle);
    assert!(holds(b"crm"), "the search finds what is there");
    assert!(!holds(value.as_bytes()) && !holds(key.trim_ascii()));
    // Nothing is left beside it.
    let beside = fs::read_dir(bench.path()).unwrap().count();
    assert_eq!(beside, 3, "state, master.key, backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_store_under_load_is_of_one_moment() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    let (path, folder) = (store_path(bench.path()), bench.path().to_owned());
    let backups = tokio::task::spawn_blocking(move || {
        let copies = (0..10).map(|n| folder.join(format!("backup-{n}")));
        copies
            .inspect(|file| assert!(SqliteStore::backup(&path, file).unwrap() > 0))
            .collect::<Vec<_>>()
    });
    let mut written = 0_u32;
    while !backups.is_finished() {
        written += 1;
        // Both or neither: an odd line without its secret would be half a moment.
        let mut secret =
            crate::fixture::secret(100 + u128::from(written), keywheel::journal::Role::Previous);
        secret.generation = written;
        let changes = vec![
            bench.keep(id, secret, "w"),
            Change::Record(event("minted", Some("crm"))),
        ];
        bench.store.commit(&lease, changes).await.unwrap();
    }
    assert!(written > 10, "{written} commits were made meanwhile");
    let mut before = 0;
    for file in backups.await.unwrap() {
        let elsewhere = tempfile::tempdir().unwrap();
        let store = restored(&file, elsewhere.path()).unwrap();
        let secrets = store.journals().await.unwrap()[0].secrets.len();
        let chain = store.follow_history(None).await.unwrap();
        assert_eq!(chain.broken, None);
        // The lines are: adopted, one for each secret but the first, restored.
        assert_eq!(chain.lines as usize, secrets + 1);
        assert!(secrets >= before);
        before = secrets;
    }
}

#[tokio::test]
async fn d6_what_is_no_whole_backup_is_refused_and_nothing_is_made() {
    let bench = Bench::new();
    bench.adopt("crm", 1, "v").await;
    let whole = fs::read(backed_up(&bench)).unwrap();
    let file = bench.path().join("damaged");
    let mut torn = whole.clone();
    torn[whole.len() / 2..].fill(0xff);
    for bytes in [&whole[..whole.len() / 2], &torn, b"", b"no database at all"] {
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let fault = restored(&file, elsewhere.path()).unwrap_err();
        assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");
        assert!(fault.to_string().contains("/damaged"), "{fault}");
        let left = fs::read_dir(elsewhere.path().join("state"))
            .unwrap()
            .count();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn d4_a_backup_of_another_master_key_is_refused_and_nothing_is_made() {
    let bench = Bench::new();
    let file = backed_up(&bench);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = key_path(elsewhere.path());
    master_key::create(&other).unwrap();
    let path = store_path(elsewhere.path());
    let refused = SqliteStore::restore(&file, &path, &event("restored", None), |fingerprint| {
        let source = MasterKeySource::File(other);
        let loaded = Keys::load(source.clone(), fingerprint).map(drop);
        loaded.map_err(|fault| KeyFault::master_key(fault, &source, Some(fingerprint)))
    });
    let fault = refused.unwrap_err().to_string();
    assert!(fault.contains("another store"), "{fault}");
    assert_eq!(
        fs::read_dir(elsewhere.path().join("state"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn nothing_is_written_over() {
    let bench = Bench::new();
    let file = backed_up(&bench);
    let taken = SqliteStore::backup(&store_path(bench.path()), &file).unwrap_err();
    assert!(matches!(taken, StoreFault::Exists { .. }), "{taken}");
    let taken = restored(&file, bench.path()).unwrap_err();
    assert!(matches!(taken, StoreFault::Exists { .. }), "{taken}");

    // The log of a store that was moved away would be played into the new one.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("state")).unwrap();
    fs::write(elsewhere.path().join("state/keywheel.db-wal"), b"").unwrap();
    let taken = restored(&file, elsewhere.path()).unwrap_err();
    assert!(taken.to_string().contains("-wal"), "{taken}");
}
