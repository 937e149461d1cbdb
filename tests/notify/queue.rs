//! The queue: nothing is lost, nothing is endless, and no channel waits for another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keywheel::clock::{Clock, VirtualClock};
use keywheel::notify::{Channel, ChannelFault, KEPT, Message, Notifier, Webhook};
use keywheel::settings::{Address, NotifyEvent, NotifyKind, NotifySpec};
use keywheel::store::notices::{NewNotice, Noted, Read};
use keywheel::store::{SqliteStore, Store, StoreFault};
use tokio::sync::Notify;

use crate::fixture::{SECRET, private};
use crate::receiver::{Receiver, Reply, SHORT};
use crate::story::Told;
use crate::world::{World, start};

/// Queues so many messages for a channel, as a look would.
async fn queue(store: &SqliteStore, channel: &str, count: usize, keep: usize) -> Vec<String> {
    let messages: Vec<Message> = (0..count).map(|_| Message::test(start())).collect();
    let notices = messages.iter().map(|message| NewNotice {
        channel: channel.into(),
        record: serde_json::to_string(message).unwrap(),
    });
    let from = store.noteworthy(start(), 1).await.unwrap().read.from;
    let noted = Noted {
        read: Read { from, to: from },
        notices: notices.collect(),
        keep,
        ..Noted::default()
    };
    store.note(noted).await.unwrap();
    messages
        .iter()
        .map(|message| message.id.to_string())
        .collect()
}

fn ids(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    let ids = received
        .iter()
        .map(|it| it.header("keywheel-message-id").to_owned());
    ids.collect()
}

fn spec(name: &str) -> NotifySpec {
    NotifySpec {
        name: name.into(),
        kind: NotifyKind::Slack {
            url_file: "unused".into(),
            ca_file: None,
        },
        events: vec![NotifyEvent::Failing],
        labels: Default::default(),
    }
}

fn hook(world: &World, receiver: &Receiver, timeout: Duration) -> Arc<dyn Channel> {
    let secret = private(world.folder.path(), "secret", SECRET);
    let address = Address::Url(receiver.url().parse().unwrap());
    let clock: Arc<dyn Clock> = world.clock.clone();
    Arc::new(Webhook::new(address, secret, None, clock, timeout))
}

fn notifier(
    store: &Arc<SqliteStore>,
    clock: &Arc<VirtualClock>,
    lines: Vec<(NotifySpec, Arc<dyn Channel>)>,
) -> Arc<Notifier> {
    Arc::new(Notifier::new(store.clone(), clock.clone(), lines))
}

#[tokio::test]
async fn what_a_channel_does_not_take_stays_queued_over_a_restart_and_arrives_once() {
    let mut told = Told::new("").await;
    told.receiver.then(Reply::Say(503, ""));
    let queued = queue(&told.world.store, "hook", 3, KEPT).await;
    told.beat().await;
    assert_eq!(
        ids(&told.receiver),
        queued[..1],
        "the rest waits for the channel"
    );
    told.restart("").await;
    told.receiver.then(Reply::Say(200, ""));
    told.beat().await;
    assert_eq!(
        told.receiver.received().len(),
        1,
        "the backoff outlives a restart"
    );
    told.later(Duration::from_secs(10)).await;
    told.later(Duration::from_secs(3600)).await;
    assert_eq!(
        ids(&told.receiver)[1..],
        queued,
        "each with its own ID, in their order"
    );
}

