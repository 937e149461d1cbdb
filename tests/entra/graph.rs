use keywheel::entra::{Class, Fault, FaultKind, Nonsense};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::server::{Reply, answer, header, json as reply, refusal};
use super::*;

fn holder(passwords: &Value) -> Value {
    json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#applications/$entity",
        "id": OBJECT, "appId": CLIENT, "displayName": "Payroll",
        "signInAudience": "AzureADMyOrg", "passwordCredentials": passwords,
    })
}

fn made() -> Value {
    json!({
        "customKeyIdentifier": null, "displayName": "another name", "hint": "abc",
        "endDateTime": "2015-12-01T00:00:00.3086381Z", "keyId": KEY, "secretText": SECRET,
        "startDateTime": "2015-10-21T07:28:00Z",
    })
}

async fn refused_add(refusal: Reply) -> Fault {
    let (bench, token) = Bench::signed_in([refusal]).await;
    let fault = bench.add(&token).await.unwrap_err();
    assert_eq!(bench.server.requests().len(), 2, "one call");
    fault
}

async fn refused_read(refusal: Reply) -> Fault {
    let (bench, token) = Bench::signed_in([refusal]).await;
    let read = bench.entra.application(&token, object_id()).await;
    read.unwrap_err()
}

async fn refused_remove(refusal: Reply) -> Fault {
    let (bench, token) = Bench::signed_in([refusal]).await;
    let removed = bench.entra.remove_password(&token, object_id(), key_id());
    removed.await.unwrap_err()
}

#[tokio::test]
async fn an_application_is_read_by_its_client_id_and_by_its_object_id() {
    let body = holder(&json!([made()]));
    let (bench, token) = Bench::signed_in([reply(200, &body), reply(200, &body)]).await;
    let client_id = CLIENT.parse().unwrap();
    let found = bench.entra.find_application(&token, client_id).await;
    let found = found.unwrap().unwrap();
    let read = bench.entra.application(&token, object_id()).await.unwrap();
    assert_eq!(found.value, read.value);
    assert_eq!(read.date, Some(at(NOW)));
    assert!(!read.value.personal);
    assert_eq!(read.value.display_name.to_string(), "Payroll");
    let held = read.value.password(key_id()).unwrap();
    assert_eq!(held.hint.as_deref(), Some("abc"));

    let requests = bench.server.requests();
    let select = "$select=id,appId,displayName,signInAudience,passwordCredentials";
    let asked = |n: usize| requests[n].line.replace("%24", "$").replace("%2C", ",");
    assert_eq!(
        asked(1),
        format!("GET /v1.0/applications(appId='{CLIENT}')?{select}")
    );
    assert_eq!(
        asked(2),
        format!("GET /v1.0/applications/{OBJECT}?{select}")
    );
    let authorization = header(&requests[2].head, "authorization");
    assert_eq!(authorization, Some(&*format!("Bearer {TOKEN}")));
    let sent = header(&requests[2].head, "client-request-id");
    assert_eq!(sent, Some(&*read.client_request_id));
}

#[tokio::test]
async fn b1_an_unknown_outcome_is_ambiguous_when_adding_and_transient_when_reading() {
    for broken in [
        refusal(500, "InternalServerError", "Oops."),
        answer(502, "", "<html>Bad Gateway</html>"),
        answer(503, "", ""),
        answer(504, "", ""),
        answer(408, "", ""),
        Reply::Cut(String::new()),
        Reply::Cut("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"keyId\"".into()),
        Reply::Silence,
    ] {
        let fault = refused_add(broken.clone()).await;
        assert_eq!(fault.class(), Class::Ambiguous, "{broken:?}");
        assert!(!fault.made_nothing(), "{broken:?}");
        let fault = refused_read(broken.clone()).await;
        assert_eq!(fault.class(), Class::Transient, "{broken:?}");
        let fault = refused_remove(broken.clone()).await;
        assert_eq!(fault.class(), Class::Transient, "{broken:?}");
    }
}

