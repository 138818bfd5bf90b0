//! A bound on memory, for all clients together and for each network of clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::web::client::ClientNet;

/// How many bytes may be held at once. A clone is the same budget.
///
/// A network may have half of what is free, or one piece. So one alone gets a third of all, and each
/// further one a third of what is left: it takes many networks, not one, to leave nothing for others
/// (the "dynamic threshold" of Choudhury and Hahne, 1998).
#[derive(Clone)]
pub struct ByteBudget(Arc<Inner>);

struct Inner {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_client: HashMap<ClientNet, usize>,
}

impl ByteBudget {
    pub fn new(most: usize) -> ByteBudget {
        ByteBudget(Arc::new(Inner { most, held: Mutex::default() }))
    }

    /// What a client spends, nothing at first.
    pub fn spend(&self, client: ClientNet) -> Spent {
        Spent { budget: self.clone(), client, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a budget, given back when this is dropped.
pub struct Spent {
    budget: ByteBudget,
    client: ClientNet,
    bytes: usize,
}

impl Spent {
    /// Takes more of the budget. `false`, and nothing is taken, if there is not so much left for this
    /// client.
    #[must_use]
    pub fn add(&mut self, bytes: usize) -> bool {
        let mut held = self.budget.held();
        let of_client = held.by_client.get(&self.client).copied().unwrap_or_default();
        let free = self.budget.0.most - held.all;
        let fits = if of_client == 0 { bytes <= free } else { of_client + bytes <= free / 2 };
        if !fits {
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
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u32) -> ClientNet {
        ClientNet::from_address(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_byte_budget_is_bounded_for_a_network_and_for_all_and_leaves_room_for_the_next() {
        const MOST: usize = 32_000_000;
        let budget = ByteBudget::new(MOST);
        let mut kept = Vec::new();
        for number in 0..15 {
            let before = kept.len();
            loop {
                let mut spent = budget.spend(client(number));
                if !spent.add(20_000) {
                    break;
                }
                kept.push(spent);
            }
            assert!(kept.len() > before, "no room for network {number}");
            let free = MOST - before * 20_000;
            let taken = (kept.len() - before) * 20_000;
            assert!(taken <= free / 3 + 20_000, "{taken} of {free} for network {number}");
        }
        assert!(kept.len() * 20_000 <= MOST);
    }

    proptest! {
        #[test]
        fn a_byte_budget_is_never_exceeded_and_is_given_back_whole(
            spending in prop::collection::vec((0..4_u32, 0..60_usize, any::<bool>()), 0..200),
        ) {
            let budget = ByteBudget::new(150);
            let mut kept = Vec::new();
            for (number, bytes, is_kept) in spending {
                let mut spent = budget.spend(client(number));
                let was_free = budget.held().all + bytes <= 150;
                let added = spent.add(bytes);
                prop_assert!(!added || was_free);
                let held = budget.held();
                prop_assert!(held.all <= 150);
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
