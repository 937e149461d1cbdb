//! A sandbox to adopt applications from: what `keywheel sandbox` opens and prints.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::replica::{Lag, Replication, Routing};
use super::rules::Permission;
use super::serve::{StartError, Tls};
use super::stock::{NewApplication, NewPassword, Registered};
use super::{Options, Sandbox};
use crate::clock::{Clock, SystemClock};
use crate::entra::{ClientId, KeyId, ObjectId, TenantId};

/// How a sandbox is opened from the command line.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The files with the certificate and the key, in PEM; without them plain HTTP is served.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How many applications to offer. The first may manage all others; each of the others may
    /// rotate itself.
    pub applications: usize,
    /// How fast replicas learn of writes.
    pub lag: Lag,
    /// Real time that each request takes longer.
    pub latency: Duration,
}

impl Default for Opening {
    /// Loopback, one application, and lags of a few seconds as in the field.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            applications: 1,
            lag: Lag::realistic(),
            latency: Duration::ZERO,
        }
    }
}

/// Everything that is needed to adopt the applications of a sandbox.
#[derive(Debug, Clone, Serialize)]
pub struct Offer {
    /// The base URL of the sign-in service and of Graph.
    pub url: String,
    /// The tenant of all applications.
    pub tenant_id: TenantId,
    /// A `[[cloud]]` block for the settings.
    pub cloud: String,
    /// The applications.
    pub applications: Vec<Offered>,
}

/// One application to adopt.
#[derive(Debug, Clone, Serialize)]
pub struct Offered {
    /// Its name.
    pub display_name: String,
    /// What it signs in with.
    pub client_id: ClientId,
    /// The application object.
    pub object_id: ObjectId,
    /// The Key ID of its secret.
    pub key_id: KeyId,
    /// Its secret, which opens nothing but this sandbox; it is printed on purpose.
    #[serde(serialize_with = "exposed")]
    pub secret: SecretString,
    /// When the secret ends.
    pub expires_at: DateTime<Utc>,
    /// What it may do, as Entra spells it.
    pub permission: &'static str,
}

/// Starts a sandbox with one tenant, and says what there is to adopt.
///
/// # Errors
///
/// As [`Sandbox::start`], and where the certificate or the key can't be read.
pub async fn open(opening: Opening) -> Result<(Sandbox, Offer), StartError> {
    let clock = Arc::new(SystemClock);
    let tls = match &opening.tls {
        Some((certificate, key)) => Some(Tls {
            certificate: read(certificate)?,
            key: read(key)?,
        }),
        None => None,
    };
    let sandbox = Sandbox::start(Options {
        listen: opening.listen,
        tls,
        seed: fastrand::u64(..),
        replication: Replication {
            count: 3,
            reads: opening.lag.clone(),
            tokens: opening.lag,
            routing: Routing::Random,
        },
        latency: opening.latency,
        // Nobody reads it.
        call_log: 0,
        clock: clock.clone(),
        ..Options::default()
    })
    .await?;
    let offer = stock(&sandbox, opening.applications, clock.now());
    Ok((sandbox, offer))
}

/// Makes the tenant and its applications.
fn stock(sandbox: &Sandbox, applications: usize, now: DateTime<Utc>) -> Offer {
    // Late enough to try things at leisure, early enough to be worth a line in a report.
    let expires_at = crate::clock::whole_seconds(now + TimeDelta::days(30));
    let tenant_id = sandbox.add_tenant("Keywheel Sandbox");
    let applications = (0..applications)
        .map(|n| {
            let (display_name, permission) = match n {
                0 => ("rotator".to_owned(), Permission::ReadWriteAll),
                n => (format!("application-{n}"), Permission::ReadWriteOwnedBy),
            };
            let new = NewApplication {
                permission,
                owns_itself: true,
                passwords: vec![NewPassword {
                    display_name: Some("made by hand".to_owned()),
                    start: Some(crate::clock::whole_seconds(now)),
                    ..NewPassword::until(expires_at)
                }],
                ..NewApplication::new(tenant_id, &display_name)
            };
            let registered = sandbox.add_application(new);
            offered(display_name, permission, &registered, expires_at)
        })
        .collect::<Vec<_>>();
    Offer {
        url: sandbox.url(),
        tenant_id,
        cloud: cloud(&sandbox.url()),
        applications: applications.into_iter().flatten().collect(),
    }
}

fn offered(
    display_name: String,
    permission: Permission,
    registered: &Registered,
    expires_at: DateTime<Utc>,
) -> Option<Offered> {
    let key = registered.keys.first()?;
    Some(Offered {
        display_name,
        client_id: registered.client_id,
        object_id: registered.object_id,
        key_id: key.key_id,
        secret: key.value.clone(),
        expires_at,
        permission: permission.name(),
    })
}

fn cloud(url: &str) -> String {
    let mut block =
        format!("[[cloud]]\nname = \"sandbox\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n");
    if url.starts_with("https:") {
        block.push_str("# ca_file = \"ca.pem\"   # where this host does not trust its issuer\n");
    }
    block
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::Read {
        path: path.display().to_string(),
        source,
    })
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
