//! What the API shows of a job, as JSON. Kept apart from the scheduler's types, so that neither
//! can change the other by accident.

use std::collections::BTreeMap;

use potluck_protocol::{
    Backend, BlobId, Difference, JobCard, LeaderId, Millis, ProgramFacts, Recipe, StrategyName, TaskId, UpdateEncoding,
    Version, VolunteerKey,
};
use serde::Serialize;

/// `GET jobs/{job}`, and the `job` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct JobView {
    pub(crate) card: JobCard,
    pub(crate) phase: Phase,
    /// Why it is paused, where its owner did not pause it.
    pub(crate) blocked: Option<&'static str>,
    /// The newest version.
    pub(crate) version: Version,
    /// Samples merged.
    pub(crate) samples: u64,
    pub(crate) budget_samples: u64,
    /// Connected volunteers, the coordinator's own worker left out.
    pub(crate) volunteers: usize,
    /// The newest of each split.
    pub(crate) accuracy: SplitPair,
    /// The newest of each split.
    pub(crate) loss: SplitPair,
    /// Where the model can be fetched.
    pub(crate) model: String,
    /// As it is now.
    pub(crate) recipe: Recipe,
    /// How its work is paced: by what its job file names, and as it is now.
    pub(crate) strategy: StrategyName,
    pub(crate) mode: Pace,
    /// What the owner changed of the recipe under way: the newest changes, the last one last.
    pub(crate) changes: Vec<ChangeRow>,
    pub(crate) program: ProgramFacts,
    /// Everybody who is connected, the coordinator's own worker included.
    pub(crate) connected: Vec<Connected>,
    /// What was refused since the coordinator's start, by the name of its code: results, their updates
    /// and messages.
    pub(crate) refused: BTreeMap<String, u64>,
    /// When the job was made.
    pub(crate) started_at: Millis,
    /// The end of the log of facts.
    pub(crate) log: LogView,
}

/// A change of the recipe under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeRow {
    pub(crate) at: Millis,
    /// The version at that moment.
    pub(crate) version: Version,
    /// Samples merged at that moment.
    pub(crate) samples: u64,
    pub(crate) differences: Vec<Difference>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running,
    Paused,
    Finished,
}

/// How a job's work is paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    Rounds,
    Buffered,
}

/// A number for each split that is evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct SplitPair {
    pub(crate) valid: Option<f32>,
    pub(crate) test: Option<f32>,
}

/// Somebody who is connected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Connected {
    pub(crate) key: VolunteerKey,
    pub(crate) agent: Option<String>,
    pub(crate) adapter: Option<String>,
    pub(crate) backend: Option<Backend>,
    pub(crate) forced: bool,
    pub(crate) trusted: bool,
    /// Samples a second.
    pub(crate) speed: Option<f32>,
}

/// The end of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LogView {
    /// Facts so far.
    pub(crate) facts: u64,
    /// Hash over all of them.
    pub(crate) head: String,
    /// Counts the starts of coordinators on this job.
    pub(crate) epoch: u64,
    /// The first leader since the job was made or restored: copies of a job are told apart by it.
    pub(crate) line: Option<LeaderId>,
    /// The coordinator that leads it now.
    pub(crate) leader: Option<LeaderId>,
}

/// A row of `.../history`, and the `version` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct VersionRow {
    pub(crate) version: Version,
    pub(crate) at: Millis,
    /// Samples merged up to it.
    pub(crate) samples: u64,
    /// On `valid`.
    pub(crate) loss: Option<f32>,
    /// On `valid`.
    pub(crate) accuracy: Option<f32>,
    pub(crate) test_loss: Option<f32>,
    pub(crate) test_accuracy: Option<f32>,
    /// Updates that went into it.
    pub(crate) contributions: u32,
    /// Its parameters' blob.
    pub(crate) base: BlobId,
}

/// A row of `.../contributions`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ContributionRow {
    pub(crate) volunteer: VolunteerKey,
    pub(crate) agent: Option<String>,
    pub(crate) adapter: Option<String>,
    pub(crate) backend: Option<Backend>,
    pub(crate) tasks: u64,
    pub(crate) samples: u64,
    pub(crate) flops: u64,
    pub(crate) first_at: Millis,
    pub(crate) last_at: Millis,
}

/// A page of `.../history`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HistoryPage {
    pub(crate) versions: Vec<VersionRow>,
    /// Give it back as `?cursor=` for the rows that follow; `null` at the end.
    pub(crate) cursor: Option<u64>,
}

/// A page of `.../contributions`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ContributionsPage {
    pub(crate) contributions: Vec<ContributionRow>,
    /// Give it back as `?cursor=` for the rows that follow; `null` at the end.
    pub(crate) cursor: Option<VolunteerKey>,
}

/// A row of `GET jobs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct JobRow {
    pub(crate) name: potluck_protocol::JobName,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) phase: Phase,
    pub(crate) version: Version,
    pub(crate) samples: u64,
    pub(crate) budget_samples: u64,
    pub(crate) volunteers: usize,
}

/// What an upload has to know of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseView {
    pub(crate) task: TaskId,
    pub(crate) volunteer: VolunteerKey,
    pub(crate) trains: bool,
    /// After this wall-clock time its result is refused.
    pub(crate) expiry_at: Millis,
    /// The update that was accepted for it already.
    pub(crate) accepted: Option<BlobId>,
    /// How its update is encoded.
    pub(crate) encoding: UpdateEncoding,
}
