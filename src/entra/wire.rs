//! Calls over HTTP: bounded in time and size, without redirects, and logged without what they carry.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, Request, RequestBuilder, Response, StatusCode};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::calls::{Calls, Ending};
use super::cloud::Cloud;
use super::endpoint::{Connection, Endpoint};
use super::fault::{Fault, FaultKind, Nonsense, Operation};
use super::id::TenantId;
use super::pace::{Pace, WriteLimits};
use super::throttle::{Throttle, retry_after};
use super::token::Token;
use super::{Answer, date};
use crate::clock::Clock;
use crate::crash;
use crate::text::harmless;

/// More than an application with a thousand secrets takes.
const LARGEST_BODY: usize = 1024 * 1024;

/// A 429 of Graph's without a time; Graph's advice is to back off, its buckets refill in 10 s.
const GRAPH_WAIT: Duration = Duration::from_secs(10);

/// A 429 of the token endpoint's without a time; where it names one, it is a minute.
const SIGN_IN_WAIT: Duration = Duration::from_secs(60);

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// The client for Entra's token endpoint and Microsoft Graph: one for the process, cheap to clone.
///
/// It retries nothing by itself: what a failure means is for the caller to decide, by its
/// [`Class`](super::Class).
#[derive(Debug, Clone)]
pub struct Entra {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Endpoint>,
    request_timeout: Duration,
    clock: Arc<dyn Clock>,
    throttle: Arc<Throttle>,
    pace: Arc<Pace>,
    calls: Arc<Calls>,
}

/// What kind of call it is, and whose throttle it is under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) during: Operation,
    pub(super) tenant: TenantId,
}

/// An answer that is neither a redirect nor a 429.
pub(super) struct Received {
    during: Operation,
    status: StatusCode,
    date: Option<DateTime<Utc>>,
    client_request_id: String,
    /// Wiped when it is dropped: it may hold a secret.
    body: Zeroizing<Vec<u8>>,
}

impl Entra {
    /// A client for `clouds` and the built-in ones; of two that share a name the former counts.
    ///
    /// `request_timeout` is for one request, from connecting to the last byte.
    pub fn new(clouds: Vec<Cloud>, request_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(clouds, request_timeout, clock, WriteLimits::default())
    }

    /// The same for a Graph that allows this many writes.
    pub fn with_limits(
        clouds: Vec<Cloud>,
        request_timeout: Duration,
        clock: Arc<dyn Clock>,
        limits: WriteLimits,
    ) -> Self {
        let throttle = Arc::new(Throttle::new(clock.clone()));
        let pace = Arc::new(Pace::new(limits, clock.clone()));
        Self::sharing(
            clouds,
            request_timeout,
            (clock, throttle, pace, Arc::default()),
        )
    }

