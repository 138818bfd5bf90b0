//! The event streams of open pages. Each message is made once for all of them, and kept for a while for
//! pages that reconnect.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use askama::Template;
use axum::body::Bytes;
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::{
    identity::PostId,
    live::{db::PostState, lock},
    web::client::ClientNet,
};

/// The bytes of events kept for pages that reconnect: some minutes of a busy site.
const MAX_REPLAY_BYTES: usize = 1024 * 1024;
/// How many new posts are counted one by one.
const MAX_NEW_POSTS: usize = 1000;
/// A stream that is more messages behind than this ends, and its page reconnects.
const CHANNEL_CAPACITY: usize = 64;
/// Open streams in total.
const MAX_STREAMS: usize = 8000;
/// Open streams of one client network, which may be a whole school.
const MAX_STREAMS_PER_CLIENT: usize = 100;

/// The open streams of this process.
pub struct Streams {
    history: Mutex<History>,
    sender: broadcast::Sender<Message>,
    open: AtomicUsize,
    by_client: Mutex<HashMap<ClientNet, usize>>,
    is_limited: bool,
}

/// What was sent lately.
#[derive(Default)]
struct History {
    newest: Option<PostId>,
    /// Ascending.
    new_posts: Vec<PostId>,
    is_new_unannounced: bool,
    has_started: bool,
    replay: VecDeque<(EventId, Bytes)>,
    replay_bytes: usize,
}

/// The id of an event: Unix time in milliseconds. A page that reconnects to another process continues
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub i64);

impl EventId {
    pub fn now() -> EventId {
        EventId(
            i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)
                .unwrap_or(0),
        )
    }
}

#[derive(Clone)]
pub enum Message {
    /// A formatted event, the same for every page.
    Changed(Bytes),
    /// New posts, ascending. Each page is sent the count of those that it does not show.
    New(Arc<[PostId]>),
}

/// The limit on open streams is reached.
pub struct Full;

/// What a stream starts with, and what it receives from then on.
pub struct Subscription {
    pub missed: Vec<Bytes>,
    pub new_posts: Arc<[PostId]>,
    pub messages: broadcast::Receiver<Message>,
}

#[derive(Template)]
#[template(path = "live/_changed.html")]
struct Changed<'a> {
    posts: &'a [PostState],
}

impl Streams {
    pub fn new(is_limited: bool) -> Streams {
        Streams {
            history: Mutex::default(),
            sender: broadcast::channel(CHANNEL_CAPACITY).0,
            open: AtomicUsize::new(0),
            by_client: Mutex::default(),
            is_limited,
        }
    }

    /// Sets the newest post and the states of the posts on the `front` page when the process starts. A
    /// page that reconnects from another process is sent those states.
    pub fn start(&self, newest: Option<PostId>, front: &[PostState]) {
        let mut history = lock(&self.history);
        history.newest = history.newest.max(newest);
        history.has_started = true;
        history.keep(event(front));
    }

    pub fn has_started(&self) -> bool {
        lock(&self.history).has_started
    }

    /// The newest post known to this process.
    pub fn newest(&self) -> Option<PostId> {
        lock(&self.history).newest
    }

    /// Adds a new post, which [`Streams::announce_new`] sends.
    pub fn add_new(&self, post: PostId) {
        let mut history = lock(&self.history);
        history.newest = history.newest.max(Some(post));
        if let Err(place) = history.new_posts.binary_search(&post) {
            history.new_posts.insert(place, post);
        }
        if history.new_posts.len() > MAX_NEW_POSTS {
            history.new_posts.remove(0);
        }
        history.is_new_unannounced = true;
    }

    /// Sends the current states of these posts to all open pages.
    pub fn publish(&self, states: &[PostState]) {
        let event = event(states);
        lock(&self.history).keep(event.clone());
        // An error means that no page listens. The event is in the history for those that reconnect.
        let _ = self.sender.send(Message::Changed(event.1));
    }

    /// Sends the new posts to all open pages, if there are any since the last call.
    pub fn announce_new(&self) {
        let mut history = lock(&self.history);
        if std::mem::take(&mut history.is_new_unannounced) {
            let _ = self.sender.send(Message::New(history.new_posts.as_slice().into()));
        }
    }

    /// Subscribes a stream. With `since`, it first gets the events after that one.
    pub fn subscribe(&self, since: Option<EventId>) -> Subscription {
        let history = lock(&self.history);
        let missed = history.replay.iter().filter(|(at, _)| since.is_some_and(|since| since < *at));
        Subscription {
            missed: missed.map(|(_, event)| event.clone()).collect(),
            new_posts: history.new_posts.as_slice().into(),
            // Under the same lock, so that no event is repeated or left out.
            messages: self.sender.subscribe(),
        }
    }

    /// Counts one more open stream; [`Streams::release`] ends the count.
    ///
    /// # Errors
    ///
    /// [`Full`] if too many are open, in total or for this client.
    pub fn acquire(&self, client: ClientNet) -> Result<(), Full> {
        let mut by_client = lock(&self.by_client);
        let count = by_client.entry(client).or_default();
        let is_full = self.open.load(SeqCst) >= MAX_STREAMS
            || (self.is_limited && *count >= MAX_STREAMS_PER_CLIENT);
        if is_full {
            return Err(Full);
        }
        *count += 1;
        self.open.fetch_add(1, SeqCst);
        Ok(())
    }

    pub fn release(&self, client: ClientNet) {
        let mut by_client = lock(&self.by_client);
        self.open.fetch_sub(1, SeqCst);
        if let Some(count) = by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&client);
            }
        }
    }
}

impl History {
    /// Keeps an event for pages that reconnect, and drops the oldest beyond [`MAX_REPLAY_BYTES`].
    fn keep(&mut self, (at, event): (EventId, Bytes)) {
        self.replay_bytes += event.len();
        self.replay.push_back((at, event));
        while self.replay_bytes > MAX_REPLAY_BYTES
            && let Some((_, oldest)) = self.replay.pop_front()
        {
            self.replay_bytes -= oldest.len();
        }
    }
}

/// An event with one partial for each post. htmx ignores the partials of posts that a page does not show.
fn event(posts: &[PostState]) -> (EventId, Bytes) {
    let at = EventId::now();
    let parts = Changed { posts }.render().unwrap_or_default();
    (at, format_event(at, &parts))
}

/// A server-sent event: its id, then one `data` line for each line of the text (HTML standard, 9.2.6).
pub fn format_event(at: EventId, text: &str) -> Bytes {
    use std::fmt::Write as _;
    let mut event = format!("id: {}\n", at.0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let _ = writeln!(event, "data: {line}");
    }
    event.push('\n');
    event.into()
}
