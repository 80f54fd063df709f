//! Blobs in memory, by id, the least recently used dropped first.
//!
//! It must not know what a blob is for, and it trusts that ids were verified.

use std::{collections::BTreeMap, sync::Arc};

use potluck_protocol::BlobId;

/// Verified bytes, shared between the cache and the work that uses them.
pub type Blob = Arc<Vec<u8>>;

/// At most `bytes_max` bytes of blobs.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    blobs: BTreeMap<BlobId, (u64, Blob)>,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, clock: 0, blobs: BTreeMap::new() }
    }

    /// The blob, which counts as used now.
    pub(crate) fn get(&mut self, id: BlobId) -> Option<Blob> {
        self.clock += 1;
        let (used, blob) = self.blobs.get_mut(&id)?;
        *used = self.clock;
        Some(Arc::clone(blob))
    }

    /// True where the blob is here; it does not count as used.
    pub(crate) fn holds(&self, id: BlobId) -> bool {
        self.blobs.contains_key(&id)
    }

    /// Keeps the blob, if it fits at all.
    pub(crate) fn insert(&mut self, id: BlobId, blob: Blob) {
        if blob.len() > self.bytes_max || self.get(id).is_some() {
            return;
        }
        while self.bytes + blob.len() > self.bytes_max {
            self.drop_oldest();
        }
        self.bytes += blob.len();
        self.blobs.insert(id, (self.clock, blob));
    }

    /// A scan: a cache holds hundreds of blobs and inserts a few a second.
    fn drop_oldest(&mut self) {
        let oldest = self.blobs.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
        if let Some((_, blob)) = oldest.and_then(|id| self.blobs.remove(&id)) {
            self.bytes -= blob.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> BlobId {
        BlobId([n; 32])
    }

    fn put(cache: &mut Cache, n: u8, bytes: usize) {
        cache.insert(id(n), Arc::new(vec![n; bytes]));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new(30);
        for n in 1..=3 {
            put(&mut cache, n, 10);
        }
        assert!(cache.get(id(1)).is_some());
        put(&mut cache, 4, 10);
        let kept = [1, 2, 3, 4].map(|n| cache.get(id(n)).is_some());
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn a_blob_over_the_bound_is_not_kept() {
        let mut cache = Cache::new(30);
        put(&mut cache, 1, 10);
        put(&mut cache, 2, 31);
        assert!(cache.get(id(1)).is_some() && cache.get(id(2)).is_none());
    }

    proptest! {
        #[test]
        fn never_holds_more_than_its_bound(ops in prop::collection::vec((0u8..9, 0usize..40), 0..60)) {
            let mut cache = Cache::new(100);
            for (n, bytes) in ops {
                put(&mut cache, n, bytes);
                let held: usize = cache.blobs.values().map(|(_, blob)| blob.len()).sum();
                prop_assert_eq!(held, cache.bytes);
                prop_assert!(held <= 100);
            }
        }
    }
}
