//! `orphans`: secrets of ours whose value nobody holds.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::args;
use super::confirm::confirm;
use super::context::Context;
use super::exit::{Complaint, ErrorBody, Exit};
use super::output::{Form, Output, instant_or, table};
use super::progress::Progress;
use super::rotate::{PATIENCE, busy};
use super::rotation_view::error;
use super::view;
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::Journal;
use crate::rotation::advance::{Engine, Orphan, OrphansFault, Stop};

/// What `orphans` prints for one connection.
#[derive(Debug, Serialize)]
struct Found {
    connection: ConnectionName,
    orphans: Vec<OrphanView>,
    /// Why they could not be listed or removed: then the list is not all there is.
    error: Option<ErrorBody>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Serialize)]
struct OrphanView {
    key_id: KeyId,
    display_name: String,
    #[serde(serialize_with = "seconds::option::serialize")]
    starts_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "seconds::option::serialize")]
    expires_at: Option<DateTime<Utc>>,
    /// Reliably absent.
    removed: bool,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Orphans,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let journals = context.store.journals().await?;
    let names: Vec<&ConnectionName> = journals
        .iter()
        .filter(|journal| journal.removed_at.is_none())
        .map(Journal::name)
        .collect();
    let progress = Arc::new(Progress::new(names.len()));
    let engine = context.engine(progress.clone()).await?;
    let mut found = Vec::new();
    for name in names {
        found.push(list(&engine, name).await);
        progress.one_done();
    }
    let count: usize = found.iter().map(|one| one.orphans.len()).sum();
    if args.remove && count > 0 {
        confirm(global, output, &question(&found, count))?;
        for one in found.iter_mut().filter(|one| !one.orphans.is_empty()) {
            remove(&engine, one).await;
        }
    }
    output.data(&found, || lines(&found));
    tell(output, &found, count, args.remove);
    Ok(found.iter().fold(Exit::Done, |exit, one| exit.or(one.exit)))
}

async fn list(engine: &Engine, name: &ConnectionName) -> Found {
    let mut found = Found {
        connection: name.clone(),
        orphans: Vec::new(),
        error: None,
        exit: Exit::Done,
    };
    match engine.orphans(name).await {
        Ok(Some(orphans)) => found.orphans = orphans.iter().map(OrphanView::from).collect(),
        Ok(None) => found.fail(&busy(name).remedy("try again in a moment")),
        Err(fault) => found.fail(&fault.into()),
    }
    found
}

async fn remove(engine: &Engine, found: &mut Found) {
    match engine.remove_orphans(&found.connection, PATIENCE).await {
        Ok(Stop::At(_) | Stop::NotBegun(_)) => {}
        Ok(Stop::Busy) => {
            return found.fail(&busy(&found.connection).remedy("nothing was removed; try again"));
        }
        Err(fault) => return found.fail(&fault.into()),
    }
    let journal = match engine.journal(&found.connection).await {
        Ok(journal) => journal,
        Err(fault) => return found.fail(&fault.into()),
    };
    for orphan in &mut found.orphans {
        let removal = journal
            .removals
            .iter()
            .find(|removal| removal.key_id == orphan.key_id);
        orphan.removed = removal.is_none();
        if let Some(failure) = removal.and_then(|removal| removal.retry.last.as_ref()) {
            found.error = Some(error(failure));
        }
    }
    found.exit = found.exit.or(view::exit(&journal));
}

impl Found {
    fn fail(&mut self, complaint: &Complaint) {
        self.error = Some(complaint.document().error);
        self.exit = self.exit.or(complaint.exit);
    }
}

impl From<&Orphan> for OrphanView {
    fn from(orphan: &Orphan) -> Self {
        Self {
            key_id: orphan.key_id,
            display_name: orphan.attempt.to_string(),
            starts_at: orphan.starts_at,
            expires_at: orphan.expires_at,
            removed: false,
        }
    }
}

impl From<OrphansFault> for Complaint {
    fn from(fault: OrphansFault) -> Self {
        match fault {
            OrphansFault::Engine(fault) => fault.into(),
            OrphansFault::Unread(failure) => Self {
                code: failure.code,
                message: failure.message,
                remedy: failure.remedy,
                exit: if failure.permanent {
                    Exit::PersonMustAct
                } else {
                    Exit::Failed
                },
            },
        }
    }
}

fn question(found: &[Found], count: usize) -> String {
    let with_some = found.iter().filter(|one| !one.orphans.is_empty());
    let names: Vec<&str> = with_some.map(|one| one.connection.as_str()).collect();
    format!(
        "remove {} from the application of {}?",
        secrets(count),
        names.join(", ")
    )
}

fn secrets(count: usize) -> String {
    match count {
        1 => "1 secret that nobody holds".to_owned(),
        _ => format!("{count} secrets that nobody holds"),
    }
}

fn lines(found: &[Found]) -> String {
    if found.iter().all(|one| one.orphans.is_empty()) {
        return String::new();
    }
    let mut table = table(&["connection", "key id", "made", "expires", "state"]).sparing(&["made"]);
    for one in found {
        for orphan in &one.orphans {
            table.add_row([
                one.connection.to_string(),
                orphan.key_id.to_string(),
                instant_or(orphan.starts_at, "-"),
                instant_or(orphan.expires_at, "never"),
                if orphan.removed { "removed" } else { "listed" }.to_owned(),
            ]);
        }
    }
    table.to_string()
}

fn tell(output: Output, found: &[Found], count: usize, removed: bool) {
    if output.form == Form::Table {
        for one in found {
            if let Some(error) = &one.error {
                output.complain(&Complaint {
                    code: error.code.clone(),
                    message: format!("{}: {}", one.connection, error.message),
                    remedy: None,
                    exit: one.exit,
                });
            }
        }
    }
    let unread = found.iter().filter(|one| one.error.is_some()).count();
    match count {
        0 if unread == 0 => output.note("no orphans"),
        0 => output.note(&format!(
            "no orphans on what could be read; {unread} could not"
        )),
        _ if !removed => output.note("`keywheel orphans --remove` removes them"),
        _ => {}
    }
}
