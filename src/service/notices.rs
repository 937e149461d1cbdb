//! Telling people: beside the passes, never before them. One task looks for what is to be told, and
//! one for each channel sends; none of them is waited for.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::journal::{Failure, Journal, State};
use crate::notify::{Judge, Notifier, Situation};
use crate::rotation::advance::Engine;
use crate::rotation::standing::{no_destination, open_retries, standing};
use crate::store::StoreFault;

/// What is told, by the settings of one engine.
pub struct Notices {
    notifier: Arc<Notifier>,
    engine: Arc<Engine>,
    begun: bool,
    looking: Place,
    sending: Vec<Place>,
    failed: bool,
}

/// Room for one task, which ends with it: what it was at stands in the store.
type Place = JoinSet<Result<(), StoreFault>>;

impl Notices {
    /// By the channels of the engine's settings.
    pub fn new(engine: &Arc<Engine>) -> Self {
        let (store, clock) = (Arc::clone(&engine.store), Arc::clone(&engine.clock));
        let notifier = Notifier::open(store, clock, &engine.settings.channels);
        Self {
            sending: notifier.channels().map(|_| Place::new()).collect(),
            notifier: Arc::new(notifier),
            engine: Arc::clone(engine),
            begun: false,
            looking: Place::new(),
            failed: false,
        }
    }

    /// The settings were read again. Where the channels are the same, nothing is broken off.
    pub fn reload(&mut self, engine: &Arc<Engine>) {
        if self.engine.settings.channels == engine.settings.channels {
            self.engine = Arc::clone(engine);
        } else {
            *self = Self::new(engine);
        }
    }

    /// Begins what is not under way: at each beat. It returns at once.
    pub fn go_on(&mut self) {
        let mut ended = vec![self.looking.try_join_next()];
        ended.extend(self.sending.iter_mut().map(JoinSet::try_join_next));
        for outcome in ended.into_iter().flatten() {
            self.note(outcome);
        }
        if self.looking.is_empty() {
            let (notifier, engine) = (Arc::clone(&self.notifier), Arc::clone(&self.engine));
            let begun = std::mem::replace(&mut self.begun, true);
            self.looking.spawn(async move {
                if !begun {
                    notifier.begin().await?;
                }
                let judge = ByTheRules(engine);
                while notifier.look(&judge).await? {}
                Ok(())
            });
        }
        for (line, place) in self.sending.iter_mut().enumerate() {
            if place.is_empty() {
                let notifier = Arc::clone(&self.notifier);
                place.spawn(async move { notifier.send_to(line).await });
            }
        }
    }

    /// A store that can't be written is said once; what was to be told is found again in it.
    fn note(&mut self, outcome: Result<Result<(), StoreFault>, JoinError>) {
        let fault = match outcome {
            Ok(Ok(())) => {
                self.failed = false;
                return;
            }
            Ok(Err(fault)) => fault.to_string(),
            // A fault of Keywheel's own stops nothing else (G8).
            Err(error) => error.to_string(),
        };
        self.begun = false;
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!("notifications wait; nothing is lost: {fault}");
        }
    }
}

/// How a connection stands by the rules of rotating.
#[derive(Debug)]
pub struct ByTheRules(pub Arc<Engine>);

impl Judge for ByTheRules {
    fn situation(&self, journal: &Journal) -> Situation {
        let now = self.0.clock.now();
        let mut situation = Situation::default();
        match self.0.terms(journal) {
            Ok(terms) => situation.safe_until = standing(journal, &terms, now).safe_until,
            Err(fault) => situation.failures.push(Failure {
                at: now,
                code: "settings".into(),
                message: fault.to_string(),
                remedy: None,
                permanent: true,
            }),
        }
        let blocked = journal.rotations.iter().filter_map(|rotation| {
            let blocked = matches!(rotation.state, State::Blocked { .. });
            let failure = rotation.retry.last.clone().filter(|_| blocked)?;
            Some(Failure {
                permanent: true,
                ..failure
            })
        });
        situation.failures.extend(blocked);
        let open = open_retries(journal).filter_map(|retry| retry.last.clone());
        situation.failures.extend(open);
        let declared = &journal.declared;
        if declared.destinations.is_empty() && !declared.pull {
            if journal.due_at <= now {
                situation.failures.push(no_destination(journal.due_at));
            }
            situation.look_at = Some(journal.due_at);
        }
        situation
    }
}
