//! What `keywheel sandbox` offers to adopt.

use keywheel::sandbox::{Lag, Opening, Permission, open};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::support::client;

#[tokio::test]
async fn an_offer_holds_what_is_needed_to_adopt() {
    let (sandbox, offer) = open(Opening {
        applications: 3,
        lag: Lag::None,
        ..Opening::default()
    })
    .await
    .unwrap();
    let permissions: Vec<_> = offer
        .applications
        .iter()
        .map(|app| app.permission)
        .collect();
    let (all, own) = (Permission::ReadWriteAll, Permission::ReadWriteOwnedBy);
    assert_eq!(permissions, [all.name(), own.name(), own.name()]);
    assert!(
        offer
            .cloud
            .contains(&format!("login = \"{}\"", sandbox.url()))
    );

    let printed = serde_json::to_value(&offer).unwrap();
    assert_eq!(printed["url"], sandbox.url());
    for (app, printed) in offer
        .applications
        .iter()
        .zip(printed["applications"].as_array().unwrap())
    {
        assert_eq!(printed["secret"], app.secret.expose_secret());
        assert_eq!(printed["key_id"], app.key_id.to_string());
        let token = client().post(format!(
            "{}/{}/oauth2/v2.0/token",
            offer.url, offer.tenant_id
        ));
        let token = token.form(&[
            ("client_id", printed["client_id"].as_str().unwrap()),
            ("client_secret", printed["secret"].as_str().unwrap()),
            ("grant_type", "client_credentials"),
            ("scope", "https://graph.microsoft.com/.default"),
        ]);
        let token: Value = token.send().await.unwrap().json().await.unwrap();
        let token = token["access_token"].as_str().unwrap();
        let add = client()
            .post(format!(
                "{}/v1.0/applications/{}/addPassword",
                offer.url, app.object_id
            ))
            .bearer_auth(token)
            .body("{}");
        assert_eq!(add.send().await.unwrap().status(), StatusCode::OK);
    }
}

#[test]
fn p6_an_offer_shows_no_secret_unless_it_is_printed_as_data() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_sandbox, offer) = runtime.block_on(open(Opening::default())).unwrap();
    let secret = offer.applications[0].secret.expose_secret();
    assert!(!format!("{offer:?}").contains(secret));
}
