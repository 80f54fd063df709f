//! Gathering the blobs of one piece of work: what is cached, what is under way, what failed.
//!
//! It must not know a socket or what the blobs mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use potluck_protocol::{BlobId, limits};

use crate::cache::{Blob, Cache};

/// Attempts at one blob before the work that needs it is given back.
const ATTEMPTS_MAX: u32 = 5;

#[derive(Debug)]
pub(super) struct Fetcher {
    cache: Cache,
    /// Asked of the shell and not answered, also for a gathering that was abandoned.
    under_way: BTreeSet<BlobId>,
    gathering: BTreeMap<BlobId, Want>,
}

/// One blob of the gathering.
#[derive(Debug, Default)]
struct Want {
    bytes_max: usize,
    here: Option<Blob>,
    /// What came before a transfer broke off.
    came: Vec<u8>,
    failures: u32,
    /// Waits for its back-off to pass.
    resting: bool,
    /// Progress of the transfer, as the shell saw it.
    bytes: u64,
    total: Option<u64>,
}

/// What became of bytes that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// They are what they should be.
    Good,
    /// Nobody asked for them.
    Unasked,
    /// They are not; try again after this many failures.
    Again { failures: u32 },
    /// They are not, for the last time.
    GivenUp,
}

impl Fetcher {
    pub(super) fn new(cache_bytes_max: usize) -> Self {
        Self { cache: Cache::new(cache_bytes_max), under_way: BTreeSet::new(), gathering: BTreeMap::new() }
    }

    /// Takes in a blob from before; its name is what its bytes say.
    pub(super) fn hold(&mut self, bytes: Vec<u8>) -> BlobId {
        let id = BlobId::of(&bytes);
        self.cache.insert(id, Arc::new(bytes));
        id
    }

    /// Starts gathering these blobs, none longer than its bound. Abandons what was gathered before.
    pub(super) fn begin(&mut self, wanted: impl IntoIterator<Item = (BlobId, usize)>) {
        self.gathering.clear();
        for (id, bytes_max) in wanted {
            self.want(id, bytes_max);
        }
    }

    pub(super) fn abandon(&mut self) {
        self.gathering.clear();
    }

    /// True where this blob is in memory.
    pub(super) fn holds(&self, id: BlobId) -> bool {
        self.cache.holds(id)
    }

    /// Adds a blob to the gathering.
    pub(super) fn want(&mut self, id: BlobId, bytes_max: usize) {
        let here = self.cache.get(id).filter(|blob| blob.len() <= bytes_max);
        let want = Want { bytes_max, here, ..Want::default() };
        self.gathering.entry(id).or_insert(want);
    }

    /// Takes a blob out of the gathering.
    pub(super) fn forgo(&mut self, id: BlobId) {
        self.gathering.remove(&id);
    }

    /// A blob that was made here, from what was gathered; its name was checked.
    pub(super) fn made(&mut self, id: BlobId, bytes: Vec<u8>) {
        let blob = Arc::new(bytes);
        self.cache.insert(id, Arc::clone(&blob));
        self.gathering.insert(id, Want { bytes_max: blob.len(), here: Some(blob), ..Want::default() });
    }

    /// What to fetch now, with the most bytes that each may have and those that are here.
    pub(super) fn due(&mut self) -> Vec<(BlobId, usize, Vec<u8>)> {
        let mut due = Vec::new();
        for (id, want) in &mut self.gathering {
            if self.under_way.len() >= limits::FETCHES_MAX {
                break;
            }
            if want.here.is_none() && !want.resting && self.under_way.insert(*id) {
                due.push((*id, want.bytes_max, std::mem::take(&mut want.came)));
            }
        }
        due
    }

    pub(super) fn is_complete(&self) -> bool {
        self.gathering.values().all(|want| want.here.is_some())
    }

    /// A blob of the gathering; the gathering stays.
    pub(super) fn get(&self, id: BlobId) -> Option<Blob> {
        self.gathering.get(&id)?.here.clone()
    }

    pub(super) fn arrived(&mut self, id: BlobId, bytes: Vec<u8>) -> Arrival {
        if !self.under_way.remove(&id) {
            return Arrival::Unasked;
        }
        if BlobId::of(&bytes) != id {
            return self.count_failure(id, true, Vec::new());
        }
        let blob = Arc::new(bytes);
        self.cache.insert(id, Arc::clone(&blob));
        let Some(want) = self.gathering.get_mut(&id) else { return Arrival::Good };
        if blob.len() > want.bytes_max {
            // Asking again would bring the same bytes.
            return Arrival::GivenUp;
        }
        (want.bytes, want.total) = (blob.len() as u64, Some(blob.len() as u64));
        want.here = Some(blob);
        Arrival::Good
    }

    /// A transfer broke off, after these bytes.
    pub(super) fn failed(&mut self, id: BlobId, retryable: bool, came: Vec<u8>) -> Arrival {
        if !self.under_way.remove(&id) {
            return Arrival::Unasked;
        }
        self.count_failure(id, retryable, came)
    }

    fn count_failure(&mut self, id: BlobId, retryable: bool, came: Vec<u8>) -> Arrival {
        // An abandoned gathering's trouble is nobody's trouble.
        let Some(want) = self.gathering.get_mut(&id) else { return Arrival::Unasked };
        want.failures += 1;
        if !retryable || want.failures >= ATTEMPTS_MAX {
            return Arrival::GivenUp;
        }
        want.resting = true;
        (want.bytes, want.total) = (came.len() as u64, None);
        want.came = came;
        Arrival::Again { failures: want.failures }
    }

