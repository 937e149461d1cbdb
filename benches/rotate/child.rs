//! Runs the program, and measures it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// What a run of the program took.
pub struct Run {
    /// From before it was started until after it had exited.
    pub wall: Duration,
    /// Processor time, its own and the system's for it.
    pub cpu: Duration,
    /// How many rotations it reports as `overlapping`.
    pub overlapping: usize,
}

/// Runs it to its end.
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub fn run(command: &[String]) -> Run {
    let (cpu, start) = (cpu(), Instant::now());
    let output = program(command).output().expect("it starts");
    let wall = start.elapsed();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaint}", output.status);
    let rotations: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let overlapping = rotations
        .iter()
        .filter(|rotation| rotation["state"] == "overlapping");
    Run {
        wall,
        cpu: self::cpu() - cpu,
        overlapping: overlapping.count(),
    }
}

/// The argument by which this program calls itself.
const MEASURE: &str = "--measure-peak-of";

/// The most memory that a run has in use at once, in bytes.
///
/// Linux counts what a parent has in use towards the peak of a process that it has just forked, so
/// that one with hardly any has to start it: this program, anew.
pub fn peak_of(command: &[String]) -> u64 {
    let this = std::env::current_exe().expect("a running program has a file");
    let output = Command::new(this).arg(MEASURE).args(command).output();
    let output = output.expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().expect("it prints a number")
}

/// The other side of [`peak_of`]; `None` where it is not asked for.
pub fn measured_for_another_process(arguments: &[String]) -> Option<u64> {
    let (first, command) = arguments.split_first()?;
    if first != MEASURE {
        return None;
    }
    let status = program(command).stdout(Stdio::null()).status();
    assert!(status.expect("it starts").success(), "{command:?}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system knows");
    Some(u64::try_from(usage.max_rss()).expect("it is not negative") * 1024)
}

fn program(command: &[String]) -> Command {
    let (program, arguments) = command.split_first().expect("it begins with the program");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Of all children that have ended.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system knows");
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or_default();
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}
