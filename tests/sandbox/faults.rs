//! Faults, throttling, the call log and the hook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::sandbox::{Action, Fault, GraphError, Kind, Options, RetryAfter, SignInError, Stage};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;

use crate::support::{Bench, start_of_time};

fn keys(bench: &Bench) -> usize {
    bench.sandbox.keys(bench.app.client_id).len()
}

#[tokio::test]
async fn b1_the_answer_is_lost_before_or_after_the_password_was_added() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let path = format!("applications/{}/addPassword", bench.app.object_id);
    let add = || {
        bench
            .graph(&token, Method::POST, &path)
            .json(&json!({}))
            .send()
    };

    bench
        .sandbox
        .inject(Fault::on(Kind::AddPassword, Action::HangUp));
    assert!(add().await.is_err());
    assert_eq!(keys(&bench), 1);
    bench
        .sandbox
        .inject(Fault::on(Kind::AddPassword, Action::HangUp).after_effect());
    assert!(add().await.is_err());
    assert_eq!(keys(&bench), 2);
    assert_eq!(add().await.unwrap().status(), StatusCode::OK);

    let unavailable = Action::RefuseAs(StatusCode::SERVICE_UNAVAILABLE, GraphError::Concurrency);
    bench
        .sandbox
        .inject(Fault::on(Kind::AddPassword, unavailable).after_effect());
    assert_eq!(
        add().await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(keys(&bench), 4);
    let calls = bench
        .sandbox
        .calls_of(Kind::AddPassword, bench.app.client_id);
    let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, None, Some(200), Some(503)]);
}

#[tokio::test]
async fn b1_a_call_is_carried_out_although_the_caller_has_gone() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let slow = Action::Delay(Duration::from_millis(60));
    bench.sandbox.inject(Fault::on(Kind::AddPassword, slow));
    let path = format!("applications/{}/addPassword", bench.app.object_id);
    let request = bench.graph(&token, Method::POST, &path).json(&json!({}));
    let answer = request.timeout(Duration::from_millis(15)).send().await;
    assert!(answer.unwrap_err().is_timeout());
    assert_eq!(keys(&bench), 1);
    for _ in 0..200 {
        tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
            .await
            .unwrap_err();
        if keys(&bench) == 2 {
            return;
        }
    }
    unreachable!("the password was never added");
}

#[tokio::test]
async fn b3_throttling_tells_when_in_seconds_as_a_date_or_not_at_all() {
    let bench = Bench::new().await;
    let cases = [
        (RetryAfter::Seconds(30), Some("30")),
        (RetryAfter::Date(90), Some("Fri, 20 Nov 2026 18:10:28 GMT")),
        (RetryAfter::Missing, None),
    ];
    let secret = &bench.app.keys[0].value;
    for (retry_after, header) in cases {
        bench
            .sandbox
            .inject(Fault::on(Kind::Token, Action::Throttle(retry_after)));
        let answer = bench
            .ask_token(bench.app.client_id, secret)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let got = answer.headers().get("retry-after");
        assert_eq!(got.map(|value| value.to_str().unwrap()), header);
        assert_eq!(answer.text().await.unwrap(), "Too Many Requests");
    }
    let token = bench.token().await;
    let throttle = Action::Throttle(RetryAfter::Seconds(30));
    bench
        .sandbox
        .inject(Fault::on(Kind::ListApplications, throttle));
    let (status, body) = bench.get(&token, "applications").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(body["error"]["code"], "TooManyRequests");
}

#[tokio::test]
async fn b3_a_throttled_tenant_answers_again_exactly_when_told() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let until = bench.clock.now() + TimeDelta::seconds(30);
    bench.sandbox.throttle(bench.tenant_id, until);
    let status = async || bench.get(&token, "applications").await.0;
    bench.clock.advance(Duration::from_secs(29));
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test]
async fn j4_malformed_answers() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let get = async |action| {
        bench
            .sandbox
            .inject(Fault::on(Kind::ListApplications, action));
        bench
            .graph(&token, Method::GET, "applications")
            .send()
            .await
            .unwrap()
    };
    let html = get(Action::Html).await;
    assert_eq!(html.status(), StatusCode::OK);
    assert!(html.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    let cut = get(Action::Truncate).await;
    assert!(
        cut.json::<serde_json::Value>()
            .await
            .unwrap_err()
            .is_decode()
    );
    let broken = get(Action::CutOff).await;
    assert_eq!(broken.status(), StatusCode::OK);
    assert!(broken.text().await.is_err());
    let redirect = get(Action::Redirect("https://elsewhere.example/".into())).await;
    assert_eq!(redirect.headers()["location"], "https://elsewhere.example/");
    let mut endless = get(Action::Endless).await;
    let mut received = 0;
    while received < 1 << 20 {
        received += endless.chunk().await.unwrap().expect("it never ends").len();
    }
}

