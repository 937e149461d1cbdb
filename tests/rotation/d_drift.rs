//! D5: the current secret is gone from Entra: somebody has deleted it in the portal.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::rotation::advance::Order;
use keywheel::rotation::standing::{Health, Standing, is_blocked, standing};
use keywheel::rotation::verify::Verdict;
use keywheel::sandbox::{Kind, NewPassword, Registered};

use crate::world::{PATIENT, World};

const DRIFT: &str = "drift-current-refused";
const DAY: Duration = Duration::from_secs(86_400);

async fn standing_of(world: &World) -> Standing {
    let journal = world.journal("app").await;
    let terms = world.engine.terms(&journal).unwrap();
    standing(&journal, &terms, world.clock.now())
}

async fn drifts(world: &World) -> Vec<Option<KeyId>> {
    let events = world.events().await.into_iter();
    let drifts = events.filter(|event| event.action == DRIFT);
    drifts.map(|event| event.key_id).collect()
}

/// In overlap, and established; the current secret is deleted.
async fn deleted_in_overlap() -> (World, Registered, KeyId) {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(DAY);
    let gone = world.current("app").await;
    world.sandbox.delete_key(app.client_id, gone);
    (world, app, gone)
}

/// No overlap is open; the only secret is deleted.
async fn deleted() -> (World, Registered, KeyId) {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.days_later(7).await;
    let gone = world.current("app").await;
    assert_eq!(world.keys(&app), [gone]);
    world.sandbox.delete_key(app.client_id, gone);
    // Tokens that were issued for it are used until they end.
    world.clock.advance(DAY);
    (world, app, gone)
}

#[tokio::test]
async fn d5_p7_with_a_previous_secret_left_it_rotates_with_that_and_says_so() {
    let (world, app, gone) = deleted_in_overlap().await;
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.signs_in(&app, &world.file("app")).everywhere);
    assert_eq!(drifts(&world).await, [Some(gone)], "once");
    assert_eq!(standing_of(&world).await.health, Health::Waiting, "mended");
    world.serve("app", 10, async |_| {}).await;
    assert_eq!(world.keys(&app), [world.current("app").await]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn d5_p7_drift_that_a_clean_up_meets_is_shown_until_the_secret_is_replaced() {
    let (world, app, gone) = deleted_in_overlap().await;
    // Nothing is due but the end of the overlap, and P2's last look finds it.
    world.serve("app", 9, async |_| {}).await;
    assert_eq!(world.keys(&app), [app.keys[0].key_id], "P2");
    assert_eq!(drifts(&world).await, [Some(gone)], "once");
    let standing = standing_of(&world).await;
    assert_eq!(standing.health, Health::Blocked);
    assert!(is_blocked(&world.journal("app").await), "exit 6");
    let failure = standing.last_error.unwrap();
    assert!(failure.message.contains(&gone.to_string()), "{failure:?}");
    assert!(failure.remedy.unwrap().contains("keywheel rollback"));
    let name = "app".parse().unwrap();
    world.engine.rollback(&name, PATIENT).await.unwrap();
    assert_eq!(world.current("app").await, app.keys[0].key_id);
    assert_eq!(drifts(&world).await.len(), 1);
    world.serve("app", 9, async |_| {}).await;
    assert!(!is_blocked(&world.journal("app").await));
    assert_eq!(standing_of(&world).await.last_error, None);
}

#[tokio::test]
async fn d5_p7_drift_alone_is_the_last_error() {
    let (world, app, gone) = deleted_in_overlap().await;
    // A call of another kind than a rotation: the secret that was given away is looked at.
    let lost = keywheel::sandbox::Fault::on(Kind::AddPassword, keywheel::sandbox::Action::HangUp);
    world.sandbox.inject(lost);
    let order = Order::rotate(None, false, Duration::ZERO);
    world.advance("app", order).await;
    let journal = world.journal("app").await;
    assert!(is_blocked(&journal), "consumers can't sign in");
    let failure = standing_of(&world).await.last_error.unwrap();
    assert_eq!(failure.code, DRIFT);
    assert!(failure.message.contains(&gone.to_string()));
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(drifts(&world).await, [Some(gone)], "once");
    assert!(world.signs_in(&app, &world.file("app")).everywhere);
}

#[tokio::test]
async fn d5_without_any_left_it_is_blocked_and_the_instruction_works() {
    let (world, app, _) = deleted().await;
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "blocked");
    assert!(is_blocked(&world.journal("app").await), "exit 6");
    let failure = standing_of(&world).await.last_error.unwrap();
    assert_eq!(failure.code, "no-usable-secret");
    assert!(failure.message.contains("AADSTS7000215"), "{failure:?}");
    let remedy = failure.remedy.unwrap();
    assert!(remedy.contains("connection edit"), "{remedy}");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);

    let end = world.clock.now() + DAY * 60;
    let given = NewPassword::until(end);
    let given = world.sandbox.add_key(app.client_id, given).unwrap();
    let name = "app".parse().unwrap();
    let adopted = world
        .engine
        .readopt(&name, given.value.clone(), None, false);
    assert_eq!(adopted.await.unwrap().unwrap().key_id, given.key_id);
    // What stood in the way is gone: the rotation that was blocked goes on by itself.
    world
        .advance("app", Order::resume(Duration::from_secs(300)))
        .await;
    assert!(!is_blocked(&world.journal("app").await));
    let current = world.current("app").await;
    assert_eq!(world.keys(&app), [given.key_id, current]);
    assert!(world.holds(&app, &world.file("app"), current));
    world.serve("app", 10, async |_| {}).await;
    assert_eq!(world.keys(&app), [current]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn d5_without_any_left_it_is_blocked_when_it_is_due() {
    let (world, _, _) = deleted().await;
    world.clock.set(world.journal("app").await.due_at);
    world.due("app").await;
    assert_eq!(world.state("app").await, "blocked");
    assert_eq!(standing_of(&world).await.health, Health::Blocked);
}

#[tokio::test]
async fn d5_verify_says_which_one_is_gone() {
    let (world, app, gone) = deleted_in_overlap().await;
    let name = "app".parse().unwrap();
    let verified = world.engine.verify(&name).await.unwrap();
    let [current, previous] = verified.as_slice() else {
        panic!("{verified:?}");
    };
    assert_eq!(current.key_id, gone);
    let (Verdict::No(signs_in), Verdict::No(listed)) = (&current.signs_in, &current.listed) else {
        panic!("{current:?}");
    };
    assert_eq!(signs_in.code, "AADSTS7000215");
    assert_eq!(listed.code, "key-not-on-application");
    assert_eq!(previous.key_id, app.keys[0].key_id);
    let fine = (&previous.signs_in, &previous.listed);
    assert!(matches!(fine, (Verdict::Yes, Verdict::Yes)));

    let (world, _, _) = deleted().await;
    let verified = world.engine.verify(&name).await.unwrap();
    let [current] = verified.as_slice() else {
        panic!("{verified:?}");
    };
    assert!(matches!(current.signs_in, Verdict::No(_)));
    assert!(
        matches!(current.listed, Verdict::Unknown(_)),
        "nobody could look"
    );
}
