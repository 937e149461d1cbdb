//! `demo`: three rotations for real, over HTTP, against a sandbox in the process.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tempfile::TempDir;

use super::args;
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::Output;
use super::progress::tell;
use super::rotate::PATIENCE;
use super::{status, view};
use crate::clock::{Clock, SystemClock};
use crate::connection::{ConnectionName, Declared};
use crate::rotation::adopt::Candidate;
use crate::rotation::advance::{Engine, Order};
use crate::rotation::observe::{Moment, Observer};
use crate::sandbox::{
    Action, Fault, Kind, Lag, NewApplication, NewPassword, Options, Permission, Registered,
    Replication, Sandbox,
};
use crate::store::{SqliteStore, master_key};

/// How far the replicas of the slow tenant lag.
const SLOW: Duration = Duration::from_millis(900);

/// Tells each step of every connection.
#[derive(Debug)]
struct Aloud;

impl Observer for Aloud {
    fn observe(&self, connection: &ConnectionName, moment: &Moment<'_>) {
        tell(connection, moment);
    }
}

/// The tenants of the demo; both end with it.
struct Stage {
    folder: TempDir,
    quick: Sandbox,
    slow: Sandbox,
}

pub(super) async fn run(_args: args::Demo, output: Output) -> Result<Exit, Complaint> {
    let stage = set(output).await?;
    let global = args::Global {
        config: stage.folder.path().join("keywheel.toml"),
        output: output.form,
        verbose: 0,
        yes: true,
    };
    let context = Context::open(&global.config, output)?;
    let engine = Arc::new(context.engine(Arc::new(Aloud)).await?);
    let billing = stage.quick.application("billing");
    let crm = stage.slow.application("crm");
    let portal = stage.quick.application("portal");
    // It is added, and nobody hears of it: the line is dead before the answer arrives.
    let lost = Fault::on(Kind::AddPassword, Action::HangUp)
        .of(portal.client_id)
        .after_effect();
    stage.quick.inject(lost);
    output.note("\nAdopting three secrets that somebody made by hand:");
    for (name, application, cloud) in [
        ("billing", &billing, "quick"),
        ("crm", &crm, "slow"),
        ("portal", &portal, "quick"),
    ] {
        adopt(&engine, &stage, name, application, cloud).await?;
        output.note(&format!(
            "  {name}: it signs in, its Key ID is on the application, it is ours"
        ));
    }
    output.note(
        "\nRotating all three:\n  \
         billing: everything goes well, and the old secret works on for seven days\n  \
         crm: its replicas lag, so that the new secret is proved until all of them know it; it \
         has no overlap, and the old secret is removed at once\n  \
         portal: the answer of the call that adds the secret is lost; what it made is found by \
         its name and removed, and another one is added\n",
    );
    let (first, second, third) = tokio::join!(
        rotate(&engine, "billing"),
        rotate(&engine, "crm"),
        rotate(&engine, "portal")
    );
    let exit = first?.or(second?).or(third?);
    output.note(
        "\nWhat came of it:\n  \
         billing: two secrets work, the file has the new one\n  \
         crm: only the new secret is left, for it has no overlap\n  \
         portal: two secrets work, and none is left whose value nobody holds",
    );
    output.note("\nHow things stand:");
    status::run(&global, args::Status { name: None }, output).await?;
    output.note("\nNext: README.md, \"A first rotation in a real tenant\".");
    stage.quick.stop().await;
    stage.slow.stop().await;
    Ok(exit)
}

/// Starts the tenants, and makes settings and a store for them.
async fn set(output: Output) -> Result<Stage, Complaint> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: String| Complaint::failed("demo", format!("{what}: {error}"))
    };
    let folder = tempfile::tempdir().map_err(|e| failed("temporary folder")(e.to_string()))?;
    let start = async |options| {
        Sandbox::start(options)
            .await
            .map_err(|e| failed("sandbox")(e.to_string()))
    };
    let quick = start(Options::default()).await?;
    let slow = start(Options {
        seed: 1,
        replication: Replication {
            count: 3,
            tokens: Lag::Each(vec![Duration::ZERO, SLOW / 2, SLOW]),
            ..Replication::default()
        },
        ..Options::default()
    })
    .await?;
    let config = folder.path().join("keywheel.toml");
    std::fs::write(&config, settings(&quick.url(), &slow.url()))
        .and_then(|()| std::fs::set_permissions(&config, Permissions::from_mode(0o600)))
        .map_err(|e| failed("settings")(e.to_string()))?;
    let settings = super::context::load_settings(&config)?;
    let key = master_key::create(&folder.path().join("master.key"))
        .map_err(|e| failed("master key")(e.to_string()))?;
    SqliteStore::create(&settings.store_path, key.fingerprint())?;
    output.note(&format!(
        "A tenant of its own at {}, another with slow replicas at {}; settings, store and files \
         in {}, until the end.",
        quick.url(),
        slow.url(),
        folder.path().display()
    ));
    Ok(Stage {
        folder,
        quick,
        slow,
    })
}

/// Everything that waits for seconds or minutes in earnest is short here.
fn settings(quick: &str, slow: &str) -> String {
    let cloud = |name: &str, url: &str| {
        format!("[[cloud]]\nname = \"{name}\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\n")
    };
    format!(
        "{}{}[verification]\nsuccesses = 3\nspacing = \"150ms\"\n\n\
         [graph]\nmutation_spacing = \"200ms\"\nabsence_window = \"600ms\"\n",
        cloud("quick", quick),
        cloud("slow", slow)
    )
}

impl Sandbox {
    /// An application that may rotate itself.
    fn application(&self, name: &str) -> Registered {
        let tenant = self.add_tenant(name);
        let end = SystemClock.now() + TimeDelta::days(20);
        self.add_application(NewApplication {
            permission: Permission::ReadWriteOwnedBy,
            owns_itself: true,
            passwords: vec![NewPassword::until(end)],
            ..NewApplication::new(tenant, name)
        })
    }
}

async fn adopt(
    engine: &Engine,
    stage: &Stage,
    name: &str,
    application: &Registered,
    cloud: &str,
) -> Result<(), Complaint> {
    let declared = declared(stage.folder.path(), name, application, cloud)
        .map_err(|error| Complaint::failed("demo", error.to_string()))?;
    let candidate = Candidate {
        declared,
        secret: application.keys[0].value.clone(),
        key_id: None,
        next_rotation_at: None,
        rotate_now: false,
        check: true,
        take_over: false,
    };
    engine.adopt(candidate).await?;
    Ok(())
}

/// What a user would write into a file for `apply`.
fn declared(
    folder: &Path,
    name: &str,
    application: &Registered,
    cloud: &str,
) -> Result<Declared, toml::de::Error> {
    // One ends its overlap at once, so that its revocation is seen.
    let overlap = if name == "crm" { "0s" } else { "7d" };
    let path = folder.join(format!("{name}.secret"));
    toml::from_str(&format!(
        "name = \"{name}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\ncloud = \"{cloud}\"\n\
         overlap = \"{overlap}\"\n\n[[destination]]\nkind = \"file\"\nname = \"file\"\n\
         path = {path:?}\n",
        application.tenant_id, application.client_id
    ))
}

async fn rotate(engine: &Engine, name: &str) -> Result<Exit, Complaint> {
    let name: ConnectionName = name
        .parse()
        .map_err(|_| Complaint::failed("demo", "not a name"))?;
    engine
        .advance(&name, Order::rotate(None, false, PATIENCE))
        .await?;
    Ok(view::exit(&engine.journal(&name).await?))
}
