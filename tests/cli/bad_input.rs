//! Bad input: one clear sentence with its remedy, exit code 2, and nothing is changed.

use secrecy::ExposeSecret;

use crate::harness::Bench;

const GUID: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

/// `connection add app` with these flags, and what standard error must say.
#[test]
fn of_connection_add_each_fault_is_named_with_its_remedy() {
    let bench = Bench::new();
    let application = bench.application("app");
    bench.adopted("taken");
    let value = application.keys[0].value.expose_secret().to_owned();
    let tenant = application.tenant_id.to_string();
    let client = application.client_id.to_string();
    let ids = [
        "--tenant-id",
        &tenant,
        "--client-id",
        &client,
        "--cloud",
        "lab",
    ];
    let cases: &[(&[&str], &[&str])] = &[
        (&["--timezone", "Europe/Berln"], &["Europe/Berlin"]),
        (&["--cloud", "lba"], &["\"lab\""]),
        (&["--identity", "slef"], &["\"self\""]),
        (&["--overlap", "7 fortnights"], &["--overlap"]),
        (&["--overlap", "60d"], &["longer than the interval"]),
        (&["--lifetime-days", "31"], &["lifetime_days", "or more"]),
        (
            &["--interval-days", "0"],
            &["--interval-days", "whole number from 1 to 3650"],
        ),
        (&["--rotate-at", "25:00"], &["--rotate-at"]),
        (&["--key-id", "not-a-guid"], &["--key-id"]),
        (&["--label", "novalue"], &["--label"]),
        (&["--next-rotation-at", "soon"], &["--next-rotation-at"]),
        (
            &["--next-rotation-at", "2001-01-01T00:00:00Z"],
            &["is over"],
        ),
        (
            &["--rotate-now", "--next-rotation-at", "2099-01-01T00:00:00Z"],
            &["exclude each other"],
        ),
        (&["--no-check"], &["--key-id"]),
        (
            &["--to-file", "x", "--to-file-mode", "0666"],
            &["--to-file-mode"],
        ),
        (
            &["--to-file", "x", "--to-file-format", "dotenv"],
            &["--to-file-key"],
        ),
        (
            &["--to-file", "x", "--to-file-key", "K"],
            &["--to-file-format"],
        ),
        (&["--to-file-key", "K"], &["--to-file"]),
        (&["--to-file", "taken.secret"], &["taken already delivers"]),
        (
            &["--to-file", "none/x"],
            &["none does not exist", "make the folder"],
        ),
        (
            &["--to-file", "x", "--reload", "no-such-program"],
            &["no-such-program is missing", "install"],
        ),
        (
            &["--secret-file", "missing"],
            &["there is no secret file missing", "mend the path"],
        ),
        (&["--secret-file", "."], &["is a folder; name the file"]),
        (&["--tenant-di", GUID], &["--tenant-id"]),
    ];
    for (flags, said) in cases {
        let run = bench.unchanged_by(|| {
            let line = ["connection", "add", "app"].into_iter();
            // What is given twice, clap would blame: leave the first one out.
            let ids = ids.chunks(2).filter(|pair| !flags.contains(&pair[0]));
            let ids = ids.flatten().copied();
            bench.run_with(line.chain(ids).chain(flags.iter().copied()), &value)
        });
        let run = run.exits(2);
        for word in *said {
            assert!(run.stderr.contains(word), "{flags:?}: {word}\n{run:#?}");
        }
    }
}

