//! `keywheel.toml`, key by key.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::NaiveTime;
use chrono_tz::Tz;
use reqwest::Url;
use uuid::Uuid;

use super::diagnostic::SettingsFaults;
use super::fields::Fields;
use super::policy::wrong_length;
use super::reader::{self, Table, number, text};
use super::source::{self, Source};
use super::{
    CLOUDS, CloudSpec, Defaults, GraphSettings, IdentityKind, IdentitySpec, MasterKeySource, SELF,
    ServiceSettings, Settings, Verification, notify, service,
};
use crate::clock::Span;
use crate::connection::{OnLimit, Overlap, field};
use crate::entra::{ClientId, TenantId};
use crate::schedule;
use crate::wording::{hint, listed, quoted};

/// Identities that are thought of, so that a hint can say so.
const KINDS_TO_COME: [&str; 3] = ["certificate", "managed-identity", "workload-identity"];

/// Reads and checks all of `source`.
pub(super) fn settings(source: &Source) -> Result<Settings, SettingsFaults> {
    reader::document(&source.file, &source.text, |mut root| {
        let folder = &source.folder;
        let mut settings = Settings {
            file: source.file.clone(),
            ..Settings::standard(folder)
        };
        let store = root.table("store");
        if let Some(path) = store_path(store, folder) {
            settings.store_path = path;
        }
        let key = root.table("master_key");
        if let Some(key) = master_key(key, folder) {
            settings.master_key = key;
        }
        settings.verification = verification(root.table("verification"));
        settings.graph = graph(root.table("graph"));
        settings.service = service::read(root.table("service"), folder);
        for table in root.tables("cloud") {
            let cloud = cloud(table, folder, &settings);
            settings.clouds.extend(cloud);
        }
        for table in root.tables("identity") {
            let identity = identity(table, folder, &settings);
            settings.identities.extend(identity);
        }
        for table in root.tables("notify") {
            let channel = notify::read(table, folder, &settings.channels);
            settings.channels.extend(channel);
        }
        settings.defaults = defaults(root.table("defaults"), &settings);
        root.end();
        Some(settings)
    })
}

impl Settings {
    /// What an empty file in `folder` says. Under `/etc` nothing is written but the master key.
    pub(super) fn standard(folder: &Path) -> Self {
        let (store_path, master_key) = if folder.starts_with("/etc") {
            (
                "/var/lib/keywheel/keywheel.db".into(),
                "/etc/keywheel/master.key".into(),
            )
        } else {
            (folder.join("state/keywheel.db"), folder.join("master.key"))
        };
        Self {
            file: folder.join("keywheel.toml"),
            store_path,
            master_key: MasterKeySource::File(master_key),
            defaults: Defaults::default(),
            verification: Verification::default(),
            graph: GraphSettings::default(),
            service: ServiceSettings::default(),
            clouds: Vec::new(),
            identities: Vec::new(),
            channels: Vec::new(),
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            identity: SELF.to_owned(),
            interval_days: 30,
            // When people are there.
            rotate_at: NaiveTime::from_hms_opt(10, 0, 0).unwrap_or_default(),
            timezone: Tz::UTC,
            overlap: None,
            lifetime_days: None,
            renew_before: Span::days(14),
            jitter: Span::default(),
            only: schedule::Weekdays::default(),
            hours: None,
            blackouts: Vec::new(),
            on_limit: OnLimit::Block,
        }
    }
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            successes: 5,
            spacing: Span::seconds(3),
            timeout: Span::minutes(20),
            give_up: Span::hours(24),
        }
    }
}

impl Default for GraphSettings {
    fn default() -> Self {
        Self {
            mutation_spacing: Span::seconds(10),
            absence_window: Span::minutes(1),
            request_timeout: Span::seconds(30),
        }
    }
}

fn store_path(mut table: Table<'_>, folder: &Path) -> Option<PathBuf> {
    let path = table.value("path", text(|path| source::path(folder, path)));
    table.end();
    path
}

