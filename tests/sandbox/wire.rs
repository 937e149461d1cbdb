//! Shapes, errors, permissions and limits.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::sandbox::{
    Audience, ManagementPolicy, NewApplication, NewPassword, Options, Owner, Permission, Rules,
    Sandbox, StartError, Tls,
};
use reqwest::{Certificate, Client, Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Bench, read, start_of_time};

#[tokio::test]
async fn a_secret_is_added_told_once_listed_and_removed() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let path = format!("applications/{}/addPassword", bench.app.object_id);
    let asked = json!({"passwordCredential": {
        "displayName": "rotator", "endDateTime": "2027-01-01T00:00:00Z", "keyId": Uuid::nil(),
    }});
    let request = bench.graph(&token, Method::POST, &path).json(&asked);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["location"], "https://graph.microsoft.com");
    assert_eq!(answer.headers()["odata-version"], "4.0");
    assert_eq!(answer.headers()["date"], "Fri, 20 Nov 2026 18:08:58 GMT");

    let body = answer.text().await.unwrap();
    let added: Value = serde_json::from_str(&body).unwrap();
    let secret = added["secretText"].as_str().unwrap();
    let (key_id, hint) = (added["keyId"].as_str().unwrap(), &secret[..3]);
    assert_eq!(secret.chars().count(), 40);
    assert_ne!(key_id, Uuid::nil().to_string());
    let dates = "\"startDateTime\":\"2026-11-20T18:08:58Z\"";
    assert_eq!(
        body,
        format!(
            "{{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.\
             passwordCredential\",\"customKeyIdentifier\":null,\"displayName\":\"rotator\",\
             \"endDateTime\":\"2027-01-01T00:00:00Z\",\"hint\":\"{hint}\",\"keyId\":\"{key_id}\",\
             \"secretText\":\"{secret}\",{dates}}}"
        )
    );

    let listed = bench.graph(
        &token,
        Method::GET,
        &format!("applications/{}", bench.app.object_id),
    );
    let listed = listed.send().await.unwrap().text().await.unwrap();
    assert!(!listed.contains(secret));
    let shape = format!("\"hint\":\"{hint}\",\"keyId\":\"{key_id}\",\"secretText\":null,{dates}");
    assert!(listed.contains(&shape), "{listed}");
    assert!(bench.signs_in(&secret.into()).await);

    let (status, body) = bench.remove(&token, key_id).await;
    assert_eq!((status, body), (StatusCode::NO_CONTENT, Value::Null));
    assert!(!bench.signs_in(&secret.into()).await);
    let (status, body) = bench.remove(&token, key_id).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = format!("No password credential found with keyId {key_id}.");
    assert_eq!(body["error"]["message"], message);
}

#[tokio::test]
async fn an_application_reads_as_recorded() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let get = |path: String| bench.graph(&token, Method::GET, &path).send();
    let app = &bench.app;
    let body = get(format!("applications/{}", app.object_id))
        .await
        .unwrap();
    let body = body.text().await.unwrap();
    let start = format!(
        "{{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata#applications/$entity\",\
         \"id\":\"{}\",\"deletedDateTime\":null,\"appId\":\"{}\",\"applicationTemplateId\":null,\
         \"disabledByMicrosoftStatus\":null,\"createdDateTime\":\"2026-11-20T18:08:58Z\",\
         \"displayName\":\"crm\"",
        app.object_id, app.client_id
    );
    assert!(body.starts_with(&start), "{body}");
    serde_json::from_str::<Value>(&body).unwrap();

    let path = format!(
        "applications(appId='{}')?$select=id,passwordCredentials",
        app.client_id
    );
    let (_, body) = bench.get(&token, &path).await;
    let mut names: Vec<_> = body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["@odata.context", "id", "passwordCredentials"]);

    // The client ID is not the object ID.
    let (status, body) = bench
        .get(&token, &format!("applications/{}", app.client_id))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["error"]["code"], "Request_ResourceNotFound");
}

