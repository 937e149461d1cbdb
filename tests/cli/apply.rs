//! `apply`: the same, declared.

use keywheel::sandbox::{NewPassword, Registered};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{Bench, fields};

/// A `[[connection]]`; its present secret is put into a file beside it.
fn block(bench: &Bench, name: &str, application: &Registered, more: &str) -> String {
    let file = format!("{name}.given");
    bench.write(&file, application.keys[0].value.expose_secret());
    format!(
        "[[connection]]\nname = \"{name}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\n\
         cloud = \"lab\"\nsecret_file = \"{file}\"\n{more}\n",
        application.tenant_id, application.client_id
    )
}

fn results(json: &Value) -> Vec<(&str, &str)> {
    let items = json.as_array().unwrap().iter();
    items
        .map(|item| {
            let name = item["connection"].as_str().unwrap();
            (name, item["result"].as_str().unwrap())
        })
        .collect()
}

/// The secret of an application, as a store that is lost has made it.
fn made_elsewhere(bench: &Bench, name: &str) -> Registered {
    let mut application = bench.application(name);
    let given = application.keys.remove(0);
    let client_id = application.client_id;
    bench.sandbox.delete_key(client_id, given.key_id);
    let instance = "keywheel/01ARZ3NDEKTSV4RRFFQ69G5FAV/01BX5ZZKBKACTAV9WEVGEMMVRZ";
    let theirs = NewPassword {
        display_name: Some(instance.to_owned()),
        ..NewPassword::until(given.end.unwrap())
    };
    application.keys = vec![bench.sandbox.add_key(client_id, theirs).unwrap()];
    application
}

#[test]
fn g5_p5_what_another_instance_made_is_taken_over_only_when_that_is_written() {
    let bench = Bench::new();
    let [one, two] = ["one", "two"].map(|name| made_elsewhere(&bench, name));
    let refused = bench.add("one", &one, ["--pull"]).exits(1);
    refused.says(["another instance", "--take-over"]);
    let added = bench.add("one", &one, ["--pull", "--take-over"]).exits(0);
    added.says(["01ARZ3NDEKTSV4RRFFQ69G5FAV", "taken over"]);
    bench.write("c.toml", &block(&bench, "two", &two, "pull = true"));
    let refused = bench.run(["apply", "-f", "c.toml"]).exits(1);
    refused.says(["take_over = true"]);
    let text = block(&bench, "two", &two, "pull = true\ntake_over = true");
    bench.write("c.toml", &text);
    let line = ["apply", "-f", "c.toml", "--prune", "--dry-run"];
    bench.unchanged_by(|| bench.run(line).exits(0));
    let added = bench.run(["apply", "-f", "c.toml"]).exits(0);
    added.says(["taken over"]);
    // It counts only while a connection is new, and is no part of it.
    let again = bench.run(["apply", "-f", "c.toml"]).exits(0).stdout;
    assert!(again.contains("unchanged"), "{again}");
    let exported = bench.run(["connection", "export"]).exits(0).stdout;
    assert!(!exported.contains("take_over"), "{exported}");
    let history = bench.run(["history", "two"]).exits(0).stdout;
    assert!(history.contains("taken-over"), "{history}");
}

#[test]
fn it_adds_changes_leaves_and_prunes() {
    let bench = Bench::new();
    let [kept, changed, pruned, added] =
        ["kept", "changed", "pruned", "added"].map(|name| bench.application(name));
    let kept = block(&bench, "kept", &kept, "pull = true");
    let before = block(&bench, "changed", &changed, "pull = true");
    let pruned = block(&bench, "pruned", &pruned, "pull = true");
    bench.write("c.toml", &format!("{kept}{before}{pruned}"));
    let first = bench.run(["apply", "-f", "c.toml"]).exits(0);
    assert_eq!(first.stdout.matches(" added").count(), 3, "{first:?}");

    let after = block(
        &bench,
        "changed",
        &changed,
        "pull = true\ninterval_days = 45",
    );
    let added = block(&bench, "added", &added, "pull = true");
    bench.write("c.toml", &format!("{kept}{after}{added}"));
    let line = ["apply", "-f", "c.toml", "--prune", "-o", "json"];
    let expected = [
        ("pruned", "removed"),
        ("kept", "unchanged"),
        ("changed", "changed"),
        ("added", "added"),
    ];
    let dry = bench.unchanged_by(|| bench.run(line.into_iter().chain(["--dry-run"])).exits(0));
    let dry = dry.json();
    assert_eq!(results(&dry), expected);
    assert_eq!(
        fields(&dry[0]),
        ["changes", "connection", "dry_run", "error", "result"]
    );
    assert_eq!(
        dry[2]["changes"],
        json!([{"field": "interval_days", "from": null, "to": 45}])
    );
    // Somebody has to agree that one goes.
    bench.unchanged_by(|| bench.run(line).exits(2));
    let done = bench.run(line.into_iter().chain(["--yes"])).exits(0).json();
    assert_eq!(results(&done), expected);
    let list = bench
        .run(["connection", "list", "-o", "json"])
        .exits(0)
        .json();
    let names: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["added", "changed", "kept"]);
}

