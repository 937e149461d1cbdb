//! The way of one request through the sandbox: arrival, faults, effect, answer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::call::{Call, Kind};
use super::fault::{Action, Faults, RetryAfter, Then, When, throttled};
use super::flow::{CutOff, Endless};
use super::graph;
use super::graph_error::GraphError;
use super::operation::{GraphOperation, Operation, Reference};
use super::tenant::{Directory, guid};
use super::token::{self, Caller, Tokens};
use super::wire::{Answer, Payload, Stamp, http_date};
use crate::clock::{Clock, SystemClock};
use crate::entra::ClientId;

/// Called for each request, with the stage it has reached; the request waits for it.
pub type Hook = Arc<dyn Fn(Stage, Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has arrived whole, and nothing has been done.
    BeforeEffect,
    /// What it asks for is done, and nothing has been answered.
    AfterEffect,
}

/// Everything that the requests of one sandbox share.
pub(super) struct State {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scheme: &'static str,
    pub(super) tokens: Tokens,
    pub(super) directory: Mutex<Directory>,
    /// Drawn apart from the directory, which so repeats whatever the number of requests.
    pub(super) request_ids: Mutex<fastrand::Rng>,
    pub(super) faults: Mutex<Faults>,
    pub(super) calls: Mutex<CallLog>,
    pub(super) hook: Mutex<Option<Hook>>,
    /// Real microseconds that each request takes longer.
    pub(super) latency: AtomicU64,
    /// Milliseconds that the sandbox's own clock is ahead.
    pub(super) date_offset: AtomicI64,
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) calls: AtomicU64,
}

/// The connection is to be closed without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(super) struct HungUp;

/// The calls so far, the oldest forgotten once there are too many.
#[derive(Debug)]
pub(super) struct CallLog {
    pub(super) calls: VecDeque<Call>,
    pub(super) most: usize,
    counted: u64,
}

impl CallLog {
    pub(super) fn new(most: usize) -> Self {
        Self {
            calls: VecDeque::new(),
            most,
            counted: 0,
        }
    }

    fn begin(&mut self, call: &mut Call) {
        self.counted += 1;
        call.number = self.counted;
        if self.most == 0 {
            return;
        }
        if self.calls.len() == self.most {
            self.calls.pop_front();
        }
        self.calls.push_back(call.clone());
    }

    fn end(&mut self, number: u64, status: Option<u16>) {
        // Numbers in the log follow one another.
        let oldest = self.calls.front().map_or(0, |call| call.number);
        let place = number.checked_sub(oldest).map(|place| place as usize);
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.status = status;
        }
    }
}

/// A request that has arrived.
struct Arrived {
    call: Call,
    stamp: Stamp,
    strikes: Vec<(When, Action)>,
    asked: Asked,
}

/// What a request asks for, and in whose name.
struct Asked {
    operation: Operation,
    caller: Result<Caller, GraphError>,
    /// `https://host:port`, as the caller addressed the sandbox.
    base: String,
    query: String,
}