#[tokio::test]
async fn b8_b9_an_answer_lacks_or_changes_properties() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    for missing in ["secretText", "keyId"] {
        bench
            .sandbox
            .inject(Fault::on(Kind::AddPassword, Action::Omit(missing)));
        let (status, body) = bench.add(&token, "x").await;
        assert_eq!((status, body.get(missing)), (StatusCode::OK, None));
    }
    let end = json!("2027-02-03T00:00:00Z");
    let set = Action::Set("endDateTime", end.clone());
    bench.sandbox.inject(Fault::on(Kind::AddPassword, set));
    assert_eq!(bench.add(&token, "x").await.1["endDateTime"], end);
    assert_eq!(keys(&bench), 4);
}

#[tokio::test]
async fn a1_the_token_endpoint_refuses_a_few_times() {
    let bench = Bench::new().await;
    let secret = &bench.app.keys[0].value;
    let refuse = Action::RefuseSignIn(SignInError::InvalidSecret(bench.app.client_id));
    let fault = Fault::on(Kind::Token, refuse)
        .of(bench.app.client_id)
        .nth(2)
        .times(2);
    bench.sandbox.inject(fault);
    let mut accepted = Vec::new();
    for _ in 0..4 {
        accepted.push(bench.signs_in(secret).await);
    }
    assert_eq!(accepted, [true, false, false, true]);
}

#[tokio::test]
async fn a4_the_log_tells_which_calls_came_on_a_new_connection() {
    let bench = Bench::new().await;
    let secret = &bench.app.keys[0].value;
    bench.signs_in(secret).await;
    bench.signs_in(secret).await;
    let unpooled = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build();
    let unpooled = Bench {
        http: unpooled.unwrap(),
        ..bench
    };
    unpooled.signs_in(&unpooled.app.keys[0].value).await;
    unpooled.signs_in(&unpooled.app.keys[0].value).await;
    let calls = unpooled
        .sandbox
        .calls_of(Kind::Token, unpooled.app.client_id);
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.connection, call.new_connection))
        .collect();
    assert_eq!(seen, [(1, true), (1, false), (2, true), (3, true)]);
    assert!(calls.iter().all(|call| call.at == start_of_time()));
}

#[tokio::test]
async fn d2_the_hook_is_called_before_and_after_each_effect() {
    let bench = Arc::new(Bench::new().await);
    let token = bench.token().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, within) = (Arc::clone(&seen), Arc::downgrade(&bench));
    bench.sandbox.on_call(move |stage, call| {
        let (noted, within) = (Arc::clone(&noted), within.clone());
        async move {
            let keys = keys(&within.upgrade().unwrap());
            noted.lock().unwrap().push((call.kind, stage, keys));
        }
    });
    bench.add(&token, "x").await;
    let expected = [
        (Kind::AddPassword, Stage::BeforeEffect, 1),
        (Kind::AddPassword, Stage::AfterEffect, 2),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn f11_the_dates_of_the_sandbox_can_be_askew() {
    let bench = Bench::with(Options {
        date_offset: TimeDelta::hours(-2),
        ..Options::default()
    })
    .await;
    let answer = bench.ask_token(bench.app.client_id, &"wrong".into());
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.headers()["date"], "Fri, 20 Nov 2026 16:08:58 GMT");
}

#[tokio::test]
async fn a_delay_on_the_clock_moves_a_virtual_clock() {
    let bench = Bench::new().await;
    let delay = Action::DelayOnClock(Duration::from_secs(40));
    bench.sandbox.inject(Fault::on(Kind::Token, delay));
    assert!(bench.signs_in(&bench.app.keys[0].value).await);
    assert_eq!(bench.clock.now(), start_of_time() + TimeDelta::seconds(40));
}
