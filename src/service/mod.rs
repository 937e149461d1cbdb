//! The service: every connection on its schedule, for years.
//!
//! | file | what it holds |
//! |---|---|
//! | `metronome` | the recurring jobs: beats that say "look again" |
//! | `queue`, `holdoff` | whose turn is next, and who is let alone (pure) |
//! | `work` | the passes under way: each calls [`Engine::advance`] |
//! | `reconcile` | every connection against Entra, every few hours |
//! | `notices` | telling people, beside the passes |
//! | `vital`, `tally` | how the service itself is, and what has happened |
//! | `listener`, `board` | where that is shown: health, `metrics` (`exposition`), the `page` |
//! | `systemd` | what systemd is told, and the watchdog |
//!
//! Its loop never waits for Entra or for a destination: passes are tasks of their own, and what
//! they are to do stands in the store. So it may be ended at any moment.

mod board;
mod exposition;
mod holdoff;
mod listener;
mod metrics;
mod metronome;
mod notices;
mod page;
mod queue;
mod reconcile;
mod systemd;
mod tally;
mod vital;
mod work;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::rotation::advance::Engine;
use crate::settings::Listen;

use board::Board;
use metronome::{Beat, Metronome};
use notices::Notices;
use reconcile::Reconciling;
use systemd::Systemd;

pub use notices::ByTheRules;
pub use queue::Limits;
pub use tally::{Counted, Tally};
pub use vital::{NotReady, Vital};
pub use work::{Ended, Work};

/// The metronome is not trusted alone: what is due is looked for at least this often.
const UNBIDDEN: Duration = Duration::from_secs(2);

/// A batch of comparisons is begun at least this often, half as often as the metronome bids.
const SWEEP: Duration = Duration::from_secs(120);

/// How long passes have to come to the end of their step when the service ends: longer than one
/// call to Graph may take, shorter than systemd's patience.
pub const GRACE: Duration = Duration::from_secs(45);

/// Values of removed connections are kept this long, for `connection restore`.
const KEPT_AFTER_REMOVAL: Duration = Duration::from_secs(30 * 86_400);

/// What the service is asked from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Read the settings again.
    Reload,
    /// End.
    Stop,
}

/// Where a new engine comes from when the settings have changed.
#[async_trait]
pub trait Source: Send + Sync {
    /// The engine that the settings describe now.
    ///
    /// # Errors
    ///
    /// All that is wrong with them, for people.
    async fn engine(&self, running: &Engine) -> Result<Engine, String>;
}

/// The service of one store.
pub struct Service {
    engine: Arc<Engine>,
    source: Box<dyn Source>,
    work: Work,
    notices: Notices,
    reconciling: Reconciling,
    vital: Arc<Vital>,
    board: Arc<Board>,
    listen: Option<Listen>,
    systemd: Systemd,
    clock: Arc<dyn Clock>,
    store_failed: bool,
    counted_at: Option<DateTime<Utc>>,
    head_logged_at: Option<DateTime<Utc>>,
    swept_at: Option<DateTime<Utc>>,
}

impl Service {
    /// The service that works with `engine` until the settings change; `tally` is the engine's
    /// observer.
    pub fn new(engine: Engine, tally: Arc<Tally>, limits: Limits, source: Box<dyn Source>) -> Self {
        let engine = Arc::new(engine);
        let vital: Arc<Vital> = Arc::default();
        let listen = engine.settings.service.listen.clone();
        let board = Board::new(Arc::clone(&vital), tally, &engine);
        Self {
            clock: Arc::clone(&engine.clock),
            notices: Notices::new(&engine),
            reconciling: Reconciling::default(),
            engine,
            source,
            work: Work::new(limits),
            vital,
            board: Arc::new(board),
            listen,
            systemd: Systemd::from_environment(),
            store_failed: false,
            counted_at: None,
            head_logged_at: None,
            swept_at: None,
        }
    }

    /// How it is; it goes on being true while the service runs.
    pub fn vital(&self) -> Arc<Vital> {
        Arc::clone(&self.vital)
    }

