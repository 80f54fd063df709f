//! Carries a merge out: reads the updates, merges, steps, stores the new version. Which updates and
//! with what weight was decided by the scheduler; it is told once everything is durable.

use std::sync::Arc;

use bytes::Bytes;
use potluck_protocol::{BlobId, OuterStep, Version, limits};
use potluck_scheduler::{Contribution, Input, MergePart};
use potluck_update::{DecodeError, Scaled, bytes_from_weights, decode, merge_scaled, outer_step, weights_from_bytes};

use super::uploads::Uploads;
use crate::{
    blobs::{BlobError, Blobs},
    folder::Folder,
};

/// Why a merge cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum MergeError {
    /// Something cannot be read or written.
    #[error("{version} cannot be made: {error}")]
    Blob {
        /// The version.
        version: Version,
        /// Why.
        error: BlobError,
    },
    /// Stored bytes are not what they were when they were accepted.
    #[error("{version} cannot be made: {error}")]
    Decode {
        /// The version.
        version: Version,
        /// Why.
        error: DecodeError,
    },
    /// The merge itself broke.
    #[error("{version} cannot be made: {reason}")]
    Broken {
        /// The version.
        version: Version,
        /// Why.
        reason: String,
    },
}

impl MergeError {
    /// True where the disk takes nothing at the moment.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Blob { error: BlobError::DiskFull, .. })
    }
}

/// What the scheduler asked for.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) version: Version,
    pub(super) base: BlobId,
    pub(super) momentum: Option<BlobId>,
    pub(super) parts: Vec<MergePart>,
    pub(super) outer: OuterStep,
}

/// What a merge reads from and writes to.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) blobs: Blobs,
    pub(super) momenta: Blobs,
    pub(super) uploads: Arc<Uploads>,
    pub(super) parameters: usize,
    /// Kept while a merge runs, so that the folder is not free before it is done.
    pub(super) folder: Arc<Folder>,
}

/// Everything that the arithmetic needs.
struct Inputs {
    theta: Bytes,
    momentum: Option<Bytes>,
    /// Each with its bytes.
    updates: Vec<(MergePart, Bytes)>,
}

impl Bench {
    /// The right to delete, for as long as it is held.
    pub(super) fn may_delete(&self) -> Option<std::fs::File> {
        self.folder.may_delete()
    }

    /// Makes the version. When it returns, its blobs are durable. Where it would hold NaN or
    /// infinity it is the same as the one before: a job that goes on with what it has can still be
    /// trained, stopped and read, one without its next version cannot.
    pub(super) async fn carry_out(self, order: Order) -> Result<Input, MergeError> {
        let version = order.version;
        let blob = |error| MergeError::Blob { version, error };
        let inputs = self.read(&order).await.map_err(blob)?;
        let (parameters, outer) = (self.parameters, order.outer);
        let made = tokio::task::spawn_blocking(move || compute(inputs, parameters, outer));
        let made = made.await.map_err(|e| MergeError::Broken { version, reason: e.to_string() })?;
        let (theta, momentum) = made.map_err(|error| MergeError::Decode { version, error })?;
        let parts: Vec<Contribution> = order.parts.iter().map(|part| part.contribution).collect();
        if !theta.iter().chain(momentum.iter().flatten()).all(|value| value.is_finite()) {
            tracing::error!(
                "{version} would hold NaN or infinity and is left as the version before: the training diverges; \
                 a smaller train.lr may help"
            );
            return Ok(Input::Merged { version, base: order.base, momentum: order.momentum, parts, outer });
        }
        let base = self.blobs.put(bytes_from_weights(&theta).into()).await.map_err(blob)?;
        let momentum = match momentum {
            Some(momentum) => Some(self.momenta.put(bytes_from_weights(&momentum).into()).await.map_err(blob)?),
            None => None,
        };
        Ok(Input::Merged { version, base, momentum, parts, outer })
    }

    async fn read(&self, order: &Order) -> Result<Inputs, BlobError> {
        let theta = self.blobs.get(order.base, limits::BLOB_BYTES_MAX).await?;
        let momentum = match order.momentum {
            Some(id) => Some(self.momenta.get(id, limits::BLOB_BYTES_MAX).await?),
            None => None,
        };
        let mut updates = Vec::with_capacity(order.parts.len());
        for part in &order.parts {
            updates.push((*part, self.uploads.bytes(part.update, part.encoding).await?));
        }
        Ok(Inputs { theta, momentum, updates })
    }
}

type Made = (Vec<f32>, Option<Vec<f32>>);

fn compute(inputs: Inputs, count: usize, outer: OuterStep) -> Result<Made, DecodeError> {
    let Inputs { theta, momentum, updates } = inputs;
    let mut theta = weights_from_bytes(&theta, count)?;
    let mut momentum = momentum.map(|bytes| weights_from_bytes(&bytes, count)).transpose()?;
    let decoded = |(part, bytes): (MergePart, Bytes)| Ok((part, decode(part.encoding, count, &bytes)?));
    let parts: Vec<(MergePart, Vec<f32>)> = updates.into_iter().map(decoded).collect::<Result<_, DecodeError>>()?;
    let scaled = parts.iter().map(|(part, values)| (part.contribution.weight, part.scale, values));
    let parts: Vec<Scaled<'_>> = scaled.map(|(weight, scale, values)| Scaled { weight, scale, values }).collect();
    outer_step(&mut theta, &mut momentum, &merge_scaled(&parts), outer);
    Ok((theta, momentum))
}

#[cfg(test)]
mod tests {
    use potluck_protocol::{TaskId, UpdateEncoding};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::packs::Packs;

    #[tokio::test]
    async fn a_merge_that_is_not_finite_leaves_the_version_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = |name: &str| Blobs::in_folder(&folder.path().join(name)).expect("a store");
        let encoding = UpdateEncoding::Int8;
        let updates = Packs::in_folder(&folder.path().join("updates")).expect("packs");
        let uploads = Arc::new(Uploads::new(updates, 2));
        let bench = Bench {
            blobs: store("blobs"),
            momenta: store("momenta"),
            uploads: Arc::clone(&uploads),
            parameters: 2,
            folder: Arc::new(Folder::open(&folder.path().join("data")).expect("a folder")),
        };
        // Whichever way the step goes, one of the two overflows.
        let base = bench.blobs.put(bytes_from_weights(&[3e38, -3e38]).into()).await.expect("stored");
        let bytes = Bytes::from(potluck_update::encode(encoding, &[3e38, 3e38]));
        let facts =
            uploads.facts((BlobId::of(&bytes), encoding), bytes.clone(), &Semaphore::new(1)).await.expect("decoded");
        uploads.keep(TaskId(1), facts, bytes).await.expect("kept");
        let contribution = Contribution { task: TaskId(1), weight: 1.0 };
        let outer = OuterStep { lr: 1.0, momentum: 0.5 };
        let order = Order {
            version: Version(1),
            base,
            momentum: None,
            parts: vec![MergePart { contribution, scale: 1.0, update: facts.id, encoding }],
            outer,
        };
        let merged = bench.carry_out(order).await.expect("merged");
        let expected = Input::Merged { version: Version(1), base, momentum: None, parts: vec![contribution], outer };
        assert_eq!(merged, expected);
    }
}
