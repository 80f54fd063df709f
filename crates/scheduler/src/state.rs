//! What is true of a job: a fold over its facts. Knows nothing of connections, of time that passes,
//! or of why a fact was decided. The same facts give the same state on every machine.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{
    BlobId, DeltaStep, Evaluation, Millis, OuterStep, Recipe, Split, TaskId, UpdateEncoding, Version, VolunteerKey,
    limits,
};
use serde::{Deserialize, Serialize};

use crate::blocks::Blocks;
use crate::evaluations::Evaluations;
use crate::ladder::Work;
use crate::leases::Leases;
use crate::norms::{Norms, are_alike};
use crate::pacing::Pacing;
use crate::{
    BlockRef, Checkpoint, Contribution, Dataset, Fact, Fold, HandedIn, Job, Leased, Lineage, Making, MergePart, Mode,
    Phase, RecipeNumber, RecipeRecord, Tally, VersionRecord, named, round,
};

/// An accepted update that waits for its commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pending {
    pub(crate) volunteer: VolunteerKey,
    pub(crate) base_version: Version,
    pub(crate) blocks: Vec<BlockRef>,
    pub(crate) samples: u64,
    /// Steps done x mean learning rate, which its norm is expected to grow with.
    #[serde(serialize_with = "potluck_protocol::exact::float")]
    pub(crate) scale: f32,
    pub(crate) update: BlobId,
    pub(crate) encoding: UpdateEncoding,
    pub(crate) at: Millis,
}

/// Everything durable of one job. Empty before [`Fact::JobCreated`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    job: Option<Job>,
    /// Every recipe so far, the current one last.
    recipes: Vec<RecipeRecord>,
    /// Of the training split.
    blocks: Blocks,
    leases: Leases,
    pending: BTreeMap<TaskId, Pending>,
    norms: Norms,
    evaluations: Evaluations,
    tallies: BTreeMap<VolunteerKey, Tally>,
    history: BTreeMap<Version, VersionRecord>,
    version: Version,
    checkpoint: Checkpoint,
    /// The merges since, oldest first.
    folds: Vec<Fold>,
    pacing: Pacing,
    /// Samples merged.
    samples: u64,
    paused: bool,
    /// When the budget, the target or a stop was reached.
    finishing_at: Option<Millis>,
    finished: Option<Version>,
    lineage: Lineage,
    /// The latest time in any fact.
    newest_at: Millis,
}

impl State {
    /// One more fact. Facts come from a log that [`crate::decide`] wrote; one that does not fit what
    /// came before it changes nothing.
    pub fn apply(&mut self, fact: &Fact) {
        self.newest_at = self.newest_at.max(fact.at());
        match fact {
            Fact::JobCreated { at, job, seed, program, facts, recipe, strategy, dataset, base } => {
                let job = Job {
                    created_at: *at,
                    name: job.clone(),
                    seed: *seed,
                    program: *program,
                    facts: *facts,
                    recipe: recipe.clone(),
                    strategy: *strategy,
                    dataset: dataset.clone(),
                };
                self.create(job, *base);
            }
            Fact::TaskLeased {
                at,
                task,
                kind,
                volunteer,
                blocks,
                base_version,
                seed: _,
                steps,
                batch,
                lr_start,
                lr_end,
                deadline_at,
                expiry_at,
            } => {
                let leased = Leased {
                    kind: *kind,
                    volunteer: *volunteer,
                    blocks: blocks.clone(),
                    base_version: *base_version,
                    recipe: self.recipe_number(),
                    steps: *steps,
                    batch: *batch,
                    lr: (*lr_start + *lr_end) / 2.0,
                    leased_at: *at,
                    deadline_at: *deadline_at,
                    expiry_at: *expiry_at,
                };
                self.grant(*task, leased);
            }
            Fact::TaskLapsed { at, task, released } => {
                self.lapse(*task, *released);
                self.leases.forget_expired(*at);
            }
            Fact::ResultAccepted { at, task, steps, samples, update, norm, train_loss: _, signed: _, late } => {
                self.note_norm(*task, *steps, *norm);
                self.accept(*at, *task, *steps, *samples, *update, *late);
            }
            Fact::Committed { at, version, base, momentum, parts, outer, delta } => {
                match delta {
                    Some(_) => self.fold(*version, parts, *outer),
                    None => self.checkpoint(Checkpoint { version: *version, momentum: *momentum, feedback: None }),
                }
                self.commit(*at, *version, (*base, *delta), parts, *outer);
            }
            Fact::Checkpointed { at: _, version, momentum, feedback } => {
                self.checkpoint(Checkpoint { version: *version, momentum: *momentum, feedback: *feedback });
            }
            Fact::ModeChanged { at: _, mode } => self.pacing = Pacing::changed(*mode),
            Fact::Evaluated { at, task, version, split, evaluation } => {
                self.evaluated(*at, *task, (*version, *split), *evaluation);
            }
            Fact::Began { at: _, epoch, leader, fork } => self.lineage.begin(*epoch, *leader, fork.is_some()),
            Fact::Deposed { at: _, by } => self.lineage.depose(*by),
            Fact::Paused { at: _ } => self.paused = true,
            Fact::Resumed { at: _ } => self.paused = false,
            Fact::Stopped { at } => {
                self.paused = false;
                self.finish_from(*at);
            }
            Fact::RecipeChanged { at, recipe } => self.change(*at, recipe),
            Fact::Finished { at: _, version } => self.finished = Some(*version),
        }
    }

