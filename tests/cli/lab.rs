//! A sandbox on the real clock, a folder with settings and a store, and the binary run on them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::entra::{Cloud, Entra, KeyId};
use keywheel::journal::{Actor, Journal};
use keywheel::rotation::adopt::Candidate;
use keywheel::rotation::advance::{Engine, Tokens};
use keywheel::rotation::observe::Unobserved;
use keywheel::sandbox::{NewApplication, Options, Registered, Sandbox};
use keywheel::settings::Settings;
use keywheel::store::{Keys, SqliteStore, Store, master_key};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// Nothing waits for long: one proof, no spacing, and absence is sure after a tenth of a second.
const QUICK: &str = "\
[verification]
successes = 1
spacing = \"0s\"

[graph]
mutation_spacing = \"0s\"
absence_window = \"100ms\"
";

/// All that the commands are tried on.
pub struct Lab {
    pub folder: TempDir,
    pub sandbox: Sandbox,
    pub store: Arc<SqliteStore>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in the output of {self:#?}"))
    }

    /// Itself, where it ended with this code.
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The code of the error in the document on standard output.
    pub fn error_code(&self) -> String {
        let document = self.json();
        assert!(document["error"]["message"].is_string(), "{document}");
        document["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Lab {
    /// A store without connections.
    pub async fn new() -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = sandbox.url();
        let cloud = format!("[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n");
        let config = folder.path().join("keywheel.toml");
        std::fs::write(&config, format!("{QUICK}\n{cloud}")).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        let settings = Settings::load(&config).unwrap();
        let key = master_key::create(&folder.path().join("master.key")).unwrap();
        SqliteStore::create(&settings.store_path, key.fingerprint()).unwrap();
        let store = Arc::new(SqliteStore::open(&settings.store_path).unwrap());
        Self {
            folder,
            sandbox,
            store,
        }
    }

    /// A store with the connection `app`, which delivers to [`Lab::file`].
    pub async fn with_app() -> (Self, Registered) {
        let lab = Self::new().await;
        let application = lab.adopt("app").await;
        (lab, application)
    }

    /// A connection that delivers to a file `NAME.secret`, adopted without the command line.
    pub async fn adopt(&self, name: &str) -> Registered {
        let tenant = self.sandbox.add_tenant("Contoso");
        let end = SystemClock.now() + TimeDelta::days(60);
        let application = self
            .sandbox
            .add_application(NewApplication::rotating_itself(tenant, name, end));
        let declared = format!(
            "name = \"{name}\"\ntenant_id = \"{tenant}\"\nclient_id = \"{}\"\ncloud = \"lab\"\n\
             timezone = \"Europe/Berlin\"\n\
             [[destination]]\nkind = \"file\"\nname = \"file\"\npath = \"{}\"\n",
            application.client_id,
            self.file(name).display()
        );
        let candidate = Candidate {
            declared: toml::from_str(&declared).unwrap(),
            secret: application.keys[0].value.clone(),
            key_id: None,
            next_rotation_at: None,
            rotate_now: false,
            check: true,
        };
        self.engine().await.adopt(candidate).await.unwrap();
        application
    }

    /// One delivery that fails: a folder is in the file's place, where not even root can write.
    pub async fn fail_to_deliver(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
        std::fs::create_dir(self.file(name)).unwrap();
        let engine = self.engine().await;
        let name = name.parse().unwrap();
        engine.deliver(&name, None, Duration::ZERO).await.unwrap();
    }

    async fn engine(&self) -> Engine {
        let settings = Arc::new(Settings::load(&self.config()).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = Keys::open(settings.master_key.clone(), &*self.store).await;
        let url = self.sandbox.url();
        let cloud = Cloud::new("lab", &url, &url, None).unwrap();
        Engine {
            store: self.store.clone(),
            keys: Arc::new(keys.unwrap()),
            entra: Entra::new(vec![cloud], Duration::from_secs(5), clock.clone()),
            clock,
            settings,
            instances: self.store.instances().await.unwrap(),
            actor: Actor {
                user: "tester".into(),
                sudo_user: None,
                host: "lab".into(),
            },
            observer: Arc::new(Unobserved),
            tokens: Tokens::default(),
        }
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("keywheel.toml")
    }

    /// The master key.
    pub fn master_key(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    /// Where a connection delivers to.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.secret"))
    }

    /// Adds lines to the settings.
    pub fn write_settings(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), change(text)).unwrap();
    }

    /// A command of the user's, with pipes and no terminal.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("KEYWHEEL_CONFIG", self.config())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end.
    pub async fn run(&self, line: &str) -> Ran {
        run(self.command(line)).await
    }

    /// The journal of a connection.
    pub async fn journal(&self, name: &str) -> Journal {
        let name = name.parse().unwrap();
        self.store.journal(&name).await.unwrap().unwrap()
    }

    /// The Key ID of the current secret.
    pub async fn current(&self, name: &str) -> KeyId {
        self.journal(name).await.current().unwrap().key_id
    }

    /// The secrets that are truly on the application.
    pub fn keys(&self, application: &Registered) -> Vec<KeyId> {
        let keys = self.sandbox.keys(application.client_id);
        keys.iter().map(|key| key.key_id).collect()
    }

    /// Whether what a connection's file holds could sign in right now.
    pub fn signs_in(&self, name: &str, application: &Registered) -> bool {
        let value = std::fs::read_to_string(self.file(name)).unwrap();
        let value = SecretString::from(value);
        self.sandbox
            .sign_in(application.client_id, &value)
            .everywhere
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Ran {
    let output = command.output().await.unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A Key ID in a document.
pub fn key_id(value: &Value) -> KeyId {
    value.as_str().unwrap().parse().unwrap()
}
