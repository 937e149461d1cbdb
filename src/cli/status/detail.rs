//! All about one connection.

use super::super::output::{Table, instant, instant_or, style, table};
use super::super::view::ConnectionView;
use super::{next_action, trouble, word};
use crate::journal::{Journal, Origin, Removal, Role, Rotation, State};

/// What `status NAME` prints for people.
pub(super) fn lines(view: &ConnectionView, journal: &Journal) -> String {
    let parts = [
        Some(head(view)),
        secrets(journal),
        rotations(journal),
        destinations(view),
        removals(journal),
        watches(journal),
        trouble(view).map(|text| text.trim_start().to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("\n\n")
}

fn head(view: &ConnectionView) -> String {
    let (word, colour) = word(view.health);
    let colour = style(colour);
    let held = if view.paused { ", paused" } else { "" };
    let mut lines = vec![format!(
        "{}: {colour}{word}{colour:#}, {}{held}",
        view.name, view.state
    )];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<14}{text}"));
    line(
        "application",
        format!(
            "client {} in tenant {}, cloud {}",
            view.client_id, view.tenant_id, view.cloud
        ),
    );
    line("identity", view.identity.clone());
    line(
        "schedule",
        format!(
            "every {} days at {} {}; next {}",
            view.interval_days,
            view.rotate_at,
            view.timezone,
            instant(view.next_rotation_at)
        ),
    );
    line("overlap", view.overlap.clone());
    line(
        "safe until",
        instant_or(view.safe_until, view.without_end()),
    );
    line("next action", next_action(view));
    lines.join("\n")
}

fn secrets(journal: &Journal) -> Option<String> {
    let mut table = table(&["key id", "role", "hint", "origin", "expires"]).sparing(&["origin"]);
    for secret in &journal.secrets {
        let role = match secret.role {
            Role::Pending => "pending",
            Role::Current => "current",
            Role::Previous => "previous",
            Role::Doomed => "to be removed",
        };
        let origin = match secret.origin {
            Origin::Unchecked => "not checked yet",
            Origin::Adopted => "adopted",
            Origin::Minted => "minted",
        };
        table.add_row([
            secret.key_id.to_string(),
            role.to_owned(),
            secret.hint.clone(),
            origin.to_owned(),
            instant_or(secret.expires_at, "-"),
        ]);
    }
    section("Secrets", journal.secrets.is_empty(), &table)
}

fn rotations(journal: &Journal) -> Option<String> {
    let mut table = table(&["rotation", "state", "since", "not before"]).sparing(&["rotation"]);
    for rotation in &journal.rotations {
        table.add_row([
            rotation.id.to_string(),
            state(rotation),
            instant(rotation.started_at),
            not_before(rotation),
        ]);
    }
    section("Rotations under way", journal.rotations.is_empty(), &table)
}

fn state(rotation: &Rotation) -> String {
    match &rotation.state {
        State::Blocked { since, interrupted } => {
            format!(
                "blocked at {} since {}",
                interrupted.name(),
                instant(*since)
            )
        }
        state => state.name().to_owned(),
    }
}

/// The end of the overlap, or of the backoff.
fn not_before(rotation: &Rotation) -> String {
    match rotation.state {
        State::Overlapping {
            revoke_at: None, ..
        } => "the next rotation".to_owned(),
        State::Overlapping { revoke_at, .. } if rotation.retry.not_before.is_none() => {
            instant_or(revoke_at, "-")
        }
        _ => instant_or(rotation.retry.not_before, "-"),
    }
}

fn destinations(view: &ConnectionView) -> Option<String> {
    let mut table = table(&["destination", "kind", "state", "failures", "next try"]);
    for destination in &view.destinations {
        table.add_row([
            destination.name.clone(),
            destination.kind.to_owned(),
            destination.in_words().to_owned(),
            destination.attempts.to_string(),
            instant_or(destination.next_attempt_at, "-"),
        ]);
    }
    section("Destinations", view.destinations.is_empty(), &table)
}

fn removals(journal: &Journal) -> Option<String> {
    let mut table = table(&["key id", "asked", "called", "next try"]);
    for removal in &journal.removals {
        let Removal {
            key_id,
            asked_at,
            called_at,
            retry,
            ..
        } = removal;
        table.add_row([
            key_id.to_string(),
            instant(*asked_at),
            instant_or(*called_at, "not yet"),
            instant_or(retry.not_before, "-"),
        ]);
    }
    section(
        "To be removed from the application",
        journal.removals.is_empty(),
        &table,
    )
}

fn watches(journal: &Journal) -> Option<String> {
    let mut table = table(&["display name", "since", "next look"]);
    for watch in &journal.watches {
        table.add_row([
            watch.attempt.to_string(),
            instant(watch.since),
            instant(watch.next_look),
        ]);
    }
    section(
        "Names whose outcome is unknown",
        journal.watches.is_empty(),
        &table,
    )
}

fn section(title: &str, empty: bool, table: &Table) -> Option<String> {
    (!empty).then(|| format!("{title}\n{table}"))
}