/// Locks; a panic elsewhere has not broken anything that the lock protects.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Answers one request.
    pub(super) async fn receive(
        &self,
        connection: &Connection,
        parts: Parts,
        body: Bytes,
    ) -> Result<Response<Body>, HungUp> {
        let latency = Duration::from_micros(self.latency.load(Ordering::Relaxed));
        if !latency.is_zero() {
            SystemClock.sleep(latency).await;
        }
        let Arrived {
            call,
            stamp,
            strikes,
            asked,
        } = self.arrive(connection, &parts, &body);
        let answer = self.carry_out(asked, strikes, &call, &stamp).await;
        let status = answer.as_ref().ok().map(|answer| answer.status.as_u16());
        lock(&self.calls).end(call.number, status);
        Ok(self.respond(answer?, call.kind, &stamp))
    }

    fn arrive(&self, connection: &Connection, parts: &Parts, body: &[u8]) -> Arrived {
        let now = self.clock.now();
        let (uri, headers) = (&parts.uri, &parts.headers);
        let query = uri.query().unwrap_or_default();
        let operation = Operation::read(&parts.method, uri.path(), query, headers, body);
        let base = self.base(headers);
        let caller = match &operation {
            Operation::Graph(_) => self.tokens.caller(headers, &base, now),
            _ => Err(GraphError::TokenMissing),
        };
        let client_id = operation
            .subject()
            .and_then(|of| client_id_of(&lock(&self.directory), &of));
        let request_id = guid(&mut lock(&self.request_ids));
        let kind = operation.kind();
        let client_request_id = correlation(headers);
        let mut call = Call {
            number: 0,
            kind,
            client_id,
            caller: caller.as_ref().ok().map(|caller| caller.client_id),
            at: now,
            request_id,
            client_request_id: client_request_id.clone(),
            status: None,
            connection: connection.number,
            new_connection: connection.calls.fetch_add(1, Ordering::Relaxed) == 0,
        };
        lock(&self.calls).begin(&mut call);
        Arrived {
            stamp: Stamp {
                at: self.shown(now),
                request_id,
                correlation_id: client_request_id.unwrap_or_else(|| request_id.to_string()),
            },
            strikes: lock(&self.faults).strike(kind, client_id),
            call,
            asked: Asked {
                operation,
                caller,
                base,
                query: query.to_owned(),
            },
        }
    }

    async fn carry_out(
        &self,
        asked: Asked,
        strikes: Vec<(When, Action)>,
        call: &Call,
        stamp: &Stamp,
    ) -> Result<Answer, HungUp> {
        let (before, after): (Vec<_>, Vec<_>) = strikes
            .into_iter()
            .partition(|(when, _)| *when == When::Before);
        self.tell(Stage::BeforeEffect, call).await;
        if let Some(answer) = self.strike(before, call.kind, None, stamp).await? {
            return Ok(answer);
        }
        let usual = self.effect(asked, stamp);
        self.tell(Stage::AfterEffect, call).await;
        let answer = self.strike(after, call.kind, Some(usual), stamp).await?;
        answer.ok_or(HungUp)
    }

    async fn tell(&self, stage: Stage, call: &Call) {
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook {
            hook(stage, call.clone()).await;
        }
    }

    async fn strike(
        &self,
        strikes: Vec<(When, Action)>,
        kind: Kind,
        mut answer: Option<Answer>,
        stamp: &Stamp,
    ) -> Result<Option<Answer>, HungUp> {
        for (_, action) in strikes {
            match action.apply(kind, &mut answer, stamp) {
                Then::GoOn => {}
                Then::Wait(duration) => SystemClock.sleep(duration).await,
                Then::WaitOnClock(duration) => self.clock.sleep(duration).await,
                Then::HangUp => return Err(HungUp),
            }
        }
        Ok(answer)
    }

    /// Does what was asked for; not interrupted by anything, as it waits for nothing.
    fn effect(&self, asked: Asked, stamp: &Stamp) -> Answer {
        let Asked {
            operation,
            caller,
            base,
            query,
        } = asked;
        let now = self.clock.now();
        let mut directory = lock(&self.directory);
        match operation {
            Operation::Token { tenant, form } => {
                let request = token::Request {
                    tenant: &tenant,
                    form: &form,
                    base: &base,
                    now,
                    request_id: stamp.request_id,
                };
                token::answer(&self.tokens, &mut directory, &request)
                    .unwrap_or_else(|error| error.answer(stamp))
            }
            Operation::Discovery { tenant } => token::discovery(&directory, &tenant, &base)
                .unwrap_or_else(|error| error.answer(stamp)),
            Operation::SigningKeys => Answer::json(StatusCode::OK, r#"{"keys":[]}"#.to_owned()),
            Operation::ResourceManager => {
                Answer::json(StatusCode::OK, r#"{"value":[]}"#.to_owned())
            }
            Operation::Graph(operation) => caller
                .and_then(|caller| {
                    let call = graph::Call {
                        caller,
                        base: &base,
                        query: &query,
                        now,
                    };
                    graph_answer(&mut directory, &call, operation, stamp)
                })
                .unwrap_or_else(|error| error.answer(stamp)),
            Operation::Unknown => Answer::empty(StatusCode::NOT_FOUND),
        }
    }

    fn respond(&self, answer: Answer, kind: Kind, stamp: &Stamp) -> Response<Body> {
        let mut response = Response::new(match answer.body {
            Payload::Empty => Body::empty(),
            Payload::Text(text) => Body::from(text),
            Payload::CutOff(text) => Body::new(CutOff::of(text)),
            Payload::Endless => Body::new(Endless),
        });
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        let text = |text: &str| HeaderValue::try_from(text).ok();
        headers.insert(header::DATE, http_date(self.shown(self.clock.now())));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
        let mut id = Uuid::encode_buffer();
        let request_id = text(stamp.request_id.hyphenated().encode_lower(&mut id));
        let (id_name, echo_name) = match kind {
            Kind::Token | Kind::Discovery => ("x-ms-request-id", "client-request-id"),
            _ => ("request-id", "client-request-id"),
        };
        let echo = text(&stamp.correlation_id);
        for (name, value) in [(id_name, request_id), (echo_name, echo)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if !matches!(kind, Kind::Token | Kind::Discovery) {
            headers.insert(
                HeaderName::from_static("x-ms-ags-diagnostic"),
                HeaderValue::from_static(DIAGNOSTIC),
            );
        }
        headers.extend(answer.headers);
        response
    }

    /// The sandbox's own idea of the time, which a test may have set askew.
    fn shown(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::milliseconds(self.date_offset.load(Ordering::Relaxed))
    }

    fn base(&self, headers: &HeaderMap) -> String {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        format!("{}://{host}", self.scheme)
    }
}

const DIAGNOSTIC: &str = r#"{"ServerInfo":{"DataCenter":"Sandbox","Slice":"E","Ring":"1","ScaleUnit":"001","RoleInstance":"KEYWHEEL"}}"#;

fn graph_answer(
    directory: &mut Directory,
    call: &graph::Call<'_>,
    operation: GraphOperation,
    stamp: &Stamp,
) -> Result<Answer, GraphError> {
    let throttled_until = directory
        .tenants
        .get(&call.caller.tenant_id)
        .and_then(|tenant| tenant.throttled_until)
        .filter(|until| call.now < *until);
    if let Some(until) = throttled_until {
        // Rounded up: whoever waits as long as told is not refused again.
        let seconds = (until - call.now)
            .num_milliseconds()
            .unsigned_abs()
            .div_ceil(1_000);
        return Ok(throttled(Kind::Other, RetryAfter::Seconds(seconds), stamp));
    }
    if let Some(wait) = over_quota(directory, call, &operation) {
        let seconds = wait.as_secs_f64().ceil() as u64;
        return Ok(throttled(Kind::Other, RetryAfter::Seconds(seconds), stamp));
    }
    call.answer(directory, operation)
}

fn over_quota(
    directory: &mut Directory,
    call: &graph::Call<'_>,
    operation: &GraphOperation,
) -> Option<Duration> {
    let limits = directory.rules.write_limits?;
    let (tenant, caller) = (call.caller.tenant_id, call.caller.client_id);
    match operation {
        GraphOperation::Add(..) | GraphOperation::Remove(..) => {
            directory.quota.write(limits, tenant, caller, call.now)
        }
        _ => None,
    }
}

fn client_id_of(directory: &Directory, reference: &Reference) -> Option<ClientId> {
    match reference {
        Reference::Client(client_id) => Some(*client_id),
        Reference::Object(object_id) => {
            let (place, _) = directory.place_of_object(*object_id)?;
            Some(directory.applications.get(place)?.client_id)
        }
        Reference::Malformed(_) => None,
    }
}

/// The caller's own ID of the request, under either of its names, if it is of a sane length.
fn correlation(headers: &HeaderMap) -> Option<String> {
    ["client-request-id", "x-ms-client-request-id"]
        .into_iter()
        .find_map(|name| headers.get(name)?.to_str().ok())
        .filter(|id| id.len() <= 128)
        .map(str::to_owned)
}
