//! The open pages: one message is made for all of them, kept for those who were away for a moment.

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

/// What is kept for those who come back, in bytes: some minutes of a busy site.
const REMEMBERED: usize = 1024 * 1024;
/// New posts that are counted one by one.
const COUNTED: usize = 1000;
/// A stream that is further behind begins anew.
const BEHIND: usize = 64;
/// Open streams in all, and from one client's network, behind which there may be a whole school.
const MOST: usize = 8000;
const MOST_EACH: usize = 100;

pub struct Streams {
    board: Mutex<Board>,
    sender: broadcast::Sender<Message>,
    open: AtomicUsize,
    by_client: Mutex<HashMap<ClientNet, usize>>,
    is_limited: bool,
}

#[derive(Default)]
struct Board {
    newest: Option<PostId>,
    /// Ascending.
    new_posts: Vec<PostId>,
    is_new_unannounced: bool,
    has_begun: bool,
    told: VecDeque<(Moment, Bytes)>,
    told_bytes: usize,
}

/// Names a message, in milliseconds of this machine's clock: another process continues where this one
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    pub fn now() -> Moment {
        Moment(
            i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)
                .unwrap_or(0),
        )
    }
}

#[derive(Clone)]
pub enum Message {
    /// An event as it goes out, the same for everybody.
    Changed(Bytes),
    /// Of these new posts each page counts those that it does not show.
    New(Arc<[PostId]>),
}

/// There is no place for one more stream.
pub struct Full;

/// What a page is told when its stream begins.
pub struct Beginning {
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
            board: Mutex::default(),
            sender: broadcast::channel(BEHIND).0,
            open: AtomicUsize::new(0),
            by_client: Mutex::default(),
            is_limited,
        }
    }

    /// What this process knows when it begins: pages that were told by another one before continue
    /// with the state of the `front`.
    pub fn begin(&self, newest: Option<PostId>, front: &[PostState]) {
        let mut board = lock(&self.board);
        board.newest = board.newest.max(newest);
        board.has_begun = true;
        board.remember(event(front));
    }

    pub fn has_begun(&self) -> bool {
        lock(&self.board).has_begun
    }

    /// The newest post that anybody has told of.
    pub fn newest(&self) -> Option<PostId> {
        lock(&self.board).newest
    }

    pub fn add_new(&self, post: PostId) {
        let mut board = lock(&self.board);
        board.newest = board.newest.max(Some(post));
        if let Err(place) = board.new_posts.binary_search(&post) {
            board.new_posts.insert(place, post);
        }
        if board.new_posts.len() > COUNTED {
            board.new_posts.remove(0);
        }
        board.is_new_unannounced = true;
    }

    /// Tells all open pages how these posts stand now.
    pub fn publish(&self, states: &[PostState]) {
        let event = event(states);
        lock(&self.board).remember(event.clone());
        // Nobody listens: nothing is lost, what is remembered is there for whoever comes back.
        let _ = self.sender.send(Message::Changed(event.1));
    }

    /// Tells all open pages of new posts, if there are any that they have not been told of.
    pub fn announce_new(&self) {
        let mut board = lock(&self.board);
        if std::mem::take(&mut board.is_new_unannounced) {
            let _ = self.sender.send(Message::New(board.new_posts.as_slice().into()));
        }
    }

    /// What a page needs that opens its stream, or that was told up to `since` before.
    pub fn join(&self, since: Option<Moment>) -> Beginning {
        let board = lock(&self.board);
        let missed = board.told.iter().filter(|(at, _)| since.is_some_and(|since| since < *at));
        Beginning {
            missed: missed.map(|(_, event)| event.clone()).collect(),
            new_posts: board.new_posts.as_slice().into(),
            // Under the same lock, so that nothing comes twice and nothing is left out.
            messages: self.sender.subscribe(),
        }
    }

    /// Counts one more open stream; [`Streams::leave`] counts it out again.
    pub fn enter(&self, client: ClientNet) -> Result<(), Full> {
        let mut by_client = lock(&self.by_client);
        let theirs = by_client.entry(client).or_default();
        let is_full = self.open.load(SeqCst) >= MOST || (self.is_limited && *theirs >= MOST_EACH);
        if is_full {
            return Err(Full);
        }
        *theirs += 1;
        self.open.fetch_add(1, SeqCst);
        Ok(())
    }

    pub fn leave(&self, client: ClientNet) {
        let mut by_client = lock(&self.by_client);
        self.open.fetch_sub(1, SeqCst);
        if let Some(theirs) = by_client.get_mut(&client) {
            *theirs -= 1;
            if *theirs == 0 {
                by_client.remove(&client);
            }
        }
    }
}

impl Board {
    fn remember(&mut self, (at, event): (Moment, Bytes)) {
        self.told_bytes += event.len();
        self.told.push_back((at, event));
        while self.told_bytes > REMEMBERED
            && let Some((_, oldest)) = self.told.pop_front()
        {
            self.told_bytes -= oldest.len();
        }
    }
}

/// An event with a part for each post; a page passes over the parts that it has no place for.
fn event(posts: &[PostState]) -> (Moment, Bytes) {
    let at = Moment::now();
    let parts = Changed { posts }.render().unwrap_or_default();
    (at, written(at, &parts))
}

/// An event as the standard has it: its id, then one `data` line for each line of text (HTML, 9.2.6).
pub fn written(at: Moment, text: &str) -> Bytes {
    use std::fmt::Write as _;
    let mut event = format!("id: {}\n", at.0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let _ = writeln!(event, "data: {line}");
    }
    event.push('\n');
    event.into()
}
