//! `connection add`, `list`, `show`, `pause`, `resume`, `remove`, `restore`, `export`

use keywheel::sandbox::{Action, Fault, GraphError, Kind, NewPassword, RetryAfter};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::harness::{Bench, fields};

#[test]
fn add_adopts_what_is_on_standard_input_and_says_what_comes_next() {
    let bench = Bench::new();
    let application = bench.application("app");
    let foreign = bench
        .sandbox
        .add_key(application.client_id, NewPassword::default())
        .unwrap();
    let run = bench
        .add("app", &application, ["--to-file", "app.secret"])
        .exits(0);
    let key_id = application.keys[0].key_id.to_string();
    assert!(run.stdout.contains(&key_id), "{run:?}");
    run.says([
        &key_id,
        "worked out",
        &foreign.key_id.to_string(),
        "never touched",
        "identity `self`",
        "next: keywheel rotate app",
    ]);
    assert!(!bench.path("app.secret").exists(), "nothing was delivered");
    assert!(bench.mutations().is_empty(), "nothing was changed in Entra");
}

#[test]
fn adopt_is_the_same_and_its_json_is_the_one_of_show() {
    let bench = Bench::new();
    let application = bench.application("app");
    let value = application.keys[0].value.expose_secret();
    let file = bench.write("given", &format!("{value}\r\n"));
    let mut line = vec!["adopt".to_owned(), "app".to_owned()];
    line.extend(bench.ids(&application));
    line.extend(["--secret-file".into(), file.display().to_string()]);
    line.extend(["--label", "team=a", "--pull", "-o", "json"].map(str::to_owned));
    let added = bench.run(line).exits(0).json();
    let shown = bench.run(["connection", "show", "app", "-o", "json"]);
    assert_eq!(added, shown.exits(0).json());
    assert_eq!(
        fields(&added),
        [
            "client_id",
            "cloud",
            "current",
            "destinations",
            "health",
            "identity",
            "interval_days",
            "labels",
            "last_error",
            "lifetime_days",
            "name",
            "next_action",
            "next_rotation_at",
            "object_id",
            "overlap",
            "paused",
            "previous",
            "pull",
            "rotate_at",
            "safe_until",
            "state",
            "tenant_id",
            "timezone",
        ]
    );
    assert_eq!(added["labels"]["team"], "a");
    assert_eq!(added["pull"], true);
    let list = bench.run(["connection", "list", "-o", "json"]).exits(0);
    assert_eq!(list.json(), Value::Array(vec![added]));
}

#[test]
fn rotate_now_rotates_at_once_and_ends_with_its_code() {
    let bench = Bench::new();
    let application = bench.application("app");
    let more = ["--to-file", "app.secret", "--rotate-now", "-o", "json"];
    let shown = bench.add("app", &application, more).exits(0).json();
    assert_eq!(shown["state"], "overlapping");
    let keys = bench.sandbox.keys(application.client_id);
    assert_eq!(keys.len(), 2);
    assert_eq!(bench.read("app.secret"), keys[1].value.expose_secret());

    let refused = bench.application("refused");
    let full =
        Fault::on(Kind::AddPassword, Action::Refuse(GraphError::Denied)).of(refused.client_id);
    bench.sandbox.inject(full);
    let run = bench.add("refused", &refused, ["--pull", "--rotate-now"]);
    run.exits(6);
}

#[test]
fn list_is_a_line_for_each_and_show_lines_of_key_and_value() {
    let bench = Bench::new();
    let empty = bench.run(["connection", "list"]).exits(0);
    assert_eq!(empty.stdout, "");
    empty.says(["there are no connections"]);
    bench.adopted("one");
    bench.adopted("two");
    let list = bench.run(["connection", "list"]).exits(0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1].trim().starts_with("one ") && lines[2].trim().starts_with("two "));
    let show = bench.run(["connection", "show", "one"]).exits(0).stdout;
    for line in ["name:          one", "state:         idle"] {
        assert!(show.contains(line), "{show}");
    }
}

