//! `connection remove` and `connection restore`

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::args;
use super::super::confirm::confirm;
use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::output::{Output, instant};
use super::super::rotate::busy;
use super::super::view;
use super::list;
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::AttemptName;
use crate::rotation::advance::Removed;
use crate::rotation::observe::Unobserved;

/// What `connection remove` prints with `-o json`; none of its fields is renamed.
#[derive(Debug, Serialize)]
struct RemovedView<'a> {
    connection: &'a ConnectionName,
    /// Secrets of ours that stay on the application.
    key_ids: &'a [KeyId],
    /// Those of them that were to be removed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unremoved_key_ids: &'a [KeyId],
    /// Those of them that were made and never used.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unused_key_ids: &'a [KeyId],
    /// Display names that nobody looks for any more.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown_display_names: &'a [AttemptName],
    #[serde(serialize_with = "seconds::serialize")]
    restorable_until: DateTime<Utc>,
}

pub(super) async fn run(
    global: &args::Global,
    context: &Context,
    name: &ConnectionName,
) -> Result<Exit, Complaint> {
    let journal = context.connection(name).await?;
    let engine = context.engine(Arc::new(Unobserved)).await?;
    let question = format!(
        "Remove connection {name}? Nothing rotates application {} any more, and its secrets stay \
         in Entra.",
        journal.declared.client_id
    );
    confirm(global, context.output, &question)?;
    let removed = engine.remove(name).await?.ok_or_else(|| busy(name))?;
    let view = RemovedView {
        connection: name,
        key_ids: &removed.stay,
        unremoved_key_ids: &removed.unremoved,
        unused_key_ids: &removed.unused,
        unknown_display_names: &removed.unknown,
        restorable_until: removed.until,
    };
    context.output.data(&view, || key_ids(&removed));
    tell(context.output, name, &removed);
    Ok(Exit::Done)
}

pub(super) async fn restore(context: &Context, name: &ConnectionName) -> Result<Exit, Complaint> {
    context.removed(name).await?;
    let engine = context.engine(Arc::new(Unobserved)).await?;
    let restored = engine.restore(name).await?;
    restored.ok_or_else(|| busy(name))?;
    let journal = context.connection(name).await?;
    context.output.note(&format!(
        "restored {name}; its next rotation is due {}",
        instant(journal.due_at)
    ));
    let view = view::view(&context.settings, &journal, context.clock.now())?;
    context.output.data(&view, || list::lines(&view));
    Ok(Exit::Done)
}

/// Says what a removal leaves behind.
pub(in crate::cli) fn tell(output: Output, name: &ConnectionName, removed: &Removed) {
    output.note(&format!(
        "removed {name}; these secrets of it stay on the application, and sign in until they \
         expire or are deleted in the portal: {}",
        crate::wording::listed(&removed.stay)
    ));
    if !removed.unremoved.is_empty() {
        output.note(&format!(
            "these of them were to be removed, and Keywheel no longer does it: {}; delete them in \
             the portal",
            crate::wording::listed(&removed.unremoved)
        ));
    }
    if !removed.unused.is_empty() {
        output.note(&format!(
            "made and never used: {}; delete it in the portal",
            crate::wording::listed(&removed.unused)
        ));
    }
    if !removed.unknown.is_empty() {
        output.note(&format!(
            "the answers to these attempts were lost, and each may have left a secret of that \
             display name: {}; delete in the portal what has such a name",
            crate::wording::listed(&removed.unknown)
        ));
    }
    output.note(&format!(
        "until {}: keywheel connection restore {name}",
        instant(removed.until)
    ));
}

fn key_ids(removed: &Removed) -> String {
    let lines: Vec<String> = removed.stay.iter().map(KeyId::to_string).collect();
    lines.join("\n")
}