    fn create(&mut self, job: Job, base: BlobId) {
        *self = Self { newest_at: self.newest_at, ..Self::default() };
        self.blocks = Blocks::new(job.seed, job.dataset.train.iter().map(|&(_, samples)| samples).collect());
        let at = job.created_at;
        self.recipes.push(RecipeRecord { at, version: Version(0), samples: 0, recipe: job.recipe.clone() });
        self.pacing = Pacing::of(named(job.strategy).first());
        self.job = Some(job);
        self.add_version(Version(0), (base, None), at, 0);
    }

    /// The owner's word. Where the goal was moved, the job has ended only if it has reached the new
    /// one.
    fn change(&mut self, at: Millis, recipe: &Recipe) {
        let Some(job) = &mut self.job else { return };
        let before = std::mem::replace(&mut job.recipe, recipe.clone());
        let (version, samples) = (self.version, self.samples);
        self.recipes.push(RecipeRecord { at, version, samples, recipe: recipe.clone() });
        if !are_alike(&before, recipe) {
            self.norms = Norms::default();
        }
        if !has_same_goal(&before, recipe) {
            (self.finished, self.finishing_at) = (None, None);
            if self.has_reached(recipe) {
                self.finish_from(at);
            }
        }
    }

    /// What is usual is asked of those who train as the recipe says now.
    fn note_norm(&mut self, task: TaskId, steps: u32, norm: f32) {
        let (Some(leased), Some(job)) = (self.leases.get(task), &self.job) else { return };
        if self.recipe(leased.recipe).is_some_and(|recipe| are_alike(recipe, &job.recipe)) {
            self.norms.add(Work { steps, batch: leased.batch }, leased.lr, norm);
        }
    }

    /// Remembers how a version is made, while its updates still wait.
    fn fold(&mut self, version: Version, parts: &[Contribution], outer: Option<OuterStep>) {
        if let Some((parts, outer)) = self.merge_of(parts, outer) {
            self.folds.push(Fold { version, parts, outer });
        }
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.folds.retain(|fold| fold.version > checkpoint.version);
        if let Some(record) = self.history.get_mut(&checkpoint.version) {
            record.stored = true;
        }
        self.checkpoint = checkpoint;
    }

    fn add_version(&mut self, version: Version, (base, delta): (BlobId, Option<BlobId>), at: Millis, parts: u32) {
        self.version = version;
        let (samples, stored) = (self.samples, delta.is_none());
        let record = VersionRecord { version, base, delta, stored, at, samples, parts, valid: None, test: None };
        self.history.insert(version, record);
        if self.block_count(Split::Valid) > 0 {
            self.evaluations.want(version);
        }
    }

