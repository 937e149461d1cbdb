//! `history`

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::lab::Lab;

fn at(event: &Value) -> DateTime<Utc> {
    event["at"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_happened_is_told_in_its_order() {
    let (lab, _) = Lab::with_app().await;
    lab.adopt("billing").await;
    lab.run("rotate app").await.ended(0);
    let document = lab.run("history -o json").await.ended(0).json();
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
    let of_one = lab.run("history billing -o json").await.ended(0).json();
    assert!(
        of_one
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["connection"] == "billing")
    );
    let table = lab.run("history").await.ended(0).stdout;
    assert_eq!(table.lines().count(), events.len() + 1, "{table}");
}

#[tokio::test]
async fn since_and_until_bound_it() {
    let (lab, _) = Lab::with_app().await;
    let none = lab
        .run("history --until 2020-01-01T00:00:00Z -o json")
        .await;
    assert_eq!(none.ended(0).stdout.trim(), "[]");
    let all = lab
        .run("history --since 2020-01-01T00:00:00Z -o json")
        .await;
    assert!(!all.ended(0).json().as_array().unwrap().is_empty());
    let ran = lab
        .run("history --since 2026-02-01T00:00:00Z --until 2026-01-01T00:00:00Z")
        .await
        .ended(2);
    assert!(ran.stderr.contains("is not before"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_name_that_never_was_is_a_mistake() {
    let (lab, _) = Lab::with_app().await;
    let ran = lab.run("history aap -o json").await.ended(2);
    assert_eq!(ran.error_code(), "no-such-connection");
}
