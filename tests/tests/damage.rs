//! A seeded sample of the harm that `cargo xtask damage` does to a coordinator's folder.

use potluck_tests::damage::{Extent, Ground, Tally, appends, files};

/// `POTLUCK_SEED` chooses other places.
fn seed() -> u64 {
    std::env::var("POTLUCK_SEED").map_or(1, |seed| seed.parse().expect("POTLUCK_SEED is a whole number"))
}

#[track_caller]
fn check(tallies: &[Tally]) {
    for Tally { what, violations, .. } in tallies {
        assert_eq!(*violations, [""; 0], "{what}, POTLUCK_SEED={}", seed());
    }
}

#[test]
fn harm_to_files_is_named_or_touches_nothing_that_counts() {
    let extent = Extent { flips: 12, cuts: 6, blobs: 3, seed: seed() };
    for (name, is_open) in [("after a stop", false), ("after a kill", true)] {
        let tallies = files(&Ground::new(name, is_open), &extent, |news| eprintln!("{news}"));
        check(&tallies);
        // Whatever the seed, a log that was cut or lost is noticed.
        let refused = |what: &str| {
            let of = tallies.iter().filter(|tally| tally.what.contains(what));
            of.flat_map(|tally| tally.refused.values()).sum::<u64>()
        };
        assert!(refused("cut at a page") > 0 && refused("potluck.sqlite: gone") == 1, "{tallies:?}");
        assert_eq!(refused("potluck.sqlite-wal: gone"), u64::from(is_open), "{tallies:?}");
    }
}

#[test]
fn an_append_that_fails_tears_or_freezes_loses_nothing() {
    let tallies = appends(3, seed(), |news| eprintln!("{news}"));
    check(&tallies);
    assert!(tallies.iter().any(|tally| !tally.refused.is_empty()), "{tallies:?}");
}