    /// How many calls it, and those that were reconfigured from it, have made.
    pub fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.shared.calls)
    }

    /// A client for other clouds or with another time-out that still waits where this one was
    /// told to, and keeps to what it has spent.
    #[must_use]
    pub fn reconfigured(&self, clouds: Vec<Cloud>, request_timeout: Duration) -> Self {
        let Shared {
            clock,
            throttle,
            pace,
            calls,
            ..
        } = &*self.shared;
        let shared = (clock.clone(), throttle.clone(), pace.clone(), calls.clone());
        Self::sharing(clouds, request_timeout, shared)
    }

    fn sharing(
        clouds: Vec<Cloud>,
        request_timeout: Duration,
        (clock, throttle, pace, calls): (Arc<dyn Clock>, Arc<Throttle>, Arc<Pace>, Arc<Calls>),
    ) -> Self {
        let endpoints = clouds
            .into_iter()
            .chain(Cloud::built_in())
            .map(Endpoint::new)
            .collect();
        Self {
            shared: Arc::new(Shared {
                endpoints,
                request_timeout,
                clock,
                throttle,
                pace,
                calls,
            }),
        }
    }

    /// Waits for the turn of a change by the application that `token` was issued to.
    pub(super) async fn turn_to_write(&self, token: &Token) {
        self.shared.pace.pass(token.tenant_id, token.caller).await;
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    pub(super) fn endpoint(&self, cloud: &str, during: Operation) -> Result<&Endpoint, Fault> {
        let mut endpoints = self.shared.endpoints.iter();
        endpoints
            .find(|endpoint| endpoint.cloud.name == cloud)
            .ok_or_else(|| {
                let cloud = harmless(cloud, 64);
                unsent(during, FaultKind::CloudUnknown { cloud })
            })
    }

    /// Sends what `request` makes of a client, once.
    pub(super) async fn send(
        &self,
        call: Call,
        endpoint: &Endpoint,
        connection: Connection,
        request: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Received, Fault> {
        let during = call.during;
        let passed = self.shared.throttle.pass(call.tenant).await;
        passed.map_err(|wait| unsent(during, FaultKind::Throttled { wait }))?;

        let client_request_id = Uuid::new_v4().to_string();
        let prepared = endpoint
            .client(connection, self.shared.request_timeout)
            .and_then(|client| {
                let request = request(client).header(CLIENT_REQUEST_ID, &client_request_id);
                Ok((client, request.build()?))
            });
        let (client, request) =
            prepared.map_err(|error| unsent(during, unreachable(endpoint, error)))?;

        crash::point("http.before");
        let outcome = self
            .exchange(call, client, request, client_request_id)
            .await;
        crash::point("http.after");
        outcome
    }

    async fn exchange(
        &self,
        call: Call,
        client: &Client,
        request: Request,
        client_request_id: String,
    ) -> Result<Received, Fault> {
        let outcome = self.receive(call, client, request, client_request_id).await;
        let ending = match &outcome {
            Ok(received) if received.status.is_success() => Ending::Done,
            Ok(_) => Ending::Refused,
            Err(fault) if matches!(fault.kind, FaultKind::Throttled { .. }) => Ending::Throttled,
            Err(_) => Ending::Lost,
        };
        self.shared.calls.add(call.during, ending);
        outcome
    }

    async fn receive(
        &self,
        call: Call,
        client: &Client,
        request: Request,
        client_request_id: String,
    ) -> Result<Received, Fault> {
        let log = Log::new(&request, &client_request_id, self.now());
        let fault = |kind, status: Option<StatusCode>| Fault {
            kind,
            during: call.during,
            status: status.map(|status| status.as_u16()),
            client_request_id: Some(client_request_id.clone()),
        };
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let mut response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) => {
                let kind = undelivered(host, error);
                log.failed(&kind, self.now());
                return Err(fault(kind, None));
            }
        };
        let status = response.status();
        log.answered(status, self.now());

        let answered_at = answered_at(response.headers());
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = self.wait(call.during, response.headers(), answered_at);
            self.shared.throttle.told(call.tenant, wait);
            return Err(fault(FaultKind::Throttled { wait }, Some(status)));
        }
        if status.is_redirection() {
            let kind = FaultKind::Nonsense(Nonsense::Redirect);
            return Err(fault(kind, Some(status)));
        }
        let body = read(&mut response)
            .await
            .map_err(|kind| fault(kind, Some(status)))?;
        Ok(Received {
            during: call.during,
            status,
            date: answered_at,
            client_request_id,
            body,
        })
    }

    fn wait(
        &self,
        during: Operation,
        headers: &HeaderMap,
        answered_at: Option<DateTime<Utc>>,
    ) -> Duration {
        let header = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
        let told = header.and_then(|it| retry_after(it, answered_at.unwrap_or(self.now())));
        // "At once" after a refusal would be a tight loop.
        told.filter(|wait| !wait.is_zero()).unwrap_or(match during {
            Operation::Token | Operation::Prove => SIGN_IN_WAIT,
            Operation::Read | Operation::Add | Operation::Remove => GRAPH_WAIT,
        })
    }
}

