//! `[service]`: how `keywheel run` works.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::reader::{Table, number, text};
use super::source;
use crate::clock::Span;
use crate::connection::field;

/// `[service]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Where metrics, health and the page are served; `None`: nowhere.
    pub listen: Option<Listen>,
    /// How many connections are worked on at once. A pass is mostly waiting for answers.
    pub concurrency: usize,
    /// How often each connection is compared with Entra.
    pub reconcile_every: Span,
}

/// An address that the service listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket, which only the service's user and group can open.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            listen: Some(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 9847)))),
            // At five proofs three seconds apart a pass takes 15 s; a tenant takes 60 changes a
            // second, so that a thousand keep it busy.
            concurrency: 1000,
            reconcile_every: Span::hours(6),
        }
    }
}

/// Reads the table.
pub(super) fn read(mut table: Table<'_>, folder: &Path) -> ServiceSettings {
    let standard = ServiceSettings::default();
    let read = ServiceSettings {
        listen: table
            .value("listen", text(|listen| parse(folder, listen)))
            .unwrap_or(standard.listen),
        concurrency: table
            .value("concurrency", number(1..=10_000))
            .map_or(standard.concurrency, |count: u32| count as usize),
        reconcile_every: table
            .value("reconcile_every", text(field::some_time))
            .unwrap_or(standard.reconcile_every),
    };
    table.end();
    read
}

fn parse(folder: &Path, text: &str) -> Result<Option<Listen>, String> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Some(Listen::Unix(source::path(folder, path)?)));
    }
    let address = text.parse().map_err(|_| {
        format!(
            "{} is no address: write it as 127.0.0.1:9847, [::1]:9847, unix:/run/keywheel/http or \
             off",
            crate::wording::quoted(text)
        )
    })?;
    Ok(Some(Listen::Tcp(address)))
}
