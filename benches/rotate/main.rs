//! What rotating costs, measured on the program itself: `cargo bench --bench rotate`
//!
//! A sandbox in this process answers over plain HTTP on loopback, and takes its share of the
//! processors. Spacings are 0, one proof is enough, each rotation ends in `overlapping` with its
//! secret in a file, and every commit is durable. Each connection is rotated once, so that every
//! run finds the same journal.
//!
//! `--quick` does a tenth of it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that can't go on is to stop, and prints what it found"
)]

mod child;
mod world;

use std::time::Duration;

use keywheel::sandbox::Kind;
use serde_json::json;

use child::{Run, peak_of};
use world::World;

/// The calls of one rotation. Each needs what the one before it brought:
///
/// 1. a token for Graph, with the current secret;
/// 2. the application: no other instance may have a live key on it (P5), and that must be known
///    before anything is added;
/// 3. `addPassword`;
/// 4. the proof: a token with the new secret, over a connection of its own.
const ROUND_TRIPS: [Kind; 4] = [
    Kind::Token,
    Kind::GetApplication,
    Kind::AddPassword,
    Kind::Token,
];

/// What each answer takes longer in the second measurement.
const LATENCY: Duration = Duration::from_millis(50);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(peak) = child::measured_for_another_process(&arguments) {
        println!("{peak}");
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (runs, per_tenant) = if quick { (5, 2) } else { (50, 20) };
    one(runs, Duration::ZERO);
    one(runs.min(20), LATENCY);
    all(50, per_tenant);
}

/// One process from start to exit, for one connection.
fn one(runs: usize, latency: Duration) {
    // One connection more, whose rotation nobody measures: it makes the folder of the locks.
    let world = World::new(1, runs + 2);
    world.sandbox.set_latency(latency);
    world.rotate(&["app-0-0"]);
    let mut walls = Vec::new();
    for n in 1..=runs {
        world.sandbox.forget_calls();
        let run = world.rotate(&[&format!("app-0-{n}")]);
        assert_eq!(run.overlapping, 1, "the rotation has not ended well");
        let calls: Vec<Kind> = world.sandbox.calls().iter().map(|call| call.kind).collect();
        assert_eq!(calls, ROUND_TRIPS, "other calls than those that are listed");
        walls.push(run.wall);
    }
    walls.sort();
    let peak = peak_of(&world.command(&[&format!("app-0-{}", runs + 1)]));
    let (median, p95) = (walls[runs / 2], walls[(runs * 95).div_ceil(100) - 1]);
    if latency.is_zero() {
        println!("one rotation, start to exit, {runs} runs");
        row("median", ms(median), "ms", "40");
        row("95th percentile", ms(p95), "ms", "");
        row("peak memory", mib(peak), "MiB", "25");
    } else {
        let least = latency * u32::try_from(ROUND_TRIPS.len()).expect("a few");
        let (ratio, worst) = (ratio(median, least), ratio(p95, least));
        println!("the same with {} per answer, {runs} runs", ms(latency));
        println!("  round trips in a row: {ROUND_TRIPS:?}");
        row("median", ms(median), "ms", "");
        row("by their sum", ratio, "times", "1.2");
        row("95th percentile", worst, "times", "");
    }
    let line = json!({
        "bench": "rotate-one",
        "runs": runs,
        "latency_ms": ms(latency),
        "median_ms": ms(median),
        "p95_ms": ms(p95),
        "peak_mib": mib(peak),
        "round_trips": ROUND_TRIPS.len(),
    });
    println!("{line}\n");
}

/// One process for many connections of many tenants.
fn all(tenants: usize, per_tenant: usize) {
    let world = World::new(tenants, per_tenant);
    let connections = tenants * per_tenant;
    let run = world.rotate(&["--all"]);
    assert_eq!(run.overlapping, connections, "not all have ended well");
    let Run { wall, cpu, .. } = run;
    let calls = world.sandbox.calls().len();
    assert_eq!(calls, connections * ROUND_TRIPS.len());
    // Once more for the memory: the previous secrets of the first time are kept.
    let peak = peak_of(&world.command(&["--all"]));
    let rate = as_f64(connections) / wall.as_secs_f64();
    println!("{connections} connections over {tenants} tenants with --all");
    row("from start to exit", ms(wall), "ms", "");
    row("a second", round(rate), "rotations", "200");
    row("processor time", ms(cpu), "ms", "");
    row("peak memory", mib(peak), "MiB", "");
    let line = json!({
        "bench": "rotate-all",
        "connections": connections,
        "tenants": tenants,
        "wall_ms": ms(wall),
        "cpu_ms": ms(cpu),
        "per_second": round(rate),
        "peak_mib": mib(peak),
    });
    println!("{line}\n");
}

fn row(what: &str, value: f64, unit: &str, target: &str) {
    let target = match target {
        "" => String::new(),
        target => format!("  (target: {target})"),
    };
    println!("  {what:<22}{value:>10} {unit}{target}");
}

fn ratio(measured: Duration, least: Duration) -> f64 {
    round(measured.as_secs_f64() / least.as_secs_f64())
}

fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

fn mib(bytes: u64) -> f64 {
    round(as_f64(usize::try_from(bytes >> 10).expect("a small process")) / 1024.0)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("not that many"))
}
