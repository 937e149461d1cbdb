//! What is told of real rotations against the sandbox.

use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{Clock, Span, SystemClock};
use keywheel::notify::{Notifier, ladder::CALM};
use keywheel::rotation::advance::{Engine, Order};
use keywheel::sandbox::{Action, Answer, Fault, Kind, Permission};
use keywheel::service::{ByTheRules, Limits, Service, Signal, Source};

use crate::fixture::{SECRET, private, settings, webhook};
use crate::receiver::{Receiver, Reply};
use crate::world::World;

/// A world with a webhook that is told everything.
pub struct Told {
    pub world: World,
    pub receiver: Receiver,
    judge: ByTheRules,
    pub notifier: Arc<Notifier>,
}

pub const ALL: &str = "events = [\"failing\", \"recovered\", \"blocked\", \"overdue\", \
                       \"expiring\", \"drift\", \"orphan\", \"rotated\"]";

impl Told {
    pub async fn new(more: &str) -> Self {
        Self::in_world(World::new().await, more).await
    }

    pub async fn in_world(world: World, more: &str) -> Self {
        let receiver = Receiver::start([]).await;
        private(world.folder.path(), "secret", SECRET);
        let (notifier, judge) = open(&world, &receiver, more).await;
        notifier.begin().await.unwrap();
        Self {
            world,
            receiver,
            judge,
            notifier,
        }
    }

    /// As the service does it at each beat.
    pub async fn beat(&self) {
        while self.notifier.look(&self.judge).await.unwrap() {}
        self.notifier.send_due().await.unwrap();
    }

    pub async fn later(&self, time: Duration) {
        self.world.clock.advance(time);
        self.beat().await;
    }

    /// The process is ended and started anew.
    pub async fn restart(&mut self, more: &str) {
        self.world.restart().await;
        let (notifier, judge) = open(&self.world, &self.receiver, more).await;
        (self.notifier, self.judge) = (notifier, judge);
        self.notifier.begin().await.unwrap();
    }
}

async fn open(world: &World, receiver: &Receiver, more: &str) -> (Arc<Notifier>, ByTheRules) {
    let folder = world.folder.path().join("notify");
    std::fs::create_dir_all(&folder).unwrap();
    private(&folder, "secret", SECRET);
    let hook = webhook(&receiver.url());
    let text = format!("[[notify]]\nname = \"hook\"\n{hook}\n{more}\n");
    let settings = settings(&folder, &text).unwrap();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let notifier = Notifier::open(world.store.clone(), clock, &settings.channels);
    let engine = world.another_engine().await;
    (Arc::new(notifier), ByTheRules(Arc::new(engine)))
}

const DAY: Duration = Span::days(1).0;

pub fn gateway() -> Fault {
    let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
    let answer = Answer::text(status, "text/plain", "try later".into());
    Fault::on(Kind::GetApplication, Action::Answer(answer))
}

#[tokio::test]
async fn i7_told_at_the_first_failure_and_at_recovery() {
    let told = Told::new("").await;
    let world = &told.world;
    world.adopted().await;
    told.beat().await;
    assert!(told.receiver.words().is_empty(), "nothing is wrong");
    world.sandbox.inject(gateway().always());
    world.rotate_once("app").await;
    told.beat().await;
    assert_eq!(told.receiver.words(), ["failing:server-error"]);
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(40));
        world.advance("app", Order::DUE).await;
        told.beat().await;
    }
    assert_eq!(told.receiver.words().len(), 1, "no flood");
    world.sandbox.clear_faults();
    world.clock.advance(Duration::from_secs(1800));
    world.due("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    told.beat().await;
    told.later(CALM).await;
    assert_eq!(
        told.receiver.words(),
        ["failing:server-error", "recovered:server-error"]
    );
    let first = told.receiver.received()[0].json();
    assert_eq!(first["connection"], "app");
    assert!(!first["remedy"].as_str().unwrap().is_empty(), "{first}");
    told.later(DAY).await;
    assert_eq!(told.receiver.words().len(), 2);
}

