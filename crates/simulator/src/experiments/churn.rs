//! `sim churn`: half of the updates lost, numbers of volunteers that change, and a crowd that comes and
//! goes, at equal samples.
//!
//! In the first rows a lost update is not made up for: its samples count as seen. In the crowd the
//! scheduler leases them again, so that a loss costs time, and what is equal are the merged samples.

use anyhow::Result;
use potluck_protocol::StrategyName;
use serde_json::{Value, json};

use super::diloco::JOB_LR;
use super::field::Field;
use super::sweep::{SEEDS, Sweep};
use crate::crowd::{Arrivals, Books, Churn, Draw, JobSize, World, WorldSize};
use crate::report::{Report, rounded};
use crate::stats::{Summary, summary};
use crate::training::{Arm, Size, Team};
use crate::{Arguments, pool};

/// Loss above that of a run without losses, in per cent.
const LOST_LIMIT: f64 = 3.0;

/// Loss of a ramp above that of a constant number of volunteers, in per cent.
const RAMP_LIMIT: f64 = 1.0;

const NOBODY_LOST: &str = "8 volunteers, nothing lost";
const HALF_LOST: &str = "8 volunteers, half of the updates lost";
const CONSTANT: &str = "4 volunteers all the time";

/// Ramps whose mean by samples is four volunteers.
const RAMPS: [(&str, &[u32]); 4] = [
    ("1, 4, 7 volunteers", &[1, 4, 7]),
    ("7, 4, 1 volunteers", &[7, 4, 1]),
    ("1, 4, 8, 6, 1 volunteers", &[1, 4, 8, 6, 1]),
    ("8, 2, 1, 1, 8 volunteers", &[8, 2, 1, 1, 8]),
];

/// Crowds of eight at a time under the real scheduler, who train the default recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowd {
    /// Equal devices, and nobody leaves.
    Steady,
    /// The churn model.
    Churn,
    /// The churn model, in rounds whatever they waste.
    Rounds,
    /// The churn model, in buffers whatever they cost.
    Buffered,
    /// The churn model, and half of the updates are lost.
    Lossy,
}

impl Crowd {
    const ALL: [Self; 5] = [Self::Steady, Self::Churn, Self::Rounds, Self::Buffered, Self::Lossy];

    fn name(self) -> &'static str {
        match self {
            Self::Steady => "crowd: 8 equal devices that stay",
            Self::Churn => "crowd: churn model, 8 at a time",
            Self::Rounds => "crowd: churn model, always in rounds",
            Self::Buffered => "crowd: churn model, always in buffers",
            Self::Lossy => "crowd: churn model, half of the updates lost",
        }
    }
}

/// A crowd's job seems to be one of a million parameters and tasks of ten seconds.
const SEEMS: JobSize = JobSize { parameters: 1_000_000, task_millis: 10_000 };

/// Virtual time at most.
const LASTS: u64 = 24 * 3_600_000;

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let sweep = Sweep::run(arguments, Size::SMALL, 2 * SEEDS, arms())?;
    let mut report = Report::new(format!("{} Default recipe, lr {JOB_LR}.", sweep.words()));
    let mut row = |name: &str, loss: Summary, seeds: usize, gap: Option<f64>, commits: f64, hours: Value| {
        report.row([
            ("arm", json!(name)),
            ("loss", rounded(loss.mean, 4)),
            ("spread", rounded(loss.spread, 4)),
            ("seeds", json!(seeds)),
            ("to undisturbed %", gap.map_or(json!(null), |gap| rounded(gap, 2))),
            ("commits", rounded(commits, 1)),
            ("virtual h", hours),
        ]);
    };
    let reference = |name: &str| if name.starts_with("8 volunteers,") { NOBODY_LOST } else { CONSTANT };
    for measured in &sweep.arms {
        let (name, runs) = (&measured.arm.name, &measured.runs);
        let commits = runs.iter().map(|run| run.commits).sum::<u64>() as f64 / runs.len() as f64;
        row(name, measured.loss(), runs.len(), sweep.above(name, reference(name)), commits, json!(null));
    }
    let crowds = crowds(arguments)?;
    let steady = crowds.iter().find(|(crowd, _)| *crowd == Crowd::Steady).map(|(_, days)| loss(days).mean);
    let gap = |days: &[Day]| steady.map(|steady| 100.0 * (loss(days).mean / steady - 1.0));
    for (crowd, days) in &crowds {
        let mean = |of: fn(&Day) -> f64| days.iter().map(of).sum::<f64>() / days.len() as f64;
        let hours = rounded(mean(|day| day.books.finished.map_or(f64::NAN, |(_, at)| at as f64 / 3.6e6)), 2);
        row(crowd.name(), loss(days), days.len(), gap(days), mean(|day| day.books.commits as f64), hours);
    }
    if let Some(gap) = sweep.above(HALF_LOST, NOBODY_LOST) {
        report.limit("half of the updates lost, loss above none lost, %", LOST_LIMIT, gap);
    }
    if let Some(gap) = crowds.iter().find(|(crowd, _)| *crowd == Crowd::Lossy).and_then(|(_, days)| gap(days)) {
        report.limit("churn and half of the updates lost, loss above a steady crowd, %", LOST_LIMIT, gap);
    }
    for (name, _) in RAMPS {
        if let Some(gap) = sweep.above(name, CONSTANT) {
            report.limit(format!("{name}, loss above a constant four, %"), RAMP_LIMIT, gap);
        }
    }
    Ok(report)
}

