//! The page: how every connection stands, for a browser. It is read-only and needs no script.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use crate::clock::instant;
use crate::rotation::standing::Health;
use crate::view::ConnectionView;

const TEMPLATE: &str = include_str!("page.html");

/// How far ahead the calendar looks.
const AHEAD: TimeDelta = TimeDelta::days(60);

/// A secret with more time than this has a full bar.
const FULL: TimeDelta = TimeDelta::days(180);

/// One row.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    health: &'static str,
    state: &'static str,
    paused: bool,
    expires: String,
    /// Days until the last secret that consumers hold expires; none: it never does.
    days_left: Option<i64>,
    /// Of the bar: 0 to 100.
    left: i64,
    next_rotation: String,
    error: Option<&'a str>,
    remedy: Option<&'a str>,
}

/// A day on which something rotates.
#[derive(Debug, Serialize)]
struct Day<'a> {
    date: String,
    names: Vec<&'a str>,
}

/// What stands on the page beside the connections.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Why it is not ready.
    pub not_ready: Option<&'a str>,
    /// How many connections are kept.
    pub connections: u64,
    /// How many are worked on.
    pub under_way: u64,
    /// The connections that the settings lack something for.
    pub lacking: Option<&'a str>,
    /// The page behind this one begins after it.
    pub next_page: Option<&'a str>,
}

/// The page as HTML.
///
/// # Errors
///
/// Where the template has a fault.
pub fn page(
    head: Head<'_>,
    views: &[ConnectionView],
    now: DateTime<Utc>,
) -> Result<String, minijinja::Error> {
    let mut shown: Vec<&ConnectionView> = views.iter().collect();
    shown.sort_by_key(|view| {
        (
            std::cmp::Reverse(view.health),
            view.safe_until.is_none(),
            view.safe_until,
        )
    });
    let rows: Vec<Row<'_>> = shown.iter().map(|view| row(view, now)).collect();
    let trouble = shown
        .iter()
        .filter(|it| it.health > Health::Waiting)
        .count();
    let mut environment = Environment::new();
    environment.add_template("page.html", TEMPLATE)?;
    environment.get_template("page.html")?.render(context! {
        now => instant(now),
        version => env!("CARGO_PKG_VERSION"),
        not_ready => head.not_ready,
        connections => head.connections,
        under_way => head.under_way,
        lacking => head.lacking,
        next_page => head.next_page,
        trouble,
        rows => Value::from(Serde(rows)),
        days => Value::from(Serde(calendar(&shown, now))),
    })
}

fn row(view: &ConnectionView, now: DateTime<Utc>) -> Row<'_> {
    let left = view.safe_until.map(|at| at - now);
    let error = view.last_error.as_ref();
    Row {
        name: view.name.as_str(),
        health: view.health.name(),
        state: view.state,
        paused: view.paused,
        expires: view.safe_until.map_or_else(|| "never".into(), instant),
        days_left: left.map(|left| left.num_days()),
        left: left.map_or(100, |left| {
            (left.num_hours() * 100 / FULL.num_hours()).clamp(0, 100)
        }),
        next_rotation: instant(view.next_rotation_at),
        error: error.map(|it| it.message.as_str()),
        remedy: error.and_then(|it| it.remedy.as_deref()),
    }
}

/// Whether it rotates by itself, as things stand.
fn rotates(view: &ConnectionView) -> bool {
    !view.paused && view.health != Health::Blocked
}

/// What rotates in the coming weeks, day by day; what is late rotates today.
fn calendar<'a>(views: &[&'a ConnectionView], now: DateTime<Utc>) -> Vec<Day<'a>> {
    let mut days: std::collections::BTreeMap<NaiveDate, Vec<&str>> =
        std::collections::BTreeMap::new();
    for view in views.iter().filter(|view| rotates(view)) {
        let at = view.next_rotation_at.max(now);
        if at <= now + AHEAD {
            days.entry(at.date_naive())
                .or_default()
                .push(view.name.as_str());
        }
    }
    days.into_iter()
        .map(|(date, mut names)| {
            names.sort_unstable();
            let date = date.format("%a %Y-%m-%d").to_string();
            Day { date, names }
        })
        .collect()
}
