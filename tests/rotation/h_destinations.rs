//! H: destinations that fail, lie, come and go. The old secret stays until all that must have the
//! new one do.

use std::path::Path;
use std::time::Duration;

use keywheel::connection::DestinationSpec;
use keywheel::journal::Delivery;
use keywheel::rotation::adopt::AdoptFault;
use keywheel::rotation::advance::{Order, Which};
use keywheel::sandbox::Registered;

use crate::world::World;

/// A file that holds a line for each run of a reload command.
fn runs(world: &World, name: &str) -> usize {
    let log = world.folder.path().join(format!("{name}.log"));
    std::fs::read_to_string(log)
        .unwrap_or_default()
        .lines()
        .count()
}

/// A file destination whose reload command fails as long as `NAME.broken` is there.
fn fragile(world: &World, name: &str) -> String {
    let folder = world.folder.path().display();
    let script = format!("echo run >> {folder}/{name}.log; test ! -e {folder}/{name}.broken");
    format!(
        "{}reload = [\"/bin/sh\", \"-c\", \"{script}\"]\n",
        world.to_file(name)
    )
}

fn breaks(world: &World, name: &str, broken: bool) {
    let path = world.folder.path().join(format!("{name}.broken"));
    if broken {
        std::fs::write(path, "").unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

async fn adopted(world: &World, more: &str) -> Registered {
    let application = world.application("app");
    world.adopt("app", &application, more).await.unwrap();
    application
}

/// A rotation that does not sit through the retries of what fails.
async fn rotate(world: &World) {
    let order = Order::rotate(None, false, Duration::from_secs(60));
    world.advance("app", order).await;
}

async fn delivery(world: &World, name: &str) -> Delivery {
    let journal = world.journal("app").await;
    let mut deliveries = journal.deliveries.into_iter();
    deliveries.find(|d| d.destination == name).unwrap()
}

#[tokio::test]
async fn h1_a_failed_delivery_alone_is_retried_and_keeps_the_old_secret() {
    let world = World::new().await;
    let more = fragile(&world, "good") + &fragile(&world, "bad");
    let application = adopted(&world, &more).await;
    breaks(&world, "bad", true);
    rotate(&world).await;
    assert_eq!(world.state("app").await, "delivering");
    assert_eq!(runs(&world, "good"), 1);
    for _ in 0..20 {
        world.clock.advance(Duration::from_secs(86_400));
        world.advance("app", Order::DUE).await;
    }
    assert_eq!(world.keys(&application).len(), 2, "P2");
    assert_eq!(runs(&world, "good"), 1);
    assert!(runs(&world, "bad") >= 20);
    breaks(&world, "bad", false);
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "overlapping");
    world.days_later(6).await;
    assert_eq!(world.keys(&application).len(), 2, "the overlap began late");
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn h1_a_destination_that_fails_for_weeks_blocks_no_later_rotation() {
    let world = World::new().await;
    let more = fragile(&world, "good") + &fragile(&world, "bad");
    let application = adopted(&world, &more).await;
    breaks(&world, "bad", true);
    rotate(&world).await;
    let first = application.keys[0].key_id;
    let second = world.current("app").await;
    for _ in 0..31 {
        world.clock.advance(Duration::from_secs(86_400));
        world.advance("app", Order::DUE).await;
    }
    let third = world.current("app").await;
    assert_eq!(world.keys(&application), [first, second, third], "P2");
    assert!(world.holds(&application, &world.file("good"), third), "P8");
    breaks(&world, "bad", false);
    world.days_later(1).await;
    world.days_later(7).await;
    assert_eq!(world.keys(&application), [third]);
    assert!(world.journal("app").await.rotations.is_empty());
}

#[tokio::test]
async fn h2_a_reload_command_that_is_missing_or_not_executable_is_found_when_declared() {
    let world = World::new().await;
    let application = world.application("app");
    let script = world.folder.path().join("reload");
    for _ in 0..2 {
        let more = format!(
            "{}reload = [\"{}\"]\n",
            world.to_file("app"),
            script.display()
        );
        let adopted = world.adopt("app", &application, &more).await;
        assert!(
            matches!(adopted, Err(AdoptFault::Check { .. })),
            "{adopted:?}"
        );
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
    }
}

#[tokio::test]
async fn h2_a_reload_command_that_fails_hangs_or_vanishes_is_said() {
    let world = World::new().await;
    let script = world.folder.path().join("reload");
    write_script(&script, "exit 0");
    let more = format!(
        "{}reload = [\"{}\"]\nreload_timeout = \"200ms\"\n",
        world.to_file("app"),
        script.display()
    );
    let application = adopted(&world, &more).await;
    rotate(&world).await;
    assert_eq!(world.state("app").await, "overlapping");
    for body in ["echo oh no >&2; exit 3", "sleep 600", ""] {
        match body {
            "" => std::fs::remove_file(&script).unwrap(),
            body => write_script(&script, body),
        }
        let name = "app".parse().unwrap();
        let delivered = world.engine.deliver(&name, None, Duration::ZERO).await;
        delivered.unwrap();
        let failure = delivery(&world, "app").await.retry.last.unwrap();
        assert!(failure.message.contains("reload"), "P7: {failure:?}");
        // What was taken before counts no more: the old secret stays.
        world.clock.advance(Duration::from_secs(8 * 86_400));
        world.advance("app", Order::DUE).await;
        assert_eq!(world.keys(&application).len(), 2, "{body}");
    }
}

fn write_script(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path, executable).unwrap();
}

#[tokio::test]
async fn h3_the_reload_command_gets_the_secret_neither_in_arguments_nor_environment() {
    let world = World::new().await;
    let folder = world.folder.path().display();
    let script = format!(
        "tr '\\\\0' '\\\\n' < /proc/$$/cmdline > {folder}/args; env > {folder}/env; \
         cp $KEYWHEEL_PATH {folder}/seen"
    );
    let more = format!(
        "{}reload = [\"/bin/sh\", \"-c\", \"{script}\"]\n",
        world.to_file("app")
    );
    let application = adopted(&world, &more).await;
    rotate(&world).await;
    let seen = world.folder.path().join("seen");
    assert!(world.holds(&application, &seen, world.current("app").await));
    let secret = std::fs::read_to_string(seen).unwrap();
    for file in ["args", "env"] {
        let text = std::fs::read_to_string(world.folder.path().join(file)).unwrap();
        assert!(!text.is_empty() && !text.contains(&secret), "P6: {file}");
    }
    let env = std::fs::read_to_string(world.folder.path().join("env")).unwrap();
    assert!(env.contains("KEYWHEEL_KEY_ID="));
}

#[tokio::test]
async fn h4_two_of_three_took_it() {
    let world = World::new().await;
    let more: String = ["one", "two", "three"]
        .map(|name| fragile(&world, name))
        .concat();
    let application = adopted(&world, &more).await;
    breaks(&world, "two", true);
    rotate(&world).await;
    let current = world.current("app").await;
    for name in ["one", "three"] {
        assert!(world.holds(&application, &world.file(name), current));
        let delivery = delivery(&world, name).await;
        assert_eq!(delivery.holds, delivery.wants);
    }
    let failed = delivery(&world, "two").await;
    assert!(
        failed.holds < failed.wants && failed.retry.last.is_some(),
        "P7"
    );
    assert_eq!(world.keys(&application).len(), 2);
}

#[tokio::test]
async fn h6_what_was_overwritten_is_noticed_before_revoking_and_delivered_again() {
    let world = World::new().await;
    let application = adopted(&world, &world.to_file("app")).await;
    rotate(&world).await;
    let current = world.current("app").await;
    std::fs::write(world.file("app"), "something else").unwrap();
    world.clock.advance(Duration::from_secs(7 * 86_400));
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 2, "P2");
    assert!(
        world
            .actions()
            .await
            .contains(&"destination-overwritten".to_owned())
    );
    world.due("app").await;
    assert!(world.holds(&application, &world.file("app"), current));
    world.days_later(6).await;
    assert_eq!(world.keys(&application).len(), 2, "a new overlap");
    world.days_later(1).await;
    assert_eq!(world.keys(&application), [current]);
}

