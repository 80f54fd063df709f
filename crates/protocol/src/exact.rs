//! Writing an f32 so that it comes back bit for bit, whoever reads it.
//!
//! A reader that buffers (every internally tagged enum of serde does) takes a number as f64 and
//! rounds it to f32 afterwards. The shortest text that names an f32 may lie so close to the middle
//! between two of them that rounding twice ends at the neighbour: `7.038531e-26` does. Such a value
//! is written with all the digits of the f64 that equals it, and every other one as usual.
//!
//! For `#[serde(serialize_with = "...")]`; every f32 field of what is logged or sent in a tagged
//! message has it.

use serde::{Serialize, Serializer};

/// An f32 as a number that reads back the same through f64.
#[derive(Clone, Copy)]
struct Exact(f32);

impl Exact {
    /// True where the shortest text is safe, for a reader too whose f64 is off by its last bit.
    fn is_short_enough(self) -> bool {
        let back = |wide: f64| wide as f32 == self.0;
        self.0.to_string().parse().is_ok_and(|wide: f64| [wide.next_down(), wide, wide.next_up()].into_iter().all(back))
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.is_short_enough() { to.serialize_f32(self.0) } else { to.serialize_f64(f64::from(self.0)) }
    }
}

/// Writes an f32.
///
/// # Errors
/// Those of the format.
pub fn float<S: Serializer>(value: &f32, to: S) -> Result<S::Ok, S::Error> {
    Exact(*value).serialize(to)
}

/// Writes an f32 that may be missing.
///
/// # Errors
/// Those of the format.
// The reference to an option is what serde hands over.
#[allow(clippy::ref_option)]
pub fn optional<S: Serializer>(value: &Option<f32>, to: S) -> Result<S::Ok, S::Error> {
    value.map(Exact).serialize(to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        BlobId, Lease, Optimizer, OuterStep, Recipe, Schedule, ServerMessage, Task, TaskId, TaskKind, UpdateEncoding,
        Version,
    };

    #[track_caller]
    fn check(value: f32, expected: &str) {
        assert_eq!(serde_json::to_string(&Exact(value)).expect("a number"), expected);
    }

    #[test]
    fn short_where_that_is_safe() {
        check(0.004, "0.004");
        check(-0.0, "-0.0");
        check(1e-8, "1e-8");
        check(f32::MIN_POSITIVE, "1.1754944e-38");
    }

    #[test]
    fn long_where_it_is_not() {
        check(f32::from_bits(0x15ae_43fd), "7.038530691851209e-26");
    }

    fn lease(f: [f32; 11]) -> Lease {
        let id = BlobId([0; 32]);
        let recipe = Recipe {
            optimizer: Optimizer::Muon { momentum: f[0], beta1: f[1], beta2: f[2], eps: f[3], weight_decay: f[4] },
            lr: f[5],
            schedule: Schedule::Linear,
            ramp_steps: 3,
            clip_norm: f[6],
            steps: 8,
            batch: 32,
            budget_samples: 1000,
            target_accuracy: Some(f[7]),
            outer: OuterStep::nesterov(f[8], f[9]),
            update: UpdateEncoding::E3m0,
        };
        let task = Task {
            id: TaskId(1),
            kind: TaskKind::Train,
            program: id,
            base_version: Version(0),
            base: id,
            blocks: vec![id],
            seed: 0,
            steps: 8,
            batch: 32,
            lr_start: f[10],
            lr_end: f[0],
            recipe,
        };
        Lease { task, deadline_millis: 1, expiry_millis: 2, deltas: Vec::new() }
    }

    #[track_caller]
    fn survives(floats: [f32; 11]) {
        let lease = lease(floats);
        let json = serde_json::to_string(&ServerMessage::Lease(Box::new(lease.clone()))).expect("JSON");
        let back: ServerMessage = serde_json::from_str(&json).expect("reads back");
        let ServerMessage::Lease(back) = back else { panic!("not a lease: {json}") };
        // Equality of floats is equality of bits but for zeros, whose sign Debug tells.
        assert_eq!((format!("{back:?}"), *back), (format!("{lease:?}"), lease));
    }

    fn finite() -> impl Strategy<Value = f32> {
        any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
    }

    proptest! {
        #[test]
        fn every_finite_f32_of_a_lease_comes_back(floats in proptest::array::uniform11(finite())) {
            survives(floats);
        }

        #[test]
        fn every_finite_f32_comes_back_through_f64(value in finite()) {
            let json = serde_json::to_string(&Exact(value)).expect("a number");
            let wide: f64 = serde_json::from_str(&json).expect("a number");
            prop_assert_eq!((wide as f32).to_bits(), value.to_bits());
        }
    }

    #[test]
    fn one_that_rounds_twice_comes_back() {
        survives([f32::from_bits(0x15ae_43fd); 11]);
    }
}
