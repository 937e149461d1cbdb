//! `apply`: makes the connections as a file declares them.

mod difference;
mod mistake;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Serialize;

use super::args;
use super::confirm::confirm;
use super::connection::{add, edit, remove};
use super::context::Context;
use super::exit::{Complaint, ErrorBody, Exit};
use super::output::{Form, Output, instant, table};
use super::progress::Progress;
use super::rotate::busy;
use super::secret_input;
use crate::connection::{ConnectionName, Declared};
use crate::journal::Journal;
use crate::rotation::adopt::Candidate;
use crate::rotation::advance::Engine;
use crate::settings::declare::{Declaration, Manifest};
use crate::wording::listed;
use difference::Difference;
use mistake::Mistake;

/// What is to be done with one connection.
enum Task {
    Add(Box<Declaration>, SecretString),
    Change(Box<Declared>, Box<Declared>),
    Keep,
    Remove,
}

/// One connection of the file or of the store.
struct Item {
    name: ConnectionName,
    task: Task,
    changes: Vec<Difference>,
}

/// What is printed of one connection; none of its fields is renamed.
#[derive(Debug, Serialize)]
struct ItemView {
    connection: ConnectionName,
    /// `added`, `changed`, `unchanged`, `removed`, or `failed`.
    result: &'static str,
    /// Nothing was done yet.
    dry_run: bool,
    changes: Vec<Difference>,
    error: Option<ErrorBody>,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Apply,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let manifest = Manifest::load(&args.file, &context.settings)
        .map_err(|faults| Complaint::usage("manifest", faults.to_string()))?;
    let journals = context.store.journals().await?;
    let kept: Vec<Journal> = journals
        .into_iter()
        .filter(|journal| journal.removed_at.is_none())
        .collect();
    let items = plan(manifest, &kept, args.prune, context.clock.now()).await?;
    if args.dry_run {
        let views: Vec<ItemView> = items.into_iter().map(Item::forecast).collect();
        output.data(&views, || rows(&views));
        return Ok(Exit::Done);
    }
    let going = || {
        items
            .iter()
            .filter(|item| matches!(item.task, Task::Remove))
    };
    if going().next().is_some() {
        let names = listed(going().map(|item| &item.name));
        let question = format!("Remove {names}? Their secrets stay in Entra.");
        confirm(global, output, &question)?;
    }
    let engine = context.engine(Arc::new(Progress::new(items.len()))).await?;
    let mut exit = Exit::Done;
    let mut views = Vec::new();
    for item in items {
        let (view, ended) = item.perform(&engine, output).await;
        views.push(view);
        exit = exit.or(ended);
    }
    output.data(&views, || rows(&views));
    if output.form == Form::Table {
        complain(output, &views);
    }
    Ok(exit)
}

