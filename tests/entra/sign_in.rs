use keywheel::entra::{Class, FaultKind, Nonsense};
use secrecy::SecretString;
use serde_json::json;

use super::server::{DATE, Reply, answer, header, json as reply, sign_in_refusal, token_answer};
use super::*;

#[tokio::test]
async fn a4_each_proof_is_a_new_connection() {
    let bench = Bench::with([
        token_answer(),
        token_answer(),
        token_answer(),
        token_answer(),
    ])
    .await;
    bench.entra.token(&app(), &secret()).await.unwrap();
    bench.entra.token(&app(), &secret()).await.unwrap();
    for _ in 0..2 {
        let proof = bench.entra.prove(&app(), &secret()).await.unwrap();
        assert_eq!(proof.date, Some(at(NOW)), "{DATE}");
    }
    let connections: Vec<usize> = bench
        .server
        .requests()
        .iter()
        .map(|it| it.connection)
        .collect();
    assert_eq!(connections, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a6_a_secret_is_form_encoded_exactly_once() {
    let odd = "~.~_-=+&%$'\"\\ with spaces + %41 ä";
    let bench = Bench::with([token_answer()]).await;
    let secret = SecretString::from(odd);
    bench.entra.prove(&app(), &secret).await.unwrap();

    let request = bench.server.request();
    assert_eq!(request.line, format!("POST /{TENANT}/oauth2/v2.0/token"));
    let url = reqwest::Url::parse(&format!("http://host/?{}", request.body)).unwrap();
    let fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let base = format!("http://127.0.0.1:{}", bench.server.port);
    for (key, value) in [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("scope", &format!("{base}/.default")),
        ("client_secret", odd),
    ] {
        let found: Vec<&String> = fields
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value)
            .collect();
        assert_eq!(found, [value], "{key}");
    }
    assert!(header(&request.head, "client-request-id").is_some());
    assert!(
        header(&request.head, "user-agent")
            .unwrap()
            .starts_with("keywheel/")
    );
}

#[tokio::test]
async fn a5_refusals_are_permanent_but_for_a_secret_that_is_being_proved() {
    use Class::{Permanent, Propagation, Transient};
    for (status, error, code, signing_in, proving) in [
        (401, "invalid_client", 7_000_215, Permanent, Propagation),
        (401, "invalid_client", 7_000_222, Permanent, Propagation),
        (400, "unauthorized_client", 700_016, Permanent, Propagation),
        (400, "invalid_request", 90_002, Permanent, Permanent),
        (400, "invalid_request", 900_023, Permanent, Permanent),
        (401, "unauthorized_client", 7_000_112, Permanent, Permanent),
        (400, "invalid_grant", 53_003, Permanent, Permanent),
        (400, "invalid_request", 999_999, Transient, Transient),
    ] {
        let refusal = sign_in_refusal(status, error, code);
        let bench = Bench::with([refusal.clone(), refusal]).await;
        let fault = bench.entra.token(&app(), &secret()).await.unwrap_err();
        assert_eq!(fault.class(), signing_in, "{code}: {fault}");
        let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
        assert_eq!(fault.class(), proving, "{code}: {fault}");
        assert_eq!(fault.status, Some(status));
        if code != 900_023 {
            assert_eq!(fault.code(), format!("AADSTS{code}"));
        }
    }
}

#[tokio::test]
async fn a5_a_refusal_is_known_by_its_description_where_it_has_no_codes() {
    let body = json!({"error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret is provided.\r\nTrace ID: 1"});
    let bench = Bench::with([reply(401, &body)]).await;
    let fault = bench.entra.token(&app(), &secret()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::SecretRefused);
}

#[tokio::test]
async fn j1_the_wrong_cloud_for_a_tenant_is_explained() {
    let bench = Bench::with([sign_in_refusal(400, "invalid_request", 90_002)]).await;
    let fault = bench.entra.token(&app(), &secret()).await.unwrap_err();
    assert!(fault.to_string().contains("\"lab\""), "{fault}");
    let remedy = fault.remedy().unwrap();
    assert!(remedy.contains("cloud"), "{remedy}");
}

#[tokio::test]
async fn j1_a_cloud_that_nobody_declared_is_not_called() {
    let bench = Bench::with([]).await;
    let mut app = app();
    app.cloud = "moon\u{1b}[31m".into();
    let fault = bench.entra.token(&app, &secret()).await.unwrap_err();
    assert_eq!(fault.class(), Class::Permanent);
    assert_eq!(fault.to_string(), "signing in: there is no cloud \"moon\"");
}

#[tokio::test]
async fn a_token_says_when_it_expires_however_that_is_written() {
    for (expires_in, life) in [
        (json!(3599), 3599),
        (json!("3599"), 3599),
        (json!(null), 300),
        (json!(-1), 300),
        (json!(u64::MAX), 86_400),
    ] {
        let body = json!({"access_token": TOKEN, "expires_in": expires_in});
        let bench = Bench::with([reply(200, &body)]).await;
        let token = bench.entra.token(&app(), &secret()).await.unwrap();
        assert_eq!(token.obtained_at, at(NOW));
        assert_eq!(token.expires_at, at(NOW + life), "{expires_in}");
    }
}

#[tokio::test]
async fn j4_a_success_without_a_token_proves_nothing() {
    for (body, nonsense) in [
        ("<html>Welcome to our hotel</html>", Nonsense::NotJson),
        ("{}", Nonsense::NotJson),
        (r#"{"access_token":"ey"#, Nonsense::NotJson),
        (r#"{"access_token":null}"#, Nonsense::NotJson),
        (r#"{"access_token":""}"#, Nonsense::Lacks("access_token")),
        ("", Nonsense::NotJson),
    ] {
        let bench = Bench::with([answer(200, "", body)]).await;
        let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Nonsense(nonsense), "{body}");
        assert_eq!(fault.class(), Class::Transient);
    }
}

#[tokio::test]
async fn j4_a_busy_token_endpoint_is_transient() {
    for refusal in [
        sign_in_refusal(503, "temporarily_unavailable", 90_033),
        sign_in_refusal(400, "temporarily_unavailable", 90_033),
        answer(502, "", "<html>Bad Gateway</html>"),
        Reply::Cut(String::new()),
    ] {
        let bench = Bench::with([refusal.clone()]).await;
        let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
        assert_eq!(fault.class(), Class::Transient, "{refusal:?}: {fault}");
    }
}
