//! `status`

use std::fs;
use std::process::Stdio;

use crate::lab::{Lab, run};

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

#[tokio::test]
async fn all_connections_as_a_table_and_as_json_without_the_master_key() {
    let (lab, _) = Lab::with_app().await;
    lab.adopt("billing").await;
    fs::remove_file(lab.master_key()).unwrap();
    let told = lab.run("status").await.ended(0);
    assert_eq!(told.stdout.lines().count(), 3, "{}", told.stdout);
    assert_eq!(told.stderr, "");
    let document = lab.run("status -o json").await.ended(0).json();
    let names: Vec<_> = document.as_array().unwrap().iter().collect();
    assert_eq!(names[0]["name"], "app");
    assert_eq!(names[1]["name"], "billing");
    for field in FIELDS {
        assert!(names[0].get(field).is_some(), "{field}");
    }
    assert_eq!(names[0]["health"], "ok");
    assert_eq!(names[0]["state"], "idle");
}

#[tokio::test]
async fn one_connection_in_all_its_parts() {
    let (lab, _) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    let told = lab.run("status app").await.ended(0).stdout;
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
    let document = lab.run("status app -o json").await.ended(0).json();
    assert_eq!(document.as_array().unwrap().len(), 1);
    assert_eq!(document[0]["state"], "overlapping");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_remedy_and_the_next_try() {
    let (lab, _) = Lab::with_app().await;
    lab.adopt("billing").await;
    lab.run("rotate app").await.ended(0);
    lab.fail_to_deliver("app").await;
    let document = lab.run("status app -o json").await.ended(0).json();
    let failure = &document[0]["last_error"];
    let told = lab.run("status").await.ended(0).stdout;
    for word in ["message", "code", "remedy", "at"] {
        let word = failure[word].as_str().unwrap();
        assert!(told.contains(word), "{word} in {told}");
    }
    assert!(told.contains("next try: "), "{told}");
    assert!(told.contains("billing"), "{told}");
}

#[tokio::test]
async fn an_unknown_name_is_told_with_the_nearest() {
    let (lab, _) = Lab::with_app().await;
    let ran = lab.run("status ap").await.ended(2);
    assert!(ran.stderr.contains("app"), "{}", ran.stderr);
    let ran = lab.run("status ap -o json").await.ended(2);
    assert_eq!(ran.error_code(), "no-such-connection");
}

#[tokio::test]
async fn nothing_yet_is_no_failure() {
    let lab = Lab::new().await;
    let ran = lab.run("status").await.ended(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("connection add"), "{}", ran.stderr);
    assert_eq!(lab.run("status -o json").await.ended(0).stdout.trim(), "[]");
}

#[tokio::test]
async fn into_a_pipe_there_is_no_colour_and_with_no_color_nowhere() {
    let (lab, _) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    for line in ["status", "status app", "history", "schedule"] {
        let ran = lab.run(line).await.ended(0);
        assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    }
    let mut forced = lab.command("status app");
    forced.env("CLICOLOR_FORCE", "1");
    let ran = run(forced).await.ended(0);
    assert!(ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let mut refused = lab.command("status app");
    refused.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    let ran = run(refused).await.ended(0);
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let (lab, _) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    for line in [
        "status",
        "status app",
        "history -o json",
        "schedule --count 10000",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(line);
        command.stdout(Stdio::from(writer)).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        assert_eq!(stderr, "", "{line}");
    }
}
