//! `connection list` and `connection show`

use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::output::{instant, instant_or, table};
use super::super::view::{ConnectionView, FailureView, view};
use crate::connection::ConnectionName;
use crate::text::harmless;

/// The longest text of somebody else's in one line.
const LONGEST: usize = 300;

pub(super) async fn run(context: &Context) -> Result<Exit, Complaint> {
    let now = context.clock.now();
    let mut views = Vec::new();
    let mut complaints = Vec::new();
    for journal in context.store.journals().await? {
        if journal.removed_at.is_some() {
            continue;
        }
        // One that the settings no longer fit hides no other (I6).
        match view(&context.settings, &journal, now) {
            Ok(view) => views.push(view),
            Err(complaint) => complaints.push(complaint),
        }
    }
    context.output.data(&views, || rows(&views));
    if views.is_empty() && complaints.is_empty() {
        context
            .output
            .note("there are no connections; `keywheel connection add` adopts one");
    }
    Ok(complaints.iter().fold(Exit::Done, |exit, complaint| {
        context
            .output
            .note(&format!("error: {}", complaint.message));
        exit.or(complaint.exit)
    }))
}

pub(super) async fn show(context: &Context, name: &ConnectionName) -> Result<Exit, Complaint> {
    let journal = context.connection(name).await?;
    let view = view(&context.settings, &journal, context.clock.now())?;
    context.output.data(&view, || lines(&view));
    Ok(Exit::Done)
}

fn rows(views: &[ConnectionView]) -> String {
    if views.is_empty() {
        return String::new();
    }
    let mut table = table(&[
        "name",
        "health",
        "state",
        "hint",
        "expires",
        "next rotation",
        "problem",
    ])
    .sparing(&["hint", "state", "next rotation"]);
    for view in views {
        let current = view.current.as_ref();
        let problem = view.last_error.as_ref();
        table.add_row([
            view.name.to_string(),
            health(view),
            view.state.to_owned(),
            current.map_or_else(|| "-".to_owned(), |secret| harmless(&secret.hint, 8)),
            expiry(view),
            instant_or(Some(view.next_rotation_at), "-"),
            problem.map_or_else(|| "-".to_owned(), |problem| problem.code.clone()),
        ]);
    }
    table.to_string()
}

/// One connection, a line for each thing that can be said of it.
pub(super) fn lines(view: &ConnectionView) -> String {
    let mut lines = Lines::default();
    lines.add("name", view.name.to_string());
    lines.add("tenant", view.tenant_id.to_string());
    lines.add("client", view.client_id.to_string());
    let object = view.object_id.map(|id| id.to_string());
    lines.add(
        "object",
        object.unwrap_or_else(|| "not looked up yet".into()),
    );
    lines.add("cloud", view.cloud.clone());
    lines.add("identity", view.identity.clone());
    lines.add(
        "schedule",
        format!(
            "every {} days at {} {}",
            view.interval_days, view.rotate_at, view.timezone
        ),
    );
    lines.add("lifetime", format!("{} days", view.lifetime_days));
    lines.add("overlap", view.overlap.clone());
    for (key, value) in &view.labels {
        lines.add("label", harmless(&format!("{key}={value}"), LONGEST));
    }
    lines.add("health", health(view));
    lines.add("state", view.state.to_owned());
    match &view.current {
        Some(current) => lines.add(
            "current",
            format!(
                "{} ({}…), expires {}",
                current.key_id,
                harmless(&current.hint, 8),
                expiry(view)
            ),
        ),
        None => lines.add("current", "none".into()),
    }
    for previous in &view.previous {
        let revoked = previous.revoke_at.map_or_else(
            || "with the next rotation or later".to_owned(),
            |at| format!("at {}", instant(at)),
        );
        lines.add(
            "previous",
            format!("{}, to be revoked {revoked}", previous.key_id),
        );
    }
    lines.add(
        "next rotation",
        instant_or(Some(view.next_rotation_at), "-"),
    );
    if let Some(next) = &view.next_action {
        let what = format!("{} at {}", next.what, instant_or(Some(next.at), "-"));
        lines.add("next action", what);
    }
    lines.add(
        "safe until",
        instant_or(view.safe_until, view.without_end()),
    );
    destinations(view, &mut lines);
    if let Some(problem) = &view.last_error {
        lines.add("problem", words(problem));
    }
    lines.0.join("\n")
}

fn destinations(view: &ConnectionView, lines: &mut Lines) {
    if view.pull {
        lines.add("pull", "consumers ask `keywheel secret`".into());
    }
    if view.destinations.is_empty() && !view.pull {
        lines.add("destinations", "none: only `rotate NAME` rotates it".into());
    }
    for destination in &view.destinations {
        let problem = destination.last_error.as_ref();
        let problem = problem.map(|problem| format!(": {}", words(problem)));
        lines.add(
            "destination",
            format!(
                "{} ({}), {}{}",
                destination.name,
                destination.kind,
                destination.in_words(),
                problem.unwrap_or_default()
            ),
        );
    }
}

fn health(view: &ConnectionView) -> String {
    let health = format!("{:?}", view.health).to_lowercase();
    if view.paused {
        format!("{health} (paused)")
    } else {
        health
    }
}

fn expiry(view: &ConnectionView) -> String {
    view.current.as_ref().map_or_else(
        || "-".to_owned(),
        |current| instant_or(current.expires_at, current.without_date()),
    )
}

fn words(problem: &FailureView) -> String {
    let remedy = problem.remedy.as_ref().map(|remedy| format!("; {remedy}"));
    let message = format!("{}{}", problem.message, remedy.unwrap_or_default());
    format!("{}: {}", problem.code, harmless(&message, LONGEST * 2))
}

/// `key: value`, one below the other.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    #[expect(clippy::needless_pass_by_value, reason = "most are made for this line")]
    fn add(&mut self, key: &str, value: String) {
        self.0.push(format!("{:<15}{value}", format!("{key}:")));
    }
}
