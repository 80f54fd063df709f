//! What people ask: the tally, the blobs that are kept.

use potluck_protocol::{DeltaStep, Split, TaskId, Version};

use crate::tests::fixture::{blob, key, recipe};
use crate::tests::script::Stage;
use crate::{Checkpoint, Contribution, Fact, Making, Phase, Tally};

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
    assert!(holds(&stage, "update of 1 in 8") && holds(&stage, "v0"), "v1 is made of them");
    assert!(holds(&stage, "dv1") && !holds(&stage, "v1"), "its parameters are no blob yet");
    checkpoint(&mut stage, 1);
    assert!(!holds(&stage, "update of 1 in 8") && !holds(&stage, "dv1"));
    assert!(holds(&stage, "v1") && holds(&stage, "momentum of 1") && holds(&stage, "feedback of 1"));
    assert!(holds(&stage, "v0"), "its evaluation is out");
    stage.run("120 eval e 2");
    assert!(!holds(&stage, "v0"));
    assert_eq!(stage.core.state().newest(Split::Valid).map(|(version, e)| (version.0, e.samples)), Some((0, 30)));
}

/// What the shell says once the blobs of a version are durable.
fn checkpoint(stage: &mut Stage, version: u64) {
    let (momentum, feedback) = (blob(&format!("momentum of {version}")), blob(&format!("feedback of {version}")));
    let (version, momentum, feedback) = (Version(version), Some(momentum), Some(feedback));
    stage.core.apply(&Fact::Checkpointed { at: 0, version, momentum, feedback });
}

#[test]
fn a_version_is_made_from_the_checkpoint_before_it() {
    let mut stage = Stage::new(recipe());
    let made = |stage: &Stage, version: u64| stage.core.state().making(Version(version));
    let making = |from: &str, deltas: &[&str]| {
        Some(Making { from: blob(from), deltas: deltas.iter().map(|name| blob(name)).collect() })
    };
    for line in ["0 join a", "0 ask a", "100 done a 1", "110 merged", "120 ask a", "200 done a 2", "210 merged"] {
        stage.run(line);
    }
    assert_eq!((made(&stage, 0), made(&stage, 2)), (making("v0", &[]), making("v0", &["dv1", "dv2"])));
    assert_eq!(made(&stage, 3), None);
    let steps = |version: u64| stage.core.state().deltas_to(Version(version));
    let step = |from: &str, delta: &str| DeltaStep { from: blob(from), delta: blob(delta) };
    assert_eq!((steps(0), steps(2)), (vec![], vec![step("v1", "dv2"), step("v0", "dv1")]));
    let folds: Vec<u64> = stage.core.state().folds().iter().map(|fold| fold.version.0).collect();
    assert_eq!(folds, [1, 2]);
    // A checkpoint may come after the next version is there.
    checkpoint(&mut stage, 1);
    assert_eq!((made(&stage, 1), made(&stage, 2)), (making("v1", &[]), making("v1", &["dv2"])));
    let tasks: Vec<TaskId> = stage.core.state().unsettled().map(|(task, _)| task).collect();
    assert_eq!(tasks, [TaskId(2)]);
}

#[test]
fn a_version_of_an_old_log_is_its_own_checkpoint() {
    let mut stage = Stage::new(recipe());
    for line in ["0 join a", "0 ask a", "100 done a 1"] {
        stage.run(line);
    }
    let parts = vec![Contribution { task: TaskId(1), weight: 1.0 }];
    let momentum = Some(blob("momentum"));
    let (version, base) = (Version(1), blob("whole"));
    stage.core.apply(&Fact::Committed { at: 1, version, base, momentum, parts, outer: None, delta: None });
    let state = stage.core.state();
    assert_eq!(*state.last_checkpoint(), Checkpoint { version, momentum, feedback: None });
    assert_eq!(state.making(version), Some(Making { from: base, deltas: Vec::new() }));
    assert!(state.folds().is_empty() && state.unsettled().next().is_none());
    assert!(state.retained().contains(&blob("momentum")));
}
