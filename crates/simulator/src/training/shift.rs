//! A crew at work: tasks out, updates in, versions made, until the samples are spent.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::Result;
use potluck_graph::random::{SplitMix64, mix};
use potluck_protocol::{OuterStep, StrategyName, VolunteerKey};
use potluck_scheduler::{Filling, Mode, Updates, named, patience_millis, shares, weight};
use potluck_update::Scaled;

use super::arm::{Crew, Late, Merging, Pacing};
use super::learner::{Learner, Stint};
use super::run::{LOSSES, Outcome, SPANS, TASKS};
use super::team::TaskSize;
use super::upload::Sender;
use super::versions::{Versions, merged};
use crate::queue::Queue;

/// The slowest task of a kind takes this much longer than the quickest, as a share.
const JITTER: f64 = 0.3;

pub(super) struct Shift<'a, 'b> {
    crew: &'a Crew,
    learner: &'a mut Learner<'b>,
    samples: u64,
    seed: u64,
    versions: Versions,
    senders: BTreeMap<usize, Sender>,
    losses: SplitMix64,
    spans: SplitMix64,
    outcome: Outcome,
}

/// A task that was given out.
struct Running {
    who: usize,
    task: TaskSize,
    /// Its number, of which its data follow.
    number: u64,
    /// The version that it starts from, and its number.
    base: Rc<Vec<f32>>,
    version: u64,
    /// Samples that were given out before it, and with it.
    from: u64,
    to: u64,
}

/// An update that arrived.
struct Part {
    who: usize,
    samples: u64,
    scale: f32,
    base: Rc<Vec<f32>>,
    version: u64,
    values: Vec<f32>,
}

impl<'a, 'b> Shift<'a, 'b> {
    pub(super) fn new(crew: &'a Crew, learner: &'a mut Learner<'b>, start: Vec<f32>, samples: u64, seed: u64) -> Self {
        let stream = |which| SplitMix64::new(mix(seed, which));
        Self {
            crew,
            learner,
            samples,
            seed,
            versions: Versions::new(start, crew.publishing),
            senders: BTreeMap::new(),
            losses: stream(LOSSES),
            spans: stream(SPANS),
            outcome: Outcome::default(),
        }
    }

    /// The parameters in the end; NaN where training diverged. `lengths` are those of the program's
    /// parameters.
    pub(super) fn work(mut self, lengths: &[usize]) -> Result<(Vec<f32>, Outcome)> {
        let is_finite = match self.crew.pacing {
            Pacing::Barrier => self.rounds()?,
            Pacing::Buffered(late, percent) => self.flow(late, percent, lengths)?,
        };
        let weights = if is_finite { self.versions.theta().to_vec() } else { vec![f32::NAN] };
        Ok((weights, self.outcome))
    }

