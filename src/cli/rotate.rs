//! `rotate`: by name, all, or all that is due.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::task::JoinSet;

use super::args;
use super::context::Context;
use super::exit::{Complaint, ErrorBody, Exit};
use super::output::{Output, instant_or, table};
use super::progress::Progress;
use super::rotation_view::{RotationView, rotation_view};
use super::view;
use crate::connection::ConnectionName;
use crate::journal::{Journal, Rotation, State};
use crate::rotation::advance::{Engine, Order, Stop, forecast_order};
use crate::rotation::forecast::Change;
use crate::rotation::plan::Ask;
use crate::rotation::standing::no_destination;
use crate::store::Share;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
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
    if is_by_name(&args) {
        tell_overlaps(output, &chosen, now);
    }
    let progress = Arc::new(Progress::new(chosen.len()));
    let engine = Arc::new(context.engine(progress.clone()).await?);
    if is_by_name(&args) {
        let names: Vec<&str> = chosen.iter().map(|it| it.name().as_str()).collect();
        let verification = context.settings.verification;
        let proofs = verification.spacing.0 * verification.successes;
        progress.begins(
            &format!("rotating {}", names.join(", ")),
            &format!("{} s", proofs.as_secs() + 5),
        );
    }
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
        for due in context.store.due(now, Share::ALL).await? {
            chosen.extend(context.store.journal(&due.name).await?);
        }
    } else if args.due || args.all {
        let journals = context.store.journals().await?.into_iter();
        chosen.extend(journals.filter(|j| j.removed_at.is_none() && (args.all || is_open(j, now))));
    } else {
        for name in &args.names {
            let journal = context.connection(name).await?;
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
    let by_name = is_by_name(args);
    // What stands here when its task has ended without a word: a panic in one connection stops no
    // other, and is told (G8, P7).
    let mut outcomes: Vec<Outcome> = chosen
        .iter()
        .map(|it| failed(it, None, &panicked()))
        .collect();
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
            Some(Ok((place, outcome))) => outcomes[place] = outcome,
            Some(Err(error)) => tracing::error!(%error, "a rotation ended unexpectedly"),
        }
    }
    outcomes
}