    fn grant(&mut self, task: TaskId, leased: Leased) {
        match leased.evaluates() {
            None => self.blocks.lease(task, &leased.blocks),
            Some(split) => {
                let of = (leased.base_version, split);
                self.evaluations.lease(task, of, self.block_count(split), &leased.blocks);
            }
        }
        self.leases.grant(task, leased);
    }

    fn lapse(&mut self, task: TaskId, released: bool) {
        if let Some(leased) = self.leases.lapse(task) {
            match leased.evaluates() {
                None => self.blocks.release(task, &leased.blocks),
                Some(split) => self.evaluations.release(task, (leased.base_version, split)),
            }
        }
        if released {
            self.leases.take(task);
        }
    }

    fn accept(&mut self, at: Millis, task: TaskId, steps: u32, samples: u64, update: BlobId, late: bool) {
        let Some(leased) = self.leases.take(task) else { return };
        let Leased { volunteer, blocks, base_version, recipe, lr, .. } = leased;
        let scale = steps as f32 * lr;
        let encoding = self.recipe(recipe).map_or_else(UpdateEncoding::default, |recipe| recipe.update);
        self.leases.hand_in(task, HandedIn { volunteer, update: Some(update), recipe, steps });
        self.credit(volunteer, at, samples);
        if late {
            self.blocks.release(task, &blocks);
        } else {
            self.blocks.accept(task, &blocks);
            let pending = Pending { volunteer, base_version, blocks, samples, scale, update, encoding, at };
            self.pending.insert(task, pending);
        }
    }

    fn credit(&mut self, volunteer: VolunteerKey, at: Millis, samples: u64) {
        let flops_per_sample = self.job.as_ref().map_or(0, |job| job.facts.train_flops_per_sample);
        let tally = self.tallies.entry(volunteer).or_insert(Tally { first_at: at, ..Tally::default() });
        tally.tasks += 1;
        tally.samples += samples;
        tally.flops = tally.flops.saturating_add(samples.saturating_mul(flops_per_sample));
        tally.last_at = at;
    }

    fn commit(
        &mut self,
        at: Millis,
        version: Version,
        made: (BlobId, Option<BlobId>),
        parts: &[Contribution],
        outer: Option<OuterStep>,
    ) {
        let mut is_stale = false;
        let mut volunteers = BTreeSet::new();
        for part in parts {
            let Some(pending) = self.pending.remove(&part.task) else { continue };
            volunteers.insert(pending.volunteer);
            is_stale |= pending.base_version != self.version;
            self.blocks.merge(part.task, &pending.blocks);
            self.samples += pending.samples;
        }
        let has_momentum = outer.map_or(!is_stale, |outer| outer.momentum > 0.0);
        self.pacing = self.pacing.committed(volunteers.len(), is_stale, has_momentum);
        self.add_version(version, made, at, parts.len() as u32);
        self.leases.forget_expired(at);
        if self.job.as_ref().is_some_and(|job| self.samples >= job.recipe.budget_samples) {
            self.finish_from(at);
        }
    }

    fn evaluated(&mut self, at: Millis, task: TaskId, of: (Version, Split), part: Evaluation) {
        let Some(leased) = self.leases.take(task) else { return };
        let Leased { volunteer, recipe, .. } = leased;
        self.leases.hand_in(task, HandedIn { volunteer, update: None, recipe, steps: 0 });
        let Some(whole) = self.evaluations.add(of, &leased.blocks, part) else { return };
        let Some(record) = self.history.get_mut(&of.0) else { return };
        match of.1 {
            Split::Valid => record.valid = Some(whole),
            Split::Test => record.test = Some(whole),
            Split::Train => {}
        }
        let target = self.job.as_ref().and_then(|job| job.recipe.target_accuracy);
        if of.1 == Split::Valid && target.is_some_and(|target| whole.accuracy >= target) {
            self.finish_from(at);
        }
    }

    fn finish_from(&mut self, at: Millis) {
        self.finishing_at.get_or_insert(at);
    }

    fn block_count(&self, split: Split) -> usize {
        self.job.as_ref().map_or(0, |job| job.blocks(split).len())
    }
}

