//! A sandbox, a store with one adopted connection, and the binary that works on both.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::connection::Declared;
use keywheel::entra::{Cloud, Entra, KeyId};
use keywheel::journal::{Actor, Journal};
use keywheel::rotation::adopt::Candidate;
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{
    Lag, NewApplication, NewPassword, Options, Owner, Permission, Registered, Replication, Routing,
    Sandbox,
};
use keywheel::settings::Settings;
use keywheel::store::{HistoryFilter, Keys, SqliteStore, Store, master_key};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::process::Command;

/// The connection.
pub const NAME: &str = "app";

/// How often the consumers try to sign in while the binary is at work.
const TICK: Duration = Duration::from_millis(2);

/// No run takes this long.
const TOO_LONG: Duration = Duration::from_secs(60);

/// Who signs in to Graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The application itself.
    Itself,
    /// Another application, which owns it.
    Another,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub identity: Identity,
    /// Whether replicas lag, by some tens of milliseconds.
    pub lag: bool,
    pub overlap: &'static str,
}

/// What the binary works on.
pub struct World {
    folder: TempDir,
    pub sandbox: Sandbox,
    pub application: Registered,
    pub foreign: KeyId,
    /// Of the process that is running, for whoever wants to end it.
    pub pid: Arc<AtomicI32>,
    /// Begins every complaint.
    pub label: String,
}

