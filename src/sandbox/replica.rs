//! Replication: every write is on the primary at once, and reaches each replica after a lag.
//!
//! For app-only callers Entra promises no session consistency: reads and sign-ins go to replicas
//! that are updated asynchronously, so that two reads in a row may disagree.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// How long a write takes to reach a replica.
#[derive(Debug, Clone, PartialEq)]
pub enum Lag {
    /// It is there at once.
    None,
    /// The same time for every write and every replica.
    Fixed(Duration),
    /// A time for each replica; those beyond the end of the list do not lag.
    Each(Vec<Duration>),
    /// Drawn anew for each write and replica from a log-normal distribution.
    LogNormal {
        /// Half of the writes are faster.
        median: Duration,
        /// One write in twenty is slower.
        p95: Duration,
        /// None is slower.
        longest: Duration,
    },
}

impl Lag {
    /// Moderate and usual: a few seconds, now and then a minute.
    pub const fn realistic() -> Self {
        Self::LogNormal {
            median: Duration::from_secs(3),
            p95: Duration::from_secs(12),
            longest: Duration::from_secs(60),
        }
    }

    fn draw(&self, replica: usize, rng: &mut fastrand::Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(lag) => *lag,
            Self::Each(lags) => lags.get(replica).copied().unwrap_or_default(),
            Self::LogNormal {
                median,
                p95,
                longest,
            } => {
                // The 95th percentile of the standard normal distribution.
                const Z95: f64 = 1.645;
                let median = median.as_secs_f64().max(0.001);
                let sigma = (p95.as_secs_f64() / median).max(1.0).ln() / Z95;
                let lag = median * (sigma * standard_normal(rng)).exp();
                Duration::from_secs_f64(lag.min(longest.as_secs_f64()))
            }
        }
    }
}

/// Box and Muller's method.
fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Which replica answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Any, drawn anew for each request, as Entra does.
    #[default]
    Random,
    /// One after the other, so that a test can say what each request sees.
    RoundRobin,
}

/// The replicas of the directory.
///
/// Graph and the token endpoint have replicas of their own, so that a secret may be listed and not
/// yet usable, or usable and not yet listed.
#[derive(Debug, Clone)]
pub struct Replication {
    /// Replicas of each of the two services, at least 1.
    pub count: usize,
    /// The lag of Graph's reads.
    pub reads: Lag,
    /// The lag of the token endpoint.
    pub tokens: Lag,
    /// Which replica answers.
    pub routing: Routing,
}

impl Default for Replication {
    /// One replica of each, without lag.
    fn default() -> Self {
        Self {
            count: 1,
            reads: Lag::None,
            tokens: Lag::None,
            routing: Routing::Random,
        }
    }
}

/// The copy of the directory that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Primary,
    Read(usize),
    Token(usize),
}

/// When one write reaches each copy.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    written: DateTime<Utc>,
    reads: Box<[DateTime<Utc>]>,
    tokens: Box<[DateTime<Utc>]>,
}

impl Arrival {
    /// A write that every replica has had for long.
    pub(super) fn everywhere(written: DateTime<Utc>) -> Self {
        Self {
            written,
            reads: Box::default(),
            tokens: Box::default(),
        }
    }

    pub(super) fn written(&self) -> DateTime<Utc> {
        self.written
    }

    pub(super) fn reached(&self, view: View, now: DateTime<Utc>) -> bool {
        let at = match view {
            View::Primary => return true,
            View::Read(replica) => self.reads.get(replica),
            View::Token(replica) => self.tokens.get(replica),
        };
        at.is_none_or(|at| *at <= now)
    }

    pub(super) fn reached_all(&self, now: DateTime<Utc>) -> bool {
        self.reads.iter().chain(&self.tokens).all(|at| *at <= now)
    }
}

/// The replicas at work: draws lags, and picks who answers.
#[derive(Debug)]
pub(super) struct Replicas {
    pub(super) plan: Replication,
    rng: fastrand::Rng,
    turn: usize,
}

impl Replicas {
    pub(super) fn new(plan: Replication, rng: fastrand::Rng) -> Self {
        Self { plan, rng, turn: 0 }
    }

    /// A write made now.
    pub(super) fn write(&mut self, now: DateTime<Utc>) -> Arrival {
        let Self { plan, rng, .. } = self;
        let mut arrivals = |lag: &Lag| {
            (0..plan.count)
                .map(|replica| {
                    let lag = TimeDelta::from_std(lag.draw(replica, rng)).unwrap_or_default();
                    now + lag
                })
                .collect()
        };
        Arrival {
            written: now,
            reads: arrivals(&plan.reads),
            tokens: arrivals(&plan.tokens),
        }
    }

    pub(super) fn for_read(&mut self) -> View {
        View::Read(self.pick())
    }

    pub(super) fn for_token(&mut self) -> View {
        View::Token(self.pick())
    }

    /// Every copy that a sign-in may be answered from.
    pub(super) fn token_views(&self) -> impl Iterator<Item = View> + use<> {
        (0..self.plan.count.max(1)).map(View::Token)
    }

    fn pick(&mut self) -> usize {
        let count = self.plan.count.max(1);
        match self.plan.routing {
            Routing::Random => self.rng.usize(..count),
            Routing::RoundRobin => {
                self.turn = (self.turn + 1) % count;
                self.turn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_normal_lag_has_the_median_and_the_tail_it_was_given() {
        let lag = Lag::LogNormal {
            median: Duration::from_secs(8),
            p95: Duration::from_secs(60),
            longest: Duration::from_secs(600),
        };
        let mut rng = fastrand::Rng::with_seed(7);
        let mut drawn: Vec<_> = (0..2_000).map(|_| lag.draw(0, &mut rng)).collect();
        drawn.sort();
        assert!((6.0..10.0).contains(&drawn[1_000].as_secs_f64()));
        assert!((45.0..80.0).contains(&drawn[1_900].as_secs_f64()));
        assert!(drawn[1_999] <= Duration::from_secs(600));
    }

    #[test]
    fn a_write_is_on_the_primary_at_once_and_on_a_replica_after_its_lag() {
        let plan = Replication {
            count: 2,
            tokens: Lag::Each(vec![Duration::from_secs(5), Duration::from_secs(9)]),
            ..Replication::default()
        };
        let mut replicas = Replicas::new(plan, fastrand::Rng::with_seed(1));
        let now = DateTime::UNIX_EPOCH;
        let arrival = replicas.write(now);
        assert!(arrival.reached(View::Primary, now));
        assert!(arrival.reached(View::Read(1), now));
        assert!(!arrival.reached(View::Token(0), now));
        let later = now + TimeDelta::seconds(5);
        assert!(arrival.reached(View::Token(0), later));
        assert!(!arrival.reached(View::Token(1), later));
        assert!(!arrival.reached_all(later));
        assert!(arrival.reached_all(now + TimeDelta::seconds(9)));
    }
}
