//! `/live`: the event stream of an open page.

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
        streams::{EventId, Full, Message, Subscription, format_event},
    },
    web::{Error, Result, client::ClientNet, extract::Query, filters, page::StreamUrl},
};

/// How often an idle stream sends a comment. Proxies then see that it is alive, and the site notices that
/// a client is gone.
const HEARTBEAT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub struct StreamQuery {
    /// The newest post when the page was rendered.
    after: Option<PostId>,
}

#[derive(Template)]
#[template(path = "live/_new.html")]
struct NewPosts {
    count: i64,
}

/// A stream of server-sent events: partials for each post that changes, and a link that counts the posts
/// newer than the page. With `Last-Event-ID` it continues after that event.
///
/// # Errors
///
/// [`Error::Busy`] if too many streams are open, in total or for this client.
pub async fn stream(
    State(live): State<Live>,
    client: ClientNet,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let permit = Permit::acquire(live, client).map_err(|Full| Error::Busy)?;
    let since = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let Subscription { missed, new_posts, messages } =
        permit.live.0.streams.subscribe(since.map(EventId));
    let after = query.after.or_else(|| permit.live.0.streams.newest());

    // How long to wait before reconnecting, and the id to continue from.
    let mut first = format!("retry: 2000\nid: {}\n\n", EventId::now().0).into_bytes();
    for event in &missed {
        first.extend_from_slice(event);
    }
    first.extend(announcement(&new_posts, after).iter().flatten());
    let subscriber = Subscriber { permit, messages, after, first: Some(first.into()) };
    let body = Body::from_stream(stream::unfold(subscriber, |mut subscriber| async {
        let part = subscriber.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), subscriber))
    }));
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would buffer the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The stream of one open page.
struct Subscriber {
    permit: Permit,
    messages: broadcast::Receiver<Message>,
    after: Option<PostId>,
    first: Option<Bytes>,
}

impl Subscriber {
    /// The next bytes to send. `None` ends the stream; the page then reconnects.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let shutdown = self.permit.live.0.shutdown.clone();
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

/// The event with the number of `posts` newer than `after`; `None` if there are none.
fn announcement(posts: &Arc<[PostId]>, after: Option<PostId>) -> Option<Bytes> {
    let count = posts.len() - posts.partition_point(|post| Some(*post) <= after);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let event = || Some(format_event(EventId::now(), &NewPosts { count }.render().ok()?));
    (count > 0).then(event).flatten()
}

/// One of the limited number of open streams, released on drop.
struct Permit {
    live: Live,
    client: ClientNet,
}

impl Permit {
    fn acquire(live: Live, client: ClientNet) -> Result<Permit, Full> {
        live.0.streams.acquire(client)?;
        Ok(Permit { live, client })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.live.0.streams.release(self.client);
    }
}

/// Puts the URL of the event stream into the request's extensions, for the page that is rendered.
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
