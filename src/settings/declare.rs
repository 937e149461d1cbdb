//! Connections declared in a file: what `apply` reads and `connection export` prints.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Settings;
use super::diagnostic::{SettingsFaults, Text, Written};
use super::fields::Fields;
use super::reader::{self, Table, list, text, time, truth};
use super::source::{self, Access, Source};
use crate::connection::{ConnectionName, Declared, DestinationSpec, FileFormat, FileSpec, field};
use crate::entra::{ClientId, KeyId, TenantId};
use crate::wording::{did_you_mean, hint, quoted};

/// All connections of an `apply` file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// No two have the same name, application or place of delivery.
    pub connections: Vec<Declaration>,
    /// The file, for what is found wrong with it where it meets the store and the host.
    pub text: Text,
}

/// One `[[connection]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What it says for good.
    pub declared: Declared,
    /// Where its present secret is read from; counts only while the connection is new, as do all
    /// that follow.
    pub secret_file: Option<PathBuf>,
    /// Of the present secret.
    pub key_id: Option<KeyId>,
    /// When it is to rotate first.
    pub next_rotation_at: Option<DateTime<Utc>>,
    /// Rotate at once.
    pub rotate_now: bool,
    /// Adopt the present secret although another instance made it.
    pub take_over: bool,
    /// Where in the file it stands.
    pub written: Written,
    /// The same of each of its destinations.
    pub destinations_written: Vec<Written>,
}

impl Manifest {
    /// Reads and checks the whole file against `settings`; every fault is in the error.
    ///
    /// Paths become absolute, relative ones from the file's folder. Whether a `secret_file` is
    /// there is not looked at: it counts for new connections alone, and which are new the store
    /// knows.
    pub fn load(path: &Path, settings: &Settings) -> Result<Self, SettingsFaults> {
        let source = Source::read(path, Access::NotOthersWrite, "name the file with -f")?;
        reader::document(&source.file, &source.text, |mut root| {
            let mut seen = Seen::default();
            let tables = root.tables("connection").into_iter();
            let connections = tables
                .filter_map(|table| connection(table, &source.folder, settings, &mut seen))
                .collect();
            root.end();
            Some(Self {
                connections,
                text: Text::new(&source.file, &source.text),
            })
        })
    }
}

/// What [`Manifest::load`] reads back as the same connections.
///
/// # Errors
///
/// A path that is no UTF-8 can't be written in TOML.
pub fn export(connections: &[Declared]) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct Document<'a> {
        connection: &'a [Declared],
    }
    if connections.is_empty() {
        return Ok(String::new());
    }
    toml::to_string_pretty(&Document {
        connection: connections,
    })
}

/// What the connections above have taken.
#[derive(Default)]
struct Seen {
    applications: HashMap<(TenantId, ClientId), ConnectionName>,
    names: Vec<ConnectionName>,
    files: Vec<(ConnectionName, FileSpec)>,
}

fn connection(
    mut table: Table<'_>,
    folder: &Path,
    settings: &Settings,
    seen: &mut Seen,
) -> Option<Declaration> {
    let before = table.fault_count();
    let name = table.required("name", text(ConnectionName::from_str));
    let tenant_id = table.required("tenant_id", text(TenantId::from_str));
    let client_id = table.required("client_id", text(ClientId::from_str));
    let cloud = table.value("cloud", text(|name| field::name("cloud", name)));
    let fields = Fields::read(&mut table);
    let pull = table.value("pull", truth).unwrap_or_default();
    let labels = table.texts("labels", field::label_key, field::label_value);
    let (destinations, destinations_written) =
        destinations(&mut table, folder, name.as_ref(), seen);
    let secret_file = table.value("secret_file", text(|path| source::path(folder, path)));
    let key_id = table.value("key_id", text(KeyId::from_str));
    let next_rotation_at = table.value("next_rotation_at", time(field::instant));
    let rotate_now = table.value("rotate_now", truth).unwrap_or_default();
    let take_over = table.value("take_over", truth).unwrap_or_default();

    let ids = name.zip(tenant_id.zip(client_id));
    let declaration = ids.map(|(name, (tenant_id, client_id))| Declaration {
        declared: Declared {
            name,
            tenant_id,
            client_id,
            cloud,
            identity: fields.identity,
            interval_days: fields.interval_days,
            rotate_at: fields.rotate_at,
            timezone: fields.timezone,
            lifetime_days: fields.lifetime_days,
            overlap: fields.overlap,
            renew_before: fields.renew_before,
            jitter: fields.jitter,
            only: fields.only,
            hours: fields.hours,
            blackouts: fields.blackouts,
            on_limit: fields.on_limit,
            pull,
            labels,
            destinations,
        },
        secret_file,
        key_id,
        next_rotation_at,
        rotate_now,
        take_over,
        written: table.written(),
        destinations_written,
    });
    if let Some(Declaration { declared, .. }) = &declaration {
        check_unique(&table, declared, seen);
        // What could not be read would only be blamed twice.
        if table.fault_count() == before
            && let Err(wrong) = settings.policy(declared)
        {
            for fault in wrong.faults {
                table.fault_at_first_of(fault.fields(), fault.to_string());
            }
        }
    }
    if rotate_now && next_rotation_at.is_some() {
        table.fault(
            "rotate_now",
            "rotate_now and next_rotation_at exclude each other",
        );
    }
    table.end();
    declaration
}

