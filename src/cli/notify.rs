//! `notify test`: does each channel take a message.

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use super::args;
use super::context::load_settings;
use super::exit::{Complaint, Exit};
use super::output::{Output, table};
use crate::clock::{Clock, SystemClock};
use crate::notify::{self, Message, TIMEOUT};
use crate::settings::NotifySpec;
use crate::wording::{hint, quoted};

/// What came of one channel, with `-o json` too; none of its fields is renamed.
#[derive(Debug, Serialize)]
struct Tested {
    channel: String,
    kind: &'static str,
    ok: bool,
    /// Why not.
    error: Option<String>,
}

pub(super) async fn run(
    global: &args::Global,
    command: args::Notify,
    output: Output,
) -> Result<Exit, Complaint> {
    let args::Notify::Test { name } = command;
    let settings = load_settings(&global.config)?;
    let chosen = chosen(&settings.channels, name.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let message = Message::test(clock.now());
    let mut tests = JoinSet::new();
    for (place, spec) in chosen.into_iter().cloned().enumerate() {
        let channel = notify::open(&spec.kind, &clock, TIMEOUT);
        let message = message.clone();
        tests.spawn(async move {
            let sent = channel.send(&message).await;
            let tested = Tested {
                channel: spec.name,
                kind: spec.kind.name(),
                ok: sent.is_ok(),
                error: sent.err().map(|fault| fault.to_string()),
            };
            (place, tested)
        });
    }
    // In the order of the settings, whoever answered first.
    let mut tested = tests.join_all().await;
    tested.sort_by_key(|(place, _)| *place);
    let tested: Vec<Tested> = tested.into_iter().map(|(_, tested)| tested).collect();
    output.data(&tested, || rows(&tested));
    if tested.iter().all(|tested| tested.ok) {
        return Ok(Exit::Done);
    }
    output.note("a channel that takes nothing loses nothing: what it is to be told stays queued");
    Ok(Exit::Failed)
}

fn chosen<'a>(
    channels: &'a [NotifySpec],
    name: Option<&str>,
) -> Result<Vec<&'a NotifySpec>, Complaint> {
    if channels.is_empty() {
        let message = "the settings name no channel";
        return Err(Complaint::usage("no-channel", message)
            .remedy("add a [[notify]] to them; `keywheel init` writes one as a comment"));
    }
    let Some(name) = name else {
        return Ok(channels.iter().collect());
    };
    let found: Vec<_> = channels.iter().filter(|spec| spec.name == name).collect();
    if found.is_empty() {
        let names = channels.iter().map(|spec| spec.name.as_str());
        let message = format!("there is no channel {}{}", quoted(name), hint(name, names));
        return Err(Complaint::usage("no-such-channel", message));
    }
    Ok(found)
}

fn rows(tested: &[Tested]) -> String {
    let mut table = table(&["channel", "kind", "taken"]);
    for tested in tested {
        let taken = tested.error.as_deref().unwrap_or("yes");
        table.add_row([tested.channel.as_str(), tested.kind, taken]);
    }
    table.to_string()
}