impl World {
    pub async fn new(shape: Shape, label: String) -> Self {
        let sandbox = Sandbox::start(Options {
            replication: replication(shape.lag),
            ..Options::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let stock = stock(&sandbox, shape.identity, folder.path());
        let text = settings(&sandbox.url(), &stock.identity);
        let config = folder.path().join("keywheel.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        let world = Self {
            folder,
            sandbox,
            application: stock.application,
            foreign: stock.foreign,
            pid: Arc::default(),
            label,
        };
        world.adopt(shape).await;
        // The consumers already use what was adopted.
        let value = world.application.keys[0].value.expose_secret();
        for place in world.consumers() {
            std::fs::write(place, value).unwrap();
        }
        world
    }

    /// The destination, and what the consumer has loaded from it at the last reload.
    pub fn consumers(&self) -> [PathBuf; 2] {
        [self.path("app.secret"), self.path("app.loaded")]
    }

    /// Runs the binary to its end, killed or not; the consumers sign in all the while (P2).
    pub async fn run(&self, arguments: &[&str], crash_at: Option<u64>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
        command
            .env_clear()
            .arg("--config")
            .arg(self.path("keywheel.toml"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(point) = crash_at {
            command.env("KEYWHEEL_CRASH_AT", point.to_string());
        }
        let child = command.spawn().unwrap();
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap();
        self.pid.store(pid, Ordering::SeqCst);
        let ended = tokio::time::timeout(TOO_LONG, child.wait_with_output());
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                output = ended.as_mut() => {
                    self.consumers_sign_in();
                    return output.expect("it hangs").unwrap();
                }
                () = SystemClock.sleep(TICK) => self.consumers_sign_in(),
            }
        }
    }

    /// P2, at this instant.
    pub fn consumers_sign_in(&self) {
        for place in self.consumers() {
            let held = std::fs::read_to_string(&place).unwrap();
            if self.signs_in(&held) {
                continue;
            }
            // Unless it was replaced, and revoked, since it was read.
            let newer = std::fs::read_to_string(&place).unwrap();
            assert!(
                newer != held && self.signs_in(&newer),
                "{}: what {} holds does not sign in",
                self.label,
                place.display()
            );
        }
    }

    fn signs_in(&self, value: &str) -> bool {
        let value = SecretString::from(value);
        let client_id = self.application.client_id;
        self.sandbox.sign_in(client_id, &value).primary
    }

    /// The Key IDs that are truly on the application.
    pub fn keys(&self) -> Vec<KeyId> {
        let keys = self.sandbox.keys(self.application.client_id).into_iter();
        keys.map(|key| key.key_id).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn settings(&self) -> Arc<Settings> {
        Arc::new(Settings::load(&self.path("keywheel.toml")).unwrap())
    }

    /// The store, as a process that has just started opens it.
    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.settings().store_path).unwrap()
    }

    pub async fn journal(&self) -> Journal {
        let name = NAME.parse().unwrap();
        self.store().journal(&name).await.unwrap().unwrap()
    }

    /// What happened, oldest first.
    pub async fn history(&self) -> Vec<keywheel::journal::Event> {
        let filter = HistoryFilter::default();
        self.store().history(filter).await.unwrap()
    }

    /// How often a secret was promoted.
    pub async fn promotions(&self) -> usize {
        let events = self.history().await;
        events.iter().filter(|e| e.action == "promoted").count()
    }

    /// The value that the store holds for the current secret.
    pub async fn current_value(&self) -> String {
        let store = self.store();
        let source = self.settings().master_key.clone();
        let keys = Keys::open(source, &store).await.unwrap();
        let journal = self.journal().await;
        let key_id = journal.current().unwrap().key_id;
        let value = keys.value(&store, journal.id, key_id).await.unwrap();
        value.unwrap().expose_secret().to_owned()
    }

    async fn adopt(&self, shape: Shape) {
        let key = master_key::create(&self.path("master.key")).unwrap();
        let settings = self.settings();
        SqliteStore::create(&settings.store_path, key.fingerprint()).unwrap();
        let engine = engine(settings).await;
        let candidate = Candidate {
            declared: self.declared(shape),
            secret: self.application.keys[0].value.clone(),
            key_id: None,
            next_rotation_at: None,
            rotate_now: false,
            check: true,
            take_over: false,
        };
        engine.adopt(candidate).await.unwrap();
    }

    fn declared(&self, shape: Shape) -> Declared {
        let [file, loaded] = self.consumers();
        let (file, loaded) = (file.display(), loaded.display());
        let identity = match shape.identity {
            Identity::Itself => "self",
            Identity::Another => "rotator",
        };
        let text = format!(
            "name = \"{NAME}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\ncloud = \"lab\"\n\
             identity = \"{identity}\"\noverlap = \"{}\"\n\n\
             [[destination]]\nkind = \"file\"\nname = \"file\"\npath = \"{file}\"\n\
             reload = [\"/bin/sh\", \"-c\", \"cp {file} {loaded}.new && mv {loaded}.new {loaded}\"]\n",
            self.application.tenant_id, self.application.client_id, shape.overlap
        );
        toml::from_str(&text).unwrap()
    }
}

fn replication(lag: bool) -> Replication {
    if !lag {
        return Replication::default();
    }
    let some = Lag::LogNormal {
        median: Duration::from_millis(8),
        p95: Duration::from_millis(30),
        longest: Duration::from_millis(40),
    };
    Replication {
        count: 3,
        reads: some.clone(),
        tokens: some,
        routing: Routing::Random,
    }
}

/// What the directory holds at first.
struct Stock {
    application: Registered,
    foreign: KeyId,
    /// The `[[identity]]` that may rotate the application, where it is another one.
    identity: String,
}

fn stock(sandbox: &Sandbox, identity: Identity, folder: &Path) -> Stock {
    let tenant = sandbox.add_tenant("Contoso");
    let end = SystemClock.now() + TimeDelta::days(60);
    let (application, identity) = match identity {
        Identity::Itself => {
            let new = NewApplication::rotating_itself(tenant, NAME, end);
            (sandbox.add_application(new), String::new())
        }
        Identity::Another => {
            let rotator = sandbox.add_application(NewApplication {
                permission: Permission::ReadWriteOwnedBy,
                passwords: vec![NewPassword::until(end)],
                ..NewApplication::new(tenant, "rotator")
            });
            let application = sandbox.add_application(NewApplication {
                owners: vec![Owner::ServicePrincipal(rotator.service_principal_id)],
                passwords: vec![NewPassword::until(end)],
                ..NewApplication::new(tenant, NAME)
            });
            let secret = folder.join("rotator.secret");
            std::fs::write(&secret, rotator.keys[0].value.expose_secret()).unwrap();
            std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
            (application, identity_block(&rotator))
        }
    };
    let foreign = NewPassword {
        display_name: Some("by hand".into()),
        ..NewPassword::until(end)
    };
    let foreign = sandbox.add_key(application.client_id, foreign).unwrap();
    Stock {
        application,
        foreign: foreign.key_id,
        identity,
    }
}

fn identity_block(rotator: &Registered) -> String {
    format!(
        "[[identity]]\nname = \"rotator\"\nkind = \"client-secret\"\ntenant_id = \"{}\"\n\
         client_id = \"{}\"\nsecret_file = \"rotator.secret\"\ncloud = \"lab\"\n",
        rotator.tenant_id, rotator.client_id
    )
}

fn settings(url: &str, identity: &str) -> String {
    format!(
        "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
         [verification]\nsuccesses = 2\nspacing = \"0s\"\n\n\
         [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"60ms\"\n\n{identity}"
    )
}

async fn engine(settings: Arc<Settings>) -> Engine {
    let store = Arc::new(SqliteStore::open(&settings.store_path).unwrap());
    let keys = Keys::open(settings.master_key.clone(), &*store)
        .await
        .unwrap();
    let clouds = settings
        .clouds
        .iter()
        .map(|spec| Cloud::new(&spec.name, &spec.login, &spec.graph, None).unwrap())
        .collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Engine {
        keys: Arc::new(keys),
        entra: Entra::new(clouds, Duration::from_secs(5), clock.clone()),
        clock,
        settings,
        instances: store.instances().await.unwrap(),
        store,
        actor: Actor {
            user: "tester".into(),
            sudo_user: None,
            host: "lab".into(),
        },
        observer: Arc::new(Unobserved),
        tokens: Tokens::default(),
        stopping: Stopping::default(),
    }
}
