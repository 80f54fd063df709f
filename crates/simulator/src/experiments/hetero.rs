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
    if let Some(gap) = sweep.above(&as_jobs_do(Work::Batch).name, &barriers[0].name) {
        report.limit("buffered above barrier rounds at equal samples, %", BUFFERED_LIMIT, gap);
    }
    Ok(report)
}

/// Four times as many rounds: whether buffers stay behind.
const LONGER: &str = "4 x windows";
const LONG: Size = Size { samples: 4 * Size::SMALL.samples, ..Size::SMALL };

fn long() -> Vec<Arm> {
    let arms = [
        barrier(Work::Batch),
        as_jobs_do(Work::Batch),
        hastily(as_jobs_do(Work::Batch)),
        buffered(Late::Plain, PLAIN),
        patiently(buffered(Late::Plain, led(0.15, 0.9, 3.0))),
        buffered(Late::Eager(40), led(0.15, 0.9, 3.0)),
    ];
    arms.map(|arm| arm.but(LONGER)).to_vec()
}

/// Per cent of the samples in flight that make a version, as buffers of jobs have it.
const BUFFER: u32 = 50;

/// The best step without momentum.
const PLAIN: OuterStep = OuterStep::nesterov(0.35, 0.0);

const fn led(lr: f32, momentum: f32, lead: f32) -> OuterStep {
    OuterStep { lr, momentum, lead: Some(lead) }
}

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
    arm.but("all in flight").with(patient)
}

/// The same, but who hands in goes on at once though a commit is near.
fn hastily(arm: Arm) -> Arm {
    arm.but("nobody waits").with(|crew| crew.waits = false)
}

/// Buffers as jobs have them.
fn as_jobs_do(work: Work) -> Arm {
    let arm = Arm::default_recipe(JOB_LR, 8)
        .with(|crew| (crew.team, crew.pacing) = (Team::Mixed(work), Pacing::Buffered(Late::Plain, BUFFER)));
    arm.named(format!("buffered, {}, as jobs do", words(work)))
}

/// Buffers with another step, and batches in proportion.
fn buffered(late: Late, outer: OuterStep) -> Arm {
    let OuterStep { lr, momentum, lead } = outer;
    let lead = lead.map_or_else(String::new, |lead| format!(" led by {lead}"));
    let how = match late {
        Late::Plain => String::new(),
        Late::Faded => ", momentum fades with staleness".to_owned(),
        Late::FreshOnly => ", fresh ones alone enter the momentum".to_owned(),
        Late::Gated => ", gated".to_owned(),
        Late::Moved => ", towards where they ended".to_owned(),
        Late::Eager(percent) => format!(", eager by {percent} %"),
    };
    let arm = as_jobs_do(Work::Batch).with(|crew| {
        (crew.pacing, crew.outer, crew.scheduled) = (Pacing::Buffered(late, BUFFER), outer, false);
    });
    arm.named(format!("buffered, ({lr}, {momentum}){lead}{how}"))
}

fn words(work: Work) -> &'static str {
    match work {
        Work::Equal => "equal work",
        Work::Steps => "steps in proportion",
        Work::Batch => "batch in proportion",
    }
}

fn arms(full: bool) -> Vec<Arm> {
    use Late::{Eager, Faded, FreshOnly, Gated, Moved, Plain};
    let plain = OuterStep::nesterov;
    let mut arms = [Work::Batch, Work::Steps, Work::Equal].map(barrier).to_vec();
    arms.extend([Work::Batch, Work::Steps, Work::Equal].map(as_jobs_do));
    let tried = [
        (Plain, PLAIN),
        (Plain, plain(0.7, 0.6)),
        (Faded, plain(0.7, 0.6)),
        (Gated, plain(0.5, 0.6)),
        (Eager(40), led(0.15, 0.9, 3.0)),
    ];
    arms.push(hastily(as_jobs_do(Work::Batch)));
    arms.extend(tried.map(|(late, outer)| buffered(late, outer)));
    if full {
        let more = [
            (Plain, plain(0.25, 0.0)),
            (Plain, plain(0.5, 0.0)),
            (Plain, plain(0.7, 0.0)),
            (Plain, plain(0.5, 0.3)),
            (Faded, plain(0.5, 0.6)),
            (Gated, plain(0.35, 0.6)),
            (FreshOnly, plain(0.5, 0.6)),
            (Moved, plain(0.5, 0.0)),
            (Plain, led(0.07, 0.9, 3.0)),
            (Plain, led(0.1, 0.9, 2.0)),
            (Plain, led(0.15, 0.8, 2.0)),
            (Plain, led(0.06, 0.95, 6.0)),
            (Eager(35), PLAIN),
            (Eager(20), led(0.1, 0.9, 3.0)),
        ];
        arms.extend(more.map(|(late, outer)| buffered(late, outer)));
        arms.extend(
            [barrier(Work::Batch), as_jobs_do(Work::Batch), buffered(Plain, PLAIN)].map(|arm| gently(2.0, arm)),
        );
        let patient = [
            (Plain, plain(0.5, 0.0)),
            (Plain, plain(0.7, 0.0)),
            (Plain, led(0.15, 0.9, 3.0)),
            (Eager(40), led(0.25, 0.9, 3.0)),
        ];
        arms.extend(patient.map(|(late, outer)| patiently(buffered(late, outer))));
        let mean = Arm::rounds(Optimizer::muon(), JOB_LR, 8, 8, OuterStep::default()).with(|crew| crew.ramp_steps = 8);
        let uncapped = |work| {
            let name = format!("barrier, {}, plain mean by samples, f32", words(work));
            mean.clone().with(|crew| crew.team = Team::Mixed(work)).named(name)
        };
        arms.extend([Work::Batch, Work::Steps].map(uncapped));
    }
    arms
}
