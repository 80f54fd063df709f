//! The part of `sim scale` that learns: how long growing crowds of equal devices take to a loss.

use anyhow::Result;
use potluck_protocol::{Recipe, Schedule, StrategyName};
use potluck_scheduler::useful_volunteers;

use super::diloco::JOB_LR;
use super::field::Field;
use super::sweep::SEEDS;
use crate::crowd::{Arrivals, Books, Draw, JobSize, World, WorldSize};
use crate::training::Arm;
use crate::{Arguments, pool};

/// The loss that is to be reached, from warm parameters.
const TARGET: f32 = 2.2;

/// A rate that stays the same: how far a schedule has come must not depend on the crowd.
const LR: f32 = JOB_LR / 2.0;

/// Nobody trains longer than this: 64 samples a task, some hundred versions of the largest crowd.
const BUDGET: u64 = 1_000_000;

const LASTS: u64 = 24 * 3_600_000;

/// A crowd on its way.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) volunteers: u32,
    pub(super) days: Vec<Books>,
}

impl Reached {
    fn mean(&self, of: impl Fn(&Books) -> Option<f64>) -> f64 {
        let all = self.days.iter().map(|books| of(books).unwrap_or(f64::NAN));
        all.sum::<f64>() / self.days.len() as f64
    }

    /// Virtual seconds until the version that reached it was made; NaN where a seed did not.
    pub(super) fn seconds(&self) -> f64 {
        self.mean(|books| Some(books.reached(TARGET)?.made_at as f64 / 1000.0))
    }

    pub(super) fn samples(&self) -> f64 {
        self.mean(|books| Some(books.reached(TARGET)?.samples as f64))
    }
}

/// What a job says of itself whose budget is what one volunteer needs.
pub(super) fn useful(samples_of_one: f64) -> u64 {
    useful_volunteers(&Recipe { budget_samples: samples_of_one as u64, ..recipe() })
}

fn recipe() -> Recipe {
    Recipe { schedule: Schedule::Constant, ..Arm::default_recipe(LR, 1).recipe(BUDGET) }
}

pub(super) fn run(arguments: &Arguments, seems: JobSize) -> Result<Vec<Reached>> {
    let crowds = [1, 4, 16, 64, 256_u32];
    let seeds = arguments.seeds_or(SEEDS);
    let field = Field::open(arguments)?;
    let work: Vec<(u32, u64)> = crowds.iter().flat_map(|&crowd| seeds.iter().map(move |&seed| (crowd, seed))).collect();
    let run = |&(crowd, seed): &(u32, u64)| {
        let job = field.job(&field.bench(seed)?, seed, (recipe(), StrategyName::Auto), seems)?;
        let cast = (0..crowd).map(|at| (u64::from(at), Draw::steady(1.0, LASTS, false)));
        let arrivals = Arrivals::Cast(cast.collect());
        let (script, target) = (Vec::new(), Some(TARGET));
        let size = WorldSize { job, arrivals, script, lasts: LASTS, target, loss_chance: 0.0, seed };
        let (books, _, _) = World::new(size).run()?;
        Ok(books)
    };
    let days = pool::run(&work, arguments.threads, run, |(crowd, seed), books, ended| {
        let seconds = books.reached(TARGET).map_or(f64::NAN, |seen| seen.made_at as f64 / 1000.0);
        eprintln!("{ended}/{} {crowd} volunteers, seed {seed}: {TARGET} nats after {seconds:.0} s", work.len());
    })?;
    let mut days = days.into_iter();
    Ok(crowds
        .iter()
        .map(|&volunteers| Reached { volunteers, days: days.by_ref().take(seeds.len()).collect() })
        .collect())
}
