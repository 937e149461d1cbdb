//! `history`

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::harness::Bench;

fn at(event: &Value) -> DateTime<Utc> {
    event["at"].as_str().unwrap().parse().unwrap()
}

#[test]
fn what_happened_is_told_in_its_order() {
    let (bench, _) = Bench::with_app();
    bench.adopted("billing");
    bench.line("rotate app").exits(0);
    let document = bench.line("history -o json").exits(0).json();
    let events = document.as_array().unwrap();
    assert!(events.iter().map(at).is_sorted());
    for event in events {
        assert_eq!(event["at"].as_str().unwrap().len(), 20, "whole seconds");
        for field in [
            "at",
            "actor",
            "action",
            "connection",
            "rotation_id",
            "key_id",
            "result",
            "client_request_id",
        ] {
            assert!(event.get(field).is_some(), "{field} in {event}");
        }
        for field in ["user", "sudo_user", "host"] {
            assert!(event["actor"].get(field).is_some(), "{field} in {event}");
        }
    }
    let minted = events.iter().find(|event| event["action"] == "minted");
    let minted = minted.expect("a secret was minted");
    assert!(minted["key_id"].is_string() && minted["rotation_id"].is_string());
    let of_one = bench.line("history billing -o json").exits(0).json();
    assert!(
        of_one
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["connection"] == "billing")
    );
    let table = bench.line("history").exits(0).stdout;
    assert_eq!(table.lines().count(), events.len() + 1, "{table}");
}

#[test]
fn since_and_until_bound_it() {
    let (bench, _) = Bench::with_app();
    let none = bench.line("history --until 2020-01-01T00:00:00Z -o json");
    assert_eq!(none.exits(0).stdout.trim(), "[]");
    let all = bench.line("history --since 2020-01-01T00:00:00Z -o json");
    assert!(!all.exits(0).json().as_array().unwrap().is_empty());
    let ran = bench
        .line("history --since 2026-02-01T00:00:00Z --until 2026-01-01T00:00:00Z")
        .exits(2);
    assert!(ran.stderr.contains("is not before"), "{}", ran.stderr);
}

#[test]
fn a_name_that_never_was_is_a_mistake() {
    let (bench, _) = Bench::with_app();
    let ran = bench.line("history aap -o json").exits(2);
    assert_eq!(ran.error_code(), "no-such-connection");
}
