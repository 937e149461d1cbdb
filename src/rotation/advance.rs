//! The only one who acts: does what [`plan`](super::plan) says, writes the journal, asks again.
//!
//! A rotation goes through `mint` (and `keep`), `prove`, `promote`, `deliver`, `revoke` and
//! `remove`, or ends in `abandon`. Beside it are `look` for names of unknown outcome, `adoption`,
//! `orphans`, `manage` and `by_hand` for commands, with what an `order` prepares. All of them read
//! and write through `write`, sign in through `sign_in` (which notes `drift`), and end in `fail` where
//! they fail.

mod abandon;
mod adoption;
mod by_hand;
mod deliver;
mod drift;
mod fail;
mod foreign;
mod keep;
mod look;
mod manage;
mod mint;
mod order;
mod orphans;
mod plausible;
mod promote;
mod prove;
mod reconcile;
mod remove;
mod revoke;
mod sign_in;
mod write;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tracing::Instrument;

use super::observe::{Moment, Observer};
use super::plan::{Ask, Next, Step, Terms, WaitFor, plan};
use super::stopping::Stopping;
use super::trouble::{AdvanceFault, Halt};
use crate::clock::Clock;
use crate::connection::{ConnectionName, Overlap};
use crate::entra::{Entra, KeyId};
use crate::journal::{Actor, InstanceId, Journal, Rotation};
use crate::settings::Settings;
use crate::store::{Keys, Lease, Store};

pub use by_hand::Which;
pub use manage::{Edited, Removed};
pub use order::forecast_order;
pub use orphans::{Orphan, OrphansFault};
pub use reconcile::Reconciled;
pub use sign_in::Tokens;
pub use write::next_action_at;

/// Everything that a rotation needs, and no state of its own but cached tokens.
#[derive(Debug)]
pub struct Engine {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Opens and seals secret values.
    pub keys: Arc<Keys>,
    /// Entra and Graph.
    pub entra: Entra,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// This store's ID, and former ones whose keys are ours.
    pub instances: Vec<InstanceId>,
    /// Who asked, for `history`.
    pub actor: Actor,
    /// Who is told as it happens.
    pub observer: Arc<dyn Observer>,
    /// Access tokens for Graph, never for a proof.
    pub tokens: Tokens,
    /// Whether the process is about to end.
    pub stopping: Stopping,
}

/// What is asked of [`Engine::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What to do beside what is due.
    pub ask: Ask,
    /// Starts the retry ladder anew, but for what a server dictated.
    pub clear_backoff: bool,
    /// Ends open overlaps now, and makes the one of this rotation none.
    pub revoke_now: bool,
    /// For how long, from its beginning on, it sits through waits that it expects to end well.
    pub patience: Duration,
}

impl Order {
    /// What is due, without waiting for anything.
    pub const DUE: Self = Self {
        ask: Ask::Due,
        clear_backoff: false,
        revoke_now: false,
        patience: Duration::ZERO,
    };

    /// A rotation by hand.
    pub fn rotate(overlap: Option<Overlap>, revoke_now: bool, patience: Duration) -> Self {
        let overlap = if revoke_now {
            Some(Overlap::For(crate::clock::Span::default()))
        } else {
            overlap
        };
        Self {
            ask: Ask::Rotate(overlap),
            clear_backoff: true,
            revoke_now,
            patience,
        }
    }

    /// What is under way is carried on.
    pub fn resume(patience: Duration) -> Self {
        Self {
            ask: Ask::Resume,
            patience,
            ..Self::DUE
        }
    }
}

/// Why a pass ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// Another process or task is rotating the application.
    Busy,
    /// Nothing can be done until something else happens.
    At(Next),
    /// The same, and the rotation that was asked for has not begun.
    NotBegun(Next),
}

impl Engine {
    /// Does what is to be done for one connection until it must wait for longer than `order`
    /// has patience.
    ///
    /// What fails is journalled and shows in the journal; an error is returned only where the
    /// journal itself, or the master key, is the trouble.
    pub async fn advance(&self, name: &ConnectionName, order: Order) -> Result<Stop, AdvanceFault> {
        let pass = async {
            let Some(pass) = self.begin_pass(name).await? else {
                return Ok(Stop::Busy);
            };
            pass.prepare(order).await?;
            pass.run(order).await
        };
        pass.instrument(span(name)).await
    }

    /// Takes the lock; `None`: another holds it.
    async fn begin_pass(&self, name: &ConnectionName) -> Result<Option<Pass<'_>>, AdvanceFault> {
        let journal = self.journal(name).await?;
        let application = (journal.declared.tenant_id, journal.declared.client_id);
        let lease = self.store.try_lock(journal.id, application).await?;
        Ok(lease.map(|lease| Pass {
            engine: self,
            name: name.clone(),
            lease,
            begun: AtomicBool::new(false),
            named: AtomicBool::new(false),
            proved: Mutex::new(None),
            told: Mutex::new(None),
        }))
    }

    /// One connection's journal.
    pub async fn journal(&self, name: &ConnectionName) -> Result<Journal, AdvanceFault> {
        match self.store.journal(name).await? {
            Some(journal) => Ok(journal),
            None => Err(self.unknown(name).await?),
        }
    }

    /// The value of a stored secret; `None`: nobody holds it.
    pub async fn value(
        &self,
        journal: &Journal,
        key_id: KeyId,
    ) -> Result<Option<SecretString>, AdvanceFault> {
        Ok(self.keys.value(&*self.store, journal.id, key_id).await?)
    }

    async fn unknown(&self, name: &ConnectionName) -> Result<AdvanceFault, AdvanceFault> {
        let journals = self.store.journals().await?;
        let similar = journals
            .iter()
            .map(Journal::name)
            .map(|other| (strsim::jaro_winkler(name.as_str(), other.as_str()), other))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, other)| other.clone());
        Ok(AdvanceFault::Unknown {
            name: name.clone(),
            similar,
        })
    }

    /// What a connection is planned by.
    pub fn terms(&self, journal: &Journal) -> Result<Terms, AdvanceFault> {
        let policy =
            self.settings
                .policy(&journal.declared)
                .map_err(|fault| AdvanceFault::Settings {
                    connection: journal.name().clone(),
                    message: fault.to_string(),
                })?;
        Ok(Terms {
            policy,
            verification: self.settings.verification,
            graph: self.settings.graph,
        })
    }
}

