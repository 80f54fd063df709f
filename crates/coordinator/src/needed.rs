//! Whether everything that a job's state needs is in its stores, whole. Which blobs these are is
//! said by the scheduler's state and by nothing else.

use std::collections::BTreeSet;

use bytes::Bytes;
use potluck_protocol::{BlobId, JobName, limits};
use potluck_scheduler::State;

use crate::{blobs::BlobError, stores::Stores};

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Every byte.
    Everything,
    /// Blocks of data up to [`limits::START_CHECK_BYTES_MAX`]; of the others, that they are there. They
    /// are checked when they are read.
    Start,
}

/// Looks at every blob that the state needs.
///
/// # Errors
///
/// The first that is missing or damaged.
pub(crate) async fn check(stores: &Stores, job: &JobName, state: &State, depth: Depth) -> Result<(), BlobError> {
    let needed = state.retained();
    let dataset = state.job().map(|job| &job.dataset);
    let blocks = dataset.into_iter().flat_map(|data| data.train.iter().chain(&data.valid).chain(&data.test));
    let blocks: BTreeSet<BlobId> = blocks.map(|&(id, _)| id).collect();
    // An id is of one of three kinds, and the state does not say of which.
    let (updates, momenta) = (stores.updates_of(job)?, stores.momenta_of(job)?);
    for &id in needed.difference(&blocks) {
        let max = limits::BLOB_BYTES_MAX;
        either([stores.blobs.get(id, max).await, updates.get(id, max).await, momenta.get(id, max).await])?;
    }
    let mut left = limits::START_CHECK_BYTES_MAX;
    for id in needed.intersection(&blocks) {
        if depth == Depth::Everything || left > 0 {
            left = left.saturating_sub(stores.blobs.get(*id, limits::BLOCK_BYTES_MAX).await?.len() as u64);
        } else if !stores.blobs.has(*id).await? {
            return Err(BlobError::Missing { id: *id });
        }
    }
    Ok(())
}

/// What one of the stores has; else the error of the one that had it.
fn either(found: [Result<Bytes, BlobError>; 3]) -> Result<(), BlobError> {
    if found.iter().any(Result::is_ok) {
        return Ok(());
    }
    let is_missing = |error: &BlobError| matches!(error, BlobError::Missing { .. });
    let (missing, others): (Vec<_>, Vec<_>) = found.into_iter().filter_map(Result::err).partition(is_missing);
    others.into_iter().chain(missing).next().map_or(Ok(()), Err)
}
