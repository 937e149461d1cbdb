//! How passes learn that the process is about to end.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells every pass to end once the step that it is in has come to its end. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Stopping(Arc<watch::Sender<bool>>);

impl Default for Stopping {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stopping {
    /// From now on.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has begun.
    pub async fn begun(&self) {
        // The sender is held here, so it is never found gone.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}
