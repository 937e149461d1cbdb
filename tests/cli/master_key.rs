//! `master-key rotate`

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keywheel::store::master_key;

use crate::lab::Lab;

#[tokio::test]
async fn d4_twice_a_new_master_key_and_everything_still_opens() {
    let (lab, application) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    let mut keys = vec![fs::read(lab.master_key()).unwrap()];
    for _ in 0..2 {
        let ran = lab.run("master-key rotate -o json").await.ended(0);
        assert_eq!(ran.json()["resealed"], 2, "current and previous");
        assert_eq!(ran.json()["fingerprint"].as_str().unwrap().len(), 32);
        let key = fs::read(lab.master_key()).unwrap();
        assert!(!keys.contains(&key), "a new one each time");
        let mode = fs::metadata(lab.master_key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        keys.push(key);
        fs::remove_file(lab.file("app")).unwrap();
        lab.run("deliver app").await.ended(0);
        assert!(lab.signs_in("app", &application), "it opened");
    }
    lab.run("rotate app").await.ended(0);
    let history = lab.run("history").await.ended(0).stdout;
    assert_eq!(history.matches("master-key-changed").count(), 2);
    let ran = lab.run("master-key rotate").await.ended(0);
    assert!(ran.stdout.starts_with("done: "), "{}", ran.stdout);
}

#[tokio::test]
async fn d4_a_key_of_another_store_changes_nothing() {
    let (lab, _) = Lab::with_app().await;
    let right = fs::read(lab.master_key()).unwrap();
    fs::remove_file(lab.master_key()).unwrap();
    master_key::create(&lab.master_key()).unwrap();
    let wrong = fs::read(lab.master_key()).unwrap();
    let ran = lab.run("master-key rotate -o json").await.ended(2);
    assert_eq!(ran.error_code(), "master-key");
    assert_eq!(fs::read(lab.master_key()).unwrap(), wrong);
    fs::write(lab.master_key(), right).unwrap();
    lab.run("rotate app").await.ended(0);
}

#[tokio::test]
async fn p6_a_key_that_others_can_read_is_refused_with_the_remedy() {
    let (lab, _) = Lab::with_app().await;
    let before = fs::read(lab.master_key()).unwrap();
    fs::set_permissions(lab.master_key(), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = lab.run("master-key rotate").await.ended(2);
    assert!(ran.stderr.contains("chmod 0600"), "{}", ran.stderr);
    assert_eq!(fs::read(lab.master_key()).unwrap(), before);
}

#[tokio::test]
async fn a_key_that_can_t_be_written_is_told_how_by_hand() {
    let (lab, _) = Lab::with_app().await;
    for (source, word) in [
        ("credential = \"master-key\"", "systemd-creds encrypt"),
        ("env = \"KEYWHEEL_MASTER_KEY\"", "KEYWHEEL_MASTER_KEY"),
    ] {
        lab.write_settings(|text| format!("[master_key]\n{source}\n\n{text}"));
        let ran = lab.run("master-key rotate").await.ended(2);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
        assert!(ran.stderr.contains("`file`"), "{}", ran.stderr);
        lab.write_settings(|text| text.split_once("\n\n").unwrap().1.to_owned());
    }
}
