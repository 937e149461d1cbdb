//! An Entra tenant that runs in the process, for trying, testing and rehearsing.
//!
//! It speaks the token endpoint's and Microsoft Graph's protocol over HTTP or TLS, as far as
//! applications and their secrets go, with what makes that hard in the field: replicas that lag,
//! throttling, policies, and faults at exactly the wrong moment.
//!
//! | file | what it holds |
//! |---|---|
//! | `tenant`, `rules` | the directory, a model in memory; what it allows |
//! | `replica` | when a write is seen where |
//! | `operation`, `body`, `odata` | what a request asks for |
//! | `token`, `graph` | the two services |
//! | `shape`, `graph_error`, `sign_in_error`, `wire` | objects and errors as they are on the line |
//! | `fault`, `flow` | what goes wrong, and bodies that do |
//! | `front`, `call` | the way of a request through all of these, and what is noted of it |
//! | `serve` | the listener |
//! | `stock`, `handle` | what a test sets up and asks |
//! | `offer` | a sandbox to adopt applications from: `keywheel sandbox` |

mod body;
mod call;
mod fault;
mod flow;
mod front;
mod graph;
mod graph_error;
mod handle;
mod odata;
mod offer;
mod operation;
mod quota;
mod replica;
mod rules;
mod serve;
mod shape;
mod sign_in_error;
mod stock;
mod tenant;
mod token;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use call::{Call, Kind};
pub use fault::{Action, Fault, RetryAfter, When};
pub use front::{Hook, Stage};
pub use graph_error::GraphError;
pub use handle::SignIn;
pub use offer::{Offer, Offered, Opening, open};
pub use replica::{Lag, Replication, Routing};
pub use rules::{Audience, ManagementPolicy, Permission, Rules};
pub use serve::{StartError, Tls};
pub use sign_in_error::SignInError;
pub use stock::{Key, NewApplication, NewPassword, Registered};
pub use tenant::Owner;
pub use token::NoRandomness;
pub use wire::{Answer, Payload};

use crate::clock::{Clock, SystemClock};
use fault::Faults;
use front::{CallLog, State};
use replica::Replicas;
use tenant::Directory;
use token::Tokens;

/// How a sandbox starts. The default: plain HTTP on a free loopback port, the host's clock, and a
/// directory without lag.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS; without it only loopback addresses are served.
    pub tls: Option<Tls>,
    /// What time it is: lags, expiry, token lifetimes and dates follow it.
    pub clock: Arc<dyn Clock>,
    /// Everything drawn at random repeats with the same seed: IDs, secrets, lags, replicas.
    pub seed: u64,
    /// The replicas and their lags.
    pub replication: Replication,
    /// Limits and quirks.
    pub rules: Rules,
    /// How far the sandbox's dates are ahead of its clock.
    pub date_offset: TimeDelta,
    /// Real time that each request takes longer.
    pub latency: Duration,
    /// How many calls the log keeps.
    pub call_log: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            clock: Arc::new(SystemClock),
            seed: 0,
            replication: Replication::default(),
            rules: Rules::default(),
            date_offset: TimeDelta::zero(),
            latency: Duration::ZERO,
            call_log: 100_000,
        }
    }
}

/// A running sandbox; it stops when it is dropped.
pub struct Sandbox {
    state: Arc<State>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Listens, and serves on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Where the address can't be listened on, is not loopback without TLS, or the certificate is
    /// not usable.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { listen, tls, .. } = &options;
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(StartError::PlainHttpOffLoopback(*listen));
        }
        let acceptor = tls.as_ref().map(Tls::acceptor).transpose()?;
        let failed = |source| StartError::Listen {
            address: *listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(state(options)?);
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve::serve(
            listener,
            acceptor,
            Arc::clone(&state),
            stopped,
        ));
        Ok(Self {
            state,
            address,
            stop,
            server: Some(server),
        })
    }

    /// Accepts no more, lets calls under way finish, and ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
    }

    /// Where the sandbox listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of both the sign-in service and Graph, without a slash at its end.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{}://{address}", self.state.scheme)
    }
}

fn state(options: Options) -> Result<State, NoRandomness> {
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let replicas = Replicas::new(options.replication, rng.fork());
    let latency = u64::try_from(options.latency.as_micros()).unwrap_or(u64::MAX);
    Ok(State {
        clock: options.clock,
        scheme: if options.tls.is_some() {
            "https"
        } else {
            "http"
        },
        tokens: Tokens::new()?,
        request_ids: Mutex::new(rng.fork()),
        directory: Mutex::new(Directory::new(options.rules, replicas, rng)),
        faults: Mutex::new(Faults::default()),
        calls: Mutex::new(CallLog::new(options.call_log)),
        hook: Mutex::new(None),
        latency: AtomicU64::new(latency),
        date_offset: AtomicI64::new(options.date_offset.num_milliseconds()),
    })
}
