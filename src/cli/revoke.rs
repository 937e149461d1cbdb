//! `revoke`: removes secrets of ours before their time.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::args;
use super::confirm::confirm;
use super::context::Context;
use super::exit::{Complaint, ErrorBody, Exit};
use super::output::{Output, instant, instant_or, table};
use super::progress::Progress;
use super::rotate::{PATIENCE, busy, paused};
use super::rotation_view::error;
use super::view;
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::entra::{KeyId, Password};
use crate::journal::{Journal, Role, State};
use crate::rotation::advance::{Stop, Which};
use crate::text::{Untrusted, harmless};

/// Entra's access tokens live for 60 to 90 minutes.
const TOKENS_LIVE_ON: &str = "access tokens that were issued already live on until they expire, \
                              for up to about an hour and a half";

/// What `revoke` prints.
#[derive(Debug, Serialize)]
struct Revocation {
    connection: ConnectionName,
    /// Reliably absent.
    removed: Vec<KeyId>,
    /// To go, and not known to be gone.
    pending: Vec<Pending>,
    /// Previous secrets that P2 keeps.
    kept: Vec<KeyId>,
    /// Null: they could not be listed.
    foreign: Option<Vec<Foreign>>,
}

#[derive(Debug, Serialize)]
struct Pending {
    key_id: KeyId,
    #[serde(serialize_with = "seconds::option::serialize")]
    next_attempt_at: Option<DateTime<Utc>>,
    error: Option<ErrorBody>,
}

/// A secret on the application that is not ours.
#[derive(Debug, Serialize)]
struct Foreign {
    key_id: KeyId,
    hint: Option<String>,
    display_name: Option<String>,
    #[serde(serialize_with = "seconds::option::serialize")]
    expires_at: Option<DateTime<Utc>>,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Revoke,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let before = context.connection(&args.name).await?;
    if before.paused && !args.accept_outage {
        return Err(paused(&args.name));
    }
    let progress = Arc::new(Progress::new(1));
    let engine = context.engine(progress.clone()).await?;
    if let Some(question) = question(&before, &args) {
        confirm(global, output, &question)?;
    }
    let window = context.settings.graph.absence_window.0.as_secs();
    progress.begins(
        &format!("revoking secrets of {}", args.name),
        &format!("{} s", window + window / 2),
    );
    // Before anything is removed: a replica that lags would list a secret of ours as somebody's,
    // and without its last secret the application can't be read at all.
    let foreign = match engine.foreign(&args.name).await {
        Ok(Some(passwords)) => Some(passwords.iter().map(Foreign::from).collect()),
        Ok(None) => return Err(busy(&args.name).remedy("nothing was removed; try again")),
        Err(fault) => {
            output.note(&format!(
                "the secrets of others on the application can't be listed: {fault}"
            ));
            None
        }
    };
    let which = args.key_id.map_or(Which::Previous, |key_id| Which::Key {
        key_id,
        accept_outage: args.accept_outage,
    });
    if engine.revoke(&args.name, which, PATIENCE).await? == Stop::Busy {
        return Err(busy(&args.name).remedy("nothing was removed; try again in a moment"));
    }
    let after = engine.journal(&args.name).await?;
    let revocation = revocation(&before, &after, foreign);
    output.data(&revocation, || lines(&revocation));
    if !(revocation.removed.is_empty() && revocation.pending.is_empty()) {
        output.note(TOKENS_LIVE_ON);
    }
    Ok(view::exit(&after))
}

/// What a person is asked; `None`: nothing would be removed.
fn question(journal: &Journal, args: &args::Revoke) -> Option<String> {
    let name = &args.name;
    let is_current =
        |key_id: &KeyId| journal.current().map(|secret| secret.key_id) == Some(*key_id);
    let keys = match args.key_id {
        Some(key_id) if args.accept_outage && is_current(&key_id) => {
            return Some(format!(
                "remove Key ID {key_id}, the current secret of {name}, and cut its consumers off?"
            ));
        }
        Some(key_id) => vec![key_id],
        None => going(journal),
    };
    if keys.is_empty() {
        return None;
    }
    let keys: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    Some(format!(
        "remove from the application of {name}: Key ID {}?",
        keys.join(", ")
    ))
}

