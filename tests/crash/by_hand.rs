//! Killed in what a person asks for beside a rotation: it is carried on by whoever comes next.

use keywheel::store::master_key;

use crate::converged::overlaps;
use crate::points::at_every_point;
use crate::rotation::{Again, killed};
use crate::world::{Identity, NAME, Shape, World};

const IN_OVERLAP: Shape = Shape {
    identity: Identity::Itself,
    lag: false,
    overlap: "7d",
};

/// A world whose connection is in overlap.
async fn in_overlap(label: String) -> World {
    let world = World::new(IN_OVERLAP, label).await;
    world.run_again(Again::ByName).await;
    world
}

/// Kills `command` at every point of it; it was asked for once `event` is in the history.
async fn each_point_of(command: &'static str, event: &'static str, left: usize, least: u64) {
    let kills = at_every_point(move |point| async move {
        let world = in_overlap(format!("{command}, point {point}")).await;
        let ended = killed(&world, &[command, NAME, "--yes"], point).await;
        world.run_again(Again::Due).await;
        world.has_converged().await;
        let asked = world.history().await.iter().any(|e| e.action == event);
        let expected = if asked { left } else { 1 };
        let overlaps = overlaps(&world.journal().await);
        assert_eq!(overlaps, expected, "{}", world.label);
        ended
    })
    .await;
    assert!(kills >= least, "{command}: only {kills} points");
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_killed_while_it_revokes() {
    each_point_of("revoke", "revoke-asked", 0, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_killed_while_it_delivers_anew() {
    each_point_of("deliver", "deliver-asked", 1, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_killed_while_it_rolls_back() {
    each_point_of("rollback", "rolled-back", 1, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_killed_while_the_master_key_is_changed() {
    let kills = at_every_point(|point| async move {
        let world = in_overlap(format!("master-key rotate, point {point}")).await;
        let before = world.path("master.key");
        let before = std::fs::read(before).unwrap();
        let ended = killed(&world, &["master-key", "rotate"], point).await;
        if point % 2 == 0 {
            let output = world.run(&["master-key", "rotate"], None).await;
            assert!(output.status.success(), "{}", world.label);
            assert_ne!(std::fs::read(world.path("master.key")).unwrap(), before);
        }
        // Every value opens: the previous secret's by rolling back to it.
        let output = world.run(&["rollback", NAME, "--yes"], None).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", world.label);
        world.recovers(Again::ByName, true).await;
        assert!(!world.path("master.key.new").exists(), "{}", world.label);
        let alone = master_key::load_any(&world.settings().master_key).unwrap();
        let store = keywheel::store::Store::fingerprint(&world.store()).await;
        assert_eq!(alone.fingerprint(), store.unwrap(), "{}", world.label);
        ended
    })
    .await;
    assert!(kills >= 6, "only {kills} points");
}
