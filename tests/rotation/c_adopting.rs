//! C: taking over a secret that somebody made. What is refused leaves nothing behind.

use chrono::TimeDelta;
use keywheel::connection::{DestinationSpec, FileFormat};
use keywheel::entra::KeyId;
use keywheel::rotation::AdvanceFault;
use keywheel::rotation::adopt::{AdoptFault, Adopted, Candidate};
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{
    Action, Fault, Kind, NewApplication, NewPassword, Owner, Registered, SignInError,
};
use keywheel::store::{Store, StoreFault};
use secrecy::SecretString;
use uuid::Uuid;

use crate::world::{World, start};

const ELSEWHERE: KeyId = KeyId(Uuid::from_u128(7));

/// The code of the check that failed; what it left behind is looked at too.
async fn refused(world: &World, adopted: Result<Adopted, AdoptFault>) -> String {
    let code = match adopted {
        Err(AdoptFault::Check { code, .. }) => code,
        other => panic!("not refused by a check: {other:?}"),
    };
    assert!(world.store.journals().await.unwrap().is_empty());
    assert!(world.events().await.is_empty());
    let changes = |kind| matches!(kind, Kind::AddPassword | Kind::RemovePassword);
    assert!(!world.sandbox.calls().iter().any(|call| changes(call.kind)));
    code
}

fn candidate(world: &World, application: &Registered) -> Candidate {
    let declared = world.declared("app", application, &world.to_file("app"));
    world.candidate(declared, application)
}

/// An application whose secrets have these values.
fn with_values(world: &World, values: &[&str]) -> Registered {
    let end = start() + TimeDelta::days(60);
    let mut new = NewApplication::rotating_itself(world.tenant, "app", end);
    new.passwords = values
        .iter()
        .map(|value| NewPassword {
            value: Some(SecretString::from(*value)),
            ..NewPassword::until(end)
        })
        .collect();
    world.sandbox.add_application(new)
}

/// Another application that owns what it rotates, as the identity `rotator` of the settings.
async fn rotator(world: &mut World) -> Registered {
    let end = start() + TimeDelta::days(90);
    let new = NewApplication::rotating_itself(world.tenant, "rotator", end);
    let application = world.sandbox.add_application(new);
    crate::by_hand::sign_in_as_rotator(world, &application).await;
    application
}

#[tokio::test]
async fn c1_a_key_id_that_is_not_on_the_application_is_refused() {
    let world = World::new().await;
    let application = world.application("app");
    let adopted = world.engine.adopt(Candidate {
        key_id: Some(ELSEWHERE),
        ..candidate(&world, &application)
    });
    let adopted = adopted.await;
    assert_eq!(refused(&world, adopted).await, "key-not-on-application");
}

#[tokio::test]
async fn c2_a_key_id_of_another_secret_is_refused() {
    let world = World::new().await;
    let application = with_values(&world, &["abc~first", "xyz~second"]);
    let adopted = world.engine.adopt(Candidate {
        key_id: Some(application.keys[1].key_id),
        ..candidate(&world, &application)
    });
    let adopted = adopted.await;
    assert_eq!(refused(&world, adopted).await, "hint-differs");
}

#[tokio::test]
async fn c2_the_secret_id_pasted_for_the_value_is_refused() {
    let world = World::new().await;
    let application = world.application("app");
    let key_id = application.keys[0].key_id;
    let adopted = world.engine.adopt(Candidate {
        secret: SecretString::from(key_id.to_string()),
        key_id: Some(key_id),
        ..candidate(&world, &application)
    });
    let adopted = adopted.await;
    assert_eq!(refused(&world, adopted).await, "AADSTS7000215");
}

/// An application of which the rotator is the owner, with a secret that ended yesterday.
fn expired(world: &World, owner: &Registered) -> Registered {
    let yesterday = start() - TimeDelta::days(1);
    let mut new = NewApplication::new(world.tenant, "app");
    new.owners = vec![Owner::ServicePrincipal(owner.service_principal_id)];
    new.passwords = vec![NewPassword::until(yesterday)];
    world.sandbox.add_application(new)
}

#[tokio::test]
async fn c3_an_expired_secret_is_refused_where_it_would_have_to_rotate_itself() {
    let world = World::new().await;
    let yesterday = start() - TimeDelta::days(1);
    let new = NewApplication::rotating_itself(world.tenant, "app", yesterday);
    let application = world.sandbox.add_application(new);
    let adopted = world.engine.adopt(Candidate {
        rotate_now: true,
        ..candidate(&world, &application)
    });
    let adopted = adopted.await;
    assert_eq!(refused(&world, adopted).await, "AADSTS7000222");
}

