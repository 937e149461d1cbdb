//! `rotate`: by name, all, or all that is due.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::task::JoinSet;

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::{Output, instant_or, table};
use super::progress::Progress;
use super::rotation_view::{RotationView, rotation_view};
use super::view;
use crate::connection::ConnectionName;
use crate::journal::Journal;
use crate::rotation::advance::{Engine, Order, Stop};
use crate::rotation::forecast::{Change, forecast};
use crate::rotation::plan::{Ask, Next};
use crate::rotation::standing::no_destination;

/// So long a one-shot sits through waits altogether; what takes longer is left to the next run.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// So many connections are worked on at once: most of a rotation is waiting for answers.
const AT_ONCE: usize = 64;

/// What `--dry-run` prints for one connection.
#[derive(Debug, Serialize)]
struct Forecast {
    connection: ConnectionName,
    dry_run: bool,
    steps: Vec<Change>,
}

/// How one connection came through.
struct Outcome {
    view: RotationView,
    exit: Exit,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Rotate,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let now = context.clock.now();
    let chosen = choose(&context, &args, now).await?;
    if args.dry_run {
        return dry_run(&context, &args, &chosen, now);
    }
    if chosen.is_empty() {
        output.data(&Vec::<RotationView>::new(), String::new);
        output.note(if args.due {
            "nothing is due"
        } else {
            "there are no connections"
        });
        return Ok(Exit::Done);
    }
    let progress = Arc::new(Progress::new(chosen.len()));
    let engine = Arc::new(context.engine(progress.clone()).await?);
    let outcomes = rotate_all(&engine, &args, chosen, &progress).await;
    let exit = outcomes
        .iter()
        .fold(Exit::Done, |exit, outcome| exit.or(outcome.exit));
    let views: Vec<&RotationView> = outcomes.iter().map(|outcome| &outcome.view).collect();
    output.data(&views, || lines(&views));
    if output.form == super::output::Form::Table {
        complain(output, &outcomes);
    }
    Ok(exit)
}

/// The connections that are meant, in the order in which they are begun.
async fn choose(
    context: &Context,
    args: &args::Rotate,
    now: DateTime<Utc>,
) -> Result<Vec<Journal>, Complaint> {
    let mut chosen = Vec::new();
    if args.due && !args.force {
        for name in context.store.due(now).await? {
            chosen.extend(context.store.journal(&name).await?);
        }
    } else if args.due || args.all {
        let journals = context.store.journals().await?.into_iter();
        chosen.extend(journals.filter(|j| j.removed_at.is_none() && (args.all || is_open(j, now))));
    } else {
        for name in &args.names {
            let journal = context.connection(name).await?;
            if journal.paused {
                return Err(paused(name));
            }
            if !chosen.iter().any(|other: &Journal| other.id == journal.id) {
                chosen.push(journal);
            }
        }
    }
    // Those that expire first go first (F8).
    chosen.sort_by_key(|journal| {
        let expires_at = journal.current().and_then(|secret| secret.expires_at);
        (expires_at.is_none(), expires_at)
    });
    Ok(chosen)
}

/// What `--due --force` looks at: its backoff may be far from over.
fn is_open(journal: &Journal, now: DateTime<Utc>) -> bool {
    journal.due_at <= now || !journal.rotations.is_empty() || !journal.removals.is_empty()
}

/// A person has held it.
pub(super) fn paused(name: &ConnectionName) -> Complaint {
    Complaint {
        code: "paused".into(),
        message: format!("connection {name} is paused"),
        remedy: Some(format!("run `keywheel connection resume {name}` first")),
        exit: Exit::PersonMustAct,
    }
}

fn order(args: &args::Rotate) -> Order {
    if args.due {
        let ask = if args.force { Ask::DueNow } else { Ask::Due };
        return Order {
            ask,
            clear_backoff: args.force,
            revoke_now: args.revoke_now,
            patience: PATIENCE,
        };
    }
    Order::rotate(args.overlap, args.revoke_now, PATIENCE)
}

async fn rotate_all(
    engine: &Arc<Engine>,
    args: &args::Rotate,
    chosen: Vec<Journal>,
    progress: &Arc<Progress>,
) -> Vec<Outcome> {
    let order = order(args);
    // Only a rotation that was asked for by name needs no destination.
    let by_name = !args.all && !args.due;
    let mut outcomes: Vec<Option<Outcome>> = chosen.iter().map(|_| None).collect();
    let mut waiting = chosen.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((place, journal)) = waiting.next()
        {
            let (engine, progress) = (engine.clone(), progress.clone());
            running.spawn(async move {
                let outcome = rotate_one(&engine, journal, order, by_name).await;
                progress.one_done();
                (place, outcome)
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok((place, outcome))) => outcomes[place] = Some(outcome),
            // A panic in one connection stops no other (G8); its own line is missing, so say it.
            Some(Err(error)) => tracing::error!(%error, "a rotation ended unexpectedly"),
        }
    }
    outcomes.into_iter().flatten().collect()
}

