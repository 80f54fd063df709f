//! The coordinator killed twenty times under load; `cargo xtask crash` does it two hundred times and
//! compares the losses.

use potluck_tests::{Plan, crash};

/// `POTLUCK_SEED` chooses other moments.
fn seed() -> u64 {
    std::env::var("POTLUCK_SEED").map_or(1, |seed| seed.parse().expect("POTLUCK_SEED is a whole number"))
}

#[test]
fn twenty_kills_lose_nothing_and_count_nothing_twice() {
    let plan = Plan { kills: 20, seed: seed(), volunteers: 20 };
    eprintln!("POTLUCK_SEED={}", plan.seed);
    let reports = crash::run(&plan, |news| eprintln!("{news}"));
    for report in &reports {
        assert_eq!(report.violations, [""; 0], "seed {}", plan.seed);
        assert_eq!(report.remade, report.versions);
        assert!(report.acknowledged > 0 && report.acknowledged <= report.results, "{report:?}");
        assert!(report.accuracy >= 0.9, "{report:?}");
    }
    assert_eq!(reports.iter().map(crash::Report::kill_count).sum::<u32>(), plan.kills);
}
