//! `history`: what happened.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::{Output, instant, table};
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Actor, Event, RotationId};
use crate::store::{ChainHash, HistoryFilter};
use crate::text::harmless;

/// The fields of `history` with `-o json`; none is renamed.
#[derive(Debug, Serialize)]
struct EventView {
    #[serde(serialize_with = "seconds::serialize")]
    at: DateTime<Utc>,
    actor: Actor,
    action: String,
    /// Null: the whole store.
    connection: Option<ConnectionName>,
    rotation_id: Option<RotationId>,
    key_id: Option<KeyId>,
    /// `ok`, or an error's code.
    result: String,
    client_request_id: Option<String>,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::History,
    output: Output,
) -> Result<Exit, Complaint> {
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(Complaint::usage(
            "usage",
            format!(
                "--since {} is not before --until {}",
                instant(since),
                instant(until)
            ),
        ));
    }
    let context = Context::open_to_look(&global.config, output)?;
    if args.verify {
        return verify(&context, args.head).await;
    }
    let filter = HistoryFilter {
        connection: args.name.clone(),
        since: args.since,
        until: args.until,
    };
    let events = context.store.history(filter).await?;
    // What a removed connection did is still told; a name that never was is a mistake.
    if let Some(name) = &args.name
        && events.is_empty()
        && context.store.journal(name).await?.is_none()
    {
        return Err(context.unknown(name, |_| true).await?);
    }
    if events.is_empty() {
        output.note("nothing is recorded");
    }
    let views: Vec<EventView> = events.into_iter().map(EventView::from).collect();
    output.data(&views, || lines(&views, args.name.is_some()));
    Ok(Exit::Done)
}

/// The fields of `history --verify` with `-o json`; none is renamed.
#[derive(Debug, Serialize)]
struct ChainView {
    intact: bool,
    lines: u64,
    head: String,
    /// Null: no head was given.
    holds_noted: Option<bool>,
}

/// Whether anything was changed or taken out since it was written.
async fn verify(context: &Context, noted: Option<ChainHash>) -> Result<Exit, Complaint> {
    let chain = context.store.follow_history(noted).await?;
    if let Some(line) = &chain.broken {
        let at = line.at.map_or_else(|| "an unknown time".into(), instant);
        return Err(Complaint::failed(
            "history-changed",
            format!(
                "line {} of history, of {at}, or one before it was changed or taken out; the {} \
                 lines before that are as they were written",
                line.ordinal, chain.lines
            ),
        )
        .remedy("compare it with the log of the service and with a backup; see who could write the database"));
    }
    if chain.holds_noted == Some(false) {
        return Err(Complaint::failed(
            "history-replaced",
            "the head that was noted is not in history: it was written anew, or its end was taken \
             out",
        )
        .remedy("compare it with the log of the service and with a backup; see who could write the database"));
    }
    let view = ChainView {
        intact: true,
        lines: chain.lines,
        head: chain.head.to_string(),
        holds_noted: chain.holds_noted,
    };
    context.output.data(&view, || {
        format!(
            "{} lines, all as they were written\nhead {}",
            view.lines, view.head
        )
    });
    Ok(Exit::Done)
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            at: event.at,
            actor: event.actor,
            action: event.action,
            connection: event.connection,
            rotation_id: event.rotation_id,
            key_id: event.key_id,
            result: event.result,
            client_request_id: event.client_request_id,
        }
    }
}

fn lines(views: &[EventView], of_one: bool) -> String {
    if views.is_empty() {
        return String::new();
    }
    let mut table = table(&[
        "at",
        "who",
        "connection",
        "action",
        "key id",
        "rotation",
        "result",
    ])
    .sparing(if of_one {
        &["rotation", "connection", "who"]
    } else {
        &["rotation", "who"]
    });
    for view in views {
        table.add_row([
            instant(view.at),
            who(&view.actor),
            or_dash(view.connection.as_ref()),
            view.action.clone(),
            or_dash(view.key_id.as_ref()),
            or_dash(view.rotation_id.as_ref()),
            view.result.clone(),
        ]);
    }
    table.to_string()
}

/// `root@host`, or `alice (root)@host` where sudo was called.
fn who(actor: &Actor) -> String {
    let user = actor.sudo_user.as_ref().map_or_else(
        || actor.user.clone(),
        |person| format!("{person} ({})", actor.user),
    );
    harmless(&format!("{user}@{}", actor.host), 120)
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