#[tokio::test]
async fn c3_an_expired_secret_is_adopted_with_another_identity_and_rotated_at_once_when_asked() {
    let mut world = World::new().await;
    let rotator = rotator(&mut world).await;
    let application = expired(&world, &rotator);
    let given = |rotate_now| {
        let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
        let declared = world.declared("app", &application, &more);
        Candidate {
            rotate_now,
            ..world.candidate(declared, &application)
        }
    };
    let adopted = world.engine.adopt(given(false)).await;
    assert_eq!(refused(&world, adopted).await, "secret-expired");
    world.engine.adopt(given(true)).await.unwrap();
    world.due("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.signs_in(&application, &world.file("app")).everywhere);
}

#[tokio::test]
async fn c4_a_secret_that_does_not_sign_in_is_refused() {
    let world = World::new().await;
    let application = world.application("app");
    let adopted = world.engine.adopt(Candidate {
        secret: SecretString::from("not~the.value"),
        ..candidate(&world, &application)
    });
    let adopted = adopted.await;
    assert_eq!(refused(&world, adopted).await, "AADSTS7000215");
}

#[tokio::test]
async fn c4_an_outage_says_nothing_about_the_secret() {
    let world = World::new().await;
    let application = world.application("app");
    let fault = Fault::on(Kind::Token, Action::HangUp).always();
    world.sandbox.inject(fault);
    let adopted = world.engine.adopt(candidate(&world, &application)).await;
    let passing = matches!(adopted, Err(AdoptFault::Check { passing: true, .. }));
    assert!(passing, "{adopted:?}");
    world.sandbox.clear_faults();
    let refusal = SignInError::InvalidSecret(application.client_id);
    world
        .sandbox
        .inject(Fault::on(Kind::Token, Action::RefuseSignIn(refusal)));
    let adopted = world.engine.adopt(candidate(&world, &application)).await;
    let lasting = matches!(adopted, Err(AdoptFault::Check { passing: false, .. }));
    assert!(lasting, "{adopted:?}");
}

#[tokio::test]
async fn c5_where_one_hint_fits_its_key_id_is_taken_and_said() {
    let world = World::new().await;
    let application = with_values(&world, &["abc~first", "xyz~second"]);
    let adopted = world.engine.adopt(candidate(&world, &application)).await;
    let adopted = adopted.unwrap();
    assert!(adopted.worked_out);
    assert_eq!(adopted.key_id, application.keys[0].key_id);
}

#[tokio::test]
async fn c5_where_several_hints_fit_they_are_listed_and_asked_for() {
    let world = World::new().await;
    let application = with_values(&world, &["abc~first", "abc~second"]);
    let ids: Vec<KeyId> = application.keys.iter().map(|key| key.key_id).collect();
    let adopted = world.engine.adopt(candidate(&world, &application)).await;
    let message = adopted.as_ref().unwrap_err().to_string();
    assert!(ids.iter().all(|id| message.contains(&id.to_string())));
    assert_eq!(refused(&world, adopted).await, "several-keys-fit");
    let said = Candidate {
        key_id: Some(ids[0]),
        ..candidate(&world, &application)
    };
    assert_eq!(world.engine.adopt(said).await.unwrap().key_id, ids[0]);
}

#[tokio::test]
async fn c6_restarts_bring_no_rotation_forward() {
    let mut world = World::new().await;
    let application = world.adopted().await;
    let due_at = world.journal("app").await.due_at;
    assert!(due_at > start() + TimeDelta::days(29));
    for _ in 0..29 {
        world.restart().await;
        world.days_later(1).await;
    }
    assert_eq!(world.journal("app").await.due_at, due_at);
    assert_eq!(world.keys(&application).len(), 1);
    world.clock.set(due_at);
    world.due("app").await;
    world.restart().await;
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn c7_a_second_connection_for_one_application_is_refused() {
    let world = World::new().await;
    let application = world.adopted().await;
    let adopted = world.adopt("twin", &application, "").await;
    let Err(AdoptFault::Engine(fault)) = adopted else {
        panic!("{adopted:?}");
    };
    assert!(fault.to_string().contains("app"), "{fault}");
    assert_eq!(world.store.journals().await.unwrap().len(), 1);
}

#[tokio::test]
async fn c7_a_second_connection_that_delivers_to_the_same_place_is_refused() {
    let world = World::new().await;
    world.adopted().await;
    let other = world.application("other");
    let path = world.file("app");
    // The same file, and a key inside it.
    for format in ["", "format = \"dotenv\"\nkey = \"SECRET\"\n"] {
        let more = format!(
            "[[destination]]\nkind = \"file\"\nname = \"theirs\"\npath = \"{}\"\n{format}",
            path.display()
        );
        let adopted = world.adopt("other", &other, &more).await;
        let Err(AdoptFault::Check { code, .. }) = adopted else {
            panic!("{format}: {adopted:?}");
        };
        assert_eq!(code, "place-taken");
    }
}

#[tokio::test]
async fn c7_two_connections_may_keep_a_key_each_in_one_file() {
    let world = World::new().await;
    for name in ["one", "two"] {
        let application = world.application(name);
        let mut declared = world.declared(name, &application, &world.to_file("shared"));
        let [DestinationSpec::File(file)] = declared.destinations.as_mut_slice() else {
            panic!();
        };
        file.format = FileFormat::Dotenv;
        file.key = Some(name.to_uppercase());
        let candidate = world.candidate(declared, &application);
        world.engine.adopt(candidate).await.unwrap();
        world.rotate(name).await;
    }
    let text = std::fs::read_to_string(world.file("shared")).unwrap();
    assert!(text.contains("ONE=") && text.contains("TWO="));
}

#[tokio::test]
async fn c8_foreign_secrets_are_reported_and_never_touched() {
    let world = World::new().await;
    let application = with_values(&world, &["abc~ours", "xyz~theirs"]);
    let foreign = application.keys[1].key_id;
    let adopted = world.engine.adopt(candidate(&world, &application)).await;
    assert_eq!(adopted.unwrap().foreign, [foreign]);
    for _ in 0..3 {
        world.rotate("app").await;
        world.days_later(8).await;
    }
    let current = world.current("app").await;
    assert_eq!(world.keys(&application), [foreign, current]);
}

#[tokio::test]
async fn c9_a_destination_that_can_not_be_written_is_found_out_before_adopting() {
    let world = World::new().await;
    let application = world.application("app");
    let mut declared = world.declared("app", &application, &world.to_file("app"));
    let DestinationSpec::File(file) = &mut declared.destinations[0];
    file.path = world.folder.path().join("missing").join("app.secret");
    let candidate = world.candidate(declared, &application);
    let adopted = world.engine.adopt(candidate).await;
    refused(&world, adopted).await;
}

#[tokio::test]
async fn c9_a_destination_that_can_not_be_written_is_found_out_before_adding() {
    let world = World::new().await;
    let application = world.application("app");
    let folder = world.folder.path().join("mounted");
    std::fs::create_dir(&folder).unwrap();
    let mut declared = world.declared("app", &application, &world.to_file("app"));
    let DestinationSpec::File(file) = &mut declared.destinations[0];
    file.path = folder.join("app.secret");
    let candidate = world.candidate(declared, &application);
    world.engine.adopt(candidate).await.unwrap();
    std::fs::remove_dir(&folder).unwrap();
    world
        .advance("app", Order::rotate(None, false, std::time::Duration::ZERO))
        .await;
    let added = world
        .sandbox
        .calls_of(Kind::AddPassword, application.client_id);
    assert!(added.is_empty());
    assert!(world.rotation("app").await.retry.last.is_some(), "P7");
    std::fs::create_dir(&folder).unwrap();
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn c9_an_optional_destination_does_not_hold_up_a_rotation() {
    let world = World::new().await;
    let application = world.application("app");
    let mut declared = world.declared("app", &application, &world.to_file("app"));
    let DestinationSpec::File(mut optional) = declared.destinations[0].clone();
    let folder = world.folder.path().join("optional");
    std::fs::create_dir(&folder).unwrap();
    optional.name = "optional".into();
    optional.path = folder.join("app.secret");
    optional.required = false;
    declared.destinations.push(DestinationSpec::File(optional));
    let candidate = world.candidate(declared, &application);
    world.engine.adopt(candidate).await.unwrap();
    std::fs::remove_dir(&folder).unwrap();
    let order = Order::rotate(None, false, std::time::Duration::from_secs(60));
    world.advance("app", order).await;
    assert_eq!(world.state("app").await, "overlapping");
    let delivery = &world.journal("app").await.deliveries[1];
    assert!(delivery.retry.last.is_some(), "P7: {delivery:?}");
}

#[tokio::test]
async fn c9_a_store_that_can_not_be_written_is_found_out_before_adding() {
    let mut world = World::new().await;
    let application = world.adopted().await;
    let failing = crate::d_storage::FailingStore::around(&mut world);
    failing.fail_for_ever();
    let order = Order::rotate(None, false, crate::world::PATIENT);
    let advanced = world.engine.advance(&"app".parse().unwrap(), order).await;
    assert!(matches!(
        advanced,
        Err(AdvanceFault::Store(StoreFault::Io { .. }))
    ));
    let added = world
        .sandbox
        .calls_of(Kind::AddPassword, application.client_id);
    assert!(added.is_empty());
}

#[tokio::test]
async fn p7_a_first_rotation_outside_of_the_window_is_moved_and_said() {
    let world = World::new().await;
    let application = world.application("app");
    let more = format!(
        "only = [\"mon-thu\"]\nrotate_at = \"10:00\"\n{}",
        world.to_file("app")
    );
    let declared = world.declared("app", &application, &more);
    let candidate = Candidate {
        // A Saturday.
        next_rotation_at: Some("2026-03-07T12:00:00Z".parse().unwrap()),
        ..world.candidate(declared, &application)
    };
    let adopted = world.engine.adopt(candidate).await.unwrap();
    let monday: chrono::DateTime<chrono::Utc> = "2026-03-09T10:00:00Z".parse().unwrap();
    assert_eq!(adopted.due_at, monday);
    let said = adopted
        .notes
        .iter()
        .any(|note| note.contains("2026-03-09T10:00:00Z"));
    assert!(said, "{:?}", adopted.notes);
    assert_eq!(world.journal("app").await.next_action_at, Some(monday));
}
