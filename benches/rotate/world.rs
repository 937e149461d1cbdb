//! A sandbox, and a store with connections that are adopted and due for their first rotation.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::entra::{Cloud, Entra, TenantId};
use keywheel::journal::Actor;
use keywheel::rotation::adopt::Candidate;
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{NewApplication, Options, Registered, Sandbox};
use keywheel::settings::Settings;
use keywheel::store::{Keys, SqliteStore, Store, master_key};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::child::{self, Run};

/// So many are adopted at once.
const AT_ONCE: usize = 50;

/// What a measurement needs. The store is closed: the program finds it as it would any day.
pub struct World {
    pub sandbox: Sandbox,
    folder: TempDir,
    runtime: Runtime,
}

impl World {
    /// Connections named `app-<tenant>-<n>`.
    pub fn new(tenants: usize, per_tenant: usize) -> Self {
        // One thread for the sandbox, beside those of the program.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        // On a disk, as `target` is: a folder in memory would make every commit free.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let sandbox = runtime
            .block_on(Sandbox::start(Options::default()))
            .expect("a sandbox");
        let world = Self {
            sandbox,
            folder,
            runtime,
        };
        let adopted = world.adopt_all(tenants, per_tenant);
        world.runtime.block_on(adopted);
        world.sandbox.forget_calls();
        world
    }

    /// Runs `keywheel rotate` to its end.
    pub fn rotate(&self, arguments: &[&str]) -> Run {
        child::run(&self.command(arguments))
    }

    /// `keywheel rotate`, and what it is asked.
    pub fn command(&self, arguments: &[&str]) -> Vec<String> {
        let config = self.config().display().to_string();
        let program = env!("CARGO_BIN_EXE_keywheel");
        [program, "--config", &config, "-o", "json", "rotate"]
            .iter()
            .chain(arguments)
            .map(ToString::to_string)
            .collect()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("keywheel.toml")
    }

    async fn adopt_all(&self, tenants: usize, per_tenant: usize) {
        let engine = Arc::new(self.engine().await);
        let mut adopting = JoinSet::new();
        for tenant in 0..tenants {
            let tenant_id = self.sandbox.add_tenant(&format!("tenant-{tenant}"));
            for n in 0..per_tenant {
                let candidate = self.candidate(tenant_id, &format!("app-{tenant}-{n}"));
                let engine = engine.clone();
                adopting.spawn(async move { engine.adopt(candidate).await });
                if adopting.len() == AT_ONCE
                    && let Some(adopted) = adopting.join_next().await
                {
                    adopted.expect("no panic").expect("it is adopted");
                }
            }
        }
        for adopted in adopting.join_all().await {
            adopted.expect("it is adopted");
        }
    }

    /// The settings and the store are made on the way.
    async fn engine(&self) -> Engine {
        let settings = Arc::new(self.settings());
        let key = self.folder.path().join("master.key");
        let key = master_key::create(&key).expect("a key");
        SqliteStore::create(&settings.store_path, key.fingerprint()).expect("a store");
        let store = Arc::new(SqliteStore::open(&settings.store_path).expect("the store"));
        let keys = Keys::open(settings.master_key.clone(), &*store).await;
        let url = self.sandbox.url();
        let lab = Cloud::new("lab", &url, &url, None).expect("a cloud");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Engine {
            keys: Arc::new(keys.expect("the key")),
            entra: Entra::new(vec![lab], Duration::from_secs(30), clock.clone()),
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

    fn settings(&self) -> Settings {
        let url = self.sandbox.url();
        let text = format!(
            "[verification]\nsuccesses = 1\nspacing = \"0s\"\n\n\
             [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"0s\"\n\n\
             [[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n"
        );
        std::fs::write(self.config(), text).expect("a file of settings");
        std::fs::set_permissions(self.config(), PermissionsExt::from_mode(0o640))
            .expect("a mode that keeps others out");
        std::fs::create_dir(self.folder.path().join("secrets")).expect("a folder for the secrets");
        Settings::load(&self.config()).expect("settings")
    }

    fn candidate(&self, tenant: TenantId, name: &str) -> Candidate {
        let end = SystemClock.now() + TimeDelta::days(60);
        let application = NewApplication::rotating_itself(tenant, name, end);
        let application = self.sandbox.add_application(application);
        Candidate {
            declared: toml::from_str(&self.declared(&application, name)).expect("a connection"),
            secret: application.keys[0].value.clone(),
            key_id: None,
            next_rotation_at: None,
            rotate_now: false,
            check: true,
            take_over: false,
        }
    }

    fn declared(&self, application: &Registered, name: &str) -> String {
        let file = self.folder.path().join("secrets").join(name);
        format!(
            "name = \"{name}\"\ncloud = \"lab\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\n\n\
             [[destination]]\nkind = \"file\"\nname = \"file\"\npath = {file:?}\n",
            application.tenant_id, application.client_id
        )
    }
}
