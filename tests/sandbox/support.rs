//! A tenant with a caller, as most tests need them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::clock::{Clock, VirtualClock};
use keywheel::entra::{ClientId, TenantId};
use keywheel::sandbox::{NewApplication, Options, Registered, Sandbox};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) tenant_id: TenantId,
    /// An application that can rotate itself.
    pub(crate) app: Registered,
    pub(crate) http: Client,
}

pub(crate) fn start_of_time() -> DateTime<Utc> {
    "2026-11-20T18:08:58Z".parse().unwrap()
}

pub(crate) fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .build()
        .unwrap()
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let clock = Arc::new(VirtualClock::new(start_of_time()));
        let options = Options {
            clock: clock.clone(),
            ..options
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let tenant_id = sandbox.add_tenant("Contoso");
        let end = clock.now() + TimeDelta::days(90);
        let app = sandbox.add_application(NewApplication::rotating_itself(tenant_id, "crm", end));
        Self {
            sandbox,
            clock,
            tenant_id,
            app,
            http: client(),
        }
    }

    pub(crate) fn ask_token(&self, client_id: ClientId, secret: &SecretString) -> RequestBuilder {
        let (url, tenant) = (self.sandbox.url(), self.tenant_id);
        let client_id = client_id.to_string();
        self.http
            .post(format!("{url}/{tenant}/oauth2/v2.0/token"))
            .form(&[
                ("client_id", client_id.as_str()),
                ("client_secret", secret.expose_secret()),
                ("grant_type", "client_credentials"),
                ("scope", "https://graph.microsoft.com/.default"),
            ])
    }

    pub(crate) async fn signs_in(&self, secret: &SecretString) -> bool {
        let answer = self.ask_token(self.app.client_id, secret).send().await;
        answer.unwrap().status() == StatusCode::OK
    }

    pub(crate) async fn token_of(&self, app: &Registered) -> String {
        let answer = self.ask_token(app.client_id, &app.keys[0].value);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let body: Value = answer.json().await.unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn token(&self) -> String {
        self.token_of(&self.app).await
    }

    pub(crate) fn graph(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v1.0/{path}", self.sandbox.url());
        self.http.request(method, url).bearer_auth(token)
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        read(self.graph(token, Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.graph(token, Method::POST, path).json(&body);
        read(request.send().await.unwrap()).await
    }

    /// Adds a secret to the application, signed in as itself.
    pub(crate) async fn add(&self, token: &str, name: &str) -> (StatusCode, Value) {
        let path = format!("applications/{}/addPassword", self.app.object_id);
        self.post(
            token,
            &path,
            json!({"passwordCredential": {"displayName": name}}),
        )
        .await
    }

    pub(crate) async fn remove(&self, token: &str, key_id: &str) -> (StatusCode, Value) {
        let path = format!("applications/{}/removePassword", self.app.object_id);
        self.post(token, &path, json!({"keyId": key_id})).await
    }

    /// The names of the secrets that one read shows.
    pub(crate) async fn names(&self, token: &str) -> Vec<String> {
        let path = format!("applications/{}", self.app.object_id);
        let (status, body) = self.get(token, &path).await;
        assert_eq!(status, StatusCode::OK);
        let names = body["passwordCredentials"].as_array().unwrap().iter();
        names
            .filter_map(|password| Some(password["displayName"].as_str()?.to_owned()))
            .collect()
    }
}

pub(crate) async fn read(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let body = answer.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}