#[test]
fn i6_one_bad_connection_hides_no_other() {
    let bench = Bench::new();
    let [good, bad] = ["good", "bad"].map(|name| bench.application(name));
    let good = block(&bench, "good", &good, "pull = true");
    let bad = block(&bench, "bad", &bad, "pull = true");
    // Only a call can tell that it is no secret of this application.
    bench.write("bad.given", "abcdefghijklmnopqrstuvwxyz0123456789ABCD");
    bench.write("c.toml", &format!("{bad}{good}"));
    let run = bench.run(["apply", "-f", "c.toml", "-o", "json"]).exits(1);
    let json = run.json();
    assert_eq!(results(&json), [("bad", "failed"), ("good", "added")]);
    assert!(json[0]["error"]["code"].is_string(), "{json}");
    assert_eq!(json[1]["error"], Value::Null);
}

#[test]
fn what_is_wrong_with_any_is_found_before_the_first_is_touched() {
    let bench = Bench::new();
    let [good, bad, worse] = ["good", "bad", "worse"].map(|name| bench.application(name));
    let good = block(&bench, "good", &good, "pull = true");
    let bad = block(&bench, "bad", &bad, "pull = true");
    let worse = block(&bench, "worse", &worse, "pull = true");
    bench.write("bad.given", "two\nlines");
    std::fs::remove_file(bench.path("worse.given")).unwrap();
    bench.write("c.toml", &format!("{good}{bad}{worse}"));
    let run = bench.unchanged_by(|| bench.run(["apply", "-f", "c.toml"]).exits(2));
    run.says([
        "connection bad",
        "line break",
        "connection worse",
        "worse.given",
    ]);
}

#[test]
fn what_is_immutable_is_refused() {
    let bench = Bench::new();
    let [first, second] = ["first", "second"].map(|name| bench.application(name));
    bench.write("c.toml", &block(&bench, "app", &first, "pull = true"));
    bench.run(["apply", "-f", "c.toml"]).exits(0);
    bench.write("c.toml", &block(&bench, "app", &second, "pull = true"));
    let run = bench.unchanged_by(|| bench.run(["apply", "-f", "c.toml"]).exits(2));
    run.says(["client_id can't be changed"]);
}

#[test]
fn a_new_one_may_rotate_at_once() {
    let bench = Bench::new();
    let application = bench.application("app");
    let more = "rotate_now = true\n[[connection.destination]]\nkind = \"file\"\npath = \"out\"";
    bench.write("c.toml", &block(&bench, "app", &application, more));
    bench.run(["apply", "-f", "c.toml"]).exits(0);
    let keys = bench.sandbox.keys(application.client_id);
    assert_eq!(keys.len(), 2);
    assert_eq!(bench.read("out"), keys[1].value.expose_secret());
    // It counts only while the connection is new.
    bench.run(["apply", "-f", "c.toml"]).exits(0);
    assert_eq!(bench.mutations().len(), 1);
}

#[test]
fn what_a_new_place_lacks_is_found_for_all_at_once_with_its_line() {
    let bench = Bench::new();
    let names = ["one", "two", "three", "four", "kept"];
    let [one, two, three, four, kept] = names.map(|name| bench.application(name));
    let place = |more: &str| format!("[[connection.destination]]\nkind = \"file\"\n{more}\n");
    let kept = block(&bench, "kept", &kept, &place("path = \"kept.out\""));
    bench.write("c.toml", &kept);
    bench.run(["apply", "-f", "c.toml"]).exits(0);
    // One that the store has already hinders nobody else.
    std::fs::create_dir(bench.path("kept.out")).unwrap();
    bench.run(["apply", "-f", "c.toml"]).exits(0);
    let text = [
        kept,
        block(
            &bench,
            "one",
            &one,
            &place("path = \"a\"\nowner = \"rooot\"\ngroup = \"no-such-group-here\""),
        ),
        block(
            &bench,
            "two",
            &two,
            &place("path = \"none/b\"\nreload = [\"no-such-program\"]"),
        ),
        block(
            &bench,
            "three",
            &three,
            "next_rotation_at = 2001-01-01T00:00:00Z",
        ),
        block(&bench, "four", &four, "pull = true").replace("four.given", "nine.given"),
    ]
    .concat();
    bench.write("c.toml", &text);
    let at = |what: &str| {
        let before = &text[..text.find(what).unwrap()];
        let start = before.rfind('\n').unwrap() + 1;
        format!(
            "c.toml:{}:{}: ",
            before.matches('\n').count() + 1,
            before.len() - start + 1
        )
    };
    for more in [vec![], vec!["--dry-run"], vec!["--prune", "--yes"]] {
        let line = ["apply", "-f", "c.toml"].into_iter().chain(more);
        let run = bench.unchanged_by(|| bench.run(line).exits(2));
        for (what, said) in [
            (
                "\"rooot\"",
                "there is no user \"rooot\" on this host; did you mean \"root\"?; add",
            ),
            ("\"no-such-group-here\"", "there is no group"),
            ("\"none/b\"", "none does not exist; make the folder"),
            (
                "[\"no-such-program\"]",
                "the reload command no-such-program is missing",
            ),
            ("2001-01-01T", "is over"),
            ("\"nine.given\"", "there is no secret file"),
        ] {
            let place = at(what);
            let told = run.stderr.lines().find(|line| line.contains(&place));
            let told = told.unwrap_or_else(|| panic!("{place}{what}: {run:#?}"));
            assert!(told.contains(said), "{said}: {told}");
        }
        assert_eq!(run.stderr.matches("c.toml:").count(), 6, "{run:#?}");
    }
}
