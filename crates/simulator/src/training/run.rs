//! A run: an arm with a seed, from warm parameters to a loss.

use anyhow::Result;
use potluck_graph::random::mix;
use potluck_graph::{ParameterSpec, Program};
use potluck_protocol::{Optimizer, Recipe, Schedule};

use super::arm::{Arm, LOCAL_BATCH, Way};
use super::corpus::Corpus;
use super::learner::{Learner, Stint};
use super::model::Shape;
use super::shift::Shift;

/// Streams of a run's seed, so that no two uses of it share numbers.
const WARM: u64 = 1;
pub(super) const TASKS: u64 = 2;
pub(super) const LOSSES: u64 = 3;
pub(super) const SPANS: u64 = 4;

/// What is trained, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) shape: Shape,
    /// Steps of AdamW, with batches of 16, before any arm.
    pub(crate) warm_steps: u32,
    /// Samples of an arm, over all its volunteers.
    pub(crate) samples: u64,
}

impl Size {
    /// That of the calibration: 480 steps lead to about 2.15 nats, where a job has found its feet and
    /// the first rounds do not decide everything; 15,360 windows are 983,040 characters.
    pub(crate) const CALIBRATION: Self = Self { shape: Shape::CALIBRATION, warm_steps: 480, samples: 15_360 };

    /// As many steps and rounds with a model whose samples cost a twelfth.
    pub(crate) const SMALL: Self = Self { shape: Shape::SMALL, ..Self::CALIBRATION };
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
    pub(crate) commits: u64,
    /// Versions between the bases of updates and those that they were merged into, summed up.
    pub(crate) staleness: u64,
    /// Virtual time: thousandths of what the fastest device takes for a sample.
    pub(crate) span: u64,
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
        let stint = Stint { seed: mix(seed, WARM), steps, batch: BATCH, from: 0, to: 0 };
        let start = Learner::new(corpus, program, recipe)?.train(&program.initial(seed), stint, None)?;
        Ok(Self { corpus, program, size, seed, start })
    }

    /// The warm parameters.
    pub(crate) fn start(&self) -> &[f32] {
        &self.start
    }

    /// Held-out nats a character of these parameters.
    pub(crate) fn loss(&self, weights: &[f32]) -> Result<f64> {
        let recipe = Arm::alone(Optimizer::default(), 3e-3, LOCAL_BATCH).recipe(self.size.samples);
        Learner::new(self.corpus, self.program, recipe)?.evaluate(weights)
    }

    /// Runs an arm from the warm parameters.
    pub(crate) fn run(&self, arm: &Arm) -> Result<Outcome> {
        let mut learner = Learner::new(self.corpus, self.program, arm.recipe(self.size.samples))?;
        let mut outcome = Outcome::default();
        let weights = match &arm.way {
            Way::Alone { batch } => {
                let steps = (self.size.samples / u64::from(*batch)) as u32;
                let stint = Stint { seed: mix(self.seed, TASKS), steps, batch: *batch, from: 0, to: self.size.samples };
                learner.train(&self.start, stint, None)?
            }
            Way::Crew(crew) => {
                let shift = Shift::new(crew, &mut learner, self.start.clone(), self.size.samples, self.seed);
                let lengths: Vec<usize> = self.program.parameters().iter().map(ParameterSpec::values).collect();
                let weights;
                (weights, outcome) = shift.work(&lengths)?;
                weights
            }
        };
        let is_finite = weights.iter().all(|value| value.is_finite());
        outcome.loss = if is_finite { learner.evaluate(&weights)? } else { f64::NAN };
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use potluck_protocol::OuterStep;

    use super::*;
    use crate::training::arm::{Crew, Late, Pacing};
    use crate::training::program;
    use crate::training::team::{Team, Work};

    /// Two rounds of two volunteers.
    const TINY: Size = Size { shape: Shape::SMALL, warm_steps: 4, samples: 256 };

    fn corpus() -> Corpus {
        Corpus::new(&"To be, or not to be, that is the question. ".repeat(40 * 43), TINY.shape.context)
    }

    #[test]
    fn a_run_repeats_from_its_seed() {
        let (corpus, arm) = (corpus(), Arm::default_recipe(48e-3, 2));
        let program = program(TINY.shape, corpus.symbols()).unwrap();
        let run = |seed| Bench::warm(&corpus, &program, TINY, seed).unwrap().run(&arm).unwrap();
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first.loss, run(8).loss);
        assert_eq!(first.tasks, 4);
        assert!(first.loss < (corpus.symbols() as f64).ln(), "it learns: {first:?}");
    }

    #[test]
    fn every_handling_of_late_updates_repeats_from_its_seed() {
        let corpus = corpus();
        let program = program(TINY.shape, corpus.symbols()).unwrap();
        let bench = Bench::warm(&corpus, &program, TINY, 5).unwrap();
        for late in [Late::Plain, Late::Faded, Late::FreshOnly, Late::Gated, Late::Moved, Late::Eager(40)] {
            let arm = Arm::default_recipe(6e-3, 8);
            let arm =
                arm.with(|crew| (crew.team, crew.pacing) = (Team::Mixed(Work::Batch), Pacing::Buffered(late, 50)));
            let first = bench.run(&arm).unwrap();
            assert_eq!(first, bench.run(&arm).unwrap(), "{late:?}");
            assert!(first.commits > 1 && first.staleness > 0, "{late:?}: {first:?}");
        }
    }

    #[test]
    fn a_crew_may_step_as_scheduled_and_carry_its_state() {
        let corpus = corpus();
        let program = program(TINY.shape, corpus.symbols()).unwrap();
        let bench = Bench::warm(&corpus, &program, TINY, 4).unwrap();
        let loss = |volunteers, outer, change: fn(&mut Crew)| {
            bench.run(&Arm::rounds(Optimizer::default(), 4e-3, volunteers, 8, outer).with(change)).unwrap().loss
        };
        let (of_recipe, plain) = (OuterStep::default(), OuterStep::nesterov(1.0, 0.0));
        for volunteers in [1, 2] {
            let scheduled = loss(volunteers, of_recipe, |crew| crew.scheduled = true);
            assert_ne!(scheduled, loss(volunteers, of_recipe, |_| {}), "{volunteers}");
        }
        assert_eq!(loss(4, of_recipe, |crew| crew.scheduled = true), loss(4, of_recipe, |_| {}));
        assert_ne!(loss(1, plain, |_| {}), loss(1, plain, |crew| crew.carries = true));
    }

    #[test]
    fn one_volunteer_with_plain_steps_is_one_machine_whose_state_is_fresh() {
        let corpus = corpus();
        let program = program(TINY.shape, corpus.symbols()).unwrap();
        let bench = Bench::warm(&corpus, &program, TINY, 3).unwrap();
        let plain = OuterStep::nesterov(1.0, 0.0);
        let whole = Arm::rounds(Optimizer::default(), 4e-3, 1, 32, plain);
        let loss = bench.run(&whole).unwrap().loss;
        // One task of 32 steps: the same steps on the same data, merged with nobody.
        let mut learner = Learner::new(&corpus, &program, whole.recipe(TINY.samples)).unwrap();
        let stint = Stint { seed: mix(mix(3, TASKS), 0), steps: 32, batch: LOCAL_BATCH, from: 0, to: TINY.samples };
        let weights = learner.train(&bench.start, stint, None).unwrap();
        let apart = (loss - learner.evaluate(&weights).unwrap()).abs();
        assert!(apart < 1e-5, "{apart}");
    }
}