/// Whatever is written, `true` writes over it a moment later.
#[tokio::test]
async fn h6_what_is_overwritten_again_and_again_makes_no_tight_loop() {
    for required in [true, false] {
        let world = World::new().await;
        let folder = world.folder.path().display();
        let script = format!("echo run >> {folder}/app.log; echo x > {folder}/app.secret");
        let more = format!(
            "overlap = \"0s\"\n{}required = {required}\nreload = [\"/bin/sh\", \"-c\", \"{script}\"]\n",
            world.to_file("app")
        );
        let application = adopted(&world, &more).await;
        let day = Duration::from_secs(86_400);
        let order = Order::rotate(None, false, day);
        let pass = world.advance("app", order);
        tokio::time::timeout(Duration::from_secs(120), pass)
            .await
            .unwrap();
        let runs = runs(&world, "app");
        assert!(runs < 20, "{runs} runs in a day");
        let left = if required { 2 } else { 1 };
        assert_eq!(world.keys(&application).len(), left, "{required}");
    }
}

#[tokio::test]
async fn p2_a_destination_declared_during_an_overlap_gets_the_secret_before_the_old_one_goes() {
    let world = World::new().await;
    let application = adopted(&world, &world.to_file("app")).await;
    rotate(&world).await;
    let current = world.current("app").await;
    let added: DestinationSpec =
        toml::from_str::<toml::Value>(&fragile(&world, "late")).unwrap()["destination"][0]
            .clone()
            .try_into()
            .unwrap();
    breaks(&world, "late", true);
    world
        .edit("app", |declared| declared.destinations.push(added))
        .await;
    world.advance("app", Order::DUE).await;
    world.clock.advance(Duration::from_secs(8 * 86_400));
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 2, "P2");
    assert!(delivery(&world, "late").await.retry.last.is_some(), "P7");
    breaks(&world, "late", false);
    world.days_later(1).await;
    assert!(world.holds(&application, &world.file("late"), current));
    assert_eq!(world.keys(&application), [current]);
}

