//! Root beside a service that has a user of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use crate::harness::Bench;

/// `nobody`
const SERVICE: u32 = 65534;

/// Every path below a folder with its owner.
fn owners(folder: &Path) -> BTreeSet<(PathBuf, u32)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            found.extend(owners(&path));
        }
        found.insert((path, metadata.uid()));
    }
    found
}

fn give_away(folder: &Path) {
    for (path, _) in owners(folder) {
        lchown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    lchown(folder, Some(SERVICE), Some(SERVICE)).unwrap();
}

/// Only root can give files away, and only root is refused.
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: this test takes root");
    }
    is_root
}

#[test]
fn root_is_kept_from_leaving_files_that_the_service_can_not_read() {
    if !is_root() {
        return;
    }
    let (bench, application) = Bench::with_app();
    bench.application("other");
    let backup = bench.write("former.db", "not reached");
    give_away(bench.folder.path());
    let before = owners(bench.folder.path());
    let keys = bench.keys(&application);
    for line in [
        "init",
        "status",
        "rotate app",
        "deliver app",
        "run",
        "backup copy.db",
        &format!("restore {}", backup.display()),
        "master-key rotate",
        "secret app",
    ] {
        let run = bench.unchanged_by(|| bench.line(line).exits(2));
        run.says([
            "belongs to user nobody",
            "keywheel-admin",
            "runuser -u nobody",
        ]);
        assert_eq!(owners(bench.folder.path()), before, "{line}");
    }
    assert_eq!(bench.keys(&application), keys);
    let run = bench.run(["status", "-o", "json"]).exits(2);
    assert_eq!(run.error_code(), "root-beside-service");
}

#[test]
fn root_makes_no_store_where_the_service_is_to_have_its_own() {
    if !is_root() {
        return;
    }
    let bench = Bench::bare("");
    // The settings are root's; the folder of the state is there, and the service's.
    let state = bench.path("state");
    std::fs::create_dir(&state).unwrap();
    give_away(&state);
    bench.unchanged_by(|| bench.line("init").exits(2).says(["keywheel-admin"]));
    // Nor settings in a folder of the service.
    std::fs::remove_file(bench.path("keywheel.toml")).unwrap();
    std::fs::remove_dir(state).unwrap();
    give_away(bench.folder.path());
    bench.unchanged_by(|| bench.line("init").exits(2).says(["keywheel-admin"]));
    assert!(owners(bench.folder.path()).is_empty());
}
