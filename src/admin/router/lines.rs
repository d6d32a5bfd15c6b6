//! Answers that come line by line, each one JSON object, while the work goes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

/// An answer of `first`, if there is one, and then of all that comes.
pub(super) fn answer<T: Serialize + Send + Unpin + 'static>(first: Option<T>, rest: mpsc::Receiver<T>) -> Response {
    let body = Body::new(Lines { first, rest });
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

struct Lines<T> {
    first: Option<T>,
    rest: mpsc::Receiver<T>,
}

impl<T: Serialize + Unpin> HttpBody for Lines<T> {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        let next = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.poll_recv(context),
        };
        next.map(|line| {
            let line = line?;
            Some(serde_json::to_vec(&line).map(|mut octets| {
                octets.push(b'\n');
                Frame::data(octets.into())
            }))
        })
    }
}
