//! The connections to a cloud, and what is trusted on them.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Client;

use super::cloud::{Cloud, certificates};

/// Enough for three lost SYNs; a host that takes longer is as good as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter than any server keeps a connection, so that a change is not sent on a dying one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A cloud, and the connections to it: each made when it is first needed.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) cloud: Cloud,
    pooled: OnceLock<Client>,
    unpooled: OnceLock<Client>,
}

/// Whether a call may use a connection that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// It may.
    Pooled,
    /// It makes its own, and closes it.
    New,
}

impl Endpoint {
    pub(super) fn new(cloud: Cloud) -> Self {
        Self {
            cloud,
            pooled: OnceLock::new(),
            unpooled: OnceLock::new(),
        }
    }

    /// The client that makes such connections. `timeout` is for one request.
    pub(super) fn client(
        &self,
        connection: Connection,
        timeout: Duration,
    ) -> reqwest::Result<&Client> {
        let cell = match connection {
            Connection::Pooled => &self.pooled,
            Connection::New => &self.unpooled,
        };
        match cell.get() {
            Some(client) => Ok(client),
            None => {
                let client = build(&self.cloud, connection, timeout)?;
                Ok(cell.get_or_init(|| client))
            }
        }
    }
}

fn build(cloud: &Cloud, connection: Connection, timeout: Duration) -> reqwest::Result<Client> {
    let idle = match connection {
        Connection::Pooled => usize::MAX,
        Connection::New => 0,
    };
    let builder = Client::builder()
        .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(timeout)
        // Less than the whole: who could not connect in time must be known to have sent nothing.
        .connect_timeout((timeout / 2).min(CONNECT_TIMEOUT))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle);
    let builder = match &cloud.ca_pem {
        Some(pem) => builder.tls_certs_only(certificates(pem).unwrap_or_default()),
        // Reading the host's certificates takes longer than a whole rotation in a sandbox.
        None if cloud.is_plain() => builder.tls_certs_only([]),
        None => builder,
    };
    // A plain address is on loopback: no proxy may see it.
    let builder = match cloud.is_encrypted() {
        true => builder.https_only(true),
        false => builder.no_proxy(),
    };
    builder.build()
}
