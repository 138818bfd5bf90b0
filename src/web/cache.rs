//! What is made once for many, and kept for a moment: until something that it shows has changed.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use quick_cache::{Equivalent, Weighter, sync};
use tokio::sync::OnceCell;

/// SingleFlightCache no longer than this, whatever is told of changes: what another program writes into the
/// database is seen after that.
pub const LIFETIME: Duration = Duration::from_secs(1);
/// Posts share this many marks of change; two that share one only cost a page now and then.
const MARKS: usize = 1024;

/// Counts what changes on the site, and so tells what is stale. A clone is the same.
#[derive(Clone)]
pub struct Versions(Arc<Inner>);

struct Inner {
    lifetime: Duration,
    /// Versions to anything that a list shows, and to posts.
    lists: AtomicU64,
    posts: Box<[AtomicU64]>,
}

impl Versions {
    /// For things that are kept for `lifetime` at most; with none at all, nothing is kept.
    pub fn new(lifetime: Duration) -> Versions {
        let posts = std::iter::repeat_with(|| AtomicU64::new(0)).take(MARKS).collect();
        Versions(Arc::new(Inner { lifetime, lists: AtomicU64::new(0), posts }))
    }

    /// Something has changed that lists show.
    pub fn invalidate_lists(&self) {
        self.0.lists.fetch_add(1, SeqCst);
    }

    /// A post has changed, or who voted for it, and so has every list it is in.
    pub fn invalidate_post(&self, id: i64) {
        self.invalidate_lists();
        self.0.posts[mark(id)].fetch_add(1, SeqCst);
    }

    pub fn invalidate_all(&self) {
        self.invalidate_lists();
        for post in &self.0.posts {
            post.fetch_add(1, SeqCst);
        }
    }

    /// Whether anything is kept at all.
    pub fn are_followed(&self) -> bool {
        !self.0.lifetime.is_zero()
    }

    fn count(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Lists => self.0.lists.load(SeqCst),
            Topic::Post(id) => self.0.posts[mark(id)].load(SeqCst),
        }
    }
}

fn mark(post: i64) -> usize {
    usize::try_from(post.rem_euclid(MARKS as i64)).unwrap_or_default()
}

/// What a thing shows, and so what changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Lists,
    Post(i64),
}

/// Things of one kind, each at its address. A clone holds the same.
pub struct SingleFlightCache<T>(Arc<Store<T>>);

struct Store<T> {
    changes: Versions,
    places: sync::Cache<Key, Place<T>, Weight>,
    making: Mutex<()>,
}

struct Place<T> {
    entry: Arc<Entry<T>>,
    /// In bytes. The cache counts on it that this never changes.
    weight: u64,
}

/// A thing that is kept, or being made for all who wait for it.
pub struct Entry<T> {
    begun: Instant,
    /// The count of changes when it was begun.
    changes: u64,
    pub thing: OnceCell<T>,
}

impl<T> SingleFlightCache<T> {
    /// Keeps no more than `max_bytes` bytes, and nothing longer than `changes` says.
    pub fn new(changes: &Versions, max_bytes: u64) -> SingleFlightCache<T> {
        SingleFlightCache(Arc::new(Store {
            changes: changes.clone(),
            places: sync::Cache::with_weighter(1000, max_bytes, Weight),
            making: Mutex::new(()),
        }))
    }

    /// What is at `at` that is fresh or being made, or a place to make it in; `None` where nothing is
    /// kept.
    pub fn entry(&self, at: Lookup, topic: Topic) -> Option<Arc<Entry<T>>> {
        let Store { changes, places, making } = &*self.0;
        if !changes.are_followed() {
            return None;
        }
        let count = changes.count(topic);
        let fresh = || {
            let Place { entry, .. } = places.get(&at)?;
            let is_fresh = entry.changes == count && entry.begun.elapsed() < changes.0.lifetime;
            is_fresh.then_some(entry)
        };
        if let Some(entry) = fresh() {
            return Some(entry);
        }
        // Of many who come at once, one makes the place and the others find it.
        let _alone = making.lock().unwrap_or_else(PoisonError::into_inner);
        Some(fresh().unwrap_or_else(|| {
            let entry =
                Arc::new(Entry { begun: Instant::now(), changes: count, thing: OnceCell::new() });
            self.put(at.own(), entry.clone(), 0);
            entry
        }))
    }

    /// Puts it back, now that its size is known, in bytes.
    pub fn put(&self, at: Key, entry: Arc<Entry<T>>, size: usize) {
        let weight = (256 + at.address.len() + size) as u64;
        self.0.places.insert(at, Place { entry, weight });
    }

    /// Forgets a entry that was not to be filled.
    pub fn remove(&self, at: &Key, entry: &Arc<Entry<T>>) {
        self.0.places.remove_if(at, |place| Arc::ptr_eq(&place.entry, entry));
    }
}

impl<T> Clone for SingleFlightCache<T> {
    fn clone(&self) -> SingleFlightCache<T> {
        SingleFlightCache(self.0.clone())
    }
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Place<T> {
        Place { entry: self.entry.clone(), weight: self.weight }
    }
}

/// An address and whether a part of its page is wanted, as somebody asks for it.
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
struct Weight;

impl<T> Weighter<Key, Place<T>> for Weight {
    fn weight(&self, _: &Key, place: &Place<T>) -> u64 {
        place.weight
    }
}