#[tokio::test]
async fn p7_blocked_is_told_with_what_to_do_and_again_until_somebody_does_it() {
    let told = Told::new("").await;
    let world = &told.world;
    let application = world.adopted().await;
    world
        .sandbox
        .set_permission(application.client_id, Permission::ReadAll);
    world.clock.advance(Duration::from_secs(7_200));
    world.rotate_once("app").await;
    told.beat().await;
    assert_eq!(
        told.receiver.words(),
        ["blocked:Authorization_RequestDenied"]
    );
    let message = told.receiver.received()[0].json();
    let remedy = message["remedy"].as_str().unwrap();
    assert!(remedy.contains("Application.ReadWrite.OwnedBy"), "{remedy}");
    for hours in [1, 6, 24, 24] {
        told.later(Duration::from_secs(hours * 3600)).await;
    }
    assert_eq!(told.receiver.words().len(), 5);
    assert_eq!(told.receiver.received()[4].json()["reminder"], 4);
    told.later(Duration::from_secs(60)).await;
    assert_eq!(told.receiver.words().len(), 5);
}

#[tokio::test]
async fn p7_overdue_and_expiring_are_told_though_nothing_runs() {
    let told = Told::new("").await;
    told.world.adopted().await;
    told.beat().await;
    told.later(DAY * 29).await;
    assert!(told.receiver.words().is_empty());
    told.later(DAY * 3).await;
    assert_eq!(told.receiver.words(), ["overdue:overdue"]);
    told.later(DAY * 15).await;
    let words = told.receiver.words();
    assert_eq!(words.last().unwrap(), "expiring:expiring");
    let message = told.receiver.received().last().unwrap().json();
    assert_eq!(message["ends_at"], "2026-05-02T09:00:00Z");
}

#[tokio::test]
async fn what_was_rotated_is_told_where_it_is_asked_for_alone() {
    for (more, expected) in [("", vec![]), (ALL, vec!["rotated:promoted"])] {
        let told = Told::new(more).await;
        told.world.adopted().await;
        told.world.rotate("app").await;
        told.beat().await;
        told.later(Duration::from_secs(600)).await;
        assert_eq!(told.receiver.words(), expected);
    }
}

#[tokio::test]
async fn an_orphan_is_told_once() {
    let told = Told::new("").await;
    let world = &told.world;
    world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    world.rotate("app").await;
    told.beat().await;
    told.later(DAY).await;
    let words = told.receiver.words();
    let orphans: Vec<_> = words
        .iter()
        .filter(|word| word.starts_with("orphan"))
        .collect();
    assert_eq!(orphans, ["orphan:orphan-found"], "{words:?}");
}

#[tokio::test]
async fn a_channel_is_told_of_the_connections_with_its_labels_alone() {
    for (label, count) in [("crm", 1), ("erp", 0)] {
        let told = Told::new(&format!("labels = {{ team = \"{label}\" }}")).await;
        let world = &told.world;
        world.adopted().await;
        world
            .edit("app", |it| {
                it.labels.insert("team".into(), "crm".into());
            })
            .await;
        world.sandbox.inject(gateway().always());
        world.rotate_once("app").await;
        told.beat().await;
        assert_eq!(told.receiver.words().len(), count, "{label}");
    }
}

#[tokio::test]
async fn d2_a_process_that_dies_after_a_pass_has_told_nothing_and_the_next_does() {
    let mut told = Told::new("").await;
    told.world.adopted().await;
    told.world.sandbox.inject(gateway().always());
    told.world.rotate_once("app").await;
    told.restart("").await;
    told.beat().await;
    assert_eq!(told.receiver.words(), ["failing:server-error"]);
    told.restart("").await;
    told.world.clock.advance(Duration::from_secs(40));
    told.world.advance("app", Order::DUE).await;
    told.beat().await;
    assert_eq!(told.receiver.words().len(), 1, "told once");
}

#[tokio::test]
async fn what_stands_when_the_first_channel_is_added_is_told_and_what_is_past_is_not() {
    let world = World::new().await;
    world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(DAY * 40);
    let told = Told::in_world(world, ALL).await;
    told.beat().await;
    assert_eq!(told.receiver.words(), ["overdue:overdue"]);
}

