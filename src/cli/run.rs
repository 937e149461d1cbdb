//! `run`: the service.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args;
use super::context::{Context, load_settings};
use super::exit::{Complaint, Exit};
use super::output::Output;
use crate::rotation::advance::Engine;
use crate::service::{Limits, Service, Signal, Source, Tally};
use crate::settings::Settings;
use crate::wording::listed;

pub(super) async fn run(global: &args::Global, output: Output) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    // Before anything is done, and held to the end (P5).
    let lease = context.store.try_lock_service().await?;
    if lease.is_none() {
        return Err(already_running());
    }
    let tally = Arc::new(Tally::default());
    let engine = context.engine(tally.clone()).await?;
    let limits = limits(&context.settings);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings = %context.settings.file.display(),
        store = %context.settings.store_path.display(),
        "keywheel begins"
    );
    let signals = signals()?;
    let source = Box::new(SettingsFile { context });
    let service = Service::new(engine, tally, limits, source);
    service.run(signals).await;
    drop(lease);
    Ok(Exit::Done)
}

/// One tenant gets at most three quarters of the places: whoever waits for its answers leaves room
/// for the others.
fn limits(settings: &Settings) -> Limits {
    let passes = settings.service.concurrency;
    Limits {
        passes,
        passes_per_tenant: (passes * 3).div_ceil(4),
    }
}

fn already_running() -> Complaint {
    Complaint {
        code: "already-running".into(),
        message: "another `keywheel run` serves this store".into(),
        remedy: Some("one is enough; `systemctl status keywheel` may say which".into()),
        exit: Exit::Busy,
    }
}

/// The settings file that the service was started with.
struct SettingsFile {
    context: Context,
}

#[async_trait]
impl Source for SettingsFile {
    async fn engine(&self, running: &Engine) -> Result<Engine, String> {
        let settings = load_settings(&running.settings.file).map_err(|it| it.message)?;
        let fixed = fixed(&settings, &running.settings);
        if !fixed.is_empty() {
            let named = listed(fixed);
            return Err(format!(
                "{named} can't change while it runs; restart it for that"
            ));
        }
        let context = Context {
            settings: settings.into(),
            ..self.context.clone()
        };
        self.rebuilt(&context, running)
            .await
            .map_err(|complaint| complaint.message)
    }
}

/// What a service can't take up without starting anew, where it differs.
fn fixed(new: &Settings, old: &Settings) -> Vec<&'static str> {
    [
        ("store.path", new.store_path != old.store_path),
        (
            "service.concurrency",
            new.service.concurrency != old.service.concurrency,
        ),
        ("service.listen", new.service.listen != old.service.listen),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

impl SettingsFile {
    /// What was learnt while running stays: who has to wait, and what was spent.
    async fn rebuilt(&self, context: &Context, running: &Engine) -> Result<Engine, Complaint> {
        let timeout = context.settings.graph.request_timeout.0;
        let entra = running.entra.reconfigured(context.clouds()?, timeout);
        let engine = context.engine(running.observer.clone()).await?;
        let stopping = running.stopping.clone();
        Ok(Engine {
            entra,
            stopping,
            ..engine
        })
    }
}

/// What the operating system asks: SIGTERM and SIGINT end the service, SIGHUP reloads it.
fn signals() -> Result<mpsc::Receiver<Signal>, Complaint> {
    let (sender, receiver) = mpsc::channel(4);
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Stop),
        (SignalKind::interrupt(), Signal::Stop),
        (SignalKind::hangup(), Signal::Reload),
    ] {
        let mut signals = signal(kind).map_err(|error| {
            Complaint::failed("signals", format!("signals can't be received: {error}"))
        })?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(meaning).await.is_ok() {}
        });
    }
    Ok(receiver)
}
