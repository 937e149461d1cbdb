//! What most commands start with: the settings, the store, and the engine on top of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Complaint;
use super::output::Output;
use super::owner::refuse_root;
use crate::clock::{Clock, SystemClock};
use crate::connection::ConnectionName;
use crate::entra::{Cloud, Entra};
use crate::journal::{Actor, Journal};
use crate::rotation::advance::{Engine, Tokens};
use crate::rotation::observe::Observer;
use crate::rotation::stopping::Stopping;
use crate::settings::{CloudSpec, Settings};
use crate::store::{Keys, SqliteStore, Store, StoreFault};
use crate::wording::did_you_mean;

/// Where the settings are when nobody says.
pub const DEFAULT_CONFIG: &str = "/etc/keywheel/keywheel.toml";

/// The settings and the store, open.
#[derive(Debug, Clone)]
pub struct Context {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where words go.
    pub output: Output,
}

impl Context {
    /// Reads the settings and opens the store; needs no master key.
    pub fn open(config: &Path, output: Output) -> Result<Self, Complaint> {
        let settings = load_settings(config)?;
        let store = SqliteStore::open(&settings.store_path)?;
        Ok(Self {
            settings: Arc::new(settings),
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            output,
        })
    }

    /// The same for a command that only looks: it answers from a store that can't be written, too.
    pub fn open_to_look(config: &Path, output: Output) -> Result<Self, Complaint> {
        let settings = load_settings(config)?;
        let store = match SqliteStore::open(&settings.store_path) {
            Err(fault @ StoreFault::Io { .. }) => {
                let Ok(store) = SqliteStore::open_to_look(&settings.store_path) else {
                    return Err(fault.into());
                };
                output.warn(&fault.into());
                store
            }
            opened => opened?,
        };
        Ok(Self {
            settings: Arc::new(settings),
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            output,
        })
    }

    /// The engine: the master key is loaded, and is the store's.
    pub async fn engine(&self, observer: Arc<dyn Observer>) -> Result<Engine, Complaint> {
        let keys = Keys::open(self.settings.master_key.clone(), &*self.store).await?;
        Ok(Engine {
            store: self.store.clone(),
            keys: Arc::new(keys),
            entra: self.entra()?,
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            instances: self.store.instances().await?,
            actor: actor(),
            observer,
            tokens: Tokens::default(),
            stopping: Stopping::default(),
        })
    }

    /// One connection that there is, or the nearest name.
    pub async fn connection(&self, name: &ConnectionName) -> Result<Journal, Complaint> {
        match self.store.journal(name).await? {
            Some(journal) if journal.removed_at.is_none() => Ok(journal),
            Some(_) => Err(Complaint::usage(
                "no-such-connection",
                format!("connection {name} was removed"),
            )
            .remedy(format!(
                "`keywheel connection restore {name}` brings it back"
            ))),
            None => Err(self.unknown(name, |removed| !removed).await?),
        }
    }

    /// One connection that was removed, or the nearest name.
    pub async fn removed(&self, name: &ConnectionName) -> Result<Journal, Complaint> {
        match self.store.journal(name).await? {
            Some(journal) if journal.removed_at.is_some() => Ok(journal),
            Some(_) => Err(Complaint::usage(
                "not-removed",
                format!("connection {name} is not removed, so there is nothing to restore"),
            )
            .remedy(format!("`keywheel status {name}` says how it stands"))),
            None => {
                let unknown = self.unknown(name, |removed| removed).await?;
                Err(unknown.remedy("`keywheel history` tells which were removed"))
            }
        }
    }

    /// There is none of that name; one of those that `meant` takes may be.
    pub async fn unknown(
        &self,
        name: &ConnectionName,
        meant: impl Fn(bool) -> bool,
    ) -> Result<Complaint, Complaint> {
        let journals = self.store.journals().await?;
        let names = journals
            .iter()
            .filter(|journal| meant(journal.removed_at.is_some()));
        let hint = did_you_mean(name.as_str(), names.map(|journal| journal.name().as_str()));
        let message = format!("there is no connection named {name}{hint}");
        Ok(Complaint::usage("no-such-connection", message)
            .remedy("`keywheel connection list` names them all"))
    }

    /// The clouds of the settings, their certificate authorities read.
    pub fn clouds(&self) -> Result<Vec<Cloud>, Complaint> {
        self.settings.clouds.iter().map(read_cloud).collect()
    }

    fn entra(&self) -> Result<Entra, Complaint> {
        Ok(Entra::new(
            self.clouds()?,
            self.settings.graph.request_timeout.0,
            self.clock.clone(),
        ))
    }
}

/// Reads the settings, or says all that is wrong with them, or who is to read them.
pub fn load_settings(config: &Path) -> Result<Settings, Complaint> {
    refuse_root(config)?;
    let settings = Settings::load(config)
        .map_err(|faults| Complaint::usage("settings", faults.to_string()))?;
    refuse_root(&settings.store_path)?;
    Ok(settings)
}

fn read_cloud(spec: &CloudSpec) -> Result<Cloud, Complaint> {
    let ca_pem = match &spec.ca_file {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|error| {
            Complaint::usage(
                "ca-file",
                format!(
                    "cloud {}: {} can't be read: {error}",
                    spec.name,
                    path.display()
                ),
            )
        })?),
    };
    Cloud::new(&spec.name, &spec.login, &spec.graph, ca_pem)
        .map_err(|fault| Complaint::usage("cloud", fault.to_string()))
}

/// Who asks, as far as this host can tell.
pub fn actor() -> Actor {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Actor {
        user: user.map_or_else(|| uid.to_string(), |user| user.name),
        sudo_user: std::env::var("SUDO_USER")
            .ok()
            .filter(|user| !user.is_empty()),
        host,
    }
}

/// A path that a user gave on the command line, from the folder that they stand in.
pub fn from_here(path: &Path) -> Result<PathBuf, Complaint> {
    std::path::absolute(path)
        .map_err(|error| Complaint::usage("path", format!("{}: {error}", path.display())))
}