#[tokio::test]
async fn j5_lists_come_in_pages_with_an_absolute_next_link() {
    let bench = Bench::new().await;
    for n in 0..120 {
        let name = format!("app-{n:03}");
        bench
            .sandbox
            .add_application(NewApplication::new(bench.tenant_id, &name));
    }
    let token = bench.token().await;
    let (_, first) = bench.get(&token, "applications?$count=true").await;
    assert_eq!(first["value"].as_array().unwrap().len(), 100);
    assert_eq!(first["@odata.count"], 121);
    let next = first["@odata.nextLink"].as_str().unwrap();
    assert!(next.starts_with(&format!("{}/v1.0/applications?", bench.sandbox.url())));
    let rest = bench
        .http
        .get(next)
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    let (_, rest) = read(rest).await;
    assert_eq!(rest["value"].as_array().unwrap().len(), 21);
    assert!(rest.get("@odata.nextLink").is_none());

    let filter = format!(
        "applications?$filter=appId%20eq%20%27{}%27",
        bench.app.client_id
    );
    let (_, found) = bench.get(&token, &filter).await;
    assert_eq!(found["value"][0]["id"], bench.app.object_id.to_string());
    let (_, found) = bench
        .get(
            &token,
            "applications?$filter=startswith(displayName,'APP-11')",
        )
        .await;
    assert_eq!(found["value"].as_array().unwrap().len(), 10);
    let (_, none) = bench
        .get(&token, "applications?$filter=displayName eq 'nobody'")
        .await;
    assert_eq!(none["value"], json!([]));
    let (status, body) = bench.get(&token, "applications?$select=id,secret").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = "Could not find a property named 'secret' on type 'microsoft.graph.application'.";
    assert_eq!(body["error"]["message"], message);
    let (status, body) = bench.get(&token, "applications?$top=1000").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"]["code"], "Request_UnsupportedQuery");
}

#[tokio::test]
async fn the_token_endpoint_refuses_as_recorded() {
    let bench = Bench::new().await;
    let (tenant, app) = (bench.tenant_id.to_string(), bench.app.client_id.to_string());
    let expired = bench.sandbox.add_key(
        bench.app.client_id,
        NewPassword::until(start_of_time() - TimeDelta::days(1)),
    );
    let expired = expired.unwrap().value;
    let expired = expired.expose_secret();
    let good = bench.app.keys[0].value.expose_secret();
    let (nil, scope) = (
        Uuid::nil().to_string(),
        "https://graph.microsoft.com/.default",
    );
    let cases: [(&str, &str, &str, &str, u16, &str, u32); 9] = [
        (
            &tenant,
            &app,
            "wrong",
            scope,
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            &tenant,
            &app,
            expired,
            scope,
            401,
            "invalid_client",
            7_000_222,
        ),
        (&tenant, &app, "", scope, 401, "invalid_client", 7_000_218),
        (
            &tenant,
            &nil,
            good,
            scope,
            400,
            "unauthorized_client",
            700_016,
        ),
        (&nil, &app, good, scope, 400, "invalid_request", 90_002),
        (
            "nonsense",
            &app,
            good,
            scope,
            400,
            "invalid_request",
            900_023,
        ),
        (&tenant, "", good, scope, 400, "invalid_request", 900_144),
        (
            &tenant,
            &app,
            good,
            "User.Read",
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            &tenant,
            &app,
            good,
            "/.default",
            400,
            "invalid_scope",
            70_011,
        ),
    ];
    for (tenant, client_id, secret, scope, status, error, code) in cases {
        let request = bench
            .http
            .post(format!(
                "{}/{tenant}/oauth2/v2.0/token",
                bench.sandbox.url()
            ))
            .header("client-request-id", "5fc87507-4086-4e77-b415-cee677eb232e")
            .form(&[
                ("client_id", client_id),
                ("client_secret", secret),
                ("grant_type", "client_credentials"),
                ("scope", scope),
                ("client_info", "1"),
            ]);
        let (got, body) = read(request.send().await.unwrap()).await;
        assert_eq!(got.as_u16(), status, "{code}");
        assert_eq!(body["error"], error, "{code}");
        assert_eq!(body["error_codes"], json!([code]));
        let description = body["error_description"].as_str().unwrap();
        assert!(
            description.starts_with(&format!("AADSTS{code}: ")),
            "{description}"
        );
        assert_eq!(
            body["correlation_id"],
            "5fc87507-4086-4e77-b415-cee677eb232e"
        );
    }
}

