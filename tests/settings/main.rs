//! `keywheel.toml` and `apply` files: what is read, and every fault at its place.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this crate is tests"
)]

mod bad_settings;
mod declared;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keywheel::clock::Span;
use keywheel::connection::{Declared, Overlap};
use keywheel::settings::declare::Manifest;
use keywheel::settings::{IdentityKind, MasterKeySource, Settings, SettingsFaults, template};
use tempfile::TempDir;

const TENANT: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
const CLIENT: &str = "2b7e1516-28ae-d2a6-abf7-158809cf4f3c";

/// A folder with a settings file, gone at the end.
struct House {
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn settings(&self, text: &str) -> Result<Settings, SettingsFaults> {
        Settings::load(&self.write("keywheel.toml", text, 0o640))
    }

    fn apply(&self, text: &str) -> Result<Manifest, SettingsFaults> {
        let settings = self.settings("").unwrap();
        Manifest::load(&self.write("connections.toml", text, 0o644), &settings)
    }

    /// The faults as `line:column: message`, without the house's folder.
    fn faults<T>(&self, read: Result<T, SettingsFaults>) -> Vec<String> {
        let Err(faults) = read else {
            return Vec::new();
        };
        let folder = format!("{}/", self.folder.path().display());
        let lines = faults.iter().map(|fault| match &fault.place {
            Some(place) => format!("{}:{}: {}", place.line, place.column, fault.message),
            None => fault.message.clone(),
        });
        lines.map(|line| line.replace(&folder, "")).collect()
    }
}

impl House {
    /// One connection with `more` in it.
    fn declared(&self, more: &str) -> Declared {
        let manifest = self.apply(&connection(more)).unwrap();
        manifest.connections[0].declared.clone()
    }
}

fn connection(more: &str) -> String {
    format!(
        "[[connection]]\nname = \"crm\"\ntenant_id = \"{TENANT}\"\nclient_id = \"{CLIENT}\"\n{more}"
    )
}

#[test]
fn an_empty_file_says_what_the_design_fixes() {
    let house = House::new();
    let settings = house.settings("").unwrap();
    assert_eq!(settings.store_path, house.path("state/keywheel.db"));
    let key = MasterKeySource::File(house.path("master.key"));
    assert_eq!(settings.master_key, key);
    let proving = settings.verification;
    assert_eq!(proving.successes, 5);
    assert_eq!(proving.spacing, Span::seconds(3));
    assert_eq!(proving.timeout, Span::minutes(20));
    assert_eq!(proving.give_up, Span::hours(24));
    let graph = settings.graph;
    assert_eq!(graph.mutation_spacing, Span::seconds(10));
    assert_eq!(graph.absence_window, Span::minutes(1));
    assert_eq!(graph.request_timeout, Span::seconds(30));
    let declared = house.declared("");
    let policy = settings.policy(&declared).unwrap();
    assert_eq!((policy.interval_days, policy.lifetime_days), (30, 67));
    assert_eq!(policy.overlap, Overlap::For(Span::days(7)));
    assert_eq!(policy.rotate_at.to_string(), "10:00:00");
    assert_eq!(policy.timezone.name(), "UTC");
    assert_eq!(
        (policy.cloud.as_str(), policy.identity.as_str()),
        ("public", "self")
    );
}

#[test]
fn every_key_is_read() {
    let house = House::new();
    house.write("ca.pem", "", 0o644);
    house.write("rotator.secret", "", 0o640);
    let settings = house
        .settings(&format!(
            r#"
            store.path = "db/k.db"
            master_key.env = "KEYWHEEL_MASTER_KEY"
            [verification]
            successes = 1
            spacing = "0s"
            [[cloud]]
            name = "lab"
            login = "http://127.0.0.1:8080/"
            graph = "http://[::1]:8080"
            ca_file = "ca.pem"
            [[identity]]
            name = "rotator"
            kind = "client-secret"
            tenant_id = "{TENANT}"
            client_id = "{CLIENT}"
            secret_file = "rotator.secret"
            cloud = "lab"
            [defaults]
            identity = "rotator"
            overlap = "next-rotation"
            interval_days = 90
            blackouts = [{{ from = 2026-12-20, until = "2027-01-06" }}]
            "#
        ))
        .unwrap();
    assert_eq!(settings.store_path, house.path("db/k.db"));
    assert_eq!(
        settings.master_key,
        MasterKeySource::Env("KEYWHEEL_MASTER_KEY".into())
    );
    assert_eq!(settings.clouds[0].login, "http://127.0.0.1:8080");
    assert_eq!(settings.clouds[0].ca_file, Some(house.path("ca.pem")));
    let IdentityKind::ClientSecret {
        secret_file, cloud, ..
    } = &settings.identities[0].kind;
    assert_eq!(
        (secret_file, cloud.as_str()),
        (&house.path("rotator.secret"), "lab")
    );
    assert_eq!(settings.defaults.overlap, Some(Overlap::NextRotation));
    assert_eq!(
        settings.defaults.blackouts[0].until.to_string(),
        "2027-01-06"
    );
}

#[test]
fn the_template_loads_with_the_hosts_zone() {
    let house = House::new();
    let text = template(None, chrono_tz::Europe::Vienna);
    let settings = house.settings(&text).unwrap();
    assert_eq!(settings.defaults.timezone, chrono_tz::Europe::Vienna);
    assert_eq!(settings.defaults.jitter, Span::minutes(30));
    let only: Vec<String> = settings.defaults.only.into();
    assert_eq!(only, ["mon-thu"]);
    assert_eq!(settings.store_path, house.path("state/keywheel.db"));

    let text = template(Some(Path::new("/srv/key \"wheel\"")), chrono_tz::UTC);
    let settings = house.settings(&text).unwrap();
    assert_eq!(
        settings.store_path,
        Path::new("/srv/key \"wheel\"/keywheel.db")
    );
}

#[test]
fn each_commented_line_of_the_template_is_valid_too() {
    let house = House::new();
    house.write("ca.pem", "", 0o644);
    house.write("rotator.secret", "", 0o600);
    let text: String = template(None, chrono_tz::UTC)
        .lines()
        .skip(2)
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let settings = house.settings(&text).unwrap();
    let defaults = house.settings("").unwrap();
    assert_eq!(settings.verification, defaults.verification);
    assert_eq!(settings.graph, defaults.graph);
    assert_eq!(settings.master_key, defaults.master_key);
    assert_eq!(
        settings.defaults.renew_before,
        defaults.defaults.renew_before
    );
    assert_eq!(settings.identities.len(), 1);
}

#[test]
fn the_samples_load() {
    let house = House::new();
    let sample = |name| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        house.write(name, &fs::read_to_string(folder.join(name)).unwrap(), 0o640)
    };
    let settings = Settings::load(&sample("keywheel.toml")).unwrap();
    assert_eq!(settings.clouds[0].name, "lab");
    let manifest = Manifest::load(&sample("connections.toml"), &settings).unwrap();
    assert_eq!(manifest.connections.len(), 2);
    let crm = &manifest.connections[0];
    assert_eq!(crm.secret_file, Some(house.path("crm.secret")));
    assert_eq!(crm.declared.destinations.len(), 2);
    assert!(manifest.connections[1].declared.pull);
}
