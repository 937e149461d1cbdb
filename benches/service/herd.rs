//! Ten thousand due in the same second, over fifty tenants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use keywheel::clock::{Clock, SystemClock};
use keywheel::connection::Declared;
use keywheel::entra::{Cloud, Entra};
use keywheel::journal::Actor;
use keywheel::rotation::adopt::Candidate;
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{Kind, NewApplication, Options, Sandbox};
use keywheel::settings::Settings;
use keywheel::store::{Keys, SqliteStore, Store};
use tokio::task::JoinSet;

use crate::stock::Stock;
use crate::{memory, row, serve};

/// Between the last adoption and the second in which all are due.
const LEAD: TimeDelta = TimeDelta::seconds(5);

/// Measures how soon the first begins, how fast all are done, and that none is lost.
pub fn measure(tenants: usize, per_tenant: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let count = tenants * per_tenant;
    println!("\n{count} connections due in the same second, over {tenants} tenants");
    runtime.block_on(async {
        let sandbox = Sandbox::start(Options {
            call_log: 10 * count,
            ..Options::default()
        })
        .await
        .expect("a sandbox");
        let stock = Stock::bare("listen = \"off\"");
        let due_at = adopt_all(&sandbox, &stock, tenants, per_tenant).await;
        sandbox.forget_calls();
        let mut service = serve(&stock);
        let wait = (due_at - Utc::now()).to_std().unwrap_or_default();
        SystemClock.sleep(wait).await;
        let begun = Instant::now();
        while !added(&sandbox, 1) {
            SystemClock.sleep(Duration::from_millis(2)).await;
        }
        row(
            "the first secret is added after",
            begun.elapsed().as_secs_f64() * 1000.0,
            "ms",
            "1000",
        );
        while !all_done(&stock, count) {
            SystemClock.sleep(Duration::from_millis(200)).await;
        }
        let took = begun.elapsed().as_secs_f64();
        row("all are in their overlap after", took, "s", "");
        row("  rotations a second", count as f64 / took, "", "");
        row("memory meanwhile", memory(service.id()), "MiB", "");
        let calls = sandbox.calls();
        let adds = calls
            .iter()
            .filter(|call| call.kind == Kind::AddPassword)
            .count();
        assert_eq!(adds, count, "each was rotated once");
        service.kill().expect("it ends");
        service.wait().expect("it has ended");
        reconcile(&sandbox, &stock, count).await;
    });
}

/// What comparing all of them with Entra costs, eight at a time as the service does.
async fn reconcile(sandbox: &Sandbox, stock: &Stock, count: usize) {
    sandbox.forget_calls();
    grow_older(stock);
    let engine = Arc::new(engine(stock).await);
    let before = Utc::now() + TimeDelta::days(1);
    let names = engine
        .store
        .unreconciled(before, count)
        .await
        .expect("their names");
    let begun = Instant::now();
    let mut names = names.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < 8
            && let Some(name) = names.next()
        {
            let engine = Arc::clone(&engine);
            running.spawn(async move { engine.reconcile(&name).await.expect("it is compared") });
        }
        if running.join_next().await.is_none() {
            break;
        }
    }
    println!("\nreconciling {count} connections that sign in as themselves");
    row("calls", sandbox.calls().len() as f64, "", "");
    row("time", begun.elapsed().as_secs_f64(), "s", "");
}

/// Secrets that were made a moment ago are not compared yet.
fn grow_older(stock: &Stock) {
    let database = rusqlite::Connection::open(stock.store()).expect("the store");
    let made_at = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    database
        .execute(
            "UPDATE secret SET record = json_set(record, '$.starts_at', ?1)",
            [made_at],
        )
        .expect("they are older");
}

fn added(sandbox: &Sandbox, count: usize) -> bool {
    let calls = sandbox.calls();
    calls
        .iter()
        .filter(|call| call.kind == Kind::AddPassword)
        .count()
        >= count
}

fn all_done(stock: &Stock, count: usize) -> bool {
    let database = rusqlite::Connection::open(stock.store()).expect("the store");
    let done: i64 = database
        .query_row(
            "SELECT count(*) FROM rotation WHERE state = 'overlapping'",
            [],
            |row| row.get(0),
        )
        .expect("a number");
    done == count as i64
}

async fn adopt_all(
    sandbox: &Sandbox,
    stock: &Stock,
    tenants: usize,
    per_tenant: usize,
) -> chrono::DateTime<Utc> {
    let url = sandbox.url();
    let text = format!(
        "[verification]\nsuccesses = 1\nspacing = \"0s\"\n\n\
         [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"0s\"\n\n\
         [[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
         [service]\nlisten = \"off\"\n"
    );
    std::fs::write(stock.config(), text).expect("the settings");
    std::fs::create_dir(stock.path("secrets")).expect("a folder");
    let engine = Arc::new(engine(stock).await);
    let mut adopting = JoinSet::new();
    for tenant in 0..tenants {
        let tenant_id = sandbox.add_tenant(&format!("tenant-{tenant}"));
        for n in 0..per_tenant {
            let name = format!("app-{tenant}-{n}");
            let end = Utc::now() + TimeDelta::days(60);
            let new = NewApplication::rotating_itself(tenant_id, &name, end);
            let application = sandbox.add_application(new);
            let text = format!(
                "name = \"{name}\"\ntenant_id = \"{tenant_id}\"\nclient_id = \"{}\"\n\
                 cloud = \"lab\"\npull = true\n",
                application.client_id
            );
            let declared: Declared = toml::from_str(&text).expect("a declaration");
            let candidate = Candidate {
                declared,
                secret: application.keys[0].value.clone(),
                key_id: None,
                next_rotation_at: None,
                rotate_now: false,
                take_over: false,
                check: true,
            };
            let engine = Arc::clone(&engine);
            adopting.spawn(async move { engine.adopt(candidate).await.expect("it is adopted") });
            if adopting.len() == 50 {
                adopting.join_next().await;
            }
        }
    }
    adopting.join_all().await;
    let due_at = Utc::now() + LEAD;
    let database = rusqlite::Connection::open(stock.store()).expect("the store");
    let at = due_at.timestamp_millis() / 1000 * 1000;
    database
        .execute(
            "UPDATE connection SET due_at = ?1, next_action_at = ?1",
            [at],
        )
        .expect("all are due then");
    chrono::DateTime::from_timestamp_millis(at).expect("a time")
}

async fn engine(stock: &Stock) -> Engine {
    let settings = Arc::new(Settings::load(&stock.config()).expect("the settings"));
    let store = Arc::new(SqliteStore::open(&settings.store_path).expect("the store"));
    let keys = Keys::open(settings.master_key.clone(), &*store).await;
    let clouds = settings
        .clouds
        .iter()
        .map(|it| Cloud::new(&it.name, &it.login, &it.graph, None).expect("a cloud"))
        .collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Engine {
        keys: Arc::new(keys.expect("the key")),
        entra: Entra::new(clouds, Duration::from_secs(30), clock.clone()),
        instances: store.instances().await.expect("an instance"),
        store,
        clock,
        settings,
        actor: Actor {
            user: "bench".to_owned(),
            sudo_user: None,
            host: "bench".to_owned(),
        },
        observer: Arc::new(Unobserved),
        tokens: Tokens::default(),
        stopping: Stopping::default(),
    }
}
