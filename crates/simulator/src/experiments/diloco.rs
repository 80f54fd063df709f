//! `sim diloco`: volunteers who train apart for a few steps and merge, against one machine that sees
//! the same samples in steps of the same global batch.

use anyhow::Result;
use potluck_protocol::{Optimizer, OuterStep};
use serde_json::json;

use super::sweep::{Measured, SEEDS, Sweep};
use crate::Arguments;
use crate::report::{Report, rounded};
use crate::training::{Arm, LOCAL_BATCH, Size, Way, name_of};

/// Learning rate of jobs with Muon.
pub(crate) const JOB_LR: f32 = 30e-3;

/// That of fresh Muon in the calibration, and its outer step.
const MUON_LR: f32 = 48e-3;
const MUON_OUTER: OuterStep = OuterStep::nesterov(0.7, 0.6);

/// Volunteers; the loss of the default recipe against the best AdamW and against Muon on one machine
/// of the same global batch, in per cent above it.
const LIMITS: [(u32, Option<f64>, f64); 4] =
    [(1, None, 1.0), (2, Some(1.0), 2.0), (4, Some(2.0), 4.0), (8, Some(2.0), 5.0)];

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let mut like_jax = calibration();
    if arguments.full {
        like_jax.extend(larger());
    }
    let calibration = Sweep::run(arguments, Size::CALIBRATION, SEEDS, like_jax)?;
    let small = Sweep::run(arguments, Size::SMALL, 2 * SEEDS, arms(arguments.full))?;
    let mut report = Report::new(format!(
        "{}\n{}\nGaps are to the best machine with the same global batch.",
        calibration.words(),
        small.words()
    ));
    for sweep in [&calibration, &small] {
        for measured in &sweep.arms {
            let (arm, loss) = (&measured.arm, measured.loss());
            let gap = |optimizer| gap_percent(sweep, arm, optimizer).map_or(json!(null), |gap| rounded(gap, 2));
            report.row([
                ("arm", json!(arm.name)),
                ("parameters", json!(sweep.parameters)),
                ("loss", rounded(loss.mean, 4)),
                ("spread", rounded(loss.spread, 4)),
                ("seeds", json!(measured.runs.len())),
                ("to AdamW %", gap(Optimizer::default())),
                ("to same %", gap(arm.optimizer)),
            ]);
        }
    }
    for sweep in [&calibration, &small] {
        for (volunteers, to_adamw, to_same) in LIMITS {
            let Some(measured) = sweep.arm(&Arm::default_recipe(JOB_LR, volunteers).name) else { continue };
            let optimizers = [(Optimizer::default(), to_adamw), (Optimizer::muon(), Some(to_same))];
            for (optimizer, limit) in optimizers {
                let Some(limit) = limit else { continue };
                let Some(gap) = gap_percent(sweep, &measured.arm, optimizer) else { continue };
                let (against, parameters) = (name_of(optimizer), sweep.parameters);
                let what =
                    format!("{parameters} parameters, {volunteers} volunteers above one machine with {against}, %");
                report.limit(what, limit, gap);
            }
        }
    }
    Ok(report)
}

/// How far an arm's loss is above that of the best machine with this optimizer and the arm's global
/// batch.
fn gap_percent(sweep: &Sweep, arm: &Arm, optimizer: Optimizer) -> Option<f64> {
    let is_rival = |measured: &&Measured| {
        let rival = &measured.arm;
        matches!(rival.way, Way::Alone { .. })
            && name_of(rival.optimizer) == name_of(optimizer)
            && rival.global_batch() == arm.global_batch()
    };
    let rivals = sweep.arms.iter().filter(is_rival).map(|measured| measured.loss().mean);
    let best = rivals.fold(f64::NAN, f64::min);
    let gap = 100.0 * (sweep.arm(&arm.name)?.loss().mean / best - 1.0);
    gap.is_finite().then_some(gap)
}

/// What was measured with a program that shares no code with this one.
fn calibration() -> Vec<Arm> {
    let (adamw, muon) = (Optimizer::default(), Optimizer::muon());
    vec![
        Arm::alone(adamw, 16e-3, 64),
        Arm::alone(muon, 24e-3, 64),
        Arm::rounds(adamw, 4e-3, 8, 8, OuterStep::nesterov(0.7, 0.9)),
        Arm::rounds(muon, MUON_LR, 8, 8, MUON_OUTER),
    ]
}

