//! D: the disk is full or fails, the master key is the wrong one, the database is damaged.

use keywheel::store::Share;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel::clock::VirtualClock;
use keywheel::connection::{ConnectionName, Declared};
use keywheel::entra::{ClientId, KeyId, TenantId};
use keywheel::journal::{
    AttemptName, ConnectionId, Event, InstanceId, Journal, Reconciliation, Rotation,
};
use keywheel::rotation::AdvanceFault;
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{Action, Fault, Kind, Registered, Stage};
use keywheel::settings::Settings;
use keywheel::store::master_key::change;
use keywheel::store::notices::{Attempted, Noted, Noteworthy, Outbox};
use keywheel::store::{
    Adoption, Attempt, ChainHash, Change, Due, Fingerprint, HistoryChain, HistoryFilter, Keys,
    Lease, MasterKeyLease, Sealed, ServiceLease, SqliteStore, Store, StoreFault, master_key,
};

use crate::world::{PATIENT, World, write_settings};

/// A store whose commits fail for a while.
#[derive(Debug)]
pub struct FailingStore {
    inner: Arc<SqliteStore>,
    /// So many commits go well first,
    spare: AtomicU32,
    /// then so many fail.
    fail: AtomicU32,
    /// At each failure this clock is set forward by so much.
    jump: OnceLock<(Arc<VirtualClock>, Duration)>,
}

impl FailingStore {
    /// Puts one between the engine and its store.
    pub fn around(world: &mut World) -> Arc<Self> {
        let failing = Arc::new(Self {
            inner: world.store.clone(),
            spare: AtomicU32::new(0),
            fail: AtomicU32::new(0),
            jump: OnceLock::new(),
        });
        world.engine.store = failing.clone();
        failing
    }

    pub fn fail_for(&self, commits: u32) {
        self.fail.store(commits, Ordering::SeqCst);
    }

    pub fn fail_for_ever(&self) {
        self.fail_for(u32::MAX);
    }

    /// Only the `n`-th commit from now on fails, counted from 1.
    fn fail_at(&self, n: u32) {
        self.spare.store(n - 1, Ordering::SeqCst);
        self.fail_for(1);
    }

