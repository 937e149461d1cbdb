//! Reconciling every connection with Entra every few hours, a few each minute, beside the passes.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::connection::ConnectionName;
use crate::rotation::advance::{Engine, Reconciled};
use crate::store::StoreFault;

/// So many are compared at once: it is never urgent.
const AT_ONCE: usize = 8;

/// At least so many each time, so that a few connections don't wait for hours.
const AT_LEAST: usize = 10;

/// The batch under way, at most one.
#[derive(Debug, Default)]
pub struct Reconciling {
    batch: JoinSet<Result<(), StoreFault>>,
}

impl Reconciling {
    /// Begins the batch of this minute, unless the last one is still under way.
    pub fn go_on(&mut self, engine: &Arc<Engine>, connections: u64) {
        match self.batch.try_join_next() {
            Some(Ok(Err(fault))) => tracing::warn!("nothing was compared with Entra: {fault}"),
            Some(Err(error)) => tracing::error!("reconcile ended unexpectedly: {error}"),
            Some(Ok(Ok(()))) | None => {}
        }
        if self.batch.is_empty() {
            let engine = Arc::clone(engine);
            self.batch.spawn(compare(engine, connections));
        }
    }

    /// Waits for the end of the batch: each comparison ends between two steps.
    pub async fn ended(&mut self) {
        while self.batch.join_next().await.is_some() {}
    }
}

async fn compare(engine: Arc<Engine>, connections: u64) -> Result<(), StoreFault> {
    let every = engine.settings.service.reconcile_every.0;
    let minutes = usize::try_from(every.as_secs() / 60).unwrap_or(1).max(1);
    // Twice as many as would just do, so that what waits behind a tenant is caught up.
    let share = usize::try_from(connections).unwrap_or(usize::MAX) / minutes;
    let before = engine.clock.now() - every;
    let names = engine
        .store
        .unreconciled(before, share.saturating_mul(2) + AT_LEAST)
        .await?;
    let mut waiting = names.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && !engine.stopping.has_begun()
            && let Some(name) = waiting.next()
        {
            running.spawn(one(Arc::clone(&engine), name));
        }
        match running.join_next().await {
            None => return Ok(()),
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!("a comparison ended unexpectedly: {error}"),
        }
    }
}

async fn one(engine: Arc<Engine>, name: ConnectionName) {
    match engine.reconcile(&name).await {
        Ok(Reconciled::Done(drift)) if drift.is_empty() => {
            tracing::debug!(connection = %name, "as Entra has it");
        }
        Ok(Reconciled::Done(drift)) => {
            tracing::warn!(connection = %name, ?drift, "Entra and the store disagreed");
        }
        Ok(Reconciled::Later | Reconciled::Unread { .. }) => {}
        Err(fault) => tracing::error!(connection = %name, "{fault}"),
    }
}
