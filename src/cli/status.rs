//! `status`: how things stand. It calls nobody, and answers without the master key.

mod beside;
mod detail;

use anstyle::AnsiColor;
use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, Color};

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::{Output, instant, instant_or, style, table};
use super::view::{ConnectionView, as_it_is, view};
use crate::journal::Journal;
use crate::rotation::standing::Health;

pub(super) async fn run(
    global: &args::Global,
    args: args::Status,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open_to_look(&global.config, output)?;
    let now = context.clock.now();
    if let Some(name) = &args.name {
        let (journal, over) = as_it_is(context.connection(name).await?).await;
        over.into_iter().for_each(|over| output.note(&over));
        let mut one = view(&context.settings, &journal, now)?;
        one.at_work = beside::at_work(&context, &journal, &one, now).await;
        output.data(&[&one], || detail::lines(&one, &journal));
        return Ok(beside::master_key(&context).await);
    }
    let mut kept = Vec::new();
    for journal in context.store.journals().await? {
        if journal.removed_at.is_none() {
            let (journal, over) = as_it_is(journal).await;
            over.into_iter().for_each(|over| output.note(&over));
            kept.push(journal);
        }
    }
    let (views, exit) = views(&context, &kept, now).await;
    if views.is_empty() && exit == Exit::Done {
        output.note("there are no connections; `keywheel connection add` adopts one");
    }
    output.data(&views, || lines(&views));
    Ok(exit.or(beside::master_key(&context).await))
}

/// What one connection lacks in the settings hides no other one.
async fn views(
    context: &Context,
    journals: &[Journal],
    now: DateTime<Utc>,
) -> (Vec<ConnectionView>, Exit) {
    let mut views = Vec::new();
    let mut exit = Exit::Done;
    for journal in journals {
        match view(&context.settings, journal, now) {
            Ok(mut one) => {
                one.at_work = beside::at_work(context, journal, &one, now).await;
                views.push(one);
            }
            Err(complaint) => {
                context
                    .output
                    .note(&format!("error: {}", complaint.message));
                exit = exit.or(complaint.exit);
            }
        }
    }
    (views, exit)
}

fn lines(views: &[ConnectionView]) -> String {
    if views.is_empty() {
        return String::new();
    }
    let mut table = table(&["name", "health", "state", "safe until", "next action"])
        .sparing(&["state"])
        .wrapping("next action");
    for view in views {
        table.add_row([
            Cell::new(&view.name),
            health(view),
            Cell::new(view.state),
            Cell::new(instant_or(view.safe_until, view.without_end())),
            Cell::new(next_action(view)),
        ]);
    }
    let mut lines = vec![table.to_string()];
    lines.extend(views.iter().filter_map(trouble));
    lines.join("\n")
}

fn health(view: &ConnectionView) -> Cell {
    let (word, colour) = word(view.health);
    let cell = Cell::new(if view.paused {
        format!("{word}, paused")
    } else {
        word.to_owned()
    });
    let colour = match colour {
        AnsiColor::Green => Color::Green,
        AnsiColor::Blue => Color::Blue,
        AnsiColor::Yellow => Color::Yellow,
        _ => Color::Red,
    };
    cell.fg(colour).add_attribute(Attribute::Bold)
}

fn word(health: Health) -> (&'static str, AnsiColor) {
    match health {
        Health::Ok => ("ok", AnsiColor::Green),
        Health::Waiting => ("waiting", AnsiColor::Blue),
        Health::Retrying => ("retrying", AnsiColor::Yellow),
        Health::Overdue => ("overdue", AnsiColor::Red),
        Health::Blocked => ("blocked", AnsiColor::Red),
    }
}

fn next_action(view: &ConnectionView) -> String {
    if let Some(at_work) = &view.at_work {
        return at_work.clone();
    }
    let next = view.next_action.as_ref();
    next.map_or_else(
        || "nothing by itself".to_owned(),
        |next| format!("{} {}", next.what, instant(next.at)),
    )
}

/// The last error of one that is not well, what to do, and what comes next.
fn trouble(view: &ConnectionView) -> Option<String> {
    let failure = view.last_error.as_ref()?;
    let (_, colour) = word(view.health);
    let style = style(colour);
    let mut text = format!(
        "\n{style}{}{style:#}: {} ({}, {})",
        view.name,
        failure.message,
        failure.code,
        instant(failure.at)
    );
    if let Some(remedy) = &failure.remedy {
        text.push_str(&format!("\n  {remedy}"));
    }
    if let Some(next) = &view.next_action {
        // What comes next may have nothing to do with what is wrong: the end of an overlap.
        text.push_str(&match next.what {
            "retry" => format!("\n  next try: {}", instant(next.at)),
            _ => format!("\n  next action: {}", next_action(view)),
        });
    }
    Some(text)
}
