//! `/live`: what an open page hears.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::{sync::broadcast, time::timeout};

use crate::{
    identity::PostId,
    live::{
        Live,
        streams::{Beginning, Full, Message, Moment, written},
    },
    web::{Error, Result, client::ClientNet, extract::Query, filters, page::StreamUrl},
};

/// So that whatever is between notices that the stream is alive, and the site that a subscriber is gone.
const HEARTBEAT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub struct Opened {
    /// The newest post when the page was made.
    after: Option<PostId>,
}

#[derive(Template)]
#[template(path = "live/_new.html")]
struct NewPosts {
    count: i64,
}

/// A stream of events: a part of a page for each post that changes, and a line for the posts that are
/// new since the page was made. With `Last-Event-ID` it goes on after that event.
pub async fn stream(
    State(live): State<Live>,
    client: ClientNet,
    Query(opened): Query<Opened>,
    headers: HeaderMap,
) -> Result<Response> {
    let seat = Seat::take(live, client).map_err(|Full| Error::Busy)?;
    let since = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let Beginning { missed, new_posts, messages } = seat.live.0.streams.join(since.map(Moment));
    let after = opened.after.or_else(|| seat.live.0.streams.newest());

    // A time to wait before coming back, and a place to come back to.
    let mut first = format!("retry: 2000\nid: {}\n\n", Moment::now().0).into_bytes();
    for event in &missed {
        first.extend_from_slice(event);
    }
    first.extend(announcement(&new_posts, after).iter().flatten());
    let subscriber = Subscriber { seat, messages, after, first: Some(first.into()) };
    let body = Body::from_stream(stream::unfold(subscriber, |mut subscriber| async {
        let part = subscriber.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), subscriber))
    }));
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would gather it.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// One page that listens.
struct Subscriber {
    seat: Seat,
    messages: broadcast::Receiver<Message>,
    after: Option<PostId>,
    first: Option<Bytes>,
}

impl Subscriber {
    /// What goes out next; `None` ends the stream, and the page comes back for the rest.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let shutdown = self.seat.live.0.shutdown.clone();
        loop {
            let message = tokio::select! {
                message = timeout(HEARTBEAT, self.messages.recv()) => message,
                () = shutdown.requested() => return None,
            };
            match message {
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
                Ok(Ok(Message::Changed(event))) => return Some(event),
                Ok(Ok(Message::New(posts))) => {
                    if let Some(event) = announcement(&posts, self.after) {
                        return Some(event);
                    }
                }
                Ok(Err(_)) => return None,
            }
        }
    }
}

/// How many of `posts` are newer than `after`, which the page knows; `None` where there are none.
fn announcement(posts: &Arc<[PostId]>, after: Option<PostId>) -> Option<Bytes> {
    let count = posts.len() - posts.partition_point(|post| Some(*post) <= after);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let event = || Some(written(Moment::now(), &NewPosts { count }.render().ok()?));
    (count > 0).then(event).flatten()
}

/// A place among the open streams, given back in the end.
struct Seat {
    live: Live,
    client: ClientNet,
}

impl Seat {
    fn take(live: Live, client: ClientNet) -> Result<Seat, Full> {
        live.0.streams.enter(client)?;
        Ok(Seat { live, client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.0.streams.leave(self.client);
    }
}

/// Tells a page where it hears of changes.
pub async fn inject_stream_url(
    State(live): State<Live>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = match live.0.streams.newest() {
        Some(newest) => format!("/live?after={newest}"),
        None => "/live".to_owned(),
    };
    request.extensions_mut().insert(StreamUrl(address));
    next.run(request).await
}