fn master_key(mut table: Table<'_>, folder: &Path) -> Option<MasterKeySource> {
    let file = table.value("file", text(|path| source::path(folder, path)));
    let credential = table.value("credential", text(|name| field::name("credential", name)));
    let env = table.value("env", text(field::variable));
    let given = ["file", "credential", "env"];
    let given: Vec<_> = given.into_iter().filter(|key| table.has(key)).collect();
    if let [_, second, ..] = given[..] {
        let message = format!("one source is enough; keep one of {}", listed(given));
        table.fault(second, message);
    }
    table.end();
    file.map(MasterKeySource::File)
        .or(credential.map(MasterKeySource::Credential))
        .or(env.map(MasterKeySource::Env))
}

fn verification(mut table: Table<'_>) -> Verification {
    let standard = Verification::default();
    let read = Verification {
        successes: table
            .value("successes", number(1..=100))
            .unwrap_or(standard.successes),
        spacing: table
            .value("spacing", text(field::span))
            .unwrap_or(standard.spacing),
        timeout: table
            .value("timeout", text(field::some_time))
            .unwrap_or(standard.timeout),
        give_up: table
            .value("give_up", text(field::some_time))
            .unwrap_or(standard.give_up),
    };
    let proving = read.spacing.0 * read.successes.saturating_sub(1);
    if proving >= read.timeout.0 {
        let message = format!(
            "{} proofs {} apart don't fit into one pass of {}",
            read.successes, read.spacing, read.timeout
        );
        table.fault("spacing", message);
    }
    if read.give_up < read.timeout {
        let message = format!("this ends before one pass of {} is over", read.timeout);
        table.fault("give_up", message);
    }
    table.end();
    read
}

fn graph(mut table: Table<'_>) -> GraphSettings {
    let standard = GraphSettings::default();
    let read = GraphSettings {
        mutation_spacing: table
            .value("mutation_spacing", text(field::span))
            .unwrap_or(standard.mutation_spacing),
        absence_window: table
            .value("absence_window", text(field::span))
            .unwrap_or(standard.absence_window),
        request_timeout: table
            .value("request_timeout", text(field::some_time))
            .unwrap_or(standard.request_timeout),
    };
    table.end();
    read
}

fn defaults(mut table: Table<'_>, settings: &Settings) -> Defaults {
    let before = table.fault_count();
    let fields = Fields::read(&mut table);
    let standard = Defaults::default();
    let read = Defaults {
        identity: fields.identity.unwrap_or(standard.identity),
        interval_days: fields.interval_days.unwrap_or(standard.interval_days),
        rotate_at: fields.rotate_at.unwrap_or(standard.rotate_at),
        timezone: fields.timezone.unwrap_or(standard.timezone),
        overlap: fields.overlap,
        lifetime_days: fields.lifetime_days,
        renew_before: fields.renew_before.unwrap_or(standard.renew_before),
        jitter: fields.jitter.unwrap_or(standard.jitter),
        only: fields.only.unwrap_or(standard.only),
        hours: fields.hours,
        blackouts: fields.blackouts.unwrap_or(standard.blackouts),
        on_limit: fields.on_limit.unwrap_or(standard.on_limit),
    };
    // What could not be read would only be blamed twice.
    if table.fault_count() == before {
        let interval = read.interval_days;
        let lifetime = read
            .lifetime_days
            .unwrap_or_else(|| schedule::default_lifetime_days(interval));
        let overlap = read
            .overlap
            .unwrap_or_else(|| Overlap::For(schedule::default_overlap(interval)));
        let faults = [
            settings.unknown_identity(&read.identity),
            wrong_length(interval, lifetime, overlap),
        ];
        for fault in faults.into_iter().flatten() {
            table.fault_at_first_of(fault.fields(), fault.to_string());
        }
    }
    table.end();
    read
}

