//! What the listener shows: read from the store and from the service's own numbers, never the
//! value of a secret.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use super::tally::Tally;
use super::vital::Vital;
use crate::clock::Clock;
use crate::connection::ConnectionName;
use crate::entra::Calls;
use crate::journal::Journal;
use crate::rotation::advance::Engine;
use crate::settings::Settings;
use crate::store::{Store, StoreFault};
use crate::view::{ConnectionView, view};

/// So many journals are read at once, so that those who work are not kept waiting.
const PAGE: usize = 100;

/// A page of connections.
#[derive(Debug, Default)]
pub struct Shown {
    /// How each is.
    pub views: Vec<ConnectionView>,
    /// For which the settings lack something: they are not worked on (P7).
    pub lacking: Vec<ConnectionName>,
    /// Whether more follow.
    pub more: bool,
}

/// Everything that may be shown.
#[derive(Debug)]
pub struct Board {
    /// The journals.
    pub store: Arc<dyn Store>,
    /// How the service is.
    pub vital: Arc<Vital>,
    /// What has happened.
    pub tally: Arc<Tally>,
    /// How many calls were made.
    pub calls: Arc<Calls>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    settings: RwLock<Arc<Settings>>,
}

impl Board {
    /// Of what works with `engine`.
    pub fn new(vital: Arc<Vital>, tally: Arc<Tally>, engine: &Engine) -> Self {
        Self {
            store: Arc::clone(&engine.store),
            vital,
            tally,
            calls: engine.entra.calls(),
            clock: Arc::clone(&engine.clock),
            settings: RwLock::new(Arc::clone(&engine.settings)),
        }
    }

    /// The settings were read again.
    pub fn settle(&self, settings: Arc<Settings>) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Connections by name, those behind `after`, at most `at_most`.
    ///
    /// # Errors
    ///
    /// Where the store can't be read.
    pub async fn views(
        &self,
        after: Option<ConnectionName>,
        at_most: usize,
    ) -> Result<Shown, StoreFault> {
        let mut shown = Shown::default();
        let mut after = after;
        loop {
            let page = self.store.journals_after(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            for journal in &page {
                if shown.views.len() == at_most {
                    shown.more = true;
                    return Ok(shown);
                }
                after = Some(journal.name().clone());
                match self.view(journal, self.clock.now()) {
                    Some(view) => shown.views.push(view),
                    None => shown.lacking.push(journal.name().clone()),
                }
            }
            if is_last {
                return Ok(shown);
            }
        }
    }

    /// The settings that hold now.
    pub fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&settings)
    }

    fn view(&self, journal: &Journal, now: DateTime<Utc>) -> Option<ConnectionView> {
        view(&self.settings(), journal, now)
            .inspect_err(|faults| tracing::warn!(connection = %journal.name(), "{faults}"))
            .ok()
    }
}
