//! What `plan` may never say, whatever the journal and the time; and a model that lives by it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests document themselves, and fail by panicking"
)]

mod any;
mod model;

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use keywheel::clock::Span;
use keywheel::connection::{Declared, OnLimit, Overlap, Policy};
use keywheel::entra::KeyId;
use keywheel::rotation::plan::Terms;
use keywheel::schedule::Weekdays;
use keywheel::settings::{GraphSettings, Verification};
use uuid::Uuid;

pub fn start() -> DateTime<Utc> {
    "2026-03-03T09:00:00Z".parse().unwrap()
}

pub fn key(n: u128) -> KeyId {
    KeyId(Uuid::from_u128(n))
}

/// Two destinations, the second not required.
pub fn declared() -> Declared {
    let text = "name = \"app\"\ntenant_id = \"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"\n\
                client_id = \"6f9619ff-8b86-d011-b42d-00cf4fc964fe\"\n\
                [[destination]]\nkind = \"file\"\nname = \"a\"\npath = \"/a\"\n\
                [[destination]]\nkind = \"file\"\nname = \"b\"\npath = \"/b\"\nrequired = false\n";
    toml::from_str(text).unwrap()
}

pub fn terms(overlap: Overlap) -> Terms {
    Terms {
        policy: Policy {
            cloud: "public".into(),
            identity: "self".into(),
            interval_days: 30,
            rotate_at: NaiveTime::from_hms_opt(10, 0, 0).unwrap(),
            timezone: chrono_tz::Europe::Berlin,
            lifetime_days: 67,
            overlap,
            renew_before: Span::days(14),
            jitter: Span::default(),
            only: Weekdays::default(),
            hours: None,
            blackouts: Vec::new(),
            on_limit: OnLimit::Block,
        },
        verification: Verification {
            successes: 3,
            spacing: Span::seconds(3),
            timeout: Span::minutes(20),
            give_up: Span::hours(24),
        },
        graph: GraphSettings {
            mutation_spacing: Span::seconds(10),
            absence_window: Span::minutes(1),
            request_timeout: Span::seconds(30),
        },
    }
}

pub const DAY: Duration = Duration::from_secs(86_400);