#[tokio::test]
async fn a_disabled_application_and_another_grant_are_refused() {
    let bench = Bench::new().await;
    bench.sandbox.set_disabled(bench.app.client_id, true);
    let asked = bench.ask_token(bench.app.client_id, &bench.app.keys[0].value);
    let (_, body) = read(asked.send().await.unwrap()).await;
    assert_eq!(body["error_codes"], json!([7_000_112]));
    let form = [("grant_type", "password"), ("client_id", "x")];
    let asked = bench
        .ask_token(bench.app.client_id, &"x".into())
        .form(&form);
    let (_, body) = read(asked.send().await.unwrap()).await;
    assert_eq!(body["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn basic_authentication_and_a_double_slash_sign_in() {
    let bench = Bench::new().await;
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        bench.sandbox.url(),
        bench.tenant_id
    );
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let secret = encode(bench.app.keys[0].value.expose_secret());
    let own = format!("{}//.default", bench.sandbox.url());
    let request = bench
        .http
        .post(url)
        .basic_auth(bench.app.client_id, Some(secret))
        .form(&[("grant_type", "client_credentials"), ("scope", &own)]);
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("Bearer"), &json!(3_599))
    );
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(bench.get(token, "applications").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_token_expires_can_not_be_forged_and_is_for_graph_only() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let code =
        |(status, body): (StatusCode, Value)| (status.as_u16(), body["error"]["code"].clone());
    let refused = (401, json!("InvalidAuthenticationToken"));
    assert_eq!(code(bench.get("a.b.c", "applications").await), refused);
    let other = Bench::new().await.token().await;
    assert_eq!(code(bench.get(&other, "applications").await), refused);
    let vault = bench.http.post(format!(
        "{}/{}/oauth2/v2.0/token",
        bench.sandbox.url(),
        bench.tenant_id
    ));
    let vault = vault.form(&[
        ("client_id", bench.app.client_id.to_string().as_str()),
        ("client_secret", bench.app.keys[0].value.expose_secret()),
        ("grant_type", "client_credentials"),
        ("scope", "https://vault.azure.net/.default"),
    ]);
    let (_, vault) = read(vault.send().await.unwrap()).await;
    let vault = vault["access_token"].as_str().unwrap();
    assert_eq!(code(bench.get(vault, "applications").await), refused);
    bench.clock.advance(Duration::from_secs(3_598));
    assert_eq!(bench.get(&token, "applications").await.0, StatusCode::OK);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(code(bench.get(&token, "applications").await), refused);
}

#[tokio::test]
async fn b5_who_may_change_an_application_depends_on_role_and_ownership() {
    let bench = Bench::new().await;
    let end = start_of_time() + TimeDelta::days(9);
    let other = |name, permission| {
        bench.sandbox.add_application(NewApplication {
            permission,
            owns_itself: false,
            ..NewApplication::rotating_itself(bench.tenant_id, name, end)
        })
    };
    let cases = [
        (other("none", Permission::None), 403, 403),
        (other("reader", Permission::ReadAll), 200, 403),
        (other("stranger", Permission::ReadWriteOwnedBy), 200, 403),
        (other("owner", Permission::ReadWriteOwnedBy), 200, 200),
        (other("admin", Permission::ReadWriteAll), 200, 200),
    ];
    let owner = Owner::ServicePrincipal(cases[3].0.service_principal_id);
    bench.sandbox.set_owners(bench.app.client_id, vec![owner]);
    for (caller, reads, adds) in cases {
        let token = bench.token_of(&caller).await;
        let path = format!("applications(appId='{}')", bench.app.client_id);
        assert_eq!(bench.get(&token, &path).await.0.as_u16(), reads);
        let (status, body) = bench.add(&token, "x").await;
        assert_eq!(status.as_u16(), adds);
        if adds == 403 {
            assert_eq!(body["error"]["code"], "Authorization_RequestDenied");
        }
    }
    // An application that does not own itself may not rotate itself.
    let token = bench.token().await;
    assert_eq!(bench.add(&token, "x").await.0, StatusCode::FORBIDDEN);
    let (_, owners) = bench
        .get(
            &token,
            &format!("applications/{}/owners", bench.app.object_id),
        )
        .await;
    assert_eq!(owners["value"][0]["displayName"], "owner");
}

