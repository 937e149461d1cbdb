//! A sandbox, a store and an engine on one virtual clock: a rotation over real HTTP, in
//! milliseconds, whatever it waits for.

use keywheel::store::Share;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::clock::{Clock, VirtualClock};
use keywheel::connection::{ConnectionName, Declared};
use keywheel::entra::{Cloud, Entra, KeyId, TenantId};
use keywheel::journal::{Actor, Event, Journal, Role, Rotation};
use keywheel::rotation::adopt::{AdoptFault, Adopted, Candidate};
use keywheel::rotation::advance::{Engine, Order, Stop, Tokens};
use keywheel::rotation::observe::{Moment, Observer};
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{Key, Kind, NewApplication, Options, Registered, Sandbox, SignIn, Stage};
use keywheel::settings::Settings;
use keywheel::store::{Change, HistoryFilter, Keys, SqliteStore, Store, master_key};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

/// Long enough for every wait that a test wants to be sat through.
pub const PATIENT: Duration = Duration::from_secs(30 * 86_400);

/// When every test begins: a Tuesday.
pub fn start() -> DateTime<Utc> {
    "2026-03-03T09:00:00Z".parse().unwrap()
}

/// Collects what a rotation tells.
#[derive(Debug, Default)]
pub struct Heard(pub Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, connection: &ConnectionName, moment: &Moment<'_>) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{connection}: {moment:?}"));
    }
}

/// Everything that a test needs, on one clock.
pub struct World {
    pub folder: TempDir,
    pub clock: Arc<VirtualClock>,
    pub sandbox: Sandbox,
    pub tenant: TenantId,
    pub store: Arc<SqliteStore>,
    pub engine: Engine,
    pub heard: Arc<Heard>,
}

/// Settings, as others can't read them.
pub fn write_settings(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
}

/// The settings of the tests; a line of `more` may add tables.
fn settings_text(url: &str, more: &str) -> String {
    format!(
        "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
         [verification]\nsuccesses = 3\n\n{more}\n"
    )
}

impl World {
    /// Without lag.
    pub async fn new() -> Self {
        Self::with(|_| {}, "").await
    }

    /// With other options of the sandbox, and further tables of the settings.
    pub async fn with(options: impl FnOnce(&mut Options), more: &str) -> Self {
        let clock = Arc::new(VirtualClock::new(start()));
        let mut sandbox_options = Options {
            clock: clock.clone(),
            seed: 7,
            ..Options::default()
        };
        options(&mut sandbox_options);
        let sandbox = Sandbox::start(sandbox_options).await.unwrap();
        let tenant = sandbox.add_tenant("Contoso");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("keywheel.toml");
        write_settings(&config, &settings_text(&sandbox.url(), more));
        let settings = Arc::new(Settings::load(&config).unwrap());
        let key = master_key::create(&folder.path().join("master.key")).unwrap();
        SqliteStore::create(&settings.store_path, key.fingerprint()).unwrap();
        let heard = Arc::new(Heard::default());
        let (store, engine) = engine(&settings, &clock, &heard).await;
        Self {
            folder,
            clock,
            sandbox,
            tenant,
            store,
            engine,
            heard,
        }
    }

    /// The process ends and starts anew: only what was committed is left.
    pub async fn restart(&mut self) {
        let settings = self.engine.settings.clone();
        let (store, engine) = engine(&settings, &self.clock, &self.heard).await;
        self.store = store;
        self.engine = engine;
    }

    /// Another process on the same store.
    pub async fn another_engine(&self) -> Engine {
        let (_, other) = engine(&self.engine.settings, &self.clock, &self.heard).await;
        other
    }

    /// Another store, with settings and a master key of its own, for the same applications.
    pub async fn another_instance(&self) -> Engine {
        let folder = self.folder.path().join("another");
        std::fs::create_dir(&folder).unwrap();
        let config = folder.join("keywheel.toml");
        write_settings(&config, &settings_text(&self.sandbox.url(), ""));
        let settings = Arc::new(Settings::load(&config).unwrap());
        let key = master_key::create(&folder.join("master.key")).unwrap();
        SqliteStore::create(&settings.store_path, key.fingerprint()).unwrap();
        let (_, other) = engine(&settings, &self.clock, &self.heard).await;
        other
    }

    /// Writes to the journal, as a command does.
    pub async fn commit(&self, name: &str, changes: Vec<Change>) {
        let journal = self.journal(name).await;
        let application = (journal.declared.tenant_id, journal.declared.client_id);
        let lease = self.store.try_lock(journal.id, application).await.unwrap();
        self.store.commit(&lease.unwrap(), changes).await.unwrap();
    }

