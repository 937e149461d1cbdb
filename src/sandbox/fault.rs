//! Faults: what goes wrong, at which call, and whether before or after the call took effect.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::call::Kind;
use super::graph_error::GraphError;
use super::sign_in_error::SignInError;
use super::wire::{Answer, Payload, Stamp, http_date};
use crate::entra::ClientId;

/// Something that goes wrong.
///
/// ```
/// use keywheel::sandbox::{Action, Fault, Kind};
/// // The answer to the second addPassword is lost, although the password was added.
/// let fault = Fault::on(Kind::AddPassword, Action::HangUp).after_effect().nth(2);
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    kind: Kind,
    client_id: Option<ClientId>,
    when: When,
    first: u32,
    times: u32,
    action: Action,
}

/// Where in a call a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the call has changed anything.
    Before,
    /// After it has taken effect.
    AfterEffect,
}

/// What happens instead of the usual answer, or on the way to it.
#[derive(Debug, Clone)]
pub enum Action {
    /// The connection is closed without an answer.
    HangUp,
    /// The call takes longer, in real time.
    Delay(Duration),
    /// The call takes longer, on the sandbox's clock.
    DelayOnClock(Duration),
    /// Graph refuses with this error.
    Refuse(GraphError),
    /// Graph refuses with this error, under another status than its usual one.
    RefuseAs(StatusCode, GraphError),
    /// The token endpoint refuses with this error.
    RefuseSignIn(SignInError),
    /// 429: a JSON body from Graph, plain text from the token endpoint.
    Throttle(RetryAfter),
    /// Any answer.
    Answer(Answer),
    /// A page of HTML with status 200, as a captive portal sends.
    Html,
    /// The usual answer, complete as HTTP but ending in the middle of its text.
    Truncate,
    /// The usual answer, whose line breaks in the middle.
    CutOff,
    /// A body that never ends.
    Endless,
    /// A redirect to another address.
    Redirect(String),
    /// The usual answer without this property.
    Omit(&'static str),
    /// The usual answer with this property changed.
    Set(&'static str, Value),
}

/// How a 429 tells when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// The date that many seconds from now, as HTTP writes it.
    Date(u64),
    /// Not at all.
    Missing,
}

impl Fault {
    /// A fault before the first call of this kind from now on takes effect.
    pub fn on(kind: Kind, action: Action) -> Self {
        Self {
            kind,
            client_id: None,
            when: When::Before,
            first: 1,
            times: 1,
            action,
        }
    }

    /// Only calls about this application count.
    #[must_use]
    pub fn of(mut self, client_id: ClientId) -> Self {
        self.client_id = Some(client_id);
        self
    }

    /// Strikes once the call has taken effect. [`Action::Omit`] and the like do so anyway.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.when = When::AfterEffect;
        self
    }

    /// Strikes from the `n`-th call on, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u32) -> Self {
        self.first = n;
        self
    }

    /// Strikes this many times in a row.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Strikes at every call from then on, until the faults are cleared.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    fn when(&self) -> When {
        match self.action {
            Action::Truncate | Action::CutOff | Action::Omit(_) | Action::Set(..) => {
                When::AfterEffect
            }
            _ => self.when,
        }
    }
}

/// The faults that are set up, and how many calls each has counted.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Fault, u32)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call and says what strikes it, in the order in which the faults were added.
    pub(super) fn strike(
        &mut self,
        kind: Kind,
        client_id: Option<ClientId>,
    ) -> Vec<(When, Action)> {
        self.0
            .iter_mut()
            .filter(|(fault, _)| fault.kind == kind)
            .filter(|(fault, _)| fault.client_id.is_none_or(|only| Some(only) == client_id))
            .filter_map(|(fault, counted)| {
                *counted = counted.saturating_add(1);
                let since_first = counted.checked_sub(fault.first)?;
                (since_first < fault.times).then(|| (fault.when(), fault.action.clone()))
            })
            .collect()
    }
}

/// What is left to do once an action has had its say in the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Wait(Duration),
    WaitOnClock(Duration),
    HangUp,
}