/// What every line that is logged in a pass carries. At the highest level, so that no filter
/// takes it from a line that it lets through.
pub(super) fn span(name: &ConnectionName) -> tracing::Span {
    tracing::error_span!("pass", connection = %name, rotation_id = tracing::field::Empty)
}

/// One holder of one application's lock, at work.
struct Pass<'a> {
    engine: &'a Engine,
    name: ConnectionName,
    lease: Lease,
    /// Whether this pass has written anything yet.
    begun: AtomicBool,
    /// Whether the lines that are logged say which rotation it is.
    named: AtomicBool,
    /// The secret that it has proved last.
    proved: Mutex<Option<KeyId>>,
    /// What a server has said of the time last.
    told: Mutex<Option<plausible::Told>>,
}

impl Pass<'_> {
    async fn run(&self, order: Order) -> Result<Stop, AdvanceFault> {
        let mut ask = order.ask;
        let deadline = self.now() + order.patience;
        loop {
            if self.engine.stopping.has_begun() {
                return Err(AdvanceFault::Interrupted);
            }
            // Read inside the lock, and anew after each step: the need may be gone (P5).
            let journal = self.journal().await?;
            if matches!(ask, Ask::Rotate(_)) && journal.unpromoted().is_some_and(may_go_on) {
                ask = Ask::Resume;
            }
            if let Some(rotation) = journal.unpromoted().or(journal.rotations.last()) {
                self.name_rotation(rotation.id);
            }
            let terms = self.engine.terms(&journal)?;
            match plan(&journal, &terms, self.now(), ask) {
                Next::Do(step) => {
                    if matches!((&step, ask), (Step::Begin { .. }, Ask::Rotate(_))) {
                        ask = Ask::Resume;
                    }
                    self.perform(&journal, &terms, step).await?;
                }
                Next::Wait { until, what }
                    if until <= deadline && self.is_worth_it(until, what, order.patience) =>
                {
                    self.tell(&Moment::Waiting { until, what });
                    let wait = (until - self.now()).to_std().unwrap_or_default();
                    self.pause(wait).await?;
                }
                next => {
                    self.write_next_action(&journal, &terms).await?;
                    return Ok(match ask {
                        Ask::Rotate(_) => Stop::NotBegun(next),
                        _ => Stop::At(next),
                    });
                }
            }
        }
    }

    /// A one-shot sits through what it expects to be over soon: never through an overlap, and
    /// through the first rungs of the retry ladder alone.
    fn is_worth_it(&self, until: DateTime<Utc>, what: WaitFor, patience: Duration) -> bool {
        match what {
            WaitFor::Absence | WaitFor::Spacing => true,
            WaitFor::Retry => until <= self.now() + patience / 10,
            WaitFor::Overlap | WaitFor::Due | WaitFor::Watch => false,
        }
    }

    async fn perform(
        &self,
        journal: &Journal,
        terms: &Terms,
        step: Step,
    ) -> Result<(), AdvanceFault> {
        tracing::debug!(connection = %self.name, ?step, "step");
        let subject = fail::Subject::of(&step);
        match self.act(journal, terms, step).await {
            Ok(()) => Ok(()),
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) => self.journal_trouble(journal, subject, &trouble).await,
        }
    }

    /// Waits within a step, unless the process is about to end. Nothing that must be undone may be
    /// pending: the step is taken anew by the next start.
    async fn pause(&self, duration: Duration) -> Result<(), AdvanceFault> {
        let engine = self.engine;
        tokio::select! {
            () = engine.stopping.begun() => Err(AdvanceFault::Interrupted),
            () = engine.clock.sleep(duration) => Ok(()),
        }
    }

    async fn act(&self, journal: &Journal, terms: &Terms, step: Step) -> Result<(), Halt> {
        let open = |id| write::rotation(journal, id).cloned();
        match step {
            Step::Begin { trigger, overlap } => self.begin(journal, terms, trigger, overlap).await,
            Step::Attempt(id) => self.attempt(journal, terms, open(id)?).await,
            Step::Look(id) => self.look(journal, terms, open(id)?).await,
            Step::Prove(id) => self.prove(journal, terms, open(id)?).await,
            Step::Promote(id) => self.promote(journal, terms, open(id)?).await,
            Step::Abandon(id) => self.abandon(journal, open(id)?).await,
            Step::Deliver(destination) => self.deliver(journal, terms, &destination).await,
            Step::Enter(id, state) => self.enter(journal, terms, open(id)?, state).await,
            Step::Revoke(id) => self.revoke(journal, terms, open(id)?).await,
            Step::Remove(key_id) => self.remove(journal, terms, key_id).await,
            Step::Confirm(key_id) => self.confirm(journal, terms, key_id).await,
            Step::Watch(attempt) => self.watch(journal, terms, attempt).await,
        }
    }
}

/// One that is being abandoned can't be resumed: another one follows it.
fn may_go_on(rotation: &Rotation) -> bool {
    rotation.state.effective().may_be_promoted()
}
