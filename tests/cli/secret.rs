//! `secret` and `verify`

use keywheel::entra::KeyId;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::harness::{Bench, fields};

fn reads(bench: &Bench) -> usize {
    let history = bench.run(["history", "-o", "json"]).exits(0).json();
    let events = history.as_array().unwrap().iter();
    events
        .filter(|event| event["action"] == "secret-read")
        .count()
}

#[test]
fn secret_prints_the_value_and_is_recorded() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let value = application.keys[0].value.expose_secret();
    let run = bench.run(["secret", "app"]).exits(0);
    assert_eq!(
        (run.stdout, run.stderr),
        (format!("{value}\n"), String::new())
    );
    assert_eq!(reads(&bench), 1);
    let json = bench.run(["secret", "app", "-o", "json"]).exits(0).json();
    assert_eq!(
        fields(&json),
        ["connection", "expires_at", "key_id", "secret"]
    );
    assert_eq!(json["secret"], value);
    assert_eq!(reads(&bench), 2);
    bench.run(["secret", "ap"]).exits(2).says(["\"app\""]);
    assert_eq!(reads(&bench), 2);
}

#[test]
fn p6_what_can_not_be_recorded_is_not_printed() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let value = application.keys[0].value.expose_secret();
    let db = rusqlite::Connection::open(bench.path("state/keywheel.db")).unwrap();
    db.execute_batch(
        "CREATE TRIGGER no_record BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .unwrap();
    drop(db);
    let run = bench.run(["secret", "app"]).exits(1);
    assert!(!run.stdout.contains(value), "{run:?}");
    let run = bench.run(["secret", "app", "-o", "json"]).exits(1);
    assert!(!run.stdout.contains(value), "{run:?}");
}

#[test]
fn p6_no_log_at_any_level_holds_a_secret() {
    let bench = Bench::new();
    bench.adopted("app");
    let trace = [("KEYWHEEL_LOG", "trace")];
    for line in [
        ["rotate", "app"],
        ["verify", "app"],
        ["secret", "app"],
        ["deliver", "app"],
    ] {
        // The harness looks for every secret in what it says.
        let run = bench.run_as(line, "", &trace).exits(0);
        let quiet = line[0] == "secret";
        assert!(quiet || !run.stderr.is_empty(), "{run:?}");
    }
}

fn only_secret(json: &Value) -> &Value {
    let secrets = json["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 1, "{json}");
    &secrets[0]
}

#[test]
fn verify_tells_whether_every_stored_secret_signs_in() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let json = bench.run(["verify", "app", "-o", "json"]).exits(0).json();
    let secret = only_secret(&json);
    assert_eq!(fields(&json), ["connection", "secrets"]);
    assert_eq!(
        fields(secret),
        ["error", "key_id", "listed", "role", "signs_in"]
    );
    assert_eq!(
        (&secret["signs_in"], &secret["listed"]),
        (&true.into(), &true.into())
    );
    bench.run(["rotate", "app"]).exits(0);
    let json = bench.run(["verify", "app", "-o", "json"]).exits(0).json();
    assert_eq!(json["secrets"][0]["role"], "current");
    assert_eq!(json["secrets"][1]["role"], "previous");
    let key_id: KeyId = application.keys[0].key_id;
    assert!(bench.sandbox.delete_key(application.client_id, key_id));
    let run = bench.run(["verify", "app"]).exits(6);
    assert!(run.stdout.contains("no"), "{run:?}");
    let run = run.says([
        &format!("Key ID {key_id}: "),
        "file holds the current secret",
    ]);
    assert_eq!(run.stderr.matches("Key ID").count(), 1, "{run:?}");
    assert!(!run.stderr.contains("portal"), "a previous one: {run:?}");
    assert!(bench.mutations().len() == 1, "verify changes nothing");
}

#[test]
fn verify_advises_by_what_it_found_and_is_recorded() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    bench
        .run(["verify", "app"])
        .exits(0)
        .says(["file does not hold", "`keywheel deliver app`"]);
    bench.run(["rotate", "app"]).exits(0);
    let (old, new) = (application.keys[0].key_id, bench.current("app"));
    assert!(bench.sandbox.delete_key(application.client_id, new));
    let run = bench.run(["verify", "app"]);
    assert!(matches!(run.code, 3 | 6), "{run:?}");
    if run.code == 6 {
        run.says([&format!("Key ID {new}: "), "`keywheel rollback app`"]);
    }
    bench.run(["rollback", "app"]);
    assert!(bench.sandbox.delete_key(application.client_id, old));
    let run = bench.run(["verify", "app"]).exits(6);
    run.says(["`keywheel connection edit app --secret-file FILE`"]);
    let history = bench.run(["history", "app", "-o", "json"]).json();
    let events = history.as_array().unwrap().iter();
    let events: Vec<_> = events
        .filter(|it| it["action"] == "verified-by-hand")
        .collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["result"], "ok");
    assert_ne!(events[2]["result"], "ok");
}

#[test]
fn what_a_file_lacks_after_an_adoption_is_said() {
    let bench = Bench::new();
    let application = bench.application("app");
    bench.write("app.secret", "of-a-former-connection");
    let to = ["--to-file", "app.secret"];
    bench
        .add("app", &application, to)
        .exits(0)
        .says(["file does not hold", "keywheel deliver app"]);
    bench.run(["deliver", "app"]).exits(0);
    bench.run(["connection", "remove", "app", "--yes"]).exits(0);
    let again = bench.add("app", &application, to).exits(0);
    assert!(!again.stderr.contains("does not hold"), "{again:?}");
}

#[test]
fn a_refused_adoption_advises_no_edit_of_what_is_not_there() {
    let bench = Bench::new();
    let application = bench.application("app");
    let key_id = application.keys[0].key_id;
    assert!(bench.sandbox.delete_key(application.client_id, key_id));
    let line: Vec<String> = ["connection", "add", "app", "--pull"]
        .map(str::to_owned)
        .into_iter()
        .chain(bench.ids(&application))
        .collect();
    let run = bench
        .run_with(line, "abc~of-no-application-at-all-0123456789")
        .exits(1);
    assert!(!run.stderr.contains("connection edit"), "{run:?}");
}

#[test]
fn another_rotation_inside_an_overlap_is_told_beforehand() {
    let bench = Bench::new();
    bench.adopted("app");
    let first = bench.run(["rotate", "app"]).exits(0);
    assert!(!first.stderr.contains("adds another"), "{first:?}");
    bench
        .run(["rotate", "app"])
        .exits(0)
        .says(["ago still overlaps; this adds another"]);
}

#[test]
fn verify_without_a_network_can_not_tell() {
    let bench = Bench::new();
    bench.adopted("app");
    let bench = bench.cut_off();
    let run = bench.run(["verify", "app", "-o", "json"]).exits(3);
    assert_eq!(only_secret(&run.json())["signs_in"], Value::Null);
}

#[test]
fn verify_completes_an_adoption_without_checks() {
    let bench = Bench::new();
    let application = bench.application("app");
    let key_id = application.keys[0].key_id.to_string();
    let add = bench.add(
        "app",
        &application,
        ["--pull", "--no-check", "--key-id", &key_id],
    );
    add.exits(0).says(["nothing was checked"]);
    assert!(bench.sandbox.calls().is_empty());
    let run = bench.run(["verify", "app"]).exits(0);
    run.says(["have passed"]);
    let shown = bench
        .run(["connection", "show", "app", "-o", "json"])
        .json();
    assert_eq!(shown["object_id"], application.object_id.to_string());
}
