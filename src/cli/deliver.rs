//! `deliver` and `rollback`

use std::sync::Arc;

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::{Form, Output, instant};
use super::progress::Progress;
use super::rotate::{PATIENCE, busy, homeless};
use super::rotation_view::rotation_view;
use super::view::{self, ConnectionView, DestinationView};
use crate::connection::{ConnectionName, DestinationSpec};
use crate::journal::Journal;
use crate::rotation::advance::{Engine, Stop};
use crate::wording::hint;

pub(super) async fn run(
    global: &args::Global,
    args: args::Deliver,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let journal = context.connection(&args.name).await?;
    if let Some(to) = &args.to {
        declared(&journal, to)?;
    }
    if journal.declared.destinations.is_empty() {
        return nowhere(&context, &journal);
    }
    let engine = context.engine(Arc::new(Progress::new(1))).await?;
    let stop = engine
        .deliver(&args.name, args.to.as_deref(), PATIENCE)
        .await?;
    let about = |view: &ConnectionView| {
        let asked = |it: &&DestinationView| args.to.as_ref().is_none_or(|to| *to == it.name);
        let destinations = view.destinations.iter().filter(asked);
        lines(destinations.map(|destination| delivered(view, destination)))
    };
    conclude(&context, &engine, &args.name, &stop, about).await
}

pub(super) async fn rollback(
    global: &args::Global,
    args: args::Rollback,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    context.connection(&args.name).await?;
    let engine = context.engine(Arc::new(Progress::new(1))).await?;
    let stop = engine.rollback(&args.name, PATIENCE).await?;
    let about = |view: &ConnectionView| {
        let current = view
            .current
            .iter()
            .map(|secret| format!("{}: Key ID {} is current again", view.name, secret.key_id));
        let destinations = view.destinations.iter().map(|it| delivered(view, it));
        let previous = view.previous.iter().map(|secret| {
            let until = secret.revoke_at.map_or_else(
                || "works on for now".to_owned(),
                |at| format!("works until {}, then it is revoked", instant(at)),
            );
            format!(
                "{}: Key ID {}, now a previous one, {until}",
                view.name, secret.key_id
            )
        });
        lines(current.chain(destinations).chain(previous))
    };
    conclude(&context, &engine, &args.name, &stop, about).await
}

/// There is nothing to hand out to: as it should be where consumers ask themselves.
fn nowhere(context: &Context, journal: &Journal) -> Result<Exit, Complaint> {
    if !journal.declared.pull {
        return Err(homeless());
    }
    let result = rotation_view(journal, None);
    context
        .output
        .note("nothing to do: consumers ask `keywheel secret`");
    context.output.data(&result, String::new);
    Ok(Exit::Done)
}

/// A destination that the connection has, or the nearest name.
fn declared(journal: &Journal, to: &str) -> Result<(), Complaint> {
    let names = || {
        journal
            .declared
            .destinations
            .iter()
            .map(DestinationSpec::name)
    };
    if names().any(|name| name == to) {
        return Ok(());
    }
    let asked = crate::wording::quoted(to);
    let hint = hint(to, names());
    Err(Complaint::usage(
        "no-such-destination",
        format!("{} has no destination {asked}{hint}", journal.name()),
    ))
}

async fn conclude(
    context: &Context,
    engine: &Engine,
    name: &ConnectionName,
    stop: &Stop,
    about: impl FnOnce(&ConnectionView) -> String,
) -> Result<Exit, Complaint> {
    if *stop == Stop::Busy {
        return Err(busy(name).remedy("nothing was changed; try again in a moment"));
    }
    let (journal, over) = view::as_it_is(engine.journal(name).await?).await;
    let ended = engine.store.latest_rotation(journal.id).await?;
    let rotation = journal.rotations.iter().find(|it| {
        let latest = ended.as_ref();
        latest.is_some_and(|latest| latest.id == it.id)
    });
    let rotation = rotation.cloned().or(ended);
    if let Some(over) = over {
        context.output.note(&over);
    }
    let result = rotation_view(&journal, rotation.as_ref());
    let connection = view::view(&context.settings, &journal, context.clock.now())?;
    context.output.data(&result, || about(&connection));
    let exit = view::exit(&journal);
    if let (Form::Table, Some(error)) = (context.output.form, &result.error) {
        context.output.complain(&Complaint {
            code: error.code.clone(),
            message: format!("{name}: {}", error.message),
            remedy: None,
            exit,
        });
    }
    Ok(exit)
}

fn delivered(view: &ConnectionView, destination: &DestinationView) -> String {
    let (name, place) = (&view.name, &destination.name);
    let current = view.current.as_ref().map(|secret| secret.key_id);
    match (destination.state, current, destination.next_attempt_at) {
        ("delivered", Some(key_id), _) => format!("{name}: {place} holds Key ID {key_id}"),
        (_, _, Some(at)) => format!(
            "{name}: {place} has not taken it; it is tried again at {}",
            instant(at)
        ),
        _ => format!("{name}: {place} has not taken it yet"),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}
