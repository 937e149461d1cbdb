//! `master-key rotate`: a new key for everything that is sealed.

use serde::Serialize;

use super::args;
use super::context::{Context, actor};
use super::exit::{Complaint, Exit};
use super::output::Output;
use crate::journal::Event;
use crate::settings::MasterKeySource;
use crate::store::KeyFault;
use crate::store::master_key::change::{ChangeFault, change};

/// What `master-key rotate` prints.
#[derive(Debug, Serialize)]
struct Changed {
    /// How many secret values were sealed anew.
    resealed: usize,
    /// Of the new key; it reveals nothing of it.
    fingerprint: String,
}

pub(super) async fn run(
    global: &args::Global,
    command: args::MasterKey,
    output: Output,
) -> Result<Exit, Complaint> {
    let args::MasterKey::Rotate = command;
    let context = Context::open(&global.config, output)?;
    let path = match &context.settings.master_key {
        MasterKeySource::File(path) => path.clone(),
        MasterKeySource::Credential(name) => return Err(credential(name)),
        MasterKeySource::Env(name) => return Err(variable(name)),
    };
    output.note("sealing everything anew; whatever runs meanwhile goes on with the new key");
    let store = &*context.store;
    let resealed = match change(store, &path).await {
        Ok(resealed) => resealed,
        Err(fault) => return Err(refused(fault, &context).await),
    };
    store.record(event(&context)).await?;
    let changed = Changed {
        resealed,
        fingerprint: store.fingerprint().await?.to_string(),
    };
    output.data(&changed, || {
        format!(
            "done: {resealed} secret values are sealed with the new master key in {}, whose \
             fingerprint is {}; a copy of the old key opens only backups from before now",
            path.display(),
            changed.fingerprint
        )
    });
    Ok(Exit::Done)
}

fn event(context: &Context) -> Event {
    Event {
        at: context.clock.now(),
        actor: actor(),
        action: "master-key-changed".to_owned(),
        connection: None,
        rotation_id: None,
        key_id: None,
        result: "ok".to_owned(),
        client_request_id: None,
    }
}

fn credential(name: &str) -> Complaint {
    by_hand(
        &format!("the systemd credential {name}"),
        &format!(
            "make the credential anew from the file (`systemd-creds encrypt --name={name} FILE \
             /etc/credstore.encrypted/{name}`) and write `credential = \"{name}\"` again"
        ),
    )
}

fn variable(name: &str) -> Complaint {
    by_hand(
        &format!("the environment variable {name}"),
        &format!("put what the file then holds into {name} and write `env = \"{name}\"` again"),
    )
}

/// A key that can't be written from here goes by way of a file.
fn by_hand(place: &str, back: &str) -> Complaint {
    Complaint::usage(
        "master-key-source",
        format!("the master key is in {place}, which can't be written from here"),
    )
    .remedy(format!(
        "stop the service; put the key into a file of mode 0600 and name it with `file` under \
         [master_key]; run `keywheel master-key rotate`; {back}; delete the file; start the service"
    ))
}

async fn refused(fault: ChangeFault, context: &Context) -> Complaint {
    match fault {
        ChangeFault::MasterKey(fault) => {
            let store = context.store.fingerprint().await.ok();
            KeyFault::master_key(fault, &context.settings.master_key, store).into()
        }
        ChangeFault::Store(fault) => fault.into(),
        ChangeFault::Busy => Complaint {
            code: "busy".to_owned(),
            message: fault.to_string(),
            remedy: Some("nothing was changed; try again in a moment".to_owned()),
            exit: Exit::Busy,
        },
    }
}
