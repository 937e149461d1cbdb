//! What goes over the line: answers, and what a request is known by.

use std::fmt;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// An answer, complete but for the headers that every answer of the service carries.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those of every answer; one of these replaces the usual one of its name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Payload,
}

/// The body of an [`Answer`].
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// None.
    Empty,
    /// A text, whole.
    Text(String),
    /// A text whose line breaks in the middle.
    CutOff(String),
    /// One that never ends.
    Endless,
}

impl fmt::Debug for Payload {
    /// A body may hold a secret that was just made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::CutOff(text) => write!(f, "CutOff({} bytes)", text.len()),
            Self::Endless => f.write_str("Endless"),
        }
    }
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Payload::Empty,
        }
    }

    /// An answer with a body of any kind.
    pub fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self::empty(status).with_body(content_type, Payload::Text(body))
    }

    /// A JSON answer, such as Graph's errors are.
    pub fn json(status: StatusCode, body: String) -> Self {
        Self::text(status, "application/json", body)
    }

    /// An answer of OData.
    pub(super) fn odata(body: String) -> Self {
        const CONTENT_TYPE: &str = "application/json;odata.metadata=minimal;\
             odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
        Self::text(StatusCode::OK, CONTENT_TYPE, body).with(
            HeaderName::from_static("odata-version"),
            HeaderValue::from_static("4.0"),
        )
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn with_body(self, content_type: &'static str, body: Payload) -> Self {
        let mut answer = self.with(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer.body = body;
        answer
    }
}

/// What one request is known by: goes into headers and error bodies.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    /// The time that the sandbox tells, which a test may have set askew.
    pub(super) at: DateTime<Utc>,
    pub(super) request_id: Uuid,
    /// The caller's `client-request-id`, else the request ID.
    pub(super) correlation_id: String,
}

/// The content type of the sign-in service.
pub(super) const SIGN_IN_CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// JSON of a value whose serialisation can't fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A date as HTTP writes it.
pub(super) fn http_date(at: DateTime<Utc>) -> HeaderValue {
    HeaderValue::try_from(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
impl Stamp {
    /// One that tests can foretell.
    pub(super) fn example() -> Self {
        Self {
            at: DateTime::from_timestamp(1_699_256_869, 0).unwrap(),
            request_id: Uuid::from_u128(1),
            correlation_id: "mine".into(),
        }
    }
}

#[cfg(test)]
impl Answer {
    /// The body where it is a text.
    pub(super) fn text_body(&self) -> &str {
        match &self.body {
            Payload::Text(text) => text,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_does() {
        assert_eq!(
            http_date(Stamp::example().at),
            "Mon, 06 Nov 2023 07:47:49 GMT"
        );
    }
}
