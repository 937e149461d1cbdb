//! What the service costs while it waits, and when ten thousand are due at once:
//! `cargo bench --bench service`
//!
//! A million connections are written straight into a store, as adopting them would have; the
//! program then runs on it as systemd would start it. Ten thousand more are adopted from a sandbox
//! in this process, over plain HTTP on loopback, all due in the same second.
//!
//! `--quick` takes a hundredth, `--herd` the ten thousand alone.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark that can't go on is to stop, prints what it found, and measures time"
)]

mod herd;
mod stock;

use keywheel::store::Share;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use keywheel::store::{SqliteStore, Store};

use stock::Stock;

/// So often is looked for what is due.
const LOOKS: usize = 2_000;

/// So long is an idle service watched.
const WATCHED: Duration = Duration::from_secs(30);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (many, due) = if quick {
        (10_000, 100)
    } else {
        (1_000_000, 10_000)
    };
    if !std::env::args().any(|argument| argument == "--herd") {
        waiting(many);
    }
    herd::measure(50, due / 50);
}

/// What many connections cost of which none is due.
fn waiting(many: usize) {
    let few = look(&Stock::new(1_000));
    let stock = Stock::new(many);
    println!("\n{many} connections, none due");
    idle(&stock);
    let lots = look(&stock);
    row(
        "finding what is due, 99th percentile",
        micros(lots),
        "µs",
        "1000",
    );
    row("  the same with 1000 connections", micros(few), "µs", "");
    row(
        "  so many times as long",
        lots.as_secs_f64() / few.as_secs_f64(),
        "×",
        "2",
    );
}

/// The 99th percentile of a look for what is due, where nothing is.
fn look(stock: &Stock) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let store = SqliteStore::open(&stock.store()).expect("the store");
    let mut took: Vec<Duration> = (0..LOOKS)
        .map(|_| {
            let begun = Instant::now();
            let due = runtime
                .block_on(store.due(Utc::now(), Share::ALL))
                .expect("a look");
            assert!(due.is_empty());
            begun.elapsed()
        })
        .collect();
    took.sort();
    took[LOOKS * 99 / 100]
}

/// Start to ready, memory and processor time of a service that waits.
fn idle(stock: &Stock) {
    let notified = UnixDatagram::bind(stock.path("notify")).expect("a socket");
    let begun = Instant::now();
    let mut service = serve(stock);
    wait_until_ready(&notified);
    row(
        "start to ready",
        begun.elapsed().as_secs_f64() * 1000.0,
        "ms",
        "1000",
    );
    let before = processor_time(service.id());
    std::thread::sleep(WATCHED);
    let used = processor_time(service.id()) - before;
    let share = used.as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    row("memory", memory(service.id()), "MiB", "50");
    row("processor, of one core", share, "%", "0.2");
    service.kill().expect("it ends");
    service.wait().expect("it has ended");
}

/// Begins `keywheel run`, as systemd would.
pub fn serve(stock: &Stock) -> Child {
    Command::new(env!("CARGO_BIN_EXE_keywheel"))
        .env_clear()
        .env("NOTIFY_SOCKET", stock.path("notify"))
        .arg("--config")
        .arg(stock.config())
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program")
}

fn wait_until_ready(notified: &UnixDatagram) {
    let mut buffer = [0; 4096];
    loop {
        let length = notified.recv(&mut buffer).expect("a word");
        if buffer[..length].starts_with(b"READY=1") {
            return;
        }
    }
}

/// What a process has used so far (`proc_pid_stat(5)`), in hundredths of a second.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its numbers");
    let (_, fields) = stat.rsplit_once(") ").expect("its fields");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|field| fields[*field].parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process in MiB.
pub fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its numbers");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<f64>().ok())
        .expect("a number")
        / 1024.0
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A line of the result; `target` is the most that is allowed, where there is one.
pub fn row(what: &str, value: f64, unit: &str, target: &str) {
    let target = if target.is_empty() {
        String::new()
    } else {
        format!("   (target {target} {unit})")
    };
    println!("  {what:<40} {value:>10.2} {unit}{target}");
}