    /// Rounds: everybody trains from one version, then all that arrived is merged.
    fn rounds(&mut self) -> Result<bool> {
        let mut done = 0;
        while done < self.samples {
            let mut tasks = self.crew.team.tasks(self.crew.steps, done as f64 / self.samples as f64);
            let of_round: u64 = tasks.iter().map(|task| task.samples()).sum();
            // The last round is shorter, so that every arm sees the same samples.
            let left = self.samples - done;
            if of_round > left {
                tasks.iter_mut().for_each(|t| t.steps = (u64::from(t.steps) * left / of_round).max(1) as u32);
            }
            let to = done + tasks.iter().map(|task| task.samples()).sum::<u64>();
            let (base, version) = (Rc::new(self.versions.theta().to_vec()), self.outcome.commits);
            let mut arrived = Vec::new();
            let mut longest = 0;
            for (who, task) in tasks.into_iter().enumerate() {
                let (base, number) = (Rc::clone(&base), self.outcome.tasks);
                longest = longest.max(self.span(task));
                arrived.extend(self.train(Running { who, task, number, base, version, from: done, to })?);
            }
            self.outcome.span += longest;
            done = to;
            let outer = self.outer(Mode::Barrier, &arrived);
            if !arrived.is_empty() && !self.commit(&arrived, outer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Who hands in gets the next task from the newest version, or waits for a commit that is near.
    fn flow(&mut self, late: Late, percent: u32, lengths: &[usize]) -> Result<bool> {
        let tasks = self.crew.team.tasks(self.crew.steps, 0.0);
        let (mut queue, mut buffer, mut given) = (Queue::new(), Vec::new(), 0);
        let mut base = Rc::new(self.versions.theta().to_vec());
        for (who, &task) in tasks.iter().enumerate() {
            // They did not all come at the same moment.
            let first = f64::from(self.spans.unit()) * self.span(task) as f64;
            queue.put(first as u64, self.give(who, task, &base, &mut given));
        }
        // Who has handed in and has no task yet, with what was handed in where the next task needs it.
        let mut idle: BTreeMap<usize, Option<Vec<f32>>> = BTreeMap::new();
        while let Some((now, running)) = queue.next() {
            self.outcome.span = now;
            let who = running.who;
            let part = self.train(running)?;
            let own = part.as_ref().filter(|_| matches!(late, Late::Eager(_))).map(|part| part.values.clone());
            buffer.extend(part);
            idle.insert(who, own);
            let at_work = tasks.iter().enumerate().filter(|(of, _)| !idle.contains_key(of)).map(|(_, task)| *task);
            let filling = filling(&buffer, percent, at_work);
            if filling.is_in >= filling.enough {
                // Nothing is in where all was lost.
                if !buffer.is_empty() && !self.commit_late(late, std::mem::take(&mut buffer), lengths)? {
                    return Ok(false);
                }
                base = Rc::new(self.versions.theta().to_vec());
            } else if self.crew.waits && filling.is_near(patience_millis(usual_millis(tasks[who]))) {
                continue;
            }
            let is_committed = buffer.is_empty();
            for (who, own) in idle.extract_if(.., |of, _| is_committed || *of == who) {
                if given < self.samples {
                    let span = self.span(tasks[who]);
                    let base = begin(late, &base, own);
                    queue.put(now + span, self.give(who, tasks[who], &base, &mut given));
                }
            }
        }
        Ok(buffer.is_empty() || self.commit_late(late, buffer, lengths)?)
    }

    fn give(&self, who: usize, task: TaskSize, base: &Rc<Vec<f32>>, given: &mut u64) -> Running {
        let (from, number) = (*given, *given);
        *given += task.samples();
        let (base, version) = (Rc::clone(base), self.outcome.commits);
        Running { who, task, number, base, version, from, to: *given }
    }

    fn span(&mut self, task: TaskSize) -> u64 {
        (1000.0 * task.span() as f64 * (1.0 + JITTER * f64::from(self.spans.unit()))) as u64
    }

    /// The update as it arrives; `None` where it is lost on the way.
    fn train(&mut self, running: Running) -> Result<Option<Part>> {
        let Running { who, task, number, base, version, from, to } = running;
        let TaskSize { steps, batch, .. } = task;
        let stint = Stint { seed: mix(mix(self.seed, TASKS), number), steps, batch, from, to };
        let local = self.learner.train(&base, stint, self.crew.carries.then_some(who))?;
        self.outcome.tasks += 1;
        let update = base.iter().zip(&local).map(|(base, local)| base - local).collect();
        let upload = self.crew.upload;
        let sender = self.senders.entry(who).or_insert_with(|| Sender::new(upload, who as u64));
        let (values, bytes) = sender.send(update)?;
        self.outcome.up_bytes += bytes;
        let part = Part { who, samples: task.samples(), scale: self.learner.scale(stint), base, version, values };
        Ok((f64::from(self.losses.unit()) >= self.crew.lost).then_some(part))
    }

    /// The step of these updates, as the scheduler of jobs has it where the crew wants that.
    fn outer(&self, mode: Mode, parts: &[Part]) -> OuterStep {
        let &Crew { outer, scheduled, .. } = self.crew;
        let volunteers = parts.iter().map(|part| part.who).collect::<BTreeSet<usize>>().len();
        let stale_share = if mode == Mode::Barrier { 0.0 } else { 1.0 };
        let updates = Updates { volunteers, stale_share, is_momentum_outdated: false };
        if scheduled { named(StrategyName::Auto).outer(mode, outer, updates) } else { outer }
    }

    fn staleness(&self, part: &Part) -> u64 {
        self.outcome.commits - part.version
    }

    /// A version of what a buffer holds.
    fn commit_late(&mut self, late: Late, mut parts: Vec<Part>, lengths: &[usize]) -> Result<bool> {
        let outer = self.outer(Mode::Buffered, &parts);
        let mean = parts.iter().map(|part| self.staleness(part)).sum::<u64>() as f32 / parts.len() as f32;
        match late {
            Late::Plain | Late::Eager(_) => self.commit(&parts, outer),
            Late::Faded => self.commit(&parts, OuterStep { momentum: outer.momentum.powf(1.0 + mean), ..outer }),
            Late::FreshOnly => {
                let (fresh, stale): (Vec<Part>, Vec<Part>) =
                    parts.into_iter().partition(|part| self.staleness(part) == 0);
                let all = fresh.iter().chain(&stale).map(|part| part.samples).sum::<u64>() as f32;
                let plain = OuterStep { momentum: 0.0, ..outer };
                let step = |parts: &[Part], outer: OuterStep| {
                    let share = parts.iter().map(|part| part.samples).sum::<u64>() as f32 / all;
                    (self.merge(parts).into_iter().map(|value| share * value).collect(), outer)
                };
                let kinds = [(&fresh, outer), (&stale, plain)].into_iter().filter(|(parts, _)| !parts.is_empty());
                let steps: Vec<(Vec<f32>, OuterStep)> = kinds.map(|(parts, outer)| step(parts, outer)).collect();
                self.publish(&steps, fresh.iter().chain(&stale))
            }
            Late::Gated => {
                if let Some(momentum) = self.versions.momentum() {
                    parts.iter_mut().for_each(|part| gate(&mut part.values, momentum, lengths));
                }
                self.commit(&parts, outer)
            }
            Late::Moved => {
                for Part { values, base, .. } in &mut parts {
                    let moved = self.versions.theta().iter().zip(base.iter()).map(|(now, base)| now - base);
                    values.iter_mut().zip(moved).for_each(|(value, moved)| *value += moved);
                }
                self.commit(&parts, outer)
            }
        }
    }

    fn commit(&mut self, parts: &[Part], outer: OuterStep) -> Result<bool> {
        self.publish(&[(self.merge(parts), outer)], parts.iter())
    }

    fn publish<'p>(&mut self, steps: &[(Vec<f32>, OuterStep)], parts: impl Iterator<Item = &'p Part>) -> Result<bool> {
        let staleness: Vec<u64> = parts.map(|part| self.staleness(part)).collect();
        let Some(bytes) = self.versions.commit(steps)? else { return Ok(false) };
        self.outcome.commits += 1;
        self.outcome.staleness += staleness.iter().sum::<u64>();
        // Everybody fetches it: who is not in this commit has it before the next task.
        let fetching = self.crew.team.tasks(self.crew.steps, 0.0).len();
        self.outcome.down_bytes += fetching as u64 * bytes;
        Ok(true)
    }

    /// One update of these, weighted as coordinators do.
    fn merge(&self, parts: &[Part]) -> Vec<f32> {
        let key = |part: &Part| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(part.who as u64).to_le_bytes());
            VolunteerKey(key)
        };
        let weights: Vec<(VolunteerKey, f64)> =
            parts.iter().map(|part| (key(part), weight(part.samples, self.staleness(part)))).collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let of_all = match self.crew.merging {
            Merging::Robust => shares(&weights),
            Merging::Mean => weights.iter().map(|(_, weight)| (weight / total) as f32).collect(),
        };
        let scaled = |(part, weight)| {
            let Part { scale, values, .. }: &Part = part;
            Scaled { weight, scale: *scale, values }
        };
        let scaled: Vec<Scaled<'_>> = parts.iter().zip(of_all).map(scaled).collect();
        merged(self.crew.merging, &scaled)
    }
}