impl Received {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn date(&self) -> Option<DateTime<Utc>> {
        self.date
    }

    /// The body as JSON. No error text is kept: it would quote the body.
    pub(super) fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Nonsense> {
        serde_json::from_slice(&self.body).map_err(|_| Nonsense::NotJson)
    }

    /// The answer brought `value`.
    pub(super) fn brought<T>(self, value: T) -> Answer<T> {
        Answer {
            value,
            date: self.date,
            client_request_id: self.client_request_id,
        }
    }

    /// The answer is a fault of this kind.
    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        Fault {
            kind,
            during: self.during,
            status: Some(self.status.as_u16()),
            client_request_id: Some(self.client_request_id.clone()),
        }
    }

    /// The answer makes no sense.
    pub(super) fn nonsense(&self, nonsense: Nonsense) -> Fault {
        self.fault(FaultKind::Nonsense(nonsense))
    }

    /// 5xx; 408 and 499 come from gateways that may have passed the request on.
    pub(super) fn is_server_error(&self) -> bool {
        self.status.is_server_error() || matches!(self.status.as_u16(), 408 | 499)
    }
}

/// The whole body, if it is of a reasonable size.
async fn read(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, FaultKind> {
    let too_large = FaultKind::Nonsense(Nonsense::TooLarge);
    let announced = response.content_length().unwrap_or(0);
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > LARGEST_BODY {
        return Err(too_large);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced.max(4096)));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST_BODY => {
                append(&mut body, &chunk);
            }
            Ok(Some(_)) => return Err(too_large),
            Ok(None) => return Ok(body),
            Err(error) => {
                let detail = reason(error);
                return Err(FaultKind::Interrupted { detail });
            }
        }
    }
}

/// Grows by hand: a vector that grows by itself leaves a copy behind that nobody wipes.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = body.len() + chunk.len();
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length * 2));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

fn answered_at(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    date::http(headers.get(DATE)?.to_str().ok()?)
}

fn unsent(during: Operation, kind: FaultKind) -> Fault {
    Fault {
        kind,
        during,
        status: None,
        client_request_id: None,
    }
}

fn undelivered(host: String, error: reqwest::Error) -> FaultKind {
    // Anything but a failure to connect may have reached the server.
    if error.is_connect() {
        FaultKind::Unreachable {
            host,
            detail: reason(error),
        }
    } else {
        FaultKind::Interrupted {
            detail: reason(error),
        }
    }
}

fn unreachable(endpoint: &Endpoint, error: reqwest::Error) -> FaultKind {
    FaultKind::Unreachable {
        host: endpoint
            .cloud
            .login
            .host_str()
            .unwrap_or_default()
            .to_owned(),
        detail: reason(error),
    }
}

/// The innermost cause, which is the one that a person can act on.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    harmless(&cause.to_string(), 160)
}

/// The two lines of a call: never its query, headers or body.
struct Log<'a> {
    method: String,
    path: String,
    client_request_id: &'a str,
    started_at: DateTime<Utc>,
}

impl<'a> Log<'a> {
    fn new(request: &Request, client_request_id: &'a str, started_at: DateTime<Utc>) -> Self {
        let (method, path) = (
            request.method().to_string(),
            request.url().path().to_owned(),
        );
        tracing::trace!(method, path, client_request_id, "calling");
        Self {
            method,
            path,
            client_request_id,
            started_at,
        }
    }

    fn answered(&self, status: StatusCode, now: DateTime<Utc>) {
        self.write(&status.as_u16(), now);
    }

    fn failed(&self, kind: &FaultKind, now: DateTime<Utc>) {
        self.write(kind, now);
    }

    fn write(&self, outcome: &dyn fmt::Display, now: DateTime<Utc>) {
        tracing::debug!(
            method = self.method,
            path = self.path,
            outcome = %outcome,
            elapsed_ms = (now - self.started_at).num_milliseconds(),
            client_request_id = self.client_request_id,
            "called"
        );
    }
}
