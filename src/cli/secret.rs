//! `secret`: prints the current secret, for scripts. The only command that shows one (P6).

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::args;
use super::context::{Context, actor};
use super::exit::{Complaint, Exit};
use super::output::{Form, Output};
use crate::clock::seconds;
use crate::clock::whole_seconds;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Event, Journal};
use crate::rotation::observe::Unobserved;

/// What it prints with `-o json`; none of its fields is renamed.
#[derive(Serialize)]
struct SecretView<'a> {
    connection: &'a ConnectionName,
    key_id: KeyId,
    #[serde(serialize_with = "exposed")]
    secret: SecretString,
    #[serde(serialize_with = "seconds::option::serialize")]
    expires_at: Option<DateTime<Utc>>,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::SecretArgs,
    output: Output,
) -> Result<Exit, Complaint> {
    if std::io::stdout().is_terminal() && !args.reveal {
        return Err(Complaint::usage(
            "terminal",
            "a secret is not shown on a terminal, where it stays in the scrollback",
        )
        .remedy("send it to a file or a program, or add --reveal"));
    }
    let context = Context::open(&global.config, output)?;
    let journal = context.connection(&args.name).await?;
    let engine = context.engine(Arc::new(Unobserved)).await?;
    let Some(current) = journal.current() else {
        return Err(no_value(&args.name));
    };
    let value = engine.value(&journal, current.key_id).await?;
    let view = SecretView {
        connection: journal.name(),
        key_id: current.key_id,
        secret: value.ok_or_else(|| no_value(&args.name))?,
        expires_at: current.expires_at,
    };
    // Recorded before it is shown: a reader that leaves no trace gets nothing.
    let read = event(&context, &journal, current.key_id);
    context.store.record(read).await?;
    print(output.form, &view)?;
    Ok(Exit::Done)
}

fn no_value(name: &ConnectionName) -> Complaint {
    Complaint {
        code: "no-current-secret".into(),
        message: format!("connection {name} has no current secret"),
        remedy: Some(format!(
            "make one in the portal and give it with `keywheel connection edit {name} \
             --secret-file FILE`"
        )),
        exit: Exit::PersonMustAct,
    }
}

fn event(context: &Context, journal: &Journal, key_id: KeyId) -> Event {
    Event {
        at: whole_seconds(context.clock.now()),
        actor: actor(),
        action: "secret-read".into(),
        connection: Some(journal.name().clone()),
        rotation_id: None,
        key_id: Some(key_id),
        result: "ok".into(),
        client_request_id: None,
    }
}

/// Not through `Output`: nothing filters or copies it on its way.
fn print(form: Form, view: &SecretView<'_>) -> Result<(), Complaint> {
    let failed =
        |error: String| Complaint::failed("stdout", format!("the secret was not printed: {error}"));
    let mut text = Zeroizing::new(match form {
        Form::Table => view.secret.expose_secret().as_bytes().to_vec(),
        Form::Json => serde_json::to_vec_pretty(view).map_err(|error| failed(error.to_string()))?,
    });
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&text).and_then(|()| stdout.flush());
    written.map_err(|error| failed(error.to_string()))
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