    /// The connection is declared otherwise, as `connection edit` does.
    pub async fn edit(&self, name: &str, edit: impl FnOnce(&mut Declared)) {
        let mut declared = self.journal(name).await.declared;
        edit(&mut declared);
        self.commit(name, vec![Change::Declare(declared)]).await;
    }

    /// So many days later, what is due then.
    pub async fn days_later(&self, days: u64) -> Stop {
        self.clock.advance(Duration::from_secs(days * 86_400));
        self.due("app").await
    }

    /// Other further tables of the settings; the process starts anew.
    pub async fn configure(&mut self, more: &str) {
        let config = self.folder.path().join("keywheel.toml");
        write_settings(&config, &settings_text(&self.sandbox.url(), more));
        let settings = Arc::new(Settings::load(&config).unwrap());
        let (store, engine) = engine(&settings, &self.clock, &self.heard).await;
        self.store = store;
        self.engine = engine;
    }

    /// The process dies at the first such call: nothing of it is left but what was committed.
    pub async fn die_at(&mut self, name: &str, order: Order, kind: Kind, at: Stage) {
        let here = Arc::new(tokio::sync::Notify::new());
        let reached = here.clone();
        self.sandbox.on_call(move |stage, call| {
            let here = here.clone();
            async move {
                if stage == at && call.kind == kind {
                    here.notify_one();
                    std::future::pending::<()>().await;
                }
            }
        });
        tokio::select! {
            () = reached.notified() => {}
            stop = self.advance(name, order) => panic!("it never came to {kind:?}: {stop:?}"),
        }
        self.sandbox.on_call(|_, _| async {});
        self.restart().await;
    }

    /// As the service does it for that long: a pass whenever the store says that one is due, else
    /// when the next action comes. `check` is called after each; how many there were is returned.
    pub async fn serve(&self, name: &str, days: i64, mut check: impl AsyncFnMut(&Self)) -> usize {
        let end = self.clock.now() + TimeDelta::days(days);
        let connection: ConnectionName = name.parse().unwrap();
        for pass in 0..1_000 {
            let now = self.clock.now();
            let due = self.store.due(now, Share::ALL).await.unwrap();
            if !due.iter().any(|due| due.name == connection) {
                let next = self.journal(name).await.next_action_at;
                let Some(at) = next.filter(|at| *at <= end) else {
                    self.clock.set(end);
                    return pass;
                };
                self.clock.set(at.max(now));
            }
            self.advance(name, Order::DUE).await;
            check(self).await;
        }
        panic!(
            "a thousand passes in {days} days: {:?}",
            self.journal(name).await
        );
    }

    /// Secrets on an application whose value nobody holds, `foreign` ones aside.
    pub async fn orphans(&self, name: &str, app: &Registered, foreign: &[KeyId]) -> Vec<KeyId> {
        let journal = self.journal(name).await;
        let held = |key_id: &KeyId| {
            journal
                .secret(*key_id)
                .is_some_and(|s| s.role != Role::Doomed)
        };
        let mut keys = self.keys(app);
        keys.retain(|key_id| !held(key_id) && !foreign.contains(key_id));
        keys
    }

    /// The calls of a kind about an application so far.
    pub fn count(&self, kind: Kind, application: &Registered) -> usize {
        self.sandbox.calls_of(kind, application.client_id).len()
    }

    /// The code of the last failure of the newest rotation.
    pub async fn last_code(&self, name: &str) -> Option<String> {
        self.rotation(name)
            .await
            .retry
            .last
            .map(|failure| failure.code)
    }

    /// An application that rotates itself, with a secret of 60 days.
    pub fn application(&self, name: &str) -> Registered {
        let end = self.clock.now() + TimeDelta::days(60);
        self.sandbox
            .add_application(NewApplication::rotating_itself(self.tenant, name, end))
    }

    /// A connection of this application, as a user would declare it; `more` are further lines.
    pub fn declared(&self, name: &str, application: &Registered, more: &str) -> Declared {
        let text = format!(
            "name = \"{name}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\ncloud = \"lab\"\n{more}\n",
            application.tenant_id, application.client_id
        );
        toml::from_str(&text).unwrap()
    }

    /// What `connection add` is given.
    pub fn candidate(&self, declared: Declared, application: &Registered) -> Candidate {
        Candidate {
            declared,
            secret: application.keys[0].value.clone(),
            key_id: None,
            next_rotation_at: None,
            rotate_now: false,
            check: true,
            take_over: false,
        }
    }

    /// Adopts the first secret of an application.
    pub async fn adopt(
        &self,
        name: &str,
        application: &Registered,
        more: &str,
    ) -> Result<Adopted, AdoptFault> {
        let declared = self.declared(name, application, more);
        self.engine
            .adopt(self.candidate(declared, application))
            .await
    }

