//! The single-flight cache: a value is made once for all requests that want it, and kept until
//! something it shows has changed, [`LIFETIME`] at most.
//!
//! What is in an entry is up to the cache's owner: a cell that one request fills and the others wait
//! for, and for the page cache also the page before, for the time of an outage.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::response::{IntoResponseParts, Response, ResponseParts};
use quick_cache::{Equivalent, Weighter, sync};

/// How long a value is kept when nothing invalidates it. A change made by another program, directly
/// in the database, is visible after this time.
pub const LIFETIME: Duration = Duration::from_secs(1);
/// Posts share this many version counters. Two posts with the same counter invalidate each other,
/// which costs a page now and then.
const POST_COUNTERS: usize = 1024;

/// How a response may be cached. The handler says it; `middleware::headers` writes `Cache-Control`
/// and `middleware::page_cache` keeps the page. A response without a policy is `no-store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The same for everyone without a session: kept in the page cache until the topic changes, and
    /// revalidated by clients.
    Shared(Topic),
    /// The same for everyone and cheap to make: not kept here, revalidated by clients.
    Revalidate,
}

impl CachePolicy {
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponseParts for CachePolicy {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// What a value shows, and so which changes invalidate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Anything that a list shows.
    Lists,
    /// One post, by its id.
    Post(i64),
}

/// When each topic last changed. A clone is the same.
///
/// Time is a counter that every invalidation advances, so an entry needs to remember only one
/// number before it is known what it shows.
#[derive(Clone)]
pub struct Versions(Arc<Inner>);

struct Inner {
    lifetime: Duration,
    now: AtomicU64,
    lists: AtomicU64,
    posts: Box<[AtomicU64]>,
    removal: AtomicU64,
}

impl Versions {
    /// For values that are kept for `lifetime` at most. A zero lifetime turns caching off.
    pub fn new(lifetime: Duration) -> Versions {
        let posts = std::iter::repeat_with(AtomicU64::default).take(POST_COUNTERS).collect();
        Versions(Arc::new(Inner {
            lifetime,
            now: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            posts,
            removal: AtomicU64::new(0),
        }))
    }

    /// Something has changed that lists show.
    pub fn invalidate_lists(&self) {
        self.0.lists.fetch_max(self.advance(), SeqCst);
    }

    /// A post has changed, or its votes, and so has every list that contains it.
    pub fn invalidate_post(&self, id: i64) {
        let now = self.advance();
        self.0.lists.fetch_max(now, SeqCst);
        self.0.posts[counter(id)].fetch_max(now, SeqCst);
    }

    pub fn invalidate_all(&self) {
        let now = self.advance();
        self.0.lists.fetch_max(now, SeqCst);
        for post in &self.0.posts {
            post.fetch_max(now, SeqCst);
        }
    }

    /// Something was removed: a value from before may not even be shown in an outage, when no newer
    /// one can be made ([`SingleFlightCache::may_be_shown`]).
    pub fn withdraw(&self) {
        self.0.removal.fetch_max(self.advance(), SeqCst);
    }

    fn is_enabled(&self) -> bool {
        !self.0.lifetime.is_zero()
    }

    fn now(&self) -> u64 {
        self.0.now.load(SeqCst)
    }

    fn advance(&self) -> u64 {
        self.0.now.fetch_add(1, SeqCst) + 1
    }

    /// When the topic last changed; of an unknown topic, when anything did.
    fn changed_at(&self, topic: Option<Topic>) -> u64 {
        match topic {
            Some(Topic::Lists) => self.0.lists.load(SeqCst),
            Some(Topic::Post(id)) => self.0.posts[counter(id)].load(SeqCst),
            None => self.now(),
        }
    }
}

fn counter(post: i64) -> usize {
    usize::try_from(post.rem_euclid(POST_COUNTERS as i64)).unwrap_or_default()
}

/// A cache of entries of one kind, each at its address. A clone is the same cache.
pub struct SingleFlightCache<T>(Arc<Store<T>>);

struct Store<T> {
    versions: Versions,
    entries: sync::Cache<Key, Weighted<T>, ByWeight>,
    inserting: Mutex<()>,
}

struct Weighted<T> {
    entry: Arc<Entry<T>>,
    /// In bytes. The cache relies on this never changing while the entry is in it.
    weight: u64,
}

/// A value that is cached, or being made for all requests that wait for it.
pub struct Entry<T> {
    started: Instant,
    /// [`Versions::now`] when it was started.
    pub version: u64,
    /// Known once the value is made, or from the entry before.
    topic: OnceLock<Topic>,
    pub value: T,
}

impl<T> Entry<T> {
    fn new(version: u64, topic: Option<Topic>, value: T) -> Entry<T> {
        let topic = topic.map_or_else(OnceLock::new, OnceLock::from);
        Entry { started: Instant::now(), version, topic, value }
    }

    /// Says what the value shows, once that is known.
    pub fn set_topic(&self, topic: Topic) {
        let _ = self.topic.set(topic);
    }

    fn is_fresh(&self, versions: &Versions) -> bool {
        versions.changed_at(self.topic.get().copied()) <= self.version
            && self.started.elapsed() < versions.0.lifetime
    }
}

impl<T> SingleFlightCache<T> {
    /// A cache of at most `max_bytes`.
    pub fn new(versions: &Versions, max_bytes: u64) -> SingleFlightCache<T> {
        SingleFlightCache(Arc::new(Store {
            versions: versions.clone(),
            entries: sync::Cache::with_weighter(1000, max_bytes, ByWeight),
            inserting: Mutex::new(()),
        }))
    }

