//! `connection add`: takes over a secret that somebody made.

use std::sync::Arc;

use super::super::args;
use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::holdings::holdings;
use super::super::output::{Output, instant};
use super::super::progress::Progress;
use super::super::rotate::{PATIENCE, busy};
use super::super::secret_input;
use super::super::view::{self, ConnectionView};
use super::{declare, list};
use crate::connection::{ConnectionName, Declared};
use crate::journal::Journal;
use crate::rotation::adopt::{AdoptFault, Adopted, Candidate};
use crate::rotation::advance::{Engine, Order, Stop};
use crate::wording::listed;

pub(in crate::cli) async fn run(context: &Context, args: args::Add) -> Result<Exit, Complaint> {
    let declared = declared(&args)?;
    declare::check(&context.settings, &declared)?;
    if !args.no_check {
        declare::check_places(&declared, None).await?;
    }
    check_times(context, &args)?;
    check_free(context, &declared).await?;
    let engine = context.engine(Arc::new(Progress::new(1))).await?;
    let secret = secret_input::read(args.secret_file.as_deref(), args.name.as_str())?;
    let candidate = Candidate {
        declared,
        secret,
        key_id: args.key_id,
        next_rotation_at: args.next_rotation_at,
        rotate_now: args.rotate_now,
        check: !args.no_check,
        take_over: args.take_over,
    };
    let adopted = engine.adopt(candidate).await.map_err(not_adopted)?;
    tell(context.output, &args.name, &adopted);
    let rotated = if args.rotate_now {
        rotate(&engine, &args.name).await
    } else {
        Ok(Exit::Done)
    };
    let journal = context.connection(&args.name).await?;
    let view = view::view(&context.settings, &journal, context.clock.now())?;
    // With `-o json` one document: a rotation that could not begin is told in it, or alone.
    if rotated.is_ok() || context.output.form == super::super::output::Form::Table {
        context.output.data(&view, || list::lines(&view));
    }
    if rotated.is_ok() {
        if !args.rotate_now {
            tell_what_lacks_it(context.output, &engine, &journal).await;
        }
        tell_next(context.output, &view, &journal);
    }
    rotated
}

/// A connection that was refused is none that could be edited.
fn not_adopted(fault: AdoptFault) -> Complaint {
    let complaint = Complaint::from(fault);
    let edits = [
        "`keywheel connection edit NAME --secret-file FILE`",
        "`connection edit NAME --secret-file FILE`",
    ];
    let remedy = complaint.remedy.map(|remedy| {
        edits.iter().fold(remedy, |remedy, edit| {
            remedy.replace(edit, "`keywheel connection add`")
        })
    });
    Complaint {
        remedy,
        ..complaint
    }
}

/// Rotates at once what was just adopted, and says how that ended.
pub(in crate::cli) async fn rotate(
    engine: &Engine,
    name: &ConnectionName,
) -> Result<Exit, Complaint> {
    let order = Order::rotate(None, false, PATIENCE);
    match engine.advance(name, order).await? {
        Stop::Busy => Err(busy(name)),
        Stop::At(_) | Stop::NotBegun(_) => Ok(view::exit(&engine.journal(name).await?)),
    }
}

/// What a person should know of an adoption.
pub(in crate::cli) fn tell(output: Output, name: &ConnectionName, adopted: &Adopted) {
    let how = if adopted.worked_out {
        " (worked out by its first three characters)"
    } else {
        ""
    };
    output.note(&format!(
        "adopted {name}: Key ID {}{how}, next rotation {}",
        adopted.key_id,
        instant(adopted.due_at)
    ));
    if !adopted.foreign.is_empty() {
        output.note(&format!(
            "on the application too, not ours and never touched: {}",
            listed(&adopted.foreign)
        ));
    }
    for note in &adopted.notes {
        output.note(&format!("note: {note}"));
    }
}

/// A file that has another secret, of a connection that was removed, say: nothing writes it before
/// the next rotation.
async fn tell_what_lacks_it(output: Output, engine: &Engine, journal: &Journal) {
    let name = journal.name();
    for holding in holdings(engine, journal).await.unwrap_or_default() {
        if holding.holds == Some(false) {
            output.note(&format!(
                "note: {} does not hold this secret; to hand it over: keywheel deliver {name}",
                holding.destination
            ));
        }
    }
}

fn tell_next(output: Output, view: &ConnectionView, journal: &Journal) {
    let name = &view.name;
    let declared = &journal.declared;
    let next = if declared.destinations.is_empty() && !declared.pull {
        format!(
            "nothing says where its secret goes; next: keywheel connection edit {name} --to-file \
             PATH (or --pull)"
        )
    } else if view.state == "idle" {
        format!("next: keywheel rotate {name} --dry-run")
    } else {
        format!("next: keywheel status {name}")
    };
    output.note(&next);
}

fn declared(args: &args::Add) -> Result<Declared, Complaint> {
    let mut declared = Declared {
        name: args.name.clone(),
        tenant_id: args.tenant_id,
        client_id: args.client_id,
        cloud: args.cloud.clone(),
        identity: None,
        interval_days: None,
        rotate_at: None,
        timezone: None,
        lifetime_days: None,
        overlap: None,
        renew_before: None,
        jitter: None,
        only: None,
        hours: None,
        blackouts: None,
        on_limit: None,
        pull: false,
        labels: std::collections::BTreeMap::new(),
        destinations: Vec::new(),
    };
    declare::fill(&mut declared, &args.fields)?;
    Ok(declared)
}

fn check_times(context: &Context, args: &args::Add) -> Result<(), Complaint> {
    if args.no_check && args.key_id.is_none() {
        return Err(Complaint::usage(
            "key-id-needed",
            "without the checks the Key ID can't be worked out",
        )
        .remedy("give it with --key-id, or leave out --no-check"));
    }
    match args.next_rotation_at {
        Some(_) if args.rotate_now => Err(Complaint::usage(
            "usage",
            "--rotate-now and --next-rotation-at exclude each other",
        )),
        Some(at) if at <= context.clock.now() => Err(Complaint::usage(
            "usage",
            format!("--next-rotation-at {} is over", instant(at)),
        )
        .remedy("give a time to come, or --rotate-now")),
        _ => Ok(()),
    }
}

/// Before a person is asked for the secret; the store looks again when it is written (C7).
async fn check_free(context: &Context, declared: &Declared) -> Result<(), Complaint> {
    let journals = context.store.journals().await?;
    let same = |other: &Declared| {
        (other.tenant_id, other.client_id) == (declared.tenant_id, declared.client_id)
    };
    let kept = journals
        .iter()
        .filter(|journal| journal.removed_at.is_none());
    for journal in kept {
        let other = &journal.declared;
        let what = if other.name == declared.name {
            "that name".to_owned()
        } else if same(other) {
            format!("application {}", declared.client_id)
        } else {
            continue;
        };
        return Err(Complaint::usage(
            "taken",
            format!("{what} is already kept as connection {}", other.name),
        )
        .remedy(format!(
            "see `keywheel connection show {0}`; another secret for it is given with `keywheel \
             connection edit {0} --secret-file FILE`",
            other.name
        )));
    }
    Ok(())
}