/// The previous secrets that every required destination has a newer one for, and those that are
/// to go anyway.
fn going(journal: &Journal) -> Vec<KeyId> {
    let replaced =
        journal
            .rotations
            .iter()
            .filter_map(|rotation| match rotation.state.effective() {
                State::Overlapping { old, .. } | State::Revoking { old, .. } => Some(*old),
                _ => None,
            });
    let mut keys: Vec<KeyId> = replaced.collect();
    for removal in &journal.removals {
        if !keys.contains(&removal.key_id) {
            keys.push(removal.key_id);
        }
    }
    keys
}

fn revocation(before: &Journal, after: &Journal, foreign: Option<Vec<Foreign>>) -> Revocation {
    let removed = before
        .secrets
        .iter()
        .map(|secret| secret.key_id)
        .filter(|key_id| after.secret(*key_id).is_none())
        .collect();
    let mut pending: Vec<Pending> = after
        .removals
        .iter()
        .map(|removal| Pending {
            key_id: removal.key_id,
            next_attempt_at: removal.retry.not_before,
            error: removal.retry.last.as_ref().map(error),
        })
        .collect();
    let mut kept = Vec::new();
    for secret in after.secrets.iter().filter(|s| s.role == Role::Previous) {
        let key_id = secret.key_id;
        let rotation = after
            .rotations
            .iter()
            .find(|rotation| rotation.state.old_key() == Some(key_id));
        match rotation.map(|rotation| (rotation.state.effective(), &rotation.retry)) {
            _ if pending.iter().any(|known| known.key_id == key_id) => {}
            // P2's last look did not agree, and is taken again.
            Some((State::Overlapping { .. }, retry)) if retry.failures > 0 => {
                pending.push(Pending {
                    key_id,
                    next_attempt_at: retry.not_before,
                    error: retry.last.as_ref().map(error),
                });
            }
            _ => kept.push(key_id),
        }
    }
    Revocation {
        connection: after.name().clone(),
        removed,
        pending,
        kept,
        foreign,
    }
}

impl From<&Password> for Foreign {
    fn from(password: &Password) -> Self {
        Self {
            key_id: password.key_id,
            hint: password.hint.as_deref().map(|hint| harmless(hint, 3)),
            display_name: password.display_name.as_ref().map(Untrusted::to_string),
            expires_at: password.ends_at,
        }
    }
}

fn lines(revocation: &Revocation) -> String {
    let name = &revocation.connection;
    let removed = revocation.removed.iter();
    let mut lines: Vec<String> = removed
        .map(|key_id| format!("{name}: Key ID {key_id} is removed"))
        .collect();
    lines.extend(revocation.pending.iter().map(|pending| {
        let why = pending.error.as_ref();
        let why = why.map_or_else(String::new, |error| format!(": {}", error.message));
        let again = pending.next_attempt_at;
        let again = again.map_or_else(String::new, |at| {
            format!("; it is tried again at {}", instant(at))
        });
        format!(
            "{name}: Key ID {} is to go, and is not gone yet{why}{again}",
            pending.key_id
        )
    }));
    lines.extend(revocation.kept.iter().map(|key_id| {
        format!(
            "{name}: Key ID {key_id} stays: a required destination does not have a newer one yet"
        )
    }));
    if lines.is_empty() {
        lines.push(format!(
            "{name}: no secret of ours was there to be removed but the current one"
        ));
    }
    if let Some(foreign) = revocation.foreign.as_deref()
        && !foreign.is_empty()
    {
        lines.push("Not ours, and left alone:".to_owned());
        lines.push(strangers(foreign));
    }
    lines.join("\n")
}

fn strangers(foreign: &[Foreign]) -> String {
    let mut table = table(&["key id", "hint", "name", "expires"])
        .sparing(&["hint"])
        .wrapping("name");
    for secret in foreign {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([
            secret.key_id.to_string(),
            text(&secret.hint),
            text(&secret.display_name),
            instant_or(secret.expires_at, "-"),
        ]);
    }
    table.to_string()
}
