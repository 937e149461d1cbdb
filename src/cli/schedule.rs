//! `schedule`: when connections will rotate, or what a rule would mean.

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::{Output, instant, table};
use super::view;
use crate::clock::Span;
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::rotation::timetable::Timetable;
use crate::schedule::{self, Rule, Window};

/// As the local time of a zone that is UTC ends.
const UTC: [&str; 2] = ["[UTC]", "[Etc/UTC]"];

/// The fields of `schedule` with `-o json`; none is renamed.
#[derive(Debug, Serialize)]
struct Slot {
    /// Null where no settings were asked.
    connection: Option<ConnectionName>,
    #[serde(serialize_with = "seconds::serialize")]
    at: DateTime<Utc>,
    /// What a clock on the wall shows, with its offset and zone (RFC 9557).
    local: String,
}

impl Slot {
    fn new(connection: Option<ConnectionName>, at: DateTime<Utc>, timezone: Tz) -> Self {
        let local = at.with_timezone(&timezone);
        let local = local.to_rfc3339_opts(SecondsFormat::Secs, false);
        Self {
            connection,
            at,
            local: format!("{local}[{timezone}]"),
        }
    }
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Schedule,
    output: Output,
) -> Result<Exit, Complaint> {
    let slots = match supposed(&args) {
        Some((rule, from)) => suppose(&rule, from, args.count.into()),
        None => of_connections(global, &args, output).await?,
    };
    output.data(&slots, || lines(&slots));
    Ok(Exit::Done)
}

/// The rule of the second form; `None`: the first form.
fn supposed(args: &args::Schedule) -> Option<(Rule, DateTime<Utc>)> {
    let rule = Rule {
        interval_days: args.interval_days?,
        rotate_at: args.rotate_at?,
        timezone: args.timezone?,
        renew_before: Span::default(),
        jitter: Span::default(),
        window: Window::default(),
    };
    Some((rule, args.from?))
}

fn suppose(rule: &Rule, from: DateTime<Utc>, count: usize) -> Vec<Slot> {
    let anchor = from.with_timezone(&rule.timezone).date_naive();
    schedule::upcoming(rule, anchor, from)
        .take(count)
        .map(|at| Slot::new(None, at, rule.timezone))
        .collect()
}

async fn of_connections(
    global: &args::Global,
    args: &args::Schedule,
    output: Output,
) -> Result<Vec<Slot>, Complaint> {
    let context = Context::open_to_look(&global.config, output)?;
    let journals = match &args.name {
        Some(name) => vec![context.connection(name).await?],
        None => context.store.journals().await?,
    };
    let kept: Vec<_> = journals
        .iter()
        .filter(|it| it.removed_at.is_none())
        .collect();
    if kept.is_empty() {
        output.note("there are no connections");
    }
    let mut slots = Vec::new();
    for journal in kept {
        let name = journal.name();
        if journal.paused {
            output.note(&format!("{name} is paused: nothing rotates until `resume`"));
        }
        let policy = view::terms(&context.settings, journal)?.policy;
        let upcoming = Timetable::new(name, &policy).upcoming(
            journal.anchor,
            journal.due_at,
            args.count.into(),
        );
        let of_one = upcoming
            .into_iter()
            .map(|at| Slot::new(Some(name.clone()), at, policy.timezone));
        slots.extend(of_one);
    }
    Ok(slots)
}

fn lines(slots: &[Slot]) -> String {
    if slots.is_empty() {
        return String::new();
    }
    // In UTC one time says it all.
    let is_utc = |slot: &Slot| UTC.iter().any(|zone| slot.local.ends_with(zone));
    let columns: &[&str] = if slots.iter().all(is_utc) {
        &["connection", "at"]
    } else {
        &["connection", "at", "local"]
    };
    let mut table = table(columns);
    if columns.len() > 2 {
        table = table.sparing(&["at"]);
    }
    for slot in slots {
        let name = slot.connection.as_ref();
        let name = name.map_or_else(|| "-".to_owned(), ToString::to_string);
        let cells = [name, instant(slot.at), slot.local.clone()];
        table.add_row(cells.into_iter().take(columns.len()));
    }
    table.to_string()
}
