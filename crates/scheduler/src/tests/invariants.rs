//! What must hold of every log, checked fact by fact without looking at the state.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{Millis, OuterStep, Recipe, Split, TaskId, TaskKind, Version, VolunteerKey, limits};

use super::fixture::BLOCK_SAMPLES;
use crate::{BlockRef, Contribution, Fact, Mode, Tally};

struct Lease {
    volunteer: VolunteerKey,
    kind: TaskKind,
    blocks: Vec<BlockRef>,
    base_version: Version,
    steps: u32,
    batch: u32,
    expiry_at: Millis,
    /// Out: neither lapsed nor handed in.
    is_live: bool,
    is_released: bool,
}

struct Accepted {
    is_late: bool,
    samples: u64,
    is_merged: bool,
}

/// A second opinion on a log.
pub(super) struct Auditor {
    pub(super) recipe: Recipe,
    mode: Mode,
    /// True where the recipe had no outer momentum at some moment since the last commit.
    was_plain: bool,
    train_blocks: u32,
    trusted: BTreeSet<VolunteerKey>,
    leases: BTreeMap<TaskId, Lease>,
    accepted: BTreeMap<TaskId, Accepted>,
    handed_out: BTreeSet<BlockRef>,
    /// Blocks of live leases.
    live: BTreeMap<BlockRef, TaskId>,
    /// Blocks whose result is in, merged or waiting.
    claimed: BTreeSet<BlockRef>,
    merged: BTreeSet<BlockRef>,
    pub(super) samples: u64,
    version: Version,
    evaluated: BTreeSet<(Version, bool)>,
    is_paused: bool,
    pub(super) is_stopped: bool,
    pub(super) finished: Option<Version>,
    pub(super) tallies: BTreeMap<VolunteerKey, Tally>,
}

impl Auditor {
    pub(super) fn new(recipe: Recipe, mode: Mode, train_blocks: u32, trusted: BTreeSet<VolunteerKey>) -> Self {
        Self {
            recipe,
            mode,
            was_plain: false,
            train_blocks,
            trusted,
            leases: BTreeMap::new(),
            accepted: BTreeMap::new(),
            handed_out: BTreeSet::new(),
            live: BTreeMap::new(),
            claimed: BTreeSet::new(),
            merged: BTreeSet::new(),
            samples: 0,
            version: Version(0),
            evaluated: BTreeSet::new(),
            is_paused: false,
            is_stopped: false,
            finished: None,
            tallies: BTreeMap::new(),
        }
    }

    pub(super) fn accepted_count(&self) -> usize {
        self.accepted.len()
    }

    /// Training blocks that are out, in but not merged, and merged.
    pub(super) fn whereabouts(&self) -> (usize, usize, usize) {
        (self.live.len(), self.claimed.len() - self.merged.len(), self.merged.len())
    }

    pub(super) fn observe(&mut self, fact: &Fact) {
        let json = serde_json::to_string(fact).unwrap();
        assert_eq!(&serde_json::from_str::<Fact>(&json).unwrap(), fact, "a fact must survive the log");
        match fact {
            Fact::JobCreated { .. } => panic!("a job is created once"),
            Fact::TaskLeased { .. } => self.leased(fact),
            Fact::TaskLapsed { task, released, .. } => self.lapsed(*task, *released),
            Fact::ResultAccepted { .. } => self.result(fact),
            Fact::Committed { version, parts, outer, .. } => self.committed(*version, parts, *outer),
            Fact::ModeChanged { mode, .. } => {
                assert_ne!(std::mem::replace(&mut self.mode, *mode), *mode, "a change changes something");
            }
            Fact::Evaluated { task, version, split, .. } => {
                self.end_lease(*task);
                assert!(self.evaluated.insert((*version, *split == Split::Test)), "{version} {split:?} twice");
            }
            Fact::Began { .. } | Fact::Deposed { .. } | Fact::Checkpointed { .. } => {}
            Fact::Paused { .. } => {
                assert!(!std::mem::replace(&mut self.is_paused, true) && self.finished.is_none());
            }
            Fact::Resumed { .. } => assert!(std::mem::replace(&mut self.is_paused, false)),
            Fact::Stopped { .. } => {
                assert!(!std::mem::replace(&mut self.is_stopped, true) && self.finished.is_none());
                self.is_paused = false;
            }
            Fact::RecipeChanged { recipe, .. } => self.changed(recipe),
            Fact::Finished { version, .. } => self.finish(*version),
        }
    }

