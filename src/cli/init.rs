//! `init`: settings, state folder, master key and database; harmless when repeated.

use std::fs::{DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;

use super::args;
use super::context::{from_here, load_settings};
use super::exit::{Complaint, Exit};
use super::output::{Form, Output};
use super::owner::refuse_root;
use crate::settings::{MasterKeySource, Settings, host_timezone, template};
use crate::store::{Fingerprint, KeyFault, Keys, MasterKeyFault, SqliteStore, master_key};

/// Of a new settings file.
const SETTINGS_MODE: u32 = 0o640;

/// What `init` prints with `-o json`; none of its fields is renamed.
#[derive(Debug, Serialize)]
struct Made {
    settings: Item,
    master_key: Item,
    store: Item,
}

/// One thing that a store consists of.
#[derive(Debug, Serialize)]
struct Item {
    /// A path, or the name of a credential or variable.
    place: String,
    /// `false`: it was there already.
    made: bool,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Init,
    output: Output,
) -> Result<Exit, Complaint> {
    let config = from_here(&global.config)?;
    refuse_root(&config)?;
    let state_dir = args.state_dir.as_deref().map(from_here).transpose()?;
    let (settings, draft) = if exists(&config) {
        (load_settings(&config)?, None)
    } else {
        let draft = draft(&config, state_dir.as_deref())?;
        (load_settings(draft.path())?, Some(draft))
    };
    agree(&settings, state_dir.as_deref(), &config)?;
    // Whatever is refused is refused before the first thing is made.
    let standing = Standing::of(&settings)?;
    if standing == Standing::Whole {
        let store = SqliteStore::open(&settings.store_path)?;
        Keys::open(settings.master_key.clone(), &store).await?;
    }
    let mut made = Made {
        settings: Item::there(&config),
        master_key: Item {
            place: source(&settings.master_key),
            made: false,
        },
        store: Item::there(&settings.store_path),
    };
    if let Some(draft) = draft {
        keep(draft, &config)?;
        made.settings.made = true;
    }
    if standing == Standing::Nothing {
        let (fingerprint, new) = key(&settings)?;
        made.master_key.made = new;
        SqliteStore::create(&settings.store_path, fingerprint)?;
        made.store.made = true;
    }
    output.data(&made, String::new);
    tell(output, global, &made);
    Ok(Exit::Done)
}

/// What of a key and its database there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    Whole,
}

impl Standing {
    /// Both or neither: one without the other is refused, for a new half would never fit.
    fn of(settings: &Settings) -> Result<Self, Complaint> {
        let store = exists(&settings.store_path);
        let MasterKeySource::File(key) = &settings.master_key else {
            // Such a key is not made here: it must be there before its database is.
            if !store {
                load_new(&settings.master_key)?;
            }
            return Ok(if store { Self::Whole } else { Self::Nothing });
        };
        let database = settings.store_path.display();
        match (exists(key), store) {
            (true, true) => Ok(Self::Whole),
            (false, false) => folder_is_private(&settings.store_path).map(|()| Self::Nothing),
            (true, false) => Err(Complaint::usage(
                "key-without-store",
                format!(
                    "there is a master key at {}, but not its database at {database}",
                    key.display()
                ),
            )
            .remedy(
                "put the database back from a backup, or name it as [store] path; to begin anew, \
                 move the key away",
            )),
            (false, true) => Err(Complaint::usage(
                "store-without-key",
                format!(
                    "there is a database at {database}, but not its master key at {}",
                    key.display()
                ),
            )
            .remedy(
                "put the copy of the key back, or name it in [master_key]: nothing else opens \
                 the secrets in it; to begin anew, move the database away",
            )),
        }
    }
}

