//! `status`

use std::fs;
use std::process::Stdio;

use keywheel::clock::{Clock, SystemClock};
use keywheel::store::Store;

use crate::harness::{Bench, Run};

/// The fields of `connection show`: scripts rely on them.
const FIELDS: [&str; 23] = [
    "name",
    "tenant_id",
    "client_id",
    "object_id",
    "cloud",
    "identity",
    "interval_days",
    "rotate_at",
    "timezone",
    "lifetime_days",
    "overlap",
    "paused",
    "pull",
    "labels",
    "current",
    "previous",
    "next_rotation_at",
    "state",
    "health",
    "safe_until",
    "next_action",
    "destinations",
    "last_error",
];

#[test]
fn all_connections_as_a_table_and_as_json_without_the_master_key() {
    let (bench, _) = Bench::with_app();
    bench.adopted("billing");
    let told = bench.line("status").exits(0);
    assert_eq!(told.stderr, "");
    fs::remove_file(bench.path("master.key")).unwrap();
    let told = bench.line("status").exits(2);
    assert_eq!(told.stdout.lines().count(), 3, "{}", told.stdout);
    told.says(["master key", "every rotation will fail"]);
    let document = bench.line("status -o json").exits(2).json();
    let names: Vec<_> = document.as_array().unwrap().iter().collect();
    assert_eq!(names[0]["name"], "app");
    assert_eq!(names[1]["name"], "billing");
    for field in FIELDS {
        assert!(names[0].get(field).is_some(), "{field}");
    }
    assert_eq!(names[0]["health"], "ok");
    assert_eq!(names[0]["state"], "idle");
}

#[test]
fn p7_the_wrong_master_key_is_told_beside_how_things_stand() {
    let (bench, _) = Bench::with_app();
    let other = Bench::new();
    bench.write("master.key", &other.read("master.key"));
    for line in ["status", "status app"] {
        let told = bench.line(line).exits(2);
        assert!(told.stdout.contains("idle"), "{told:#?}");
        told.says(["belongs to another store", &bench.fingerprint()]);
    }
}

#[test]
fn a_pass_of_another_process_is_told() {
    let bench = Bench::new();
    let application = bench.application("app");
    let soon = SystemClock.now() + chrono::TimeDelta::seconds(60);
    let soon = soon.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    bench
        .add("app", &application, ["--pull", "--next-rotation-at", &soon])
        .exits(0);
    let told = bench.line("status").exits(0).stdout;
    assert!(told.contains(&soon), "{told}");
    let store = bench.store();
    let ids = (application.tenant_id, application.client_id);
    let lease = bench.wait(store.try_lock(bench.journal("app").id, ids));
    assert!(lease.as_ref().unwrap().is_some());
    for line in ["status", "status app"] {
        let told = bench.line(line).exits(0).stdout;
        assert!(told.contains("under way in another process"), "{told}");
    }
}

#[test]
fn one_connection_in_all_its_parts() {
    let (bench, _) = Bench::with_app();
    bench.line("rotate app").exits(0);
    let told = bench.line("status app").exits(0).stdout;
    for part in [
        "app: waiting, overlapping",
        "Secrets",
        "previous",
        "Rotations under way",
        "Destinations",
        "delivered",
        "Europe/Berlin",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let document = bench.line("status app -o json").exits(0).json();
    assert_eq!(document.as_array().unwrap().len(), 1);
    assert_eq!(document[0]["state"], "overlapping");
}

#[test]
fn what_is_wrong_is_told_with_its_remedy_and_the_next_try() {
    let (bench, _) = Bench::with_app();
    bench.adopted("billing");
    bench.line("rotate app").exits(0);
    bench.fail_to_deliver("app");
    let document = bench.line("status app -o json").exits(0).json();
    let failure = &document[0]["last_error"];
    let told = bench.line("status").exits(0).stdout;
    for word in ["message", "code", "remedy", "at"] {
        let word = failure[word].as_str().unwrap();
        assert!(told.contains(word), "{word} in {told}");
    }
    assert!(told.contains("next try: "), "{told}");
    assert!(told.contains("billing"), "{told}");
}

#[test]
fn what_comes_next_is_a_try_only_where_something_failed() {
    let bench = Bench::new();
    let application = bench.application("app");
    bench.add("app", &application, []).exits(0);
    bench.line("rotate app").exits(0);
    let document = bench.line("status app -o json").exits(0).json();
    assert_eq!(document[0]["last_error"]["code"], "no-destination");
    assert_eq!(document[0]["next_action"]["what"], "revoke");
    for line in ["status", "status app"] {
        let told = bench.line(line).exits(0).stdout;
        assert!(!told.contains("next try:"), "{line}: {told}");
        assert!(told.contains("next action: revoke"), "{line}: {told}");
    }
}

#[test]
fn an_unknown_name_is_told_with_the_nearest() {
    let (bench, _) = Bench::with_app();
    let ran = bench.line("status ap").exits(2);
    assert!(ran.stderr.contains("app"), "{}", ran.stderr);
    let ran = bench.line("status ap -o json").exits(2);
    assert_eq!(ran.error_code(), "no-such-connection");
}

#[test]
fn nothing_yet_is_no_failure() {
    let bench = Bench::new();
    let ran = bench.line("status").exits(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("connection add"), "{}", ran.stderr);
    assert_eq!(bench.line("status -o json").exits(0).stdout.trim(), "[]");
}

#[test]
fn into_a_pipe_there_is_no_colour_and_with_no_color_nowhere() {
    let (bench, _) = Bench::with_app();
    bench.line("rotate app").exits(0);
    for line in ["status", "status app", "history", "schedule"] {
        let ran = bench.line(line).exits(0);
        assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    }
    let mut forced = bench.command(["status", "app"]);
    forced.env("CLICOLOR_FORCE", "1");
    let ran = Run::of(forced, "").exits(0);
    assert!(ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let mut refused = bench.command(["status", "app"]);
    refused.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    let ran = Run::of(refused, "").exits(0);
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (bench, _) = Bench::with_app();
    bench.line("rotate app").exits(0);
    for line in [
        "status",
        "status app",
        "history -o json",
        "schedule --count 10000",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = bench.command(line.split_whitespace());
        command.stdout(Stdio::from(writer)).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        assert_eq!(stderr, "", "{line}");
    }
}
