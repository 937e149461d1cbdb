//! What the pure parts cost per call: `plan` for one connection, and the arithmetic of the
//! schedule. `cargo bench --bench pure`

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can't be set up is to stop"
)]

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use divan::{Bencher, black_box};
use keywheel::clock::Span;
use keywheel::connection::{OnLimit, Overlap, Policy};
use keywheel::entra::KeyId;
use keywheel::journal::{
    ConnectionId, Delivery, Journal, Origin, Retry, Role, Rotation, RotationId, Secret, State,
    Trigger,
};
use keywheel::rotation::plan::{Ask, Next, Terms, plan};
use keywheel::schedule::{self, Hours, Life, Rule, Weekdays};
use keywheel::settings::{GraphSettings, Verification};

fn main() {
    divan::main();
}

/// Nothing is due: what a service asks most often.
#[divan::bench]
fn plan_at_rest(bencher: Bencher<'_, '_>) {
    let (journal, terms) = (idle(), terms());
    let now = utc("2026-03-03T09:00:00Z");
    assert!(matches!(
        plan(&journal, &terms, now, Ask::Due),
        Next::Wait { .. }
    ));
    bencher.bench(|| plan(black_box(&journal), &terms, now, Ask::Due));
}

/// Three overlaps are open, and nothing can be done yet.
#[divan::bench]
fn plan_in_overlaps(bencher: Bencher<'_, '_>) {
    let (mut journal, terms) = (idle(), terms());
    journal.rotations.extend((1..=3).map(overlapping));
    let now = utc("2026-03-03T09:00:00Z");
    assert!(matches!(
        plan(&journal, &terms, now, Ask::Due),
        Next::Wait { .. }
    ));
    bencher.bench(|| plan(black_box(&journal), &terms, now, Ask::Due));
}

/// A rotation by hand begins.
#[divan::bench]
fn plan_by_hand(bencher: Bencher<'_, '_>) {
    let (journal, terms) = (idle(), terms());
    let now = utc("2026-03-03T09:00:00Z");
    assert!(matches!(
        plan(&journal, &terms, now, Ask::Rotate(None)),
        Next::Do(_)
    ));
    bencher.bench(|| plan(black_box(&journal), &terms, now, Ask::Rotate(None)));
}

/// By the interval alone, two years after the date that it is counted from.
#[divan::bench]
fn schedule_next_due(bencher: Bencher<'_, '_>) {
    let rule = rule();
    let (anchor, now) = (date("2024-03-01"), utc("2026-03-03T09:00:00Z"));
    bencher.bench(|| schedule::next_due(black_box(&rule), anchor, now));
}

/// The guard, a window of weekdays and hours, and jitter, on top of that.
#[divan::bench]
fn schedule_due_at(bencher: Bencher<'_, '_>) {
    let rule = rule();
    let next_due = utc("2026-03-07T09:00:00Z");
    let life = Some(Life {
        starts_at: Some(utc("2026-02-05T09:00:00Z")),
        expires_at: utc("2026-05-06T09:00:00Z"),
    });
    bencher.bench(|| schedule::due_at(black_box(&rule), next_due, life, "app"));
}

/// A local time that a spring change skips: the slowest of the three cases.
#[divan::bench]
fn schedule_resolve_in_a_gap(bencher: Bencher<'_, '_>) {
    let (day, at) = (date("2026-03-29"), time("02:30:00"));
    bencher.bench(|| schedule::resolve(black_box(day), at, chrono_tz::Europe::Berlin));
}

/// Any other.
#[divan::bench]
fn schedule_resolve(bencher: Bencher<'_, '_>) {
    let (day, at) = (date("2026-06-01"), time("10:00:00"));
    bencher.bench(|| schedule::resolve(black_box(day), at, chrono_tz::Europe::Berlin));
}

/// A connection between two rotations.
fn idle() -> Journal {
    let declared = toml::from_str(
        "name = \"app\"\n\
         tenant_id = \"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"\n\
         client_id = \"2b7e1516-28ae-d2a6-abf7-158809cf4f3c\"\n\
         [[destination]]\nkind = \"file\"\nname = \"service\"\npath = \"/etc/app/secret\"\n",
    );
    Journal {
        id: ConnectionId(1),
        declared: declared.unwrap(),
        object_id: None,
        paused: false,
        removed_at: None,
        anchor: date("2026-03-01"),
        due_at: utc("2026-03-31T08:00:00Z"),
        next_action_at: None,
        planned_at: None,
        mutated_at: Some(utc("2026-03-01T09:00:00Z")),
        secrets: (0..=3).map(secret).collect(),
        rotations: Vec::new(),
        deliveries: vec![Delivery {
            destination: "service".to_owned(),
            wants: 4,
            holds: 4,
            taken_at: Some(utc("2026-03-01T09:00:05Z")),
            retry: Retry::default(),
        }],
        removals: Vec::new(),
        watches: Vec::new(),
    }
}

/// The n-th secret before the current one, which has number 0.
fn secret(n: u32) -> Secret {
    Secret {
        key_id: key_id(n),
        role: if n == 0 {
            Role::Current
        } else {
            Role::Previous
        },
        origin: Origin::Minted,
        generation: 4 - n,
        hint: "abc".to_owned(),
        starts_at: Some(utc("2026-03-01T09:00:00Z")),
        expires_at: Some(utc("2026-05-07T09:00:00Z")),
        attempt: None,
        refused: None,
    }
}

fn overlapping(n: u32) -> Rotation {
    Rotation {
        id: RotationId(ulid::Ulid(u128::from(n))),
        trigger: Trigger::Manual,
        started_at: utc("2026-03-01T09:00:00Z"),
        overlap: Overlap::For(Span::days(7)),
        state: State::Overlapping {
            new: key_id(n - 1),
            old: key_id(n),
            revoke_at: Some(utc("2026-03-08T09:00:00Z")),
        },
        retry: Retry::default(),
    }
}

fn key_id(n: u32) -> KeyId {
    KeyId(uuid::Uuid::from_u128(u128::from(n)))
}

fn terms() -> Terms {
    let rule = rule();
    Terms {
        policy: Policy {
            cloud: "public".to_owned(),
            identity: "self".to_owned(),
            interval_days: rule.interval_days,
            rotate_at: rule.rotate_at,
            timezone: rule.timezone,
            lifetime_days: 67,
            overlap: Overlap::For(Span::days(7)),
            renew_before: rule.renew_before,
            jitter: rule.jitter,
            only: rule.window.only,
            hours: rule.window.hours,
            blackouts: rule.window.blackouts,
            on_limit: OnLimit::Block,
        },
        verification: Verification::default(),
        graph: GraphSettings::default(),
    }
}

fn rule() -> Rule {
    Rule {
        interval_days: 30,
        rotate_at: time("10:00:00"),
        timezone: chrono_tz::Europe::Berlin,
        renew_before: Span::days(14),
        jitter: Span::minutes(30),
        window: schedule::Window {
            only: Weekdays::try_from(vec!["mon-thu".to_owned()]).unwrap(),
            hours: Some(Hours::try_from("08:00-18:00".to_owned()).unwrap()),
            blackouts: Vec::new(),
        },
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn time(text: &str) -> NaiveTime {
    text.parse().unwrap()
}