async fn rotate_one(engine: &Engine, journal: Journal, order: Order, by_name: bool) -> Outcome {
    let declared = &journal.declared;
    if !by_name && declared.destinations.is_empty() && !declared.pull && order.ask != Ask::Due {
        return homeless(&journal, engine.clock.now());
    }
    let stopped = engine.advance(&declared.name, order).await;
    match stopped {
        Ok(Stop::At(next)) => match finished(engine, &journal).await {
            Ok(outcome) if next == Next::NoDestination && outcome.exit == Exit::Done => {
                homeless(&journal, engine.clock.now())
            }
            Ok(outcome) => outcome,
            Err(complaint) => failed(&journal, &complaint),
        },
        Ok(Stop::Busy) => failed(&journal, &busy(&declared.name)),
        Err(fault) => failed(&journal, &fault.into()),
    }
}

async fn finished(engine: &Engine, before: &Journal) -> Result<Outcome, Complaint> {
    let journal = engine.journal(before.name()).await?;
    let rotation = engine.store.latest_rotation(before.id).await?;
    let view = rotation_view(&journal, rotation.as_ref());
    let exit = view::exit(&journal);
    Ok(Outcome { view, exit })
}

fn failed(journal: &Journal, complaint: &Complaint) -> Outcome {
    Outcome {
        view: RotationView {
            error: Some(complaint.document().error),
            ..rotation_view(journal, None)
        },
        exit: complaint.exit,
    }
}

fn homeless(journal: &Journal, now: DateTime<Utc>) -> Outcome {
    let failure = no_destination(now);
    failed(
        journal,
        &Complaint {
            code: failure.code,
            message: failure.message,
            remedy: failure.remedy,
            exit: Exit::PersonMustAct,
        },
    )
}

/// Another process has the lock.
pub(super) fn busy(name: &ConnectionName) -> Complaint {
    Complaint {
        code: "busy".into(),
        message: format!("another process is rotating {name}"),
        remedy: Some("nothing to do: it carries on what you asked for, or try again later".into()),
        exit: Exit::Busy,
    }
}

fn dry_run(
    context: &Context,
    args: &args::Rotate,
    chosen: &[Journal],
    now: DateTime<Utc>,
) -> Result<Exit, Complaint> {
    let ask = order(args).ask;
    let mut forecasts = Vec::new();
    for journal in chosen {
        let terms = view::terms(&context.settings, journal)?;
        let mut steps = forecast(journal, &terms, now, ask);
        if args.revoke_now {
            steps.retain(|step| !matches!(step, Change::Revoke { .. }));
            steps.extend(crate::rotation::forecast::revocations(journal, now));
        }
        forecasts.push(Forecast {
            connection: journal.name().clone(),
            dry_run: true,
            steps,
        });
    }
    context.output.data(&forecasts, || {
        let mut table = table(&["connection", "would"]);
        for forecast in &forecasts {
            for step in &forecast.steps {
                table.add_row([forecast.connection.to_string(), step.to_string()]);
            }
            if forecast.steps.is_empty() {
                table.add_row([forecast.connection.to_string(), "change nothing".to_owned()]);
            }
        }
        table.to_string()
    });
    Ok(Exit::Done)
}

fn lines(views: &[&RotationView]) -> String {
    let mut table = table(&[
        "connection",
        "state",
        "new key id",
        "old key id",
        "revoke at",
    ]);
    for view in views {
        table.add_row([
            view.connection.to_string(),
            view.state.to_string(),
            view.new_key_id
                .map_or_else(|| "-".into(), |id| id.to_string()),
            view.old_key_id
                .map_or_else(|| "-".into(), |id| id.to_string()),
            instant_or(view.revoke_at, "-"),
        ]);
    }
    table.to_string()
}

fn complain(output: Output, outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Some(error) = &outcome.view.error {
            output.complain(&Complaint {
                code: error.code.clone(),
                message: format!("{}: {}", outcome.view.connection, error.message),
                remedy: None,
                exit: outcome.exit,
            });
        }
    }
}
