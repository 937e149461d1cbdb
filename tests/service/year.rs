//! A year on a virtual clock: 500 connections in 20 zones, random faults, restarts and clock steps.
//! No promise is broken, and every due time is met.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::journal::{Rotation, Trigger};
use keywheel::rotation::advance::Engine;
use keywheel::sandbox::{
    Action, Answer, Fault, Kind, Lag, NewPassword, Options, Registered, Replication, RetryAfter,
};
use keywheel::service::{Ended, Limits, Work};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::world::{World, start};

const CONNECTIONS: usize = 500;

const ZONES: [&str; 20] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Santiago",
    "Asia/Tokyo",
    "Asia/Tehran",
    "Asia/Beirut",
    "Atlantic/Azores",
    "UTC",
];

/// A rotation that was due begins this soon: within the pass that is due, whatever else is.
const TOLERANCE: TimeDelta = TimeDelta::minutes(15);

struct Kept {
    application: Registered,
    interval_days: i64,
    file: PathBuf,
    foreign: KeyId,
}

struct Year {
    world: World,
    rng: fastrand::Rng,
    engine: Arc<Engine>,
    work: Work,
    kept: Vec<Kept>,
    restarts: u32,
    /// From when to when the host slept, or its clock was moved.
    asleep: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

fn work() -> Work {
    Work::new(Limits {
        passes: 32,
        passes_per_tenant: 32,
    })
}

impl Year {
    async fn new(seed: u64) -> Self {
        let options = |options: &mut Options| {
            options.seed = seed;
            options.call_log = 0;
            options.replication = Replication {
                count: 3,
                reads: Lag::realistic(),
                tokens: Lag::realistic(),
                ..Replication::default()
            };
        };
        let world = World::with(options, "").await;
        let engine = Arc::new(world.another_engine().await);
        let mut year = Self {
            world,
            rng: fastrand::Rng::with_seed(seed),
            engine,
            work: work(),
            kept: Vec::new(),
            restarts: 0,
            asleep: Vec::new(),
        };
        for n in 0..CONNECTIONS {
            year.adopt(n).await;
        }
        year
    }

    async fn adopt(&mut self, n: usize) {
        let name = format!("app-{n}");
        let application = self.world.application(&name);
        let foreign = NewPassword {
            display_name: Some("made in the portal".into()),
            ..NewPassword::until(start() + TimeDelta::days(700))
        };
        let sandbox = &self.world.sandbox;
        let foreign = sandbox.add_key(application.client_id, foreign).unwrap();
        let file = self.world.file(&name);
        std::fs::write(&file, application.keys[0].value.expose_secret()).unwrap();
        let interval_days = [60, 90, 120, 180][n % 4];
        let hour = self.rng.u8(0..24);
        let overlap = ["7d", "0s", "2d", "next-rotation"][(n / 4) % 4];
        let window = ["", "only = [\"mon-thu\"]\n"][usize::from(n.is_multiple_of(3))];
        let more = format!(
            "interval_days = {interval_days}\nrotate_at = \"{hour:02}:30\"\ntimezone = \"{}\"\n\
             overlap = \"{overlap}\"\njitter = \"20m\"\n{window}{}",
            ZONES[n % ZONES.len()],
            self.world.to_file(&name)
        );
        self.world.adopt(&name, &application, &more).await.unwrap();
        self.kept.push(Kept {
            application,
            interval_days,
            file,
            foreign: foreign.key_id,
        });
    }

    fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    /// Works as the service does until `end`, with something going wrong every other day.
    async fn live_until(&mut self, end: DateTime<Utc>, troubles: bool) {
        let mut next_trouble = self.now();
        let mut rounds = 0_u32;
        while self.now() < end {
            if troubles && next_trouble <= self.now() {
                self.trouble().await;
                next_trouble = self.now() + TimeDelta::hours(self.rng.i64(12..72));
            }
            self.settle(troubles).await;
            rounds += 1;
            if rounds.is_multiple_of(50) {
                self.check();
            }
            let next = self.engine.store.next_action_at().await.unwrap().unwrap();
            let next = next.max(self.now() + TimeDelta::seconds(1));
            self.world.clock.set(next.min(end));
        }
        self.check();
    }

    /// All that is due now.
    async fn settle(&mut self, troubles: bool) {
        loop {
            self.work.look(&self.engine).await.unwrap();
            if self.work.under_way() == 0 {
                return;
            }
            let ended = self.work.one_done(&self.engine).await;
            assert!(matches!(ended, Ended::Well | Ended::Busy), "{ended:?}");
            if troubles && self.rng.u32(0..400) == 0 {
                self.restart().await;
            }
        }
    }

    /// The process dies with everything that is under way, and starts anew.
    async fn restart(&mut self) {
        self.restarts += 1;
        self.work = work();
        self.engine = Arc::new(self.world.another_engine().await);
    }

