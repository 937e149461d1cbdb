//! The binary at work, and all that can be seen of it from outside.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::entra::TenantId;
use keywheel::sandbox::{NewApplication, Options, Registered, Sandbox};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::canaries::Canaries;

/// How often it is looked at what can be seen while the binary is at work.
const TICK: Duration = Duration::from_millis(10);

/// No run takes this long.
const TOO_LONG: Duration = Duration::from_secs(60);

/// How the binary is run.
struct Run<'a> {
    input: &'a str,
    /// A secret is among the arguments.
    pasted: bool,
    /// It is killed after so long.
    patience: Duration,
}

impl Default for Run<'_> {
    fn default() -> Self {
        Self {
            input: "",
            pasted: false,
            patience: Duration::MAX,
        }
    }
}

/// How the binary is made to talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// `-vvv`.
    Flags,
    /// `KEYWHEEL_LOG=trace`, which is that of every crate, and JSON.
    Everything,
}

pub struct World {
    folder: TempDir,
    pub sandbox: Sandbox,
    tenant: TenantId,
    voice: Voice,
    applications: Mutex<Vec<Registered>>,
    canaries: Mutex<Canaries>,
    /// Of each file when it was last read: when it was changed, and how long it was.
    states: Mutex<HashMap<PathBuf, (SystemTime, u64)>>,
    /// What was said, left or shown, and where; nothing twice.
    seen: Mutex<HashSet<(String, Vec<u8>)>>,
}

impl World {
    pub async fn new(voice: Voice) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let tenant = sandbox.add_tenant("Contoso");
        let folder = tempfile::tempdir().unwrap();
        for part in ["inputs", "consumers"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let world = Self {
            folder,
            sandbox,
            tenant,
            voice,
            applications: Mutex::default(),
            canaries: Mutex::default(),
            states: Mutex::default(),
            seen: Mutex::default(),
        };
        let config = world.path("keywheel.toml");
        fs::write(&config, settings(&world.sandbox.url())).unwrap();
        fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        world
    }

    /// An application that rotates itself, its secret in `inputs/NAME`.
    pub fn application(&self, name: &str) -> Registered {
        let end = SystemClock.now() + TimeDelta::days(60);
        let new = NewApplication::rotating_itself(self.tenant, name, end);
        let application = self.sandbox.add_application(new);
        self.input(name, application.keys[0].value.expose_secret());
        self.applications.lock().unwrap().push(application.clone());
        self.look_for_new_secrets();
        application
    }

    /// A file that may hold a secret, because a person put it there.
    pub fn input(&self, name: &str, text: &str) -> String {
        let path = self.path("inputs").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn consumer(&self, name: &str) -> PathBuf {
        self.path("consumers").join(name)
    }

    pub fn look_for(&self, what: &str, value: &[u8]) {
        self.canaries.lock().unwrap().add(what, value);
    }

    /// Every secret that is on an application by now is looked for.
    fn look_for_new_secrets(&self) {
        for application in self.applications.lock().unwrap().iter() {
            for key in self.sandbox.keys(application.client_id) {
                let what = format!("secret {}", key.key_id);
                self.look_for(&what, key.value.expose_secret().as_bytes());
            }
        }
    }

    /// Runs the binary; what it says and shows must hold no secret.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.watch(arguments, Run::default()).await;
        self.heard(arguments, &output);
        output
    }

    /// As [`World::run`], but a person loses patience with its waiting for the next try.
    pub async fn run_briefly(&self, arguments: &[&str]) -> Output {
        let brief = Run {
            patience: Duration::from_secs(3),
            ..Run::default()
        };
        let output = self.watch(arguments, brief).await;
        self.heard(arguments, &output);
        output
    }

