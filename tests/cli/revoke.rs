//! `revoke`

use keywheel::sandbox::{Action, Fault, Kind, NewPassword, Registered, RetryAfter};

use crate::harness::{Bench, key_id};

/// A connection in overlap, and a secret of somebody else's on its application.
fn in_overlap() -> (Bench, Registered) {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    let foreign = NewPassword {
        display_name: Some("somebody \u{1b}[31melse".into()),
        ..NewPassword::default()
    };
    bench.sandbox.add_key(application.client_id, foreign);
    (bench, application)
}

#[test]
fn the_previous_secret_goes_and_the_foreign_one_is_listed() {
    let (bench, application) = in_overlap();
    let [old, new, foreign] = bench.keys(&application)[..] else {
        panic!("three are there");
    };
    let ran = bench.line("revoke app --yes -o json").exits(0);
    let document = ran.json();
    assert_eq!(document["connection"], "app");
    assert_eq!(document["removed"].as_array().unwrap().len(), 1);
    assert_eq!(key_id(&document["removed"][0]), old);
    assert_eq!(document["pending"].as_array().unwrap().len(), 0);
    assert_eq!(key_id(&document["foreign"][0]["key_id"]), foreign);
    assert_eq!(document["foreign"][0]["display_name"], "somebody else");
    assert_eq!(bench.keys(&application), [new, foreign]);
    assert!(ran.stderr.contains("an hour and a half"), "{}", ran.stderr);
    assert!(bench.signs_in("app", &application));
}

#[test]
fn without_a_terminal_it_wants_to_be_told_yes() {
    let (bench, application) = in_overlap();
    let before = bench.keys(&application);
    let ran = bench.line("revoke app").exits(2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(bench.keys(&application), before);
    let ran = bench.line("revoke app -o json").exits(2);
    assert_eq!(ran.error_code(), "not-confirmed");
}

#[test]
fn p2_the_current_secret_goes_only_with_accept_outage() {
    let (bench, application) = in_overlap();
    let [old, current, foreign] = bench.keys(&application)[..] else {
        panic!("three are there");
    };
    let line = format!("revoke app --key-id {current} --yes -o json");
    let ran = bench.line(&line).exits(1);
    assert_eq!(ran.error_code(), "current-secret");
    assert!(ran.stdout.contains("--accept-outage"), "{}", ran.stdout);
    assert_eq!(bench.keys(&application), [old, current, foreign]);
    let ran = bench.line(&format!("{line} --accept-outage"));
    assert_eq!(key_id(&ran.json()["removed"][0]), current, "{ran:#?}");
    assert_eq!(bench.keys(&application), [old, foreign]);
}

#[test]
fn p3_the_last_secret_that_works_is_never_removed() {
    let (bench, application) = Bench::with_app();
    let current = bench.current("app");
    let line = format!("revoke app --key-id {current} --accept-outage --yes");
    let ran = bench.line(&line).exits(1);
    assert!(ran.stderr.contains("the last secret"), "{}", ran.stderr);
    assert_eq!(bench.keys(&application), [current]);
}

#[test]
fn p3_a_foreign_secret_is_never_removed() {
    let (bench, application) = in_overlap();
    let before = bench.keys(&application);
    let foreign = before[2];
    let line = format!("revoke app --key-id {foreign} --accept-outage --yes -o json");
    assert_eq!(bench.line(&line).exits(1).error_code(), "not-ours");
    assert_eq!(bench.keys(&application), before);
}

#[test]
fn p7_what_could_not_be_removed_is_said() {
    let (bench, application) = in_overlap();
    let old = bench.keys(&application)[0];
    // Longer than the command waits: the tenant says when to come back.
    let later = Action::Throttle(RetryAfter::Seconds(600));
    let refusal = Fault::on(Kind::RemovePassword, later).always();
    bench.sandbox.inject(refusal);
    let ran = bench.line("revoke app --yes -o json").exits(3);
    let pending = &ran.json()["pending"][0];
    assert_eq!(key_id(&pending["key_id"]), old);
    assert!(pending["next_attempt_at"].is_string(), "{pending}");
    assert!(pending["error"]["code"].is_string(), "{pending}");
    let told = bench.line("status app").exits(0).stdout;
    assert!(told.contains("To be removed"), "{told}");
    assert!(told.contains(&old.to_string()), "{told}");
}

#[test]
fn p7_a_list_that_failed_is_not_an_empty_one() {
    let (bench, application) = in_overlap();
    let later = Action::Throttle(RetryAfter::Seconds(600));
    let fault = Fault::on(Kind::GetApplication, later).always();
    bench.sandbox.inject(fault.of(application.client_id));
    let ran = bench.line("revoke app --yes -o json").exits(3);
    assert!(ran.json()["foreign"].is_null(), "{ran:#?}");
}