/// The default recipe on the model of the calibration, and machines at rates among which the best lies
/// between worse ones. With batches of 64 the best are those of the calibration.
fn larger() -> Vec<Arm> {
    let (adamw, muon) = (Optimizer::default(), Optimizer::muon());
    let mut arms = [8, 4, 2, 1].map(|volunteers| Arm::default_recipe(JOB_LR, volunteers)).to_vec();
    let rates: [(Optimizer, u32, [f32; 3]); 5] = [
        (adamw, 32, [8e-3, 16e-3, 32e-3]),
        (adamw, 16, [4e-3, 8e-3, 16e-3]),
        (muon, 32, [12e-3, 24e-3, 48e-3]),
        (muon, 16, [6e-3, 12e-3, 24e-3]),
        (muon, 8, [3e-3, 6e-3, 12e-3]),
    ];
    for (optimizer, batch, rates) in rates {
        arms.extend(rates.map(|lr| Arm::alone(optimizer, lr, batch)));
    }
    arms
}

/// The default recipe with another outer step, whatever the number of volunteers.
fn stepping(volunteers: u32, lr: f32, momentum: f32) -> Arm {
    let outer = OuterStep::nesterov(lr, momentum);
    let arm = Arm::default_recipe(JOB_LR, volunteers).but(format_args!("({lr}, {momentum})"));
    arm.with(|crew| (crew.outer, crew.scheduled) = (outer, false))
}

/// The default recipe with a rate that rises over fewer steps.
fn rising(lr: f32, volunteers: u32, ramp_steps: u32) -> Arm {
    let arm = Arm::default_recipe(lr, volunteers).but(format_args!("ramp of {ramp_steps}"));
    arm.with(|crew| crew.ramp_steps = ramp_steps)
}

/// The default recipe, and each machine, at rates among which the best lies between worse ones
/// (`--full`), or at those that were the best of them.
fn arms(full: bool) -> Vec<Arm> {
    let (adamw, muon) = (Optimizer::default(), Optimizer::muon());
    let crew_rates: &[f32] = if full { &[JOB_LR, 24e-3] } else { &[JOB_LR] };
    let (adamw_rates, muon_rates): (&[f32], &[f32]) =
        if full { (&[4e-3, 8e-3, 16e-3, 32e-3], &[6e-3, 12e-3, 24e-3, 48e-3]) } else { (&[16e-3], &[12e-3, 24e-3]) };
    let mut arms = Vec::new();
    for volunteers in [8, 4, 2, 1] {
        arms.extend(crew_rates.iter().map(|&lr| Arm::default_recipe(lr, volunteers)));
        let batch = volunteers * LOCAL_BATCH;
        arms.extend(adamw_rates.iter().map(|&lr| Arm::alone(adamw, lr, batch)));
        arms.extend(muon_rates.iter().map(|&lr| Arm::alone(muon, lr, batch)));
    }
    if full {
        // Other outer steps: (volunteers, outer learning rate, outer momentum).
        let others = [
            (1, 0.6, 0.0),
            (1, 0.5, 0.0),
            (1, 0.5, 0.3),
            (1, 1.0, 0.0),
            (2, 0.7, 0.8),
            (2, 0.5, 0.8),
            (2, 0.5, 0.6),
            (4, 0.5, 0.8),
            (8, 0.7, 0.6),
            (8, 1.0, 0.0),
        ];
        arms.extend(others.map(|(volunteers, lr, momentum)| stepping(volunteers, lr, momentum)));
        arms.extend([8, 4].map(|volunteers| rising(JOB_LR, volunteers, 3)));
        arms.extend([carried(muon, 24e-3, 8), carried(muon, 12e-3, 1), carried(adamw, 4e-3, 8)]);
        // Gradients averaged once where volunteers send an update: eight steps' samples in one.
        arms.extend([16e-3, 32e-3].map(|lr| Arm::alone(adamw, lr, 8 * 8 * LOCAL_BATCH)));
    }
    arms
}

/// Volunteers who carry their optimizer's state from task to task, which nobody could check.
fn carried(optimizer: Optimizer, lr: f32, volunteers: u32) -> Arm {
    let arm = Arm::rounds(optimizer, lr, volunteers, 8, OuterStep::default());
    let arm = arm.with(|crew| (crew.scheduled, crew.carries) = (true, true));
    let name = format!("{volunteers} x {}, H 8, lr {lr}, state carried", name_of(optimizer));
    arm.named(name)
}