    fn refuse(&self) -> Result<(), StoreFault> {
        let down = |n: u32| n.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.spare.fetch_update(order, order, down).is_ok()
            || self.fail.fetch_update(order, order, down).is_err()
        {
            return Ok(());
        }
        if let Some((clock, by)) = self.jump.get() {
            clock.advance(*by);
        }
        Err(StoreFault::Io {
            detail: "no space left on device".into(),
        })
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn instances(&self) -> Result<Vec<InstanceId>, StoreFault> {
        self.inner.instances().await
    }
    async fn fingerprint(&self) -> Result<Fingerprint, StoreFault> {
        self.inner.fingerprint().await
    }
    async fn journal(&self, name: &ConnectionName) -> Result<Option<Journal>, StoreFault> {
        self.inner.journal(name).await
    }
    async fn journals(&self) -> Result<Vec<Journal>, StoreFault> {
        self.inner.journals().await
    }
    async fn declarations(&self) -> Result<Vec<(ConnectionId, Declared)>, StoreFault> {
        self.inner.declarations().await
    }
    async fn journals_after(
        &self,
        after: Option<&ConnectionName>,
        at_most: usize,
    ) -> Result<Vec<Journal>, StoreFault> {
        self.inner.journals_after(after, at_most).await
    }
    async fn latest_rotation(&self, id: ConnectionId) -> Result<Option<Rotation>, StoreFault> {
        self.inner.latest_rotation(id).await
    }
    async fn due(&self, now: DateTime<Utc>, at_most: Share) -> Result<Vec<Due>, StoreFault> {
        self.inner.due(now, at_most).await
    }
    async fn follow_history(&self, noted: Option<ChainHash>) -> Result<HistoryChain, StoreFault> {
        self.inner.follow_history(noted).await
    }
    async fn history_head(&self) -> Result<ChainHash, StoreFault> {
        self.inner.history_head().await
    }
    async fn unreconciled(
        &self,
        before: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Vec<ConnectionName>, StoreFault> {
        self.inner.unreconciled(before, at_most).await
    }
    async fn reconciliation(&self, id: ConnectionId) -> Result<Option<Reconciliation>, StoreFault> {
        self.inner.reconciliation(id).await
    }
    async fn next_action_at(&self) -> Result<Option<DateTime<Utc>>, StoreFault> {
        self.inner.next_action_at().await
    }
    async fn count(&self) -> Result<usize, StoreFault> {
        self.inner.count().await
    }
    async fn try_lock_service(&self) -> Result<Option<ServiceLease>, StoreFault> {
        self.inner.try_lock_service().await
    }
    async fn try_lock(
        &self,
        id: ConnectionId,
        application: (TenantId, ClientId),
    ) -> Result<Option<Lease>, StoreFault> {
        self.inner.try_lock(id, application).await
    }
    async fn try_lock_master_key(&self) -> Result<Option<MasterKeyLease>, StoreFault> {
        self.inner.try_lock_master_key().await
    }
    async fn commit(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreFault> {
        self.refuse()?;
        self.inner.commit(lease, changes).await
    }
    async fn adopt(
        &self,
        adoption: Adoption,
        seal: Box<dyn FnOnce(ConnectionId) -> Sealed + Send>,
    ) -> Result<ConnectionId, StoreFault> {
        self.refuse()?;
        self.inner.adopt(adoption, seal).await
    }
    async fn sealed(&self, id: ConnectionId, key: KeyId) -> Result<Option<Sealed>, StoreFault> {
        self.inner.sealed(id, key).await
    }
    async fn record(&self, event: Event) -> Result<(), StoreFault> {
        self.refuse()?;
        self.inner.record(event).await
    }
    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Event>, StoreFault> {
        self.inner.history(filter).await
    }
    async fn attempt(&self, name: AttemptName) -> Result<Option<Attempt>, StoreFault> {
        self.inner.attempt(name).await
    }
    async fn purge_removed(&self, before: DateTime<Utc>) -> Result<usize, StoreFault> {
        self.inner.purge_removed(before).await
    }
    async fn reseal(
        &self,
        to: Fingerprint,
        reseal: Box<dyn for<'a> FnMut(ConnectionId, KeyId, &'a Sealed) -> Option<Sealed> + Send>,
    ) -> Result<usize, StoreFault> {
        self.inner.reseal(to, reseal).await
    }
    async fn watch(&self, on: bool) -> Result<(), StoreFault> {
        self.inner.watch(on).await
    }
    async fn noteworthy(&self, now: DateTime<Utc>, n: usize) -> Result<Noteworthy, StoreFault> {
        self.inner.noteworthy(now, n).await
    }
    async fn note(&self, noted: Noted) -> Result<(), StoreFault> {
        self.refuse()?;
        self.inner.note(noted).await
    }
    async fn outbox(
        &self,
        channel: &str,
        now: DateTime<Utc>,
        at_most: usize,
    ) -> Result<Outbox, StoreFault> {
        self.inner.outbox(channel, now, at_most).await
    }
    async fn attempted(&self, channel: &str, attempted: Attempted) -> Result<(), StoreFault> {
        self.refuse()?;
        self.inner.attempted(channel, attempted).await
    }
}

/// A connection whose store fails for so many commits once a password has been added.
async fn full_after_the_add(commits: u32) -> (World, Registered, Arc<FailingStore>) {
    let mut world = World::new().await;
    let application = world.adopted().await;
    let failing = FailingStore::around(&mut world);
    let armed = failing.clone();
    world.sandbox.on_call(move |stage, call| {
        if stage == Stage::AfterEffect && call.kind == Kind::AddPassword {
            armed.fail_for(commits);
        }
        std::future::ready(())
    });
    (world, application, failing)
}

async fn rotate(world: &World) -> Result<(), AdvanceFault> {
    let order = Order::rotate(None, false, PATIENT);
    let name = "app".parse().unwrap();
    world.engine.advance(&name, order).await.map(drop)
}

fn added(world: &World, application: &Registered) -> usize {
    let calls = world
        .sandbox
        .calls_of(Kind::AddPassword, application.client_id);
    calls.len()
}

/// Only the current and the previous secret are left, and the consumer has the current one.
async fn converged(world: &World, application: &Registered) {
    let current = world.current("app").await;
    let journal = world.journal("app").await;
    let mut ours: Vec<KeyId> = journal.secrets.iter().map(|s| s.key_id).collect();
    let mut listed = world.keys(application);
    ours.sort();
    listed.sort();
    assert_eq!(listed, ours, "no orphan");
    assert_eq!(listed.len(), 2);
    assert!(world.holds(application, &world.file("app"), current));
}

#[tokio::test]
async fn d1_a_disk_that_is_full_for_a_while_costs_nothing_but_time() {
    let (world, application, _) = full_after_the_add(59).await;
    let before = world.sandbox.calls().len();
    rotate(&world).await.unwrap();
    assert_eq!(added(&world, &application), 1, "P4");
    assert!(world.sandbox.calls().len() > before);
    converged(&world, &application).await;
}

#[tokio::test]
async fn d1_p1_a_clock_that_is_set_meanwhile_shortens_no_minute() {
    let (world, application, failing) = full_after_the_add(60).await;
    let hour = Duration::from_secs(3_600);
    failing.jump.set((world.clock.clone(), hour)).unwrap();
    rotate(&world).await.unwrap();
    assert_eq!(
        added(&world, &application),
        1,
        "it was committed in the end"
    );
    converged(&world, &application).await;
}

#[tokio::test]
async fn d1_a_disk_that_stays_full_costs_the_new_secret_alone() {
    let (world, application, failing) = full_after_the_add(u32::MAX).await;
    let old = world.current("app").await;
    let fault = rotate(&world).await.unwrap_err();
    let AdvanceFault::NotKept { removed, .. } = fault else {
        panic!("{fault}");
    };
    assert_eq!(removed, "removed again");
    assert_eq!(
        world.keys(&application),
        [old],
        "P1: abandoned by its Key ID"
    );
    let calls = world.sandbox.calls();
    let at = |kind| calls.iter().find(|call| call.kind == kind).unwrap().at;
    let tried = at(Kind::RemovePassword) - at(Kind::AddPassword);
    assert!(tried >= TimeDelta::seconds(60), "P1: {tried}");
    failing.fail_for(0);
    world.sandbox.on_call(|_, _| std::future::ready(()));
    world.due("app").await;
    assert_eq!(added(&world, &application), 2);
    converged(&world, &application).await;
}

#[tokio::test]
async fn d1_what_can_be_neither_kept_nor_removed_is_found_by_its_name() {
    let (world, application, failing) = full_after_the_add(u32::MAX).await;
    let dead = Fault::on(Kind::RemovePassword, Action::HangUp);
    world.sandbox.inject(dead);
    let fault = rotate(&world).await.unwrap_err();
    assert!(fault.to_string().contains("the next run"), "{fault}");
    assert_eq!(world.keys(&application).len(), 2);
    failing.fail_for(0);
    world.sandbox.on_call(|_, _| std::future::ready(()));
    world.due("app").await;
    assert!(world.actions().await.contains(&"orphan-found".to_owned()));
    converged(&world, &application).await;
}

#[tokio::test]
async fn d1_whichever_commit_fails_the_next_run_converges() {
    for n in 1..=14 {
        let mut world = World::new().await;
        let application = world.adopted().await;
        let failing = FailingStore::around(&mut world);
        failing.fail_at(n);
        let first = rotate(&world).await;
        failing.fail_for(0);
        if first.is_err() && world.journal("app").await.rotations.is_empty() {
            rotate(&world).await.unwrap();
        }
        world.due("app").await;
        converged(&world, &application).await;
        assert_eq!(added(&world, &application), 1, "commit {n}");
    }
}

#[tokio::test]
async fn d1_whichever_commit_of_a_revocation_fails_the_next_run_converges() {
    for n in 1..=8 {
        let mut world = World::new().await;
        let application = world.adopted().await;
        world.rotate("app").await;
        let failing = FailingStore::around(&mut world);
        world
            .clock
            .advance(std::time::Duration::from_secs(7 * 86_400));
        failing.fail_at(n);
        let order = Order {
            patience: PATIENT,
            ..Order::DUE
        };
        let name = "app".parse().unwrap();
        drop(world.engine.advance(&name, order).await);
        failing.fail_for(0);
        world.due("app").await;
        assert_eq!(world.state("app").await, "completed", "commit {n}");
        assert_eq!(world.keys(&application), [world.current("app").await]);
    }
}

#[tokio::test]
async fn d4_with_the_wrong_or_a_missing_master_key_nothing_is_called() {
    let world = World::new().await;
    world.adopted().await;
    world.sandbox.forget_calls();
    let source = world.engine.settings.master_key.clone();
    let path = world.folder.path().join("master.key");
    std::fs::remove_file(&path).unwrap();
    assert!(Keys::open(source.clone(), &*world.store).await.is_err());
    master_key::create(&path).unwrap();
    assert!(Keys::open(source, &*world.store).await.is_err());
    assert!(world.sandbox.calls().is_empty());
}

#[tokio::test]
async fn d4_the_master_key_may_be_changed_at_any_call_of_a_rotation() {
    for kind in [Kind::Token, Kind::GetApplication, Kind::AddPassword] {
        let mut world = World::new().await;
        let application = world.adopted().await;
        let path = world.folder.path().join("master.key");
        let store = Arc::new(SqliteStore::open(&world.engine.settings.store_path).unwrap());
        world.sandbox.on_call(move |stage, call| {
            let (path, store) = (path.clone(), store.clone());
            async move {
                if stage == Stage::AfterEffect && call.kind == kind {
                    change::change(&*store, &path).await.unwrap();
                }
            }
        });
        rotate(&world).await.unwrap();
        world.sandbox.on_call(|_, _| std::future::ready(()));
        assert_eq!(added(&world, &application), 1, "{kind:?}");
        converged(&world, &application).await;
        world.restart().await;
        let journal = world.journal("app").await;
        for secret in &journal.secrets {
            let value = world.engine.value(&journal, secret.key_id).await.unwrap();
            assert!(value.is_some(), "{kind:?}: everything still opens");
        }
    }
}

#[tokio::test]
async fn d6_a_damaged_or_newer_database_is_refused_and_left_as_it_is() {
    let mut world = World::new().await;
    world.adopted().await;
    let path = world.engine.settings.store_path.clone();
    let other = world.folder.path().join("other.db");
    let known = set_schema(&path, 999);
    let newer = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(newer, StoreFault::Newer { .. }), "{newer}");
    set_schema(&path, known);
    world.restart().await;
    assert_eq!(world.store.journals().await.unwrap().len(), 1);
    let garbage = [0x5a; 8192];
    std::fs::write(&other, garbage).unwrap();
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let damaged = SqliteStore::open(&other).unwrap_err();
    assert!(matches!(damaged, StoreFault::Damaged { .. }), "{damaged}");
    assert_eq!(std::fs::read(&other).unwrap(), garbage);
}

/// What it was before.
fn set_schema(path: &std::path::Path, version: i64) -> i64 {
    let db = rusqlite::Connection::open(path).unwrap();
    let before = db.pragma_query_value(None, "user_version", |row| row.get(0));
    db.pragma_update(None, "user_version", version).unwrap();
    before.unwrap()
}

#[test]
fn d6_damaged_settings_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keywheel.toml");
    write_settings(&path, "[store]\npath = \"keywheel.db\n");
    let refused = Settings::load(&path).unwrap_err().to_string();
    assert!(refused.contains("keywheel.toml:2:"), "{refused}");
}