/// What people and shells ask.
impl State {
    /// The job; `None` before its first fact.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// Every recipe that the job has had, the current one last.
    pub fn recipes(&self) -> &[RecipeRecord] {
        &self.recipes
    }

    /// One of them; `None` where there is none of this number, which no lease of a made job has.
    pub fn recipe(&self, number: RecipeNumber) -> Option<&Recipe> {
        self.recipes.get(number.0 as usize).map(|record| &record.recipe)
    }

    /// True where a job with this recipe is done with what it has.
    pub(crate) fn has_reached(&self, recipe: &Recipe) -> bool {
        let accuracy = self.newest(Split::Valid).map(|(_, evaluation)| evaluation.accuracy);
        let at_target = recipe.target_accuracy.zip(accuracy).is_some_and(|(target, accuracy)| accuracy >= target);
        self.samples >= recipe.budget_samples || at_target
    }

    /// Where the job stands.
    pub fn phase(&self) -> Phase {
        match (self.finished, self.finishing_at, self.paused) {
            (Some(_), _, _) => Phase::Finished,
            (None, Some(_), _) => Phase::Finishing,
            (None, None, true) => Phase::Paused,
            (None, None, false) => Phase::Running,
        }
    }

    /// Who leads it.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The current version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// SHA-256 of the parameters of the current version; `None` before the first fact.
    pub fn base(&self) -> Option<BlobId> {
        self.record(self.version).map(|record| record.base)
    }

    /// The newest version that is stored with all that the next merge needs.
    pub fn last_checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The merges since the last checkpoint, oldest first.
    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// How the parameters of a version are made from blobs, as long as those stay; `None` where there
    /// is no such version.
    pub fn making(&self, version: Version) -> Option<Making> {
        let mut deltas = Vec::new();
        for record in self.history.range(..=version).rev().map(|(_, record)| record) {
            match record.delta.filter(|_| !record.stored) {
                Some(delta) => deltas.push(delta),
                None => {
                    deltas.reverse();
                    return self.record(version).map(|_| Making { from: record.base, deltas });
                }
            }
        }
        None
    }

    /// The latest time that any fact happened at; a clock that shows less was set back.
    pub fn newest_at(&self) -> Millis {
        self.newest_at
    }

    /// Samples merged so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// How the job is paced.
    pub fn mode(&self) -> Mode {
        self.pacing.mode
    }

    /// What has to be merged, and how, to make the next version of these parts: the order that was
    /// carried out before the fact of that version was written. `outer` is the step in that fact.
    /// `None` where one of the parts does not wait for a commit.
    pub fn merge_of(&self, parts: &[Contribution], outer: Option<OuterStep>) -> Option<(Vec<MergePart>, OuterStep)> {
        let pending: Vec<&Pending> = parts.iter().map(|part| self.pending.get(&part.task)).collect::<Option<_>>()?;
        let outer = outer.unwrap_or_else(|| round::outer_of_old_logs(self, pending.iter().copied()));
        let merge_part = |(&contribution, pending): (&Contribution, &&Pending)| MergePart {
            contribution,
            scale: pending.scale,
            update: pending.update,
            encoding: pending.encoding,
        };
        Some((parts.iter().zip(&pending).map(merge_part).collect(), outer))
    }

    /// What this volunteer has given.
    pub fn tally(&self, volunteer: &VolunteerKey) -> Option<&Tally> {
        self.tallies.get(volunteer)
    }

    /// Everybody who has given something, in the order of their keys.
    pub fn tallies(&self) -> impl Iterator<Item = (&VolunteerKey, &Tally)> {
        self.tallies.iter()
    }

