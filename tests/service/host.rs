//! The real binary as a service: a sandbox and connections on the host's own clock.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::connection::Declared;
use keywheel::entra::{Cloud, Entra, TenantId};
use keywheel::journal::{Actor, Journal, Role};
use keywheel::rotation::adopt::Candidate;
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{NewApplication, Options, Registered, Sandbox};
use keywheel::settings::Settings;
use keywheel::store::{Change, Keys, SqliteStore, Store, master_key};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Nothing takes this long; less than the time that a service has to end.
const TOO_LONG: Duration = Duration::from_secs(30);

const TICK: Duration = Duration::from_millis(10);

pub struct Host {
    pub folder: TempDir,
    pub sandbox: Sandbox,
    pub tenant: TenantId,
    pub engine: Engine,
    pub kept: Vec<(String, Registered)>,
    notified: UnixDatagram,
}

/// A service that runs; it is killed where a test forgets it.
pub struct Running {
    pub child: Child,
    log: PathBuf,
}

impl Host {
    /// With `count` connections, each due as soon as a service looks.
    pub async fn new(count: usize) -> Self {
        Self::with(count, "listen = \"off\"").await
    }

    /// The same, with these lines under `[service]`.
    pub async fn with(count: usize, service: &str) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let tenant = sandbox.add_tenant("Contoso");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("keywheel.toml");
        std::fs::write(&config, settings(&sandbox.url(), service)).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        let key = master_key::create(&folder.path().join("master.key")).unwrap();
        let settings = Arc::new(Settings::load(&config).unwrap());
        SqliteStore::create(&settings.store_path, key.fingerprint()).unwrap();
        let notified = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notified.set_nonblocking(true).unwrap();
        let mut host = Self {
            engine: engine(settings).await,
            folder,
            sandbox,
            tenant,
            kept: Vec::new(),
            notified,
        };
        for n in 0..count {
            host.adopt(&format!("app-{n}")).await;
        }
        host
    }

    async fn adopt(&mut self, name: &str) {
        let now = SystemClock.now();
        let new = NewApplication::rotating_itself(self.tenant, name, now + TimeDelta::days(60));
        let application = self.sandbox.add_application(new);
        let text = format!(
            "name = \"{name}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\ncloud = \"lab\"\n\
             [[destination]]\nkind = \"file\"\nname = \"file\"\npath = \"{}\"\n",
            application.tenant_id,
            application.client_id,
            self.path(name).display()
        );
        let declared: Declared = toml::from_str(&text).unwrap();
        let candidate = Candidate {
            declared,
            secret: application.keys[0].value.clone(),
            key_id: None,
            next_rotation_at: Some(now),
            rotate_now: false,
            take_over: false,
            check: true,
        };
        self.engine.adopt(candidate).await.unwrap();
        self.kept.push((name.to_owned(), application));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins `keywheel run` as systemd would, with these further variables.
    pub fn serve(&self, variables: &[(&str, &str)]) -> Running {
        let log = self.path("service.log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .env_clear()
            .env("NOTIFY_SOCKET", self.path("notify"))
            .envs(variables.iter().copied())
            .arg("run")
            .arg("--config")
            .arg(self.path("keywheel.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Running { child, log }
    }

    /// The standard output of a command that ends well.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .env_clear()
            .arg("--config")
            .arg(self.path("keywheel.toml"))
            .args(arguments)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What systemd has been told since the last time it was asked.
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.notified.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            told.extend(text.lines().map(str::to_owned));
        }
        told
    }

    /// Waits until systemd is told something that begins like this, and returns all of it.
    pub async fn until_told(&self, begin: &str) -> Vec<String> {
        let mut told = Vec::new();
        until(async || {
            told.extend(self.told());
            told.iter().any(|line| line.starts_with(begin))
        })
        .await;
        told
    }

    pub async fn journal(&self, name: &str) -> Journal {
        self.engine.journal(&name.parse().unwrap()).await.unwrap()
    }

    /// The connection is declared otherwise, behind the back of every check.
    pub async fn edit(&self, name: &str, edit: impl FnOnce(&mut Declared)) {
        let journal = self.journal(name).await;
        let mut declared = journal.declared.clone();
        edit(&mut declared);
        let application = (declared.tenant_id, declared.client_id);
        let mut lease = None;
        until(async || {
            let locked = self.engine.store.try_lock(journal.id, application).await;
            lease = locked.unwrap();
            lease.is_some()
        })
        .await;
        let changes = vec![Change::Declare(declared)];
        let lease = lease.unwrap();
        self.engine.store.commit(&lease, changes).await.unwrap();
    }

    /// How many connections have not been rotated and delivered yet.
    pub async fn open(&self) -> usize {
        let journals = self.engine.store.journals().await.unwrap();
        let open = journals.iter().filter(|journal| {
            let generation = journal.current().map_or(0, |secret| secret.generation);
            generation < 2 || journal.deliveries.iter().any(|it| it.holds < 2)
        });
        open.count()
    }

    /// Waits until every connection has been rotated once, and only waits for its overlap.
    pub async fn until_rotated(&self) {
        until(async || self.open().await == 0).await;
    }

    /// P2, P4: what the files hold signs in, and Entra has the keys that the journal knows, no more.
    pub async fn assert_whole(&self) {
        for (name, application) in &self.kept {
            let value = std::fs::read_to_string(self.path(name)).unwrap();
            let value = SecretString::from(value);
            let held = self.sandbox.sign_in(application.client_id, &value);
            assert!(held.primary, "P2: {name}");
            let journal = self.journal(name).await;
            let known: BTreeSet<_> = journal
                .secrets
                .iter()
                .filter(|secret| secret.role != Role::Doomed)
                .map(|secret| secret.key_id)
                .collect();
            let there = self.sandbox.keys(application.client_id);
            let there: BTreeSet<_> = there.iter().map(|key| key.key_id).collect();
            assert_eq!(known, there, "P4: {name}");
        }
    }
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        kill_process(pid.and_then(Pid::from_raw).unwrap(), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = tokio::time::timeout(TOO_LONG, self.child.wait()).await;
        status.expect("it does not end").unwrap().code()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log has this.
    pub async fn until_logged(&self, text: &str) {
        until(async || self.log().contains(text)).await;
    }
}

/// Waits until `so`, and fails where that takes too long.
pub async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !so().await {
            SystemClock.sleep(TICK).await;
        }
    };
    let waited = tokio::time::timeout(TOO_LONG, waited).await;
    waited.expect("what is waited for does not come about");
}

fn settings(url: &str, service: &str) -> String {
    format!(
        "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
         [verification]\nsuccesses = 2\nspacing = \"0s\"\n\n\
         [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"60ms\"\n\n\
         [service]\n{service}\n"
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
