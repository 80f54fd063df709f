//! What people ask: the tally, the blobs that are kept.

use potluck_protocol::Split;

use crate::tests::fixture::{blob, key, recipe};
use crate::tests::script::Stage;
use crate::{Phase, Tally};

#[test]
fn the_tally_counts_samples_tasks_and_operations() {
    let mut stage = Stage::new(recipe());
    for line in ["0 join a", "0 ask a", "100 done a 1", "110 merged", "120 ask a", "200 done a 2 steps=4"] {
        stage.run(line);
    }
    let state = stage.core.state();
    let at = crate::tests::fixture::EPOCH;
    let expected = Tally { tasks: 2, samples: 384, flops: 384 * 60, first_at: at + 100, last_at: at + 200 };
    assert_eq!(state.tally(&key(b'a')), Some(&expected));
    assert_eq!((state.samples(), state.version().0, state.phase()), (256, 1, Phase::Running));
    let speed = stage.core.presence().speed(&key(b'a'));
    assert!(speed.is_some_and(|s| (1000.0..3000.0).contains(&s)), "{speed:?}");
}

#[test]
fn blobs_are_kept_while_something_needs_them() {
    let mut stage = Stage::new(recipe());
    let holds = |stage: &Stage, name: &str| stage.core.state().retained().contains(&blob(name));
    for line in ["0 join a", "0 join e trusted", "0 ask a", "0 ask e", "100 done a 1"] {
        stage.run(line);
    }
    assert!(holds(&stage, "update of 1 in 8") && holds(&stage, "v0") && holds(&stage, "train 3"));
    stage.run("110 merged");
    assert!(!holds(&stage, "update of 1 in 8") && holds(&stage, "v1") && holds(&stage, "mv1"));
    assert!(holds(&stage, "v0"), "its evaluation is out");
    stage.run("120 eval e 2");
    assert!(!holds(&stage, "v0"));
    assert_eq!(stage.core.state().newest(Split::Valid).map(|(version, e)| (version.0, e.samples)), Some((0, 30)));
}