fn check_unique(table: &Table<'_>, declared: &Declared, seen: &mut Seen) {
    let name = &declared.name;
    if seen.names.contains(name) {
        table.fault("name", format!("a connection {name} is already above"));
    }
    seen.names.push(name.clone());
    let application = (declared.tenant_id, declared.client_id);
    if let Some(other) = seen.applications.get(&application) {
        let message = format!("connection {other} is already for this application");
        table.fault("client_id", message);
    }
    seen.applications
        .entry(application)
        .or_insert_with(|| name.clone());
}

fn destinations(
    table: &mut Table<'_>,
    folder: &Path,
    connection: Option<&ConnectionName>,
    seen: &mut Seen,
) -> (Vec<DestinationSpec>, Vec<Written>) {
    let mut destinations: Vec<DestinationSpec> = Vec::new();
    let mut written = Vec::new();
    for mut table in table.tables("destination") {
        // The other keys depend on the kind: without it nothing can be said of them.
        if table.required("kind", text(destination_kind)).is_none() {
            continue;
        }
        if let Some(file) = file(&mut table, folder) {
            if destinations.iter().any(|other| other.name() == file.name) {
                let message = format!("a destination {} is already above", file.name);
                table.fault("name", message);
            }
            if let Some((other, _)) = seen.files.iter().find(|(_, other)| file.clashes(other)) {
                let message = format!("connection {other} already delivers to this place");
                table.fault("path", message);
            }
            if let Some(connection) = connection {
                seen.files.push((connection.clone(), file.clone()));
            }
            destinations.push(DestinationSpec::File(file));
            written.push(table.written());
        }
        table.end();
    }
    (destinations, written)
}

fn destination_kind(kind: &str) -> Result<(), String> {
    match kind {
        "file" => Ok(()),
        other => Err(format!(
            "{} is not a kind of destination that is there yet{}",
            quoted(other),
            hint(other, ["file"])
        )),
    }
}

fn file(table: &mut Table<'_>, folder: &Path) -> Option<FileSpec> {
    let path = table.required("path", text(|path| source::path(folder, path)));
    let spec = FileSpec {
        name: table
            .value("name", text(|name| field::name("destination", name)))
            .unwrap_or_else(|| "file".to_owned()),
        required: table.value("required", truth).unwrap_or(true),
        path: path.clone().unwrap_or_default(),
        format: table.value("format", text(format)).unwrap_or_default(),
        key: table.value("key", text(text_as_it_is)),
        template: table.value("template", text(text_as_it_is)),
        mode: table.value(
            "mode",
            text(|mode| field::mode(mode).map(|_| mode.to_owned())),
        ),
        owner: table.value("owner", text(account)),
        group: table.value("group", text(account)),
        reload: table.value("reload", list(reload)).unwrap_or_default(),
        reload_timeout: table.value("reload_timeout", text(field::some_time)),
        reload_env: table.texts("reload_env", field::variable, |value| Ok(value.to_owned())),
    };
    check_format(table, &spec);
    if spec.reload.is_empty() {
        for key in ["reload_timeout", "reload_env"] {
            if table.has(key) && !table.has("reload") {
                table.fault(key, "there is no reload command for this");
            }
        }
    }
    path.map(|_| spec)
}

fn check_format(table: &Table<'_>, spec: &FileSpec) {
    let (key, template) = match spec.format {
        FileFormat::Raw => (false, false),
        FileFormat::Dotenv | FileFormat::Json => (true, false),
        FileFormat::Template => (false, true),
    };
    for (name, needed) in [("key", key), ("template", template)] {
        match (table.has(name), needed) {
            (true, false) => table.fault(name, format!("this format has no {name}")),
            (false, true) => table.fault("format", format!("this format needs a {name}")),
            _ => {}
        }
    }
    if let (FileFormat::Dotenv, Some(key)) = (spec.format, &spec.key)
        && let Err(message) = field::variable(key)
    {
        table.fault("key", message);
    }
    if spec.format == FileFormat::Json && spec.key.as_deref() == Some("") {
        table.fault(
            "key",
            "a key, or a pointer such as /azure/secret, is expected here",
        );
    }
}

fn format(name: &str) -> Result<FileFormat, String> {
    match name {
        "raw" => Ok(FileFormat::Raw),
        "dotenv" => Ok(FileFormat::Dotenv),
        "json" => Ok(FileFormat::Json),
        "template" => Ok(FileFormat::Template),
        other => Err(format!(
            "{} is not a format: use raw, dotenv, json or template{}",
            quoted(other),
            did_you_mean(other, ["raw", "dotenv", "json", "template"])
        )),
    }
}

fn text_as_it_is(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn account(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') {
        return Err(format!("{} is not a name or number", quoted(name)));
    }
    Ok(name.to_owned())
}

fn reload(command: Vec<String>) -> Result<Vec<String>, String> {
    match command.first() {
        Some(program) if !program.is_empty() => Ok(command),
        _ => Err("a program is expected first, then its arguments".into()),
    }
}
