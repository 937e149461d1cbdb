//! A store whose disk is full.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Bench, Run};

/// The kernel refuses to let any file grow: what a full disk looks like to SQLite.
fn on_a_full_disk(bench: &Bench, line: &str) -> Run {
    let inner = bench.command(line.split_whitespace());
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(bench.folder.path())
        .env("KEYWHEEL_CONFIG", bench.path("keywheel.toml"));
    Run::of(limited, "")
}

fn lacks(path: &Path) -> bool {
    !path.exists()
}

#[test]
fn d1_commands_that_look_answer_on_a_full_disk_and_the_rest_say_what_to_do() {
    let (bench, _) = Bench::with_app();
    bench.line("rotate app").exits(0);
    assert!(lacks(&bench.path("state/keywheel.db-wal")), "a clean end");
    let before = fs::read(bench.path("state/keywheel.db")).unwrap();
    for line in [
        "status",
        "status app",
        "history",
        "schedule",
        "connection list",
    ] {
        let told = on_a_full_disk(&bench, line).exits(0);
        assert!(told.stdout.contains("app"), "{told:#?}");
        told.says(["state/keywheel.db", "free space", "run the same command"]);
    }
    let document = on_a_full_disk(&bench, "status -o json").exits(0).json();
    assert_eq!(document[0]["name"], "app");
    on_a_full_disk(&bench, "rotate app").exits(1).says([
        "state/keywheel.db",
        "free space",
        "what was made is safe",
    ]);
    assert!(fs::read(bench.path("state/keywheel.db")).unwrap() == before);
    bench.line("status app").exits(0);
}
