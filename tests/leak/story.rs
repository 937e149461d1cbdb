//! A whole story: all that can be asked, and much that goes wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use axum::http::StatusCode;
use keywheel::sandbox::{Action, Answer, Fault, GraphError, Kind, Registered};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::process::Command;

use crate::world::{Voice, World};

/// What the next answer that brings a secret suffers, by the connection that it is for.
fn mishaps() -> [(&'static str, Action); 7] {
    [
        ("lost", Action::HangUp),
        ("cut", Action::CutOff),
        ("short", Action::Truncate),
        ("no-key-id", Action::Omit("keyId")),
        ("odd-key-id", Action::Set("keyId", json!("no GUID"))),
        ("odd-date", Action::Set("endDateTime", json!("tomorrow"))),
        ("odd-hint", Action::Set("hint", json!(["no", "text"]))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_i1_no_secret_is_in_what_is_said_with_vvv() {
    tell(&World::new(Voice::Flags).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_i1_no_secret_is_in_the_log_of_every_crate() {
    tell(&World::new(Voice::Everything).await).await;
}

async fn tell(world: &World) {
    look_for_tokens(world).await;
    succeeds(world, &["init"]).await;
    world.look_for(
        "the master key",
        &fs::read(world.path("master.key")).unwrap(),
    );
    a_calm_life(world).await;
    answers_that_go_wrong(world).await;
    refusals_that_repeat_the_secret(world).await;
    destinations_that_fail(world).await;
    secrets_in_the_wrong_place(world).await;
    the_end(world).await;
    world.nothing_leaked();
    the_search_finds(world).await;
}

/// All tokens of the sandbox begin alike.
async fn look_for_tokens(world: &World) {
    let application = world.application("somebody");
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        world.sandbox.url(),
        application.tenant_id
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &application.client_id.to_string()),
        ("client_secret", application.keys[0].value.expose_secret()),
        ("scope", &format!("{}/.default", world.sandbox.url())),
    ];
    let answer = reqwest::Client::new().post(url).form(&form).send().await;
    let answer = answer.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let (header, _) = token.split_once('.').unwrap();
    world.look_for("an access token", header.as_bytes());
}

async fn succeeds(world: &World, arguments: &[&str]) {
    let output = world.run(arguments).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
}

fn adopting<'a>(name: &'a str, ids: &'a [String; 2], file: &'a str) -> Vec<&'a str> {
    let flags = ["--cloud", "lab", "--to-file", file];
    let who = ["--tenant-id", &ids[0], "--client-id", &ids[1]];
    [&["connection", "add", name][..], &who, &flags].concat()
}

fn ids(application: &Registered) -> [String; 2] {
    [
        application.tenant_id.to_string(),
        application.client_id.to_string(),
    ]
}

/// Adopts an application that delivers to `consumers/NAME`, and runs `reload` after it.
async fn adopt(world: &World, name: &str, reload: Option<&str>) -> Registered {
    let application = world.application(name);
    let ids = ids(&application);
    let file = world.consumer(name).display().to_string();
    let secret = world.path("inputs").join(name).display().to_string();
    let mut arguments = adopting(name, &ids, &file);
    arguments.extend(["--secret-file", &secret]);
    arguments.extend(reload.map(|_| "--reload"));
    arguments.extend(reload);
    succeeds(world, &arguments).await;
    application
}

async fn a_calm_life(world: &World) {
    let application = world.application("app");
    let file = world.consumer("app").display().to_string();
    let value = application.keys[0].value.expose_secret().to_owned();
    let ids = ids(&application);
    let mut arguments = adopting("app", &ids, &file);
    let reload = script(world, "reload", "exit 0");
    arguments.extend(["--reload", &reload]);
    let output = world
        .run_with_input(&arguments, &format!("{value}\n"))
        .await;
    assert!(output.status.success());
    succeeds(world, &["rotate", "app", "--dry-run"]).await;
    succeeds(world, &["rotate", "app"]).await;
    succeeds(world, &["rollback", "app", "--yes"]).await;
    succeeds(world, &["deliver", "app"]).await;
    succeeds(world, &["rotate", "app"]).await;
    succeeds(world, &["revoke", "app", "--yes"]).await;
    succeeds(world, &["verify", "app"]).await;
    let said = world.run_for_the_secret(&["secret", "app"]).await.stdout;
    assert!(world.is_found_in(&said));
    succeeds(world, &["master-key", "rotate"]).await;
    world.look_for(
        "the master key",
        &fs::read(world.path("master.key")).unwrap(),
    );
    succeeds(world, &["rotate", "app", "--revoke-now"]).await;
}

async fn answers_that_go_wrong(world: &World) {
    for (name, action) in mishaps() {
        let application = adopt(world, name, None).await;
        let fault = Fault::on(Kind::AddPassword, action);
        world
            .sandbox
            .inject(fault.of(application.client_id).after_effect());
    }
    let names = mishaps().map(|(name, _)| name);
    let output = world.run(&[&["rotate"][..], &names].concat()).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    world.sandbox.clear_faults();
}

/// Servers repeat what they were sent; this one repeats what it was never sent, too.
async fn refusals_that_repeat_the_secret(world: &World) {
    let application = adopt(world, "refused", None).await;
    let secret = application.keys[0].value.expose_secret().to_owned();
    let message = format!("no, not with client_secret={secret} or '{secret}'");
    let in_message = |status| GraphError::Other {
        status,
        code: "Request_BadRequest".into(),
        message: message.clone(),
    };
    let in_code = GraphError::Other {
        status: StatusCode::FORBIDDEN,
        code: secret.clone().into(),
        message: message.clone(),
    };
    let sign_in = json!({
        "error": "invalid_client",
        "error_description": format!("AADSTS7000999: {message}"),
        "error_codes": [7_000_999],
    });
    let sign_in = Answer::json(StatusCode::UNAUTHORIZED, sign_in.to_string());
    let html = Answer::text(
        StatusCode::BAD_GATEWAY,
        "text/html",
        format!("<p>{message}"),
    );
    let redirect = format!("{}/?client_secret={secret}", world.sandbox.url());
    let faults = [
        (
            Kind::AddPassword,
            Action::Refuse(in_message(StatusCode::BAD_REQUEST)),
        ),
        (
            Kind::AddPassword,
            Action::Refuse(in_message(StatusCode::FORBIDDEN)),
        ),
        (Kind::AddPassword, Action::Refuse(in_code)),
        (
            Kind::GetApplication,
            Action::Refuse(in_message(StatusCode::CONFLICT)),
        ),
        (Kind::GetApplication, Action::Answer(html)),
        (Kind::GetApplication, Action::Redirect(redirect)),
        (Kind::Token, Action::Answer(sign_in)),
    ];
    for (kind, action) in faults {
        let fault = Fault::on(kind, action).of(application.client_id);
        world.sandbox.inject(fault);
        world
            .run_briefly(&["rotate", "refused", "--revoke-now"])
            .await;
        world.run_briefly(&["verify", "refused"]).await;
        world.sandbox.clear_faults();
        world.run(&["status", "refused"]).await;
    }
    succeeds(world, &["rotate", "refused", "--revoke-now"]).await;
}

/// A reload command that shows its surroundings, and says the secret.
fn script(world: &World, name: &str, last: &str) -> String {
    let path = world.path("inputs").join(name);
    let seen = world.path("surroundings");
    let text = format!(
        "#!/bin/sh\ncat /proc/$$/environ /proc/$$/cmdline >> {}\n\
         cat {consumers}/*\ncat {consumers}/* >&2\n{last}\n",
        seen.display(),
        consumers = world.path("consumers").display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    path.display().to_string()
}

async fn destinations_that_fail(world: &World) {
    // Fails twice, then serves.
    let failing = "n=$(cat $0.count 2>/dev/null || echo 0)\necho $((n + 1)) > $0.count\n\
                   [ \"$n\" -ge 1 ] || exit 7";
    let failing = script(world, "failing", failing);
    adopt(world, "reload", Some(&failing)).await;
    succeeds(world, &["rotate", "reload", "--revoke-now"]).await;

    adopt(world, "folder", None).await;
    let folder = world.consumer("folder");
    fs::create_dir(&folder).unwrap();
    let output = world.run_briefly(&["rotate", "folder"]).await;
    assert_ne!(output.status.code(), Some(0));
    fs::remove_dir(&folder).unwrap();
    succeeds(world, &["rotate", "folder"]).await;
}

async fn secrets_in_the_wrong_place(world: &World) {
    let application = world.application("pasted");
    let secret = application.keys[0].value.expose_secret().to_owned();
    let ids = ids(&application);
    let file = world.consumer("pasted").display().to_string();
    let input = world.path("inputs/pasted").display().to_string();
    let adopting = adopting("pasted", &ids, &file);
    let flag = format!("--{secret}");
    let pasted: &[&[&str]] = &[
        &[&secret],
        &[&flag],
        &["status", &flag],
        &["rotate", &secret],
        &["rotate", "app", "--overlap", &secret],
        &["revoke", "app", "--key-id", &secret],
        &["deliver", "app", "--to", &secret],
        &["connection", &secret],
        &["connection", "show", &secret],
        &["connection", "edit", "app", "--timezone", &secret],
        &["connection", "edit", "app", "--identity", &secret],
        &["connection", "edit", "app", "--secret-file", &secret],
        &["connection", "edit", "app", "--remove-label", &secret],
        &["connection", "edit", "app", "--remove-destination", &secret],
        &["apply", "-f", &secret],
        &["history", &secret],
        &["history", "--since", &secret],
        &["secret", &secret],
        &["status", "--config", &secret],
        &[&adopting[..], &["--secret-file", &secret]].concat(),
        &[
            &adopting[..],
            &["--secret-file", &input, "--key-id", &secret],
        ]
        .concat(),
        &[
            &adopting[..],
            &["--secret-file", &input, "--rotate-at", &secret],
        ]
        .concat(),
        &[&adopting[..], &["--secret-file", &input, &secret]].concat(),
    ];
    for arguments in pasted {
        world.run_with_pasted(arguments).await;
    }
    let (half, other_half) = secret.split_at(20);
    let typo = format!("{}!", &secret[..secret.len() - 1]);
    for input in [
        format!("{half}\n{other_half}"),
        typo,
        format!(" {secret}"),
        format!("{secret}\t"),
    ] {
        let output = world.run_with_input(&adopting, &input).await;
        assert!(!output.status.success());
    }
    let wrong = [
        format!("[store]\npath = [\"{secret}\"]\n"),
        format!("[store]\n{secret} = 1\n"),
        format!("[store]\n\"{secret}\" = 1\n"),
        format!("client_secret = \"{secret}\"\n[store"),
        format!("[defaults]\ntimezone = \"{secret}\"\n"),
        format!("[graph]\nabsence_window = \"{secret}\"\n"),
    ];
    for text in wrong {
        let config = world.input("wrong.toml", &text);
        let output = world.run(&["status", "--config", &config]).await;
        assert_eq!(output.status.code(), Some(2));
        let output = world.run(&["apply", "-f", &config]).await;
        assert_ne!(output.status.code(), Some(0));
    }
}

async fn the_end(world: &World) {
    for arguments in [
        &["status"][..],
        &["status", "app"],
        &["history"],
        &["schedule"],
        &["orphans"],
        &["connection", "list"],
        &["connection", "show", "refused"],
        &["connection", "export"],
        &["connection", "pause", "app"],
        &["connection", "resume", "app"],
        &["rotate", "--all", "--dry-run"],
        &["rotate", "--due"],
        &["connection", "remove", "app", "--yes"],
        &["connection", "restore", "app", "--yes"],
        &["--help"],
        &["man"],
    ] {
        world.run(arguments).await;
    }
}

/// A search that can't find anything proves nothing.
async fn the_search_finds(world: &World) {
    assert!(world.secrets() > 25, "only {}", world.secrets());
    for name in ["app", "lost", "refused", "reload"] {
        let held = fs::read(world.consumer(name)).unwrap();
        assert!(world.is_found_in(&held), "{name}");
    }
    for place in [
        "keywheel.db",
        "keywheel.db-wal",
        "surroundings",
        "cmdline of",
        "environ of",
    ] {
        assert!(!world.noted(place).is_empty(), "{place} was not looked at");
    }
    let told = world.noted("stderr of [\"rotate\"").concat();
    assert!(String::from_utf8_lossy(&told).contains("client_request_id"));
    let held = fs::read_to_string(world.consumer("app")).unwrap();
    let child = Command::new("/bin/sh")
        .args(["-c", "cat /proc/$$/environ"])
        .env("CANARY", held)
        .stdin(Stdio::null())
        .output();
    assert!(world.is_found_in(&child.await.unwrap().stdout));
}
