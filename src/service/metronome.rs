//! What beats: a handful of recurring jobs in UTC. tokio-cron-scheduler drives them and does
//! nothing else: it keeps no due time, runs no work, and may lose a beat without harm, as each
//! beat only says "look again".

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// What a beat is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beat {
    /// Look for what is due.
    Advance,
    /// Compare some connections with Entra.
    Reconcile,
    /// Wipe what has been kept for long enough.
    Prune,
}

/// Each job with its cron expression, seconds first, in UTC.
const JOBS: [(Beat, &str); 3] = [
    (Beat::Advance, "* * * * * *"),
    (Beat::Reconcile, "15 * * * * *"),
    (Beat::Prune, "45 7 * * * *"),
];

/// Beats that nobody has taken yet; more of them would say nothing new.
const UNTAKEN: usize = 8;

/// The scheduler, for as long as it is to beat.
pub struct Metronome {
    scheduler: JobScheduler,
    beats: mpsc::Receiver<Beat>,
}

impl Metronome {
    /// Begins to beat.
    ///
    /// # Errors
    ///
    /// Where the scheduler does not start.
    pub async fn start() -> Result<Self, JobSchedulerError> {
        let (sender, beats) = mpsc::channel(UNTAKEN);
        let scheduler = JobScheduler::new().await?;
        for (beat, cron) in JOBS {
            let sender = sender.clone();
            let job = Job::new(cron, move |_, _| {
                // A full channel means that a beat like it waits already.
                let _ = sender.try_send(beat);
            })?;
            scheduler.add(job).await?;
        }
        scheduler.start().await?;
        Ok(Self { scheduler, beats })
    }

    /// The next beat; `None`: the scheduler is gone.
    pub async fn beat(&mut self) -> Option<Beat> {
        self.beats.recv().await
    }

    /// Ends it.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the scheduler did not end as it should");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_a_valid_expression() {
        for (_, cron) in JOBS {
            assert!(Job::new(cron, |_, _| {}).is_ok(), "{cron}");
        }
    }
}
