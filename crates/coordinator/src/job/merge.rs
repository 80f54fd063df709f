//! Carries a merge out: reads the updates, merges, steps, stores the new version. Which updates and
//! with what weight was decided by the scheduler; it is told once everything is durable.

use std::sync::Arc;

use bytes::Bytes;
use potluck_protocol::{BlobId, OuterStep, UpdateEncoding, Version, limits};
use potluck_scheduler::{Contribution, Input, MergePart};
use potluck_update::{DecodeError, bytes_from_weights, decode, merge, outer_step, weights_from_bytes};

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
    /// The new parameters are not finite.
    #[error("{version} would hold NaN or infinity: the training has diverged; start anew with a smaller train.lr")]
    NotFinite {
        /// The version.
        version: Version,
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

/// What the scheduler asked for.
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
    pub(super) encoding: UpdateEncoding,
    pub(super) parameters: usize,
    /// Kept while a merge runs, so that the folder is not free before it is done.
    pub(super) _folder: Arc<Folder>,
}

/// Everything that the arithmetic needs.
struct Inputs {
    theta: Bytes,
    momentum: Option<Bytes>,
    updates: Vec<(f32, Bytes)>,
}

impl Bench {
    /// Makes the version. When it returns, its blobs are durable.
    pub(super) async fn carry_out(self, order: Order) -> Result<Input, MergeError> {
        let version = order.version;
        let blob = |error| MergeError::Blob { version, error };
        let inputs = self.read(&order).await.map_err(blob)?;
        let (encoding, parameters, outer) = (self.encoding, self.parameters, order.outer);
        let made = tokio::task::spawn_blocking(move || compute(inputs, encoding, parameters, outer));
        let made = made.await.map_err(|e| MergeError::Broken { version, reason: e.to_string() })?;
        let (theta, momentum) = made.map_err(|error| MergeError::Decode { version, error })?;
        if !theta.iter().all(|value| value.is_finite()) {
            return Err(MergeError::NotFinite { version });
        }
        let base = self.blobs.put(bytes_from_weights(&theta).into()).await.map_err(blob)?;
        let momentum = match momentum {
            Some(momentum) => Some(self.momenta.put(bytes_from_weights(&momentum).into()).await.map_err(blob)?),
            None => None,
        };
        let parts: Vec<Contribution> = order.parts.iter().map(|part| part.contribution).collect();
        Ok(Input::Merged { version, base, momentum, parts })
    }

    async fn read(&self, order: &Order) -> Result<Inputs, BlobError> {
        let theta = self.blobs.get(order.base, limits::BLOB_BYTES_MAX).await?;
        let momentum = match order.momentum {
            Some(id) => Some(self.momenta.get(id, limits::BLOB_BYTES_MAX).await?),
            None => None,
        };
        let mut updates = Vec::with_capacity(order.parts.len());
        for MergePart { contribution, update } in &order.parts {
            updates.push((contribution.weight, self.uploads.bytes(*update).await?));
        }
        Ok(Inputs { theta, momentum, updates })
    }
}

type Made = (Vec<f32>, Option<Vec<f32>>);

fn compute(inputs: Inputs, encoding: UpdateEncoding, count: usize, outer: OuterStep) -> Result<Made, DecodeError> {
    let Inputs { theta, momentum, updates } = inputs;
    let mut theta = weights_from_bytes(&theta, count)?;
    let mut momentum = momentum.map(|bytes| weights_from_bytes(&bytes, count)).transpose()?;
    let decoded = |(weight, bytes): (f32, Bytes)| Ok((weight, decode(encoding, count, &bytes)?));
    let parts: Vec<(f32, Vec<f32>)> = updates.into_iter().map(decoded).collect::<Result<_, DecodeError>>()?;
    outer_step(&mut theta, &mut momentum, &merge(&parts), outer);
    Ok((theta, momentum))
}