#[test]
fn pause_holds_and_resume_tries_again_what_is_blocked() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let fault =
        Fault::on(Kind::AddPassword, Action::Refuse(GraphError::Denied)).of(application.client_id);
    bench.sandbox.inject(fault);
    bench.run(["rotate", "app"]).exits(6);
    let paused = bench.run(["connection", "pause", "app", "-o", "json"]);
    assert_eq!(paused.exits(0).json()["paused"], true);
    bench.run(["rotate", "app"]).exits(6);
    let resumed = bench.run(["connection", "resume", "app", "-o", "json"]);
    let resumed = resumed.exits(0).json();
    assert_eq!(
        (&resumed["paused"], &resumed["state"]),
        (&false.into(), &"overlapping".into())
    );
    bench.run(["connection", "resume", "app"]).exits(0);
}

#[test]
fn remove_asks_prints_what_stays_and_can_be_taken_back() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let key_id = application.keys[0].key_id.to_string();
    let unasked = bench.unchanged_by(|| bench.run(["connection", "remove", "app"]).exits(2));
    unasked.says(["--yes"]);
    let removed = bench.run(["connection", "remove", "app", "--yes", "-o", "json"]);
    let removed = removed.exits(0).json();
    assert_eq!(removed["key_ids"], serde_json::json!([key_id]));
    assert_eq!(
        fields(&removed),
        ["connection", "key_ids", "restorable_until"]
    );
    assert!(bench.mutations().is_empty());
    for line in [["connection", "show"], ["connection", "pause"]] {
        let run = bench.run(line.into_iter().chain(["app"])).exits(2);
        run.says(["was removed", "keywheel connection restore app"]);
    }
    bench.run(["secret", "app"]).exits(2);
    bench.run(["history", "ap"]).exits(2).says(["\"app\""]);
    bench
        .run(["connection", "restore", "ap"])
        .exits(2)
        .says(["\"app\""]);
    bench.run(["connection", "restore", "app"]).exits(0);
    let secret = bench.run(["secret", "app"]).exits(0).stdout;
    assert_eq!(secret.trim_end(), application.keys[0].value.expose_secret());
    let again = bench.run(["connection", "restore", "app"]).exits(2);
    again.says(["is not removed", "keywheel status app"]);
}

#[test]
fn remove_refuses_during_a_rotation() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    // Longer than a one-shot has patience: the rotation stands where it is.
    let throttled = Action::Throttle(RetryAfter::Seconds(3600));
    bench
        .sandbox
        .inject(Fault::on(Kind::AddPassword, throttled));
    bench.run(["rotate", "app"]).exits(3);
    let run = bench.unchanged_by(|| {
        let line = ["connection", "remove", "app", "--yes"];
        bench.run(line).exits(6)
    });
    run.says(["stands at intended", "let it end first"]);
    assert_eq!(bench.sandbox.keys(application.client_id).len(), 1);
}

#[test]
fn export_prints_what_apply_reads() {
    let bench = Bench::new();
    bench.adopted("one");
    let two = bench.application("two");
    let more = ["--pull", "--interval-days", "45", "--label", "team=a"];
    bench.add("two", &two, more).exits(0);
    let text = bench.run(["connection", "export"]).exits(0).stdout;
    bench.write("exported.toml", &text);
    let applied = bench.run(["apply", "-f", "exported.toml", "-o", "json"]);
    let applied = applied.exits(0).json();
    let results: Vec<&Value> = applied.as_array().unwrap().iter().collect();
    assert_eq!(results.len(), 2);
    for item in results {
        assert_eq!(item["result"], "unchanged", "{item}");
    }
    let one = bench.run(["connection", "export", "two"]).exits(0).stdout;
    assert!(one.contains("\"two\"") && !one.contains("\"one\""), "{one}");
}
