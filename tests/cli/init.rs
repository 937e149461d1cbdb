//! `init`

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Bench, Run, fields};

fn mode(bench: &Bench, name: &str) -> u32 {
    let metadata = bench.path(name).metadata().unwrap();
    metadata.permissions().mode() & 0o777
}

fn init(bench: &Bench) -> Run {
    bench.run(["init"])
}

#[test]
fn it_makes_settings_folder_key_and_database_and_is_harmless_when_repeated() {
    let bench = Bench::bare("");
    std::fs::remove_file(bench.path("keywheel.toml")).unwrap();
    let first = init(&bench).exits(0);
    assert_eq!(first.stdout, "", "what it made is no data");
    let first = first.says(["settings", "master key", "database", "connection add"]);
    assert!(first.stderr.contains("made: "), "{first:?}");
    assert_eq!(mode(&bench, "keywheel.toml"), 0o640);
    assert_eq!(mode(&bench, "master.key"), 0o600);
    assert_eq!(mode(&bench, "state"), 0o700);
    assert_eq!(mode(&bench, "state/keywheel.db"), 0o600);
    let again = bench.unchanged_by(|| init(&bench).exits(0));
    assert!(!again.stderr.contains("made: "), "{again:?}");
    bench.run(["connection", "list"]).exits(0);
}

#[test]
fn its_json_says_what_was_made() {
    let bench = Bench::bare("");
    let made = bench.run(["init", "-o", "json"]).exits(0).json();
    assert_eq!(fields(&made), ["master_key", "settings", "store"]);
    assert_eq!(made["settings"]["made"], false);
    assert_eq!(made["master_key"]["made"], true);
    assert_eq!(
        made["store"]["place"],
        bench.path("state/keywheel.db").to_str().unwrap()
    );
}

#[test]
fn another_state_folder_is_written_into_new_settings() {
    let bench = Bench::bare("");
    std::fs::remove_file(bench.path("keywheel.toml")).unwrap();
    bench.run(["init", "--state-dir", "elsewhere"]).exits(0);
    assert_eq!(mode(&bench, "elsewhere"), 0o700);
    assert!(bench.path("elsewhere/keywheel.db").exists());
    bench.run(["init", "--state-dir", "elsewhere"]).exits(0);
    let other = bench.unchanged_by(|| bench.run(["init", "--state-dir", "third"]).exits(2));
    other.says(["already has its database", "--state-dir"]);
}

#[test]
fn a_key_without_its_database_and_the_reverse_are_refused() {
    for (gone, said) in [
        ("state/keywheel.db", ["not its database", "backup"]),
        ("master.key", ["not its master key", "copy of the key"]),
    ] {
        let bench = Bench::new();
        std::fs::remove_file(bench.path(gone)).unwrap();
        bench.unchanged_by(|| init(&bench).exits(2)).says(said);
    }
}

#[test]
fn permissions_that_let_others_in_are_refused() {
    let bench = Bench::bare("");
    std::fs::create_dir(bench.path("state")).unwrap();
    bench.set_mode("state", 0o755);
    let run = bench.unchanged_by(|| init(&bench).exits(2));
    run.says(["state folder", "0755", "chmod 700"]);

    for (file, mode, said) in [
        ("keywheel.toml", 0o666, "chmod 640"),
        ("keywheel.toml", 0o644, "chmod 640"),
        ("master.key", 0o640, "chmod 0600"),
        ("state/keywheel.db", 0o644, "chmod 0600"),
    ] {
        let bench = Bench::new();
        let application = bench.application("app");
        bench.set_mode(file, mode);
        bench.unchanged_by(|| init(&bench).exits(2)).says([said]);
        let add = bench.unchanged_by(|| bench.add("app", &application, []).exits(2));
        add.says([said]);
    }
}

#[test]
fn a_key_from_the_environment_is_not_made() {
    let bench = Bench::bare("[master_key]\nenv = \"KEYWHEEL_MASTER_KEY\"");
    let run = bench.unchanged_by(|| init(&bench).exits(2));
    run.says(["KEYWHEEL_MASTER_KEY"]);
    let key = [("KEYWHEEL_MASTER_KEY", "0123456789abcdef".repeat(4))];
    let key = key.each_ref().map(|(name, value)| (*name, value.as_str()));
    bench.run_as(["init"], "", &key).exits(0);
    assert!(!bench.path("master.key").exists());
    let short = [("KEYWHEEL_MASTER_KEY", "0123")];
    let run = bench.unchanged_by(|| bench.run_as(["init"], "", &short).exits(2));
    run.says(["32 bytes"]);
}

#[test]
fn a_master_key_of_the_wrong_length_or_of_another_store_is_refused() {
    let other = Bench::new();
    for (key, said) in [
        ("c2hvcnQ=\n".to_owned(), "32 bytes"),
        (other.read("master.key"), "another store"),
    ] {
        let bench = Bench::new();
        let application = bench.application("app");
        bench.write("master.key", &key);
        bench.unchanged_by(|| init(&bench).exits(2)).says([said]);
        let add = bench.unchanged_by(|| bench.add("app", &application, []).exits(2));
        add.says([said]);
        // What only lists needs no key.
        bench.run(["connection", "list"]).exits(0);
    }
}
