//! The matrix of a rotation: identities, replicas that lag, overlaps, and what was open before.

use keywheel::sandbox::{Action, Fault, Kind};

use crate::converged::overlaps;
use crate::points::{Ended, at_every_point};
use crate::world::{Identity, NAME, Shape, World};

/// So many runs must be enough.
const RUNS: usize = 4;

/// How a killed rotation is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// By a timer.
    Due,
    /// By a person.
    ByName,
}

impl Again {
    fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Due => ["rotate", "--due"],
            Self::ByName => ["rotate", NAME],
        }
    }
}

impl World {
    /// Runs the binary again until it says that all is well.
    pub async fn run_again(&self, again: Again) {
        for _ in 0..RUNS {
            let output = self.run(&again.arguments(), None).await;
            let code = output.status.code();
            if code == Some(0) {
                return;
            }
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(code, Some(3), "{}: {told}", self.label);
        }
        panic!("{}: does not converge in {RUNS} runs", self.label);
    }

    /// Runs the binary again after a kill, and checks how far that has brought it.
    pub async fn recovers(&self, again: Again, keeps_overlaps: bool) {
        let promoted = self.promotions().await;
        let open = usize::from(self.journal().await.unpromoted().is_some());
        self.run_again(again).await;
        self.has_converged().await;
        let expected = match again {
            Again::Due => promoted + open,
            // What stood before `promoted` was resumed; otherwise it is a new one.
            Again::ByName => promoted + 1,
        };
        assert_eq!(self.promotions().await, expected, "{}", self.label);
        let overlaps = overlaps(&self.journal().await);
        let kept = if keeps_overlaps { expected } else { 0 };
        assert_eq!(overlaps, kept, "{}", self.label);
    }
}

/// Kills one run of the binary at `point`.
pub async fn killed(world: &World, arguments: &[&str], point: u64) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let output = world.run(arguments, Some(point)).await;
    let told = String::from_utf8_lossy(&output.stderr);
    match output.status.signal() {
        Some(9) => Ended::Killed,
        other => {
            assert_eq!(other, None, "{}: {told}", world.label);
            assert_eq!(output.status.code(), Some(0), "{}: {told}", world.label);
            Ended::ByItself
        }
    }
}

/// Every point of one rotation, run again by a timer and by a person in turn.
async fn cell(shape: Shape, first: Again, least: u64) {
    let keeps_overlaps = shape.overlap != "0s";
    let kills = at_every_point(move |point| async move {
        let again = match (first, point % 2) {
            (Again::Due, 1) | (Again::ByName, 0) => Again::Due,
            _ => Again::ByName,
        };
        let world = World::new(shape, format!("{shape:?}, point {point}, {again:?}")).await;
        let ended = killed(&world, &["rotate", NAME], point).await;
        world.recovers(again, keeps_overlaps).await;
        ended
    })
    .await;
    assert!(kills >= least, "{shape:?}: only {kills} points");
}

const fn shape(identity: Identity, lag: bool, overlap: &'static str) -> Shape {
    Shape {
        identity,
        lag,
        overlap,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_itself_to_completed() {
    cell(shape(Identity::Itself, false, "0s"), Again::Due, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_itself_to_overlapping() {
    cell(shape(Identity::Itself, false, "7d"), Again::ByName, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_itself_to_completed_while_replicas_lag() {
    cell(shape(Identity::Itself, true, "0s"), Again::ByName, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_itself_to_overlapping_while_replicas_lag() {
    cell(shape(Identity::Itself, true, "7d"), Again::Due, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_another_to_completed() {
    cell(shape(Identity::Another, false, "0s"), Again::ByName, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_another_to_overlapping() {
    cell(shape(Identity::Another, false, "7d"), Again::Due, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_another_to_completed_while_replicas_lag() {
    cell(shape(Identity::Another, true, "0s"), Again::Due, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_g2_killed_as_another_to_overlapping_while_replicas_lag() {
    cell(shape(Identity::Another, true, "7d"), Again::ByName, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_e5_killed_in_a_second_rotation_inside_an_overlap() {
    let shape = shape(Identity::Itself, false, "7d");
    let kills = at_every_point(move |point| async move {
        let world = World::new(shape, format!("second rotation, point {point}")).await;
        world.run_again(Again::ByName).await;
        let ended = killed(&world, &["rotate", NAME], point).await;
        world.recovers(Again::Due, true).await;
        ended
    })
    .await;
    assert!(kills >= 20, "only {kills} points");
}

/// Once asked for, the end of all overlaps comes, whoever carries it on.
#[tokio::test(flavor = "multi_thread")]
async fn d2_killed_while_it_ends_an_overlap_early() {
    let shape = shape(Identity::Itself, false, "7d");
    let kills = at_every_point(move |point| async move {
        let world = World::new(shape, format!("--revoke-now, point {point}")).await;
        world.run_again(Again::ByName).await;
        let ended = killed(&world, &["rotate", NAME, "--revoke-now"], point).await;
        world.run_again(Again::Due).await;
        world.has_converged().await;
        let events = world.history().await;
        let asked = events.iter().filter(|e| e.action == "rotation-asked");
        let left = if asked.count() == 2 { 0 } else { 1 };
        assert_eq!(overlaps(&world.journal().await), left, "{}", world.label);
        ended
    })
    .await;
    assert!(kills >= 60, "only {kills} points");
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_b1_killed_while_a_lost_answer_is_looked_into() {
    let shape = shape(Identity::Itself, false, "0s");
    let kills = at_every_point(move |point| async move {
        let world = World::new(shape, format!("lost answer, point {point}")).await;
        let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
        world.sandbox.inject(lost);
        let ended = killed(&world, &["rotate", NAME], point).await;
        world.recovers(Again::ByName, false).await;
        ended
    })
    .await;
    assert!(kills >= 60, "only {kills} points");
}