    /// Every version, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &VersionRecord> {
        self.history.values()
    }

    /// One version.
    pub fn record(&self, version: Version) -> Option<&VersionRecord> {
        self.history.get(&version)
    }

    /// The evaluation of the newest version that was evaluated on this split.
    pub fn newest(&self, split: Split) -> Option<(Version, Evaluation)> {
        match split {
            Split::Valid => {
                let version = self.evaluations.newest()?;
                Some((version, self.record(version)?.valid?))
            }
            _ => self.history().rev().find_map(|record| Some((record.version, record.evaluation(split)?))),
        }
    }

    /// A task that is out, or whose lease lapsed and whose result may still count.
    pub fn lease(&self, task: TaskId) -> Option<&Leased> {
        self.leases.get(task)
    }

    /// True where this task was leased once, however long ago.
    pub fn was_leased(&self, task: TaskId) -> bool {
        (1..=self.leases.last()).contains(&task.0)
    }

    /// The tasks that are out.
    pub fn leases(&self) -> impl Iterator<Item = (TaskId, &Leased)> {
        self.leases.open()
    }

    /// A result that was accepted; `None` also where it was long ago.
    pub fn handed_in(&self, task: TaskId) -> Option<&HandedIn> {
        self.leases.handed_in(task)
    }

    /// The steps that lead to a version from those just before it, as far as they are worth it.
    pub fn deltas_to(&self, version: Version) -> Vec<DeltaStep> {
        let newest_first = self.history.range(..=version).rev().map(|(_, record)| record);
        let before = newest_first.clone().skip(1);
        let step = |(to, from): (&VersionRecord, &VersionRecord)| Some(DeltaStep { from: from.base, delta: to.delta? });
        newest_first.zip(before).map_while(step).take(limits::DELTAS_MAX).collect()
    }

    /// The versions whose parameters somebody may still ask for: the current one, those that are leased
    /// or wait for an evaluation, and the last checkpoint.
    pub fn needed(&self) -> BTreeSet<Version> {
        let leased = self.leases.open().map(|(_, leased)| leased.base_version);
        leased.chain(self.evaluations.versions()).chain([self.version, self.checkpoint.version]).collect()
    }

    /// The updates that still have to stay, with their tasks: what waits for a commit, and what makes
    /// the versions since the last checkpoint again.
    pub fn unsettled(&self) -> impl Iterator<Item = (TaskId, BlobId)> {
        let pending = self.pending.iter().map(|(&task, pending)| (task, pending.update));
        self.folds.iter().flat_map(Fold::updates).chain(pending)
    }

    /// The blobs that this state still needs: what is outside may be collected.
    pub fn retained(&self) -> BTreeSet<BlobId> {
        let job = self.job.iter().flat_map(|job| {
            let Dataset { train, valid, test, files } = &job.dataset;
            let blocks = train.iter().chain(valid).chain(test).map(|&(id, _)| id);
            blocks.chain(files.values().copied()).chain([job.program])
        });
        let Checkpoint { version: _, momentum, feedback } = self.checkpoint;
        let needed = self.needed().into_iter().filter_map(|version| self.making(version));
        let parameters = needed.flat_map(Making::blobs);
        let updates = self.unsettled().map(|(_, update)| update);
        job.chain(parameters).chain(updates).chain(momentum).chain(feedback).collect()
    }
}

/// True where both say the same of when the job is done.
pub(crate) fn has_same_goal(one: &Recipe, other: &Recipe) -> bool {
    (one.budget_samples, one.target_accuracy) == (other.budget_samples, other.target_accuracy)
}

/// What decisions ask.
impl State {
    fn recipe_number(&self) -> RecipeNumber {
        RecipeNumber(self.recipes.len().saturating_sub(1) as u32)
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn all_leases(&self) -> &Leases {
        &self.leases
    }

    pub(crate) fn pending(&self) -> &BTreeMap<TaskId, Pending> {
        &self.pending
    }

    pub(crate) fn pacing(&self) -> Pacing {
        self.pacing
    }

    pub(crate) fn norms(&self) -> &Norms {
        &self.norms
    }

    pub(crate) fn evaluations(&self) -> &Evaluations {
        &self.evaluations
    }

    pub(crate) fn finishing_at(&self) -> Option<Millis> {
        self.finishing_at
    }

    /// True where nothing is left to evaluate of this version on this split.
    pub(crate) fn is_evaluated(&self, version: Version, split: Split) -> bool {
        let known = self.record(version).is_some_and(|record| record.evaluation(split).is_some());
        known || self.block_count(split) == 0
    }
}