/// A folder that is there already is not changed, so it must be safe as it is.
fn folder_is_private(store: &Path) -> Result<(), Complaint> {
    let Some(folder) = store.parent() else {
        return Ok(());
    };
    let Ok(metadata) = folder.metadata() else {
        return Ok(());
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = folder.display();
    Err(Complaint::usage(
        "state-folder-exposed",
        format!("others can get into the state folder {shown} (mode {mode:04o})"),
    )
    .remedy(format!(
        "run `chmod 700 {shown}`, or choose another with --state-dir"
    )))
}

/// `--state-dir` counts for new settings; others say it themselves.
fn agree(settings: &Settings, wanted: Option<&Path>, config: &Path) -> Result<(), Complaint> {
    let there = settings.store_path.parent();
    match wanted {
        Some(wanted) if there != Some(wanted) => Err(Complaint::usage(
            "state-dir",
            format!(
                "{} already has its database at {}",
                config.display(),
                settings.store_path.display()
            ),
        )
        .remedy("leave out --state-dir, or change [store] path there")),
        _ => Ok(()),
    }
}

/// The settings to be, written beside their place: read and checked before they are kept.
fn draft(config: &Path, state_dir: Option<&Path>) -> Result<NamedTempFile, Complaint> {
    let unwritten = |error: std::io::Error| cannot_make(config, &error);
    let folder = config.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(unwritten)?;
    let mut draft = tempfile::Builder::new()
        .prefix(".keywheel.toml.")
        .tempfile_in(folder)
        .map_err(unwritten)?;
    draft
        .write_all(template(state_dir, host_timezone()).as_bytes())
        .map_err(unwritten)?;
    Ok(draft)
}

/// Others need not know where secrets are; a group that is given the file may read it.
fn keep(draft: NamedTempFile, config: &Path) -> Result<(), Complaint> {
    let unwritten = |error: std::io::Error| cannot_make(config, &error);
    draft
        .as_file()
        .set_permissions(Permissions::from_mode(SETTINGS_MODE))
        .map_err(unwritten)?;
    draft.as_file().sync_all().map_err(unwritten)?;
    draft
        .persist_noclobber(config)
        .map_err(|error| unwritten(error.error))?;
    Ok(())
}

/// The fingerprint of the key that the new database is sealed with, and whether it was made.
fn key(settings: &Settings) -> Result<(Fingerprint, bool), Complaint> {
    let MasterKeySource::File(path) = &settings.master_key else {
        return Ok((load_new(&settings.master_key)?, false));
    };
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .map_err(|error| cannot_make(path, &error))?;
    }
    match master_key::create(path) {
        Ok(key) => Ok((key.fingerprint(), true)),
        Err(fault @ MasterKeyFault::Io { .. }) => {
            Err(Complaint::failed("master-key", fault.to_string()))
        }
        Err(fault) => Err(KeyFault::master_key(fault, &settings.master_key, None).into()),
    }
}

/// The fingerprint of a key that is not made here.
fn load_new(source: &MasterKeySource) -> Result<Fingerprint, Complaint> {
    match master_key::load_any(source) {
        Ok(key) => Ok(key.fingerprint()),
        Err(fault) => Err(KeyFault::master_key(fault, source, None).into()),
    }
}

fn tell(output: Output, global: &args::Global, made: &Made) {
    for (what, item) in [
        ("settings", &made.settings),
        ("master key", &made.master_key),
        ("database", &made.store),
    ] {
        let how = if item.made { "made" } else { "already there" };
        output.note(&format!("{what:<11} {how}: {}", item.place));
    }
    if made.master_key.made {
        output.note("keep a copy of the master key elsewhere: nothing else opens the secrets");
    }
    if made.store.made && output.form == Form::Table {
        let config = if global.config == Path::new(super::context::DEFAULT_CONFIG) {
            String::new()
        } else {
            format!(" --config {}", global.config.display())
        };
        output.note(&format!(
            "next: keywheel{config} connection add NAME --tenant-id ID --client-id ID --to-file PATH"
        ));
    }
}

impl Item {
    fn there(path: &Path) -> Self {
        Self {
            place: path.display().to_string(),
            made: false,
        }
    }
}

fn source(source: &MasterKeySource) -> String {
    match source {
        MasterKeySource::File(path) => path.display().to_string(),
        MasterKeySource::Credential(name) => format!("systemd credential {name}"),
        MasterKeySource::Env(name) => format!("environment variable {name}"),
    }
}

/// Whatever stands there, a dangling link included.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn cannot_make(path: &Path, error: &std::io::Error) -> Complaint {
    Complaint::failed("init", format!("{} can't be made: {error}", path.display()))
}
