//! A server that answers from a script, byte by byte, and remembers what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers, and keeps the connection.
    Whole(String),
    /// Sends this much and closes the connection.
    Cut(String),
    /// Sends this, and then zeros as long as somebody reads.
    Endless(String),
    /// Never answers.
    Silence,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counts connections.
    pub(crate) connection: usize,
    /// Method and path with query.
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    requests: Vec<Request>,
    connections: usize,
}

/// Ends with the test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::listen(replies, None).await
    }

    pub(crate) async fn listen(
        replies: impl IntoIterator<Item = Reply>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script {
            replies: replies.into_iter().collect(),
            ..Script::default()
        }));
        let shared = script.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = shared.clone();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, script).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, script).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            port,
            script,
            accepting,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.lock().unwrap().requests.clone()
    }

    /// The only request that came.
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<Script>>,
) -> Option<()> {
    let connection = {
        let mut script = script.lock().unwrap();
        script.connections += 1;
        script.connections
    };
    loop {
        let (head, body) = receive(&mut stream).await?;
        let reply = {
            let mut script = script.lock().unwrap();
            let words: Vec<&str> = head.splitn(3, ' ').take(2).collect();
            script.requests.push(Request {
                connection,
                line: words.join(" "),
                head,
                body,
            });
            script.replies.pop_front().unwrap_or(Reply::Silence)
        };
        match reply {
            Reply::Whole(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Reply::Cut(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Reply::Endless(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(&[b' '; 65_536]).await.ok()?;
                }
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |it| it.parse().unwrap());
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The value of a header of `head`.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `DATE` is when every answer is given.
pub(crate) const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// An answer with more headers, each ending in a line break.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Whole(format!(
        "HTTP/1.1 {status} Whatever\r\nDate: {DATE}\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    ))
}

pub(crate) fn json(status: u16, body: &serde_json::Value) -> Reply {
    answer(
        status,
        "Content-Type: application/json\r\n",
        &body.to_string(),
    )
}

/// A refusal as Graph words it.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let inner = serde_json::json!({"date": "2026-03-29T13:23:55", "request-id": "r"});
    let error = serde_json::json!({"code": code, "message": message, "innerError": inner});
    json(status, &serde_json::json!({"error": error}))
}

/// A refusal as the token endpoint words it.
pub(crate) fn sign_in_refusal(status: u16, error: &str, code: u64) -> Reply {
    json(
        status,
        &serde_json::json!({
            "error": error,
            "error_description": format!("AADSTS{code}: Words. Trace ID: 1 Correlation ID: 2"),
            "error_codes": [code],
            "timestamp": "2023-11-06 07:47:49Z",
        }),
    )
}

pub(crate) fn token_answer() -> Reply {
    let body = serde_json::json!({
        "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599,
        "access_token": super::TOKEN,
    });
    json(200, &body)
}