/// How a crowd's job ended.
struct Day {
    books: Books,
    loss: f64,
}

fn loss(days: &[Day]) -> Summary {
    summary(&days.iter().map(|day| day.loss).collect::<Vec<_>>())
}

fn crowds(arguments: &Arguments) -> Result<Vec<(Crowd, Vec<Day>)>> {
    let asked = |crowd: &Crowd| arguments.only.as_deref().is_none_or(|word| crowd.name().contains(word));
    let crowds: Vec<Crowd> = Crowd::ALL.into_iter().filter(asked).collect();
    let seeds = arguments.seeds_or(SEEDS);
    let field = Field::open(arguments)?;
    let work: Vec<(Crowd, u64)> =
        crowds.iter().flat_map(|&crowd| seeds.iter().map(move |&seed| (crowd, seed))).collect();
    let run = |&(crowd, seed): &(Crowd, u64)| {
        let bench = field.bench(seed)?;
        let recipe = Arm::default_recipe(JOB_LR, 8).recipe(Size::SMALL.samples);
        let strategy = match crowd {
            Crowd::Rounds => StrategyName::Rounds,
            Crowd::Buffered => StrategyName::Buffered,
            Crowd::Steady | Crowd::Churn | Crowd::Lossy => StrategyName::Auto,
        };
        let job = field.job(&bench, seed, (recipe, strategy), SEEMS)?;
        let arrivals = match crowd {
            Crowd::Steady => Arrivals::Cast((0..8).map(|at| (at, Draw::steady(1.0, LASTS, false))).collect()),
            _ => Arrivals::Churn(Churn::new(seed, 8.0)),
        };
        let (script, loss_chance) = (Vec::new(), if crowd == Crowd::Lossy { 0.5 } else { 0.0 });
        let size = WorldSize { job, arrivals, script, lasts: LASTS, target: None, loss_chance, seed };
        let (books, _, weights) = World::new(size).run()?;
        Ok(Day { books, loss: weights.map_or(Ok(f64::NAN), |weights| bench.loss(&weights))? })
    };
    let days = pool::run(&work, arguments.threads, run, |(crowd, seed), day, ended| {
        eprintln!("{ended}/{} {}, seed {seed}: {:.4}", work.len(), crowd.name(), day.loss);
    })?;
    let mut days = days.into_iter();
    Ok(crowds.into_iter().map(|crowd| (crowd, days.by_ref().take(seeds.len()).collect())).collect())
}

fn arms() -> Vec<Arm> {
    let recipe = |volunteers| Arm::default_recipe(JOB_LR, volunteers);
    let ramp =
        |(name, counts): (&str, &'static [u32])| recipe(4).with(|crew| crew.team = Team::Ramp(counts)).named(name);
    let lost = |name, lost| recipe(8).with(|crew| crew.lost = lost).named(name);
    let mut arms = vec![lost(NOBODY_LOST, 0.0), lost(HALF_LOST, 0.5), recipe(4).named(CONSTANT)];
    arms.extend(RAMPS.map(ramp));
    arms
}