    /// As [`World::run`], with `input` on standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let output = self
            .watch(
                arguments,
                Run {
                    input,
                    ..Run::default()
                },
            )
            .await;
        self.heard(arguments, &output);
        output
    }

    /// A person has pasted a secret into the command line: there it is, and nowhere else.
    pub async fn run_with_pasted(&self, arguments: &[&str]) -> Output {
        let output = self
            .watch(
                arguments,
                Run {
                    pasted: true,
                    ..Run::default()
                },
            )
            .await;
        self.heard(arguments, &output);
        assert_ne!(output.status.code(), Some(0), "{:?}", without(arguments));
        output
    }

    /// What it says on standard output is a secret by right.
    pub async fn run_for_the_secret(&self, arguments: &[&str]) -> Output {
        let mut output = self.watch(arguments, Run::default()).await;
        let said = std::mem::take(&mut output.stdout);
        self.heard(arguments, &output);
        output.stdout = said;
        output
    }

    fn heard(&self, arguments: &[&str], output: &Output) {
        let words = without(arguments);
        self.note(&format!("stdout of {words:?}"), output.stdout.clone());
        self.note(&format!("stderr of {words:?}"), output.stderr.clone());
    }

    async fn watch(&self, arguments: &[&str], run: Run<'_>) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(run.input.as_bytes()).await.unwrap();
        drop(stdin);
        let mut ended = std::pin::pin!(child.wait_with_output());
        let began = SystemClock.now();
        loop {
            tokio::select! {
                output = ended.as_mut() => {
                    self.look_around();
                    return output.unwrap();
                }
                () = SystemClock.sleep(TICK) => {}
            }
            self.look_at_process(pid, arguments, run.pasted);
            self.look_around();
            let took = (SystemClock.now() - began).to_std().unwrap_or_default();
            assert!(took < TOO_LONG, "{:?} hangs", without(arguments));
            if took > run.patience {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }

    fn look_at_process(&self, pid: i32, arguments: &[&str], pasted: bool) {
        for shown in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{shown}"));
            if let Ok(bytes) = bytes
                && !(pasted && shown == "cmdline")
            {
                self.note(&format!("{shown} of {:?}", without(arguments)), bytes);
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
        command
            .env_clear()
            .env("KEYWHEEL_CONFIG", self.path("keywheel.toml"))
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match self.voice {
            Voice::Flags => command.arg("-vvv"),
            Voice::Everything => command.env("KEYWHEEL_LOG", "trace").args(["-o", "json"]),
        };
        command
    }

    /// What lies in the folder, but for what people and consumers keep there.
    fn look_around(&self) {
        self.look_for_new_secrets();
        self.look_into(self.folder.path());
    }

    fn look_into(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            let kept = ["inputs", "consumers", "master.key", ".master-key."];
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kept.iter().any(|kept| name.starts_with(kept)) {
                continue;
            }
            if path.is_dir() {
                self.look_into(&path);
            } else if self.has_changed(&path)
                && let Ok(bytes) = fs::read(&path)
            {
                self.note(&path.display().to_string(), bytes);
            }
        }
    }

    fn has_changed(&self, path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else {
            return false;
        };
        let now = (metadata.modified().unwrap(), metadata.len());
        let mut states = self.states.lock().unwrap();
        states.insert(path.to_owned(), now) != Some(now)
    }

    /// Something that must hold no secret.
    pub fn note(&self, place: &str, bytes: Vec<u8>) {
        self.seen.lock().unwrap().insert((place.to_owned(), bytes));
    }

    /// Searches all that was noted for all that ever existed.
    pub fn nothing_leaked(&self) {
        let seen = self.seen.lock().unwrap();
        let canaries = self.canaries.lock().unwrap();
        let mut leaks: Vec<String> = seen
            .iter()
            .filter_map(|(place, bytes)| {
                let found = canaries.found_in(bytes)?;
                Some(format!("{place}: {found}"))
            })
            .collect();
        leaks.sort();
        assert!(
            leaks.is_empty(),
            "{} leaks:\n{}",
            leaks.len(),
            leaks.join("\n")
        );
    }

    /// Whether a secret is found in `bytes`: it should be.
    pub fn is_found_in(&self, bytes: &[u8]) -> bool {
        self.canaries.lock().unwrap().found_in(bytes).is_some()
    }

    pub fn secrets(&self) -> usize {
        self.canaries.lock().unwrap().count()
    }

    /// What was noted at places whose name holds `part`.
    pub fn noted(&self, part: &str) -> Vec<Vec<u8>> {
        let seen = self.seen.lock().unwrap();
        let there = seen.iter().filter(|(place, _)| place.contains(part));
        there.map(|(_, bytes)| bytes.clone()).collect()
    }
}

/// The words of a command line as a complaint may repeat them.
fn without<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let short = arguments.iter().map(|word| &word[..word.len().min(14)]);
    short.collect()
}

fn settings(url: &str) -> String {
    format!(
        "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n\
         [defaults]\noverlap = \"7d\"\n\n\
         [verification]\nsuccesses = 2\nspacing = \"0s\"\n\n\
         [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"60ms\"\n"
    )
}
