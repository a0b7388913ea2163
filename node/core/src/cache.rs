//! A bounded cache that never forgets what is not yet on disk.

use std::hash::Hash;

use hashlink::LruCache;

/// Least recently used entries go first, but none that a step not yet committed has changed:
/// the [`crate::Reader`] does not show it yet.
pub(crate) struct Cache<K: Hash + Eq, V> {
    entries: LruCache<K, Slot<V>>,
    capacity: usize,
}

struct Slot<V> {
    value: V,
    /// The last step that changed it.
    step: u64,
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: LruCache::new_unbounded(), capacity: capacity.max(1) }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|slot| &slot.value)
    }

    /// Without counting as a use.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.entries.peek(key).map(|slot| &slot.value)
    }

    /// To note something about it that is not for the disk.
    pub(crate) fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.peek_mut(key).map(|slot| &mut slot.value)
    }

    /// To change it in `step`.
    pub(crate) fn change(&mut self, key: &K, step: u64) -> Option<&mut V> {
        self.entries.get_mut(key).map(|slot| {
            slot.step = step;
            &mut slot.value
        })
    }

    /// What was loaded from disk (`step` 0), or made in `step`.
    pub(crate) fn insert(&mut self, key: K, value: V, step: u64) {
        self.entries.insert(key, Slot { value, step });
    }

    /// Forgets the least recently used beyond the capacity, as far as `committed` and `keep` allow.
    pub(crate) fn shrink(&mut self, committed: u64, keep: impl Fn(&K) -> bool) {
        self.shrink_to(self.capacity, committed, keep);
    }

    /// The same, and makes room for one more: what is loaded next must not be what has to go.
    pub(crate) fn make_room(&mut self, committed: u64, keep: impl Fn(&K) -> bool) {
        self.shrink_to(self.capacity - 1, committed, keep);
    }

    fn shrink_to(&mut self, most: usize, committed: u64, keep: impl Fn(&K) -> bool) {
        while self.entries.len() > most {
            // What may not go yet is what was changed last: few, and mostly at the other end.
            let oldest =
                self.entries.iter().find(|(key, slot)| slot.step <= committed && !keep(key));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            self.entries.remove(&key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
