//! `deliver` and `rollback`

use std::fs;

use crate::harness::{Bench, key_id};

#[test]
fn a_file_that_somebody_deleted_is_written_again() {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    fs::remove_file(bench.path("app.secret")).unwrap();
    let ran = bench.line("deliver app --to file").exits(0);
    let current = bench.current("app");
    assert_eq!(
        ran.stdout.trim(),
        format!("app: file holds Key ID {current}")
    );
    assert!(bench.signs_in("app", &application));
}

#[test]
fn deliver_prints_the_rotation_as_rotate_does() {
    let (bench, _) = Bench::with_app();
    let rotated = bench.line("rotate app -o json").exits(0).json();
    let delivered = bench.line("deliver app -o json").exits(0).json();
    assert_eq!(delivered, rotated[0]);
    for field in [
        "connection",
        "rotation_id",
        "state",
        "old_key_id",
        "new_key_id",
        "revoke_at",
        "error",
    ] {
        assert!(delivered.get(field).is_some(), "{field}");
    }
    assert_eq!(delivered["state"], "overlapping");
    assert_eq!(delivered.as_object().unwrap().len(), 7);
}

#[test]
fn deliver_tries_at_once_what_waits_for_another_try() {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    bench.fail_to_deliver("app");
    let told = bench.line("status app -o json").exits(0).json();
    assert_eq!(told[0]["destinations"][0]["state"], "retrying");
    fs::remove_dir(bench.path("app.secret")).unwrap();
    let ran = bench.line("deliver app -o json").exits(0);
    assert!(ran.json()["error"].is_null(), "{ran:#?}");
    assert!(bench.signs_in("app", &application));
}

/// A connection whose file's folder is missing when it is to be rotated.
fn folderless() -> Bench {
    let bench = Bench::new();
    let application = bench.application("app");
    fs::create_dir(bench.path("out")).unwrap();
    bench
        .add("app", &application, ["--to-file", "out/app.secret"])
        .exits(0);
    fs::remove_dir(bench.path("out")).unwrap();
    bench
}

#[test]
fn a_missing_folder_is_a_persons_to_mend() {
    let bench = folderless();
    let ran = bench.line("rotate app").exits(6);
    assert!(ran.stderr.contains("does not exist"), "{}", ran.stderr);
    let told = bench.line("status app -o json").exits(0).json();
    assert_eq!(told[0]["health"], "blocked");
    assert_eq!(told[0]["last_error"]["code"], "file-folder-missing");
    assert!(bench.mutations().is_empty());
}

#[test]
fn p7_what_was_mended_is_not_told_as_news() {
    let bench = folderless();
    bench.line("rotate app").exits(6);
    fs::create_dir(bench.path("out")).unwrap();
    let ran = bench.line("deliver app").exits(0);
    assert!(ran.stdout.contains("file holds Key ID"), "{ran:#?}");
    assert!(!ran.stderr.contains("error:"), "{ran:#?}");
    let ran = ran.says(["it was so at", "`keywheel rotate app` goes on"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    let told = bench.line("status app -o json").exits(0).json();
    assert!(told[0]["last_error"].is_null(), "{told}");
    assert_eq!(told[0]["health"], "waiting");
    let told = bench.line("status").exits(0).stdout;
    assert!(told.contains("`keywheel rotate app` goes on"), "{told}");
    assert!(bench.mutations().is_empty());
    bench.line("rotate app").exits(0);
    assert_eq!(bench.mutations().len(), 1);
}

#[test]
fn an_unknown_destination_is_told_with_the_nearest() {
    let (bench, _) = Bench::with_app();
    let ran = bench.line("deliver app --to fiel").exits(2);
    assert!(
        ran.stderr.contains("did you mean \"file\"?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn rollback_makes_the_previous_secret_current_again() {
    let (bench, application) = Bench::with_app();
    let old = bench.current("app");
    bench.line("rotate app").exits(0);
    let new = bench.current("app");
    let ran = bench.line("rollback app -o json").exits(0).json();
    assert_eq!(key_id(&ran["new_key_id"]), old);
    assert_eq!(key_id(&ran["old_key_id"]), new);
    assert_eq!(ran["state"], "overlapping");
    assert_eq!(bench.current("app"), old);
    assert!(bench.signs_in("app", &application));
    let value = fs::read_to_string(bench.path("app.secret")).unwrap();
    let keys = bench.sandbox.keys(application.client_id);
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&keys[0].value),
        &value,
        "the file holds the old one"
    );
}

#[test]
fn without_a_previous_secret_there_is_nothing_to_roll_back_to() {
    let (bench, _) = Bench::with_app();
    let ran = bench.line("rollback app -o json").exits(1);
    assert_eq!(ran.error_code(), "nothing-to-roll-back-to");
}

#[test]
fn a_connection_without_destinations_is_said_as_rotate_says_it() {
    let bench = Bench::new();
    for (name, pull, exit) in [("homeless", false, 6), ("pulled", true, 0)] {
        let application = bench.application(name);
        let more: &[&str] = if pull { &["--pull"] } else { &[] };
        match more {
            [pull] => bench.add(name, &application, [pull]).exits(0),
            _ => bench.add(name, &application, []).exits(0),
        };
        bench.unchanged_by(|| bench.line(&format!("deliver {name}")).exits(exit));
    }
}