    fn leased(&mut self, fact: &Fact) {
        let Fact::TaskLeased {
            at,
            task,
            kind,
            volunteer,
            blocks,
            base_version,
            steps,
            batch,
            lr_start,
            lr_end,
            deadline_at,
            expiry_at,
            ..
        } = fact
        else {
            unreachable!()
        };
        assert_eq!(task.0, self.leases.len() as u64 + 1, "tasks are counted");
        assert!(!blocks.is_empty() && blocks.len() <= limits::TASK_BLOCKS_MAX);
        assert!(at < deadline_at && deadline_at < expiry_at && self.finished.is_none());
        let is_training = *kind == TaskKind::Train;
        assert_ne!(self.trusted.contains(volunteer), is_training, "trusted sessions evaluate, and nobody else");
        if is_training {
            assert!(!self.is_paused && !self.is_stopped && self.samples < self.recipe.budget_samples);
            assert_eq!(*base_version, self.version);
            assert!((limits::TASK_STEPS_MIN..=self.recipe.steps).contains(steps));
            self.size((*steps, *batch), blocks);
            assert!(*lr_start <= self.recipe.lr && lr_end <= lr_start && *lr_end > 0.0);
            self.training_lease(*task, *volunteer, blocks);
        } else {
            assert_eq!((*steps, *batch), (0, self.recipe.batch));
        }
        let lease = Lease {
            volunteer: *volunteer,
            kind: *kind,
            blocks: blocks.clone(),
            base_version: *base_version,
            steps: *steps,
            batch: *batch,
            expiry_at: *expiry_at,
            is_live: true,
            is_released: false,
        };
        self.leases.insert(*task, lease);
    }

    /// A batch is the recipe's or one of three smaller ones, steps are fewer with the smallest alone, and
    /// no task leaves a part of its blocks out, or takes more than an eighth of its samples twice, where
    /// a whole one would not. A copy of somebody's work is as large as that, as far as the recipe lets it
    /// by now.
    fn size(&self, (steps, batch): (u32, u32), blocks: &[BlockRef]) {
        let Recipe { steps: steps_max, batch: batch_max, .. } = self.recipe;
        let original = self.live.get(&blocks[0]).map(|task| &self.leases[task]).filter(|lease| lease.blocks == blocks);
        if let Some(lease) = original {
            return assert_eq!((steps, batch), (lease.steps.min(steps_max), lease.batch.min(batch_max)), "a copy");
        }
        let rungs = [1, 2, 4, 8].map(|divisor| (batch_max / divisor).max(1));
        assert!(rungs.contains(&batch), "{batch} is no rung of {batch_max}");
        let (samples, whole) = (steps * batch, steps_max * batch_max);
        let of_blocks = BLOCK_SAMPLES * blocks.len() as u32;
        assert!(of_blocks <= samples || of_blocks > whole, "{of_blocks} in {samples}");
        let repeats = |samples: u32| samples % BLOCK_SAMPLES * 8 > samples;
        assert!(!repeats(samples) || repeats(whole), "{samples} of blocks of {BLOCK_SAMPLES}");
        let may = |rung: u32| steps_max * rung >= BLOCK_SAMPLES && (!repeats(steps_max * rung) || repeats(whole));
        let is_smallest = !rungs.iter().any(|&rung| rung < batch && may(rung));
        assert!(steps == steps_max || is_smallest, "{steps} of {steps_max} steps of {batch}");
    }

    fn training_lease(&mut self, task: TaskId, volunteer: VolunteerKey, blocks: &[BlockRef]) {
        let mut of_volunteer = self.leases.values().filter(|l| l.is_live && l.volunteer == volunteer);
        assert!(of_volunteer.clone().count() < limits::LEASES_PER_VOLUNTEER_MAX);
        let is_barrier = self.mode == Mode::Barrier;
        assert!(!is_barrier || of_volunteer.all(|l| l.base_version != self.version), "one task of a round at a time");
        for &block in blocks {
            let before = self.live.insert(block, task);
            assert!(
                before.is_none_or(|task| self.leases[&task].volunteer != volunteer),
                "{block:?} is out twice with one volunteer"
            );
            assert!(!self.claimed.contains(&block), "{block:?} is in already");
            let before = block.epoch.checked_sub(1);
            let is_in_order =
                |epoch| (0..self.train_blocks).all(|i| self.handed_out.contains(&BlockRef { epoch, index: i }));
            assert!(before.is_none_or(is_in_order), "epochs follow each other");
            self.handed_out.insert(block);
        }
    }

