//! Seeded trouble: connections drop, tabs die, results are wrong, late or sent twice, the process
//! crashes. Whatever happens, the log keeps its invariants, refolds to the same state, and the job
//! ends once volunteers stay.

use potluck_protocol::{Recipe, StrategyName};
use proptest::prelude::*;

use super::fixture::recipe;
use super::world::{Plan, World, replay};

prop_compose! {
    fn plans()(
        seed: u64,
        volunteers in 1u8..9,
        train_blocks in 1usize..40,
        tasks in 1u64..60,
        target in prop::option::weighted(0.2, 0.1f32..1.0),
        chaos_millis in prop_oneof![Just(0), 1_000u64..120_000],
        stops in prop::bool::weighted(0.1),
        strategy in prop::sample::select(vec![StrategyName::Auto, StrategyName::Rounds, StrategyName::Buffered]),
        extends in prop::bool::weighted(0.3),
        silent in 0u8..5,
    ) -> Plan {
        let recipe = Recipe { budget_samples: tasks * 256, target_accuracy: target, ..recipe() };
        Plan { seed, volunteers, silent, recipe, strategy, train_blocks, chaos_millis, stops, extends }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_and_its_log_is_sound(plan in plans()) {
        let world = World::new(plan.clone()).run();
        let auditor = &world.auditor;
        let ended_early = auditor.is_stopped || auditor.recipe.target_accuracy.is_some();
        prop_assert!(ended_early || auditor.samples >= auditor.recipe.budget_samples);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_anywhere_and_the_facts_after_it_are_the_whole(
        plan in plans(),
        positions in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let world = World::new(plan).run();
        let log = world.log();
        let whole = replay(log, 0);
        for at in positions {
            prop_assert!(replay(log, at.index(log.len() + 1)) == whole);
        }
    }
}

#[test]
fn an_undisturbed_job_wastes_nothing() {
    let plan = Plan {
        seed: 3,
        volunteers: 3,
        silent: 0,
        recipe: Recipe { budget_samples: 40 * 256, ..recipe() },
        strategy: StrategyName::Rounds,
        train_blocks: 12,
        chaos_millis: 0,
        stops: false,
        extends: false,
    };
    let world = World::new(plan).run();
    let credited: u64 = world.auditor.tallies.values().map(|tally| tally.samples).sum();
    assert!(world.auditor.samples * 100 >= credited * 90, "{} of {credited} merged", world.auditor.samples);
}
