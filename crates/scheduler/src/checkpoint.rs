//! How the parameters of a version are had again: the last checkpoint, the merges since, and the
//! deltas that lie between a version and the stored one before it. Knows ids, never bytes.

use potluck_protocol::{BlobId, OuterStep, TaskId, Version};
use serde::{Deserialize, Serialize};

use crate::MergePart;

/// The newest version whose parameters, outer momentum and feedback are blobs. What came after it is
/// made again from the updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which version.
    pub version: Version,
    /// Outer momentum after it; `None` for zeros.
    pub momentum: Option<BlobId>,
    /// What its delta could not hold; `None` for zeros.
    pub feedback: Option<BlobId>,
}

/// A merge since the checkpoint: what has to be done again, and in which order, to have its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// The version that it made.
    pub version: Version,
    /// Its updates, in merge order.
    pub parts: Vec<MergePart>,
    /// The outer step.
    pub outer: OuterStep,
}

impl Fold {
    /// Its tasks, each with its update.
    pub(crate) fn updates(&self) -> impl Iterator<Item = (TaskId, BlobId)> {
        self.parts.iter().map(|part| (part.contribution.task, part.update))
    }
}

/// How a version's parameters are made from blobs: these parameters, then these deltas in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Parameters that are stored whole.
    pub from: BlobId,
    /// Deltas on top of them; none where the version itself is stored.
    pub deltas: Vec<BlobId>,
}

impl Making {
    /// Every blob that it takes.
    pub fn blobs(self) -> impl Iterator<Item = BlobId> {
        std::iter::once(self.from).chain(self.deltas)
    }
}