    /// An application named `app`, adopted, delivering to [`World::file`].
    pub async fn adopted(&self) -> Registered {
        let application = self.application("app");
        let more = self.to_file("app");
        self.adopt("app", &application, &more).await.unwrap();
        application
    }

    /// The lines that declare a file as destination.
    pub fn to_file(&self, name: &str) -> String {
        format!(
            "[[destination]]\nkind = \"file\"\nname = \"{name}\"\npath = \"{}\"\n",
            self.file(name).display()
        )
    }

    /// Where [`World::to_file`] delivers to.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.secret"))
    }

    /// A rotation by hand that sits through every wait but overlaps.
    pub async fn rotate(&self, name: &str) -> Stop {
        self.advance(name, Order::rotate(None, false, PATIENT))
            .await
    }

    /// A rotation by hand that sits through no wait.
    pub async fn rotate_once(&self, name: &str) -> Stop {
        self.advance(name, Order::rotate(None, false, Duration::ZERO))
            .await
    }

    /// What is due, sitting through every wait but overlaps and due times.
    pub async fn due(&self, name: &str) -> Stop {
        let order = Order {
            patience: PATIENT,
            ..Order::DUE
        };
        self.advance(name, order).await
    }

    /// One pass of `advance`.
    pub async fn advance(&self, name: &str, order: Order) -> Stop {
        self.engine
            .advance(&name.parse().unwrap(), order)
            .await
            .unwrap()
    }

    /// The journal of a connection.
    pub async fn journal(&self, name: &str) -> Journal {
        self.engine.journal(&name.parse().unwrap()).await.unwrap()
    }

    /// The newest rotation, ended or not.
    pub async fn rotation(&self, name: &str) -> Rotation {
        let id = self.journal(name).await.id;
        self.store.latest_rotation(id).await.unwrap().unwrap()
    }

    /// The state of the newest rotation.
    pub async fn state(&self, name: &str) -> &'static str {
        self.rotation(name).await.state.name()
    }

    /// The Key ID of the current secret.
    pub async fn current(&self, name: &str) -> KeyId {
        self.journal(name).await.current().unwrap().key_id
    }

    /// The secrets that are truly on the application.
    pub fn keys(&self, application: &Registered) -> Vec<KeyId> {
        self.sandbox
            .keys(application.client_id)
            .iter()
            .map(|key| key.key_id)
            .collect()
    }

    /// One of them.
    pub fn key(&self, application: &Registered, key_id: KeyId) -> Key {
        let keys = self.sandbox.keys(application.client_id);
        keys.into_iter().find(|key| key.key_id == key_id).unwrap()
    }

    /// Whether what a file holds could sign in right now.
    pub fn signs_in(&self, application: &Registered, file: &Path) -> SignIn {
        let value = std::fs::read_to_string(file).unwrap();
        self.sandbox
            .sign_in(application.client_id, &SecretString::from(value))
    }

    /// Whether a file holds the value of this key.
    pub fn holds(&self, application: &Registered, file: &Path, key_id: KeyId) -> bool {
        let value = std::fs::read_to_string(file).unwrap_or_default();
        self.key(application, key_id).value.expose_secret() == value
    }

    /// Whether nothing was adopted.
    pub async fn store_is_empty(&self) -> bool {
        self.store.journals().await.unwrap().is_empty()
    }

    /// What happened, by action.
    pub async fn actions(&self) -> Vec<String> {
        self.events()
            .await
            .into_iter()
            .map(|event| event.action)
            .collect()
    }

    /// What happened.
    pub async fn events(&self) -> Vec<Event> {
        self.store.history(HistoryFilter::default()).await.unwrap()
    }
}

async fn engine(
    settings: &Arc<Settings>,
    clock: &Arc<VirtualClock>,
    heard: &Arc<Heard>,
) -> (Arc<SqliteStore>, Engine) {
    let store = Arc::new(SqliteStore::open(&settings.store_path).unwrap());
    let keys = Keys::open(settings.master_key.clone(), &*store)
        .await
        .unwrap();
    let clouds = settings
        .clouds
        .iter()
        .map(|spec| Cloud::new(&spec.name, &spec.login, &spec.graph, None).unwrap())
        .collect();
    let clock: Arc<dyn Clock> = clock.clone();
    let engine = Engine {
        store: store.clone(),
        keys: Arc::new(keys),
        entra: Entra::new(clouds, Duration::from_secs(5), clock.clone()),
        clock,
        settings: settings.clone(),
        instances: store.instances().await.unwrap(),
        actor: Actor {
            user: "tester".into(),
            sudo_user: None,
            host: "lab".into(),
        },
        observer: heard.clone(),
        tokens: Tokens::default(),
        stopping: Stopping::default(),
    };
    (store, engine)
}