#[test]
fn names_and_ids_that_are_none_are_refused() {
    let bench = Bench::new();
    bench.adopted("app");
    for (line, said) in [
        (vec!["connection", "show", "a/b"], "letters, digits"),
        (vec!["connection", "show", "ap"], "\"app\""),
        (vec!["connection", "edit", "ap", "--pull"], "\"app\""),
        (vec!["connection", "edit", "app"], "--help"),
        (
            vec!["connection", "edit", "app", "--remove-label", "x"],
            "has no label \"x\"; it has none at all",
        ),
        (
            vec!["connection", "edit", "app", "--remove-destination", "x"],
            "has no destination \"x\"; known: file",
        ),
        (vec!["sandbox", "--listen", "nowhere"], "127.0.0.1:8443"),
        (vec!["sandbox", "--apps", "many"], "whole number"),
        (vec!["connection", "pause", "ap"], "\"app\""),
        (vec!["connection", "export", "ap"], "\"app\""),
        (vec!["verify", "ap"], "\"app\""),
        (vec!["connection", "remove", "ap", "--yes"], "\"app\""),
        (vec!["connection", "resume", "ap"], "\"app\""),
        (vec!["rotate", "ap"], "\"app\""),
        (vec!["rotate", "app", "ap", "--dry-run"], "\"app\""),
        (vec!["revoke", "ap"], "\"app\""),
        (vec!["deliver", "ap"], "\"app\""),
        (vec!["deliver", "app", "--to", "x"], "known: file"),
        (vec!["rollback", "ap"], "\"app\""),
        (vec!["status", "ap"], "\"app\""),
        (vec!["history", "ap"], "\"app\""),
        (vec!["history", "nope"], "connection list"),
        (vec!["secret", "ap"], "\"app\""),
        (vec!["schedule", "ap"], "\"app\""),
        (
            vec!["schedule", "--count", "many"],
            "whole number from 1 to 10000",
        ),
        (
            vec!["connection", "add", "x", "--tenant-id", "x"],
            "--tenant-id",
        ),
        (vec!["apply", "-f", "missing.toml"], "no such file"),
        (vec!["conection"], "connection"),
    ] {
        let run = bench.unchanged_by(|| bench.run(&line)).exits(2);
        assert!(run.stderr.contains(said), "{line:?}: {said}\n{run:#?}");
    }
}

#[test]
fn what_is_no_secret_is_refused_before_anything_is_called() {
    let bench = Bench::new();
    let application = bench.application("app");
    let value = application.keys[0].value.expose_secret();
    let two_lines = format!("{value}\n{value}");
    for (input, said) in [
        ("", "empty"),
        ("\n", "empty"),
        (two_lines.as_str(), "line break"),
        (GUID, "Key ID"),
        ("a\u{1b}b", "characters that no secret has"),
    ] {
        let mut line = vec!["connection".to_owned(), "add".into(), "app".into()];
        line.extend(bench.ids(&application));
        let run = bench.unchanged_by(|| bench.run_with(line, input)).exits(2);
        run.says([said]);
    }
    bench.write("open", value);
    bench.set_mode("open", 0o644);
    let add = || bench.add("app", &application, ["--secret-file", "open"]);
    bench.unchanged_by(add).exits(2).says(["chmod 600"]);
}

#[test]
fn faults_of_the_settings_have_a_place() {
    for (text, said) in [
        (
            "[defaults]\nintervall_days = 3",
            [":15:1:", "\"interval_days\""],
        ),
        ("[defaults]\ntimezone = \"Mars\"", [":15:", "time zone"]),
        ("[defaults]\noverlap = \"soon\"", [":15:", "next-rotation"]),
    ] {
        let bench = Bench::bare(text);
        let run = bench.unchanged_by(|| bench.run(["init"]).exits(2));
        run.says(said).says(["keywheel.toml"]);
    }
    let bench = Bench::bare("");
    let run = bench.unchanged_by(|| bench.run(["connection", "list"]).exits(2));
    run.says(["keywheel init"]);
    let line = ["connection", "list", "--config", "none.toml"];
    let run = bench.unchanged_by(|| bench.run(line).exits(2));
    let run = run.says(["none.toml", "keywheel init", "--config"]);
    assert_eq!(run.stderr.matches("keywheel init").count(), 1, "{run:?}");
}

#[test]
fn with_json_every_fault_is_a_document_on_standard_output() {
    let bench = Bench::new();
    for line in [
        vec!["connection", "show", "none", "-o", "json"],
        vec!["connection", "show", "-o", "json"],
        vec!["connection", "list", "--config", "none.toml", "-o", "json"],
    ] {
        let run = bench.run(&line).exits(2);
        let error = &run.json()["error"];
        assert!(error["code"].is_string(), "{run:?}");
        assert!(error["message"].is_string(), "{run:?}");
    }
}
