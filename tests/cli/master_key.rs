//! `master-key rotate`

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keywheel::store::master_key;
use secrecy::ExposeSecret;

use crate::harness::Bench;

#[test]
fn d4_twice_a_new_master_key_and_everything_still_opens() {
    let (bench, application) = Bench::with_app();
    bench.line("rotate app").exits(0);
    let mut keys = vec![fs::read(bench.path("master.key")).unwrap()];
    for _ in 0..2 {
        let ran = bench.line("master-key rotate -o json").exits(0);
        assert_eq!(ran.json()["resealed"], 2, "current and previous");
        assert_eq!(ran.json()["fingerprint"].as_str().unwrap().len(), 32);
        let key = fs::read(bench.path("master.key")).unwrap();
        assert!(!keys.contains(&key), "a new one each time");
        let mode = fs::metadata(bench.path("master.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        keys.push(key);
        fs::remove_file(bench.path("app.secret")).unwrap();
        bench.line("deliver app").exits(0);
        assert!(bench.signs_in("app", &application), "it opened");
    }
    bench.line("rotate app").exits(0);
    let history = bench.line("history").exits(0).stdout;
    assert_eq!(history.matches("master-key-changed").count(), 2);
    let ran = bench.line("master-key rotate").exits(0);
    assert!(ran.stdout.starts_with("done: "), "{}", ran.stdout);
}

#[test]
fn d4_a_key_of_another_store_changes_nothing() {
    let (bench, _) = Bench::with_app();
    let right = fs::read(bench.path("master.key")).unwrap();
    fs::remove_file(bench.path("master.key")).unwrap();
    master_key::create(&bench.path("master.key")).unwrap();
    let wrong = fs::read(bench.path("master.key")).unwrap();
    let ran = bench.line("master-key rotate -o json").exits(2);
    assert_eq!(ran.error_code(), "master-key");
    assert_eq!(fs::read(bench.path("master.key")).unwrap(), wrong);
    fs::write(bench.path("master.key"), right).unwrap();
    bench.line("rotate app").exits(0);
}

#[test]
fn p6_a_key_that_others_can_read_is_refused_with_the_remedy() {
    let (bench, _) = Bench::with_app();
    let before = fs::read(bench.path("master.key")).unwrap();
    fs::set_permissions(bench.path("master.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = bench.line("master-key rotate").exits(2);
    assert!(ran.stderr.contains("chmod 0600"), "{}", ran.stderr);
    assert_eq!(fs::read(bench.path("master.key")).unwrap(), before);
}

#[test]
fn a_key_that_can_t_be_written_is_told_how_by_hand() {
    let (bench, _) = Bench::with_app();
    for (source, word) in [
        ("credential = \"master-key\"", "systemd-creds encrypt"),
        ("env = \"KEYWHEEL_MASTER_KEY\"", "KEYWHEEL_MASTER_KEY"),
    ] {
        let settings = bench.read("keywheel.toml");
        bench.write(
            "keywheel.toml",
            &format!("[master_key]\n{source}\n\n{settings}"),
        );
        let ran = bench.line("master-key rotate").exits(2);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
        assert!(ran.stderr.contains("`file`"), "{}", ran.stderr);
        bench.write("keywheel.toml", &settings);
    }
}

/// What must be said of a key that is not there, or is not this store's: where, which one it must
/// be, and never that a new one could be made, for that would lose every secret.
fn assert_remedied(bench: &Bench, variables: &[(&str, &str)], said: &[&str]) {
    let fingerprint = bench.fingerprint();
    let application = bench.application("other");
    let value = application.keys[0].value.expose_secret().to_owned();
    let ids = bench.ids(&application);
    let mut add: Vec<String> = ["connection", "add", "other", "--pull"]
        .map(Into::into)
        .into();
    add.extend(ids);
    for line in [
        vec!["init".to_owned()],
        vec!["secret".into(), "app".into()],
        vec!["rotate".into(), "app".into()],
        vec!["deliver".into(), "app".into()],
        add,
    ] {
        let run = bench.unchanged_by(|| bench.run_as(&line, &value, variables).exits(2));
        for word in said {
            assert!(run.stderr.contains(word), "{word}: {run:#?}");
        }
        if line[0] != "init" || !run.stderr.contains("not its master key") {
            assert!(run.stderr.contains(&fingerprint), "{run:#?}");
        }
        assert!(!run.stderr.contains("urandom"), "{run:#?}");
        assert_eq!(run.stdout, "");
    }
    // What only lists needs no key, and says so; what a service is given, a shell may lack.
    let settings = bench.read("keywheel.toml");
    let elsewhere = settings.contains("credential =") || settings.contains("env =");
    let told = bench.run(["status"]).exits(if elsewhere { 0 } else { 2 });
    assert!(told.stderr.contains("master key"), "{told:#?}");
}

#[test]
fn a_key_that_is_missing_or_of_another_store_is_to_be_put_back() {
    let other = Bench::new();
    for (key, said) in [
        (None, ["master.key", "copy"]),
        (Some("c2hvcnQ=\n".to_owned()), ["not 32 bytes", "copy"]),
        (Some(other.read("master.key")), ["another store", "copy"]),
    ] {
        let bench = Bench::new();
        bench.adopted("app");
        match key {
            Some(key) => drop(bench.write("master.key", &key)),
            None => fs::remove_file(bench.path("master.key")).unwrap(),
        }
        assert_remedied(&bench, &[], &said);
    }
}

#[test]
fn a_credential_or_a_variable_that_is_missing_is_to_be_given_again() {
    let other = Bench::new();
    for (source, variables, said) in [
        (
            "credential = \"kw\"",
            vec![],
            ["credential kw", "LoadCredential"],
        ),
        (
            "credential = \"kw\"",
            vec![("CREDENTIALS_DIRECTORY", "/nowhere")],
            ["credential kw", "LoadCredential"],
        ),
        ("env = \"KW\"", vec![], ["variable KW", "set KW"]),
        ("env = \"KW\"", vec![("KW", "")], ["variable KW", "set KW"]),
        (
            "env = \"KW\"",
            vec![("KW", "c2hvcnQ=")],
            ["variable KW", "not 32 bytes"],
        ),
        (
            "env = \"KW\"",
            vec![("KW", "other")],
            ["variable KW", "another store"],
        ),
    ] {
        let bench = Bench::new();
        bench.adopted("app");
        let settings = bench.read("keywheel.toml");
        bench.write(
            "keywheel.toml",
            &format!("[master_key]\n{source}\n{settings}"),
        );
        let key = other.read("master.key");
        let variables: Vec<_> = variables
            .into_iter()
            .map(|(name, value)| (name, if value == "other" { key.trim() } else { value }))
            .collect();
        assert_remedied(&bench, &variables, &said);
    }
}

#[test]
fn of_a_key_for_a_new_store_it_is_said_how_one_is_made() {
    for (source, said) in [
        ("env = \"KW\"", ["variable KW", "urandom"]),
        (
            "credential = \"kw\"",
            ["credential kw", "systemd-creds encrypt"],
        ),
    ] {
        let bench = Bench::bare(&format!("[master_key]\n{source}"));
        let run = bench.unchanged_by(|| bench.run(["init"]).exits(2));
        run.says(said);
    }
}