#[tokio::test]
async fn b2_a_concurrency_violation_is_known_in_every_status() {
    for status in [400, 409, 503] {
        let refusal = refusal(status, "Directory_ConcurrencyViolation", "Please wait.");
        let fault = refused_add(refusal).await;
        assert_eq!(fault.class(), Class::Concurrency, "{status}");
        assert!(!fault.made_nothing(), "{status}");
    }
    let fault = refused_remove(refusal(409, "Request_Conflict", "Again.")).await;
    assert_eq!(fault.class(), Class::Concurrency);
}

#[tokio::test]
async fn b4_a_missing_application_may_be_a_young_one() {
    let missing = refusal(
        404,
        "Request_ResourceNotFound",
        "Resource '…' does not exist.",
    );
    let fault = refused_add(missing.clone()).await;
    assert_eq!(fault.kind, FaultKind::ApplicationMissing);
    assert_eq!(fault.class(), Class::Propagation);
    assert!(fault.made_nothing());
    assert_eq!(
        refused_read(missing.clone()).await.class(),
        Class::Propagation
    );

    let (bench, token) = Bench::signed_in([missing]).await;
    let client_id = CLIENT.parse().unwrap();
    let found = bench.entra.find_application(&token, client_id).await;
    assert!(found.unwrap().is_none());
}

