//! The command that makes a consumer read its file again.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use super::plain::{flattened, one_line, redacted};
use super::{DestinationFault, Parcel};
use crate::clock::Span;
use crate::connection::FileSpec;
use crate::text::without_secrets;

/// Where a program without a folder is looked for, and the `PATH` of the command.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the command may take where it is not said.
const TIMEOUT: Span = Span::seconds(30);
/// How long it has to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long its output is still read after it has ended: what it left running in the background
/// may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);
/// How much of its output is kept, in bytes.
const OUTPUT: usize = 8 << 10;
/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 10;

/// A command as it was declared.
#[derive(Debug)]
pub(super) struct Reload {
    program: String,
    arguments: Vec<String>,
    timeout: Span,
    grace: Duration,
    env: BTreeMap<String, String>,
}

/// Why the consumer may not have read its file again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReloadFault {
    /// Neither absolute nor a bare name, or characters that no argument can have.
    #[error("the reload command {program} can't be run as it is declared: {what}")]
    Declared {
        /// The program.
        program: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No such file.
    #[error("the reload command {program} is missing{place}")]
    Missing {
        /// The program.
        program: String,
        /// Where it was looked for.
        place: &'static str,
    },
    /// It is there, and can't be started.
    #[error("the reload command {program} can't be started: {detail}")]
    NotExecutable {
        /// The program.
        program: String,
        /// Why.
        detail: String,
    },
    /// It exited with another code than 0.
    #[error("the reload command {program} exited with code {code}{output}")]
    Failed {
        /// The program.
        program: String,
        /// Not 0.
        code: i32,
        /// The end of what it printed, without the secret.
        output: String,
    },
    /// A signal ended it.
    #[error("the reload command {program} was ended by signal {signal}{output}")]
    Signal {
        /// The program.
        program: String,
        /// Its number.
        signal: i32,
        /// The end of what it printed, without the secret.
        output: String,
    },
    /// It took too long, and was ended with all that it had started.
    #[error("the reload command {program} did not end within {limit} and was ended{output}")]
    TimedOut {
        /// The program.
        program: String,
        /// What it had.
        limit: Span,
        /// The end of what it printed, without the secret.
        output: String,
    },
    /// The process is ending.
    #[error("looking for the reload command was interrupted")]
    Interrupted,
}

