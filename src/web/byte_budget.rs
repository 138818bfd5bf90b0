//! A bound on memory, for all clients together and for each network of clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::web::client::ClientNet;

/// How many bytes may be held at once.
pub struct ByteBudget {
    most: usize,
    most_per_client: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_client: HashMap<ClientNet, usize>,
}

impl ByteBudget {
    pub fn new(most: usize, most_per_client: usize) -> ByteBudget {
        ByteBudget { most, most_per_client, held: Mutex::default() }
    }

    /// What a client spends, nothing at first.
    pub fn spend(self: &Arc<ByteBudget>, client: ClientNet) -> Spent {
        Spent { budget: self.clone(), client, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a budget, given back when this is dropped.
pub struct Spent {
    budget: Arc<ByteBudget>,
    client: ClientNet,
    bytes: usize,
}

impl Spent {
    /// Takes more of the budget. `false`, and nothing is taken, if there is not so much left for this
    /// client or for all.
    pub fn add(&mut self, bytes: usize) -> bool {
        let ByteBudget { most, most_per_client, .. } = *self.budget;
        let mut held = self.budget.held();
        let of_client = held.by_client.get(&self.client).copied().unwrap_or_default();
        if held.all + bytes > most || of_client + bytes > most_per_client {
            return false;
        }
        held.all += bytes;
        held.by_client.insert(self.client, of_client + bytes);
        drop(held);
        self.bytes += bytes;
        true
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.budget.held();
        held.all -= self.bytes;
        if let Some(of_client) = held.by_client.get_mut(&self.client) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> ClientNet {
        ClientNet::from_address([10, 0, 0, number].into())
    }

    proptest! {
        #[test]
        fn a_byte_budget_is_never_exceeded_and_is_given_back_whole(
            spending in prop::collection::vec((0..4_u8, 0..60_usize, any::<bool>()), 0..200),
        ) {
            let budget = Arc::new(ByteBudget::new(150, 70));
            let mut kept = Vec::new();
            for (number, bytes, is_kept) in spending {
                let mut spent = budget.spend(client(number));
                let was_free = budget.held().all + bytes <= 150;
                let added = spent.add(bytes);
                prop_assert!(!added || was_free);
                let held = budget.held();
                prop_assert!(held.all <= 150 && held.by_client.values().all(|held| *held <= 70));
                prop_assert_eq!(held.all, held.by_client.values().sum::<usize>());
                drop(held);
                if is_kept {
                    kept.push(spent);
                }
            }
            drop(kept);
            let held = budget.held();
            prop_assert!(held.all == 0 && held.by_client.values().sum::<usize>() == 0);
        }
    }
}
