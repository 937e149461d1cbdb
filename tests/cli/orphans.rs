//! `orphans`

use keywheel::clock::{Clock, SystemClock};
use keywheel::connection::Overlap;
use keywheel::journal::{AttemptName, Outcome, Retry, Rotation, RotationId, State, Trigger};
use keywheel::sandbox::{Action, Fault, Kind, NewPassword, Registered};
use keywheel::store::{Change, Store};
use ulid::Ulid;

use crate::harness::{Bench, key_id};

/// A connection with a secret that an abandoned rotation asked for, and that showed up when nobody
/// looked for its name any more.
fn with_an_orphan() -> (Bench, Registered) {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    let store = bench.store();
    let attempt = AttemptName {
        instance: bench.wait(store.instances()).unwrap()[0],
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
    let journal = bench.journal("app");
    let places = (journal.declared.tenant_id, journal.declared.client_id);
    let lease = bench.wait(store.try_lock(journal.id, places)).unwrap();
    let lease = lease.unwrap();
    for rotation in [intended, abandoned] {
        let change = vec![Change::Rotation(rotation)];
        bench.wait(store.commit(&lease, change)).unwrap();
    }
    let late = NewPassword {
        display_name: Some(attempt.to_string()),
        ..NewPassword::default()
    };
    bench.sandbox.add_key(application.client_id, late);
    (bench, application)
}

#[test]
fn k_an_orphan_is_listed_and_stays_until_somebody_asks() {
    let (bench, application) = with_an_orphan();
    let before = bench.keys(&application);
    let document = bench.line("orphans -o json").exits(0).json();
    assert_eq!(document[0]["connection"], "app");
    assert!(document[0]["error"].is_null(), "{document}");
    let orphans = document[0]["orphans"].as_array().unwrap();
    assert_eq!(orphans.len(), 1, "{document}");
    assert_eq!(key_id(&orphans[0]["key_id"]), before[2]);
    assert_eq!(orphans[0]["removed"], false);
    assert_eq!(bench.keys(&application), before);
    let refused = bench.line("orphans --remove").exits(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(bench.keys(&application), before);
}

#[test]
fn k_orphans_are_removed_and_nothing_else_is() {
    let (bench, application) = with_an_orphan();
    let foreign = NewPassword {
        display_name: Some("somebody else".into()),
        ..NewPassword::default()
    };
    bench.sandbox.add_key(application.client_id, foreign);
    let mut left = bench.keys(&application);
    left.remove(2);
    let ran = bench.line("orphans --remove --yes -o json").exits(0);
    assert_eq!(ran.json()[0]["orphans"][0]["removed"], true, "{ran:#?}");
    assert_eq!(bench.keys(&application), left);
    let ran = bench.line("orphans").exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", "no orphans\n")
    );
}

#[test]
fn p7_an_application_that_could_not_be_read_is_said() {
    let (bench, application) = with_an_orphan();
    let fault = Fault::on(Kind::GetApplication, Action::HangUp).always();
    bench.sandbox.inject(fault.of(application.client_id));
    let ran = bench.line("orphans -o json").exits(1);
    assert!(ran.json()[0]["error"]["code"].is_string(), "{ran:#?}");
    let ran = bench.line("orphans").exits(1);
    assert!(ran.stderr.contains("1 could not"), "{}", ran.stderr);
}