#[tokio::test]
async fn p6_no_message_holds_a_secret() {
    let told = Told::new(ALL).await;
    let world = &told.world;
    let application = world.adopted().await;
    world.rotate("app").await;
    let values: Vec<String> = world
        .sandbox
        .keys(application.client_id)
        .iter()
        .map(|key| secrecy::ExposeSecret::expose_secret(&key.value).to_owned())
        .collect();
    let inner = serde_json::json!({"date": "2026-03-29T13:23:55", "request-id": "r"});
    let echo = format!("you sent {}", values.join(" and "));
    let error = serde_json::json!({"code": "Request_Odd", "message": echo, "innerError": inner});
    let body = serde_json::json!({"error": error}).to_string();
    let answer = Answer::json(axum::http::StatusCode::BAD_REQUEST, body);
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, Action::Answer(answer)).always());
    world.clock.advance(DAY);
    world.rotate_once("app").await;
    told.beat().await;
    told.later(DAY * 45).await;
    let words = told.receiver.words();
    assert!(words.contains(&"failing:Request_Odd".into()), "{words:?}");
    for received in told.receiver.received() {
        let text = String::from_utf8(received.body.to_vec()).unwrap();
        for value in values
            .iter()
            .map(String::as_str)
            .chain([SECRET, "T0P-SECRET"])
        {
            assert!(!text.contains(value), "{text}");
        }
    }
}

/// Runs twenty times as fast as the host's.
#[derive(Debug)]
struct FastClock {
    begun: chrono::DateTime<chrono::Utc>,
}

const FAST: u32 = 20;

impl Clock for FastClock {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.begun + (SystemClock.now() - self.begun) * i32::try_from(FAST).unwrap()
    }

    fn sleep(&self, duration: Duration) -> keywheel::clock::Sleep<'_> {
        Box::pin(async move { SystemClock.sleep(duration / FAST).await })
    }
}

struct Never;

#[async_trait::async_trait]
impl Source for Never {
    async fn engine(&self, _: &Engine) -> Result<Engine, String> {
        Err("never".into())
    }
}

#[tokio::test]
async fn a_receiver_that_answers_nothing_delays_no_rotation() {
    let receiver = Receiver::start([Reply::Silence]).await;
    let clock: Arc<dyn Clock> = Arc::new(FastClock {
        begun: SystemClock.now(),
    });
    let shared = clock.clone();
    let mut world = World::with(move |options| options.clock = shared, "").await;
    private(world.folder.path(), "secret", SECRET);
    let hook = webhook(&receiver.url());
    let hooks = format!("[[notify]]\nname = \"hook\"\n{hook}\n{ALL}\n");
    world.configure(&hooks).await;
    world.clock.set(clock.now());
    let application = world.adopted().await;
    let old = world.current("app").await;
    world.engine.clock = clock.clone();
    // One line of history that is told, and to which nobody answers.
    world.sandbox.inject(gateway());
    let begun = SystemClock.now();
    let store = world.store.clone();
    let (orders, signals) = tokio::sync::mpsc::channel(1);
    world.rotate_once("app").await;
    let limits = Limits {
        passes: 10,
        passes_per_tenant: 10,
    };
    let service = Service::new(world.engine, Arc::default(), limits, Box::new(Never));
    let rotated = async {
        let name = "app".parse().unwrap();
        loop {
            let journal = keywheel::store::Store::journal(&*store, &name)
                .await
                .unwrap();
            if journal.unwrap().current().unwrap().key_id != old {
                break orders.send(Signal::Stop).await.unwrap();
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(service.run(signals), rotated);
    let took = SystemClock.now() - begun;
    assert!(took < chrono::TimeDelta::seconds(9), "{took}");
    assert_eq!(world.sandbox.keys(application.client_id).len(), 2);
    assert!(!receiver.received().is_empty(), "it was asked");
}

#[tokio::test]
async fn a_secret_of_a_short_life_that_is_rotated_in_time_is_no_alarm() {
    let told = Told::new("").await;
    let world = &told.world;
    let application = world.application("app");
    let short = "interval_days = 7\nlifetime_days = 20\noverlap = \"2d\"\n";
    let more = format!("{short}{}", world.to_file("app"));
    world.adopt("app", &application, &more).await.unwrap();
    world.rotate("app").await;
    for _ in 0..7 {
        told.later(DAY).await;
    }
    assert!(
        told.receiver.words().is_empty(),
        "{:?}",
        told.receiver.words()
    );
    for _ in 0..10 {
        told.later(DAY).await;
    }
    let mut words = told.receiver.words();
    words.dedup();
    assert!(words.contains(&"expiring:expiring".into()), "P7: {words:?}");
}