    /// Works until it is told to end, or nobody is left who could.
    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>) {
        let mut metronome = Metronome::start()
            .await
            .inspect_err(|error| tracing::error!("the recurring jobs don't start: {error}"))
            .ok();
        self.on(Beat::Advance).await;
        let listener = self
            .listen
            .take()
            .map(|listen| tokio::spawn(listener::serve(listen, Arc::clone(&self.board))));
        self.systemd.ready();
        loop {
            let clock = Arc::clone(&self.clock);
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => self.reload().await,
                    Some(Signal::Stop) | None => break,
                },
                ended = self.work.one_done(&self.engine) => {
                    self.vital.ended(ended);
                    self.work.begin(&self.engine);
                }
                beat = next_beat(metronome.as_mut()) => self.on(beat).await,
                () = clock.sleep(UNBIDDEN) => self.on(Beat::Advance).await,
            }
            self.vital
                .queued(self.work.under_way(), self.work.waiting());
            self.systemd.alive(self.clock.now());
        }
        let clock = Arc::clone(&self.clock);
        self.end().await;
        if let Some(metronome) = metronome {
            tokio::select! {
                () = metronome.stop() => {}
                () = clock.sleep(UNBIDDEN) => {}
            }
        }
        if let Some(listener) = listener {
            listener.abort();
        }
    }

    async fn on(&mut self, beat: Beat) {
        match beat {
            Beat::Advance => {
                self.look().await;
                self.notices.go_on();
                self.sweep_unbidden();
            }
            Beat::Reconcile => self.sweep(),
            Beat::Prune => {
                self.prune().await;
                self.log_head().await;
            }
        }
    }

    /// Begins to compare some connections with Entra.
    fn sweep(&mut self) {
        self.swept_at = Some(self.clock.now());
        let connections = self.vital.connection_count();
        self.reconciling.go_on(&self.engine, connections);
    }

    /// The metronome is not trusted alone for that either.
    fn sweep_unbidden(&mut self) {
        let now = self.clock.now();
        let recent = |at: DateTime<Utc>| at <= now && now < at + SWEEP;
        if !self.swept_at.is_some_and(recent) {
            self.sweep();
        }
    }

    /// Once a day: what is kept elsewhere makes it noticed when history is written anew.
    async fn log_head(&mut self) {
        let now = self.clock.now();
        let today = |at: DateTime<Utc>| at.date_naive() == now.date_naive();
        if self.head_logged_at.is_some_and(today) {
            return;
        }
        match self.engine.store.history_head().await {
            Ok(head) => {
                tracing::info!(%head, "`keywheel history --verify --head` takes this");
                self.head_logged_at = Some(now);
            }
            Err(fault) => tracing::warn!("the head of history can't be read: {fault}"),
        }
    }

    /// Looks for what is due. A store that can't be read is said once, and tried again.
    async fn look(&mut self) {
        let looked = self.work.look(&self.engine).await;
        self.vital.looked(self.clock.now(), looked.is_ok());
        if let Ok(next) = self.engine.store.next_action_at().await {
            self.vital.next_action(next);
        }
        match looked {
            Ok(()) if self.store_failed => {
                tracing::info!("the store can be read again");
                self.store_failed = false;
            }
            Err(fault) if !self.store_failed => {
                tracing::error!("{fault}; nothing is begun until it can be read");
                self.store_failed = true;
            }
            Ok(()) | Err(_) => {}
        }
        self.count().await;
    }

    /// How many connections there are and what comes next, once a minute: a count reads them all.
    async fn count(&mut self) {
        let now = self.clock.now();
        let recent = |at: DateTime<Utc>| at <= now && now < at + Duration::from_secs(60);
        if self.counted_at.is_some_and(recent) && self.vital.connection_count() > 0 {
            return;
        }
        let store = &self.engine.store;
        let (Ok(count), Ok(next)) = (store.count().await, store.next_action_at().await) else {
            return;
        };
        if count == 0 && self.counted_at.is_none() {
            tracing::warn!("{}", NotReady::NoConnections);
        }
        self.counted_at = Some(now);
        self.vital.connections(count);
        self.systemd
            .status(status(count, self.work.under_way(), next));
    }

    async fn prune(&self) {
        let before = self.clock.now() - KEPT_AFTER_REMOVAL;
        match self.engine.store.purge_removed(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "wiped the values of removed connections"),
            Err(fault) => tracing::warn!("values of removed connections were not wiped: {fault}"),
        }
    }

    /// Reads the settings again; the old ones stay where the new are wrong.
    async fn reload(&mut self) {
        self.systemd.reloading();
        match self.source.engine(&self.engine).await {
            Ok(engine) => {
                self.board.settle(Arc::clone(&engine.settings));
                self.engine = Arc::new(engine);
                self.notices.reload(&self.engine);
                tracing::info!("the settings were read again");
                tokio::spawn(name_what_they_lack(Arc::clone(&self.engine)));
            }
            Err(faults) => {
                tracing::error!("the settings are wrong, the old ones stay in force: {faults}");
            }
        }
        self.counted_at = None;
        self.systemd.ready();
    }

    async fn end(mut self) {
        self.systemd.stopping(GRACE);
        self.engine.stopping.begin();
        self.work.wind_down();
        let passes = self.work.under_way();
        tracing::info!(
            passes,
            "ending: what is under way comes to the end of its step"
        );
        let drained = async {
            while self.work.under_way() > 0 {
                self.work.one_done(&self.engine).await;
            }
            self.reconciling.ended().await;
        };
        let clock = Arc::clone(&self.clock);
        tokio::select! {
            () = drained => tracing::info!("ended"),
            () = clock.sleep(GRACE) => {
                self.work.abort();
                tracing::warn!("ended in the middle of a step; the next start takes it up");
            }
        }
    }
}

/// Connections that were fit for the settings before may no longer be: said at once, not when each
/// is due (P7).
async fn name_what_they_lack(engine: Arc<Engine>) {
    let mut after = None;
    loop {
        let Ok(page) = engine.store.journals_after(after.as_ref(), 100).await else {
            return;
        };
        let Some(last) = page.last() else { return };
        for journal in &page {
            if let Err(fault) = engine.terms(journal) {
                tracing::error!("{fault}; nothing is done for it");
            }
        }
        after = Some(last.name().clone());
    }
}

/// The next beat; never, where there is no metronome or it has fallen silent.
async fn next_beat(metronome: Option<&mut Metronome>) -> Beat {
    if let Some(metronome) = metronome
        && let Some(beat) = metronome.beat().await
    {
        return beat;
    }
    std::future::pending().await
}

fn status(count: usize, under_way: usize, next: Option<DateTime<Utc>>) -> String {
    match (count, next) {
        (0, _) => NotReady::NoConnections.to_string(),
        (_, None) => format!("{count} connections; nothing to do by itself"),
        (_, Some(next)) => {
            let next = next.format("%Y-%m-%d %H:%M:%S UTC");
            format!("{count} connections, {under_way} at work; next at {next}")
        }
    }
}
