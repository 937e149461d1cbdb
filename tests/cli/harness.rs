//! A folder with settings and a store, a sandbox in this process, and the binary.

mod run;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::entra::{ClientId, Cloud, Entra, KeyId, TenantId};
use keywheel::journal::{Actor, Journal};
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::rotation::stopping::Stopping;
use keywheel::sandbox::{Call, Kind, NewApplication, Options, Registered, Sandbox};
use keywheel::settings::Settings;
use keywheel::store::{Keys, SqliteStore, Store};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use run::{Run, fields, key_id};

/// A folder, a sandbox and the binary; all of it ends with it.
pub struct Bench {
    pub folder: TempDir,
    pub sandbox: Sandbox,
    pub tenant: TenantId,
    applications: Mutex<Vec<ClientId>>,
    /// Serves the sandbox while a test waits for the binary.
    runtime: Runtime,
}

impl Bench {
    /// With a store, made by `init`.
    pub fn new() -> Self {
        Self::with("")
    }

    /// With further lines of the settings.
    pub fn with(more: &str) -> Self {
        let bench = Self::bare(more);
        bench.run(["init"]).exits(0);
        bench
    }

    /// With settings alone.
    pub fn bare(more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let sandbox = runtime
            .block_on(Sandbox::start(Options::default()))
            .unwrap();
        let tenant = sandbox.add_tenant("Contoso");
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            sandbox,
            tenant,
            applications: Mutex::default(),
            runtime,
        };
        bench.write("keywheel.toml", &bench.settings(more));
        bench
    }

    /// What in earnest takes seconds takes none.
    fn settings(&self, more: &str) -> String {
        let url = self.sandbox.url();
        format!(
            "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
             [verification]\nsuccesses = 1\nspacing = \"0s\"\n\n\
             [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"30ms\"\n\n{more}\n"
        )
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that only its owner can read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The store, as another process has it open.
    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path("state/keywheel.db")).unwrap()
    }

    /// Waits for something that is asynchronous.
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Of the key that the store was sealed with.
    pub fn fingerprint(&self) -> String {
        let fingerprint = self.wait(self.store().fingerprint());
        fingerprint.unwrap().to_string()
    }

    /// The journal of a connection.
    pub fn journal(&self, name: &str) -> Journal {
        let name = name.parse().unwrap();
        let journal = self.wait(self.store().journal(&name));
        journal.unwrap().unwrap()
    }

    /// The Key ID of a connection's current secret.
    pub fn current(&self, name: &str) -> KeyId {
        self.journal(name).current().unwrap().key_id
    }

    /// The secrets that are truly on the application.
    pub fn keys(&self, application: &Registered) -> Vec<KeyId> {
        let keys = self.sandbox.keys(application.client_id);
        keys.iter().map(|key| key.key_id).collect()
    }

    /// Whether what is in the file `NAME.secret` could sign in right now.
    pub fn signs_in(&self, name: &str, application: &Registered) -> bool {
        let value = SecretString::from(self.read(&format!("{name}.secret")));
        let signed_in = self.sandbox.sign_in(application.client_id, &value);
        signed_in.everywhere
    }

    /// One delivery that fails, and is not waited for: a folder is in the file's place, where not
    /// even root can write.
    pub fn fail_to_deliver(&self, name: &str) {
        let file = self.path(&format!("{name}.secret"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let name = name.parse().unwrap();
        self.wait(async {
            let engine = self.engine().await;
            engine.deliver(&name, None, Duration::ZERO).await.unwrap();
        });
    }

    async fn engine(&self) -> Engine {
        let settings = Arc::new(Settings::load(&self.path("keywheel.toml")).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Arc::new(self.store());
        let keys = Keys::open(settings.master_key.clone(), &*store).await;
        let url = self.sandbox.url();
        let cloud = Cloud::new("lab", &url, &url, None).unwrap();
        Engine {
            instances: store.instances().await.unwrap(),
            store,
            keys: Arc::new(keys.unwrap()),
            entra: Entra::new(vec![cloud], Duration::from_secs(5), clock.clone()),
            clock,
            settings,
            actor: Actor {
                user: "tester".into(),
                sudo_user: None,
                host: "bench".into(),
            },
            observer: Arc::new(Unobserved),
            tokens: Tokens::default(),
            stopping: Stopping::default(),
        }
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), permissions).unwrap();
    }

    /// An application that may rotate itself, with a secret of 60 days.
    pub fn application(&self, name: &str) -> Registered {
        let end = SystemClock.now() + TimeDelta::days(60);
        let new = NewApplication::rotating_itself(self.tenant, name, end);
        let registered = self.sandbox.add_application(new);
        self.applications.lock().unwrap().push(registered.client_id);
        registered
    }

    /// The flags that name an application.
    pub fn ids(&self, application: &Registered) -> Vec<String> {
        [
            ("--tenant-id", application.tenant_id.to_string()),
            ("--client-id", application.client_id.to_string()),
            ("--cloud", "lab".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// `connection add`, the secret on standard input.
    pub fn add<const N: usize>(&self, name: &str, app: &Registered, more: [&str; N]) -> Run {
        let mut line = vec!["connection".to_owned(), "add".to_owned(), name.to_owned()];
        line.extend(self.ids(app));
        line.extend(more.map(str::to_owned));
        self.run_with(line, app.keys[0].value.expose_secret())
    }

    /// An application, adopted under its name, delivering to the file `NAME.secret`.
    pub fn adopted(&self, name: &str) -> Registered {
        let application = self.application(name);
        let file = format!("{name}.secret");
        self.add(name, &application, ["--to-file", &file]).exits(0);
        application
    }

    /// A store with the connection `app`, which rotates in Berlin and delivers to `app.secret`.
    pub fn with_app() -> (Self, Registered) {
        let bench = Self::new();
        let application = bench.application("app");
        let more = ["--to-file", "app.secret", "--timezone", "Europe/Berlin"];
        bench.add("app", &application, more).exits(0);
        (bench, application)
    }

    /// Runs the binary in the folder, nothing on its standard input.
    pub fn run<S: AsRef<OsStr>>(&self, line: impl IntoIterator<Item = S>) -> Run {
        self.run_with(line, "")
    }

    /// The same, with something on standard input.
    pub fn run_with<S: AsRef<OsStr>>(&self, line: impl IntoIterator<Item = S>, input: &str) -> Run {
        self.run_as(line, input, &[])
    }

    /// The same, with further variables. No secret may be seen in it but where `secret` prints
    /// one (P6).
    pub fn run_as<S: AsRef<OsStr>>(
        &self,
        line: impl IntoIterator<Item = S>,
        input: &str,
        variables: &[(&str, &str)],
    ) -> Run {
        let mut command = self.command(line);
        command.envs(variables.iter().copied());
        let run = Run::of(command, input);
        self.assert_discreet(&run, run.line.starts_with("secret"));
        run
    }

    /// The binary in the folder, with nothing in its environment but where the settings are.
    pub fn command<S: AsRef<OsStr>>(&self, line: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
        command
            .args(line)
            .current_dir(self.folder.path())
            .env_clear()
            .env("KEYWHEEL_CONFIG", self.path("keywheel.toml"));
        command
    }

    /// Runs the words of a line.
    pub fn line(&self, line: &str) -> Run {
        self.run(line.split_whitespace())
    }

    /// Every secret that any application has now.
    pub fn secrets(&self) -> Vec<SecretString> {
        let applications = self.applications.lock().unwrap();
        let keys = applications.iter().flat_map(|id| self.sandbox.keys(*id));
        keys.map(|key| key.value).collect()
    }

    fn assert_discreet(&self, run: &Run, prints_one: bool) {
        for secret in self.secrets() {
            let secret = secret.expose_secret();
            assert!(!run.stderr.contains(secret), "P6: {run:?}");
            assert!(prints_one || !run.stdout.contains(secret), "P6: {run:?}");
        }
    }

    /// The calls that change an application.
    pub fn mutations(&self) -> Vec<Call> {
        let mut calls = self.sandbox.calls();
        calls.retain(|call| matches!(call.kind, Kind::AddPassword | Kind::RemovePassword));
        calls
    }

    /// Every file below the folder, by path, but for locks, and for what SQLite keeps beside a
    /// database that is being read.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.folder.path(), &mut files);
        files
    }

    /// Runs something that must change nothing and call nobody.
    pub fn unchanged_by(&self, what: impl FnOnce() -> Run) -> Run {
        let (files, calls) = (self.files(), self.sandbox.calls().len());
        let run = what();
        assert!(self.files() == files, "a file was changed by {run:?}");
        assert_eq!(self.sandbox.calls().len(), calls, "a call of {run:?}");
        run
    }

    /// Stops the sandbox, as if the network were gone.
    pub fn cut_off(self) -> Self {
        let Self {
            folder,
            sandbox,
            tenant,
            applications,
            runtime,
        } = self;
        runtime.block_on(sandbox.stop());
        let sandbox = runtime
            .block_on(Sandbox::start(Options::default()))
            .unwrap();
        Self {
            folder,
            sandbox,
            tenant,
            applications,
            runtime,
        }
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "locks" {
                collect(&path, files);
            }
        } else if !name.ends_with("-wal") && !name.ends_with("-shm") {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
}