fn cloud(mut table: Table<'_>, folder: &Path, settings: &Settings) -> Option<CloudSpec> {
    let name = table.required("name", text(|name| field::name("cloud", name)));
    let login = table.required("login", text(base_url));
    let graph = table.required("graph", text(base_url));
    let ca_file = table.value(
        "ca_file",
        text(|path| {
            let file = source::path(folder, path)?;
            source::check_readable(&file)?;
            Ok::<_, String>(file)
        }),
    );
    if let Some(name) = name.as_deref() {
        if CLOUDS.contains(&name) {
            let message = format!("the cloud {name} is built in; use another name");
            table.fault("name", message);
        } else if settings.cloud_names().any(|other| other == name) {
            table.fault("name", format!("a cloud {name} is already above"));
        }
    }
    table.end();
    // With a fault in it, it is never used; but its name is known to what refers to it.
    Some(CloudSpec {
        name: name?,
        login: login.unwrap_or_default(),
        graph: graph.unwrap_or_default(),
        ca_file,
    })
}

fn identity(mut table: Table<'_>, folder: &Path, settings: &Settings) -> Option<IdentitySpec> {
    let name = table.required("name", text(|name| field::name("identity", name)));
    let taken = |name: &str| settings.identity(name).is_some();
    match name.as_deref() {
        Some(SELF) => table.fault("name", "the identity self is built in; use another name"),
        Some(name) if taken(name) => {
            table.fault("name", format!("an identity {name} is already above"));
        }
        _ => {}
    }
    // The other keys depend on the kind: without it nothing can be said of them.
    let kind = table.required("kind", text(identity_kind));
    let kind = kind.and_then(|()| client_secret(table, folder, settings));
    // With a fault in it, it is never used; but its name is known to what refers to it.
    Some(IdentitySpec {
        name: name?,
        kind: kind.unwrap_or(IdentityKind::ClientSecret {
            tenant_id: TenantId(Uuid::nil()),
            client_id: ClientId(Uuid::nil()),
            secret_file: PathBuf::new(),
            cloud: String::new(),
        }),
    })
}

fn client_secret(mut table: Table<'_>, folder: &Path, settings: &Settings) -> Option<IdentityKind> {
    let tenant_id = table.required("tenant_id", text(TenantId::from_str));
    let client_id = table.required("client_id", text(ClientId::from_str));
    let secret_file = table.required(
        "secret_file",
        text(|path| {
            let file = source::path(folder, path)?;
            source::check_private(&file)?;
            Ok::<_, String>(file)
        }),
    );
    let cloud = table
        .value("cloud", text(|name| field::name("cloud", name)))
        .unwrap_or_else(|| CLOUDS[0].to_owned());
    if let Some(fault) = settings.unknown_cloud(&cloud) {
        table.fault("cloud", fault.to_string());
    }
    table.end();
    Some(IdentityKind::ClientSecret {
        tenant_id: tenant_id?,
        client_id: client_id?,
        secret_file: secret_file?,
        cloud,
    })
}

fn identity_kind(kind: &str) -> Result<(), String> {
    match kind {
        "client-secret" => Ok(()),
        later if KINDS_TO_COME.contains(&later) => Err(format!(
            "identities of the kind {later} are not there yet; use client-secret"
        )),
        other => Err(format!(
            "{} is not a kind of identity{}",
            quoted(other),
            hint(other, ["client-secret"])
        )),
    }
}

/// The base address of a service, without a slash at its end: HTTPS, or plain HTTP on loopback.
fn base_url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("{} {why}", quoted(text));
    let url = Url::parse(text)
        .map_err(|_| wrong("is not an address; write it as https://host or https://host:port"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address holds no user and no password here".into());
    }
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" if !host.is_empty() => {}
        "http" if is_loopback(host) => {}
        "http" => {
            return Err(wrong(
                "is not encrypted; use https (plain http on loopback alone)",
            ));
        }
        _ => return Err(wrong("is not an https address")),
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "goes on behind the host; write only https://host or https://host:port",
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
