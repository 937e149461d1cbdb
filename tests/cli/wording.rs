//! Small things that a newcomer reads.

use crate::harness::Bench;

#[test]
fn what_is_to_come_is_not_told_as_done() {
    let (bench, _) = Bench::with_app();
    for line in ["connection show app", "status app"] {
        let told = bench.line(line).exits(0).stdout;
        assert!(told.contains("nothing delivered yet"), "{told}");
    }
    let json = bench.line("connection show app -o json").exits(0).json();
    assert_eq!(json["destinations"][0]["state"], "unknown");
    bench.line("rotate app").exits(0);
    let told = bench.line("connection show app").exits(0).stdout;
    assert!(told.contains("to be revoked at 20"), "{told}");
}

#[test]
fn what_follows_from_an_interval_is_said() {
    let (bench, _) = Bench::with_app();
    bench
        .line("connection edit app --interval-days 3")
        .exits(0)
        .says(["the overlap goes from 7d to ", "goes from 67 to 13 days"]);
    let again = bench.line("connection edit app --label team=x").exits(0);
    assert!(!again.stderr.contains("note:"), "{again:?}");
}

#[test]
fn off_a_terminal_it_is_said_what_takes_long() {
    let (bench, _) = Bench::with_app();
    bench
        .line("rotate app")
        .exits(0)
        .says(["rotating app: takes about "]);
    bench
        .line("revoke app --yes")
        .exits(0)
        .says(["revoking secrets of app: takes about "]);
}

#[test]
fn commands_that_people_guess_are_told_where_they_are() {
    let bench = Bench::new();
    for (line, meant) in [
        ("list", "connection list"),
        ("connections", "connection list"),
        ("show app", "connection show NAME"),
    ] {
        bench.line(line).exits(2).says([meant]);
    }
    let help = bench.line("status --help").exits(0).stdout;
    let (own, global) = help.split_once("Global options:").unwrap();
    assert!(
        !own.contains("--config") && global.contains("--config"),
        "{help}"
    );
    let help = bench.line("--help").exits(0).stdout;
    assert!(!help.contains("--fail-on"), "{help}");
}

#[test]
fn in_utc_the_schedule_has_one_time() {
    let bench = Bench::new();
    let line =
        "schedule --interval-days 30 --rotate-at 02:30 --from 2026-03-01T01:30:00Z --count 1";
    let utc = bench
        .line(&format!("{line} --timezone UTC"))
        .exits(0)
        .stdout;
    assert!(!utc.contains("LOCAL"), "{utc}");
    let berlin = bench.line(&format!("{line} --timezone Europe/Berlin"));
    assert!(berlin.exits(0).stdout.contains("LOCAL"));
}
