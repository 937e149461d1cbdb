//! Nothing goes wrong.

use std::time::Duration;

use keywheel::sandbox::Kind;

use crate::world::World;

#[tokio::test]
async fn p2_a_rotation_goes_from_intended_to_completed() {
    let world = World::new().await;
    let application = world.adopted().await;
    let old = application.keys[0].key_id;
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    let new = world.current("app").await;
    assert_ne!(new, old);
    assert_eq!(world.keys(&application).len(), 2);
    assert!(world.holds(&application, &world.file("app"), new));
    world.clock.advance(Duration::from_secs(6 * 86_400));
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2, "the overlap is not over");
    world.clock.advance(Duration::from_secs(86_400));
    world.due("app").await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [new]);
    assert!(world.signs_in(&application, &world.file("app")).everywhere);
}

#[tokio::test]
async fn p4_one_rotation_adds_one_password() {
    let world = World::new().await;
    let application = world.adopted().await;
    world.rotate("app").await;
    let added = world
        .sandbox
        .calls_of(Kind::AddPassword, application.client_id);
    assert_eq!(added.len(), 1);
}
