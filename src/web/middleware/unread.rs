//! Bounds the memory of answers that their clients have not read yet.
//!
//! A client that asks and does not read keeps its answer in memory.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hyper::body::{Frame, SizeHint};

use crate::{
    metrics::metrics,
    web::{
        Error,
        byte_budget::{ByteBudget, Spent},
        client::ClientNet,
    },
};

/// What all unread answers may have together, in bytes.
pub const MOST: usize = 32 * 1024 * 1024;

/// A smaller answer is not counted, in bytes: it is soon in the kernel's buffers, and the limit on
/// connections (`server`) bounds all of them.
const SMALL: usize = 8 * 1024;

/// What a stream counts for, in bytes: the part that is being sent and the next.
const STREAM: usize = 512 * 1024;

/// How much of an answer the connection gets at once, in bytes. What it has got is no longer counted.
const PART: usize = 16 * 1024;

/// The bytes of unread answers. A clone is the same.
#[derive(Clone)]
pub struct Unread(ByteBudget);

impl Default for Unread {
    fn default() -> Unread {
        Unread(ByteBudget::new(MOST))
    }
}

/// Counts the answer until its client has read it. Where the client's network has too many unread bytes,
/// it is a 503.
pub async fn bound_unread(
    State(unread): State<Unread>,
    client: ClientNet,
    request: Request,
    next: Next,
) -> Response {
    // They are in memory anyway, once for all.
    let route = request.extensions().get::<MatchedPath>();
    let is_static = route.is_some_and(|route| route.as_str() == "/static/{name}");
    let response = next.run(request).await;
    // The event streams have a limit of their own (`live::streams`).
    let is_event_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let length = response.body().size_hint().exact();
    let bytes = length.map_or(STREAM, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if is_static || is_event_stream || bytes <= SMALL {
        return response;
    }
    let mut counted = unread.0.spend(client);
    if !counted.add(bytes) {
        metrics().refused("unread");
        return Error::Busy.into_response();
    }
    let (head, body) = response.into_parts();
    let body = Body::new(UnreadBody { body, part: Bytes::new(), _counted: counted });
    Response::from_parts(head, body)
}

/// A body that is counted as long as it is there, and that gives the connection a part at a time.
struct UnreadBody {
    body: Body,
    /// What `body` gave and the connection has not got yet.
    part: Bytes,
    _counted: Spent,
}

impl HttpBody for UnreadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.part.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.part = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.part.len().min(PART);
        Poll::Ready(Some(Ok(Frame::data(self.part.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, here) = (self.body.size_hint(), self.part.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + here);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + here);
        }
        hint
    }
}
