//! What a person asks for: revoke, deliver, roll back, another secret, and the rest.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::journal::{Origin, Role};
use keywheel::rotation::AdvanceFault;
use keywheel::rotation::adopt::{AdoptFault, Adopted};
use keywheel::rotation::advance::{Order, Stop, Which};
use keywheel::rotation::plan::Next;
use keywheel::sandbox::{
    Action, Fault, Kind, NewApplication, NewPassword, Owner, Registered, SignInError,
};
use keywheel::store::Change;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::world::{PATIENT, World, start};

/// The code of what was refused.
pub fn code(done: Result<Stop, AdvanceFault>) -> &'static str {
    match done {
        Err(AdvanceFault::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

/// The settings get this application as the identity `rotator`; its secret is in a file.
pub async fn sign_in_as_rotator(world: &mut World, application: &Registered) {
    let file = world.file("rotator");
    std::fs::write(&file, application.keys[0].value.expose_secret()).unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, owner_only).unwrap();
    let table = format!(
        "[[identity]]\nname = \"rotator\"\nkind = \"client-secret\"\ntenant_id = \"{}\"\n\
         client_id = \"{}\"\nsecret_file = \"{}\"\ncloud = \"lab\"\n",
        application.tenant_id,
        application.client_id,
        file.display()
    );
    world.configure(&table).await;
}

/// The application of the identity `rotator`.
async fn rotator(world: &mut World) -> Registered {
    let end = start() + TimeDelta::days(60);
    let new = NewApplication::rotating_itself(world.tenant, "rotator", end);
    let application = world.sandbox.add_application(new);
    sign_in_as_rotator(world, &application).await;
    application
}

async fn adopted(more: &str) -> (World, Registered) {
    let world = World::new().await;
    let application = world.application("app");
    let more = format!("{more}{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    (world, application)
}

async fn revoke(world: &World, which: Which) -> Result<Stop, AdvanceFault> {
    let name = "app".parse().unwrap();
    world.engine.revoke(&name, which, PATIENT).await
}

async fn rollback(world: &World) -> Result<Stop, AdvanceFault> {
    world
        .engine
        .rollback(&"app".parse().unwrap(), PATIENT)
        .await
}

async fn readopt(
    world: &World,
    value: SecretString,
    key_id: Option<KeyId>,
) -> Result<Adopted, AdoptFault> {
    let name = "app".parse().unwrap();
    let adopted = world.engine.readopt(&name, value, key_id, false).await;
    adopted.map(Option::unwrap)
}

fn key(key_id: KeyId, accept_outage: bool) -> Which {
    Which::Key {
        key_id,
        accept_outage,
    }
}

fn another_key(world: &World, application: &Registered, days: i64) -> keywheel::sandbox::Key {
    let end = world.clock.now() + TimeDelta::days(days);
    let new = NewPassword::until(end);
    world.sandbox.add_key(application.client_id, new).unwrap()
}

// revoke

#[tokio::test]
async fn revoke_removes_the_previous_ones_at_once() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    world.rotate("app").await;
    assert_eq!(world.keys(&application).len(), 3);
    revoke(&world, Which::Previous).await.unwrap();
    assert_eq!(world.keys(&application), [world.current("app").await]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn revoke_removes_one_by_its_key_id() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let second = world.current("app").await;
    world.rotate("app").await;
    let third = world.current("app").await;
    revoke(&world, key(application.keys[0].key_id, false))
        .await
        .unwrap();
    assert_eq!(world.keys(&application), [second, third]);
}

#[tokio::test]
async fn revoke_starts_the_ladder_anew() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let fault = Fault::on(Kind::RemovePassword, Action::HangUp).always();
    world.sandbox.inject(fault);
    world.days_later(8).await;
    world.sandbox.clear_faults();
    world
        .engine
        .advance(&"app".parse().unwrap(), Order::DUE)
        .await
        .unwrap();
    assert_eq!(world.keys(&application).len(), 2, "it waits for hours");
    let name = "app".parse().unwrap();
    let hour = Duration::from_secs(600);
    world
        .engine
        .revoke(&name, Which::Previous, hour)
        .await
        .unwrap();
    assert_eq!(world.keys(&application).len(), 1);
}

#[tokio::test]
async fn revoke_refuses_what_is_not_ours() {
    let (world, application) = adopted("").await;
    let foreign = another_key(&world, &application, 90).key_id;
    for key_id in [foreign, KeyId(Uuid::from_u128(9))] {
        for accept_outage in [false, true] {
            let refused = revoke(&world, key(key_id, accept_outage)).await;
            assert_eq!(code(refused), "not-ours", "P3");
        }
    }
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn revoke_refuses_the_current_one_without_accepting_an_outage() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let refused = revoke(&world, key(world.current("app").await, false)).await;
    assert_eq!(code(refused), "current-secret");
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn revoke_of_the_current_one_makes_the_previous_one_current_again() {
    let (world, application) = adopted("").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    let second = world.current("app").await;
    revoke(&world, key(second, true)).await.unwrap();
    assert_eq!(world.keys(&application), [first]);
    assert_eq!(world.current("app").await, first, "P2: there is always one");
    assert!(world.holds(&application, &world.file("app"), first));
    assert!(world.journal("app").await.rotations.is_empty());
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn revoke_refuses_what_consumers_still_need() {
    let (world, application) = undelivered().await;
    let first = application.keys[0].key_id;
    assert_eq!(
        code(revoke(&world, key(first, false)).await),
        "still-needed"
    );
    let previous = revoke(&world, Which::Previous).await;
    assert_eq!(code(previous), "still-needed", "P7");
    assert_eq!(world.keys(&application).len(), 2);
    let name = "app".parse().unwrap();
    let minutes = Duration::from_secs(300);
    let revoked = world.engine.revoke(&name, key(first, true), minutes).await;
    revoked.unwrap();
    assert_eq!(world.keys(&application), [world.current("app").await]);
}

/// Rotated, and the destination can't take it.
pub async fn undelivered() -> (World, Registered) {
    let world = World::new().await;
    let application = world.application("app");
    let broken = world.folder.path().join("broken");
    std::fs::write(&broken, "").unwrap();
    let more = format!(
        "{}reload = [\"/bin/sh\", \"-c\", \"test ! -e {}\"]\n",
        world.to_file("app"),
        broken.display()
    );
    world.adopt("app", &application, &more).await.unwrap();
    let order = Order::rotate(None, false, Duration::from_secs(60));
    world.advance("app", order).await;
    assert_eq!(world.state("app").await, "delivering");
    (world, application)
}

#[tokio::test]
async fn revoke_of_a_pending_one_abandons_the_rotation() {
    let (world, application, pending) = unproved().await;
    assert_eq!(
        code(revoke(&world, key(pending, false)).await),
        "still-pending"
    );
    revoke(&world, key(pending, true)).await.unwrap();
    assert_eq!(world.state("app").await, "abandoned");
    assert_eq!(world.keys(&application), [application.keys[0].key_id]);
}

/// A rotation whose new secret does not sign in.
pub async fn unproved() -> (World, Registered, KeyId) {
    let (world, application) = adopted("").await;
    let client_id = application.client_id;
    // The two sign-ins before the add are left alone.
    let refusal = Action::RefuseSignIn(SignInError::InvalidSecret(client_id));
    let sandbox = Fault::on(Kind::Token, refusal).nth(2).always();
    world.sandbox.inject(sandbox);
    let order = Order::rotate(None, false, Duration::ZERO);
    world.advance("app", order).await;
    world.sandbox.clear_faults();
    assert_eq!(world.state("app").await, "minted");
    let journal = world.journal("app").await;
    let pending = journal.secrets.iter().find(|s| s.role == Role::Pending);
    let pending = pending.unwrap().key_id;
    (world, application, pending)
}

#[tokio::test]
async fn rotate_while_one_is_being_abandoned_starts_another() {
    let (world, application, pending) = unproved().await;
    let name = "app".parse().unwrap();
    let dead = Fault::on(Kind::RemovePassword, Action::HangUp);
    world.sandbox.inject(dead);
    let which = key(pending, true);
    let revoked = world.engine.revoke(&name, which, Duration::ZERO).await;
    revoked.unwrap();
    assert_eq!(world.state("app").await, "abandoning");
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    let current = world.current("app").await;
    assert_eq!(
        world.keys(&application),
        [application.keys[0].key_id, current]
    );
}

// deliver

#[tokio::test]
async fn deliver_hands_the_current_secret_out_again() {
    let world = World::new().await;
    let application = world.application("app");
    let more = world.to_file("one") + &world.to_file("two");
    world.adopt("app", &application, &more).await.unwrap();
    let current = world.current("app").await;
    let name = "app".parse().unwrap();
    assert!(!world.file("one").exists(), "adopting delivers nothing");
    world
        .engine
        .deliver(&name, Some("two"), PATIENT)
        .await
        .unwrap();
    assert!(!world.file("one").exists());
    assert!(world.holds(&application, &world.file("two"), current));
    world.engine.deliver(&name, None, PATIENT).await.unwrap();
    assert!(world.holds(&application, &world.file("one"), current));
    let unknown = world.engine.deliver(&name, Some("three"), PATIENT).await;
    assert_eq!(code(unknown), "no-such-destination");
}

// rollback

#[tokio::test]
async fn rollback_makes_the_previous_one_current_and_then_revokes_the_other() {
    let (world, application) = adopted("").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    world.days_later(5).await;
    rollback(&world).await.unwrap();
    assert_eq!(world.current("app").await, first);
    assert!(world.holds(&application, &world.file("app"), first));
    assert_eq!(world.state("app").await, "overlapping");
    world.days_later(6).await;
    assert_eq!(world.keys(&application).len(), 2, "a new overlap");
    world.days_later(1).await;
    assert_eq!(world.keys(&application), [first]);
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn rollback_with_two_open_rotations_goes_one_step_back() {
    let (world, application) = adopted("").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    let second = world.current("app").await;
    world.days_later(2).await;
    world.rotate("app").await;
    rollback(&world).await.unwrap();
    assert_eq!(world.current("app").await, second);
    assert_eq!(world.keys(&application).len(), 3);
    world.days_later(5).await;
    assert!(
        !world.keys(&application).contains(&first),
        "its own overlap"
    );
    world.days_later(2).await;
    assert_eq!(world.keys(&application), [second]);
}

/// The first rotation is in its overlap; the second has no overlap, and its old secret is gone.
async fn with_one_that_outlives_the_next() -> (World, Registered, KeyId) {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let order = Order::rotate(Some("0s".parse().unwrap()), false, PATIENT);
    world.advance("app", order).await;
    let first = application.keys[0].key_id;
    let keys = [first, world.current("app").await];
    assert_eq!(world.keys(&application), keys);
    (world, application, first)
}

#[tokio::test]
async fn rollback_goes_to_the_newest_previous_one_that_is_left() {
    let (world, application, first) = with_one_that_outlives_the_next().await;
    let third = world.current("app").await;
    rollback(&world).await.unwrap();
    assert_eq!(world.current("app").await, first);
    assert!(world.holds(&application, &world.file("app"), first));
    // It is no longer what goes at the end of its overlap; the other one is.
    world.days_later(6).await;
    assert_eq!(world.keys(&application), [first, third], "P2");
    world.days_later(1).await;
    assert_eq!(world.keys(&application), [first]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn revoke_of_the_current_one_goes_to_the_newest_previous_one_that_is_left() {
    let (world, application, first) = with_one_that_outlives_the_next().await;
    let third = world.current("app").await;
    revoke(&world, key(third, true)).await.unwrap();
    assert_eq!(world.current("app").await, first);
    assert_eq!(world.keys(&application), [first]);
    assert!(world.holds(&application, &world.file("app"), first));
    world.days_later(8).await;
    assert_eq!(world.keys(&application), [first], "P2");
}

#[tokio::test]
async fn rollback_passes_over_one_that_is_gone() {
    let (world, application) = adopted("").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    let second = world.current("app").await;
    world.clock.advance(Duration::from_secs(86_400));
    world.rotate("app").await;
    world.clock.advance(Duration::from_secs(86_400));
    world.sandbox.delete_key(application.client_id, second);
    rollback(&world).await.unwrap();
    assert_eq!(world.current("app").await, first);
    world.days_later(9).await;
    assert_eq!(world.keys(&application), [first]);
    assert!(world.journal("app").await.rotations.is_empty());
}

/// The next so many proofs of the application's secrets are refused, as by replicas that lag.
fn refuse(world: &World, application: &Registered, times: u32) {
    let refusal = Action::RefuseSignIn(SignInError::InvalidSecret(application.client_id));
    let fault = Fault::on(Kind::Token, refusal).of(application.client_id);
    world.sandbox.inject(fault.times(times));
}

#[tokio::test]
async fn a2_rollback_trusts_no_single_refusal_of_a_young_secret() {
    let (world, application) = adopted("").await;
    world.clock.advance(Duration::from_secs(86_400));
    world.rotate("app").await;
    let second = world.current("app").await;
    rollback(&world).await.unwrap();
    refuse(&world, &application, 3);
    rollback(&world).await.unwrap();
    assert_eq!(world.current("app").await, second);
    assert!(world.holds(&application, &world.file("app"), second));
}

#[tokio::test]
async fn a2_a_rollback_that_could_not_be_proved_says_when_to_try_again() {
    let (world, application) = adopted("").await;
    world.clock.advance(Duration::from_secs(86_400));
    world.rotate("app").await;
    let name = "app".parse().unwrap();
    // The older one was in use a moment ago; the newer one is young.
    for _ in 0..2 {
        let before = world.journal("app").await;
        refuse(&world, &application, u32::MAX);
        let tried = world.engine.rollback(&name, Duration::from_secs(30)).await;
        let Err(AdvanceFault::NotYet { code, remedy, .. }) = tried else {
            panic!("{tried:?}");
        };
        assert_eq!(code, "not-proved-yet");
        assert!(remedy.contains("try again"), "{remedy}");
        assert_eq!(world.journal("app").await, before);
        world.sandbox.clear_faults();
        rollback(&world).await.unwrap();
    }
    // Later a refusal is what it says.
    world.clock.advance(Duration::from_secs(3_600));
    refuse(&world, &application, u32::MAX);
    assert_eq!(code(rollback(&world).await), "rollback-refused");
    world.sandbox.clear_faults();
    let dead = Fault::on(Kind::Token, Action::HangUp).always();
    world.sandbox.inject(dead);
    let tried = rollback(&world).await;
    assert!(
        matches!(tried, Err(AdvanceFault::NotYet { .. })),
        "{tried:?}"
    );
}

#[tokio::test]
async fn a2_revoke_trusts_no_single_refusal_of_a_young_secret() {
    let (world, application) = adopted("").await;
    world.clock.advance(Duration::from_secs(86_400));
    world.rotate("app").await;
    let second = world.current("app").await;
    refuse(&world, &application, 2);
    let first = application.keys[0].key_id;
    revoke(&world, key(first, true)).await.unwrap();
    assert_eq!(world.keys(&application), [second]);
}

#[tokio::test]
async fn p8_after_a_rollback_the_older_secrets_end_decides() {
    let world = World::new().await;
    let end = start() + TimeDelta::days(15);
    let new = NewApplication::rotating_itself(world.tenant, "app", end);
    let application = world.sandbox.add_application(new);
    let more = world.to_file("app");
    world.adopt("app", &application, &more).await.unwrap();
    world.rotate("app").await;
    let due_at = world.journal("app").await.due_at;
    assert!(due_at > end, "a full interval follows");
    rollback(&world).await.unwrap();
    let journal = world.journal("app").await;
    assert!(journal.due_at < end, "P8: {}", journal.due_at);
    assert!(journal.next_action_at.unwrap() < end);
}

#[tokio::test]
async fn rollback_is_refused_where_nothing_lives() {
    let (world, application) = adopted("").await;
    assert_eq!(code(rollback(&world).await), "nothing-to-roll-back-to");
    let order = Order::rotate(None, true, PATIENT);
    world.advance("app", order).await;
    assert_eq!(code(rollback(&world).await), "nothing-to-roll-back-to");
    world.rotate("app").await;
    let previous = world.journal("app").await;
    let previous = previous.secrets.iter().find(|s| s.role == Role::Previous);
    let previous = previous.unwrap().key_id;
    world.sandbox.delete_key(application.client_id, previous);
    assert_eq!(code(rollback(&world).await), "rollback-refused");
    assert_ne!(world.current("app").await, previous);
}

#[tokio::test]
async fn rollback_is_refused_while_a_rotation_stands_before_promoted() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    world.clock.advance(Duration::from_secs(60));
    let refusal = SignInError::InvalidSecret(application.client_id);
    let fault = Fault::on(Kind::Token, Action::RefuseSignIn(refusal)).nth(2);
    world.sandbox.inject(fault.always());
    let order = Order::rotate(None, false, Duration::ZERO);
    world.advance("app", order).await;
    world.sandbox.clear_faults();
    assert_eq!(code(rollback(&world).await), "rotation-under-way");
}

// another secret by hand

#[tokio::test]
async fn readopt_of_the_same_key_corrects_the_value() {
    let world = World::new().await;
    let application = world.application("app");
    let declared = world.declared("app", &application, &world.to_file("app"));
    let mut candidate = world.candidate(declared, &application);
    candidate.secret = SecretString::from("wrong");
    candidate.key_id = Some(application.keys[0].key_id);
    candidate.check = false;
    world.engine.adopt(candidate).await.unwrap();
    assert_eq!(unchecked(&world).await, 1, "P3: not ours yet");
    let value = application.keys[0].value.clone();
    let adopted = readopt(&world, value, None).await.unwrap();
    assert_eq!(adopted.key_id, application.keys[0].key_id);
    assert_eq!(unchecked(&world).await, 0);
    world.rotate("app").await;
    world.days_later(7).await;
    assert_eq!(world.keys(&application), [world.current("app").await]);
}

async fn unchecked(world: &World) -> usize {
    let secrets = world.journal("app").await.secrets;
    let unchecked = secrets.iter().filter(|s| s.origin == Origin::Unchecked);
    unchecked.count()
}

#[tokio::test]
async fn readopt_of_the_same_key_keeps_what_is_known_of_it() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let before = world.journal("app").await;
    let before = before.current().unwrap();
    let value = world.key(&application, before.key_id).value;
    readopt(&world, value, None).await.unwrap();
    let after = world.journal("app").await;
    assert_eq!(after.current().unwrap(), before);
}

#[tokio::test]
async fn readopt_of_another_key_follows_as_a_rotation_would() {
    let (world, application) = adopted("").await;
    let first = world.current("app").await;
    let given = another_key(&world, &application, 40);
    readopt(&world, given.value.clone(), None).await.unwrap();
    world.due("app").await;
    assert_eq!(world.current("app").await, given.key_id);
    assert!(world.holds(&application, &world.file("app"), given.key_id));
    let due_at = world.journal("app").await.due_at;
    assert!(due_at < start() + TimeDelta::days(27), "P8: {due_at}");
    assert!(world.keys(&application).contains(&first));
    world.days_later(7).await;
    assert_eq!(world.keys(&application), [given.key_id]);
}

#[tokio::test]
async fn readopt_of_a_previous_key_turns_its_rotation_round() {
    let (world, application) = adopted("").await;
    let first = application.keys[0].clone();
    world.rotate("app").await;
    world.days_later(5).await;
    readopt(&world, first.value.clone(), None).await.unwrap();
    world.due("app").await;
    assert_eq!(world.current("app").await, first.key_id);
    assert!(world.holds(&application, &world.file("app"), first.key_id));
    // A rotation now begins an overlap of its own; the one that it was to go in ended long since.
    world.clock.advance(Duration::from_secs(4 * 86_400));
    world.rotate("app").await;
    assert!(world.keys(&application).contains(&first.key_id), "P2");
    world.days_later(6).await;
    assert!(world.keys(&application).contains(&first.key_id), "P2");
    world.days_later(2).await;
    assert_eq!(world.keys(&application), [world.current("app").await]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn readopt_refuses_a_key_that_is_being_removed() {
    let (world, application) = adopted("").await;
    let first = application.keys[0].clone();
    world.rotate("app").await;
    let fault = Fault::on(Kind::RemovePassword, Action::HangUp).always();
    world.sandbox.inject(fault);
    world.clock.advance(Duration::from_secs(60));
    let name = "app".parse().unwrap();
    let revoked = world.engine.revoke(&name, Which::Previous, Duration::ZERO);
    revoked.await.unwrap();
    let adopted = readopt(&world, first.value.clone(), None).await;
    assert!(matches!(
        adopted,
        Err(AdoptFault::Engine(AdvanceFault::Refused {
            code: "being-removed",
            ..
        }))
    ));
}

#[tokio::test]
async fn readopt_refuses_an_expired_secret() {
    let mut world = World::new().await;
    let owner = rotator(&mut world).await;
    let application = owned(&world, &owner, 60);
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    let given = another_key(&world, &application, -1);
    let adopted = readopt(&world, given.value, Some(given.key_id)).await;
    let Err(AdoptFault::Check { code, .. }) = adopted else {
        panic!("{adopted:?}");
    };
    assert_eq!(code, "secret-expired", "P2");
}

// overlaps

#[tokio::test]
async fn next_rotation_revokes_just_before_the_next_add() {
    let (world, application) = adopted("overlap = \"next-rotation\"\n").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    let second = world.current("app").await;
    world.days_later(20).await;
    assert_eq!(world.keys(&application), [first, second]);
    world.sandbox.forget_calls();
    world.rotate("app").await;
    assert_eq!(
        world.keys(&application),
        [second, world.current("app").await]
    );
    let changes: Vec<Kind> = world
        .sandbox
        .calls()
        .iter()
        .map(|call| call.kind)
        .filter(|kind| matches!(kind, Kind::AddPassword | Kind::RemovePassword))
        .collect();
    assert_eq!(changes, [Kind::RemovePassword, Kind::AddPassword]);
}

#[tokio::test]
async fn next_rotation_goes_on_although_the_revocation_fails() {
    let (world, application) = adopted("overlap = \"next-rotation\"\n").await;
    let first = world.current("app").await;
    world.rotate("app").await;
    // The last look can't be had.
    let dead = Fault::on(Kind::GetApplication, Action::HangUp);
    world.sandbox.inject(dead);
    world.clock.advance(Duration::from_secs(3 * 86_400));
    let order = Order::rotate(None, false, Duration::from_secs(60));
    world.advance("app", order).await;
    let third = world.current("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.holds(&application, &world.file("app"), third));
    world.days_later(1).await;
    assert!(
        !world.keys(&application).contains(&first),
        "tried again beside it"
    );
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn next_rotation_is_not_forgotten_when_the_ladder_is_begun_anew() {
    let (world, application) = adopted("overlap = \"next-rotation\"\n").await;
    world.rotate("app").await;
    let dead = Fault::on(Kind::GetApplication, Action::HangUp);
    world.sandbox.inject(dead);
    world.clock.advance(Duration::from_secs(3 * 86_400));
    let order = Order::rotate(None, false, Duration::ZERO);
    world.advance("app", order).await;
    let order = Order {
        clear_backoff: true,
        ..Order::resume(PATIENT)
    };
    world.advance("app", order).await;
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn revoke_now_ends_open_overlaps_and_makes_its_own_none() {
    let (world, application) = adopted("").await;
    world.rotate("app").await;
    let order = Order::rotate(None, true, PATIENT);
    world.advance("app", order).await;
    assert_eq!(world.keys(&application), [world.current("app").await]);
    assert!(world.journal("app").await.rotations.is_empty());
    assert!(world.signs_in(&application, &world.file("app")).everywhere);
}

#[tokio::test]
async fn an_overlap_of_none_revokes_as_soon_as_all_hold_the_new_one() {
    let (world, application) = adopted("overlap = \"0s\"\n").await;
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [world.current("app").await]);
}

#[tokio::test]
async fn an_overlap_that_is_given_holds_for_a_rotation_that_is_resumed() {
    let (world, application, _) = unproved().await;
    let order = Order::rotate(Some("1d".parse().unwrap()), false, PATIENT);
    world.advance("app", order).await;
    assert_eq!(world.state("app").await, "overlapping");
    world.days_later(1).await;
    assert_eq!(world.keys(&application).len(), 1);
}

// pause

#[tokio::test]
async fn pause_holds_rotations_and_revocations_and_never_deliveries() {
    let (world, application) = undelivered().await;
    world.commit("app", vec![Change::Pause(true)]).await;
    std::fs::remove_file(world.folder.path().join("broken")).unwrap();
    world.days_later(1).await;
    let current = world.current("app").await;
    assert!(world.holds(&application, &world.file("app"), current));
    assert_eq!(world.state("app").await, "overlapping");
    world.days_later(40).await;
    assert_eq!(world.keys(&application).len(), 2);
    assert_eq!(world.current("app").await, current);
    assert_eq!(code(revoke(&world, Which::Previous).await), "paused", "P7");
    let order = Order::rotate(None, false, PATIENT);
    let rotated = world.engine.advance(&"app".parse().unwrap(), order).await;
    assert_eq!(code(rotated), "paused", "P7");
    world.commit("app", vec![Change::Pause(false)]).await;
    world.due("app").await;
    assert_ne!(world.current("app").await, current);
    assert!(
        !world
            .keys(&application)
            .contains(&application.keys[0].key_id)
    );
}

// identities

/// An application that the rotator owns.
fn owned(world: &World, owner: &Registered, days: i64) -> Registered {
    let mut new = NewApplication::new(world.tenant, "app");
    new.owners = vec![Owner::ServicePrincipal(owner.service_principal_id)];
    new.passwords = vec![NewPassword::until(start() + TimeDelta::days(days))];
    world.sandbox.add_application(new)
}

#[tokio::test]
async fn an_identity_that_owns_the_application_rotates_it() {
    let mut world = World::new().await;
    let owner = rotator(&mut world).await;
    let application = owned(&world, &owner, 60);
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    world.rotate("app").await;
    world.days_later(7).await;
    assert_eq!(world.keys(&application), [world.current("app").await]);
    for kind in [Kind::AddPassword, Kind::RemovePassword] {
        let calls = world.sandbox.calls_of(kind, application.client_id);
        assert!(
            calls
                .iter()
                .all(|call| call.caller == Some(owner.client_id))
        );
    }
}

#[tokio::test]
async fn the_secret_file_of_an_identity_is_read_anew_for_each_token() {
    let mut world = World::new().await;
    let owner = rotator(&mut world).await;
    let application = owned(&world, &owner, 60);
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    let next = another_key(&world, &owner, 90);
    std::fs::write(world.file("rotator"), next.value.expose_secret()).unwrap();
    world
        .sandbox
        .delete_key(owner.client_id, owner.keys[0].key_id);
    world.clock.advance(Duration::from_secs(2 * 3600));
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
}

/// The replica that was asked may not know a secret that has just been delivered to the file.
#[tokio::test]
async fn a2_one_refusal_of_an_identity_blocks_nothing() {
    let mut world = World::new().await;
    let owner = rotator(&mut world).await;
    let application = owned(&world, &owner, 60);
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    world.clock.advance(Duration::from_secs(2 * 3600));
    let refusal = Action::RefuseSignIn(SignInError::InvalidSecret(owner.client_id));
    let fault = Fault::on(Kind::Token, refusal).of(owner.client_id).times(2);
    world.sandbox.inject(fault);
    let order = Order::rotate(None, false, Duration::from_secs(300));
    world.advance("app", order).await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn an_application_that_an_identity_signs_in_with_delivers_to_its_secret_file() {
    let mut world = World::new().await;
    let owner = rotator(&mut world).await;
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    let adopted = world.adopt("rotator", &owner, &more).await;
    assert!(adopted.is_err(), "P2: the identity would be cut off");
    for identity in ["self", "rotator"] {
        let more = format!("identity = \"{identity}\"\n{}", world.to_file("rotator"));
        let declared = world.declared("rotator", &owner, &more);
        match identity {
            "self" => drop(
                world
                    .engine
                    .adopt(world.candidate(declared, &owner))
                    .await
                    .unwrap(),
            ),
            _ => {
                world
                    .commit("rotator", vec![Change::Declare(declared)])
                    .await
            }
        }
        world.rotate("rotator").await;
        world.clock.advance(Duration::from_secs(7 * 86_400));
        world.due("rotator").await;
        let current = world.current("rotator").await;
        assert_eq!(world.keys(&owner), [current], "{identity}");
        assert!(world.holds(&owner, &world.file("rotator"), current));
    }
    let application = owned(&world, &owner, 60);
    let more = format!("identity = \"rotator\"\n{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
}

// nowhere to deliver to

#[tokio::test]
async fn without_a_destination_it_is_rotated_by_hand_alone() {
    let world = World::new().await;
    let application = world.application("app");
    world.adopt("app", &application, "").await.unwrap();
    world.clock.set(world.journal("app").await.due_at);
    assert_eq!(world.due("app").await, Stop::At(Next::NoDestination));
    assert_eq!(world.keys(&application).len(), 1);
    world.rotate("app").await;
    assert_eq!(world.keys(&application).len(), 2);
    world.days_later(7).await;
    assert_eq!(world.keys(&application).len(), 1);
}

#[tokio::test]
async fn p7_what_is_under_way_is_not_delayed_by_a_missing_destination() {
    let world = World::new().await;
    let application = world.application("app");
    let more = "overlap = \"9d\"\n";
    world.adopt("app", &application, more).await.unwrap();
    let due_at = world.journal("app").await.due_at;
    world.clock.set(due_at - TimeDelta::days(1));
    world.rotate("app").await;
    let mut journal = world.journal("app").await;
    // The interval was shortened: it is due while the overlap still runs, which ends in an hour.
    let at = world.clock.now() + TimeDelta::days(9);
    world.clock.set(at - TimeDelta::hours(1));
    let due_at = world.clock.now() - TimeDelta::hours(1);
    let anchor = journal.anchor;
    world
        .commit("app", vec![Change::Schedule { anchor, due_at }])
        .await;
    world.due("app").await;
    journal = world.journal("app").await;
    assert!(journal.next_action_at.unwrap() <= at);
}

#[tokio::test]
async fn consumers_that_pull_are_a_place_to_go() {
    let world = World::new().await;
    let application = world.application("app");
    world
        .adopt("app", &application, "pull = true")
        .await
        .unwrap();
    world.clock.set(world.journal("app").await.due_at);
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2);
    assert_eq!(world.state("app").await, "overlapping");
}
