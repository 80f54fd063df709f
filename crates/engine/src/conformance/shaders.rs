//! Which WGSL files the cases make pipelines of: a file that no case uses would be proven nowhere.

use std::collections::BTreeSet;

use super::{Case, Kernel, Work, cases, curves, golden, programs};
use crate::{Plan, Tier, gpu};

/// Names of the WGSL files that running all cases on a GPU compiles, whatever its adapter: what has
/// several tiers counts only where a case runs every tier.
pub fn shaders() -> BTreeSet<&'static str> {
    cases().iter().flat_map(of_case).collect()
}

fn of_case(case: &Case) -> Vec<&'static str> {
    match &case.work {
        Work::Kernel { kernel, .. } | Work::Batch { kernel } => of_tiers(kernel),
        &Work::AttentionGrad { sizes } => {
            [Kernel::Attention { sizes }, Kernel::AttentionGradQ { sizes }, Kernel::AttentionGradKv { sizes }]
                .iter()
                .flat_map(of_tiers)
                .collect()
        }
        Work::Golden(golden) => of_plan(&golden::plan(golden)),
        Work::Curve(curve) => of_plan(&curves::plan(curve)),
        Work::Optimizer { program, optimizer, .. } => of_plan(&programs::plan(*program, *optimizer)),
        Work::Gradients { .. } | Work::Repeat { .. } | Work::Segments { .. } => Vec::new(),
    }
}

fn of_tiers(kernel: &Kernel) -> Vec<&'static str> {
    Tier::options(kernel).iter().map(|&tier| gpu::shader_of(kernel, tier)).collect()
}

fn of_plan(plan: &Plan) -> Vec<&'static str> {
    let kernels = plan.dispatches.iter().map(|dispatch| &dispatch.kernel);
    kernels.filter(|kernel| Tier::options(kernel).len() == 1).flat_map(of_tiers).collect()
}
