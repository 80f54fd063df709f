//! `sim codec`: what the encoding of updates and versions costs in loss, and how many bytes a
//! parameter and task it takes.

use anyhow::Result;
use potluck_protocol::UpdateEncoding;
use serde_json::json;

use super::diloco::JOB_LR;
use super::sweep::{Measured, SEEDS, Sweep};
use crate::Arguments;
use crate::report::{Report, rounded};
use crate::training::{Arm, Publishing, Size, Upload};

/// Loss of 4-bit updates above that of f32 ones, in per cent.
const FOUR_BIT_LIMIT: f64 = 0.3;

const F32: &str = "f32 up, f32 down";
const FOUR_BIT: &str = "E3M0 up, f32 down";

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let sweep = Sweep::run(arguments, Size::SMALL, SEEDS, arms(arguments.full))?;
    let plain = sweep.arm(F32).map(|measured| measured.loss().mean);
    let above = |measured: &Measured| plain.map(|plain| 100.0 * (measured.loss().mean / plain - 1.0));
    let mut report = Report::new(format!("{} Eight volunteers, default recipe, lr {JOB_LR}.", sweep.words()));
    for measured in &sweep.arms {
        let loss = measured.loss();
        let per_task = |bytes: u64| bytes as f64 / (measured.runs[0].tasks as f64 * sweep.parameters as f64);
        report.row([
            ("arm", json!(measured.arm.name)),
            ("loss", rounded(loss.mean, 4)),
            ("spread", rounded(loss.spread, 4)),
            ("seeds", json!(measured.runs.len())),
            ("to f32 %", above(measured).map_or(json!(null), |gap| rounded(gap, 2))),
            ("up B/parameter", rounded(per_task(measured.runs[0].up_bytes), 3)),
            ("down B/parameter", rounded(per_task(measured.runs[0].down_bytes), 3)),
        ]);
    }
    if let Some(gap) = sweep.arm(FOUR_BIT).and_then(above) {
        report.limit("4-bit above f32 updates, %", FOUR_BIT_LIMIT, gap);
    }
    Ok(report)
}

fn arms(full: bool) -> Vec<Arm> {
    let arm = |name: &str, upload: Upload, publishing: Publishing| {
        let arm = Arm::default_recipe(JOB_LR, 8);
        arm.with(|crew| (crew.upload, crew.publishing) = (upload, publishing)).named(name)
    };
    let encoded = Upload::Encoded;
    let mut arms = vec![
        arm(F32, Upload::F32, Publishing::Whole),
        arm("int8 up, f32 down", encoded(UpdateEncoding::Int8), Publishing::Whole),
        arm(FOUR_BIT, encoded(UpdateEncoding::E3m0), Publishing::Whole),
        arm("E3M0 up, delta down", encoded(UpdateEncoding::E3m0), Publishing::Delta),
        arm("top-k up, f32 down", Upload::TopK, Publishing::Whole),
        arm("top-k with feedback, visits of 5 tasks", Upload::TopKFeedback { visit: 5 }, Publishing::Whole),
    ];
    if full {
        let endless = Upload::TopKFeedback { visit: u64::MAX };
        arms.push(arm("top-k with feedback, nobody leaves", endless, Publishing::Whole));
        arms.push(arm("f32 up, delta down", Upload::F32, Publishing::Delta));
    }
    arms
}