    /// The fresh entry at `at`, made or in the making, or a new one with what `new` makes of the
    /// entry before; `None` where caching is off.
    pub fn entry(
        &self,
        at: Lookup,
        new: impl FnOnce(Option<&Entry<T>>) -> T,
    ) -> Option<Arc<Entry<T>>> {
        let Store { versions, entries, inserting } = &*self.0;
        if !versions.is_enabled() {
            return None;
        }
        // Before the entry is read: a change after this moment makes a new entry stale.
        let now = versions.now();
        let found = || entries.get(&at).map(|found| found.entry);
        if let Some(entry) = found().filter(|entry| entry.is_fresh(versions)) {
            return Some(entry);
        }
        // Of many requests that come at once, one inserts the entry and the others find it.
        let _guard = inserting.lock().unwrap_or_else(PoisonError::into_inner);
        let last = found();
        if let Some(entry) = last.clone().filter(|entry| entry.is_fresh(versions)) {
            return Some(entry);
        }
        // An address keeps its topic, so its next entry is invalidated by that topic alone.
        let topic = last.as_ref().and_then(|entry| entry.topic.get().copied());
        let entry = Arc::new(Entry::new(now, topic, new(last.as_deref())));
        self.put(at.own(), entry.clone(), 0);
        Some(entry)
    }

    /// The entry at `at`, fresh or not.
    pub fn last(&self, at: Lookup) -> Option<Arc<Entry<T>>> {
        self.0.entries.get(&at).map(|found| found.entry)
    }

    /// Whether nothing was removed since an entry of this version was started
    /// ([`Versions::withdraw`]).
    pub fn may_be_shown(&self, version: u64) -> bool {
        self.0.versions.0.removal.load(SeqCst) <= version
    }

    /// Inserts the entry again, now that the size of its value is known, in bytes.
    pub fn put(&self, at: Key, entry: Arc<Entry<T>>, size: usize) {
        let weight = (256 + at.address.len() + size) as u64;
        self.0.entries.insert(at, Weighted { entry, weight });
    }

    /// Removes an entry that was not filled.
    pub fn remove(&self, at: &Key, entry: &Arc<Entry<T>>) {
        self.0.entries.remove_if(at, |found| Arc::ptr_eq(&found.entry, entry));
    }
}

impl<T> Clone for SingleFlightCache<T> {
    fn clone(&self) -> SingleFlightCache<T> {
        SingleFlightCache(self.0.clone())
    }
}

impl<T> Clone for Weighted<T> {
    fn clone(&self) -> Weighted<T> {
        Weighted { entry: self.entry.clone(), weight: self.weight }
    }
}

/// The address of a page, and whether htmx asks for a fragment of it.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    pub address: &'a str,
    pub is_fragment: bool,
}

#[derive(PartialEq, Eq)]
pub struct Key {
    address: Box<str>,
    is_fragment: bool,
}

impl Lookup<'_> {
    pub fn own(self) -> Key {
        Key { address: self.address.into(), is_fragment: self.is_fragment }
    }
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address, self.is_fragment).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.address, self.is_fragment).hash(state);
    }
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.address == &*key.address && self.is_fragment == key.is_fragment
    }
}

#[derive(Clone)]
struct ByWeight;

impl<T> Weighter<Key, Weighted<T>> for ByWeight {
    fn weight(&self, _: &Key, weighted: &Weighted<T>) -> u64 {
        weighted.weight
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::OnceCell;

    use super::*;

    type Cache = SingleFlightCache<OnceCell<()>>;

    fn at(address: &str) -> Lookup<'_> {
        Lookup { address, is_fragment: false }
    }

    fn get(cache: &Cache, address: &str) -> Arc<Entry<OnceCell<()>>> {
        cache.entry(at(address), |_| OnceCell::new()).unwrap()
    }

    /// A cache with a value at `/` that shows lists and one at `/posts/7` that shows the post.
    fn filled() -> (Versions, Cache) {
        let versions = Versions::new(Duration::from_hours(1));
        let cache = SingleFlightCache::new(&versions, 1_000_000);
        for (address, topic) in [("/", Topic::Lists), ("/posts/7", Topic::Post(7))] {
            let entry = get(&cache, address);
            entry.set_topic(topic);
            entry.value.set(()).unwrap();
        }
        (versions, cache)
    }

    #[test]
    fn a_change_invalidates_the_entries_of_its_topic_and_no_others() {
        for (invalidate, expected) in [
            (Versions::invalidate_lists as fn(&Versions), [false, true]),
            (|versions| versions.invalidate_post(7), [false, false]),
            (|versions| versions.invalidate_post(8), [false, true]),
            (Versions::invalidate_all, [false, false]),
        ] {
            let (versions, cache) = filled();
            invalidate(&versions);
            let is_cached = |address| get(&cache, address).value.initialized();
            assert_eq!(["/", "/posts/7"].map(is_cached), expected);
        }
    }

    #[test]
    fn an_entry_in_the_making_is_shared_until_something_it_may_show_changes() {
        let versions = Versions::new(Duration::from_hours(1));
        let cache: Cache = SingleFlightCache::new(&versions, 1_000_000);
        let first = get(&cache, "/posts/7");
        assert!(Arc::ptr_eq(&first, &get(&cache, "/posts/7")));
        // Its topic is not known yet, so any change may be one of it.
        versions.invalidate_post(8);
        let second = get(&cache, "/posts/7");
        assert!(!Arc::ptr_eq(&first, &second));
        second.set_topic(Topic::Post(7));
        versions.invalidate_post(7);
        // From now on the address is known to show this post.
        let third = get(&cache, "/posts/7");
        versions.invalidate_post(8);
        assert!(Arc::ptr_eq(&third, &get(&cache, "/posts/7")));
    }
}
