//! Who was leased what, until when, and what became of it. Knows nothing of blocks' fates or of who
//! is connected.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{BlobId, Millis, Split, TaskId, TaskKind, Version, VolunteerKey, limits};
use serde::{Deserialize, Serialize};

use crate::{BlockRef, RecipeNumber};

/// A task that is out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leased {
    /// Train or evaluate.
    pub kind: TaskKind,
    /// With whom.
    pub volunteer: VolunteerKey,
    /// Its blocks, in order.
    pub blocks: Vec<BlockRef>,
    /// The version it starts from.
    pub base_version: Version,
    /// The recipe that it was leased with.
    pub recipe: RecipeNumber,
    /// Optimizer steps; 0 for an evaluation.
    pub steps: u32,
    /// Samples a step.
    pub batch: u32,
    /// Mean of the learning rates at its start and end.
    #[serde(serialize_with = "potluck_protocol::exact::float")]
    pub lr: f32,
    /// When it was leased.
    pub leased_at: Millis,
    /// After this its blocks may be leased again.
    pub deadline_at: Millis,
    /// After this its result is refused.
    pub expiry_at: Millis,
}

impl Leased {
    /// True for a training task.
    pub fn trains(&self) -> bool {
        self.kind == TaskKind::Train
    }

    /// The split that it evaluates; `None` for a training task.
    pub fn evaluates(&self) -> Option<Split> {
        if let TaskKind::Evaluate { split } = self.kind { Some(split) } else { None }
    }

    /// Samples that the whole task trains on; 0 for an evaluation.
    pub fn samples(&self) -> u64 {
        u64::from(self.steps) * u64::from(self.batch)
    }
}

/// A result that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedIn {
    /// By whom.
    pub volunteer: VolunteerKey,
    /// The update; `None` for an evaluation.
    pub update: Option<BlobId>,
    /// The recipe that it was leased with.
    pub recipe: RecipeNumber,
    /// Steps done.
    pub steps: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leases {
    /// The newest task's number.
    last: u64,
    open: BTreeMap<TaskId, Leased>,
    /// Open ones by volunteer.
    by_volunteer: BTreeMap<VolunteerKey, BTreeSet<TaskId>>,
    /// Those whose blocks are free but whose results may still count.
    lapsed: BTreeMap<TaskId, Leased>,
    handed_in: BTreeMap<TaskId, HandedIn>,
}

impl Leases {
    pub(crate) fn grant(&mut self, task: TaskId, leased: Leased) {
        self.last = self.last.max(task.0);
        self.by_volunteer.entry(leased.volunteer).or_default().insert(task);
        self.open.insert(task, leased);
    }

    /// Ends an open lease; its result may still count. Returns the lease whose blocks are free now.
    pub(crate) fn lapse(&mut self, task: TaskId) -> Option<&Leased> {
        let leased = self.take_open(task)?;
        Some(self.lapsed.entry(task).or_insert(leased))
    }

    /// Ends a lease for good, open or lapsed.
    pub(crate) fn take(&mut self, task: TaskId) -> Option<Leased> {
        self.take_open(task).or_else(|| self.lapsed.remove(&task))
    }

    fn take_open(&mut self, task: TaskId) -> Option<Leased> {
        let leased = self.open.remove(&task)?;
        if let Some(tasks) = self.by_volunteer.get_mut(&leased.volunteer) {
            tasks.remove(&task);
            if tasks.is_empty() {
                self.by_volunteer.remove(&leased.volunteer);
            }
        }
        Some(leased)
    }

    /// Remembers what was accepted, the oldest forgotten first.
    pub(crate) fn hand_in(&mut self, task: TaskId, handed_in: HandedIn) {
        self.handed_in.insert(task, handed_in);
        if self.handed_in.len() > limits::CLOSED_TASKS_MAX {
            self.handed_in.pop_first();
        }
    }

    /// Forgets lapsed leases whose results are refused anyway.
    pub(crate) fn forget_expired(&mut self, at: Millis) {
        self.lapsed.retain(|_, leased| leased.expiry_at >= at);
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = (TaskId, &Leased)> {
        self.open.iter().map(|(&task, leased)| (task, leased))
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Open, or lapsed and not forgotten.
    pub(crate) fn get(&self, task: TaskId) -> Option<&Leased> {
        self.open.get(&task).or_else(|| self.lapsed.get(&task))
    }

    pub(crate) fn handed_in(&self, task: TaskId) -> Option<&HandedIn> {
        self.handed_in.get(&task)
    }

    /// The open leases of one volunteer.
    pub(crate) fn of(&self, volunteer: &VolunteerKey) -> impl Iterator<Item = (TaskId, &Leased)> {
        let tasks = self.by_volunteer.get(volunteer).into_iter().flatten();
        tasks.filter_map(|task| Some((*task, self.open.get(task)?)))
    }
}
