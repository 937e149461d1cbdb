//! The client for Entra, against a server that answers from a script.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod graph;
mod network;
mod server;
mod sign_in;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keywheel::clock::VirtualClock;
use keywheel::entra::{AppRef, Cloud, Entra, Fault, KeyId, ObjectId, Token};
use secrecy::SecretString;
use server::{Reply, Server, token_answer};

pub(crate) const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.canary-of-a-token.signature";
pub(crate) const SECRET: &str = "abc8Q~canary.of_a-secret.0123456789abcdef";
pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const CLIENT: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const OBJECT: &str = "33333333-3333-4333-8333-333333333333";
pub(crate) const KEY: &str = "44444444-4444-4444-8444-444444444444";
pub(crate) const POLICY: &str = "538f1913-366a-440a-95a0-e195cb55b282";

/// What every answer's `Date` says, and where the virtual clock starts.
pub(crate) const NOW: i64 = 1_445_412_480;

/// A client, the server it talks to, and the clock it waits on.
pub(crate) struct Bench {
    pub(crate) entra: Entra,
    pub(crate) server: Server,
    pub(crate) clock: Arc<VirtualClock>,
}

impl Bench {
    pub(crate) async fn with(replies: impl IntoIterator<Item = Reply>) -> Self {
        let server = Server::start(replies).await;
        let base = format!("http://127.0.0.1:{}", server.port);
        let cloud = Cloud::new("lab", &base, &base, None).unwrap();
        let clock = Arc::new(VirtualClock::new(at(NOW)));
        let timeout = Duration::from_millis(400);
        Self {
            entra: Entra::new(vec![cloud], timeout, clock.clone()),
            server,
            clock,
        }
    }

    /// A bench whose first answer was a token.
    pub(crate) async fn signed_in(replies: impl IntoIterator<Item = Reply>) -> (Self, Token) {
        let bench = Self::with(std::iter::once(token_answer()).chain(replies)).await;
        let token = bench.entra.token(&app(), &secret()).await.unwrap();
        (bench, token)
    }

    pub(crate) async fn add(&self, token: &Token) -> Result<keywheel::entra::Minted, Fault> {
        let ends_at = at(NOW + 86_400);
        let added = self.entra.add_password(token, object_id(), "name", ends_at);
        added.await.map(|answer| answer.value)
    }
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

pub(crate) fn app() -> AppRef {
    AppRef {
        cloud: "lab".into(),
        tenant_id: TENANT.parse().unwrap(),
        client_id: CLIENT.parse().unwrap(),
    }
}

pub(crate) fn secret() -> SecretString {
    SECRET.into()
}

pub(crate) fn object_id() -> ObjectId {
    OBJECT.parse().unwrap()
}

pub(crate) fn key_id() -> KeyId {
    KEY.parse().unwrap()
}