#[tokio::test]
async fn b5_a_missing_permission_names_what_it_takes() {
    let fault = refused_add(refusal(
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    ))
    .await;
    assert_eq!(fault.class(), Class::Permanent);
    assert_eq!(fault.code(), "Authorization_RequestDenied");
    assert!(fault.made_nothing());
    let remedy = fault.remedy().unwrap();
    for text in [fault.to_string(), remedy] {
        for word in ["Application.ReadWrite.OwnedBy", "admin consent", "owner"] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[tokio::test]
async fn b6_a_policy_is_named_by_its_id() {
    let message = format!("Credential lifetime exceeds the max value as per policy '{POLICY}'.");
    let refusals = [
        ("CredentialInvalidLifetimeAsPerAppPolicy", "lifetime_days"),
        ("CredentialTypeNotAllowedAsPerAppPolicy", "certificate"),
    ];
    for (code, cure) in refusals {
        let fault = refused_add(refusal(400, code, &message)).await;
        assert_eq!(fault.class(), Class::Permanent);
        assert_eq!(fault.code(), code);
        assert!(fault.made_nothing());
        assert!(fault.to_string().contains(POLICY), "{fault}");
        assert!(fault.remedy().unwrap().contains(cure));
        let fault = refused_add(refusal(400, code, "No.")).await;
        assert!(fault.to_string().contains("policy"), "{fault}");
    }
}

#[tokio::test]
async fn b6_the_end_date_is_always_sent() {
    let (bench, token) = Bench::signed_in([reply(200, &made())]).await;
    bench.add(&token).await.unwrap();
    let request = &bench.server.requests()[1];
    assert_eq!(
        request.line,
        format!("POST /v1.0/applications/{OBJECT}/addPassword")
    );
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let credential = json!({"displayName": "name", "endDateTime": "2015-10-22T07:28:00Z"});
    assert_eq!(sent, json!({"passwordCredential": credential}));
}

#[tokio::test]
async fn b7_a_full_application_is_a_choice_for_a_person() {
    for (status, code) in [
        (400, "TooManyAppPasswords"),
        (403, "Directory_ResourceSizeExceeded"),
    ] {
        let fault = refused_add(refusal(status, code, "Not allowed to add 3 passwords.")).await;
        assert_eq!(fault.class(), Class::Permanent);
        assert_eq!(fault.code(), code);
        assert!(fault.made_nothing());
        assert!(fault.remedy().is_some());
    }
}

#[tokio::test]
async fn b8_an_answer_without_value_or_key_id_is_ambiguous() {
    for field in ["secretText", "keyId"] {
        for value in [json!(null), json!(""), json!(7)] {
            let mut body = made();
            body[field] = value;
            let fault = refused_add(reply(200, &body)).await;
            assert_eq!(fault.class(), Class::Ambiguous, "{body}");
            assert!(!fault.made_nothing());
            assert!(!fault.to_string().contains(SECRET));
        }
        let mut body = made();
        body.as_object_mut().unwrap().remove(field);
        let fault = refused_add(reply(200, &body)).await;
        assert_eq!(fault.kind, FaultKind::Nonsense(Nonsense::Lacks(field)));
        assert_eq!(fault.class(), Class::Ambiguous);
    }
}

#[tokio::test]
async fn b9_the_servers_own_name_and_dates_count() {
    let (bench, token) = Bench::signed_in([reply(200, &made())]).await;
    let minted = bench.add(&token).await.unwrap();
    assert_eq!(minted.key_id, key_id());
    assert_eq!(minted.secret.expose_secret(), SECRET);
    assert_eq!(minted.hint, "abc");
    assert_eq!(minted.display_name.unwrap().raw(), "another name");
    assert_eq!(minted.starts_at, Some(at(NOW)));
    assert_eq!(minted.ends_at.unwrap().timestamp(), 1_448_928_000);
}

#[tokio::test]
async fn b9_a_secret_is_taken_as_it_stands_in_the_answer() {
    let odd = "a\"b\\c/ é\t~'%41+ ";
    let mut body = made();
    body["secretText"] = json!(odd);
    body["hint"] = json!(odd);
    let (bench, token) = Bench::signed_in([reply(200, &body)]).await;
    let minted = bench.add(&token).await.unwrap();
    assert_eq!(minted.secret.expose_secret(), odd);
    assert_eq!(minted.hint, "a\"b");
}

#[tokio::test]
async fn b9_foreign_secrets_of_every_shape_are_listed() {
    let odd = json!([
        {"keyId": KEY},
        {"keyId": CLIENT, "displayName": 7, "hint": [], "endDateTime": {}, "startDateTime": "x"},
        {"keyId": OBJECT, "displayName": "\u{1b}[2Jx".repeat(2000), "hint": "\u{202e}ab",
         "endDateTime": "9999-12-31T23:59:59.9999999Z", "secretText": null, "new": {"a": 1}},
    ]);
    let (bench, token) = Bench::signed_in([reply(200, &holder(&odd))]).await;
    let read = bench.entra.application(&token, object_id()).await.unwrap();
    let passwords = read.value.passwords;
    assert_eq!(passwords.len(), 3);
    assert_eq!(passwords[0].display_name, None);
    assert_eq!(passwords[1].ends_at, None);
    let name = passwords[2].display_name.as_ref().unwrap();
    assert!(!name.to_string().contains('\u{1b}'));
    assert_eq!(passwords[2].hint.as_deref(), Some("ab"));
    assert!(passwords[2].ends_at.is_some());
}

#[tokio::test]
async fn b10_a_secret_on_the_service_principal_is_found_there() {
    let body = json!({"id": OBJECT, "passwordCredentials": [{"keyId": KEY}]});
    let (bench, token) = Bench::signed_in([
        reply(200, &body),
        reply(200, &json!({"id": OBJECT, "passwordCredentials": []})),
        refusal(404, "Request_ResourceNotFound", "No."),
        refusal(403, "Authorization_RequestDenied", "No."),
    ])
    .await;
    let client_id = CLIENT.parse().unwrap();
    let holds = || {
        bench
            .entra
            .service_principal_holds(&token, client_id, key_id())
    };
    assert_eq!(holds().await, Ok(true));
    assert_eq!(holds().await, Ok(false));
    assert_eq!(holds().await, Ok(false));
    assert_eq!(holds().await.unwrap_err().kind, FaultKind::Forbidden);
    let asked = &bench.server.requests()[1].line;
    let path = format!("GET /v1.0/servicePrincipals(appId='{CLIENT}')?");
    assert!(asked.starts_with(&path), "{asked}");
}

#[tokio::test]
async fn e1_e2_a_removal_is_done_only_when_graph_says_so() {
    let (bench, token) = Bench::signed_in([answer(204, "", "")]).await;
    let removed = bench.entra.remove_password(&token, object_id(), key_id());
    assert_eq!(removed.await.unwrap().date, Some(at(NOW)));
    let request = &bench.server.requests()[1];
    assert_eq!(
        request.line,
        format!("POST /v1.0/applications/{OBJECT}/removePassword")
    );
    assert_eq!(request.body, format!("{{\"keyId\":\"{KEY}\"}}"));

    for portal in [answer(200, "", "<html>"), answer(200, "", "")] {
        assert_eq!(refused_remove(portal).await.class(), Class::Transient);
    }
}

#[tokio::test]
async fn e2_an_unknown_key_id_is_not_yet_a_removed_one() {
    let message = format!("No password credential found with keyId {KEY}.");
    for (status, code) in [
        (400, "Request_BadRequest"),
        (404, "Request_ResourceNotFound"),
    ] {
        let fault = refused_remove(refusal(status, code, &message)).await;
        assert_eq!(fault.kind, FaultKind::CredentialMissing, "{status}");
        assert_eq!(fault.class(), Class::Propagation);
    }
}

#[tokio::test]
async fn e3_what_is_no_list_is_not_an_empty_list() {
    let mut listless = holder(&json!(null));
    let mut elsewhere = holder(&json!([]));
    elsewhere["id"] = json!(KEY);
    elsewhere["appId"] = json!(KEY);
    let keyless = holder(&json!([{"displayName": "x"}]));
    for body in [
        &listless.clone(),
        &elsewhere,
        &keyless,
        &json!({}),
        &json!([]),
    ] {
        let fault = refused_read(reply(200, body)).await;
        assert!(matches!(fault.kind, FaultKind::Nonsense(_)), "{body}");
        assert_eq!(fault.class(), Class::Transient);
    }
    listless
        .as_object_mut()
        .unwrap()
        .remove("passwordCredentials");
    let fault = refused_read(reply(200, &listless)).await;
    let lacks = Nonsense::Lacks("passwordCredentials");
    assert_eq!(fault.kind, FaultKind::Nonsense(lacks));

    // Another application's answer, and a page that a portal gives instead of a 404.
    for answer in [reply(200, &elsewhere), answer(404, "", "<html>")] {
        let (bench, token) = Bench::signed_in([answer]).await;
        let client_id = CLIENT.parse().unwrap();
        let found = bench.entra.find_application(&token, client_id).await;
        assert_eq!(found.unwrap_err().class(), Class::Transient);
    }
}

#[tokio::test]
async fn a_rejected_token_calls_for_a_fresh_one() {
    for rejected in [
        refusal(401, "InvalidAuthenticationToken", "The token is expired."),
        answer(401, "", ""),
    ] {
        let fault = refused_add(rejected).await;
        assert_eq!(fault.kind, FaultKind::TokenRejected);
        assert_eq!(fault.class(), Class::Transient);
        assert!(fault.made_nothing());
    }
}

#[tokio::test]
async fn j4_an_unknown_code_is_transient_and_made_nothing() {
    let message = format!("Never seen \u{1b}[31m before: {SECRET}.");
    let fault = refused_add(refusal(400, "Request_NeverSeen", &message)).await;
    assert_eq!(fault.class(), Class::Transient);
    assert!(fault.made_nothing());
    assert_eq!(fault.code(), "Request_NeverSeen");
    assert_eq!(
        fault.to_string(),
        "adding a secret: Graph refused: Request_NeverSeen: Never seen before: … (HTTP 400)"
    );
    let fault = refused_add(refusal(400, "<script>", "x")).await;
    assert_eq!(fault.code(), "unknown-code");
}
