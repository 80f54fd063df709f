//! `sim hetero`: eight volunteers in four levels of speed. How work follows speed, whether anybody is
//! awaited, and what is done about updates that come late.

use anyhow::Result;
use potluck_protocol::{Optimizer, OuterStep};
use serde_json::json;

use super::diloco::JOB_LR;
use super::sweep::{SEEDS, Sweep};
use crate::Arguments;
use crate::report::{Report, rounded};
use crate::training::{Arm, Crew, Late, Pacing, Size, Team, Work};

/// Loss of buffered training above that of rounds, in per cent.
const BUFFERED_LIMIT: f64 = 2.0;

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let sweep = Sweep::run(arguments, Size::SMALL, 2 * SEEDS, arms(arguments.full))?;
    let mut report = Report::new(format!(
        "{} Eight volunteers, x1, 1/2, 1/4, 1/8; fresh Muon, lr {JOB_LR}; time in samples of the fastest.",
        sweep.words()
    ));
    let long = if arguments.full { long() } else { Vec::new() };
    let long = Sweep::run(arguments, LONG, SEEDS, long)?;
    let barriers = [barrier(Work::Batch), barrier(Work::Batch).but(LONGER)];
    let rows = [&sweep, &long].into_iter().zip(&barriers);
    for (sweep, barrier, measured) in rows.flat_map(|(sweep, of)| sweep.arms.iter().map(move |arm| (sweep, of, arm))) {
        let (loss, runs) = (measured.loss(), &measured.runs);
        let mean = |of: fn(&crate::training::Outcome) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        report.row([
            ("arm", json!(measured.arm.name)),
            ("loss", rounded(loss.mean, 4)),
            ("spread", rounded(loss.spread, 4)),
            ("seeds", json!(runs.len())),
            ("to barrier %", sweep.above(&measured.arm.name, &barrier.name).map_or(json!(null), |gap| rounded(gap, 2))),
            ("time", rounded(mean(|run| run.span as f64 / 1000.0), 0)),
            ("commits", rounded(mean(|run| run.commits as f64), 1)),
            ("staleness", rounded(mean(|run| run.staleness as f64 / run.tasks as f64), 2)),
        ]);
    }
    if let Some(gap) = sweep.above(&buffered(Work::Batch, DEFAULT).name, &barriers[0].name) {
        report.limit("buffered above barrier rounds at equal samples, %", BUFFERED_LIMIT, gap);
    }
    Ok(report)
}

/// Four times as many rounds: whether buffers stay behind.
const LONGER: &str = "four times the windows";
const LONG: Size = Size { samples: 4 * Size::SMALL.samples, ..Size::SMALL };

fn long() -> Vec<Arm> {
    let faster = (Late::Plain, 0.5, 0.0);
    let arms = [barrier(Work::Batch), buffered(Work::Batch, DEFAULT), patiently(buffered(Work::Batch, faster))];
    arms.map(|arm| arm.but(LONGER)).to_vec()
}

/// What is done about late updates, and the outer step.
type Handling = (Late, f32, f32);

/// Per cent of the samples in flight that make a version, as buffers of jobs have it.
const BUFFER: u32 = 50;

/// What a job does by default.
const DEFAULT: Handling = (Late::Plain, 0.35, 0.0);

fn barrier(work: Work) -> Arm {
    let words = words(work);
    let arm = Arm::default_recipe(JOB_LR, 8).with(|crew| crew.team = Team::Mixed(work));
    arm.named(format!("barrier, {words}"))
}

/// The same at a part of the learning rate.
fn gently(part: f32, arm: Arm) -> Arm {
    let lr = JOB_LR / part;
    Arm { lr, ..arm.but(format_args!("lr {lr}")) }
}

/// The same with versions that wait for more.
fn patiently(arm: Arm) -> Arm {
    let patient = |crew: &mut Crew| {
        if let Pacing::Buffered(_, percent) = &mut crew.pacing {
            *percent = 100;
        }
    };
    arm.but("buffers of all in flight").with(patient)
}

fn buffered(work: Work, (late, lr, momentum): Handling) -> Arm {
    let how = match late {
        Late::Plain => "",
        Late::Faded => ", momentum fades with staleness",
        Late::FreshOnly => ", fresh ones alone enter the momentum",
        Late::Gated => ", gated",
        Late::Moved => ", towards where they ended",
    };
    let words = words(work);
    let outer = OuterStep { lr, momentum };
    let arm = Arm::default_recipe(JOB_LR, 8).with(|crew| {
        (crew.team, crew.pacing, crew.outer) = (Team::Mixed(work), Pacing::Buffered(late, BUFFER), outer);
    });
    arm.named(format!("buffered, {words}, ({lr}, {momentum}){how}"))
}

fn words(work: Work) -> &'static str {
    match work {
        Work::Equal => "equal work",
        Work::Steps => "steps in proportion",
        Work::Batch => "batch in proportion",
    }
}

fn arms(full: bool) -> Vec<Arm> {
    use Late::{Faded, FreshOnly, Gated, Moved, Plain};
    let mut arms = [Work::Batch, Work::Steps, Work::Equal].map(barrier).to_vec();
    let tried =
        [DEFAULT, (Plain, 0.5, 0.0), (Plain, 0.7, 0.0), (Plain, 0.7, 0.6), (Faded, 0.7, 0.6), (Gated, 0.5, 0.6)];
    arms.extend(tried.map(|handling| buffered(Work::Batch, handling)));
    arms.extend([Work::Steps, Work::Equal].map(|work| buffered(work, DEFAULT)));
    if full {
        let more = [(Plain, 0.5, 0.3), (Faded, 0.5, 0.6), (Gated, 0.35, 0.6), (FreshOnly, 0.5, 0.6), (Moved, 0.5, 0.0)];
        arms.extend(more.map(|handling| buffered(Work::Batch, handling)));
        arms.push(buffered(Work::Batch, (Plain, 0.25, 0.0)));
        arms.push(gently(2.0, barrier(Work::Batch)));
        let gentle = [(Plain, 0.5, 0.0), (Plain, 0.35, 0.0), (Plain, 0.25, 0.0), (Plain, 0.7, 0.0), (Gated, 0.35, 0.6)];
        arms.extend(gentle.map(|handling| gently(2.0, buffered(Work::Batch, handling))));
        let patient = [(Plain, 0.5, 0.0), (Plain, 0.7, 0.0), (Plain, 0.5, 0.3)];
        arms.extend(patient.map(|handling| patiently(buffered(Work::Batch, handling))));
        arms.extend(patient.map(|handling| gently(2.0, patiently(buffered(Work::Batch, handling)))));
        let mean = Arm::rounds(Optimizer::muon(), JOB_LR, 8, 8, OuterStep { lr: 0.7, momentum: 0.8 })
            .with(|crew| crew.ramp_steps = 8);
        let uncapped = |work| {
            let name = format!("barrier, {}, plain mean by samples, f32", words(work));
            mean.clone().with(|crew| crew.team = Team::Mixed(work)).named(name)
        };
        arms.extend([Work::Batch, Work::Steps].map(uncapped));
    }
    arms
}