impl Reload {
    /// The command of a file, if it has one.
    pub(super) fn parse(spec: &FileSpec) -> Result<Option<Self>, ReloadFault> {
        let Some((program, arguments)) = spec.reload.split_first() else {
            return Ok(None);
        };
        let fault = |what| {
            let program = one_line(program);
            Err(ReloadFault::Declared { program, what })
        };
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
            return fault("the program must be an absolute path, or a name without a slash");
        }
        if spec.reload.iter().any(|argument| argument.contains('\0')) {
            return fault("an argument has a NUL character");
        }
        for (name, value) in &spec.reload_env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return fault("`reload_env` has a name or a value that no environment can hold");
            }
            if name.starts_with("KEYWHEEL_") {
                return fault("`reload_env` sets a variable that starts with KEYWHEEL_");
            }
        }
        Ok(Some(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            timeout: spec.reload_timeout.unwrap_or(TIMEOUT),
            grace: TERM_GRACE,
            env: spec.reload_env.clone(),
        }))
    }

    /// The program's file, which is there and can be executed.
    pub(super) fn locate(&self) -> Result<PathBuf, ReloadFault> {
        let candidates: Vec<PathBuf> = if self.program.starts_with('/') {
            vec![PathBuf::from(&self.program)]
        } else {
            let folders = PATH.split(':');
            folders
                .map(|folder| Path::new(folder).join(&self.program))
                .collect()
        };
        let is_file = |path: &&PathBuf| path.is_file();
        let executable = |path: &&PathBuf| {
            rustix::fs::accessat(CWD, *path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
        };
        if let Some(found) = candidates.iter().filter(is_file).find(executable) {
            return Ok(found.clone());
        }
        let program = one_line(&self.program);
        if candidates.iter().any(|path| path.exists()) {
            let detail = "it is no file that this user may execute".to_owned();
            return Err(ReloadFault::NotExecutable { program, detail });
        }
        let place = match self.program.starts_with('/') {
            true => "",
            false => " from the folders that are searched",
        };
        Err(ReloadFault::Missing { program, place })
    }

    /// Runs the command and waits for its end. The secret is neither in its arguments nor in its
    /// environment (H3): it reads the file.
    pub(super) async fn run(&self, parcel: &Parcel, file: &Path) -> Result<(), ReloadFault> {
        let (mut child, mut printed) = self
            .start(&self.locate()?, parcel, file)
            .map_err(|error| self.not_started(&error))?;
        let group = Group::of(&child);
        let mut output = Tail::new();
        let status = listen_to_end(&mut child, self.timeout.0, &mut printed, &mut output)
            .await
            .map_err(|error| self.not_started(&error))?;
        match status {
            Some(_) => group.spare(),
            None => group.end(&mut child, self.grace).await,
        }
        self.judge(status, &output.told(parcel.secret.expose_secret()))
    }

    fn start(&self, program: &Path, parcel: &Parcel, file: &Path) -> io::Result<(Child, Receiver)> {
        // One pipe for both, so that what it prints stays in order.
        let (printed, stdout) = io::pipe()?;
        let stderr = stdout.try_clone()?;
        let child = Command::new(program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(&self.env)
            .env("KEYWHEEL_CONNECTION", parcel.connection.as_str())
            .env("KEYWHEEL_PATH", file)
            .env("KEYWHEEL_KEY_ID", parcel.key_id.to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()?;
        Ok((child, Receiver::from_owned_fd(printed.into())?))
    }

    /// `None`: it took too long.
    fn judge(&self, status: Option<ExitStatus>, output: &str) -> Result<(), ReloadFault> {
        let program = one_line(&self.program);
        let output = match output {
            "" => String::new(),
            text => format!("; it said: {text}"),
        };
        let Some(status) = status else {
            let limit = self.timeout;
            return Err(ReloadFault::TimedOut {
                program,
                limit,
                output,
            });
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(ReloadFault::Failed {
                program,
                code,
                output,
            }),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Err(ReloadFault::Signal {
                    program,
                    signal,
                    output,
                })
            }
        }
    }

    fn not_started(&self, error: &io::Error) -> ReloadFault {
        let detail = match error.kind() {
            // The program was found just before.
            io::ErrorKind::NotFound => "the interpreter in its first line is missing".to_owned(),
            _ => error.to_string(),
        };
        ReloadFault::NotExecutable {
            program: one_line(&self.program),
            detail,
        }
    }
}

impl From<ReloadFault> for DestinationFault {
    fn from(fault: ReloadFault) -> Self {
        let (code, remedy) = match &fault {
            ReloadFault::Declared { .. } => ("reload-invalid", "mend `reload` of the destination"),
            ReloadFault::Missing { .. } => (
                "reload-missing",
                "install the program, or give its absolute path in `reload`",
            ),
            ReloadFault::NotExecutable { .. } => (
                "reload-not-executable",
                "make it a program that Keywheel's user may execute, with its interpreter in the \
                 first line",
            ),
            ReloadFault::Failed { .. } => (
                "reload-failed",
                "the file has the new secret; mend the command, then run `keywheel deliver`",
            ),
            ReloadFault::Signal { .. } => (
                "reload-signal",
                "the file has the new secret; find out what ended the command, then run \
                 `keywheel deliver`",
            ),
            ReloadFault::TimedOut { .. } => (
                "reload-timeout",
                "the file has the new secret; find out what the command waits for, or raise \
                 `reload_timeout`, then run `keywheel deliver`",
            ),
            ReloadFault::Interrupted => ("reload-interrupted", "run it again"),
        };
        Self {
            code,
            message: fault.to_string(),
            remedy: remedy.to_owned(),
        }
    }
}

/// The process group of a child: all that it starts, unless that leaves it.
///
/// It is ended when this is dropped, which also happens when nobody waits for the command any
/// more, unless it was spared.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It fails only where nothing of the group is left.
            kill_process_group(group, signal).ok();
        }
    }

    /// Asks it to end, then ends it.
    async fn end(self, child: &mut Child, grace: Duration) {
        self.signal(Signal::TERM);
        timeout(grace, child.wait()).await.ok();
        // Whether the command heeded that or not, what it started goes with it.
        drop(self);
        child.wait().await.ok();
    }

    /// The command has done its work: what it started, a server perhaps, goes on.
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the child's end while reading what it prints, so that it never waits for us; `None`:
/// it did not end within `limit`.
async fn listen_to_end(
    child: &mut Child,
    limit: Duration,
    printed: &mut Receiver,
    output: &mut Tail,
) -> io::Result<Option<ExitStatus>> {
    let mut ending = pin!(timeout(limit, child.wait()));
    let mut listening = pin!(listen(printed, output));
    let ended = tokio::select! {
        ended = &mut ending => {
            timeout(OUTPUT_GRACE, listening).await.ok();
            ended
        }
        () = &mut listening => ending.await,
    };
    ended.ok().transpose()
}

async fn listen(printed: &mut Receiver, output: &mut Tail) {
    let mut chunk = [0; CHUNK];
    while let Ok(length @ 1..) = printed.read(&mut chunk).await {
        output.push(&chunk[..length]);
    }
    chunk.zeroize();
}

/// The end of a text of any length.
struct Tail(Zeroizing<Vec<u8>>);

impl Tail {
    fn new() -> Self {
        // It never grows, so that no copy of a secret in it stays behind.
        Self(Zeroizing::new(Vec::with_capacity(2 * OUTPUT + CHUNK)))
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * OUTPUT {
            let surplus = self.0.len() - OUTPUT;
            self.0.drain(..surplus);
        }
    }

    /// Fit for an error.
    fn told(&self, secret: &str) -> String {
        let text = redacted(&String::from_utf8_lossy(&self.0), secret);
        // Once more: it may have been broken over two lines.
        let text = redacted(&flattened(&text), secret);
        // Other secrets, and what is left of one where the text was cut, are not known here.
        one_line(&without_secrets(&text, text.len()))
    }
}

#[cfg(test)]
mod tests;
