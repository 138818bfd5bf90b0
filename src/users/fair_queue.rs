//! A queue for work that takes a core for long. Subjects take turns (round robin), so the many
//! requests of one subject make no other wait for more than one of them.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// A queue in which each `Subject` takes turns. Clones share it.
pub struct FairQueue<Subject: Eq + Hash + Clone>(Arc<Shared<Subject>>);

impl<Subject: Eq + Hash + Clone> Clone for FairQueue<Subject> {
    fn clone(&self) -> FairQueue<Subject> {
        FairQueue(self.0.clone())
    }
}

struct Shared<Subject: Eq + Hash + Clone> {
    limits: Limits,
    state: Mutex<State<Subject>>,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many turns run at once.
    pub running: usize,
    /// How many requests may wait, of all subjects together.
    pub waiting: usize,
    /// How long a request waits for its turn.
    pub patience: Duration,
}

struct State<Subject: Eq + Hash + Clone> {
    running: usize,
    /// Each subject's requests in the order they came. A subject without any has no entry.
    waiting: HashMap<Subject, VecDeque<oneshot::Sender<Turn<Subject>>>>,
    /// The subjects that wait, in the order of their turns, each once.
    order: VecDeque<Subject>,
}

/// Permission to run, until it is dropped.
pub struct Turn<Subject: Eq + Hash + Clone>(FairQueue<Subject>);

impl<Subject: Eq + Hash + Clone> FairQueue<Subject> {
    pub fn new(limits: Limits) -> FairQueue<Subject> {
        let state = State { running: 0, waiting: HashMap::new(), order: VecDeque::new() };
        FairQueue(Arc::new(Shared { limits, state: Mutex::new(state) }))
    }

    /// Waits for a turn of `subject`. `None` if the queue is full, if `most` requests of the subject
    /// wait already, or if its turn did not come in time.
    pub async fn turn(&self, subject: Subject, most: usize) -> Option<Turn<Subject>> {
        let Limits { running, waiting, patience } = self.0.limits;
        let turn = {
            let mut state = self.state();
            if state.running < running {
                state.running += 1;
                return Some(Turn(self.clone()));
            }
            state.forget_the_gone();
            let total: usize = state.waiting.values().map(VecDeque::len).sum();
            let own = state.waiting.get(&subject).map_or(0, VecDeque::len);
            if total >= waiting || own >= most {
                return None;
            }
            let (send, turn) = oneshot::channel();
            if own == 0 {
                state.order.push_back(subject.clone());
            }
            state.waiting.entry(subject).or_default().push_back(send);
            turn
        };
        timeout(patience, turn).await.ok()?.ok()
    }

    /// How many run, and how many wait.
    pub fn count(&self) -> (usize, usize) {
        let mut state = self.state();
        state.forget_the_gone();
        (state.running, state.waiting.values().map(VecDeque::len).sum())
    }

    fn state(&self) -> MutexGuard<'_, State<Subject>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Subject: Eq + Hash + Clone> State<Subject> {
    /// The first request of the subject whose turn it is; the subject goes to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<Subject>>> {
        let subject = self.order.pop_front()?;
        let own = self.waiting.get_mut(&subject)?;
        let first = own.pop_front();
        if own.is_empty() {
            self.waiting.remove(&subject);
        } else {
            self.order.push_back(subject);
        }
        first
    }

    /// Removes the requests that wait no more.
    fn forget_the_gone(&mut self) {
        self.waiting.retain(|_, own| {
            own.retain(|waiting| !waiting.is_closed());
            !own.is_empty()
        });
        self.order.retain(|subject| self.waiting.contains_key(subject));
    }
}

/// Passes the turn on to the next request that still waits.
impl<Subject: Eq + Hash + Clone> Drop for Turn<Subject> {
    fn drop(&mut self) {
        let queue = self.0.clone();
        let mut state = queue.state();
        state.forget_the_gone();
        match state.next() {
            Some(next) => {
                drop(state);
                // If it stopped waiting just now, this is dropped, and passed on once more.
                drop(next.send(Turn(queue.clone())));
            }
            None => state.running -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(waiting: usize, patience: Duration) -> FairQueue<&'static str> {
        FairQueue::new(Limits { running: 1, waiting, patience })
    }

    const LONG: Duration = Duration::from_mins(1);

    /// Waits until `count` requests are in the queue.
    async fn waiting(queue: &FairQueue<&'static str>, count: usize) {
        while queue.count().1 != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn subjects_take_turns_in_the_queue_however_many_requests_one_of_them_has() {
        let queue = queue(100, LONG);
        let running = queue.turn("first", 100).await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for (n, subject) in ["a", "a", "a", "a", "b", "c", "b"].into_iter().enumerate() {
            let (queue, served) = (queue.clone(), served.clone());
            let own = queue.clone();
            all.push(tokio::spawn(async move {
                let _turn = own.turn(subject, 100).await.unwrap();
                served.lock().unwrap().push(subject);
            }));
            waiting(&queue, n + 1).await;
        }
        drop(running);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), ["a", "b", "c", "a", "b", "a", "a"]);
        assert_eq!(queue.count(), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_so_does_a_subject_with_too_many_requests_in_it() {
        let queue = queue(3, LONG);
        let running = queue.turn("a", 2).await.unwrap();
        let wait = |subject| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.turn(subject, 2).await.is_some() })
        };
        let mut all = vec![wait("a"), wait("a")];
        waiting(&queue, 2).await;
        assert!(queue.turn("a", 2).await.is_none(), "too many of one subject");
        all.push(wait("b"));
        waiting(&queue, 3).await;
        assert!(queue.turn("c", 2).await.is_none(), "a full queue");
        drop(running);
        for one in all {
            assert!(one.await.unwrap());
        }
        assert_eq!(queue.count(), (0, 0));
    }

    #[tokio::test]
    async fn a_request_that_gave_up_leaves_the_queue_and_loses_no_turn() {
        let patient = queue(3, LONG);
        let running = patient.turn("a", 2).await.unwrap();
        let gone = tokio::spawn({
            let queue = patient.clone();
            async move { queue.turn("a", 2).await.is_some() }
        });
        waiting(&patient, 1).await;
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(patient.count(), (1, 0));
        drop(running);
        assert!(patient.turn("b", 2).await.is_some());

        let hasty = queue(3, Duration::from_millis(1));
        let running = hasty.turn("a", 2).await.unwrap();
        assert!(hasty.turn("b", 2).await.is_none(), "its turn did not come in time");
        drop(running);
        assert_eq!(hasty.count(), (0, 0));
        assert!(hasty.turn("b", 2).await.is_some());
    }
}
