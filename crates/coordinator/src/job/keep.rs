//! Which versions can still be had. All of them, as long as that is cheap; then the newest, and every
//! sixteenth of the older ones. A version that is not stored is made of the stored one before it and
//! the deltas between, at most fifteen; so these stay that much longer than what is made of them.

use std::collections::BTreeSet;

use potluck_protocol::{BlobId, Version, limits};
use potluck_scheduler::{State, VersionRecord};

/// Of the older versions one in so many stays.
const KEPT_EACH: u64 = limits::CHECKPOINT_VERSIONS;

/// What is kept of a job whose newest version is `newest`.
#[derive(Clone, Copy)]
struct Kept {
    newest: u64,
    /// The newest versions that all stay.
    count: u64,
}

impl Kept {
    fn new(newest: Version, parameters: u64) -> Self {
        // A byte a parameter for the delta, four in every sixteenth.
        let bytes = parameters + 4 * parameters / KEPT_EACH;
        Self { newest: newest.0, count: (limits::BASES_BYTES_MAX / bytes.max(1)).max(KEPT_EACH) }
    }

    /// True where the parameters of a version can be had.
    fn has(self, record: &VersionRecord) -> bool {
        let VersionRecord { version, stored, .. } = *record;
        let longer = if stored { KEPT_EACH } else { 0 };
        version.0 + self.count + longer > self.newest || version.0.is_multiple_of(KEPT_EACH)
    }

    /// True where its delta stays.
    fn has_delta(self, version: Version) -> bool {
        version.0 + self.count + KEPT_EACH > self.newest
    }

    /// The versions about which this may be the first to say no.
    fn leaving(self) -> impl Iterator<Item = Version> {
        [self.count, self.count + KEPT_EACH]
            .into_iter()
            .filter_map(move |age| self.newest.checked_sub(age))
            .map(Version)
    }
}

/// The blobs that go now that the newest version is there.
pub(super) fn pushed_out(state: &State) -> Vec<BlobId> {
    let Some(kept) = kept(state) else { return Vec::new() };
    superseded(kept.leaving().filter_map(|version| state.record(version)), kept, state)
}

/// All that should have gone before.
pub(super) fn all_pushed_out(state: &State) -> Vec<BlobId> {
    kept(state).map_or_else(Vec::new, |kept| superseded(state.history(), kept, state))
}

fn kept(state: &State) -> Option<Kept> {
    Some(Kept::new(state.version(), state.job()?.facts.parameters))
}

/// The blobs of versions that do not stay, unless a kept one has the same or somebody still needs it.
fn superseded<'a>(of: impl Iterator<Item = &'a VersionRecord>, kept: Kept, state: &State) -> Vec<BlobId> {
    let needed = state.needed();
    let is_had = |record: &VersionRecord| kept.has(record) || needed.contains(&record.version);
    let mut gone: Vec<BlobId> = Vec::new();
    for record in of {
        gone.extend(Some(record.base).filter(|_| !is_had(record)));
        gone.extend(record.delta.filter(|_| !kept.has_delta(record.version)));
    }
    if gone.is_empty() {
        return gone;
    }
    let had = state.history().filter(|record| is_had(record)).map(|record| record.base);
    let stays: BTreeSet<BlobId> = had.chain(state.retained()).collect();
    gone.retain(|id| !stays.contains(id));
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64, stored: bool) -> VersionRecord {
        VersionRecord {
            version: Version(version),
            base: BlobId([1; 32]),
            delta: None,
            stored,
            at: 0,
            samples: 0,
            parts: 1,
            valid: None,
            test: None,
        }
    }

    #[test]
    fn small_ones_all_stay() {
        let kept = Kept::new(Version(200_000), 10_000);
        assert!((0..200_000).step_by(997).all(|v| kept.has(&record(v, false)) && kept.has_delta(Version(v))));
    }

    #[test]
    fn of_large_ones_the_newest_and_every_sixteenth_stay() {
        let count = Kept::new(Version(0), limits::PARAMETERS_MAX).count;
        assert_eq!(count, 102);
        for newest in 0..400 {
            let kept = Kept::new(Version(newest), limits::PARAMETERS_MAX);
            for v in 0..=newest {
                assert_eq!(kept.has(&record(v, false)), v + count > newest || v % 16 == 0, "{v} of {newest}");
            }
        }
    }

    #[test]
    fn what_a_version_is_made_of_stays_as_long_as_it() {
        // A stop stores a version in between; whichever it is, nothing that is made of it outlives it.
        for between in 0..40 {
            for newest in 0..400 {
                let kept = Kept::new(Version(newest), limits::PARAMETERS_MAX);
                let is_stored = |v: u64| v.is_multiple_of(16) || v == between;
                for v in (0..=newest).filter(|v| kept.has(&record(*v, is_stored(*v)))) {
                    let from = (0..=v).rev().find(|v| is_stored(*v)).expect("the first is stored");
                    assert!(kept.has(&record(from, true)) && v - from < 16, "{v} of {newest} is made of {from}");
                    assert!((from + 1..=v).all(|v| kept.has_delta(Version(v))));
                }
            }
        }
    }

    #[test]
    fn each_leaves_once() {
        for newest in 1..400 {
            let (before, after) = (Kept::new(Version(newest - 1), limits::PARAMETERS_MAX), newest);
            let after = Kept::new(Version(after), limits::PARAMETERS_MAX);
            let leaving: BTreeSet<Version> = after.leaving().collect();
            for v in 0..newest {
                for stored in [false, true] {
                    if before.has(&record(v, stored)) && !after.has(&record(v, stored)) {
                        assert!(leaving.contains(&Version(v)));
                    }
                }
                if before.has_delta(Version(v)) && !after.has_delta(Version(v)) {
                    assert!(leaving.contains(&Version(v)));
                }
            }
        }
    }
}