impl Action {
    /// Gives or changes the answer; it is `None` while the call has not got one.
    pub(super) fn apply(self, kind: Kind, answer: &mut Option<Answer>, stamp: &Stamp) -> Then {
        let given = match self {
            Self::HangUp => return Then::HangUp,
            Self::Delay(duration) => return Then::Wait(duration),
            Self::DelayOnClock(duration) => return Then::WaitOnClock(duration),
            Self::Refuse(error) => error.answer(stamp),
            Self::RefuseAs(status, error) => Answer {
                status,
                ..error.answer(stamp)
            },
            Self::RefuseSignIn(error) => error.answer(stamp),
            Self::Throttle(retry_after) => throttled(kind, retry_after, stamp),
            Self::Answer(answer) => answer,
            Self::Html => Answer::text(StatusCode::OK, "text/html", HTML.to_owned()),
            Self::Endless => {
                Answer::empty(StatusCode::OK).with_body("application/json", Payload::Endless)
            }
            Self::Redirect(to) => {
                let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/"));
                Answer::empty(StatusCode::TEMPORARY_REDIRECT).with(header::LOCATION, to)
            }
            Self::Truncate => {
                alter(answer, |body| {
                    body.truncate(body.floor_char_boundary(body.len() / 2))
                });
                return Then::GoOn;
            }
            Self::CutOff => {
                if let Some(answer) = answer {
                    answer.body = match std::mem::replace(&mut answer.body, Payload::Empty) {
                        Payload::Text(text) => Payload::CutOff(text),
                        other => other,
                    };
                }
                return Then::GoOn;
            }
            Self::Omit(name) => {
                alter_json(answer, |object| _ = object.remove(name));
                return Then::GoOn;
            }
            Self::Set(name, value) => {
                alter_json(answer, |object| _ = object.insert(name.to_owned(), value));
                return Then::GoOn;
            }
        };
        *answer = Some(given);
        Then::GoOn
    }
}

const HTML: &str = "<!DOCTYPE html><html><head><title>Sign in to the network</title></head>\
                    <body>Please accept the terms of use.</body></html>";

/// A 429 as the service that was called gives it.
pub(super) fn throttled(kind: Kind, retry_after: RetryAfter, stamp: &Stamp) -> Answer {
    let answer = match kind {
        Kind::Token => Answer::text(
            StatusCode::TOO_MANY_REQUESTS,
            "text/plain",
            "Too Many Requests".to_owned(),
        ),
        _ => GraphError::Throttled.answer(stamp).with(
            HeaderName::from_static("x-ms-throttle-information"),
            HeaderValue::from_static("ResourceUnitLimitExceeded"),
        ),
    };
    match retry_after {
        RetryAfter::Seconds(seconds) => answer.with(header::RETRY_AFTER, seconds.into()),
        RetryAfter::Date(seconds) => {
            answer.with(header::RETRY_AFTER, http_date(later(stamp.at, seconds)))
        }
        RetryAfter::Missing => answer,
    }
}

fn later(at: DateTime<Utc>, seconds: u64) -> DateTime<Utc> {
    let seconds = TimeDelta::from_std(Duration::from_secs(seconds)).unwrap_or_default();
    at.checked_add_signed(seconds).unwrap_or(at)
}

fn alter(answer: &mut Option<Answer>, change: impl FnOnce(&mut String)) {
    if let Some(Answer {
        body: Payload::Text(body),
        ..
    }) = answer
    {
        change(body);
    }
}

fn alter_json(
    answer: &mut Option<Answer>,
    change: impl FnOnce(&mut serde_json::Map<String, Value>),
) {
    alter(answer, |body| {
        if let Ok(Value::Object(mut object)) = serde_json::from_str(body) {
            change(&mut object);
            *body = Value::Object(object).to_string();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_at_the_calls_it_is_meant_for() {
        let id: ClientId = "6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap();
        let mut faults = Faults::default();
        let fault = Fault::on(Kind::Token, Action::HangUp)
            .of(id)
            .nth(2)
            .times(2);
        faults.add(fault);
        let mut strikes = |kind, client_id| faults.strike(kind, client_id).len();
        assert_eq!(strikes(Kind::AddPassword, Some(id)), 0);
        assert_eq!(strikes(Kind::Token, None), 0);
        let of_it: Vec<_> = (0..5).map(|_| strikes(Kind::Token, Some(id))).collect();
        assert_eq!(of_it, [0, 1, 1, 0, 0]);
    }

    #[test]
    fn what_alters_an_answer_waits_for_one() {
        let fault = Fault::on(Kind::AddPassword, Action::Omit("secretText"));
        assert_eq!(fault.when(), When::AfterEffect);
    }
}
