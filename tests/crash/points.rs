//! Counting through the points at which a process may be ended.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::task::JoinSet;

/// So many worlds at once: most of the time of each is waiting.
const AT_ONCE: usize = 12;

/// How a process ended that was to be killed at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// At the point.
    Killed,
    /// It never came to that point.
    ByItself,
}

/// Tries point 1, 2, 3, … until a process comes to its own end, and says how many were killed.
pub async fn at_every_point<F, Fut>(killed_at: F) -> u64
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Ended> + Send + 'static,
{
    let (mut point, mut kills, mut over) = (0, 0, false);
    let mut running = JoinSet::new();
    loop {
        while !over && running.len() < AT_ONCE {
            point += 1;
            running.spawn(killed_at(point));
        }
        match running.join_next().await {
            None => return kills,
            Some(Ok(Ended::Killed)) => kills += 1,
            Some(Ok(Ended::ByItself)) => over = true,
            Some(Err(error)) => resume_unwind(error.into_panic()),
        }
    }
}
