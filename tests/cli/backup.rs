//! `backup` and `restore`

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::Bench;

#[test]
fn d5_a_restored_backup_does_nothing_by_itself_and_says_what_has_changed_since() {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    let backed_up = bench.line("backup kept -o json").exits(0).json();
    assert_eq!(backed_up["connections"], 1);
    assert_eq!(backed_up["master_key_fingerprint"], bench.fingerprint());
    let mode = bench.path("kept").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let then = bench.current("app");
    // Both that the backup knows are revoked since.
    bench.line("rotate app --revoke-now").exits(0);
    let since = bench.current("app");
    fs::rename(bench.path("state"), bench.path("lost")).unwrap();

    let restored = bench.line("restore kept").exits(0);
    assert!(
        restored.stdout.contains("all paused"),
        "{}",
        restored.stdout
    );
    restored.says(["keywheel connection resume", "keywheel orphans"]);
    assert_eq!(bench.current("app"), then);
    let mutations = bench.mutations().len();
    bench.line("rotate --due").exits(0);
    bench.line("rotate app").exits(6).says(["paused"]);
    assert_eq!(bench.mutations().len(), mutations, "P3: nothing is removed");
    assert!(bench.keys(&application).contains(&since));
    assert!(
        bench.signs_in("app", &application),
        "P2: the file is left alone"
    );
    let verified = bench.line("verify app");
    assert_ne!(verified.code, 0, "{}", verified.stdout);
    let history = bench.line("history -o json").exits(0).json();
    let last = history
        .as_array()
        .unwrap()
        .iter()
        .rfind(|it| it["connection"].is_null());
    assert_eq!(last.unwrap()["action"], "restored");
    bench.line("history --verify").exits(0);
}

#[test]
fn nothing_is_written_over_and_the_remedy_is_said() {
    let (bench, _) = Bench::with_app();
    bench.line("backup kept").exits(0);
    bench
        .unchanged_by(|| bench.line("backup kept").exits(2))
        .says(["already"]);
    bench
        .unchanged_by(|| bench.line("restore kept").exits(2))
        .says(["move", "keywheel.db"]);
}

#[test]
fn d4_a_backup_without_its_master_key_is_refused_and_nothing_is_made() {
    let (bench, _) = Bench::with_app();
    bench.line("backup kept").exits(0);
    fs::rename(bench.path("state"), bench.path("lost")).unwrap();
    fs::rename(bench.path("master.key"), bench.path("lost.key")).unwrap();
    bench.line("restore kept").exits(2).says(["master key"]);
    assert!(!bench.path("state/keywheel.db").exists());
}

#[test]
fn history_tells_when_it_was_changed() {
    let (bench, _) = Bench::with_app();
    let chain = bench.line("history --verify -o json").exits(0).json();
    let head = chain["head"].as_str().unwrap().to_owned();
    bench.line("rotate app").exits(0);
    let line = format!("history --verify --head {head}");
    bench.line(&line).exits(0);
    let database = rusqlite::Connection::open(bench.path("state/keywheel.db")).unwrap();
    database
        .execute(
            "UPDATE event SET record = replace(record, 'promoted', 'nothing')",
            [],
        )
        .unwrap();
    bench
        .line(&line)
        .exits(1)
        .says(["was changed or taken out"]);
    bench.line("history --verify --head zz").exits(2);
}
