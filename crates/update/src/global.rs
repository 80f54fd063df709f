//! The global parameters and what the coordinator keeps beside them, from one version to the next.
//!
//! The same merges in the same order give the same bits: so a coordinator that lost its memory makes
//! its versions again, and anybody else can check them.

use potluck_protocol::{BlobId, OuterStep};

use crate::{bytes_from_weights, outer_step, publish};

/// A version as its coordinator has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Global {
    /// Its parameters, as every holder has them.
    pub theta: Vec<f32>,
    /// Outer momentum after it; `None` for zeros.
    pub momentum: Option<Vec<f32>>,
    /// What its delta could not hold, for the next one; empty for zeros.
    pub feedback: Vec<f32>,
}

/// What became of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// What leads holders of the version before to this one.
    pub delta: Vec<u8>,
    /// False where the step was not finite and the parameters stayed where they were: a job that goes
    /// on with what it has can still be trained, stopped and read, one without its next version
    /// cannot.
    pub moved: bool,
}

impl Global {
    /// A first version.
    pub fn new(theta: Vec<f32>) -> Self {
        Self { theta, momentum: None, feedback: Vec::new() }
    }

    /// SHA-256 of the parameters as they are stored and served.
    pub fn id(&self) -> BlobId {
        BlobId::of(&bytes_from_weights(&self.theta))
    }

    /// Takes the outer step by a merged update and publishes the result: the next version. `None`,
    /// and nothing has changed, where even this version is not finite, which no version is.
    ///
    /// # Panics
    /// Where the lengths differ: all of them belong to one program.
    pub fn step(&mut self, merged: &[f32], outer: OuterStep) -> Option<Stepped> {
        let (mut target, mut momentum) = (self.theta.clone(), self.momentum.clone());
        let is_finite = outer_step(&mut target, &mut momentum, merged, outer);
        let published = publish(&self.theta, &target, &self.feedback).filter(|_| is_finite);
        if let Some(published) = published {
            *self = Self { theta: published.theta, momentum, feedback: published.feedback };
            return Some(Stepped { delta: published.delta, moved: true });
        }
        // Not a delta of nothing at all: adding zero turns -0 into 0, for everybody alike.
        let stayed = publish(&self.theta, &self.theta, &[])?;
        self.theta = stayed.theta;
        Some(Stepped { delta: stayed.delta, moved: false })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::apply_delta;

    const OUTER: OuterStep = OuterStep::nesterov(0.7, 0.6);

    proptest! {
        #[test]
        fn a_copy_from_the_middle_ends_with_the_same_bits(
            first in vec(-2.0f32..2.0, 20), updates in vec(vec(-0.1f32..0.1, 20), 1..12), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(updates.len());
            let mut global = Global::new(first);
            let (mut stored, mut ids) = (global.clone(), Vec::new());
            for (index, update) in updates.iter().enumerate() {
                if index == at {
                    stored = global.clone();
                }
                let before = global.theta.clone();
                let stepped = global.step(update, OUTER).expect("finite");
                prop_assert!(stepped.moved);
                prop_assert_eq!(&apply_delta(&before, &stepped.delta, global.id()).expect("a good delta"), &global.theta);
                ids.push(global.id());
            }
            for (update, id) in updates[at..].iter().zip(&ids[at..]) {
                stored.step(update, OUTER).expect("finite");
                prop_assert_eq!(stored.id(), *id);
            }
            prop_assert_eq!(stored, global);
        }
    }

    #[test]
    fn a_step_that_is_not_finite_stays_where_it_was() {
        let mut global = Global::new(vec![3e38, -3e38, -0.0]);
        global.momentum = Some(vec![1.0; 3]);
        global.feedback = vec![0.5; 3];
        let before = global.clone();
        let stepped = global.step(&[3e38, 3e38, 0.0], OuterStep::nesterov(2.0, 0.5)).expect("a version");
        assert!(!stepped.moved);
        assert_eq!(global, before);
        assert_eq!(apply_delta(&before.theta, &stepped.delta, global.id()).expect("a delta"), global.theta);
    }

    #[test]
    fn what_is_not_finite_has_no_next_version() {
        let mut global = Global::new(vec![f32::NAN]);
        assert_eq!(global.step(&[0.0], OUTER), None);
    }
}
