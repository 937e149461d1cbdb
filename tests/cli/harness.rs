//! A folder with settings and a store, a sandbox in this process, and the binary.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::entra::{ClientId, TenantId};
use keywheel::sandbox::{Call, Kind, NewApplication, Options, Registered, Sandbox};
use keywheel::store::{SqliteStore, Store};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder, a sandbox and the binary; all of it ends with it.
pub struct Bench {
    pub folder: TempDir,
    pub sandbox: Sandbox,
    pub tenant: TenantId,
    applications: Mutex<Vec<ClientId>>,
    /// Serves the sandbox while a test waits for the binary.
    runtime: Runtime,
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    #[expect(dead_code, reason = "shown where a test fails")]
    line: String,
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

    /// Of the key that the store was sealed with.
    pub fn fingerprint(&self) -> String {
        let store = SqliteStore::open(&self.path("state/keywheel.db")).unwrap();
        let fingerprint = self.runtime.block_on(store.fingerprint());
        fingerprint.unwrap().to_string()
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
        let line: Vec<_> = line.into_iter().map(|it| it.as_ref().to_owned()).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .args(&line)
            .current_dir(self.folder.path())
            .env_clear()
            .env("KEYWHEEL_CONFIG", self.path("keywheel.toml"))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
        let run = Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            line: words.join(" "),
        };
        self.assert_discreet(&run, words.first().is_some_and(|word| word == "secret"));
        run
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

impl Run {
    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Fails the test unless standard error says all of this.
    #[track_caller]
    pub fn says<const N: usize>(self, words: [&str; N]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "not said: {word}\n{self:#?}");
        }
        self
    }
}

/// The names of an object's fields, in their order.
pub fn fields(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap();
    object.keys().map(String::as_str).collect()
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
