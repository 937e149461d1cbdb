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

    /// Connections by name, those behind `after`, at most `at_most`, and whether more follow.
    ///
    /// # Errors
    ///
    /// Where the store can't be read.
    pub async fn views(
        &self,
        after: Option<ConnectionName>,
        at_most: usize,
    ) -> Result<(Vec<ConnectionView>, bool), StoreFault> {
        let mut views = Vec::new();
        let mut after = after;
        loop {
            let page = self.store.journals_after(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            for journal in &page {
                if views.len() == at_most {
                    return Ok((views, true));
                }
                after = Some(journal.name().clone());
                // What the settings lack for one hides no other one; `status` says what it is.
                views.extend(self.view(journal, self.clock.now()));
            }
            if is_last {
                return Ok((views, false));
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
