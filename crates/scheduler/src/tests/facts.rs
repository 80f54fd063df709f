//! Facts as text: what is logged is what is read.

use potluck_protocol::{Evaluation, SignedStatement, Split, TaskId, TaskKind, Version};
use proptest::prelude::*;

use super::fixture::{blob, created, key, recipe};
use crate::{Contribution, Fact};

/// One fact of each kind that holds floats.
fn facts([first, second, third, fourth]: [f32; 4]) -> [Fact; 6] {
    let (at, task, version) = (1, TaskId(1), Version(1));
    let recipe = potluck_protocol::Recipe {
        lr: first,
        clip_norm: second,
        target_accuracy: Some(third),
        outer: potluck_protocol::OuterStep::nesterov(fourth, first),
        ..recipe()
    };
    let signed = SignedStatement { statement: String::new(), signature: String::new() };
    [
        Fact::RecipeChanged { at, recipe: recipe.clone() },
        created(7, recipe, 2),
        Fact::TaskLeased {
            at,
            task,
            kind: TaskKind::Train,
            volunteer: key(1),
            blocks: Vec::new(),
            base_version: version,
            seed: u64::MAX,
            steps: 8,
            batch: 32,
            lr_start: first,
            lr_end: second,
            deadline_at: 2,
            expiry_at: 3,
        },
        Fact::ResultAccepted {
            at,
            task,
            steps: 8,
            samples: 256,
            update: blob("update"),
            norm: first,
            train_loss: second,
            signed,
            late: false,
        },
        Fact::Committed {
            at,
            version,
            base: blob("base"),
            momentum: None,
            parts: vec![Contribution { task, weight: first }],
            outer: Some(potluck_protocol::OuterStep { lr: second, momentum: third, lead: Some(fourth) }),
            delta: Some(blob("delta")),
        },
        Fact::Evaluated {
            at,
            task,
            version,
            split: Split::Valid,
            evaluation: Evaluation { loss: first, accuracy: second, samples: 1 },
        },
    ]
}

#[track_caller]
fn check(floats: [f32; 4]) {
    for fact in facts(floats) {
        let json = serde_json::to_string(&fact).expect("JSON");
        let back: Fact = serde_json::from_str(&json).expect("reads back");
        // Equality of floats is equality of bits but for zeros, whose sign Debug tells.
        assert_eq!((format!("{back:?}"), back), (format!("{fact:?}"), fact));
    }
}

fn finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
}

proptest! {
    #[test]
    fn every_finite_f32_of_a_fact_comes_back(floats in prop::array::uniform4(finite())) {
        check(floats);
    }
}

#[test]
fn one_that_rounds_twice_comes_back() {
    check([f32::from_bits(0x15ae_43fd); 4]);
}
