//! `orphans`

use keywheel::clock::{Clock, SystemClock};
use keywheel::connection::Overlap;
use keywheel::journal::{AttemptName, Outcome, Retry, Rotation, RotationId, State, Trigger};
use keywheel::sandbox::{Action, Fault, Kind, NewPassword, Registered};
use keywheel::store::{Change, Store};
use ulid::Ulid;

use crate::lab::{Lab, key_id};

/// A connection with a secret that an abandoned rotation asked for, and that showed up when nobody
/// looked for its name any more.
async fn with_an_orphan() -> (Lab, Registered) {
    let (lab, application) = Lab::with_app().await;
    lab.run("rotate app").await.ended(0);
    let attempt = AttemptName {
        instance: lab.store.instances().await.unwrap()[0],
        attempt: Ulid::new(),
    };
    let intended = Rotation {
        id: RotationId(Ulid::new()),
        trigger: Trigger::Manual,
        started_at: SystemClock.now(),
        overlap: Overlap::NextRotation,
        state: State::Intended {
            attempt,
            outcome: Outcome::NotMade,
        },
        retry: Retry::default(),
    };
    let abandoned = Rotation {
        state: State::Abandoned,
        ..intended.clone()
    };
    let journal = lab.journal("app").await;
    let places = (journal.declared.tenant_id, journal.declared.client_id);
    let lease = lab.store.try_lock(journal.id, places).await.unwrap();
    let lease = lease.unwrap();
    for rotation in [intended, abandoned] {
        let change = vec![Change::Rotation(rotation)];
        lab.store.commit(&lease, change).await.unwrap();
    }
    let late = NewPassword {
        display_name: Some(attempt.to_string()),
        ..NewPassword::default()
    };
    lab.sandbox.add_key(application.client_id, late);
    (lab, application)
}

#[tokio::test]
async fn k_an_orphan_is_listed_and_stays_until_somebody_asks() {
    let (lab, application) = with_an_orphan().await;
    let before = lab.keys(&application);
    let document = lab.run("orphans -o json").await.ended(0).json();
    assert_eq!(document[0]["connection"], "app");
    assert!(document[0]["error"].is_null(), "{document}");
    let orphans = document[0]["orphans"].as_array().unwrap();
    assert_eq!(orphans.len(), 1, "{document}");
    assert_eq!(key_id(&orphans[0]["key_id"]), before[2]);
    assert_eq!(orphans[0]["removed"], false);
    assert_eq!(lab.keys(&application), before);
    let refused = lab.run("orphans --remove").await.ended(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(lab.keys(&application), before);
}

#[tokio::test]
async fn k_orphans_are_removed_and_nothing_else_is() {
    let (lab, application) = with_an_orphan().await;
    let foreign = NewPassword {
        display_name: Some("somebody else".into()),
        ..NewPassword::default()
    };
    lab.sandbox.add_key(application.client_id, foreign);
    let mut left = lab.keys(&application);
    left.remove(2);
    let ran = lab.run("orphans --remove --yes -o json").await.ended(0);
    assert_eq!(ran.json()[0]["orphans"][0]["removed"], true, "{ran:#?}");
    assert_eq!(lab.keys(&application), left);
    let ran = lab.run("orphans").await.ended(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", "no orphans\n")
    );
}

#[tokio::test]
async fn p7_an_application_that_could_not_be_read_is_said() {
    let (lab, application) = with_an_orphan().await;
    let fault = Fault::on(Kind::GetApplication, Action::HangUp).always();
    lab.sandbox.inject(fault.of(application.client_id));
    let ran = lab.run("orphans -o json").await.ended(1);
    assert!(ran.json()[0]["error"]["code"].is_string(), "{ran:#?}");
    let ran = lab.run("orphans").await.ended(1);
    assert!(ran.stderr.contains("1 could not"), "{}", ran.stderr);
}