    /// The back-off of a blob has passed.
    pub(super) fn rested(&mut self, id: BlobId) {
        if let Some(want) = self.gathering.get_mut(&id) {
            want.resting = false;
        }
    }

    /// Notes how far a transfer is; true where it belongs to the gathering.
    pub(super) fn progressed(&mut self, id: BlobId, bytes: u64, total: Option<u64>) -> bool {
        let Some(want) = self.gathering.get_mut(&id).filter(|want| want.here.is_none()) else { return false };
        // A shell's words about a stranger's header: bounded, so that sums cannot overflow.
        let bound = want.bytes_max as u64;
        (want.bytes, want.total) = (bytes.min(bound), total.map(|t| t.min(bound)));
        self.under_way.contains(&id)
    }

    /// Bytes here and bytes in all of the gathering; what was cached counts in neither.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        let bytes = self.gathering.values().map(|want| want.bytes).sum();
        let total = |want: &Want| if want.here.is_some() { Some(want.bytes) } else { want.total };
        (bytes, self.gathering.values().map(total).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8) -> (BlobId, Vec<u8>) {
        let bytes = vec![n; 10];
        (BlobId::of(&bytes), bytes)
    }

    fn fetcher(blobs: impl IntoIterator<Item = u8>) -> Fetcher {
        let mut fetcher = Fetcher::new(1000);
        fetcher.begin(blobs.into_iter().map(|n| (blob(n).0, 10)));
        fetcher
    }

    #[test]
    fn fetches_each_once_and_a_few_at_a_time() {
        let mut fetcher = fetcher(0..10);
        assert_eq!(fetcher.due().len(), limits::FETCHES_MAX);
        assert_eq!(fetcher.due().len(), 0);
        let mut fetched = 0;
        while let Some(id) = fetcher.under_way.first().copied() {
            let bytes = (0..10).map(blob).find(|(i, _)| *i == id).expect("one of ours").1;
            assert_eq!(fetcher.arrived(id, bytes), Arrival::Good);
            fetcher.due();
            fetched += 1;
        }
        assert!(fetcher.is_complete());
        assert_eq!(fetched, 10);
    }

    #[test]
    fn what_is_cached_is_not_fetched_again() {
        let mut fetcher = fetcher([1]);
        fetcher.due();
        fetcher.arrived(blob(1).0, blob(1).1);
        fetcher.begin([(blob(1).0, 10)]);
        assert!(fetcher.is_complete());
    }

    #[test]
    fn other_bytes_are_refused_until_it_gives_up() {
        let mut fetcher = fetcher([1]);
        for failures in 1..ATTEMPTS_MAX {
            assert_eq!(fetcher.due().len(), 1);
            assert_eq!(fetcher.arrived(blob(1).0, vec![9]), Arrival::Again { failures });
            assert_eq!(fetcher.due().len(), 0, "rests first");
            fetcher.rested(blob(1).0);
        }
        fetcher.due();
        assert_eq!(fetcher.arrived(blob(1).0, vec![9]), Arrival::GivenUp);
    }

    #[test]
    fn a_broken_transfer_goes_on_where_it_broke() {
        let mut fetcher = fetcher([1]);
        let (id, bytes) = blob(1);
        assert_eq!(fetcher.due(), [(id, 10, vec![])]);
        assert_eq!(fetcher.failed(id, true, bytes[..4].to_vec()), Arrival::Again { failures: 1 });
        assert_eq!(fetcher.progress(), (4, None));
        fetcher.rested(id);
        assert_eq!(fetcher.due(), [(id, 10, bytes[..4].to_vec())]);
        // Other bytes than the name says: nothing of them is worth keeping.
        assert_eq!(fetcher.arrived(id, vec![9; 10]), Arrival::Again { failures: 2 });
        fetcher.rested(id);
        assert_eq!(fetcher.due(), [(id, 10, vec![])]);
    }

    #[test]
    fn bytes_nobody_asked_for_are_dropped() {
        assert_eq!(fetcher([1]).arrived(blob(1).0, blob(1).1), Arrival::Unasked);
        assert_eq!(fetcher([1]).arrived(blob(2).0, blob(2).1), Arrival::Unasked);
    }

    #[test]
    fn an_abandoned_fetch_still_fills_the_cache() {
        let mut fetcher = fetcher([1]);
        fetcher.due();
        fetcher.abandon();
        assert_eq!(fetcher.arrived(blob(1).0, blob(1).1), Arrival::Good);
        fetcher.begin([(blob(1).0, 10)]);
        assert!(fetcher.is_complete());
    }

    #[test]
    fn a_longer_blob_than_allowed_is_given_up() {
        let mut fetcher = Fetcher::new(1000);
        fetcher.begin([(blob(1).0, 9)]);
        fetcher.due();
        assert_eq!(fetcher.arrived(blob(1).0, blob(1).1), Arrival::GivenUp);
    }

    #[test]
    fn progress_adds_up() {
        let mut fetcher = fetcher([1, 2]);
        fetcher.due();
        assert_eq!(fetcher.progress(), (0, None));
        assert!(fetcher.progressed(blob(1).0, 5, Some(10)));
        assert!(fetcher.progressed(blob(2).0, 1, Some(u64::MAX)));
        assert_eq!(fetcher.progress(), (6, Some(20)));
        fetcher.arrived(blob(1).0, blob(1).1);
        assert_eq!(fetcher.progress(), (11, Some(20)));
    }
}
