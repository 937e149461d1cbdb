//! The binary: `notify test`, and `run` that is killed while it tells.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{Clock, SystemClock};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::fixture::{SECRET, private, settings, webhook};
use crate::receiver::{Receiver, Reply};
use crate::story::gateway;
use crate::world::World;

fn keywheel(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
    command
        .env_clear()
        .env("KEYWHEEL_CONFIG", folder.join("keywheel.toml"))
        .kill_on_drop(true);
    command
}

async fn notify_test(folder: &std::path::Path, more: &[&str]) -> (i32, Value, String) {
    let mut command = keywheel(folder);
    command.args(["notify", "test", "-o", "json"]).args(more);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.unwrap();
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    (
        status.code().unwrap(),
        serde_json::from_slice(&stdout).unwrap(),
        all,
    )
}

#[tokio::test]
async fn notify_test_says_of_each_channel_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (
        Receiver::start([]).await,
        Receiver::start([Reply::Say(500, "")]).await,
    );
    private(folder.path(), "secret", SECRET);
    let text = format!(
        "[[notify]]\nname = \"good\"\n{}\n[[notify]]\nname = \"bad\"\n{}\n",
        webhook(&good.url()),
        webhook(&bad.url())
    );
    settings(folder.path(), &text).unwrap();
    let (code, document, all) = notify_test(folder.path(), &[]).await;
    assert_eq!(code, 1);
    assert_eq!(document[0]["channel"], "good");
    assert_eq!(
        (&document[0]["ok"], &document[1]["ok"]),
        (&true.into(), &false.into())
    );
    assert_eq!(document[1]["error"], "it answered 500");
    assert_eq!(good.words(), ["test:test"]);
    assert!(
        !all.contains(SECRET) && !all.contains("T0P-SECRET"),
        "P6: {all}"
    );
    let (code, document, _) = notify_test(folder.path(), &["good"]).await;
    assert_eq!((code, document.as_array().unwrap().len()), (0, 1));
    assert_eq!(bad.received().len(), 1);
    let (code, document, _) = notify_test(folder.path(), &["goood"]).await;
    assert_eq!(code, 2);
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean \"good\"?"), "{message}");
}

#[tokio::test]
async fn notify_test_without_a_channel_says_what_to_add() {
    let folder = tempfile::tempdir().unwrap();
    settings(folder.path(), "").unwrap();
    let (code, document, _) = notify_test(folder.path(), &[]).await;
    assert_eq!(
        (code, &document["error"]["code"]),
        (2, &"no-channel".into())
    );
}

fn run(world: &World) -> Child {
    keywheel(world.folder.path()).arg("run").spawn().unwrap()
}

async fn until(count: usize, receiver: &Receiver) {
    let begun = SystemClock.now();
    while receiver.received().len() < count {
        assert!(SystemClock.now() - begun < chrono::TimeDelta::seconds(30));
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn d2_a_service_that_is_killed_while_it_tells_tells_it_again() {
    let receiver = Receiver::start([Reply::Silence]).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut world = World::with(move |options| options.clock = clock, "").await;
    private(world.folder.path(), "secret", SECRET);
    let hook = webhook(&receiver.url());
    let more = format!("[service]\nlisten = \"off\"\n[[notify]]\nname = \"hook\"\n{hook}\n");
    world.configure(&more).await;
    world.clock.set(SystemClock.now());
    world.adopted().await;
    world.sandbox.inject(gateway().always());
    let mut first = run(&world);
    // What happened before anybody listened is no news.
    while !is_watched(&world).await {
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
    world.clock.set(SystemClock.now());
    world.rotate_once("app").await;
    until(1, &receiver).await;
    first.kill().await.unwrap();
    receiver.then(Reply::Say(200, ""));
    let mut second = run(&world);
    until(2, &receiver).await;
    second.kill().await.unwrap();
    let received = receiver.received();
    let id = |n: usize| received[n].header("keywheel-message-id").to_owned();
    assert_eq!(id(0), id(1));
    assert!(
        receiver
            .words()
            .iter()
            .all(|word| word.starts_with("failing:"))
    );
}

async fn is_watched(world: &World) -> bool {
    let db = rusqlite::Connection::open(&world.engine.settings.store_path).unwrap();
    let watching = "SELECT watching FROM notice_cursor";
    db.query_row(watching, [], |row| row.get(0)).unwrap()
}
