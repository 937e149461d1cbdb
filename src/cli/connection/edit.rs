//! `connection edit`: only what is given changes.

use std::sync::Arc;

use secrecy::SecretString;

use super::super::args::{self, Fields};
use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::output::Output;
use super::super::progress::Progress;
use super::super::rotate::{PATIENCE, busy};
use super::super::secret_input;
use super::super::view;
use super::{add, declare, list};
use crate::connection::{ConnectionName, Declared, DestinationSpec, Policy};
use crate::rotation::advance::{Edited, Engine, Order, Stop};
use crate::wording::{hint, listed, quoted};

pub(super) async fn run(context: &Context, args: args::Edit) -> Result<Exit, Complaint> {
    let before = context.connection(&args.name).await?.declared;
    if let Some(field) = args.fixed.given() {
        return Err(immutable(&before.name, field));
    }
    let declared = edited(before.clone(), &args)?;
    if args.is_empty() {
        return Err(
            Complaint::usage("nothing-to-change", "nothing is said that is to be changed")
                .remedy("`keywheel connection edit --help` names what can be changed"),
        );
    }
    if declared == before && args.secret_file.is_none() {
        context.output.note("nothing to do: it is so already");
        let journal = context.connection(&args.name).await?;
        let view = view::view(&context.settings, &journal, context.clock.now())?;
        context.output.data(&view, || list::lines(&view));
        return Ok(Exit::Done);
    }
    declare::check(&context.settings, &declared)?;
    declare::check_places(&declared, Some(&before)).await?;
    let secret = match &args.secret_file {
        Some(file) => Some(secret_input::read(Some(file), before.name.as_str())?),
        None => None,
    };
    let engine = context.engine(Arc::new(Progress::new(1))).await?;
    let name = declared.name.clone();
    if declared != before {
        let (former, after) = (context.settings.policy(&before).ok(), declared.clone());
        let edited = engine.edit(&before, declared).await?;
        let edited = edited.ok_or_else(|| busy(&before.name))?;
        tell(context.output, &name, &edited);
        for change in follows(&former, &context.settings.policy(&after).ok(), &args.fields) {
            context.output.note(&change);
        }
    }
    let exit = match secret {
        Some(secret) => readopt(&engine, &args, &name, secret, context.output).await?,
        None => Exit::Done,
    };
    let journal = context.connection(&name).await?;
    let view = view::view(&context.settings, &journal, context.clock.now())?;
    context.output.data(&view, || list::lines(&view));
    Ok(exit)
}

/// What changes with an interval although nobody has said so.
fn follows(before: &Option<Policy>, after: &Option<Policy>, given: &Fields) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let overlaps = (before.overlap.to_string(), after.overlap.to_string());
    let lifetimes = (before.lifetime_days, after.lifetime_days);
    let mut told = Vec::new();
    if given.overlap.is_none() && overlaps.0 != overlaps.1 {
        let (from, to) = overlaps;
        told.push(format!(
            "note: with it the overlap goes from {from} to {to}"
        ));
    }
    if given.lifetime_days.is_none() && lifetimes.0 != lifetimes.1 {
        let (from, to) = lifetimes;
        told.push(format!(
            "note: with it the life of a new secret goes from {from} to {to} days"
        ));
    }
    told
}

/// What the flags make of what was declared.
fn edited(mut declared: Declared, args: &args::Edit) -> Result<Declared, Complaint> {
    for name in &args.remove_destinations {
        let all = declared.destinations.len();
        let hint = or_none(
            name,
            declared.destinations.iter().map(DestinationSpec::name),
        );
        declared.destinations.retain(|spec| spec.name() != name);
        if declared.destinations.len() == all {
            return Err(unknown(&declared.name, "destination", name, &hint));
        }
    }
    for key in &args.remove_labels {
        if declared.labels.remove(key).is_none() {
            let hint = or_none(key, declared.labels.keys().map(String::as_str));
            return Err(unknown(&declared.name, "label", key, &hint));
        }
    }
    declare::fill(&mut declared, &args.fields)?;
    if args.no_pull {
        declared.pull = false;
    }
    if let Some(name) = &args.rename {
        declared.name = name.clone();
    }
    Ok(declared)
}

/// What a connection is of can't be changed: its secrets are on that application.
pub(in crate::cli) fn immutable(name: &ConnectionName, field: &str) -> Complaint {
    Complaint::usage(
        "immutable",
        format!("{field} can't be changed once connection {name} is adopted"),
    )
    .remedy(format!(
        "adopt the other application under another name, then run `keywheel connection remove \
         {name}`"
    ))
}

/// The nearest of those there are, all of them, or that there are none.
fn or_none<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known = known.peekable();
    match known.peek() {
        Some(_) => hint(text, known),
        None => "; it has none at all".to_owned(),
    }
}

fn unknown(connection: &ConnectionName, what: &str, name: &str, hint: &str) -> Complaint {
    Complaint::usage(
        &format!("no-such-{what}"),
        format!(
            "connection {connection} has no {what} {}{hint}",
            quoted(name)
        ),
    )
}

/// Says what an edit did, and what it leaves to do.
pub(in crate::cli) fn tell(output: Output, name: &ConnectionName, edited: &Edited) {
    output.note(&format!("changed {name}"));
    if !edited.later.is_empty() {
        output.note(&format!(
            "{} gets its first secret with the next rotation; to hand it the current one now: \
             keywheel deliver {name}",
            listed(&edited.later)
        ));
    }
    if !edited.at_once.is_empty() {
        output.note(&format!(
            "{} gets the current secret at once, for a previous one is still to be revoked: \
             keywheel rotate --due",
            listed(&edited.at_once)
        ));
    }
}

/// Adopts another secret, and hands it to every destination.
async fn readopt(
    engine: &Engine,
    args: &args::Edit,
    name: &ConnectionName,
    secret: SecretString,
    output: Output,
) -> Result<Exit, Complaint> {
    let adopted = engine
        .readopt(name, secret, args.key_id, args.take_over)
        .await?;
    add::tell(output, name, &adopted.ok_or_else(|| busy(name))?);
    match engine.advance(name, Order::resume(PATIENCE)).await? {
        Stop::Busy => Err(busy(name)),
        Stop::At(_) | Stop::NotBegun(_) => Ok(view::exit(&engine.journal(name).await?)),
    }
}
