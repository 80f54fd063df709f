//! A job that a crowd really trains: its program, data and recipe, and how long things seem to take.

use anyhow::Result;
use potluck_graph::Program;
use potluck_protocol::{JobName, Recipe, StrategyName};
use potluck_scheduler::{Dataset, Fact};
use potluck_update::bytes_from_weights;

use super::job::{CrowdJob, JobSize};
use super::workshop::Workshop;

/// What is trained on what, and how.
#[derive(Debug, Clone)]
pub(crate) struct RealJob {
    pub(crate) name: JobName,
    pub(crate) program: Program,
    pub(crate) recipe: Recipe,
    pub(crate) strategy: StrategyName,
    /// Encoded blocks of each split, and their samples.
    pub(crate) train: Vec<(Vec<u8>, u32)>,
    pub(crate) valid: Vec<(Vec<u8>, u32)>,
    pub(crate) test: Vec<(Vec<u8>, u32)>,
}

impl RealJob {
    /// The job from these parameters. Devices and lines are as busy with it as with a job of the size
    /// `seems`: a model that learns within seconds here stands for one that takes minutes.
    pub(crate) fn begin(&self, seed: u64, start: &[f32], seems: JobSize) -> Result<CrowdJob> {
        let Self { name, program, recipe, strategy, train, valid, test } = self;
        let mut workshop = Workshop::new(program.clone(), recipe.update)?;
        let mut store = |blocks: &[(Vec<u8>, u32)]| {
            blocks.iter().map(|(bytes, samples)| (workshop.put(bytes.clone()), *samples)).collect()
        };
        let (train, valid, test) = (store(train), store(valid), store(test));
        let dataset = Dataset { train, valid, test, files: Default::default() };
        let created = Fact::JobCreated {
            at: 0,
            job: name.clone(),
            seed,
            program: workshop.program_id(),
            facts: program.facts(),
            recipe: recipe.clone(),
            strategy: *strategy,
            dataset,
            base: workshop.put(bytes_from_weights(start)),
        };
        let flops_per_sample = seems.flops_per_sample(recipe.task_samples());
        let parameters = seems.parameters;
        Ok(CrowdJob { name: name.clone(), created, parameters, flops_per_sample, workshop: Some(workshop) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use potluck_protocol::Millis;

    use super::*;
    use crate::crowd::{Arrivals, Books, Draw, World, WorldSize};
    use crate::training::{Arm, Corpus, Size, program};

    const BUDGET: u64 = 1024;

    /// Two who stay and one who is gone in the middle of a task; half of the updates are lost if asked.
    fn run(seed: u64, loss_chance: f64) -> (Books, u64, Vec<f32>) {
        let corpus = Corpus::new(&"To be, or not to be, that is the question. ".repeat(400), Size::SMALL.shape.context);
        let program = program(Size::SMALL.shape, corpus.symbols()).unwrap();
        let start = program.initial(seed);
        let job = RealJob {
            name: "field".parse().unwrap(),
            program,
            recipe: Arm::default_recipe(24e-3, 3).recipe(BUDGET),
            strategy: StrategyName::Rounds,
            train: corpus.train_blocks(64),
            valid: corpus.valid_block(0..16),
            test: corpus.valid_block(16..20),
        };
        let job = job.begin(seed, &start, JobSize { parameters: 1_000_000, task_millis: 10_000 }).unwrap();
        let lasts: Millis = 3_600_000;
        let cast = [(0, 1.0, lasts), (5, 0.5, lasts), (10, 0.7, 17_000)];
        let cast = cast.map(|(at, speed, stays)| (at, Draw::steady(speed, stays, false)));
        let (arrivals, script) = (Arrivals::Cast(cast.into()), Vec::new());
        let world = World::new(WorldSize { job, arrivals, script, lasts, target: None, loss_chance, seed });
        let (mut books, merged, weights) = world.run().unwrap();
        books.core = Duration::ZERO;
        (books, merged, weights.unwrap())
    }

    #[test]
    fn a_crowd_trains_a_job_to_its_end_and_again_from_its_seed() {
        let first = run(3, 0.0);
        assert_eq!(first, run(3, 0.0));
        let (books, merged, _) = first;
        assert!(merged >= BUDGET, "{merged}");
        let (version, _) = books.finished.expect("it finishes");
        let (begin, end) = (books.evaluations.first().unwrap(), books.evaluations.last().unwrap());
        assert!(end.version == version && end.loss < begin.loss, "{begin:?} {end:?}");
    }

    #[test]
    fn what_is_lost_is_leased_again() {
        let (books, merged, _) = run(3, 0.5);
        assert!(books.finished.is_some() && merged >= BUDGET, "{merged}");
        assert!(books.finished_samples > merged, "{} of {merged}", books.finished_samples);
    }
}
