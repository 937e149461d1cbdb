//! `connection edit`: only what is given changes.

use keywheel::sandbox::{Action, Fault, GraphError, Kind, NewPassword};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::harness::{Bench, Run};

fn edit<const N: usize>(bench: &Bench, more: [&str; N]) -> Run {
    let line = ["connection", "edit", "app"].into_iter().chain(more);
    bench.run(line)
}

fn show(bench: &Bench) -> Value {
    let run = bench.run(["connection", "show", "app", "-o", "json"]);
    run.exits(0).json()
}

#[test]
fn only_what_is_given_changes() {
    let bench = Bench::new();
    bench.adopted("app");
    let before = show(&bench);
    edit(&bench, ["--label", "team=a"]).exits(0);
    let mut after = show(&bench);
    assert_eq!(after["labels"], serde_json::json!({"team": "a"}));
    after["labels"] = serde_json::json!({});
    assert_eq!(after, before);
    edit(&bench, ["--remove-label", "team"]).exits(0);
    assert_eq!(show(&bench), before);
}

#[test]
fn another_schedule_is_counted_from_the_same_date() {
    let bench = Bench::new();
    let application = bench.application("app");
    let more = ["--pull", "--next-rotation-at", "2030-01-31T10:00:00Z"];
    bench.add("app", &application, more).exits(0);
    assert_eq!(show(&bench)["next_rotation_at"], "2030-01-31T10:00:00Z");
    edit(&bench, ["--label", "a=b"]).exits(0);
    assert_eq!(show(&bench)["next_rotation_at"], "2030-01-31T10:00:00Z");
    // The secret ends before that, so the guard counts.
    edit(&bench, ["--rotate-at", "11:30", "--timezone", "UTC"]).exits(0);
    let next = show(&bench)["next_rotation_at"].clone();
    assert!(next.as_str().unwrap() < "2030", "{next}");
}

#[test]
fn a_lifetime_that_is_too_short_is_refused() {
    let bench = Bench::new();
    bench.adopted("app");
    let wrong = ["--interval-days", "30", "--lifetime-days", "31"];
    let run = bench.unchanged_by(|| edit(&bench, wrong).exits(2));
    run.says(["lifetime"]);
}

#[test]
fn a_new_destination_waits_for_the_next_rotation_and_says_so() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let run = edit(
        &bench,
        ["--to-file", "second.secret", "--to-file-mode", "0640"],
    )
    .exits(0);
    run.says(["second.secret", "next rotation", "keywheel deliver app"]);
    assert!(!bench.path("second.secret").exists());
    bench
        .run(["deliver", "app", "--to", "second.secret"])
        .exits(0);
    assert_eq!(
        bench.read("second.secret"),
        application.keys[0].value.expose_secret()
    );
    edit(&bench, ["--remove-destination", "second.secret"]).exits(0);
    let left = show(&bench)["destinations"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1);
    let run = bench.unchanged_by(|| edit(&bench, ["--remove-destination", "fiel"]).exits(2));
    run.says(["no destination", "\"file\""]);
}

#[test]
fn p2_a_destination_that_is_added_during_an_overlap_gets_the_secret_at_once() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    bench.run(["rotate", "app"]).exits(0);
    edit(&bench, ["--to-file", "late.secret"])
        .exits(0)
        .says(["at once"]);
    bench.run(["rotate", "--due"]).exits(0);
    let keys = bench.sandbox.keys(application.client_id);
    assert_eq!(bench.read("late.secret"), keys[1].value.expose_secret());
}

#[test]
fn an_edit_clears_the_retry_ladder() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let fault =
        Fault::on(Kind::AddPassword, Action::Refuse(GraphError::Denied)).of(application.client_id);
    bench.sandbox.inject(fault);
    bench.run(["rotate", "app"]).exits(6);
    bench.run(["rotate", "--due"]).exits(0);
    assert_eq!(show(&bench)["state"], "blocked");
    edit(&bench, ["--label", "a=b"]).exits(0);
    bench.run(["rotate", "--due"]).exits(0);
    assert_eq!(show(&bench)["state"], "overlapping");
}