/// What is to be done, in the order in which it is done: what goes makes room for what comes.
///
/// All that is wrong with any connection is found before the first is touched (I6).
async fn plan(
    manifest: Manifest,
    kept: &[Journal],
    prune: bool,
    now: DateTime<Utc>,
) -> Result<Vec<Item>, Complaint> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut items = Vec::new();
    if prune {
        let is_declared = |journal: &&Journal| {
            let mut declared = manifest.connections.iter();
            declared.any(|declaration| declaration.declared.name == *journal.name())
        };
        items.extend(
            kept.iter()
                .filter(|journal| !is_declared(journal))
                .map(|journal| Item {
                    name: journal.name().clone(),
                    task: Task::Remove,
                    changes: Vec::new(),
                }),
        );
    }
    let mut added = Vec::new();
    for declaration in manifest.connections {
        let name = &declaration.declared.name;
        let before = kept.iter().find(|journal| journal.name() == name);
        let before = before.map(|journal| &journal.declared);
        mistakes.extend(mistake::undeliverable(&declaration, before).await);
        let (list, item) = match before {
            Some(before) => (&mut items, changed(before, declaration)),
            None => (&mut added, new(declaration, now)),
        };
        match item {
            Ok(item) => list.push(item),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    items.extend(added);
    if mistakes.is_empty() {
        Ok(items)
    } else {
        Err(mistake::complaint(&manifest.text, mistakes))
    }
}

fn changed(before: &Declared, after: Declaration) -> Result<Item, Mistake> {
    let Declaration {
        declared: after,
        written,
        ..
    } = after;
    let changes = difference::between(before, &after);
    let fixed = changes
        .iter()
        .find(|change| matches!(change.field.as_str(), "tenant_id" | "client_id" | "cloud"));
    if let Some(fixed) = fixed.filter(|_| !same_application(before, &after)) {
        let complaint = edit::immutable(&before.name, &fixed.field);
        return Err(Mistake::new(written.at(&fixed.field), complaint));
    }
    Ok(Item {
        name: before.name.clone(),
        task: if changes.is_empty() {
            Task::Keep
        } else {
            Task::Change(Box::new(before.clone()), Box::new(after))
        },
        changes,
    })
}

/// Both ways of naming the first cloud are one.
fn same_application(a: &Declared, b: &Declared) -> bool {
    let cloud = |declared: &Declared| {
        let named = declared.cloud.clone();
        named.unwrap_or_else(|| crate::settings::CLOUDS[0].to_owned())
    };
    (a.tenant_id, a.client_id, cloud(a)) == (b.tenant_id, b.client_id, cloud(b))
}

fn new(declaration: Declaration, now: DateTime<Utc>) -> Result<Item, Mistake> {
    let name = declaration.declared.name.clone();
    if let Some(at) = declaration.next_rotation_at.filter(|at| *at <= now) {
        let over = format!("connection {name}: {} is over", instant(at));
        return Err(Mistake::new(
            declaration.written.at("next_rotation_at"),
            Complaint::usage("usage", over).remedy("give a time to come, or rotate_now"),
        ));
    }
    let wrong = |complaint| Mistake::new(declaration.written.at("secret_file"), complaint);
    let Some(file) = &declaration.secret_file else {
        return Err(wrong(
            Complaint::usage(
                "secret-file-needed",
                format!("connection {name} is new and has no secret_file"),
            )
            .remedy("name the file that holds its present secret"),
        ));
    };
    let secret = secret_input::read(Some(file), name.as_str()).map_err(|complaint| {
        wrong(Complaint {
            message: format!("connection {name}: {}", complaint.message),
            ..complaint
        })
    })?;
    let mut changes = difference::of_new(&declaration.declared);
    if declaration.rotate_now {
        changes.push(Difference::begins("rotate_now"));
    }
    Ok(Item {
        name,
        task: Task::Add(Box::new(declaration), secret),
        changes,
    })
}

impl Item {
    fn forecast(self) -> ItemView {
        ItemView {
            connection: self.name,
            result: self.task.result(),
            dry_run: true,
            changes: self.changes,
            error: None,
        }
    }

    /// Does it. What fails hides no other (I6).
    async fn perform(self, engine: &Engine, output: Output) -> (ItemView, Exit) {
        let result = self.task.result();
        let done = match self.task {
            Task::Keep => Ok(Exit::Done),
            Task::Remove => removed(engine, &self.name, output).await,
            Task::Change(before, after) => edited(engine, &before, *after, output).await,
            Task::Add(declaration, secret) => adopted(engine, *declaration, secret, output).await,
        };
        let (result, error, exit) = match done {
            Ok(exit) => (result, None, exit),
            Err(complaint) => ("failed", Some(complaint.document().error), complaint.exit),
        };
        let view = ItemView {
            connection: self.name,
            result,
            dry_run: false,
            changes: self.changes,
            error,
        };
        (view, exit)
    }
}

impl Task {
    fn result(&self) -> &'static str {
        match self {
            Self::Add(..) => "added",
            Self::Change(..) => "changed",
            Self::Keep => "unchanged",
            Self::Remove => "removed",
        }
    }
}

async fn removed(
    engine: &Engine,
    name: &ConnectionName,
    output: Output,
) -> Result<Exit, Complaint> {
    let removed = engine.remove(name).await?.ok_or_else(|| busy(name))?;
    remove::tell(output, name, &removed);
    Ok(Exit::Done)
}

async fn edited(
    engine: &Engine,
    before: &Declared,
    after: Declared,
    output: Output,
) -> Result<Exit, Complaint> {
    let edited = engine.edit(before, after).await?;
    edit::tell(
        output,
        &before.name,
        &edited.ok_or_else(|| busy(&before.name))?,
    );
    Ok(Exit::Done)
}

async fn adopted(
    engine: &Engine,
    declaration: Declaration,
    secret: SecretString,
    output: Output,
) -> Result<Exit, Complaint> {
    let name = declaration.declared.name.clone();
    let rotate_now = declaration.rotate_now;
    let take_over = declaration.take_over;
    let adopted = engine
        .adopt(Candidate {
            declared: declaration.declared,
            secret,
            key_id: declaration.key_id,
            next_rotation_at: declaration.next_rotation_at,
            rotate_now,
            check: true,
            take_over,
        })
        .await?;
    add::tell(output, &name, &adopted);
    if rotate_now {
        add::rotate(engine, &name).await
    } else {
        Ok(Exit::Done)
    }
}

fn rows(views: &[ItemView]) -> String {
    let mut table = table(&["connection", "result", "changes"]).wrapping("changes");
    for view in views {
        let result = if view.dry_run && view.result != "unchanged" {
            format!("would be {}", view.result)
        } else {
            view.result.to_owned()
        };
        let changes: Vec<String> = view.changes.iter().map(Difference::to_string).collect();
        table.add_row([view.connection.to_string(), result, changes.join(", ")]);
    }
    table.to_string()
}

fn complain(output: Output, views: &[ItemView]) {
    for view in views {
        if let Some(error) = &view.error {
            output.note(&format!("error: {}: {}", view.connection, error.message));
        }
    }
}
