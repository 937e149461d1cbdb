//! A receiver over HTTP: answers from a script, then always with the last of it, and remembers what
//! it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Debug, Clone)]
pub enum Reply {
    Say(u16, &'static str),
    RetryAfter(u16, &'static str),
    Redirect(String),
    Endless,
    Silence,
}

#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    received: Vec<Received>,
}

pub struct Receiver {
    pub port: u16,
    script: Arc<Mutex<Script>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script {
            replies: replies.into_iter().collect(),
            received: Vec::new(),
        }));
        let router = Router::new().fallback(take).with_state(script.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            script,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/T0P-SECRET-PATH", self.port)
    }

    pub fn then(&self, reply: Reply) {
        let mut script = self.script.lock().unwrap();
        script.replies.clear();
        script.replies.push_back(reply);
    }

    pub fn received(&self) -> Vec<Received> {
        self.script.lock().unwrap().received.clone()
    }

    /// `event:cause` of each message.
    pub fn words(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let word = |received: &Received| {
            let body = received.json();
            format!("{}:{}", text(&body["event"]), text(&body["cause"]))
        };
        self.received().iter().map(word).collect()
    }
}

async fn take(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let reply = {
        let mut script = script.lock().unwrap();
        script.received.push(Received { headers, body });
        if script.replies.len() > 1 {
            script.replies.pop_front()
        } else {
            script.replies.front().cloned()
        }
    };
    let response = Response::builder();
    match reply.unwrap_or(Reply::Say(200, "ok")) {
        Reply::Say(status, text) => response.status(status).body(text.into()),
        Reply::RetryAfter(seconds, text) => response
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header(header::RETRY_AFTER, seconds)
            .body(text.into()),
        Reply::Redirect(to) => response
            .status(302)
            .header(header::LOCATION, to)
            .body(Body::empty()),
        Reply::Endless => response.status(200).body(vec![b'x'; 4 << 20].into()),
        Reply::Silence => {
            std::future::pending::<()>().await;
            unreachable!()
        }
    }
    .unwrap()
}

/// For a test of what takes too long.
pub const SHORT: Duration = Duration::from_millis(300);