#[tokio::test]
async fn b6_b7_limits_and_policies_refuse_with_their_codes() {
    let bench = Bench::with(Options {
        rules: Rules {
            most_passwords: 3,
            ..Rules::default()
        },
        ..Options::default()
    })
    .await;
    let end = start_of_time() + TimeDelta::days(9);
    let policy = Uuid::from_u128(7);
    let lifetime = ManagementPolicy::Lifetime {
        id: policy,
        longest: Duration::from_secs(90 * 86_400),
    };
    let cases: [(Audience, Vec<ManagementPolicy>, usize, u16, &str); 4] = [
        (
            Audience::AnyOrganisationAndPersonal,
            vec![],
            1,
            400,
            "TooManyAppPasswords",
        ),
        (
            Audience::MyOrganisation,
            vec![],
            2,
            403,
            "Directory_ResourceSizeExceeded",
        ),
        (
            Audience::MyOrganisation,
            vec![lifetime],
            0,
            400,
            "CredentialInvalidLifetimeAsPerAppPolicy",
        ),
        (
            Audience::MyOrganisation,
            vec![ManagementPolicy::NoPasswords { id: policy }],
            0,
            400,
            "CredentialTypeNotAllowedAsPerAppPolicy",
        ),
    ];
    for (audience, policies, allowed, status, code) in cases {
        let about_policy = !policies.is_empty();
        let app = bench.sandbox.add_application(NewApplication {
            audience,
            policies,
            ..NewApplication::rotating_itself(bench.tenant_id, "limited", end)
        });
        let token = bench.token_of(&app).await;
        let path = format!("applications/{}/addPassword", app.object_id);
        for _ in 0..allowed {
            assert_eq!(bench.post(&token, &path, json!({})).await.0, StatusCode::OK);
        }
        let (got, body) = bench.post(&token, &path, json!({})).await;
        assert_eq!(
            (got.as_u16(), &body["error"]["code"]),
            (status, &json!(code))
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(
            message.contains(&policy.to_string()),
            about_policy,
            "{message}"
        );
    }
}

#[tokio::test]
async fn b10_a_secret_on_the_service_principal_signs_in_and_is_not_on_the_application() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let path = format!(
        "servicePrincipals(appId='{}')/microsoft.graph.addPassword",
        bench.app.client_id
    );
    let (status, added) = bench.post(&token, &path, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        bench
            .signs_in(&added["secretText"].as_str().unwrap().into())
            .await
    );
    assert_eq!(bench.sandbox.keys(bench.app.client_id).len(), 1);
    let filter = format!(
        "servicePrincipals?$filter=appId eq '{}'",
        bench.app.client_id
    );
    let (_, found) = bench.get(&token, &filter).await;
    let principal = &found["value"][0];
    assert_eq!(principal["id"], bench.app.service_principal_id.to_string());
    assert_eq!(principal["passwordCredentials"][0]["keyId"], added["keyId"]);
}