    async fn trouble(&mut self) {
        let sandbox = &self.world.sandbox;
        let times = self.rng.u32(1..6);
        let kind = [
            Kind::AddPassword,
            Kind::RemovePassword,
            Kind::GetApplication,
            Kind::Token,
        ][self.rng.usize(0..4)];
        let fault = match self.rng.u8(0..7) {
            0 => Fault::on(kind, Action::HangUp),
            1 => Fault::on(kind, Action::HangUp).after_effect(),
            2 => Fault::on(kind, Action::Html),
            3 => Fault::on(kind, Action::Throttle(RetryAfter::Seconds(20))),
            4 => Fault::on(kind, Action::CutOff),
            5 => Fault::on(kind, Action::Truncate),
            _ => Fault::on(kind, Action::Answer(unavailable())).after_effect(),
        };
        sandbox.inject(fault.times(times));
        match self.rng.u8(0..10) {
            0 => self.restart().await,
            // The clock is corrected, forward or back.
            1 => {
                let by = TimeDelta::seconds(self.rng.i64(-600..600));
                self.step(by);
            }
            // An hour of nothing: the host sleeps.
            2 => self.step(TimeDelta::hours(1)),
            _ => {}
        }
    }

    fn step(&mut self, by: TimeDelta) {
        let now = self.now();
        self.asleep.push((now, now + by));
        self.world.clock.set(now + by);
    }

    /// For how long the host was awake between the two.
    fn awake(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let asleep = self
            .asleep
            .iter()
            .map(|(slept, woke)| (to.min(*woke) - from.max(*slept)).max(TimeDelta::zero()));
        (to - from) - asleep.sum::<TimeDelta>()
    }

    /// What must be so at any moment.
    fn check(&self) {
        let sandbox = &self.world.sandbox;
        for kept in &self.kept {
            let client_id = kept.application.client_id;
            let value = SecretString::from(std::fs::read_to_string(&kept.file).unwrap());
            let now = self.now();
            let held = sandbox.sign_in(client_id, &value);
            assert!(held.primary, "P2: {:?} at {now}", kept.file);
            let keys = sandbox.keys(client_id);
            let foreign = keys.iter().any(|key| key.key_id == kept.foreign);
            assert!(foreign, "P3: {:?} at {now}", kept.file);
            // Foreign, previous, current, pending, and one whose answer was lost.
            assert!(keys.len() <= 6, "P4: {} keys, {:?}", keys.len(), kept.file);
        }
    }

    /// What must be so once everything has come to rest: no key is left that the journal does not
    /// know, and every rotation began when it was due.
    async fn check_the_end(&self) {
        for kept in &self.kept {
            let name = kept.file.file_stem().unwrap().to_str().unwrap();
            let app = &kept.application;
            let orphans = self.world.orphans(name, app, &[kept.foreign]).await;
            assert_eq!(orphans, [], "P4: {name}");
            let rotations = self.rotations(name).await;
            let promoted = rotations
                .iter()
                .filter(|it| it.state.old_key().is_some())
                .count();
            let least = usize::try_from(365 / kept.interval_days - 1).unwrap();
            assert!(promoted >= least, "P8: {name} {promoted} of {least}");
            for rotation in rotations {
                let Trigger::Due(due_at) = rotation.trigger else {
                    panic!("{name}: nobody rotated by hand");
                };
                let early = due_at - rotation.started_at;
                assert!(early <= TimeDelta::zero(), "{name}: early by {early}");
                let late = self.awake(due_at, rotation.started_at);
                assert!(late <= TOLERANCE, "P8: {name}: late by {late}");
            }
        }
    }

    async fn rotations(&self, name: &str) -> Vec<Rotation> {
        let id = self.world.journal(name).await.id;
        let path = &self.engine.settings.store_path;
        let database = rusqlite::Connection::open(path).unwrap();
        let mut statement = database
            .prepare("SELECT record FROM rotation WHERE connection = ?1")
            .unwrap();
        let records = statement
            .query_map([id.0], |row| row.get::<_, String>(0))
            .unwrap();
        records
            .map(|record| serde_json::from_str(&record.unwrap()).unwrap())
            .collect()
    }
}

fn unavailable() -> Answer {
    Answer::empty(StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::test]
async fn a_year_of_500_connections_breaks_no_promise() {
    let mut year = Year::new(20_261_121).await;
    year.live_until(start() + TimeDelta::days(365), true).await;
    // The last troubles end, the last overlaps too.
    year.world.sandbox.clear_faults();
    year.live_until(start() + TimeDelta::days(367), false).await;
    year.check_the_end().await;
    assert!(year.restarts > 20, "{}", year.restarts);
}