    fn end_lease(&mut self, task: TaskId) {
        let lease = self.leases.get_mut(&task).expect("only what was leased ends");
        if std::mem::replace(&mut lease.is_live, false) && lease.kind == TaskKind::Train {
            for block in &lease.blocks {
                // A result after the deadline takes the block from whoever has it by then.
                if self.live.get(block) == Some(&task) {
                    self.live.remove(block);
                }
            }
        }
    }

    fn lapsed(&mut self, task: TaskId, released: bool) {
        assert!(!self.accepted.contains_key(&task));
        assert!(released || self.leases[&task].is_live, "a lease lapses once");
        self.end_lease(task);
        let lease = self.leases.get_mut(&task).expect("checked above");
        assert!(!std::mem::replace(&mut lease.is_released, released), "a released lease stays so");
    }

    fn result(&mut self, fact: &Fact) {
        let Fact::ResultAccepted { at, task, steps, samples, norm, train_loss, late, .. } = fact else {
            unreachable!()
        };
        self.end_lease(*task);
        let lease = &self.leases[task];
        assert!(!lease.is_released && *at <= lease.expiry_at && lease.kind == TaskKind::Train);
        assert!((limits::TASK_STEPS_MIN..=lease.steps).contains(steps));
        assert_eq!(*samples, u64::from(*steps) * u64::from(lease.batch));
        assert!(norm.is_finite() && train_loss.is_finite());
        if !late {
            for block in &lease.blocks {
                assert!(self.claimed.insert(*block), "{block:?} would be merged twice");
                self.live.remove(block);
            }
        }
        let tally = self.tallies.entry(lease.volunteer).or_insert(Tally { first_at: *at, ..Tally::default() });
        tally.tasks += 1;
        tally.samples += samples;
        tally.flops += samples * 60;
        tally.last_at = *at;
        let accepted = Accepted { is_late: *late, samples: *samples, is_merged: false };
        assert!(self.accepted.insert(*task, accepted).is_none(), "a task is credited once");
    }

    fn committed(&mut self, version: Version, parts: &[Contribution], outer: Option<OuterStep>) {
        assert_eq!(version, self.version.next());
        let is_stale = parts.iter().any(|part| self.leases[&part.task].base_version != self.version);
        let has_momentum = outer.is_some_and(|outer| outer.momentum > 0.0);
        let volunteers: BTreeSet<VolunteerKey> = parts.iter().map(|part| self.leases[&part.task].volunteer).collect();
        let is_buffer = self.mode == Mode::Buffered;
        let may = if is_buffer { volunteers.len() > 1 } else { !is_stale };
        assert!(may || !has_momentum, "momentum needs a barrier, or several and a lead");
        assert!(!may || has_momentum || self.was_plain, "both have momentum");
        let is_led = outer.is_some_and(|outer| outer.lead.is_some());
        assert!(!is_led || is_buffer || volunteers.len() == 1, "rounds of several lead nothing");
        self.was_plain = self.recipe.outer.momentum == 0.0;
        assert!(self.finished.is_none() && !parts.is_empty());
        let mut shares: BTreeMap<VolunteerKey, f64> = BTreeMap::new();
        for part in parts {
            let accepted = self.accepted.get_mut(&part.task).expect("only what was accepted is merged");
            assert!(!accepted.is_late && !std::mem::replace(&mut accepted.is_merged, true));
            self.samples += accepted.samples;
            let lease = &self.leases[&part.task];
            assert!(self.version.0 - lease.base_version.0 <= limits::STALENESS_MAX);
            *shares.entry(lease.volunteer).or_default() += f64::from(part.weight);
            for block in &lease.blocks {
                assert!(self.merged.insert(*block), "{block:?} is merged twice");
            }
        }
        let cap = (2.0 / shares.len() as f64).clamp(0.2, 1.0) + 1e-5;
        assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-5 && shares.values().all(|&s| s > 0.0 && s <= cap));
        self.version = version;
    }

    fn changed(&mut self, recipe: &Recipe) {
        assert!(*recipe != self.recipe && recipe.owner_problem().is_none());
        let goal = |recipe: &Recipe| (recipe.budget_samples, recipe.target_accuracy);
        if goal(recipe) != goal(&self.recipe) {
            (self.finished, self.is_stopped) = (None, false);
        }
        assert!(self.finished.is_none(), "only another goal changes anything of a finished job");
        self.was_plain |= recipe.outer.momentum == 0.0;
        self.recipe = recipe.clone();
    }

    fn finish(&mut self, version: Version) {
        assert_eq!((self.finished.replace(version), version), (None, self.version));
        assert!([false, true].iter().all(|&test| self.evaluated.contains(&(version, test))));
        assert!(self.accepted.values().all(|a| a.is_late || a.is_merged), "what was accepted is merged");
    }
}
