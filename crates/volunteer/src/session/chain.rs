//! From a version that is held to the one that is needed, by deltas. What cannot be followed is no
//! reason to give anything back: the version is fetched whole then.
//!
//! It must not know what the version is for.

use potluck_protocol::{BlobId, DeltaStep, limits};
use potluck_update::{advance, apply_delta, bytes_from_weights, weights_from_bytes};

use crate::cache::Blob;

/// Steps to follow, newest first.
#[derive(Debug)]
pub(super) struct Chain {
    steps: Vec<DeltaStep>,
    /// Where they lead.
    to: BlobId,
    parameters: usize,
}

impl Chain {
    /// The shortest way to `to` from a version that is held. None where `to` itself is, and never more
    /// steps than are worth it, whatever a coordinator says.
    pub(super) fn new(
        to: BlobId,
        steps: &[DeltaStep],
        parameters: u64,
        holds: impl Fn(BlobId) -> bool,
    ) -> Option<Self> {
        if holds(to) {
            return None;
        }
        let held = steps.iter().take(limits::DELTAS_MAX).position(|step| holds(step.from))?;
        let parameters = usize::try_from(parameters).ok()?;
        Some(Self { steps: steps[..=held].to_vec(), to, parameters })
    }

    /// The blobs that it takes, none longer than its bound: the version that is held, and the deltas.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (BlobId, usize)> {
        let held = self.steps.last().map(|step| (step.from, 4 * self.parameters));
        let bytes = potluck_update::delta_len(self.parameters);
        self.steps.iter().map(move |step| (step.delta, bytes)).chain(held)
    }

    pub(super) fn to(&self) -> BlobId {
        self.to
    }

    /// Bytes of the version where they lead.
    pub(super) fn bytes(&self) -> usize {
        4 * self.parameters
    }

    /// The version where it leads; `None` where a blob is missing or they lead elsewhere.
    pub(super) fn follow(&self, blob: impl Fn(BlobId) -> Option<Blob>) -> Option<Vec<u8>> {
        let (newest, before) = self.steps.split_first()?;
        let held = blob(self.steps.last()?.from)?;
        let mut theta = weights_from_bytes(&held, self.parameters).ok()?;
        for step in before.iter().rev() {
            theta = advance(&theta, &blob(step.delta)?).ok()?;
        }
        let theta = apply_delta(&theta, &blob(newest.delta)?, self.to).ok()?;
        Some(bytes_from_weights(&theta))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use potluck_update::publish;
    use proptest::prelude::*;

    use super::*;

    /// Versions from 0 on, their steps newest first, and all blobs.
    fn versions(count: u8) -> (Vec<BlobId>, Vec<DeltaStep>, BTreeMap<BlobId, Blob>) {
        let (mut theta, mut feedback) = (vec![1.0, -2.0, 0.5], Vec::new());
        let (mut ids, mut steps, mut blobs) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut keep = |bytes: Vec<u8>| {
            let id = BlobId::of(&bytes);
            blobs.insert(id, Arc::new(bytes));
            id
        };
        ids.push(keep(bytes_from_weights(&theta)));
        for n in 0..count {
            let target: Vec<f32> = theta.iter().map(|value| value + 0.1 * f32::from(n + 1)).collect();
            let published = publish(&theta, &target, &feedback).expect("finite");
            (theta, feedback) = (published.theta, published.feedback);
            let from = ids[usize::from(n)];
            steps.insert(0, DeltaStep { from, delta: keep(published.delta) });
            ids.push(keep(bytes_from_weights(&theta)));
        }
        (ids, steps, blobs)
    }

    proptest! {
        #[test]
        fn leads_from_whatever_is_held(count in 1u8..6, held in 0usize..6) {
            let (ids, steps, blobs) = versions(count);
            let to = ids[usize::from(count)];
            let held = ids.get(held).copied();
            let chain = Chain::new(to, &steps, 3, |id| Some(id) == held);
            let back = held.and_then(|held| ids.iter().rev().position(|id| *id == held));
            prop_assert_eq!(chain.is_some(), back.is_some_and(|back| (1..=limits::DELTAS_MAX).contains(&back)));
            if let Some(chain) = chain {
                prop_assert_eq!(chain.blobs().count(), back.unwrap_or(0) + 1);
                let made = chain.follow(|id| blobs.get(&id).cloned()).expect("leads there");
                prop_assert_eq!(BlobId::of(&made), to);
            }
        }

        #[test]
        fn damage_leads_nowhere_and_never_panics(at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
            let (ids, steps, mut blobs) = versions(2);
            let chain = Chain::new(ids[2], &steps, 3, |id| id == ids[0]).expect("held");
            let mut bytes = blobs[&steps[1].delta].to_vec();
            bytes.truncate(cut.index(bytes.len()));
            blobs.insert(steps[1].delta, Arc::new(bytes));
            prop_assert_eq!(chain.follow(|id| blobs.get(&id).cloned()), None);
            // Another base of the right size.
            let (_, _, mut blobs) = versions(2);
            let mut other = blobs[&ids[0]].to_vec();
            let bit = at.index(8 * other.len());
            other[bit / 8] ^= 1 << (bit % 8);
            blobs.insert(ids[0], Arc::new(other));
            // A change below the last bit of the sum may be rounded away; then it is the same version.
            let made = chain.follow(|id| blobs.get(&id).cloned());
            prop_assert!(made.is_none_or(|made| BlobId::of(&made) == ids[2]));
        }
    }
}
