//! Where health, metrics and the page are served: read-only, on a loopback address or a Unix
//! socket unless told otherwise. Nothing else depends on it.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::board::Board;
use super::{metrics, page};
use crate::connection::ConnectionName;
use crate::settings::Listen;
use crate::store::StoreFault;

/// So many connections are on one page.
const ON_A_PAGE: usize = 500;

/// An address that is taken, as by a former process that is about to end, is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Pieces of metrics that wait for a slow reader.
const WAITING: usize = 4;

const STYLE: &str = include_str!("page.css");

/// No script, no frame, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Serves until it is dropped. An address that can't be had is said, and tried again: rotations do
/// not wait for it.
pub async fn serve(listen: Listen, board: Arc<Board>) {
    let clock = Arc::clone(&board.clock);
    loop {
        let served = match &listen {
            Listen::Tcp(address) => serve_tcp(*address, Arc::clone(&board)).await,
            Listen::Unix(path) => serve_unix(path, Arc::clone(&board)).await,
        };
        if let Err(error) = served {
            tracing::error!(
                "health, metrics and the page can't be served on {listen}: {error}; rotations go \
                 on, and it is tried again"
            );
        }
        clock.sleep(AGAIN).await;
    }
}

async fn serve_tcp(address: SocketAddr, board: Arc<Board>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    tracing::info!("health, metrics and the page are at http://{address}/");
    axum::serve(listener, router(board)).await
}

async fn serve_unix(path: &Path, board: Arc<Board>) -> std::io::Result<()> {
    // What a former process left is in the way; it is no longer served by anybody.
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => return Err(std::io::ErrorKind::AddrInUse.into()),
        Err(_) if path.symlink_metadata().is_ok_and(|it| is_socket(&it)) => {
            std::fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
    tracing::info!("health, metrics and the page are at {}", path.display());
    axum::serve(listener, router(board)).await
}

fn is_socket(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}

fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/page.css", get(style))
        .route("/status.json", get(status))
        .route("/metrics", get(measure))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(guard))
        .with_state(board)
}

/// A page of another origin that has its name lead here, by a name server of its own, reads
/// nothing; and nothing is kept by a cache or shown in a frame.
async fn guard(request: Request, next: Next) -> Response {
    if !is_own_name(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "call it by its address\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An address or `localhost`, whatever the port; a name was found by somebody else.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Where a page begins.
#[derive(Debug, Deserialize)]
struct From {
    after: Option<ConnectionName>,
}

async fn root(State(board): State<Arc<Board>>, Query(from): Query<From>) -> Response {
    let shown = match board.views(from.after, ON_A_PAGE).await {
        Ok(read) => read,
        Err(fault) => return unreadable(&fault),
    };
    let now = board.clock.now();
    let not_ready = board.vital.ready(now).err().map(|it| it.to_string());
    let last = shown.views.last().map(|view| view.name.to_string());
    let lacking = crate::wording::listed(shown.lacking.iter().map(ConnectionName::as_str));
    let head = page::Head {
        not_ready: not_ready.as_deref(),
        connections: board.vital.connection_count(),
        under_way: board.vital.under_way(),
        lacking: Some(&*lacking).filter(|names| !names.is_empty()),
        next_page: last.as_deref().filter(|_| shown.more),
    };
    match page::page(head, &shown.views, now) {
        Ok(html) => typed("text/html; charset=utf-8", html),
        Err(error) => {
            tracing::error!("the page can't be made: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn style() -> Response {
    typed("text/css; charset=utf-8", STYLE)
}

/// The same as `status -o json`, a page of it.
async fn status(State(board): State<Arc<Board>>, Query(from): Query<From>) -> Response {
    match board.views(from.after, ON_A_PAGE).await {
        Ok(shown) => axum::Json(shown.views).into_response(),
        Err(fault) => unreadable(&fault),
    }
}

async fn measure(State(board): State<Arc<Board>>) -> Response {
    let (sender, pieces) = mpsc::channel::<Bytes>(WAITING);
    tokio::spawn(async move {
        if let Err(fault) = metrics::write(&board, &sender).await {
            tracing::warn!("metrics are not whole: {fault}");
        }
    });
    let pieces = ReceiverStream::new(pieces).map(Ok::<_, std::convert::Infallible>);
    typed(
        "text/plain; version=0.0.4; charset=utf-8",
        Body::from_stream(pieces),
    )
}

/// The process lives and answers.
async fn alive() -> &'static str {
    "alive\n"
}

/// It does what it is there for.
async fn ready(State(board): State<Arc<Board>>) -> Response {
    match board.vital.ready(board.clock.now()) {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
            .into_response(),
    }
}

fn unreadable(fault: &StoreFault) -> Response {
    tracing::warn!("{fault}");
    (StatusCode::SERVICE_UNAVAILABLE, "the store can't be read\n").into_response()
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_resolves_is_not_ours() {
        for (host, own) in [
            ("127.0.0.1:9847", true),
            ("[::1]:9847", true),
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("", true),
            ("evil.example", false),
            ("evil.example:9847", false),
            ("127.0.0.1.evil.example", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(is_own_name(&headers), own, "{host}");
        }
    }
}
