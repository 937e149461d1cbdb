//! `deliver` and `rollback`

use std::fs;

use crate::lab::{Lab, key_id};

#[tokio::test]
async fn a_file_that_somebody_deleted_is_written_again() {
    let (lab, application) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    fs::remove_file(lab.file("app")).unwrap();
    let ran = lab.run("deliver app --to file").await.ended(0);
    let current = lab.current("app").await;
    assert_eq!(
        ran.stdout.trim(),
        format!("app: file holds Key ID {current}")
    );
    assert!(lab.signs_in("app", &application));
}

#[tokio::test]
async fn deliver_prints_the_rotation_as_rotate_does() {
    let (lab, _) = Lab::with_app().await;
    let rotated = lab.run("rotate app -o json").await.ended(0).json();
    let delivered = lab.run("deliver app -o json").await.ended(0).json();
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

#[tokio::test]
async fn deliver_tries_at_once_what_waits_for_another_try() {
    let (lab, application) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    lab.fail_to_deliver("app").await;
    let told = lab.run("status app -o json").await.ended(0).json();
    assert_eq!(told[0]["destinations"][0]["state"], "retrying");
    fs::remove_dir(lab.file("app")).unwrap();
    let ran = lab.run("deliver app -o json").await.ended(0);
    assert!(ran.json()["error"].is_null(), "{ran:#?}");
    assert!(lab.signs_in("app", &application));
}

#[tokio::test]
async fn an_unknown_destination_is_told_with_the_nearest() {
    let (lab, _) = Lab::with_app().await;
    let ran = lab.run("deliver app --to fiel").await.ended(2);
    assert!(
        ran.stderr.contains("did you mean \"file\"?"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn rollback_makes_the_previous_secret_current_again() {
    let (lab, application) = Lab::with_app().await;
    let old = lab.current("app").await;
    lab.run("rotate app").await.ended(0);
    let new = lab.current("app").await;
    let ran = lab.run("rollback app -o json").await.ended(0).json();
    assert_eq!(key_id(&ran["new_key_id"]), old);
    assert_eq!(key_id(&ran["old_key_id"]), new);
    assert_eq!(ran["state"], "overlapping");
    assert_eq!(lab.current("app").await, old);
    assert!(lab.signs_in("app", &application));
    let value = fs::read_to_string(lab.file("app")).unwrap();
    let keys = lab.sandbox.keys(application.client_id);
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&keys[0].value),
        &value,
        "the file holds the old one"
    );
}

#[tokio::test]
async fn without_a_previous_secret_there_is_nothing_to_roll_back_to() {
    let (lab, _) = Lab::with_app().await;
    let ran = lab.run("rollback app -o json").await.ended(1);
    assert_eq!(ran.error_code(), "nothing-to-roll-back-to");
}
