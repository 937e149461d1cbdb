//! The keys that `[defaults]` and a `[[connection]]` have in common.

use chrono::NaiveTime;
use chrono_tz::Tz;

use super::reader::{Table, list, number, text, time};
use crate::clock::Span;
use crate::connection::{Blackout, OnLimit, Overlap, field, time_of_day};
use crate::schedule::{Hours, Weekdays};
use crate::wording::{did_you_mean, quoted};

/// What was written; `None` where nothing was, or nothing valid.
pub(super) struct Fields {
    pub(super) identity: Option<String>,
    pub(super) interval_days: Option<u32>,
    pub(super) rotate_at: Option<NaiveTime>,
    pub(super) timezone: Option<Tz>,
    pub(super) overlap: Option<Overlap>,
    pub(super) lifetime_days: Option<u32>,
    pub(super) renew_before: Option<Span>,
    pub(super) jitter: Option<Span>,
    pub(super) only: Option<Weekdays>,
    pub(super) hours: Option<Hours>,
    pub(super) blackouts: Option<Vec<Blackout>>,
    pub(super) on_limit: Option<OnLimit>,
}

impl Fields {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            identity: table.value("identity", text(|name| field::name("identity", name))),
            interval_days: table.value("interval_days", number(field::INTERVAL_DAYS)),
            rotate_at: table.value("rotate_at", text(time_of_day::parse)),
            timezone: table.value("timezone", text(field::timezone)),
            overlap: table.value("overlap", text(field::overlap)),
            lifetime_days: table.value("lifetime_days", number(field::LIFETIME_DAYS)),
            renew_before: table.value("renew_before", text(field::span)),
            jitter: table.value("jitter", text(field::jitter)),
            only: table.value("only", list(Weekdays::try_from)),
            hours: table.value("hours", text(|hours| Hours::try_from(hours.to_owned()))),
            blackouts: blackouts(table),
            on_limit: table.value("on_limit", text(on_limit)),
        }
    }
}

fn blackouts(table: &mut Table<'_>) -> Option<Vec<Blackout>> {
    table.has("blackouts").then(|| {
        let tables = table.tables("blackouts").into_iter();
        tables.filter_map(blackout).collect()
    })
}

fn blackout(mut table: Table<'_>) -> Option<Blackout> {
    let from = table.required("from", time(field::date));
    let until = table.required("until", time(field::date));
    let blackout = from
        .zip(until)
        .map(|(from, until)| Blackout { from, until });
    if blackout.is_some_and(|blackout| blackout.until < blackout.from) {
        table.fault("until", "the last day is before the first one");
    }
    table.end();
    blackout
}

fn on_limit(name: &str) -> Result<OnLimit, String> {
    match name {
        "block" => Ok(OnLimit::Block),
        "revoke-previous" => Ok(OnLimit::RevokePrevious),
        other => Err(format!(
            "{} is no answer to a full application: write block or revoke-previous{}",
            quoted(other),
            did_you_mean(other, ["block", "revoke-previous"])
        )),
    }
}
