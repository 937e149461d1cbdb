//! `backup` and `restore`: a sealed copy of the store, and the way back.

use std::path::Path;

use serde::Serialize;

use super::args;
use super::context::{Context, actor, from_here, load_settings};
use super::exit::{Complaint, Exit};
use super::output::Output;
use crate::clock::{Clock, SystemClock, whole_seconds};
use crate::journal::Event;
use crate::store::{Fingerprint, KeyFault, Keys, SqliteStore, StoreFault};

/// What `backup` prints.
#[derive(Debug, Serialize)]
struct BackupView {
    file: String,
    bytes: u64,
    connections: usize,
    /// Of the master key that it takes to use it.
    master_key_fingerprint: Fingerprint,
}

/// What `restore` prints.
#[derive(Debug, Serialize)]
struct RestoreView {
    store: String,
    /// All of them are paused.
    connections: usize,
}

pub(super) async fn backup(
    global: &args::Global,
    args: args::Backup,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let to = from_here(&args.file)?;
    let from = context.settings.store_path.clone();
    let connections = context.store.count().await?;
    let bytes = blocking({
        let to = to.clone();
        move || SqliteStore::backup(&from, &to)
    })
    .await?
    .map_err(|fault| taken(fault, "name a file that is not there yet"))?;
    context.store.record(event("backed-up")).await?;
    let view = BackupView {
        file: to.display().to_string(),
        bytes,
        connections,
        master_key_fingerprint: context.store.fingerprint().await?,
    };
    output.data(&view, || {
        format!(
            "{}: {} connections, {} bytes, every value sealed; it opens with the master key {}, \
             which is not in it: keep a copy of that elsewhere",
            view.file, view.connections, view.bytes, view.master_key_fingerprint
        )
    });
    Ok(Exit::Done)
}

pub(super) async fn restore(
    global: &args::Global,
    args: args::Restore,
    output: Output,
) -> Result<Exit, Complaint> {
    let settings = load_settings(&global.config)?;
    let from = from_here(&args.file)?;
    let store = settings.store_path.clone();
    let key = settings.master_key.clone();
    let connections = blocking(move || {
        SqliteStore::restore(&from, &store, &event("restored"), |fingerprint| {
            let loaded = Keys::load(key.clone(), fingerprint).map(drop);
            loaded.map_err(|fault| KeyFault::master_key(fault, &key, Some(fingerprint)))
        })
    })
    .await?
    .map_err(|fault| match fault {
        KeyFault::Store(fault) => taken(fault, &remains(&settings.store_path)),
        fault => fault.into(),
    })?;
    let view = RestoreView {
        store: settings.store_path.display().to_string(),
        connections,
    };
    output.data(&view, || {
        format!(
            "{}: {} connections, all paused",
            view.store, view.connections
        )
    });
    output.note(
        "what has happened since the backup is not in it: for each connection run `keywheel verify \
         NAME`, then `keywheel connection resume NAME`; `keywheel orphans` lists secrets that were \
         made since",
    );
    Ok(Exit::Done)
}

fn remains(store: &Path) -> String {
    format!(
        "end the service and move {0}, {0}-wal and {0}-shm away first, all that there are",
        store.display()
    )
}

fn taken(fault: StoreFault, remedy: &str) -> Complaint {
    match fault {
        StoreFault::Exists { path } => {
            Complaint::usage("exists", format!("there is something at {path} already"))
                .remedy(remedy)
        }
        fault => fault.into(),
    }
}

fn event(action: &str) -> Event {
    Event {
        at: whole_seconds(SystemClock.now()),
        actor: actor(),
        action: action.to_owned(),
        connection: None,
        rotation_id: None,
        key_id: None,
        result: "ok".to_owned(),
        client_request_id: None,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Complaint> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Complaint::failed("unexpected", format!("it ended unexpectedly: {error}")))
}