#[tokio::test]
async fn a_channel_is_tried_again_after_10_seconds_and_then_ever_more_rarely() {
    let told = Told::new("").await;
    told.receiver.then(Reply::Say(503, ""));
    queue(&told.world.store, "hook", 1, KEPT).await;
    let mut waits = Vec::new();
    let mut last = None;
    for second in 0..8_000 {
        let before = told.receiver.received().len();
        told.notifier.send_due().await.unwrap();
        if told.receiver.received().len() > before {
            waits.extend(last.map(|last| second - last));
            last = Some(second);
        }
        told.world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
}

#[tokio::test]
async fn a_message_that_is_refused_holds_up_no_other() {
    let told = Told::new("").await;
    let queued = queue(&told.world.store, "hook", 3, KEPT).await;
    told.receiver.then(Reply::Say(200, ""));
    let refuses = Receiver::start([Reply::Say(400, ""), Reply::Say(200, "")]).await;
    let world = &told.world;
    let lines = vec![(spec("hook"), hook(world, &refuses, SHORT * 10))];
    let notifier = notifier(&world.store, &world.clock, lines);
    notifier.send_due().await.unwrap();
    assert_eq!(ids(&refuses), queued);
    notifier.send_due().await.unwrap();
    assert_eq!(ids(&refuses).len(), 3);
    world.clock.advance(Duration::from_secs(10));
    notifier.send_due().await.unwrap();
    assert_eq!(
        ids(&refuses)[3..],
        queued[..1],
        "it is kept, and tried again"
    );
}

#[tokio::test]
async fn the_newest_are_kept_and_how_many_were_dropped_is_told() {
    let told = Told::new("").await;
    let first = queue(&told.world.store, "hook", 6, 4).await;
    let second = queue(&told.world.store, "hook", 2, 4).await;
    let other = queue(&told.world.store, "other", 4, 4).await;
    assert_eq!(other.len(), 4);
    told.notifier.send_due().await.unwrap();
    assert_eq!(ids(&told.receiver), [&first[4..], &second[..]].concat());
    let dropped: Vec<u64> = told
        .receiver
        .received()
        .iter()
        .map(|it| it.json()["dropped"].as_u64().unwrap())
        .collect();
    assert_eq!(dropped, [4, 0, 0, 0]);
    let outbox = told.world.store.outbox("hook", start(), 9).await.unwrap();
    assert_eq!((outbox.waiting, outbox.dropped), (0, 0));
}

#[tokio::test]
async fn no_channel_waits_for_another() {
    let world = World::new().await;
    let (good, silent) = (
        Receiver::start([]).await,
        Receiver::start([Reply::Silence]).await,
    );
    queue(&world.store, "silent", 2, KEPT).await;
    let queued = queue(&world.store, "good", 2, KEPT).await;
    let lines = vec![
        (
            spec("silent"),
            hook(&world, &silent, Duration::from_secs(3600)),
        ),
        (spec("good"), hook(&world, &good, Duration::from_secs(3600))),
    ];
    let notifier = notifier(&world.store, &world.clock, lines);
    let sending = tokio::spawn({
        let notifier = notifier.clone();
        async move { notifier.send_due().await }
    });
    let arrived = async {
        while ids(&good).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(20), arrived);
    within.await.unwrap();
    assert_eq!(ids(&good), queued);
    assert!(!sending.is_finished(), "the other one is still asked");
    sending.abort();
}

/// Sends, and then dies before anybody knows.
struct DiesAfter {
    channel: Arc<dyn Channel>,
    sent: Arc<Notify>,
}

#[async_trait]
impl Channel for DiesAfter {
    async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        self.channel.send(message).await?;
        self.sent.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn d2_killed_after_sending_it_is_sent_again_with_the_same_id() {
    let mut world = World::new().await;
    let receiver = Receiver::start([]).await;
    let queued = queue(&world.store, "hook", 1, KEPT).await;
    let sent = Arc::new(Notify::new());
    let dies = DiesAfter {
        channel: hook(&world, &receiver, SHORT * 10),
        sent: sent.clone(),
    };
    let first = notifier(
        &world.store,
        &world.clock,
        vec![(spec("hook"), Arc::new(dies))],
    );
    tokio::select! {
        () = sent.notified() => {}
        _ = first.send_due() => panic!("it did not die"),
    }
    drop(first);
    world.restart().await;
    let lines = vec![(spec("hook"), hook(&world, &receiver, SHORT * 10))];
    let next = notifier(&world.store, &world.clock, lines);
    next.send_due().await.unwrap();
    next.send_due().await.unwrap();
    assert_eq!(ids(&receiver), [queued.clone(), queued].concat());
}

#[tokio::test]
async fn two_that_look_at_once_tell_it_once() {
    let world = World::new().await;
    world.store.watch(true).await.unwrap();
    world.adopted().await;
    let read = world.store.noteworthy(start(), 100).await.unwrap().read;
    assert!(read.to > read.from);
    let noted = Noted {
        read,
        keep: KEPT,
        ..Noted::default()
    };
    world.store.note(noted.clone()).await.unwrap();
    let again = world.store.note(noted).await.unwrap_err();
    assert_eq!(again, StoreFault::Stale);
}

#[tokio::test]
async fn d5_a_restored_backup_tells_nothing_that_its_original_tells() {
    let told = Told::new("").await;
    let world = &told.world;
    world.adopted().await;
    queue(&world.store, "hook", 3, KEPT).await;
    let (from, copy) = (&world.engine.settings.store_path, world.folder.path());
    SqliteStore::backup(from, &copy.join("backup")).unwrap();
    let event = world.events().await.remove(0);
    let to = copy.join("restored/keywheel.db");
    let fits = |_| Ok::<(), StoreFault>(());
    SqliteStore::restore(&copy.join("backup"), &to, &event, fits).unwrap();
    let restored = SqliteStore::open(&to).unwrap();
    let outbox = restored.outbox("hook", start(), 9).await.unwrap();
    assert_eq!(outbox.waiting, 0);
    restored.watch(true).await.unwrap();
    let found = restored.noteworthy(start(), 100).await.unwrap();
    assert_eq!(
        (found.lines.len(), found.subjects.len()),
        (0, 1),
        "how it stands is told"
    );
}