/// Where a buffer stands whose crew, as far as it is at work, has these tasks. Enough is so many per cent
/// of their samples.
fn filling(buffer: &[Part], percent: u32, at_work: impl Iterator<Item = TaskSize>) -> Filling {
    let (in_flight, samples_per_milli) = at_work.fold((0, 0.0), |(samples, pace), task| {
        (samples + task.samples(), pace + task.samples() as f64 / usual_millis(task))
    });
    let is_in = buffer.iter().map(|part| part.samples).sum();
    Filling { is_in, enough: (u64::from(percent) * in_flight).div_ceil(100), samples_per_milli }
}

/// What a task takes in the mean, on the clock of a shift.
fn usual_millis(task: TaskSize) -> f64 {
    1000.0 * task.span() as f64 * (1.0 + JITTER / 2.0)
}

/// Where the next task of a volunteer starts who has just handed in this.
fn begin(late: Late, newest: &Rc<Vec<f32>>, own: Option<Vec<f32>>) -> Rc<Vec<f32>> {
    let (Late::Eager(percent), Some(own)) = (late, own) else { return Rc::clone(newest) };
    let part = percent as f32 / 100.0;
    Rc::new(newest.iter().zip(own).map(|(newest, own)| newest - part * own).collect())
}

/// Shrinks each parameter's part of an update by 1 + cosine where it points against the momentum.
fn gate(values: &mut [f32], momentum: &[f32], lengths: &[usize]) {
    let mut at = 0;
    for &length in lengths {
        let (values, momentum) = (&mut values[at..at + length], &momentum[at..at + length]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = dot(values, momentum) / (dot(values, values) * dot(momentum, momentum)).sqrt();
        if cosine < 0.0 {
            values.iter_mut().for_each(|value| *value *= (1.0 + cosine) as f32);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_points_against_the_momentum_is_shrunk() {
        let mut values = [1.0, 1.0, -2.0, 0.0];
        gate(&mut values, &[3.0, 3.0, 1.0, 1.0], &[2, 2]);
        let shrunk = -2.0 * (1.0 - 0.5f32.sqrt());
        assert_eq!(values[..2], [1.0, 1.0]);
        assert!((values[2] - shrunk).abs() < 1e-6 && values[3] == 0.0, "{values:?}");
    }
}
