//! F, G: the service as a process among others.

use std::time::Duration;

use keywheel::clock::{Clock, SystemClock};
use keywheel::sandbox::{Action, Fault, Kind, SignInError};
use rustix::process::Signal;

use crate::host::{Host, until};

#[tokio::test]
async fn f8_what_is_due_is_rotated_by_itself_and_systemd_is_told() {
    let host = Host::new(3).await;
    let mut service = host.serve(&[("WATCHDOG_USEC", "300000")]);
    let told = host.until_told("READY=1").await;
    assert!(
        told.iter()
            .any(|line| line.starts_with("STATUS=3 connections"))
    );
    host.until_rotated().await;
    host.until_told("WATCHDOG=1").await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
    assert!(host.told().contains(&"STOPPING=1".to_owned()));
    host.assert_whole().await;
}

#[tokio::test]
async fn g1_a_second_service_on_the_store_says_so_and_ends() {
    let host = Host::new(1).await;
    let mut first = host.serve(&[]);
    host.until_told("READY=1").await;
    let mut second = host.serve(&[]);
    assert_eq!(second.ended().await, Some(5));
    second
        .until_logged("another `keywheel run` serves this store")
        .await;
    // The one that is there goes on, and makes room when it ends, however it ends (G2).
    first.signal(Signal::KILL);
    first.ended().await;
    host.told();
    let _third = host.serve(&[]);
    host.until_told("READY=1").await;
}

#[tokio::test]
async fn g7_sigterm_finishes_the_step_in_hand_and_the_next_start_goes_on() {
    let host = Host::new(4).await;
    // Each call that adds a secret is under way when the service is told to end.
    let slow = Action::Delay(Duration::from_millis(300));
    host.sandbox
        .inject(Fault::on(Kind::AddPassword, slow).after_effect().times(4));
    let mut service = host.serve(&[]);
    until(async || {
        host.sandbox
            .calls()
            .iter()
            .any(|call| call.kind == Kind::AddPassword)
    })
    .await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
    // What was answered meanwhile is kept, not lost: no second call is made for it.
    let mut service = host.serve(&[]);
    host.until_rotated().await;
    service.signal(Signal::TERM);
    service.ended().await;
    for (name, application) in &host.kept {
        let added = host
            .sandbox
            .calls_of(Kind::AddPassword, application.client_id);
        assert_eq!(added.len(), 1, "P4: {name}");
    }
    host.assert_whole().await;
}

#[tokio::test]
async fn g7_sigterm_ends_a_long_proof_at_once() {
    let host = Host::new(1).await;
    let refused = host.kept[0].1.client_id;
    // The first sign-in is for Graph; from the first proof on all are refused, and proving would
    // go on for twenty minutes.
    let error = SignInError::InvalidSecret(refused);
    let fault = Fault::on(Kind::Token, Action::RefuseSignIn(error));
    host.sandbox.inject(fault.of(refused).nth(2).always());
    let mut service = host.serve(&[]);
    until(async || {
        host.journal("app-0")
            .await
            .rotations
            .first()
            .is_some_and(|it| it.state.name() == "minted")
    })
    .await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
    host.sandbox.clear_faults();
    let mut service = host.serve(&[]);
    host.until_rotated().await;
    service.signal(Signal::TERM);
    service.ended().await;
    host.assert_whole().await;
}

#[tokio::test]
async fn g7_sighup_reads_the_settings_again_and_keeps_the_old_ones_where_they_are_wrong() {
    let host = Host::new(1).await;
    let mut service = host.serve(&[]);
    host.until_told("READY=1").await;
    let config = host.path("keywheel.toml");
    let right = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{right}\n[defaults]\ninterval_dais = 7\n")).unwrap();
    service.signal(Signal::HUP);
    let told = host.until_told("READY=1").await;
    assert!(told.contains(&"RELOADING=1".to_owned()), "{told:?}");
    service.until_logged("the old ones stay in force").await;
    let log = service.log();
    assert!(
        log.contains("keywheel.toml:") && log.contains("interval_days"),
        "{log}"
    );

    let other = right.replace("listen = \"off\"", "concurrency = 3");
    std::fs::write(&config, other).unwrap();
    service.signal(Signal::HUP);
    service
        .until_logged("service.concurrency and service.listen can't change")
        .await;

    std::fs::write(&config, format!("{right}\n[defaults]\ninterval_days = 7\n")).unwrap();
    service.signal(Signal::HUP);
    service.until_logged("the settings were read again").await;
    host.until_rotated().await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn settings_that_are_wrong_at_start_are_all_said_and_nothing_is_touched() {
    let host = Host::new(1).await;
    let config = host.path("keywheel.toml");
    let right = std::fs::read_to_string(&config).unwrap();
    let wrong = right.replace("listen = \"off\"", "listen = \"here\"\nconcurency = 3");
    std::fs::write(&config, wrong).unwrap();
    let calls = host.sandbox.calls().len();
    let mut service = host.serve(&[]);
    assert_eq!(service.ended().await, Some(2));
    let log = service.log();
    assert!(log.contains("here") && log.contains("concurrency"), "{log}");
    assert_eq!(host.sandbox.calls().len(), calls);
}

#[tokio::test]
async fn p7_a_service_without_connections_says_so() {
    let host = Host::new(0).await;
    let service = host.serve(&[]);
    let told = host.until_told("STATUS=").await;
    assert!(
        told.iter()
            .any(|line| line.contains("there are no connections")),
        "{told:?}"
    );
    service.until_logged("there are no connections").await;
}

#[tokio::test]
async fn d2_twenty_kills_while_a_hundred_rotate_and_all_converge() {
    let host = Host::new(100).await;
    let mut rng = fastrand::Rng::with_seed(20);
    let mut hits = 0;
    for _ in 0..20 {
        let mut service = host.serve(&[]);
        host.until_told("READY=1").await;
        SystemClock
            .sleep(Duration::from_millis(rng.u64(0..40)))
            .await;
        service.signal(Signal::KILL);
        service.ended().await;
        host.told();
        hits += usize::from(host.open().await > 0);
    }
    assert!(
        hits >= 15,
        "{hits} of the kills came while something was open"
    );
    let mut service = host.serve(&[]);
    host.until_rotated().await;
    // Lost answers are cleaned up too.
    until(async || {
        let journals = host.engine.store.journals().await.unwrap();
        journals.iter().all(|journal| journal.removals.is_empty())
    })
    .await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
    host.assert_whole().await;
}
