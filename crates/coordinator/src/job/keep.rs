//! Which versions' parameters stay on the disk. All of them, as long as that is cheap; then the
//! newest, and every sixteenth of the older ones.

use std::collections::BTreeSet;

use potluck_protocol::{BlobId, Version, limits};
use potluck_scheduler::VersionRecord;

/// Of the older versions one in so many stays.
const KEPT_EACH: u64 = 16;

/// The newest versions that all stay.
fn newest_kept(parameters: u64) -> u64 {
    (limits::BASES_BYTES_MAX / (4 * parameters).max(1)).max(KEPT_EACH)
}

/// The version that does not stay any more now that `newest` is there, if there is one.
pub(super) fn pushed_out(newest: Version, parameters: u64) -> Option<Version> {
    let version = Version(newest.0.checked_sub(newest_kept(parameters))?);
    (!is_kept(version, newest, parameters)).then_some(version)
}

/// True where the parameters of `version` stay while `newest` is the newest.
fn is_kept(version: Version, newest: Version, parameters: u64) -> bool {
    version.0 + newest_kept(parameters) > newest.0 || version.0.is_multiple_of(KEPT_EACH)
}

/// The blobs of versions that do not stay, unless a kept one has the same or somebody still needs
/// it.
pub(super) fn superseded<'a>(
    history: impl Iterator<Item = &'a VersionRecord>,
    newest: Version,
    parameters: u64,
    retained: &BTreeSet<BlobId>,
) -> Vec<BlobId> {
    let (kept, gone): (Vec<&VersionRecord>, Vec<_>) = history.partition(|r| is_kept(r.version, newest, parameters));
    let kept: BTreeSet<BlobId> = kept.into_iter().map(|r| r.base).collect();
    let gone = gone.into_iter().map(|r| r.base);
    gone.filter(|base| !kept.contains(base) && !retained.contains(base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(versions: u64, parameters: u64, gone: impl Fn(u64) -> bool) {
        let history: Vec<VersionRecord> = (0..versions)
            .map(|version| VersionRecord {
                version: Version(version),
                base: BlobId([u8::try_from(version).expect("few"); 32]),
                at: 0,
                samples: 0,
                parts: 1,
                valid: None,
                test: None,
            })
            .collect();
        let retained = BTreeSet::from([BlobId([5; 32])]);
        let expected: Vec<BlobId> = (0..versions).filter(|v| gone(*v)).map(|v| history[v as usize].base).collect();
        assert_eq!(superseded(history.iter(), Version(versions - 1), parameters, &retained), expected);
        let one_by_one = (0..versions).filter_map(|newest| pushed_out(Version(newest), parameters));
        let one_by_one: Vec<BlobId> = one_by_one.map(|v| history[v.0 as usize].base).collect();
        assert_eq!(one_by_one.into_iter().filter(|base| !retained.contains(base)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn small_ones_all_stay() {
        check(200, 10_000, |_| false);
    }

    #[test]
    fn of_large_ones_the_newest_every_sixteenth_and_the_needed_stay() {
        let parameters = limits::PARAMETERS_MAX;
        let newest = newest_kept(parameters);
        assert_eq!(newest, 32);
        check(100, parameters, |v| v + newest < 100 && v % 16 != 0 && v != 5);
    }
}
