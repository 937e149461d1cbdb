//! From flags to what they declare.

use std::path::Path;

use super::super::args::Fields;
use super::super::context::from_here;
use super::super::exit::Complaint;
use crate::connection::{Declared, DestinationSpec, FileFormat, FileSpec, field};
use crate::destination::{self, DestinationFault};
use crate::settings::Settings;

/// What a destination is called where nothing else is.
const FILE: &str = "file";

/// Writes what was given over `declared`; what was not given stays.
pub(super) fn fill(declared: &mut Declared, fields: &Fields) -> Result<(), Complaint> {
    let given = fields.clone();
    declared.identity = given.identity.or(declared.identity.take());
    declared.interval_days = given.interval_days.or(declared.interval_days);
    declared.rotate_at = given.rotate_at.or(declared.rotate_at);
    declared.timezone = given.timezone.or(declared.timezone);
    declared.lifetime_days = given.lifetime_days.or(declared.lifetime_days);
    declared.overlap = given.overlap.or(declared.overlap);
    declared.pull |= given.pull;
    declared.labels.extend(given.labels);
    if let Some(path) = &fields.to_file {
        add_file(declared, file(fields, path)?)?;
    }
    Ok(())
}

/// All that can be found wrong with it without a look at the host.
pub(super) fn check(settings: &Settings, declared: &Declared) -> Result<(), Complaint> {
    settings
        .policy(declared)
        .map_err(|faults| Complaint::usage("settings", faults.to_string()))?;
    for spec in &declared.destinations {
        destination::open(spec).map_err(|fault| undeliverable(declared, spec, fault))?;
    }
    Ok(())
}

/// Whether the destinations that `before` does not have can be delivered to.
pub(super) async fn check_places(
    declared: &Declared,
    before: Option<&Declared>,
) -> Result<(), Complaint> {
    let known = |spec| before.is_some_and(|before| before.destinations.contains(spec));
    for spec in declared.destinations.iter().filter(|spec| !known(spec)) {
        if let Some(obstacle) = destination::obstacles(spec).await.into_iter().next() {
            return Err(undeliverable(declared, spec, obstacle.fault));
        }
    }
    Ok(())
}

fn undeliverable(
    declared: &Declared,
    spec: &DestinationSpec,
    fault: DestinationFault,
) -> Complaint {
    let message = format!(
        "connection {}, destination {}: {}",
        declared.name,
        spec.name(),
        fault.message
    );
    Complaint::usage(fault.code, message).remedy(fault.remedy)
}

fn file(fields: &Fields, path: &Path) -> Result<FileSpec, Complaint> {
    let wrong =
        |flag: &str, message: String| Complaint::usage("usage", format!("{flag}: {message}"));
    let format = match fields.to_file_format.as_deref() {
        None | Some("raw") => FileFormat::Raw,
        Some("dotenv") => FileFormat::Dotenv,
        Some("json") => FileFormat::Json,
        Some(_) => {
            let message = "a template is a text of several lines; declare it in a file for `apply`";
            return Err(wrong("--to-file-format", message.into()));
        }
    };
    let needs_key = matches!(format, FileFormat::Dotenv | FileFormat::Json);
    match (&fields.to_file_key, needs_key) {
        (None, true) => {
            let message = "this format needs the name of the variable or key in --to-file-key";
            return Err(wrong("--to-file-format", message.into()));
        }
        (Some(_), false) => {
            let message = "a raw file has no keys; choose --to-file-format dotenv or json";
            return Err(wrong("--to-file-key", message.into()));
        }
        _ => {}
    }
    if let Some(mode) = &fields.to_file_mode {
        field::mode(mode).map_err(|message| wrong("--to-file-mode", message))?;
    }
    Ok(FileSpec {
        name: FILE.to_owned(),
        required: true,
        path: from_here(path)?,
        format,
        key: fields.to_file_key.clone(),
        template: None,
        mode: fields.to_file_mode.clone(),
        owner: None,
        group: None,
        reload: fields.reload.clone().into_iter().collect(),
        reload_timeout: None,
        reload_env: std::collections::BTreeMap::new(),
    })
}

/// One that is at the same place already is replaced; another one needs another name.
fn add_file(declared: &mut Declared, mut spec: FileSpec) -> Result<(), Complaint> {
    for known in &mut declared.destinations {
        let DestinationSpec::File(file) = known;
        if file.clashes(&spec) {
            spec.name.clone_from(&file.name);
            *known = DestinationSpec::File(spec);
            return Ok(());
        }
    }
    let is_taken = |name: &str| declared.destinations.iter().any(|spec| spec.name() == name);
    if is_taken(&spec.name) {
        spec.name = name_of(&spec.path);
        if is_taken(&spec.name) {
            return Err(Complaint::usage(
                "destination-taken",
                format!(
                    "connection {} already has a destination {}",
                    declared.name, spec.name
                ),
            )
            .remedy("take that one away with --remove-destination, or declare both for `apply`"));
        }
    }
    declared.destinations.push(DestinationSpec::File(spec));
    Ok(())
}

/// A name made of a file's own: letters, digits, dots, hyphens and underscores of it.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = file
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(64)
        .collect();
    if name.is_empty() {
        FILE.to_owned()
    } else {
        name
    }
}
