//! Which coordinator leads a job. Every start of a coordinator is a new leader, and volunteers carry
//! its seal along, so that two copies of one job cannot both be believed.

use serde::{Deserialize, Serialize};

use crate::{LeaderId, SealProof};

/// A leader, as a welcome names it and the next hello repeats it. Only coordinators with the same
/// owner token can make or check the proof: to volunteers it is bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The first leader since the job was made or restored with a new epoch.
    pub line: LeaderId,
    /// Counts the starts of coordinators on this job.
    pub epoch: u64,
    /// The leader of that epoch.
    pub leader: LeaderId,
    /// A keyed hash over the three and the job.
    pub proof: SealProof,
}