#[test]
fn a_place_that_another_connection_has_is_refused() {
    let bench = Bench::new();
    bench.adopted("app");
    bench.adopted("other");
    let run = bench.unchanged_by(|| edit(&bench, ["--to-file", "other.secret"]).exits(2));
    run.says(["other already delivers"]);
}

#[test]
fn a_rename_keeps_everything_else() {
    let bench = Bench::new();
    bench.adopted("old");
    bench
        .run(["connection", "edit", "old", "--rename", "app"])
        .exits(0);
    bench.run(["connection", "show", "old"]).exits(2);
    assert_eq!(show(&bench)["name"], "app");
    bench.run(["rotate", "app"]).exits(0);
}

#[test]
fn another_secret_is_adopted_with_all_checks_and_delivered() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let wrong = bench.write("wrong", "abcdefghijklmnopqrstuvwxyz0123456789ABCD");
    let before = show(&bench);
    edit(&bench, ["--secret-file", wrong.to_str().unwrap()]).exits(1);
    assert_eq!(show(&bench), before);
    let by_hand = NewPassword::until("2099-01-01T00:00:00Z".parse().unwrap());
    let key = bench.sandbox.add_key(application.client_id, by_hand);
    let key = key.unwrap();
    let given = bench.write("given", key.value.expose_secret());
    edit(&bench, ["--secret-file", given.to_str().unwrap()]).exits(0);
    let after = show(&bench);
    assert_eq!(after["current"]["key_id"], key.key_id.to_string());
    assert_eq!(after["previous"][0]["key_id"], before["current"]["key_id"]);
    assert_eq!(bench.read("app.secret"), key.value.expose_secret());
}

#[test]
fn what_it_is_for_can_t_be_changed_and_it_is_said_what_can() {
    let bench = Bench::new();
    bench.adopted("app");
    let other = bench.application("other");
    for (flag, value, field) in [
        ("--tenant-id", other.tenant_id.to_string(), "tenant_id"),
        ("--client-id", other.client_id.to_string(), "client_id"),
        ("--client-id", "no-guid".into(), "client_id"),
        ("--cloud", "public".into(), "cloud"),
    ] {
        let run = bench.unchanged_by(|| edit(&bench, [flag, &value]).exits(2));
        let run = run.says([
            &format!("{field} can't be changed once connection app is adopted"),
            "under another name",
            "connection remove app",
        ]);
        assert_eq!(run.stderr.lines().count(), 2, "{run:?}");
    }
    let help = bench.run(["connection", "edit", "--help"]).exits(0);
    assert!(!help.stdout.contains("--tenant-id"), "{}", help.stdout);
}

#[test]
fn an_edit_that_is_made_twice_is_done_and_one_that_says_nothing_is_a_mistake() {
    let bench = Bench::new();
    bench.adopted("app");
    edit(&bench, ["--overlap", "3d"]).exits(0);
    let run = bench.unchanged_by(|| edit(&bench, ["--overlap", "3d"]).exits(0));
    run.says(["nothing to do"]);
    edit(&bench, []).exits(2).says(["--help"]);
}

#[test]
fn p7_what_was_not_checked_yet_is_not_said_to_live_for_ever() {
    let bench = Bench::new();
    let application = bench.application("app");
    let key_id = application.keys[0].key_id.to_string();
    let more = ["--pull", "--no-check", "--key-id", &key_id];
    let run = bench.add("app", &application, more).exits(0);
    assert!(
        run.stdout.contains("unknown until it is checked"),
        "{}",
        run.stdout
    );
    for line in [
        "connection list",
        "connection show app",
        "status",
        "status app",
    ] {
        let run = bench.line(line).exits(0);
        let said = run.stdout.contains("unknown") || run.stdout.contains("checked");
        let wrong = ["never", "for ever", "no end"];
        let wrong = wrong.iter().any(|word| run.stdout.contains(word));
        assert!(said && !wrong, "{line}: {}", run.stdout);
    }
}
