//! A run: an arm with a seed, from warm parameters to a loss.

use anyhow::Result;
use potluck_graph::Program;
use potluck_graph::random::{SplitMix64, mix};
use potluck_protocol::{Optimizer, Recipe, Schedule};

use super::arm::{Arm, LOCAL_BATCH, Rounds, Way};
use super::corpus::Corpus;
use super::learner::{Learner, Stint};
use super::upload::Sender;
use super::versions::Versions;

/// Streams of a run's seed, so that no two uses of it share numbers.
const WARM: u64 = 1;
const TASKS: u64 = 2;
const LOSSES: u64 = 3;

/// How much is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Steps of AdamW, with batches of 16, before any arm.
    pub(crate) warm_steps: u32,
    /// Samples of an arm, over all its volunteers.
    pub(crate) samples: u64,
}

impl Size {
    /// That of the calibration: 480 steps lead to about 2.15 nats, where a job has found its feet and
    /// the first rounds do not decide everything; 15,360 windows are 983,040 characters.
    pub(crate) const CALIBRATION: Self = Self { warm_steps: 480, samples: 15_360 };
}

/// What the arms of a seed share: the text, the program, and where they start.
pub(crate) struct Bench<'a> {
    corpus: &'a Corpus,
    program: &'a Program,
    size: Size,
    seed: u64,
    start: Vec<f32>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Held-out nats a character; NaN where training diverged.
    pub(crate) loss: f64,
    pub(crate) tasks: u64,
    /// Bytes of all updates.
    pub(crate) up_bytes: u64,
    /// Bytes of versions that volunteers fetched: who stays needs one a task.
    pub(crate) down_bytes: u64,
}

impl<'a> Bench<'a> {
    /// Warms up from the seed's initial values.
    pub(crate) fn warm(corpus: &'a Corpus, program: &'a Program, size: Size, seed: u64) -> Result<Self> {
        const BATCH: u32 = 16;
        let (lr, steps) = (3e-3, size.warm_steps);
        let recipe = Recipe {
            schedule: Schedule::Constant,
            ramp_steps: 20,
            ..Arm::alone(Optimizer::default(), lr, BATCH).recipe(size.samples)
        };
        let stint = Stint { seed: mix(seed, WARM), steps, from: 0, to: 0 };
        let start = Learner::new(corpus, program, recipe)?.train(&program.initial(seed), stint)?;
        Ok(Self { corpus, program, size, seed, start })
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The loss before any arm.
    pub(crate) fn start_loss(&self) -> Result<f64> {
        let recipe = Arm::alone(Optimizer::default(), 3e-3, LOCAL_BATCH).recipe(self.size.samples);
        Learner::new(self.corpus, self.program, recipe)?.evaluate(&self.start)
    }

    /// Runs an arm from the warm parameters.
    pub(crate) fn run(&self, arm: &Arm) -> Result<Outcome> {
        let mut learner = Learner::new(self.corpus, self.program, arm.recipe(self.size.samples))?;
        let mut outcome = Outcome::default();
        let weights = match &arm.way {
            Way::Alone { batch } => {
                let steps = (self.size.samples / u64::from(*batch)) as u32;
                let stint = Stint { seed: mix(self.seed, TASKS), steps, from: 0, to: self.size.samples };
                learner.train(&self.start, stint)?
            }
            Way::Rounds(rounds) => self.rounds(&mut learner, rounds, &mut outcome)?,
        };
        let is_finite = weights.iter().all(|value| value.is_finite());
        outcome.loss = if is_finite { learner.evaluate(&weights)? } else { f64::NAN };
        Ok(outcome)
    }

    fn rounds(&self, learner: &mut Learner<'_>, rounds: &Rounds, outcome: &mut Outcome) -> Result<Vec<f32>> {
        let Rounds { volunteers, steps, outer, upload, merging, publishing, lost } = *rounds;
        let mut senders: Vec<Sender> = (0..volunteers.into()).map(|which| Sender::new(upload, which)).collect();
        let mut random = SplitMix64::new(mix(self.seed, LOSSES));
        let mut versions = Versions::new(self.start.clone(), publishing);
        let mut done = 0;
        while done < self.size.samples {
            // The last round is shorter, so that every arm sees the same samples.
            let left = (self.size.samples - done) / u64::from(volunteers * LOCAL_BATCH);
            let steps = u64::from(steps).min(left.max(1)) as u32;
            let to = done + u64::from(volunteers * steps * LOCAL_BATCH);
            let mut arrived = Vec::new();
            for sender in &mut senders {
                let stint = Stint { seed: mix(mix(self.seed, TASKS), outcome.tasks), steps, from: done, to };
                let local = learner.train(versions.theta(), stint)?;
                outcome.tasks += 1;
                let update = versions.theta().iter().zip(&local).map(|(base, local)| base - local).collect();
                let (update, bytes) = sender.send(update)?;
                outcome.up_bytes += bytes;
                if f64::from(random.unit()) >= lost {
                    arrived.push(update);
                }
            }
            done = to;
            if !arrived.is_empty() {
                let Some(bytes) = versions.commit(&arrived, merging, outer)? else { return Ok(vec![f32::NAN]) };
                outcome.down_bytes += u64::from(volunteers) * bytes;
            }
        }
        Ok(versions.theta().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use potluck_protocol::OuterStep;

    use super::*;
    use crate::training::program;

    /// Two rounds of two volunteers.
    const SMALL: Size = Size { warm_steps: 4, samples: 256 };

    fn corpus() -> Corpus {
        Corpus::new(&"To be, or not to be, that is the question. ".repeat(40 * 43))
    }

    #[test]
    fn a_run_repeats_from_its_seed() {
        let (corpus, arm) = (corpus(), Arm::default_recipe(48e-3, 2));
        let program = program(corpus.symbols()).unwrap();
        let run = |seed| Bench::warm(&corpus, &program, SMALL, seed).unwrap().run(&arm).unwrap();
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first.loss, run(8).loss);
        assert_eq!(first.tasks, 4);
        assert!(first.loss < (corpus.symbols() as f64).ln(), "it learns: {first:?}");
    }

    #[test]
    fn one_volunteer_with_plain_steps_is_one_machine_whose_state_is_fresh() {
        let corpus = corpus();
        let program = program(corpus.symbols()).unwrap();
        let bench = Bench::warm(&corpus, &program, SMALL, 3).unwrap();
        let plain = OuterStep { lr: 1.0, momentum: 0.0 };
        let whole = Arm::rounds(Optimizer::default(), 4e-3, 1, 32, plain);
        let loss = bench.run(&whole).unwrap().loss;
        // One task of 32 steps: the same steps on the same data, merged with nobody.
        let mut learner = Learner::new(&corpus, &program, whole.recipe(SMALL.samples)).unwrap();
        let stint = Stint { seed: mix(mix(3, TASKS), 0), steps: 32, from: 0, to: SMALL.samples };
        let weights = learner.train(&bench.start, stint).unwrap();
        let apart = (loss - learner.evaluate(&weights).unwrap()).abs();
        assert!(apart < 1e-5, "{apart}");
    }
}
