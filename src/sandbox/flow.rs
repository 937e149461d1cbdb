//! Bodies that do not flow as they should.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body that never ends.
pub(super) struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 8_192] = [b' '; 8_192];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

/// A body whose line breaks in the middle: its whole length is announced, half of it comes.
pub(super) struct CutOff {
    length: u64,
    half: Option<Bytes>,
    waited: bool,
}

/// The line broke.
#[derive(Debug, thiserror::Error)]
#[error("the line is cut on purpose")]
pub(super) struct LineCut;

impl CutOff {
    pub(super) fn of(whole: String) -> Self {
        let mut half = Bytes::from(whole);
        let length = half.len() as u64;
        half.truncate(half.len() / 2);
        Self {
            length,
            half: Some(half),
            waited: false,
        }
    }
}

impl Body for CutOff {
    type Data = Bytes;
    type Error = LineCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LineCut>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        // What came so far is sent only while there is something to wait for.
        if !std::mem::replace(&mut self.waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(LineCut)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