/// Each rotation by name that does not go on with one makes a secret more.
fn tell_overlaps(output: Output, chosen: &[Journal], now: DateTime<Utc>) {
    for journal in chosen.iter().filter(|it| it.unpromoted().is_none()) {
        let overlaps =
            |rotation: &&Rotation| matches!(rotation.state.effective(), State::Overlapping { .. });
        if let Some(rotation) = journal.rotations.iter().rfind(overlaps) {
            let age = (now - rotation.started_at).num_seconds().max(0);
            output.note(&format!(
                "{}: the rotation from {} ago still overlaps; this adds another secret",
                journal.name(),
                ago(age)
            ));
        }
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Only a rotation that was asked for by name needs no destination.
fn is_by_name(args: &args::Rotate) -> bool {
    !args.all && !args.due
}

fn panicked() -> Complaint {
    Complaint::failed(
        "unexpected",
        "its rotation ended unexpectedly; the journal is whole",
    )
    .remedy("run it again with -vv, and report what it says")
}

/// Why nothing is begun for a connection, before anything is called.
fn refusal(
    journal: &Journal,
    order: Order,
    by_name: bool,
    now: DateTime<Utc>,
) -> Option<Complaint> {
    let declared = &journal.declared;
    let asked = matches!(order.ask, Ask::Rotate(_));
    if journal.paused && asked {
        return Some(paused(&declared.name));
    }
    let due = journal.due_at <= now || asked;
    let has_no_home = declared.destinations.is_empty() && !declared.pull;
    (has_no_home && due && !by_name).then(homeless)
}

async fn rotate_one(engine: &Engine, journal: Journal, order: Order, by_name: bool) -> Outcome {
    let refusal = refusal(&journal, order, by_name, engine.clock.now());
    if let Some(complaint) = refusal
        .as_ref()
        .filter(|_| matches!(order.ask, Ask::Rotate(_)))
    {
        return refused(engine, &journal, complaint).await;
    }
    match engine.advance(journal.name(), order).await {
        Ok(Stop::At(_)) => match (finished(engine, &journal).await, refusal) {
            // What was under way has been carried on; what is due can't begin.
            (Ok(outcome), Some(complaint)) if outcome.exit == Exit::Done => {
                refused(engine, &journal, &complaint).await
            }
            (Ok(outcome), _) => outcome,
            (Err(complaint), _) => refused(engine, &journal, &complaint).await,
        },
        Ok(Stop::NotBegun(_)) => refused(engine, &journal, &not_begun(journal.name())).await,
        Ok(Stop::Busy) => refused(engine, &journal, &busy(journal.name())).await,
        Err(fault) => refused(engine, &journal, &fault.into()).await,
    }
}

/// How a connection stands for which nothing, or not everything, was done.
async fn refused(engine: &Engine, before: &Journal, complaint: &Complaint) -> Outcome {
    let journal = engine.journal(before.name()).await.ok();
    let rotation = engine.store.latest_rotation(before.id).await.ok().flatten();
    failed(
        journal.as_ref().unwrap_or(before),
        rotation.as_ref(),
        complaint,
    )
}

async fn finished(engine: &Engine, before: &Journal) -> Result<Outcome, Complaint> {
    let journal = engine.journal(before.name()).await?;
    let rotation = engine.store.latest_rotation(before.id).await?;
    let view = rotation_view(&journal, rotation.as_ref());
    let exit = view::exit(&journal);
    Ok(Outcome { view, exit })
}

fn failed(journal: &Journal, rotation: Option<&Rotation>, complaint: &Complaint) -> Outcome {
    Outcome {
        view: RotationView {
            error: Some(complaint.document().error),
            ..rotation_view(journal, rotation)
        },
        exit: complaint.exit,
    }
}

fn not_begun(name: &ConnectionName) -> Complaint {
    Complaint {
        code: "not-begun".into(),
        message: format!("something else of {name} has to end before it can be rotated"),
        remedy: Some("`keywheel status` says what; ask again then".into()),
        exit: Exit::RetryScheduled,
    }
}

/// Nothing says where a secret goes.
pub(super) fn homeless() -> Complaint {
    let failure = no_destination(DateTime::UNIX_EPOCH);
    Complaint {
        code: failure.code,
        message: failure.message,
        remedy: failure.remedy,
        exit: Exit::PersonMustAct,
    }
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
    let order = order(args);
    let mut exit = Exit::Done;
    let mut forecasts = Vec::new();
    for journal in chosen {
        let refusal = refusal(journal, order, is_by_name(args), now);
        let steps = match &refusal {
            Some(complaint) => {
                exit = exit.or(complaint.exit);
                Vec::new()
            }
            None => {
                let terms = view::terms(&context.settings, journal)?;
                forecast_order(journal, &terms, now, order)
            }
        };
        forecasts.push(Forecast {
            connection: journal.name().clone(),
            dry_run: true,
            steps,
            error: refusal.map(|complaint| complaint.document().error),
        });
    }
    context.output.data(&forecasts, || foretold(&forecasts));
    Ok(exit)
}

fn foretold(forecasts: &[Forecast]) -> String {
    let mut table = table(&["connection", "would"]).wrapping("would");
    for forecast in forecasts {
        let name = forecast.connection.to_string();
        for step in &forecast.steps {
            table.add_row([name.clone(), step.to_string()]);
        }
        if forecast.steps.is_empty() {
            let reason = forecast
                .error
                .as_ref()
                .map(|error| format!(": {}", error.message));
            table.add_row([
                name,
                format!("change nothing{}", reason.unwrap_or_default()),
            ]);
        }
    }
    table.to_string()
}

fn lines(views: &[&RotationView]) -> String {
    // One alone is told whole, as a block where it is too wide.
    let spared: &[&str] = if views.len() > 1 {
        &["old key id"]
    } else {
        &[]
    };
    let mut table = table(&[
        "connection",
        "state",
        "new key id",
        "old key id",
        "revoke at",
    ])
    .sparing(spared);
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
