//! `revoke`

use keywheel::sandbox::{Action, Fault, Kind, NewPassword, Registered, RetryAfter};

use crate::lab::{Lab, key_id};

/// A connection in overlap, and a secret of somebody else's on its application.
async fn in_overlap() -> (Lab, Registered) {
    let (lab, application) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    let foreign = NewPassword {
        display_name: Some("somebody \u{1b}[31melse".into()),
        ..NewPassword::default()
    };
    lab.sandbox.add_key(application.client_id, foreign);
    (lab, application)
}

#[tokio::test]
async fn the_previous_secret_goes_and_the_foreign_one_is_listed() {
    let (lab, application) = in_overlap().await;
    let [old, new, foreign] = lab.keys(&application)[..] else {
        panic!("three are there");
    };
    let ran = lab.run("revoke app --yes -o json").await.ended(0);
    let document = ran.json();
    assert_eq!(document["connection"], "app");
    assert_eq!(document["removed"].as_array().unwrap().len(), 1);
    assert_eq!(key_id(&document["removed"][0]), old);
    assert_eq!(document["pending"].as_array().unwrap().len(), 0);
    assert_eq!(key_id(&document["foreign"][0]["key_id"]), foreign);
    assert_eq!(document["foreign"][0]["display_name"], "somebody else");
    assert_eq!(lab.keys(&application), [new, foreign]);
    assert!(ran.stderr.contains("an hour and a half"), "{}", ran.stderr);
    assert!(lab.signs_in("app", &application));
}

#[tokio::test]
async fn without_a_terminal_it_wants_to_be_told_yes() {
    let (lab, application) = in_overlap().await;
    let before = lab.keys(&application);
    let ran = lab.run("revoke app").await.ended(2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(lab.keys(&application), before);
    let ran = lab.run("revoke app -o json").await.ended(2);
    assert_eq!(ran.error_code(), "not-confirmed");
}

#[tokio::test]
async fn p2_the_current_secret_goes_only_with_accept_outage() {
    let (lab, application) = in_overlap().await;
    let [old, current, foreign] = lab.keys(&application)[..] else {
        panic!("three are there");
    };
    let line = format!("revoke app --key-id {current} --yes -o json");
    let ran = lab.run(&line).await.ended(1);
    assert_eq!(ran.error_code(), "current-secret");
    assert!(ran.stdout.contains("--accept-outage"), "{}", ran.stdout);
    assert_eq!(lab.keys(&application), [old, current, foreign]);
    let ran = lab.run(&format!("{line} --accept-outage")).await;
    assert_eq!(key_id(&ran.json()["removed"][0]), current, "{ran:#?}");
    assert_eq!(lab.keys(&application), [old, foreign]);
}

#[tokio::test]
async fn p3_the_last_secret_that_works_is_never_removed() {
    let (lab, application) = Lab::with_app().await;
    let current = lab.current("app").await;
    let line = format!("revoke app --key-id {current} --accept-outage --yes");
    let ran = lab.run(&line).await.ended(1);
    assert!(ran.stderr.contains("the last secret"), "{}", ran.stderr);
    assert_eq!(lab.keys(&application), [current]);
}

#[tokio::test]
async fn p3_a_foreign_secret_is_never_removed() {
    let (lab, application) = in_overlap().await;
    let before = lab.keys(&application);
    let foreign = before[2];
    let line = format!("revoke app --key-id {foreign} --accept-outage --yes -o json");
    assert_eq!(lab.run(&line).await.ended(1).error_code(), "not-ours");
    assert_eq!(lab.keys(&application), before);
}

#[tokio::test]
async fn p7_what_could_not_be_removed_is_said() {
    let (lab, application) = in_overlap().await;
    let old = lab.keys(&application)[0];
    // Longer than the command waits: the tenant says when to come back.
    let later = Action::Throttle(RetryAfter::Seconds(600));
    let refusal = Fault::on(Kind::RemovePassword, later).always();
    lab.sandbox.inject(refusal);
    let ran = lab.run("revoke app --yes -o json").await.ended(3);
    let pending = &ran.json()["pending"][0];
    assert_eq!(key_id(&pending["key_id"]), old);
    assert!(pending["next_attempt_at"].is_string(), "{pending}");
    assert!(pending["error"]["code"].is_string(), "{pending}");
    let told = lab.run("status app").await.ended(0).stdout;
    assert!(told.contains("To be removed"), "{told}");
    assert!(told.contains(&old.to_string()), "{told}");
}

#[tokio::test]
async fn p7_a_list_that_failed_is_not_an_empty_one() {
    let (lab, application) = in_overlap().await;
    let later = Action::Throttle(RetryAfter::Seconds(600));
    let fault = Fault::on(Kind::GetApplication, later).always();
    lab.sandbox.inject(fault.of(application.client_id));
    let ran = lab.run("revoke app --yes -o json").await.ended(3);
    assert!(ran.json()["foreign"].is_null(), "{ran:#?}");
}