#[tokio::test]
async fn hostile_names_and_bare_secrets_are_listed_as_they_are() {
    let bench = Bench::new().await;
    let name = "\u{1b}[31m\"=cmd|' /C calc'!A0\u{202e}\n</script>";
    let app = bench.sandbox.add_application(NewApplication {
        passwords: vec![NewPassword {
            without_hint: true,
            ..NewPassword::default()
        }],
        ..NewApplication::new(bench.tenant_id, name)
    });
    let token = bench.token().await;
    let (_, body) = bench
        .get(&token, &format!("applications/{}", app.object_id))
        .await;
    assert_eq!(body["displayName"], name);
    let bare = &body["passwordCredentials"][0];
    for property in ["displayName", "endDateTime", "startDateTime", "hint"] {
        assert_eq!(bare[property], Value::Null, "{property}");
    }
}

#[tokio::test]
async fn discovery_is_what_msal_and_the_azure_cli_look_for() {
    let bench = Bench::new().await;
    let url = bench.sandbox.url();
    let get = async |path: String| {
        read(
            bench
                .http
                .get(format!("{url}/{path}"))
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    for tenant in [
        bench.tenant_id.to_string(),
        "contoso.onmicrosoft.com".to_owned(),
    ] {
        let path = format!("{tenant}/v2.0/.well-known/openid-configuration");
        let (_, body) = get(path).await;
        assert_eq!(
            body["token_endpoint"],
            format!("{url}/{tenant}/oauth2/v2.0/token")
        );
    }
    let (status, body) = get(format!(
        "{}/v2.0/.well-known/openid-configuration",
        Uuid::nil()
    ))
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error_codes"], json!([90_002]));
    let (_, body) = get("subscriptions?api-version=2022-12-01".to_owned()).await;
    assert_eq!(body, json!({"value": []}));
}

#[tokio::test]
async fn j2_tls_works_with_a_private_ca_and_plain_http_is_for_loopback_only() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = Tls {
        certificate: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
    };
    let bench = Bench::with(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await;
    assert!(bench.sandbox.url().starts_with("https://127.0.0.1:"));
    let get = |client: Client| {
        client
            .get(format!("{}/tenants", bench.sandbox.url()))
            .send()
    };
    assert!(
        get(bench.http.clone()).await.is_err(),
        "the CA is not known"
    );
    let ca = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trusting = Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    assert_eq!(get(trusting).await.unwrap().status(), StatusCode::OK);

    let everywhere = Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Options::default()
    };
    let refused = Sandbox::start(everywhere).await.unwrap_err();
    assert!(
        matches!(refused, StartError::PlainHttpOffLoopback(_)),
        "{refused}"
    );
}

#[tokio::test]
async fn the_same_seed_makes_the_same_directory() {
    let with_seed = async |seed| {
        let bench = Bench::with(Options {
            seed,
            ..Options::default()
        });
        let app = bench.await.app;
        (
            app.client_id,
            app.keys[0].key_id,
            app.keys[0].value.expose_secret().to_owned(),
        )
    };
    assert_eq!(with_seed(1).await, with_seed(1).await);
    assert_ne!(with_seed(1).await, with_seed(2).await);
}

#[tokio::test]
async fn a6_nasty_secrets_are_to_be_had() {
    let bench = Bench::with(Options {
        rules: Rules {
            alphabet: Rules::NASTY_ALPHABET.to_owned(),
            ..Rules::default()
        },
        ..Options::default()
    })
    .await;
    let token = bench.token().await;
    let mut seen = String::new();
    for _ in 0..20 {
        let (_, added) = bench.add(&token, "x").await;
        let secret = added["secretText"].as_str().unwrap();
        assert!(bench.signs_in(&secret.into()).await);
        seen.push_str(secret);
    }
    for hard in "=+&%$'\"\\ ".chars() {
        assert!(seen.contains(hard), "{hard}");
    }
}

#[tokio::test]
async fn it_stops_and_leaves_the_port() {
    let bench = Bench::new().await;
    let url = format!("{}/tenants", bench.sandbox.url());
    assert!(bench.http.get(&url).send().await.is_ok());
    bench.sandbox.stop().await;
    assert!(bench.http.get(&url).send().await.is_err());
}