#[tokio::test]
async fn p2_a_destination_that_is_declared_no_longer_holds_nothing_up() {
    let world = World::new().await;
    let more = fragile(&world, "good") + &fragile(&world, "bad");
    let application = adopted(&world, &more).await;
    breaks(&world, "bad", true);
    rotate(&world).await;
    assert_eq!(world.state("app").await, "delivering");
    world
        .edit("app", |declared| drop(declared.destinations.pop()))
        .await;
    world.due("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    world.days_later(7).await;
    assert_eq!(world.keys(&application).len(), 1);
    let journal = world.journal("app").await;
    let open = keywheel::rotation::standing::open_retries(&journal).count();
    assert_eq!(open, 0, "nothing is retried any more");
}

#[tokio::test]
async fn p2_a_removal_waits_for_a_destination_that_was_declared_after_it_began() {
    use keywheel::sandbox::{Action, Fault, Kind};
    let world = World::new().await;
    let application = adopted(&world, &world.to_file("app")).await;
    rotate(&world).await;
    let fault = Fault::on(Kind::RemovePassword, Action::HangUp);
    world.sandbox.inject(fault);
    world.clock.advance(Duration::from_secs(60));
    let name = "app".parse().unwrap();
    let previous = Which::Previous;
    let revoked = world.engine.revoke(&name, previous, Duration::ZERO).await;
    revoked.unwrap();
    assert_eq!(world.state("app").await, "revoking");
    breaks(&world, "late", true);
    let added: DestinationSpec =
        toml::from_str::<toml::Value>(&fragile(&world, "late")).unwrap()["destination"][0]
            .clone()
            .try_into()
            .unwrap();
    world
        .edit("app", |declared| declared.destinations.push(added))
        .await;
    world.clock.advance(Duration::from_secs(86_400));
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 2, "P2");
    breaks(&world, "late", false);
    world.days_later(1).await;
    assert_eq!(world.keys(&application).len(), 1);
}
