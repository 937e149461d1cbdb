//! `schedule`

use std::process::Command;

use crate::harness::{Bench, Run};

/// Without settings: there are none to be found.
fn suppose(line: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
    command
        .env_clear()
        .env("KEYWHEEL_CONFIG", "/nowhere/keywheel.toml")
        .arg("schedule")
        .args(line.split_whitespace());
    Run::of(command, "")
}

#[test]
fn f3_a_skipped_time_runs_after_the_gap_and_needs_no_settings() {
    let line = "--interval-days 30 --rotate-at 02:30 --timezone Europe/Berlin \
                --from 2026-02-27T01:30:00Z --count 2 -o json";
    let document = suppose(line).exits(0).json();
    assert_eq!(
        document,
        serde_json::json!([
            {
                "connection": null,
                "at": "2026-03-29T01:30:00Z",
                "local": "2026-03-29T03:30:00+02:00[Europe/Berlin]"
            },
            {
                "connection": null,
                "at": "2026-04-28T00:30:00Z",
                "local": "2026-04-28T02:30:00+02:00[Europe/Berlin]"
            }
        ])
    );
}

#[test]
fn f5_an_unknown_zone_is_told_with_the_nearest() {
    let line = "--interval-days 30 --rotate-at 02:30 --timezone Europe/Berln \
                --from 2026-02-27T01:30:00Z";
    let ran = suppose(line).exits(2);
    assert!(ran.stderr.contains("Europe/Berlin"), "{}", ran.stderr);
}

#[test]
fn half_a_rule_is_refused() {
    let ran = suppose("--interval-days 30 --rotate-at 02:30").exits(2);
    assert!(ran.stderr.contains("--timezone"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--from"), "{}", ran.stderr);
}

#[test]
fn each_connection_with_its_own_next_rotation_first() {
    let (bench, _) = Bench::with_app();
    bench.adopted("billing");
    let document = bench.line("schedule --count 3 -o json").exits(0).json();
    let slots = document.as_array().unwrap();
    assert_eq!(slots.len(), 6);
    let of_app = bench.line("schedule app --count 3 -o json").exits(0);
    assert_eq!(of_app.json().as_array().unwrap()[..], slots[..3]);
    let shown = bench.line("status app -o json").exits(0).json();
    assert_eq!(slots[0]["at"], shown[0]["next_rotation_at"]);
    for slot in &slots[..3] {
        let local = slot["local"].as_str().unwrap();
        assert!(local.contains("T10:00:00"), "{local}");
        assert!(local.ends_with("[Europe/Berlin]"), "{local}");
    }
}
