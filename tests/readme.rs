//! The README's own commands, run as they stand there, against a sandbox instead of a real tenant.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use chrono::{TimeDelta, Utc};
use keywheel::sandbox::{NewApplication, Options, Sandbox};
use secrecy::ExposeSecret;

const README: &str = include_str!("../README.md");

/// The `sh` blocks of the section with this heading.
fn blocks(heading: &str) -> Vec<String> {
    let section = README
        .split("\n## ")
        .find(|it| it.starts_with(heading))
        .unwrap();
    let fenced = section.split("```sh\n").skip(1);
    fenced
        .map(|it| it.split("```").next().unwrap().replace("\n   ", "\n"))
        .collect()
}

/// Runs a block of the README. What a prompt would ask for is on standard input.
fn sh(folder: &Path, script: &str, ids: &[(&str, String)], typed: &str) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_keywheel")).parent().unwrap();
    let mut child = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .envs(ids.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_two_commands_of_the_front_door_are_there_and_the_guided_run_ends_well() {
    assert_eq!(blocks("Try it"), ["cargo run -- demo\ncargo test\n"]);
    let demo = Command::new(env!("CARGO_BIN_EXE_keywheel"))
        .arg("demo")
        .output()
        .unwrap();
    assert!(
        demo.status.success(),
        "{}",
        String::from_utf8_lossy(&demo.stderr)
    );
    let told = String::from_utf8(demo.stderr).unwrap();
    for name in ["billing", "crm", "portal"] {
        assert!(told.contains(&format!("{name}: it signs in")), "{told}");
    }
    assert!(told.contains("found by its name"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "a process runs on the host's clock"
)]
async fn a_first_rotation_goes_as_the_readme_says() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let tenant = sandbox.add_tenant("Contoso");
    let end = Utc::now() + TimeDelta::days(60);
    let app = sandbox.add_application(NewApplication::rotating_itself(tenant, "billing", end));
    let folder = tempfile::tempdir().unwrap();
    let url = sandbox.url();
    // `init` keeps settings that are there; these name the sandbox, and wait for nothing.
    let settings = format!(
        "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\n\
         [verification]\nspacing = \"0s\"\n\
         [graph]\nmutation_spacing = \"0s\"\nabsence_window = \"100ms\"\n"
    );
    let config = folder.path().join("keywheel.toml");
    fs::write(&config, settings).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let ids = [
        ("TENANT_ID", tenant.to_string()),
        ("CLIENT_ID", app.client_id.to_string()),
        ("KEYWHEEL_CONFIG", config.display().to_string()),
    ];
    let steps = blocks("A first rotation");
    assert_eq!(steps.len(), 3, "adopt, rotate, revoke");
    for step in &steps {
        let script = step.replace(
            "connection add billing",
            "connection add billing --cloud lab",
        );
        let folder = folder.path().to_owned();
        let (ids, typed) = (ids.clone(), app.keys[0].value.expose_secret().to_owned());
        let ran = tokio::task::spawn_blocking(move || sh(&folder, &script, &ids, &typed))
            .await
            .unwrap();
        assert!(
            ran.status.success(),
            "{step}\n{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    let left = sandbox.keys(app.client_id);
    assert_eq!(left.len(), 1, "the old secret was revoked");
    let held = fs::read_to_string(folder.path().join("billing.secret")).unwrap();
    assert_eq!(left[0].value.expose_secret(), held);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "a process runs on the host's clock"
)]
async fn against_the_sandbox_it_goes_as_the_readme_says() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let tenant = sandbox.add_tenant("Contoso");
    let end = Utc::now() + TimeDelta::days(30);
    let app = sandbox.add_application(NewApplication::rotating_itself(tenant, "trial", end));
    let folder = tempfile::tempdir().unwrap();
    let steps = blocks("Against the sandbox first");
    assert_eq!(steps.len(), 1);
    assert!(steps[0].contains("http://127.0.0.1:8765"));
    // Proofs are seconds apart in earnest.
    let script = steps[0]
        .replace("http://127.0.0.1:8765", &sandbox.url())
        .replace(
            "keywheel connection add",
            "printf '[verification]\\nspacing = \"0s\"\\n' >> keywheel.toml; keywheel connection add",
        );
    let ids = [
        ("TENANT_ID", tenant.to_string()),
        ("CLIENT_ID", app.client_id.to_string()),
    ];
    let path = folder.path().to_owned();
    let typed = app.keys[0].value.expose_secret().to_owned();
    let ran = tokio::task::spawn_blocking(move || sh(&path, &script, &ids, &typed))
        .await
        .unwrap();
    let (told, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{told}{complained}");
    assert!(told.contains("trial: waiting, overlapping"), "{told}");
    let held = fs::read_to_string(folder.path().join("trial.secret")).unwrap();
    let keys = sandbox.keys(app.client_id);
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().any(|key| key.value.expose_secret() == held));
}
